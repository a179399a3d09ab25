//! Many processes at once: on locks of their own, and on one.
//!
//! All processes of a crew are started and ready before the first may begin.

use anyhow::Result;

use super::Place;
use crate::pairs::{Rounds, Trio, interleave};
use crate::proc::{Running, now_us};
use crate::report::{Line, Unit};
use crate::stats::{Goal, Stat};

/// How often a crew works before a new one takes its place: how a process lies in memory is chance,
/// and should not be the same for all rounds.
const SHIFT: usize = 25;

/// Processes that take turns of one kind whenever they are told to, and sleep in between. They live
/// through many rounds, so that a round is turns alone and can be short: what the machine does
/// meanwhile then falls on all kinds of it alike.
struct Crew<'a> {
    place: &'a Place<'a>,
    kind: &'static str,
    count: usize,
    shared: bool,
    all: Vec<Running>,
    worked: usize,
}

/// What a round of turns came to.
struct Turns {
    per_second: f64,
    worst_us: f64,
}

impl<'a> Crew<'a> {
    /// A crew of `count`, each on its own lock or all on one. It is started when it has to work.
    fn new(place: &'a Place<'a>, kind: &'static str, count: usize, shared: bool) -> Self {
        Self { place, kind, count, shared, all: Vec::new(), worked: 0 }
    }

    /// Starts new processes in place of those there are.
    fn replace(&mut self) -> Result<()> {
        self.finish()?;
        let Self { place, kind, shared, .. } = *self;
        let is_lock = matches!(kind, "plain" | "durable");
        let at = if is_lock { place.url.clone() } else { place.dir.display().to_string() };
        for i in 0..self.count {
            let name = if shared { format!("{kind}-all") } else { format!("{kind}-{i}") };
            self.all.push(Running::talking(&mut place.child(&["churn", kind, &at, &name]))?);
        }
        self.all.iter_mut().try_for_each(|child| child.hear().map(drop))
    }

    /// Lets all of them take turns for so long, and all in the same time: who starts while others
    /// do not yet, or goes on when others have ended, would have more of the machine.
    fn work(&mut self, millis: u32) -> Result<Turns> {
        if self.worked.is_multiple_of(SHIFT) {
            self.replace()?;
        }
        self.worked += 1;
        let start = now_us() + 20_000.0;
        let end = start + f64::from(millis) * 1e3;
        for child in &mut self.all {
            child.tell(&format!("{start} {end}"))?;
        }
        let mut found = Turns { per_second: 0.0, worst_us: 0.0 };
        for child in &mut self.all {
            found.per_second += child.hear_number()?;
            found.worst_us = found.worst_us.max(child.hear_number()?);
        }
        Ok(found)
    }

    /// Lets them end, each well.
    fn finish(&mut self) -> Result<()> {
        self.all.drain(..).try_for_each(Running::finish)
    }
}

/// Synced writes per second: an acquire and a release are one each. For the most processes also
/// what is left of them by the system calls of such a change alone, which no code around them beats.
pub(super) fn parallel(place: &Place<'_>) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for count in [8, 16, 32, 64] {
        let writes = rates(place, "durable", count, place.rounds(50, 300))?;
        let (what, goal) = (format!("{count} processes, synced writes"), Goal::AtLeast(0.8));
        lines.push(Line::ratio(place.row, what, Unit::PerSecond, &writes, Stat::Median, goal));
    }
    for count in [32, 64] {
        let calls = rates(place, "calls", count, place.rounds(50, 100))?;
        let what = format!("{count} processes, the system calls alone");
        lines.push(Line::ratio(place.row, what, Unit::PerSecond, &calls, Stat::Median, Goal::None));
    }
    Ok(lines)
}

/// Writes per second of `count` processes that do `kind`, beside as many that only write and sync.
fn rates(place: &Place<'_>, kind: &'static str, count: usize, rounds: Rounds) -> Result<Trio> {
    let mut subject = Crew::new(place, kind, count, false);
    let mut peer = Crew::new(place, "raw", count, false);
    let rate = |crew: &mut Crew<'_>| Ok([2.0 * crew.work(200)?.per_second]);
    let [found] = interleave(rounds, Stat::Median, || rate(&mut subject), || rate(&mut peer))?;
    subject.finish()?;
    peer.finish()?;
    Ok(found)
}

/// The longest that any of 64 waited for its turn; flock(2) beside it.
pub(super) fn one_lock(place: &Place<'_>) -> Result<Vec<Line>> {
    let mut subject = Crew::new(place, "plain", 64, true);
    let mut peer = Crew::new(place, "flock", 64, true);
    let found =
        |crew: &mut Crew<'_>| crew.work(1_000).map(|turns| [turns.worst_us, turns.per_second]);
    let [worst, rate] = interleave(
        place.rounds(10, 10),
        Stat::Median,
        || found(&mut subject),
        || found(&mut peer),
    )?;
    subject.finish()?;
    peer.finish()?;
    let peer = Some(worst.peer.as_slice());
    let goal = Goal::AtMost(150_000.0);
    Ok(vec![
        Line::worst(place.row, "worst wait", Unit::Micros, &worst.subject, peer, goal),
        Line::ratio(place.row, "turns", Unit::PerSecond, &rate, Stat::Median, Goal::None),
    ])
}
