//! The lines of the report, as a Markdown table and as JSON.
//!
//! Owns how figures look. Measures nothing and judges nothing but by [`stats::judge`]. **What is
//! printed is the interval that was judged**, never a better one.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::pairs::Trio;
use crate::stats::{self, Goal, Interval, Spread, Stat, Verdict};

/// What a figure counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds.
    Micros,
    /// Operations per second.
    PerSecond,
    /// KiB.
    KiB,
    /// Things.
    Count,
}

impl Unit {
    fn show(self, v: f64) -> String {
        match self {
            Self::Micros if v.abs() >= 10_000.0 => format!("{:.1} ms", v / 1e3),
            Self::Micros if v.abs() >= 100.0 => format!("{v:.0} us"),
            Self::Micros => format!("{v:.2} us"),
            Self::PerSecond if v.abs() >= 1e6 => format!("{:.2} M/s", v / 1e6),
            Self::PerSecond => format!("{v:.0} /s"),
            Self::KiB => format!("{:.2} MiB", v / 1024.0),
            Self::Count => format!("{v:.0}"),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Micros => "us",
            Self::PerSecond => "1/s",
            Self::KiB => "KiB",
            Self::Count => "count",
        }
    }
}

/// One measured thing.
#[derive(Clone, Debug)]
pub struct Line {
    row: &'static str,
    what: String,
    unit: Unit,
    subject: Option<Spread>,
    peer: Option<Spread>,
    judged: String,
    found: Option<Interval>,
    itself: Option<Interval>,
    goal: Goal,
    verdict: Verdict,
    others: f64,
}

/// From this share of the machine on, others make absolute times worse than they are.
const OTHERS_MAX: f64 = 0.05;

impl Line {
    /// Notes which share of the machine others used meanwhile. A time that missed its goal on a
    /// busy machine says nothing; one that reached it there does.
    #[must_use]
    pub fn among(mut self, others: f64) -> Self {
        self.others = others;
        let time = self.unit == Unit::Micros && self.itself.is_none();
        if time && others > OTHERS_MAX && self.verdict == Verdict::Missed {
            self.verdict = Verdict::Inconclusive;
        }
        self
    }

    /// The ratio of the subject to the peer, judged.
    #[must_use]
    pub fn ratio(
        row: &'static str,
        what: impl Into<String>,
        unit: Unit,
        trio: &Trio,
        stat: Stat,
        goal: Goal,
    ) -> Self {
        let (found, itself) = (trio.ratio(stat), trio.itself(stat));
        let verdict = stats::judge(found, goal, Some(itself));
        Self {
            subject: Some(Spread::of(&trio.subject)),
            peer: Some(Spread::of(&trio.peer)),
            judged: format!("ratio of {}", stat.name()),
            found: Some(found),
            itself: Some(itself),
            ..Self::bare(row, what, unit, goal, verdict)
        }
    }

    /// The subject's own statistic, judged; a peer's figures stand beside it where there is one.
    #[must_use]
    pub fn own(
        row: &'static str,
        what: impl Into<String>,
        unit: Unit,
        subject: &[f64],
        peer: Option<&[f64]>,
        stat: Stat,
        goal: Goal,
    ) -> Self {
        let found = stats::interval(subject, stat);
        let verdict = stats::judge(found, goal, None);
        Self {
            subject: Some(Spread::of(subject)),
            peer: peer.map(Spread::of),
            judged: stat.name().into(),
            found: Some(found),
            ..Self::bare(row, what, unit, goal, verdict)
        }
    }

    /// The largest of the subject's values, judged as it is: a maximum has no interval.
    #[must_use]
    pub fn worst(
        row: &'static str,
        what: impl Into<String>,
        unit: Unit,
        subject: &[f64],
        peer: Option<&[f64]>,
        goal: Goal,
    ) -> Self {
        let spread = Spread::of(subject);
        let found = Interval { point: spread.worst, low: spread.worst, high: spread.worst };
        let verdict = stats::judge(found, goal, None);
        Self {
            subject: Some(spread),
            peer: peer.map(Spread::of),
            judged: "worst".into(),
            found: Some(found),
            ..Self::bare(row, what, unit, goal, verdict)
        }
    }

