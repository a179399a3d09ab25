//! The async client on the store in memory, beside the least that talking to another task costs.
//!
//! The peer is two round trips over channels of the same runtime, in the same run: a request to a
//! task and its answer, once for acquire and once for release. A client that had one task do all
//! could not do with less, before it has done anything.

use std::time::Instant;

use anyhow::{Context as _, Result};
use tenure::Lock;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};

use super::Place;
use crate::pairs::interleave;
use crate::report::{Line, Unit};
use crate::stats::{Goal, Stat};

/// Pairs of operations per value.
const BATCH: u32 = 2_000;
/// At least 40 % of the peer's rate.
const GOAL: Goal = Goal::AtMost(2.5);

type Answer = oneshot::Sender<u64>;

pub(super) fn driver(place: &Place<'_>) -> Result<Vec<Line>> {
    let one = Builder::new_current_thread().build()?;
    let several = Builder::new_multi_thread().worker_threads(2).build()?;
    let mut lines = Vec::new();
    for (what, runtime) in [("one thread", one), ("several threads", several)] {
        lines.push(measure(place, what, &runtime)?);
    }
    Ok(lines)
}

fn measure(place: &Place<'_>, what: &'static str, runtime: &Runtime) -> Result<Line> {
    let lock = runtime.block_on(tenure::connect("memory:"))?.lock("L");
    let (ask, mut asked) = mpsc::channel::<Answer>(16);
    runtime.spawn(async move {
        while let Some(answer) = asked.recv().await {
            // Whoever asked waits for it.
            let _ = answer.send(1);
        }
    });
    let subject = || Ok([run(runtime, pairs(lock.clone()))??]);
    let peer = || Ok([run(runtime, round_trips(ask.clone()))??]);
    let rounds = place.rounds(200, 1_000);
    let [pair] = interleave(rounds, Stat::Median, subject, peer)?;
    Ok(Line::ratio(place.row, what, Unit::Micros, &pair, Stat::Median, GOAL))
}

/// In a task, where programs do their work.
fn run<T: Send + 'static>(
    runtime: &Runtime,
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T> {
    runtime.block_on(runtime.spawn(future)).context("a task")
}

/// How long one acquire and release takes, in microseconds.
async fn pairs(lock: Lock) -> Result<f64> {
    let start = Instant::now();
    for _ in 0..BATCH {
        let guard = lock.acquire().await?;
        let _ = guard.release().await?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(BATCH))
}

/// How long two round trips take, in microseconds.
async fn round_trips(ask: mpsc::Sender<Answer>) -> Result<f64> {
    let start = Instant::now();
    for _ in 0..2 * BATCH {
        let (answer, answered) = oneshot::channel();
        ask.send(answer).await?;
        answered.await?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(BATCH))
}
