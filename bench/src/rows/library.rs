//! The library in one process.
//!
//! Every value of a round is the median of many operations where one is too short to time alone.

use std::fs::File;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::fs::{FlockOperation, flock};
use tenure::blocking::{Lock, connect};

use super::Place;
use crate::child::write_synced;
use crate::pairs::interleave;
use crate::report::{Line, Unit};
use crate::stats::{Goal, Stat};

/// Operations per value.
const BATCH: usize = 200;

/// Acquire and release of a free lock; beside them flock(2) and its unlock on an open file.
pub(super) fn uncontended(place: &Place<'_>) -> Result<Vec<Line>> {
    let lock = connect(&place.url)?.lock("L");
    beside_flock(place, || batch(|| once(&lock)))
}

/// The same through the async library, in a task of a runtime with one thread, where programs do
/// their work; it must not cost more than without a runtime.
pub(super) fn uncontended_async(place: &Place<'_>) -> Result<Vec<Line>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let lock = runtime.block_on(tenure::connect(&place.url))?.lock("L");
    beside_flock(place, || runtime.block_on(runtime.spawn(batch_async(lock.clone())))?)
}

/// How long many acquisitions and releases by `subject` take, and how long flock(2) does.
fn beside_flock(place: &Place<'_>, subject: impl FnMut() -> Result<[f64; 2]>) -> Result<Vec<Line>> {
    let file = File::create(place.path("flock"))?;
    let peer = || {
        batch(|| {
            let start = Instant::now();
            flock(&file, FlockOperation::LockExclusive)?;
            let locked = start.elapsed();
            flock(&file, FlockOperation::Unlock)?;
            Ok([locked, start.elapsed() - locked])
        })
    };
    let [acquire, release] = interleave(place.rounds(200, 1_000), Stat::Median, subject, peer)?;
    let line = |what, trio: &crate::pairs::Trio| {
        let (peer, goal) = (Some(trio.peer.as_slice()), Goal::AtMost(5.0));
        Line::own(place.row, what, Unit::Micros, &trio.subject, peer, Stat::Median, goal)
    };
    Ok(vec![
        line("acquire (peer: flock(2))", &acquire),
        line("release (peer: flock(2) unlock)", &release),
    ])
}

/// How long one acquire and one release take.
fn once(lock: &Lock) -> Result<[Duration; 2]> {
    let start = Instant::now();
    let guard = lock.acquire()?;
    let acquired = start.elapsed();
    let _ = guard.release()?;
    Ok([acquired, start.elapsed() - acquired])
}

/// The medians of many, in microseconds.
fn batch(mut both: impl FnMut() -> Result<[Duration; 2]>) -> Result<[f64; 2]> {
    let took = (0..BATCH).map(|_| both()).collect::<Result<Vec<_>>>()?;
    Ok(medians(&took))
}

async fn batch_async(lock: tenure::Lock) -> Result<[f64; 2]> {
    let mut took = Vec::with_capacity(BATCH);
    for _ in 0..BATCH {
        let start = Instant::now();
        let guard = lock.acquire().await?;
        let acquired = start.elapsed();
        let _ = guard.release().await?;
        took.push([acquired, start.elapsed() - acquired]);
    }
    Ok(medians(&took))
}

fn medians(took: &[[Duration; 2]]) -> [f64; 2] {
    [0, 1].map(|i| {
        let mut all: Vec<f64> = took.iter().map(|both| micros(both[i])).collect();
        Stat::Median.of(&mut all)
    })
}

fn micros(d: Duration) -> f64 {
    d.as_secs_f64() * 1e6
}

/// Durable acquire beside one sector written in place and synced.
pub(super) fn durable(place: &Place<'_>) -> Result<Vec<Line>> {
    let lock = connect(&place.url)?.lock("L").durable(true);
    let file = File::create(place.path("raw"))?;
    write_synced(&file, 4_608)?;
    file.sync_all()?;
    let [acquire, release] = interleave(
        place.rounds(1_500, 6_000),
        Stat::Median,
        || Ok(once(&lock)?.map(micros)),
        || {
            let mut took = [0.0; 2];
            for (value, at) in took.iter_mut().zip([512, 4_608]) {
                let start = Instant::now();
                write_synced(&file, at)?;
                *value = micros(start.elapsed());
            }
            Ok(took)
        },
    )?;
    let line =
        |what, trio, goal| Line::ratio(place.row, what, Unit::Micros, trio, Stat::Median, goal);
    Ok(vec![line("acquire", &acquire, Goal::AtMost(1.2)), line("release", &release, Goal::None)])
}
