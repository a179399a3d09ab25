//! What the program does when it is started as a measured process: `tenure-bench child WHAT ARG...`
//!
//! Owns the work of the processes that the rows start. Judges nothing. **A child talks in lines:
//! what it is told on its standard input, what it found on its standard output**, times in
//! microseconds of the monotonic clock.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{FlockOperation, OFlags, flock};
use tenure::Released;
use tenure::blocking::{Attempt, Lock, connect};

use crate::calls::{self, calls_of_a_change};
use crate::proc::now_us;
use crate::rows::kills::next;

/// Does what `args` say.
///
/// # Errors
/// Whatever goes wrong; the parent sees the exit code and a line on standard error.
pub fn main(args: &[String]) -> Result<()> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["add", counter, order] => add(counter, order),
        ["waiter", url, name] => waiter(url, name),
        ["kube-turns", url, name] => kube_turns(url, name),
        ["kube-hold", url, name, seconds] => kube_hold(url, name, seconds.parse()?),
        ["reader"] => reader(),
        ["called", dir] => called(Path::new(dir)),
        ["churn", kind, place, name] => churn(&Turn::open(kind, place, name)?),
        ["hold", url, count] => hold(url, count.parse()?),
        ["phases", url, durable, count] => phases(url, durable == "durable", count.parse()?),
        ["prey", url, dir, seed] => prey(url, Path::new(dir), seed.parse()?),
        ["traced", program, ref rest @ ..] => traced(program, rest),
        _ => bail!("no such child: {args:?}"),
    }
}

/// Adds one to a number in a file, in a way that loses counts unless it is alone; then appends
/// whose turn it was.
fn add(counter: &str, order: &str) -> Result<()> {
    let count: u64 = fs::read_to_string(counter)?.trim().parse()?;
    std::thread::yield_now();
    fs::write(counter, format!("{}\n", count + 1))?;
    let holder = std::env::var("TENURE_HOLDER").context("TENURE_HOLDER")?;
    let token = std::env::var("TENURE_TOKEN").context("TENURE_TOKEN")?;
    let mut order = OpenOptions::new().append(true).create(true).open(order)?;
    Ok(order.write_all(format!("{token} {holder}\n").as_bytes())?)
}

/// For every line: acquires, says when it had the lock, releases.
fn waiter(url: &str, name: &str) -> Result<()> {
    let lock = connect(url)?.lock(name);
    for line in std::io::stdin().lock().lines() {
        line?;
        let guard = lock.acquire()?;
        let at = now_us();
        let _ = guard.release()?;
        say(at)?;
    }
    Ok(())
}

/// For every line: makes the calls of one that waits for its turn, and says when it had made them.
fn called(dir: &Path) -> Result<()> {
    let waiter = calls::Waiter::new(dir)?;
    for line in std::io::stdin().lock().lines() {
        line?;
        waiter.wait()?;
        say(now_us())?;
    }
    Ok(())
}

/// Takes the lock for every `take` and says when it had it; gives it back for every `drop` and says
/// when it was told so.
fn kube_turns(url: &str, name: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(1).enable_all().build()?;
    let lock = runtime.block_on(tenure::connect(url))?.lock(name);
    let mut held = None;
    for line in std::io::stdin().lock().lines() {
        if line? == "take" {
            held = Some(runtime.block_on(runtime.spawn(lock.acquire()))??);
            say(now_us())?;
        } else {
            say(now_us())?;
            let guard: tenure::Guard = held.take().context("it holds nothing")?;
            let released = runtime.block_on(runtime.spawn(guard.release()))??;
            ensure!(released == Released::Released, "it was lost: {released:?}");
        }
    }
    Ok(())
}

/// Holds the lock until it is killed; says when it had it, and when it had each renewal's answer.
fn kube_hold(url: &str, name: &str, seconds: u64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread();
    { runtime }.worker_threads(1).enable_all().build()?.block_on(async {
        let client = tenure::connect(url).await?;
        let mut events = client.events();
        let guard = client.lock(name).ttl(Duration::from_secs(seconds)).acquire().await?;
        say(now_us())?;
        while let Some(event) = events.next().await {
            match event.kind {
                tenure::EventKind::Renewed { .. } => say(now_us())?,
                tenure::EventKind::Lost { cause, .. } => bail!("it was lost: {cause}"),
                _ => {}
            }
        }
        drop(guard);
        Ok(())
    })
}

/// For every byte: says when it came.
fn reader() -> Result<()> {
    let mut byte = [0];
    let mut input = std::io::stdin().lock();
    // The buffer of standard input reads as much as there is: one byte, woken by its write.
    while input.read(&mut byte)? > 0 {
        say(now_us())?;
    }
    Ok(())
}

