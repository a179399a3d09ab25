//! What can be counted: it says the same on a noisy machine as on a quiet one.
//!
//! `tests/counts.rs` gates on the same figures.

use anyhow::{Context as _, Result};

use super::Place;
use crate::count::{Calls, Trace, trace};
use crate::report::Line;

/// The system call that tells the phases of a traced child apart.
pub const MARK: &str = "getpriority";

pub(super) fn counts(place: &Place<'_>) -> Result<Vec<Line>> {
    let row = place.row;
    let mut lines = Vec::new();
    for (durable, syncs) in [("plain", 0), ("durable", 1)] {
        let (acquire, release) = steady(&phases(place, durable)?)?;
        for (what, calls) in [("acquire", acquire), ("release", release)] {
            let (writes, synced) = (calls.writes(), calls.syncs());
            let text = format!("{durable} {what}: {writes} writes, {synced} syncs; calls {calls}");
            lines.push(Line::check(row, text, synced <= syncs));
        }
    }
    let tenure = place.bench.tenure.display().to_string();
    let (flock, flock_file) = ("flock", place.path("L"));
    let run = |command: &[&str]| trace(&place.bench.me, command, &[("TENURE_STORE", &place.url)]);
    for options in [&[][..], &["--durable"]] {
        let command = [&[tenure.as_str(), "run"], options, &["L", "--", "true"]].concat();
        // Once to make the store.
        run(&command)?;
        let calls = run(&command)?.all();
        let text = format!("`tenure run {}`, all of it: {}", options.join(" "), of_all(&calls));
        lines.push(Line::note(row, text));
    }
    let calls = run(&[flock, &flock_file, "true"])?.all();
    lines.push(Line::note(row, format!("`flock`, all of it: {}", of_all(&calls))));
    Ok(lines)
}

fn of_all(calls: &Calls) -> String {
    format!("{} writes, {} syncs; calls {calls}", calls.writes(), calls.syncs())
}

fn phases(place: &Place<'_>, durable: &str) -> Result<Trace> {
    let me = place.bench.me.to_str().context("this program's path is not text")?;
    trace(&place.bench.me, &[me, "child", "phases", &place.url, durable, "20"], &[])
}

/// What the last acquire and the last release of a process that has done many needed.
///
/// # Errors
/// If the trace has no such phases.
pub fn steady(trace: &Trace) -> Result<(Calls, Calls)> {
    let phases = trace.between(MARK);
    match &phases[..] {
        [.., acquire, release] => Ok((acquire.clone(), release.clone())),
        _ => anyhow::bail!("the traced child never came to its marks"),
    }
}
