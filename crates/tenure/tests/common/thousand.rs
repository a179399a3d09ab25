//! Many locks held by one process for some time: what is sent for them, and what they take.
//!
//! Alone in its program, whose memory is measured.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use tenure::{Client, Guard, Released, Timing};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::tap::{tapped, watches};

pub(crate) const LOCKS: usize = 1_000;
/// By a few at a time, as fast as the server answers.
const PARTS: usize = 8;

/// What came of it.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) lost: usize,
    /// Requests while all were held.
    pub(crate) sent: usize,
    /// Of these, writes.
    pub(crate) puts: usize,
    /// Of these, watches that began anew or were resumed.
    pub(crate) watches: usize,
    /// Watches open at the end.
    pub(crate) open: usize,
    /// Renewals that there have to be, one for each lock more or less.
    pub(crate) renewals: usize,
    /// Bytes of memory above what one lock needs.
    pub(crate) grown: u64,
    /// How many could not be given back in the end.
    pub(crate) unreleased: usize,
}

/// Holds [`LOCKS`] locks for `time`.
pub(crate) async fn hold(time: Duration, timing: Timing) -> Held {
    let server = tenure_servers::kube();
    let namespace = server.namespace("thousand");
    let (client, seen) = tapped(server.admin(&namespace), &namespace).await;
    // Everything that is there once, whatever the number of locks.
    let first = client.lock("first").timing(timing).acquire().await.unwrap();
    sleep(Duration::from_millis(500)).await;
    let before = resident();
    let mut guards = acquire(&client, timing).await;
    guards.push(first);
    sleep(Duration::from_secs(2)).await;
    drop(seen.take());
    let mut held = Held {
        lost: 0,
        sent: 0,
        puts: 0,
        watches: 0,
        open: 0,
        renewals: (time.as_micros() / timing.renew_every().as_micros()) as usize * guards.len(),
        grown: 0,
        unreleased: 0,
    };
    // What is counted is not to be kept.
    let pieces = time.as_secs().max(1);
    for _ in 0..pieces {
        sleep(time / pieces as u32).await;
        let sent = seen.take();
        held.sent += sent.len();
        held.puts += sent.iter().filter(|sent| sent.starts_with("PUT")).count();
        held.watches += watches(&sent);
    }
    held.grown = resident().saturating_sub(before);
    held.open = seen.open();
    held.lost = guards.iter().filter(|g| g.deadline().is_none_or(|d| d.is_past())).count();
    held.unreleased = release(guards).await;
    client.close().await;
    held
}

async fn acquire(client: &Client, timing: Timing) -> Vec<Guard> {
    let mut tasks = JoinSet::new();
    for part in 0..PARTS {
        let client = client.clone();
        tasks.spawn(async move {
            let mut guards = Vec::new();
            for n in (part..LOCKS).step_by(PARTS) {
                let lock = client.lock(&format!("lock-{n}")).timing(timing);
                guards.push(lock.acquire().await.unwrap());
            }
            guards
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

/// How many could not be given back.
async fn release(mut guards: Vec<Guard>) -> usize {
    let mut tasks = JoinSet::new();
    while !guards.is_empty() {
        let part = guards.split_off(guards.len().saturating_sub(LOCKS / PARTS));
        tasks.spawn(async move {
            let mut failed = 0;
            for guard in part {
                failed += usize::from(!matches!(guard.release().await, Ok(Released::Released)));
            }
            failed
        });
    }
    tasks.join_all().await.into_iter().sum()
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}