    /// A statement that holds or not; `what` says what was seen.
    #[must_use]
    pub fn check(row: &'static str, what: impl Into<String>, holds: bool) -> Self {
        let verdict = if holds { Verdict::Reached } else { Verdict::Missed };
        Self::bare(row, what, Unit::Count, Goal::None, verdict)
    }

    /// Something counted, to be read only.
    #[must_use]
    pub fn note(row: &'static str, what: impl Into<String>) -> Self {
        Self::bare(row, what, Unit::Count, Goal::None, Verdict::Reported)
    }

    fn bare(
        row: &'static str,
        what: impl Into<String>,
        unit: Unit,
        goal: Goal,
        verdict: Verdict,
    ) -> Self {
        let (subject, peer, found, itself) = (None, None, None, None);
        let (what, judged, others) = (what.into(), String::new(), 0.0);
        Self { row, what, unit, subject, peer, judged, found, itself, goal, verdict, others }
    }

    /// What the line says of its goal.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The line as a row of the table that [`HEADING`] opens.
    #[must_use]
    pub fn markdown(&self) -> String {
        let spread = |s: Option<Spread>| s.map_or_else(String::new, |s| self.spread(s));
        let own = self.itself.is_none();
        let figure = |v: f64| if own { self.unit.show(v) } else { format!("{v:.3}") };
        let found = self.found.map_or_else(String::new, |i| {
            if i.low == i.high {
                return format!("{} {}", self.judged, figure(i.point));
            }
            let (point, low, high) = (figure(i.point), figure(i.low), figure(i.high));
            format!("{} {point} [{low}, {high}]", self.judged)
        });
        let itself = self
            .itself
            .map_or_else(String::new, |i| format!("{:.3} [{:.3}, {:.3}]", i.point, i.low, i.high));
        let goal = match self.goal {
            Goal::AtMost(v) => format!("<= {}", trimmed(&figure(v))),
            Goal::AtLeast(v) => format!(">= {}", trimmed(&figure(v))),
            Goal::None => String::new(),
        };
        let (subject, peer) = (spread(self.subject), spread(self.peer));
        let (row, what, verdict) = (self.row, &self.what, self.verdict.name());
        let others = self.others * 100.0;
        format!(
            "| {row} | {what} | {subject} | {peer} | {found} | {itself} | {goal} | {others:.0} % | {verdict} |"
        )
    }

    fn spread(&self, s: Spread) -> String {
        let show = |v| self.unit.show(v);
        if s.p25 == s.worst && s.p50 == s.p25 {
            return show(s.p50);
        }
        let mut out = show(s.p50);
        let _ = write!(out, " ({}..{}); p99 {}", show(s.p25), show(s.p75), show(s.p99));
        let _ = write!(out, "; max {}; n {}", show(s.worst), s.n);
        out
    }

    /// The line for machines; numbers in the named unit, ratios without one.
    #[must_use]
    pub fn json(&self) -> Value {
        let spread = |s: Option<Spread>| {
            s.map(|s| {
                json!({"n": s.n, "p25": s.p25, "p50": s.p50, "p75": s.p75, "p99": s.p99, "max": s.worst})
            })
        };
        let interval = |i: Option<Interval>| {
            i.map(|i| json!({"point": i.point, "low": i.low, "high": i.high}))
        };
        let goal = match self.goal {
            Goal::AtMost(v) => json!({"at_most": v}),
            Goal::AtLeast(v) => json!({"at_least": v}),
            Goal::None => Value::Null,
        };
        json!({
            "row": self.row,
            "what": self.what,
            "unit": self.unit.name(),
            "tenure": spread(self.subject),
            "peer": spread(self.peer),
            "judged": self.judged,
            "found": interval(self.found),
            "peer_to_itself": interval(self.itself),
            "goal": goal,
            "others": self.others,
            "verdict": self.verdict.name(),
        })
    }
}

