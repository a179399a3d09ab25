//! How far our wall clock is from the server's, as its answers tell.
//!
//! Where programs of others end holds by their wall clocks, a clock that is wrong by more than is
//! allowed for makes two holders: theirs and ours. **So it writes no hold**: none is taken, and none is
//! renewed, which then ends at the deadline that it had. In Leases nobody decides by it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tenure_core::Wall;
use tenure_wire::time;

/// How far clocks may be apart, in milliseconds; what holders stop earlier for.
const SKEW_MAX: i64 = 5_000;

/// How long an answer tells of the clock: no clock that runs goes a second astray in that.
const TELLS: Duration = Duration::from_secs(600);
/// How far the wall clock may go from the other in that time without having been set.
const UNSET: i64 = 1_000;

/// Between which bounds our wall clock is ahead of the server's, in milliseconds; below zero: behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// At least so much.
    pub least: i64,
    /// At most so much.
    pub most: i64,
}

/// What the last answer told.
#[derive(Debug, Default)]
pub(crate) struct ServerClock(Mutex<Option<Heard>>);

#[derive(Clone, Copy, Debug)]
struct Heard {
    /// `None`: the answer told nothing.
    ahead: Option<Ahead>,
    at: Moment,
}

/// An instant by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    at: Instant,
    wall: i64,
}

impl ServerClock {
    /// An answer of this date came to what was sent then. It tells nothing of a clock that was set in
    /// between.
    pub(crate) fn hear(&self, sent: Moment, date: Option<&str>) -> Option<Ahead> {
        let now = Moment::now();
        let heard = now.is_unset_since(sent).then(|| {
            let ahead = date.and_then(|date| ahead(sent.wall, now.wall, date));
            Heard { ahead, at: now }
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = heard;
        heard?.ahead
    }

    /// What the last answer told; `None` if there was none that still tells of our clock.
    pub(crate) fn known(&self) -> Option<Option<Ahead>> {
        let heard = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.filter(|heard| Moment::now().is_unset_since(heard.at)).map(|heard| heard.ahead)
    }
}

impl Moment {
    pub(crate) fn now() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        Self { at: Instant::now(), wall }
    }

    /// Whether our wall clock has surely not been set since `then`; a suspend, which the other clock
    /// does not count, looks as if it had.
    fn is_unset_since(self, then: Self) -> bool {
        let since = self.at.saturating_duration_since(then.at);
        let apart = (self.wall - then.wall) - i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        since <= TELLS && apart.abs() <= UNSET
    }
}

impl Ahead {
    /// What is wrong with our clock, if it surely is.
    pub(crate) fn problem(self) -> Option<String> {
        let (far, how) = match self {
            Self { least, .. } if least > SKEW_MAX => (least, "ahead of"),
            Self { most, .. } if most < -SKEW_MAX => (-most, "behind"),
            _ => return None,
        };
        Some(format!(
            "this machine's clock is {:.1} s or more {how} the server's, and other programs of this \
             format end holds by theirs: set it by NTP",
            far as f64 / 1_000.0
        ))
    }
}

/// How far our clock is ahead of one that showed this whole second somewhen between the two.
fn ahead(sent: i64, come: i64, date: &str) -> Option<Ahead> {
    let at = i64::try_from(date_of(date)?.as_micros() / 1_000).ok()?;
    Some(Ahead { least: sent - at - 999, most: come - at })
}

/// What both allow; the later one where a clock was moved in between.
pub(crate) fn narrowed(known: Ahead, now: Ahead) -> Ahead {
    let both = Ahead { least: known.least.max(now.least), most: known.most.min(now.most) };
    if both.least <= both.most { both } else { now }
}

/// Reads `Sat, 21 Nov 2026 11:34:57 GMT`.
fn date_of(text: &str) -> Option<Wall> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let parts: Vec<&str> = text.split(' ').collect();
    let [_, day, month, year, clock, "GMT"] = parts[..] else { return None };
    let month = MONTHS.find(month).filter(|at| at % 3 == 0 && month.len() == 3)? / 3 + 1;
    time::parse(&format!("{year}-{month:02}-{day}T{clock}Z"), time::Fraction::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read() {
        let date = date_of("Sat, 21 Nov 2026 11:34:57 GMT").unwrap();
        assert_eq!(date.as_micros(), 1_795_260_897_000_000);
        for text in
            ["", "Sat, 21 Nov 2026 11:34:57", "Sat, 21 Xyz 2026 11:34:57 GMT", "a b c d e GMT"]
        {
            assert_eq!(date_of(text), None, "{text}");
        }
    }

    #[test]
    fn whole_seconds_tell_more_the_more_there_are() {
        let date = "Sat, 21 Nov 2026 11:34:57 GMT";
        let at = 1_795_260_897_000;
        let first = ahead(at + 300, at + 310, date).unwrap();
        assert_eq!(first, Ahead { least: -699, most: 310 });
        let next = "Sat, 21 Nov 2026 11:34:58 GMT";
        let both = narrowed(first, ahead(at + 1_020, at + 1_030, next).unwrap());
        assert_eq!(both, Ahead { least: -699, most: 30 });
        let moved = Ahead { least: 5_000, most: 6_000 };
        assert_eq!(narrowed(both, moved), moved);
    }

    #[test]
    fn an_answer_tells_nothing_of_a_clock_that_was_set_since() {
        let at = Instant::now();
        let then = Moment { at, wall: 1_000_000 };
        let later = |seconds, wall| {
            Moment { at: at + Duration::from_secs(seconds), wall }.is_unset_since(then)
        };
        assert!(later(60, 1_060_900));
        assert!(!later(60, 1_061_001), "set ahead, or suspended");
        assert!(!later(60, 1_058_999), "set back");
        assert!(later(600, 1_600_000));
        assert!(!later(601, 1_601_000), "who knows");
    }

    #[test]
    fn an_answer_tells_nothing_of_a_clock_that_was_set_while_it_was_awaited() {
        let clock = ServerClock::default();
        let now = Moment::now();
        assert_eq!(clock.hear(now, None), None);
        assert_eq!(clock.known(), Some(None), "it is known to tell nothing");
        for hours in [-1, 1] {
            let sent = Moment { wall: now.wall + hours * 3_600_000, ..now };
            let date = "Sat, 21 Nov 2026 11:34:57 GMT";
            assert_eq!((clock.hear(sent, Some(date)), clock.known()), (None, None), "{hours} h");
        }
    }

    #[test]
    fn a_clock_is_wrong_only_where_it_surely_is() {
        let problem = |least, most| Ahead { least, most }.problem();
        assert_eq!(problem(-5_900, -5_000), None, "it may be 5 s");
        assert_eq!(problem(4_900, 5_900), None);
        assert!(problem(5_001, 6_000).unwrap().contains("5.0 s or more ahead of the server's"));
        assert!(problem(-8_000, -7_000).unwrap().contains("7.0 s or more behind the server's"));
    }
}
