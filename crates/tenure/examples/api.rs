//! The library in one page: `cargo run -p tenure --example api [STORE]`, where STORE is `memory:`
//! unless given.

use std::time::Duration;

use tenure::{Attempt, Error, Released, RunOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = std::env::args().nth(1).unwrap_or_else(|| "memory:".to_owned());
    tour(&store).await
}

pub(crate) async fn tour(store: &str) -> Result<(), Box<dyn std::error::Error>> {
    let client = tenure::connect(store).await?; // Clone, Send, Sync
    let lock = client.lock("nightly").ttl(Duration::from_secs(30)); // builder

    // Take it if it is free, else be told who has it.
    let guard = match lock.try_acquire().await? {
        Attempt::Acquired(guard) => guard,
        Attempt::HeldBy(by) => return Err(format!("held by {by}").into()),
    };
    println!("held with token {}", guard.token()); // hand it to what you write to
    if let Some(deadline) = guard.deadline() {
        assert!(!deadline.is_past()); // ask right before each action
        println!("for {:?} without a renewal", deadline.remaining());
    }

    // Somebody else waits, for ever or for so long.
    match client.lock("nightly").acquire_timeout(Duration::from_millis(20)).await {
        Err(Error::TimedOut { held_by }) => println!("timed out: held by {held_by}"),
        other => return Err(format!("two holders: {other:?}").into()),
    }

    // Anybody may wait for the loss, anywhere.
    let lost = guard.lost();
    let watcher = tokio::spawn(async move { println!("lost: {}", lost.await) });
    assert_eq!(guard.release().await?, Released::Released);
    watcher.abort();

    // Acquire, work, stop in time, release: in one call.
    let done = lock
        .run(|hold| async move {
            tokio::select! {
                () = hold.stopping() => "stopped",
                () = tokio::task::yield_now() => "done",
            }
        })
        .await?;
    println!("work: {done}");

    // A job that must not run twice a night, started by two machines' cron.
    let once = RunOptions::new().wait_max(Duration::ZERO).at_least(Duration::from_secs(60));
    lock.run_with(once.clone(), |_| async {}).await?;
    match lock.run_with(once, |_| async {}).await {
        Err(Error::TimedOut { held_by }) => println!("not again: held by {held_by}"),
        other => return Err(format!("ran twice: {other:?}").into()),
    }

    client.close().await; // waits for releases asked for by Drop
    Ok(())
}