/// Head of the table.
pub const HEADING: &str = "\
| row | measure | tenure: p50 (p25..p75) | peer: p50 (p25..p75) | found [95 %] | peer to itself [95 %] | goal | others | verdict |
|---|---|---|---|---|---|---|---|---|";

/// Goals are round numbers: `1.100` reads better as `1.1`, `5.00 us` as `5 us`.
fn trimmed(figure: &str) -> String {
    let (number, unit) = figure.split_once(' ').unwrap_or((figure, ""));
    let number = match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
    };
    format!("{number} {unit}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trio(subject: f64, peer: f64) -> Trio {
        Trio { subject: vec![subject; 9], peer: vec![peer; 9], again: vec![peer; 9] }
    }

    #[test]
    fn a_ratio_is_printed_with_its_peer_and_its_goal() {
        let (stat, goal) = (Stat::Median, Goal::AtMost(1.1));
        let line = Line::ratio("run", "wall", Unit::Micros, &trio(210.0, 200.0), stat, goal);
        assert_eq!(
            line.markdown(),
            "| run | wall | 210 us | 200 us | ratio of p50 1.050 | 1.000 [1.000, 1.000] | <= 1.1 | 0 % | reached |"
        );
        assert_eq!(line.json()["found"]["point"], 1.05);
        assert_eq!(line.json()["goal"]["at_most"], 1.1);
    }

    #[test]
    fn an_own_figure_is_printed_in_its_unit() {
        let goal = Goal::AtMost(5.0);
        let line =
            Line::own("acquire", "free", Unit::Micros, &[6.0, 6.0], None, Stat::Median, goal);
        assert_eq!(
            line.markdown(),
            "| acquire | free | 6.00 us |  | p50 6.00 us |  | <= 5 us | 0 % | MISSED |"
        );
    }

    #[test]
    fn a_maximum_is_judged_by_its_largest_value() {
        let goal = Goal::AtMost(150_000.0);
        let worst = |v: &[f64]| Line::worst("w", "x", Unit::Micros, v, None, goal).verdict();
        assert_eq!(worst(&[1.0, 150_000.0]), Verdict::Reached);
        assert_eq!(worst(&[1.0, 150_001.0]), Verdict::Missed);
    }

    #[test]
    fn others_excuse_a_late_time_and_nothing_else() {
        let stat = Stat::Median;
        let own = |unit, v: f64, goal| Line::own("r", "w", unit, &[v; 3], None, stat, goal);
        let late = || own(Unit::Micros, 6.0, Goal::AtMost(5.0));
        assert_eq!(late().among(0.05).verdict(), Verdict::Missed);
        assert_eq!(late().among(0.06).verdict(), Verdict::Inconclusive);
        let early = own(Unit::Micros, 4.0, Goal::AtMost(5.0));
        assert_eq!(early.among(0.9).verdict(), Verdict::Reached);
        let large = own(Unit::KiB, 6.0, Goal::AtMost(5.0));
        assert_eq!(large.among(0.9).verdict(), Verdict::Missed);
    }

    #[test]
    fn units_stay_readable() {
        assert_eq!(Unit::Micros.show(1.234), "1.23 us");
        assert_eq!(Unit::Micros.show(1_234.0), "1234 us");
        assert_eq!(Unit::Micros.show(123_456.0), "123.5 ms");
        assert_eq!(Unit::PerSecond.show(5_200_000.0), "5.20 M/s");
        assert_eq!(Unit::KiB.show(4_096.0), "4.00 MiB");
        assert_eq!(trimmed("150.0 ms"), "150 ms");
        assert_eq!(trimmed("1000 us"), "1000 us");
    }
}