/// Takes one of eight locks after the other, every second one durably, until it is killed. While it
/// holds one it says so in `holds`; what must not happen it says in `wrong`.
fn prey(url: &str, dir: &Path, seed: u64) -> Result<()> {
    let append = |name: &str, line: &str| -> Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(dir.join(name))?;
        Ok(file.write_all(line.as_bytes())?)
    };
    let client = connect(url)?;
    let mut random = next(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    loop {
        random = next(random);
        let number = (random >> 20) % 8;
        let name = format!("lock-{number}");
        let guard = client.lock(&name).durable(number.is_multiple_of(2)).acquire()?;
        append("holds", &format!("{name} {}\n", guard.token()))?;
        // Whoever else believed to have the lock would write here, too.
        let mine = guard.token().to_le_bytes();
        fs::write(dir.join(&name), mine)?;
        for _ in 0..random % 50 {
            std::thread::yield_now();
        }
        let met = fs::read(dir.join(&name))? != mine;
        let released = guard.release()?;
        if met || released != Released::Released {
            append("wrong", &format!("{name}: met another: {met}; {released:?}\n"))?;
        }
    }
}

/// One unit of work in [`churn`].
enum Turn {
    /// Acquire and release.
    Lock(Lock),
    /// Lock and unlock with flock(2).
    Flock(File),
    /// Write 512 bytes and sync them, twice, as acquire and release do.
    Raw(File),
    /// Make the system calls of an acquire and a release, and nothing else.
    Calls(File),
}

impl Turn {
    fn open(kind: &str, place: &str, name: &str) -> Result<Self> {
        let file = |size| -> Result<File> {
            let path = Path::new(place).join(name);
            let mut options = calls::as_the_store(OFlags::empty());
            let file = options.create(true).truncate(false).open(path)?;
            file.write_all_at(&vec![0; size], 0)?;
            file.sync_all()?;
            Ok(file)
        };
        Ok(match kind {
            "plain" => Self::Lock(connect(place)?.lock(name)),
            "durable" => Self::Lock(connect(place)?.lock(name).durable(true)),
            "flock" => Self::Flock(file(0)?),
            "raw" => Self::Raw(file(8_192)?),
            "calls" => Self::Calls(file(8_192)?),
            _ => bail!("no such turn: {kind}"),
        })
    }

    /// Takes its turn once: how long the wait for it was.
    fn take(&self) -> Result<Duration> {
        let start = Instant::now();
        Ok(match self {
            Self::Lock(lock) => {
                let guard = lock.acquire()?;
                let waited = start.elapsed();
                let _ = guard.release()?;
                waited
            }
            Self::Flock(file) => {
                flock(file, FlockOperation::LockExclusive)?;
                let waited = start.elapsed();
                flock(file, FlockOperation::Unlock)?;
                waited
            }
            Self::Raw(file) => {
                write_synced(file, 512)?;
                let waited = start.elapsed();
                write_synced(file, 4_608)?;
                waited
            }
            Self::Calls(file) => {
                calls_of_a_change(file, 1_024)?;
                let waited = start.elapsed();
                calls_of_a_change(file, 2_048)?;
                waited
            }
        })
    }
}

/// The least that a durable change can cost: one sector written in place, one fdatasync.
///
/// # Errors
/// If the disk fails.
pub fn write_synced(file: &File, at: u64) -> Result<()> {
    file.write_all_at(&[at as u8; 512], at)?;
    Ok(rustix::fs::fdatasync(file)?)
}

/// For every line, which says from when to when by the clock that all processes share, takes turns:
/// says how many per second, and the longest wait.
fn churn(turn: &Turn) -> Result<()> {
    turn.take()?;
    say("ready")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (start, end) = line.split_once(' ').context("from when to when?")?;
        let (start, end): (f64, f64) = (start.parse()?, end.parse()?);
        std::thread::sleep(Duration::from_secs_f64((start - now_us()).max(0.0) / 1e6));
        let (mut turns, mut worst) = (0_u64, Duration::ZERO);
        while now_us() < end {
            worst = worst.max(turn.take()?);
            turns += 1;
        }
        say(turns as f64 / (now_us() - start) * 1e6)?;
        say(worst.as_secs_f64() * 1e6)?;
    }
    Ok(())
}

/// Holds so many locks until its input ends.
fn hold(url: &str, count: usize) -> Result<()> {
    let client = connect(url)?;
    let mut guards = Vec::new();
    for i in 0..count {
        match client.lock(&format!("lock-{i:05}")).try_acquire()? {
            Attempt::Acquired(guard) => guards.push(guard),
            Attempt::HeldBy(held) => bail!("lock {i} is held by {}", held.id),
        }
    }
    say("ready")?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

/// Acquires and releases with a system call between them that nothing else makes, so that who
/// traces it can tell the phases apart.
fn phases(url: &str, durable: bool, count: usize) -> Result<()> {
    let lock = connect(url)?.lock("phases").durable(durable);
    for _ in 0..count {
        mark();
        let guard = lock.acquire()?;
        mark();
        ensure!(guard.token() > 0, "no token");
        let _ = guard.release()?;
    }
    mark();
    Ok(())
}

fn mark() {
    let _ = rustix::process::getpriority_process(None);
}

/// Becomes `program`, traced by the parent from there on.
fn traced(program: &str, rest: &[&str]) -> Result<()> {
    nix::sys::ptrace::traceme().context("traceme")?;
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP)?;
    Err(Command::new(program).args(rest).exec().into())
}

fn say(what: impl std::fmt::Display) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{what}\n").as_bytes())?;
    Ok(out.flush()?)
}
