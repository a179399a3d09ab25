//! Many processes at once: on locks of their own, and on one.
//!
//! All processes of a round are started and ready before the first may begin.

use anyhow::Result;

use super::Place;
use crate::pairs::interleave;
use crate::proc::Running;
use crate::report::{Line, Unit};
use crate::stats::{Goal, Stat};

/// What a round of turns came to.
struct Turns {
    per_second: f64,
    worst_us: f64,
}

/// Lets `count` processes take turns of `kind` for so long, each on its own lock or all on one.
fn turns(place: &Place<'_>, kind: &str, count: usize, millis: u32, shared: bool) -> Result<Turns> {
    let durable_or_plain = matches!(kind, "plain" | "durable");
    let at = if durable_or_plain { place.url.clone() } else { place.dir.display().to_string() };
    let mut all = (0..count)
        .map(|i| {
            let name = if shared { format!("{kind}-all") } else { format!("{kind}-{i}") };
            let args = ["churn", kind, &at, &name, &millis.to_string()];
            Running::talking(&mut place.child(&args))
        })
        .collect::<Result<Vec<_>>>()?;
    for child in &mut all {
        child.hear()?;
    }
    for child in &mut all {
        child.tell("go")?;
    }
    let mut found = Turns { per_second: 0.0, worst_us: 0.0 };
    for mut child in all {
        found.per_second += child.hear_number()?;
        found.worst_us = found.worst_us.max(child.hear_number()?);
        child.finish()?;
    }
    Ok(found)
}

/// Synced writes per second: an acquire and a release are one each. For the most processes also
/// what is left of them by the system calls of such a change alone, which no code around them beats.
pub(super) fn parallel(place: &Place<'_>) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for count in [8, 16, 32, 64] {
        let rate = |kind| move || Ok([2.0 * turns(place, kind, count, 500, false)?.per_second]);
        let [writes] =
            interleave(place.rounds(10, 40), Stat::Median, rate("durable"), rate("raw"))?;
        let (what, goal) = (format!("{count} processes, synced writes"), Goal::AtLeast(0.8));
        lines.push(Line::ratio(place.row, what, Unit::PerSecond, &writes, Stat::Median, goal));
    }
    for count in [32, 64] {
        let rate = |kind| move || Ok([2.0 * turns(place, kind, count, 500, false)?.per_second]);
        let [calls] = interleave(place.rounds(10, 20), Stat::Median, rate("calls"), rate("raw"))?;
        let what = format!("{count} processes, the system calls alone");
        lines.push(Line::ratio(place.row, what, Unit::PerSecond, &calls, Stat::Median, Goal::None));
    }
    Ok(lines)
}

/// The longest that any of 64 waited for its turn; flock(2) beside it.
pub(super) fn one_lock(place: &Place<'_>) -> Result<Vec<Line>> {
    let arm = |kind| {
        move || {
            let found = turns(place, kind, 64, 1_000, true)?;
            Ok([found.worst_us, found.per_second])
        }
    };
    let [worst, rate] = interleave(place.rounds(10, 10), Stat::Median, arm("plain"), arm("flock"))?;
    let peer = Some(worst.peer.as_slice());
    let goal = Goal::AtMost(150_000.0);
    Ok(vec![
        Line::worst(place.row, "worst wait", Unit::Micros, &worst.subject, peer, goal),
        Line::ratio(place.row, "turns", Unit::PerSecond, &rate, Stat::Median, Goal::None),
    ])
}
