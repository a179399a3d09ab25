//! A contender of ours with the command line and the output of the Go peers: a line per event, and
//! a release at SIGTERM.
//!
//! Owns that translation. Everything about locks it asks of the library.

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tenure::{Attempt, Client, Condition, Guard, Lock, LockState, Timing};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

/// What we wrote to the counter last.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

struct Options {
    /// How long each hold lasts; none: until SIGTERM.
    hold: Option<Duration>,
    /// A file with a number to raise each time; the next round begins when somebody else did.
    counter: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut flags: HashMap<&str, &str> = args
        .iter()
        .map(|arg| {
            arg.trim_start_matches('-').split_once('=').ok_or(format!("{arg}: --NAME=VALUE"))
        })
        .collect::<Result<_, _>>()?;
    let millis = |text: Option<&str>| -> Result<Duration, Box<dyn Error>> {
        Ok(Duration::from_millis(text.unwrap_or("0").parse()?))
    };
    let client = tenure::connect(flags.remove("store").ok_or("--store=URL is missing")?).await?;
    if let Some(condition) = flags.remove("list") {
        return list(&client, &condition.parse()?).await;
    }
    let lock = client.lock(flags.remove("name").ok_or("--name=LOCK is missing")?);
    let lock = match flags.remove("timing") {
        Some("client-go") => lock.timing(Timing::client_go()),
        Some("leaselock") => lock.timing(Timing::leaselock()),
        seconds => lock.ttl(Duration::from_secs(seconds.unwrap_or("15").parse()?)),
    };
    let tags = flags.remove("tags").unwrap_or_default();
    let lock = lock.tags(tags.split(',').filter(|tag| !tag.is_empty()));
    let rounds: u32 = flags.remove("rounds").unwrap_or("1").parse()?;
    let options = Options {
        hold: Some(millis(flags.remove("hold-ms"))?).filter(|hold| !hold.is_zero()),
        counter: flags.remove("counter").map(PathBuf::from),
    };
    if let Some(unknown) = flags.keys().next() {
        return Err(format!("no such flag: --{unknown}").into());
    }
    let mut stop = signal(SignalKind::terminate())?;
    for number in 0..rounds {
        if number > 0 {
            turn(&options).await?;
        }
        if !round(&lock, &options, &mut stop).await? {
            break;
        }
    }
    client.close().await;
    Ok(())
}

/// A line per lock that is as the condition says, as the Go programs list them.
async fn list(client: &Client, condition: &Condition) -> Result<(), Box<dyn Error>> {
    for lock in client.list().await? {
        let lock = lock?;
        if lock.meets(condition) {
            let state = match lock.state {
                LockState::Free => "free",
                LockState::Held => "held",
                LockState::Expired => "expired",
                other => return Err(format!("{}: {other:?}", lock.name).into()),
            };
            let holder = lock.holders.first().map_or("", |holder| &holder.id);
            println!("{} {state} {holder}", lock.name);
        }
    }
    client.close().await;
    Ok(())
}

/// Takes, holds and releases the lock once. `false` after SIGTERM.
async fn round(lock: &Lock, options: &Options, stop: &mut Signal) -> Result<bool, Box<dyn Error>> {
    let guard = tokio::select! {
        guard = acquire(lock) => guard?,
        _ = stop.recv() => return Ok(false),
    };
    println!("held {}", guard.token());
    let lost = guard.lost();
    let stopped = tokio::select! {
        stopped = work(options, stop) => stopped,
        why = lost => {
            println!("lost {why}");
            return Ok(true);
        }
    }?;
    match guard.release().await? {
        tenure::Released::Released => println!("released"),
        other => println!("lost {other:?}"),
    }
    Ok(!stopped)
}

/// Says who is in the way before it waits.
async fn acquire(lock: &Lock) -> Result<Guard, tenure::Error> {
    match lock.try_acquire().await? {
        Attempt::Acquired(guard) => Ok(guard),
        Attempt::HeldBy(by) => {
            println!("refused {}", by.id);
            lock.acquire().await
        }
    }
}

/// What the lock protects: a lost update wherever two do it at once. `true` after SIGTERM.
async fn work(options: &Options, stop: &mut Signal) -> Result<bool, Box<dyn Error>> {
    if let Some(counter) = &options.counter {
        let number = number(counter)? + 1;
        sleep(Duration::from_millis(20)).await;
        std::fs::write(counter, number.to_string())?;
        WRITTEN.store(number, Relaxed);
    }
    let Some(hold) = options.hold else {
        stop.recv().await;
        return Ok(true);
    };
    Ok(tokio::select! {
        () = sleep(hold) => false,
        _ = stop.recv() => true,
    })
}

/// Waits until somebody else has raised the number.
async fn turn(options: &Options) -> Result<(), Box<dyn Error>> {
    if let Some(counter) = &options.counter {
        while number(counter)? == WRITTEN.load(Relaxed) {
            sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(())
}

/// What the counter says; a write that is under way is waited for.
fn number(counter: &Path) -> Result<u64, Box<dyn Error>> {
    loop {
        if let Ok(number) = std::fs::read_to_string(counter)?.trim().parse() {
            return Ok(number);
        }
    }
}
