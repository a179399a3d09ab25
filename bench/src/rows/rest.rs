//! The rows that are no race: idle cost, memory, listing.
//!
//! A peer's figure stands beside ours where it has one; the goals are absolute.

use std::time::Duration;

use anyhow::{Result, ensure};
use tenure::blocking::connect;

use super::Place;
use crate::proc::{Running, cpu_of, flock_waiters, now_us, resident_of, timed, until};
use crate::report::{Line, Unit};
use crate::stats::{Goal, Stat};

/// Waiters that are watched at once, and for how long.
const WAITERS: usize = 5;
const WATCHED: Duration = Duration::from_secs(20);

/// Processor time per second of a waiter that nothing happens to; flock(1)'s waiters beside it.
pub(super) fn idle(place: &Place<'_>) -> Result<Vec<Line>> {
    let client = connect(&place.url)?;
    let hold = ["sleep", "1000"];
    let mut holders = [
        Running::start(&mut place.tenure(&[], "L", &hold))?,
        Running::start(&mut place.flock(&["--no-fork"], "L", &hold))?,
    ];
    until("both to be held", || {
        let comm = std::fs::read_to_string(format!("/proc/{}/comm", holders[1].pid()))?;
        Ok(comm.trim() == "sleep" && !client.show("L")?.holders.is_empty())
    })?;
    let tenure = start(WAITERS, || place.tenure(&[], "L", &["true"]))?;
    let flock = start(WAITERS, || place.flock(&[], "L", &["true"]))?;
    let file = place.path("L");
    until("all to queue", || {
        let (ours, theirs) = (client.show("L")?.queue.len(), flock_waiters(file.as_ref())?);
        Ok((ours, theirs) == (WAITERS, WAITERS))
    })?;
    std::thread::sleep(Duration::from_secs(1));
    let before = (costs(&tenure)?, costs(&flock)?);
    std::thread::sleep(WATCHED);
    let after = (costs(&tenure)?, costs(&flock)?);
    for holder in &mut holders {
        holder.kill()?;
    }
    let (ours, theirs) = (per_second(&before.0, &after.0), per_second(&before.1, &after.1));
    let sleeps = after.0.iter().zip(&before.0).map(|(a, b)| a.1 - b.1).max().unwrap_or(0);
    let what = format!("per second, worst of {WAITERS} ({sleeps} wake-ups in {WATCHED:?})");
    let goal = Goal::AtMost(100.0);
    Ok(vec![Line::worst(place.row, what, Unit::Micros, &ours, Some(&theirs), goal)])
}

fn start(count: usize, mut command: impl FnMut() -> std::process::Command) -> Result<Vec<Running>> {
    (0..count).map(|_| Running::start(&mut command())).collect()
}

fn costs(processes: &[Running]) -> Result<Vec<(f64, u64)>> {
    processes.iter().map(|p| cpu_of(p.pid())).collect()
}

fn per_second(before: &[(f64, u64)], after: &[(f64, u64)]) -> Vec<f64> {
    after.iter().zip(before).map(|(a, b)| (a.0 - b.0) / WATCHED.as_secs_f64()).collect()
}

/// Resident size while a command runs.
pub(super) fn resident(place: &Place<'_>) -> Result<Vec<Line>> {
    let (mut now, mut most, mut peer) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..10 {
        let command = ["cat"];
        for (run, ours) in
            [(place.tenure(&[], "L", &command), true), (place.flock(&[], "L", &command), false)]
        {
            let mut run = run;
            let mut process = Running::talking(&mut run)?;
            process.tell("on")?;
            process.hear()?;
            let [rss, peak] = resident_of(process.pid())?.map(|kib| kib as f64);
            if ours {
                now.push(rss);
                most.push(peak);
            } else {
                peer.push(rss);
            }
            process.finish()?;
        }
    }
    let goal = Goal::AtMost(8.0 * 1024.0);
    Ok(vec![
        Line::worst(place.row, "VmRSS", Unit::KiB, &now, Some(&peer), goal),
        Line::worst(place.row, "VmHWM", Unit::KiB, &most, None, goal),
    ])
}

/// `tenure ls`, its output read to the end; the library's own listing beside it.
pub(super) fn listing(place: &Place<'_>) -> Result<Vec<Line>> {
    const LOCKS: usize = 10_000;
    let mut holder = Running::talking(&mut place.child(&["hold", &place.url, &LOCKS.to_string()]))?;
    ensure!(holder.hear()? == "ready", "the holder did not get ready");
    let client = connect(&place.url)?;
    ensure!(client.list()?.len() == LOCKS, "not all locks are listed");
    let mut lines = Vec::new();
    for (what, args) in [("text", &["ls"][..]), ("JSON", &["ls", "--output", "json"])] {
        let mut ls = place.quiet(&place.bench.tenure);
        ls.args(args);
        let found = (0..30).map(|_| Ok(timed(&mut ls)?[0])).collect::<Result<Vec<_>>>()?;
        let (unit, goal) = (Unit::Micros, Goal::AtMost(150_000.0));
        lines.push(Line::own(place.row, what, unit, &found, None, Stat::Median, goal));
    }
    let mut library = Vec::new();
    for _ in 0..30 {
        let start = now_us();
        ensure!(client.list()?.len() == LOCKS, "not all locks are listed");
        library.push(now_us() - start);
    }
    let (unit, stat, goal) = (Unit::Micros, Stat::Median, Goal::None);
    lines.push(Line::own(place.row, "the library's part", unit, &library, None, stat, goal));
    holder.close_input();
    holder.finish()?;
    Ok(lines)
}
