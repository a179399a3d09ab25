//! Loss is signalled at the latest at the deadline, whatever the store does, and before anybody
//! else has the lock.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/sim.rs"]
mod sim;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sim::Sim;
use tenure::Lost;
use tenure::store::Liveness;
use tenure_testkit::{Fate, Rng};

const RUNS: u64 = 10_000;

/// When something was noticed, in time since the start.
type Noted = Arc<Mutex<Option<Duration>>>;

/// One run: healthy for a while, then worse and worse. Says what was wrong.
async fn lose(seed: u64) -> Result<(), String> {
    let mut rng = Rng::new(seed);
    let liveness = if rng.below(4) == 0 { Liveness::Server } else { Liveness::Observed };
    let sim = Sim::new(liveness);
    let client = sim.faulty();
    let guard = client.lock("x").acquire().await.map_err(|e| e.to_string())?;
    let (lost, taken): (Noted, Noted) = Default::default();
    let (noted, clock, hold) = (Arc::clone(&lost), sim.clock.clone(), guard.hold());
    tokio::spawn(async move {
        let cause = hold.lost().await;
        assert_ne!(cause, Lost::RuntimeGone);
        *noted.lock().unwrap() = Some(clock.elapsed());
    });
    let (noted, clock, next) = (Arc::clone(&taken), sim.clock.clone(), sim.other().lock("x"));
    tokio::spawn(async move {
        let guard = next.acquire().await.unwrap();
        *noted.lock().unwrap() = Some(clock.elapsed());
        // Kept until the end of the run.
        std::mem::forget(guard);
    });
    let healthy = rng.time(Duration::from_secs(20));
    sim.pass(healthy).await;
    let (kind, longest) = (rng.below(4), Duration::from_millis(1 + rng.below(8_000)));
    let mut fates = Rng::new(rng.draw());
    sim.fates(move |_| match kind {
        0 => Fate::Stalled,
        1 => Fate::Refused(fates.time(longest)),
        2 => Fate::Silent(fates.time(longest)),
        _ => sim::some_fate(&mut fates, longest),
    });
    let mut deadline = Duration::ZERO;
    // What fails by chance may go on for long; then nothing works any more.
    let end = sim.clock.elapsed() + Duration::from_secs(60);
    loop {
        sim.settle().await;
        let now = sim.clock.elapsed();
        if let Some(at) = *lost.lock().unwrap() {
            if at > deadline {
                return Err(format!("lost at {at:?}, deadline {deadline:?}"));
            }
            break;
        }
        if let Some(at) = *taken.lock().unwrap() {
            return Err(format!("taken at {at:?} before the loss was told"));
        }
        let left = guard.deadline().unwrap();
        if left.is_past() {
            return Err(format!("at {now:?} past the deadline, and nothing was told"));
        }
        deadline = now + left.remaining();
        if now >= end {
            sim.fates(|_| Fate::Stalled);
        }
        sim.step(left.remaining());
    }
    if !guard.deadline().unwrap().is_past() {
        return Err("lost, but its deadline is not past".into());
    }
    drop(guard);
    if liveness == Liveness::Server {
        // What its session still has in the record is for the server to end, and with the client
        // the session ends.
        drop(client);
    }
    // Nothing of it is in anybody's way for longer than a ttl, counted from the last renewal that
    // may still have been under way; and of a session, than what is in doubt is looked for.
    let doubts = if liveness == Liveness::Server { 15 } else { 0 };
    sim.pass(Duration::from_secs(8 + 16 + doubts)).await;
    match *taken.lock().unwrap() {
        Some(_) => Ok(()),
        None => Err("a ttl after the loss nobody else has the lock".into()),
    }
}

#[test]
fn loss_is_told_at_the_latest_at_the_deadline() {
    let seeds = std::env::var("TENURE_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds = seeds.map_or(0..RUNS, |seed| seed..seed + 1);
    let mut wrong = Vec::new();
    for seed in seeds {
        if let Err(what) = sim::run(lose(seed)) {
            wrong.push(format!("TENURE_SEED={seed}: {what}"));
        }
    }
    let shown = wrong.iter().take(5).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of {RUNS} runs went wrong:\n{shown}", wrong.len());
}
