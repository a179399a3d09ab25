//! Every public future is dropped at every await point, while answers are late, lost or never come.
//! Afterwards nothing is held, queued or running beyond its ttl, and the next contender gets in.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/sim.rs"]
mod sim;

use std::pin::Pin;
use std::time::Duration;

use sim::{Sim, poll_once};
use tenure::store::Liveness;
use tenure::{Client, Guard, Hold, RunOptions};
use tenure_testkit::{Fate, Rng};

type Fut = Pin<Box<dyn Future<Output = ()>>>;

/// What stands there when the future is made.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    Free,
    /// Another program holds the lock.
    Other,
    /// Another task of the same client does.
    Same,
    /// The future is made with a guard.
    Guard,
}

/// A public future: its name, what it needs, and how it is made.
type Op = (&'static str, Before, fn(Client, Option<Guard>) -> Fut);

/// How long a lock is waited for.
const LIMIT: Duration = Duration::from_secs(3);
/// How long a lock is left busy.
const REST: Duration = Duration::from_millis(300);

const OPS: &[Op] = &[
    ("acquire free", Before::Free, |c, _| {
        Box::pin(async move { drop(c.lock("x").acquire().await) })
    }),
    ("try_acquire free", Before::Free, |c, _| {
        Box::pin(async move { drop(c.lock("x").try_acquire().await) })
    }),
    ("acquire held", Before::Other, |c, _| {
        Box::pin(async move { drop(c.lock("x").acquire().await) })
    }),
    ("acquire_timeout held", Before::Other, |c, _| {
        Box::pin(async move { drop(c.lock("x").acquire_timeout(LIMIT).await) })
    }),
    ("try_acquire held", Before::Other, |c, _| {
        Box::pin(async move { drop(c.lock("x").try_acquire().await) })
    }),
    ("acquire in line", Before::Same, |c, _| {
        Box::pin(async move { drop(c.lock("x").acquire().await) })
    }),
    ("acquire_timeout in line", Before::Same, |c, _| {
        Box::pin(async move { drop(c.lock("x").acquire_timeout(LIMIT).await) })
    }),
    ("release", Before::Guard, |_, g| Box::pin(async move { drop(g.unwrap().release().await) })),
    ("release_after", Before::Guard, |_, g| {
        Box::pin(async move { drop(g.unwrap().release_after(REST).await) })
    }),
    ("lost", Before::Guard, |_, g| Box::pin(async move { drop(g.unwrap().lost().await) })),
    ("stopping", Before::Guard, |_, g| Box::pin(async move { g.unwrap().stopping().await })),
    ("run", Before::Free, |c, _| {
        Box::pin(async move { drop(c.lock("x").run(|_: Hold| work()).await) })
    }),
    ("run at least", Before::Free, |c, _| {
        let options = RunOptions::new().at_least(REST).wait_max(LIMIT);
        Box::pin(async move { drop(c.lock("x").run_with(options, |_: Hold| work()).await) })
    }),
    ("close", Before::Guard, |c, g| {
        Box::pin(async move {
            drop(g);
            c.close().await;
        })
    }),
    ("show", Before::Other, |c, _| Box::pin(async move { drop(c.show("x").await) })),
    ("list", Before::Other, |c, _| Box::pin(async move { drop(c.list().await) })),
    ("events", Before::Free, |c, _| Box::pin(async move { drop(c.events().next().await) })),
];

/// Work that takes a few turns.
async fn work() {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}

/// What goes wrong meanwhile.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Faults {
    /// Answers take up to 50 ms, and all come.
    Slow,
    /// Anything, for up to this long.
    Any(Duration),
}

impl Faults {
    fn set(self, sim: &Sim, seed: u64) {
        let mut rng = Rng::new(seed);
        sim.fates(move |_| match self {
            Self::Slow => {
                let mut time = || rng.time(Duration::from_millis(50));
                Fate::Answered(time(), time())
            }
            Self::Any(longest) => sim::some_fate(&mut rng, longest),
        });
    }

