//! From `kill -9` of `tenure run` itself to the next command running.
//!
//! The peer is `flock --no-fork`, one process that is lock holder and command in one, so that its
//! death frees the lock. flock(1) has no peer for a script: its children keep the lock for ever.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use tenure::blocking::connect;

use super::Place;
use super::queue::stamped;
use crate::pairs::interleave;
use crate::proc::{Running, descendants, flock_waiters, now_us, runs, until};
use crate::report::{Line, Unit};
use crate::stats::{Goal, Stat};

pub(super) fn death(place: &Place<'_>) -> Result<Vec<Line>> {
    // Where init is slow to wait for orphans, every round leaves its own behind, and whoever takes
    // the lock in a later one looks through them all.
    nix::sys::prctl::set_child_subreaper(true).context("become the parent of orphans")?;
    let [one] = interleave(
        place.rounds(300, 1_200),
        Stat::Median,
        || Ok([tenure(place, &["sleep", "1000"], 1)?]),
        || Ok([flock(place)?]),
    )?;
    let goal = Goal::AtMost(2_000.0);
    let peer = Some(one.peer.as_slice());
    let mut lines = vec![
        Line::own(place.row, "a command", Unit::Micros, &one.subject, peer, Stat::Median, goal),
        Line::ratio(place.row, "a command", Unit::Micros, &one, Stat::Median, Goal::None),
    ];
    let script = ["sh", "-c", "sleep 1000 & sleep 1000 & wait"];
    let rounds = place.rounds(200, 200).most;
    let many = (0..rounds).map(|_| tenure(place, &script, 3)).collect::<Result<Vec<_>>>()?;
    let (what, goal) = ("a script with children", Goal::AtMost(20_000.0));
    lines.push(Line::own(place.row, what, Unit::Micros, &many, None, Stat::Median, goal));
    lines.push(Line::own(place.row, what, Unit::Micros, &many, None, Stat::P99, goal));
    Ok(lines)
}

/// One death: microseconds, after making sure that nothing of the dead one's work was left.
fn tenure(place: &Place<'_>, command: &[&str], processes: usize) -> Result<f64> {
    let client = connect(&place.url)?;
    let mut holder = Running::start(&mut place.tenure(&[], "L", command))?;
    until("the command to run", || Ok(descendants(holder.pid())?.len() >= processes))?;
    let work = descendants(holder.pid())?;
    let stamps = place.path("stamps");
    let next = Running::start(&mut place.tenure(&[], "L", &next(place, &stamps)))?;
    until("the next to queue", || Ok(client.show("L")?.queue.len() == 1))?;
    let took = kill_and_time(&mut holder, next, &stamps)?;
    let left: Vec<_> = work.iter().filter(|pid| runs(**pid)).collect();
    ensure!(left.is_empty(), "the next ran while the dead one's {left:?} still did");
    for pid in work {
        waitpid(Pid::from_raw(i32::try_from(pid)?), None).context("wait for an orphan")?;
    }
    Ok(took)
}

fn flock(place: &Place<'_>) -> Result<f64> {
    let mut holder = Running::start(&mut place.flock(&["--no-fork"], "L", &["sleep", "1000"]))?;
    let file = place.path("L");
    let (inode, pid) = (std::path::Path::new(&file), holder.pid());
    until("the command to run", || {
        Ok(fs::read_to_string(format!("/proc/{pid}/comm"))?.trim() == "sleep")
    })?;
    let stamps = place.path("stamps");
    let next = Running::start(&mut place.flock(&[], "L", &next(place, &stamps)))?;
    until("the next to queue", || Ok(flock_waiters(inode)? == 1))?;
    kill_and_time(&mut holder, next, &stamps)
}

fn next<'a>(place: &'a Place<'_>, stamps: &'a str) -> [&'a str; 2] {
    // A path that cargo builds in is text.
    [place.bench.stamp.to_str().unwrap_or_default(), stamps]
}

fn kill_and_time(holder: &mut Running, next: Running, stamps: &str) -> Result<f64> {
    std::thread::sleep(std::time::Duration::from_millis(3));
    let start = now_us();
    holder.kill()?;
    next.finish()?;
    holder.wait()?;
    let ran = stamped(stamps)?.first().context("the next did not run")?.0;
    fs::remove_file(stamps)?;
    Ok(ran - start)
}