    /// How long what was dropped may be in the way.
    fn limit(self) -> Duration {
        match self {
            // A read, a write, a read back.
            Self::Slow => Duration::from_secs(1),
            // A ttl, counted from when the last write landed that was under way.
            Self::Any(longest) => longest + Duration::from_secs(16),
        }
    }
}

/// Polls `op` `polls` times and drops it; whether it was still pending.
async fn dropped_at(
    op: Op,
    liveness: Liveness,
    faults: Faults,
    polls: u32,
) -> Result<bool, String> {
    let (_, before, make) = op;
    let sim = Sim::new(liveness);
    let (client, other) = (sim.faulty(), sim.other());
    let guard = match before {
        Before::Free => None,
        Before::Other => Some(other.lock("x").acquire().await.unwrap()),
        Before::Same | Before::Guard => Some(client.lock("x").acquire().await.unwrap()),
    };
    sim.settle().await;
    faults.set(&sim, u64::from(polls));
    let (given, kept) = if before == Before::Guard { (guard, None) } else { (None, guard) };
    let mut future = make(client.clone(), given);
    let mut pending = true;
    for _ in 0..polls {
        if poll_once(future.as_mut()).await.is_ready() {
            pending = false;
            break;
        }
        // One thing at a time happens, so that it is dropped between any two.
        tokio::task::yield_now().await;
        sim.step(Duration::from_millis(10));
    }
    drop(future);
    drop(kept);
    if liveness == Liveness::Server {
        // What nobody can undo before the store answers again is undone then.
        sim.pass(faults.limit()).await;
        sim.fates(|_| Fate::FINE);
    }
    let waited = sim.within(faults.limit(), other.lock("x").acquire()).await;
    let guard = waited.ok_or("the next one did not get in")?.map_err(|e| e.to_string())?;
    let closed = sim.within(faults.limit(), client.close()).await;
    closed.ok_or("something was not undone")?;
    if sim.within(Duration::ZERO, client.lock("x").acquire()).await.is_none_or(|r| r.is_ok()) {
        return Err("a closed client took a lock".into());
    }
    // Nothing of the client's is left that would ever run.
    let info = sim.other().show("x").await.unwrap();
    if info.holders.iter().any(|h| h.id == client.id()) || !info.queue.is_empty() {
        return Err(format!("left in the record: {info:?}"));
    }
    drop(guard);
    drop((client, other));
    sim.pass(Duration::from_secs(120)).await;
    match sim.clock.next_alarm() {
        None => Ok(pending),
        Some(left) => Err(format!("something still waits, for {left:?}")),
    }
}

fn every_drop(liveness: Liveness, faults: Faults) {
    for op in OPS {
        // What is left in the record for a while is for the server to end, and this one has no clock.
        if liveness == Liveness::Server && matches!(op.0, "release_after" | "run at least") {
            continue;
        }
        // Some never end by themselves: they wait for what does not come.
        for polls in 0..60 {
            let (name, ..) = op;
            match sim::run(dropped_at(*op, liveness, faults, polls)) {
                Ok(true) => {}
                Ok(false) if faults == Faults::Slow => break,
                Ok(false) => {}
                Err(what) => {
                    panic!("{name}, {liveness:?}, {faults:?}, dropped after {polls}: {what}")
                }
            }
        }
    }
}

#[test]
fn where_answers_are_slow_the_next_one_gets_in_at_once() {
    for liveness in [Liveness::Observed, Liveness::Server, Liveness::Process] {
        every_drop(liveness, Faults::Slow);
    }
}

#[test]
fn where_answers_are_lost_the_next_one_gets_in_after_a_ttl() {
    for longest in [10, 100, 1_000, 4_000] {
        // Under a server's session nothing ends by time: what lands late is looked for and undone.
        for liveness in [Liveness::Observed, Liveness::Server] {
            every_drop(liveness, Faults::Any(Duration::from_millis(longest)));
        }
    }
}
