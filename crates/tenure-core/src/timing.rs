//! Lease timing: the five durations of a hold and their relations, checked once.
//!
//! ```text
//! sent ──────────── renew ───────────────── stop ──────────── deadline ───── expiry elsewhere
//!  |  renew_every    |      3 x attempt      |     grace        |   margin + drift   |
//! ```
//!
//! The holder believes until `deadline`, counted from the instant *before* its request left; a
//! contender takes over no sooner than `ttl x (1 + drift)` after it saw the record. The two meet
//! only if the clocks' rates differ by more than `drift` each way.

use core::fmt;
use core::time::Duration;

use crate::Time;
use crate::museum::{Bug, planted};
use crate::time::nanos;

const MILLION: u128 = 1_000_000;
const ATTEMPT_MAX: Duration = Duration::from_secs(5);
const ATTEMPT_MIN: Duration = Duration::from_millis(100);
const RENEW_MAX: Duration = Duration::from_secs(5);
const GRACE_MAX: Duration = Duration::from_secs(10);
const MARGIN_MIN: Duration = Duration::from_millis(100);
/// How many attempts must fit between a renewal that is due and the order to stop.
const ATTEMPTS: u32 = 3;
/// The longest ttl accepted: ten years of 366 days.
const TTL_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);

/// What a user asks for; everything but the ttl has a default that follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimingSpec {
    /// How long a hold lives after its last renewal.
    pub ttl: Duration,
    /// Time between renewals. Default: a third of the ttl, at most 5 s.
    pub renew_every: Option<Duration>,
    /// How long before the deadline work is told to stop. Default: a fifth of the ttl, at most
    /// 10 s.
    pub grace: Option<Duration>,
    /// Part of the ttl given up for what the other bounds do not cover. Default: a twentieth of
    /// the ttl, at least 100 ms.
    pub margin: Option<Duration>,
    /// Largest difference of a clock's rate from true time, in parts per million. Default: 10,000.
    pub drift_ppm: u32,
}

impl TimingSpec {
    /// The defaults for this ttl.
    #[must_use]
    pub const fn of(ttl: Duration) -> Self {
        Self { ttl, renew_every: None, grace: None, margin: None, drift_ppm: 10_000 }
    }

    fn renew_every(&self) -> Duration {
        self.renew_every.unwrap_or_else(|| (self.ttl / 3).min(RENEW_MAX))
    }

    fn grace(&self) -> Duration {
        self.grace.unwrap_or_else(|| (self.ttl / 5).min(GRACE_MAX))
    }

    fn margin(&self) -> Duration {
        self.margin.unwrap_or_else(|| (self.ttl / 20).max(MARGIN_MIN))
    }

    fn valid_for(&self) -> Option<Duration> {
        let drift = if planted(Bug::NoMarginHolder) { 0 } else { self.drift_ppm };
        let ppm = MILLION.checked_sub(u128::from(drift))?;
        scale(self.ttl, ppm).checked_sub(self.margin())
    }

    fn attempt(&self) -> Option<Duration> {
        let spent = self.grace().checked_add(self.renew_every())?;
        Some((self.valid_for()?.checked_sub(spent)? / ATTEMPTS).min(ATTEMPT_MAX))
    }

    fn fits(&self) -> bool {
        self.attempt().is_some_and(|a| a >= ATTEMPT_MIN)
    }

    fn largest_grace(&self) -> Option<Duration> {
        let spent = self.renew_every().checked_add(ATTEMPT_MIN * ATTEMPTS)?;
        self.valid_for()?.checked_sub(spent).filter(|g| !g.is_zero())
    }

    /// The smallest ttl in whole milliseconds with which the other numbers given would fit.
    fn smallest_ttl(&self) -> Option<Duration> {
        let at = |ms| Self { ttl: Duration::from_millis(ms), ..*self };
        let max = u64::try_from(TTL_MAX.as_millis()).ok().filter(|max| at(*max).fits())?;
        let (mut bad, mut good) = (0, max);
        while good - bad > 1 {
            let middle = bad + (good - bad) / 2;
            if at(middle).fits() {
                good = middle;
            } else {
                bad = middle;
            }
        }
        Some(Duration::from_millis(good))
    }
}

impl Default for TimingSpec {
    fn default() -> Self {
        Self::of(Duration::from_secs(15))
    }
}

/// Timing whose numbers fit together. Its only constructor is [`Timing::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    // In nanoseconds: every claim has a copy.
    ttl: u64,
    renew_every: u64,
    grace: u64,
    margin: u64,
    valid_for: u64,
    attempt: u64,
    drift_ppm: u32,
}

impl Timing {
    /// Checks `spec`.
    ///
    /// # Errors
    /// [`TimingError`] names the number that does not fit and the nearest that would.
    pub fn new(spec: TimingSpec) -> Result<Self, TimingError> {
        if spec.ttl.is_zero() {
            return Err(TimingError::Zero { what: "ttl" });
        }
        if spec.ttl > TTL_MAX {
            return Err(TimingError::TtlTooLong { ttl: spec.ttl, longest: TTL_MAX });
        }
        if spec.renew_every().is_zero() {
            return Err(TimingError::Zero { what: "renew interval" });
        }
        if !spec.fits() {
            return Err(TimingError::DoesNotFit {
                ttl: spec.ttl,
                grace: spec.grace(),
                largest_grace: spec.largest_grace(),
                smallest_ttl: spec.smallest_ttl(),
            });
        }
        Ok(Self::unchecked(spec))
    }

    /// The three numbers that other tools ask for: how long a hold lives after its last renewal;
    /// how long after it work is told to stop, unless there was another; and the time between
    /// renewals.
    ///
    /// # Errors
    /// As [`Timing::new`].
    pub fn of(
        ttl: Duration,
        renew_deadline: Duration,
        renew_every: Duration,
    ) -> Result<Self, TimingError> {
        let spec = TimingSpec { renew_every: Some(renew_every), ..TimingSpec::of(ttl) };
        let Some(latest) = spec.valid_for() else { return Self::new(spec) };
        let Some(grace) = latest.checked_sub(renew_deadline) else {
            return Err(TimingError::RenewDeadlineTooLate { renew_deadline, latest });
        };
        Self::new(TimingSpec { grace: Some(grace), ..spec })
    }

    /// The same for a lock whose holds others end by their own wall clocks, which may be `skew`
    /// apart from ours: its holder stops that much earlier.
    ///
    /// # Errors
    /// As [`Timing::new`], and for a ttl of less than four times the skew.
    pub fn for_wall_clocks(self, skew: Duration) -> Result<Self, TimingError> {
        let spec = TimingSpec {
            ttl: self.ttl(),
            renew_every: Some(self.renew_every()),
            grace: Some(self.grace()),
            margin: Some(self.margin().saturating_add(skew)),
            drift_ppm: self.drift_ppm,
        };
        let (least, ttl, grace) = (skew.saturating_mul(4), spec.ttl, self.grace());
        if ttl < least {
            let (largest_grace, smallest_ttl) = (spec.largest_grace(), Some(least));
            return Err(TimingError::DoesNotFit { ttl, grace, largest_grace, smallest_ttl });
        }
        Self::new(spec)
    }

    /// As Kubernetes' own components time their leader election: 15 s, told to stop after 10 s,
    /// renewed every 2 s.
    #[must_use]
    pub fn client_go() -> Self {
        Self::preset(15, 10, 2)
    }

    /// As the Go library leaselock does: 60 s, told to stop after 15 s, renewed every 5 s.
    #[must_use]
    pub fn leaselock() -> Self {
        Self::preset(60, 15, 5)
    }

    /// As the Go library kubelock does: 5 min, the rest follows from it.
    #[must_use]
    pub fn kubelock() -> Self {
        Self::unchecked(TimingSpec::of(Duration::from_secs(300)))
    }

    /// Numbers in seconds that a test holds against the checks.
    fn preset(ttl: u64, renew_deadline: u64, renew_every: u64) -> Self {
        let seconds = Duration::from_secs;
        let spec =
            TimingSpec { renew_every: Some(seconds(renew_every)), ..TimingSpec::of(seconds(ttl)) };
        let latest = spec.valid_for().unwrap_or_default();
        let grace = latest.saturating_sub(seconds(renew_deadline));
        Self::unchecked(TimingSpec { grace: Some(grace), ..spec })
    }

    fn unchecked(spec: TimingSpec) -> Self {
        let one_long = planted(Bug::OneLongAttempt);
        let attempt = if one_long { spec.valid_for() } else { spec.attempt() };
        Self {
            ttl: nanos(spec.ttl),
            renew_every: nanos(spec.renew_every()),
            grace: nanos(spec.grace()),
            margin: nanos(spec.margin()),
            valid_for: nanos(spec.valid_for().unwrap_or_default()),
            attempt: nanos(attempt.unwrap_or_default()),
            drift_ppm: spec.drift_ppm,
        }
    }

    /// How long a hold lives after its last renewal, as the record says it.
    #[must_use]
    pub const fn ttl(&self) -> Duration {
        Duration::from_nanos(self.ttl)
    }

    /// Time between renewals.
    #[must_use]
    pub const fn renew_every(&self) -> Duration {
        Duration::from_nanos(self.renew_every)
    }

    /// How long before its deadline a holder is told to stop.
    #[must_use]
    pub const fn grace(&self) -> Duration {
        Duration::from_nanos(self.grace)
    }

    /// What is given up of the ttl, beyond what drift takes, before the deadline.
    #[must_use]
    pub const fn margin(&self) -> Duration {
        Duration::from_nanos(self.margin)
    }

    /// How long one attempt to write may take before its outcome counts as unknown.
    #[must_use]
    pub const fn attempt(&self) -> Duration {
        Duration::from_nanos(self.attempt)
    }

    /// When a hold ends for its holder, if its last acknowledged write was sent at `sent`.
    #[must_use]
    pub fn deadline(&self, sent: Time) -> Time {
        sent.after(Duration::from_nanos(self.valid_for))
    }

    /// The same for a ttl other than this timing's own, with no smaller a margin.
    #[must_use]
    pub fn deadline_of(&self, sent: Time, ttl: Duration) -> Time {
        if ttl == self.ttl() {
            return self.deadline(sent);
        }
        let margin = (ttl / 20).max(MARGIN_MIN).max(self.margin());
        let ppm = MILLION.saturating_sub(u128::from(self.drift_ppm));
        sent.after(scale(ttl, ppm).saturating_sub(margin))
    }

    /// How much faster than a holder's clock, in parts per million, the clock of one who waits for
    /// the hold to expire may be, before both could believe at once. More than is promised, as the
    /// margin covers it, too.
    #[must_use]
    pub fn rate_limit_ppm(&self) -> u32 {
        beyond(self.expiry(self.ttl()), Duration::from_nanos(self.valid_for))
    }

    /// The same for the clock of a server that ends the hold itself when it was not kept alive.
    #[must_use]
    pub fn server_rate_limit_ppm(&self) -> u32 {
        let valid = Duration::from_nanos(self.valid_for);
        beyond(self.ttl(), valid.saturating_sub(self.error(self.ttl())))
    }

    /// How far a clock may be wrong at the end of a ttl.
    pub(crate) fn error(&self, ttl: Duration) -> Duration {
        scale(ttl, u128::from(self.drift_ppm))
    }

    /// How long a contender must see an entry of this `ttl` unchanged before it may take over.
    #[must_use]
    pub fn expiry(&self, ttl: Duration) -> Duration {
        let drift = if planted(Bug::NoMarginContender) { 0 } else { self.drift_ppm };
        scale(ttl, MILLION + u128::from(drift)).saturating_add(Duration::from_nanos(1))
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::unchecked(TimingSpec::default())
    }
}

/// By how many parts per million `wait` is longer than `hold`, rounded down.
fn beyond(wait: Duration, hold: Duration) -> u32 {
    let (wait, hold) = (wait.as_nanos(), hold.as_nanos().max(1));
    u32::try_from((wait * MILLION / hold).saturating_sub(MILLION)).unwrap_or(u32::MAX)
}

/// `d` times `ppm` millionths, rounded down, saturating.
fn scale(d: Duration, ppm: u128) -> Duration {
    let nanos = d.as_nanos().saturating_mul(ppm) / MILLION;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Why a timing was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimingError {
    /// A duration that must be positive is zero.
    Zero {
        /// Which one.
        what: &'static str,
    },
    /// The ttl is longer than any use.
    TtlTooLong {
        /// What was asked for.
        ttl: Duration,
        /// The longest accepted.
        longest: Duration,
    },
    /// Work would be told to stop after its hold has ended.
    RenewDeadlineTooLate {
        /// When it would be told, counted from the last renewal.
        renew_deadline: Duration,
        /// When the hold ends for its holder, counted so.
        latest: Duration,
    },
    /// Three attempts to renew do not fit between the renewal and the order to stop.
    DoesNotFit {
        /// The ttl asked for.
        ttl: Duration,
        /// The stop grace asked for or derived.
        grace: Duration,
        /// The largest grace that fits this ttl, if any does.
        largest_grace: Option<Duration>,
        /// The smallest ttl that fits the other numbers, if any does.
        smallest_ttl: Option<Duration>,
    },
}

impl fmt::Display for TimingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero { what } => write!(f, "{what} is zero; give a positive duration"),
            Self::TtlTooLong { ttl, longest } => {
                write!(f, "ttl {ttl:?} is too long; the longest is {longest:?}")
            }
            Self::RenewDeadlineTooLate { renew_deadline, latest } => write!(
                f,
                "a renew deadline of {renew_deadline:?} is too late: the hold ends for its holder \
                 after {latest:?}; give less"
            ),
            Self::DoesNotFit { ttl, grace, largest_grace, smallest_ttl } => {
                match largest_grace {
                    Some(g) => write!(
                        f,
                        "a grace of {grace:?} does not fit a ttl of {ttl:?}: the largest grace for \
                         it is {g:?}"
                    )?,
                    // Whatever the grace, be it one that nobody asked for.
                    None => write!(f, "a ttl of {ttl:?} is too short")?,
                }
                match smallest_ttl {
                    Some(t) => write!(f, ", the smallest ttl that fits is {t:?}"),
                    None => write!(f, ", and no ttl fits the other numbers"),
                }
            }
        }
    }
}

impl core::error::Error for TimingError {}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn the_default_is_what_the_design_says() {
        let t = Timing::new(TimingSpec::default()).unwrap();
        assert_eq!(t, Timing::default());
        assert_eq!((t.ttl(), t.renew_every(), t.grace()), (ms(15_000), ms(5_000), ms(3_000)));
        assert_eq!(t.deadline(Time::ZERO), Time::ZERO.after(ms(14_100)));
        assert_eq!(t.attempt(), ms(6_100) / 3);
        assert!(t.expiry(ms(15_000)) > ms(15_150) && t.expiry(ms(15_000)) < ms(15_151));
    }

    #[test]
    fn the_limit_of_clock_rates_is_above_what_is_promised() {
        let t = Timing::default();
        assert_eq!((t.rate_limit_ppm(), t.server_rate_limit_ppm()), (74_468, 75_268));
        let spec = TimingSpec { margin: Some(Duration::ZERO), ..TimingSpec::default() };
        let bare = Timing::new(spec).unwrap();
        // One clock slow by a hundredth and one fast by one are apart by a little more than two.
        assert_eq!((bare.rate_limit_ppm(), bare.server_rate_limit_ppm()), (20_202, 20_408));
    }

    #[test]
    fn where_wall_clocks_end_a_hold_its_holder_stops_earlier_by_their_difference() {
        let skew = ms(5_000);
        let t = Timing::new(TimingSpec::of(ms(60_000))).unwrap();
        let earlier = t.for_wall_clocks(skew).unwrap();
        assert_eq!(earlier.deadline(Time::ZERO), t.deadline(Time::ZERO).before(skew));
        assert_eq!((earlier.ttl(), earlier.grace()), (t.ttl(), t.grace()));
        assert_eq!(earlier.expiry(t.ttl()), t.expiry(t.ttl()), "others wait no less");
        let of = |n| Timing::new(TimingSpec::of(ms(n))).unwrap().for_wall_clocks(skew);
        assert!(of(20_000).is_ok());
        let Err(TimingError::DoesNotFit { smallest_ttl, .. }) = of(19_999) else { panic!() };
        assert_eq!(smallest_ttl, Some(ms(20_000)));
    }

    #[test]
    fn a_grace_that_does_not_fit_is_refused_with_numbers_that_fit() {
        let spec = TimingSpec { grace: Some(ms(10_000)), ..TimingSpec::default() };
        let Err(TimingError::DoesNotFit { largest_grace, smallest_ttl, .. }) = Timing::new(spec)
        else {
            panic!("accepted");
        };
        let (grace, ttl) = (largest_grace.unwrap(), smallest_ttl.unwrap());
        assert!(Timing::new(TimingSpec { grace: Some(grace), ..spec }).is_ok());
        assert!(Timing::new(TimingSpec { grace: Some(grace + ms(1)), ..spec }).is_err());
        assert!(Timing::new(TimingSpec { ttl, ..spec }).is_ok());
        assert!(Timing::new(TimingSpec { ttl: ttl - ms(1), ..spec }).is_err());
    }

    #[test]
    fn zero_tiny_and_absurd_are_refused() {
        for ttl in [Duration::ZERO, ms(1), ms(300), Duration::MAX] {
            assert!(Timing::new(TimingSpec::of(ttl)).is_err(), "{ttl:?}");
        }
        let spec = TimingSpec { renew_every: Some(Duration::ZERO), ..TimingSpec::default() };
        assert_eq!(Timing::new(spec), Err(TimingError::Zero { what: "renew interval" }));
        let spec = TimingSpec { drift_ppm: 2_000_000, ..TimingSpec::default() };
        assert!(Timing::new(spec).is_err());
        let spec = TimingSpec { grace: Some(Duration::MAX), ..TimingSpec::default() };
        assert!(Timing::new(spec).is_err());
    }

    #[test]
    fn presets_are_timings_that_pass_the_checks() {
        let three = |ttl, deadline, every| Timing::of(ms(ttl), ms(deadline), ms(every));
        assert_eq!(three(15_000, 10_000, 2_000), Ok(Timing::client_go()));
        assert_eq!(three(60_000, 15_000, 5_000), Ok(Timing::leaselock()));
        assert_eq!(Timing::new(TimingSpec::of(ms(300_000))), Ok(Timing::kubelock()));
        for (preset, stop) in [(Timing::client_go(), 10_000), (Timing::leaselock(), 15_000)] {
            let told = preset.deadline(Time::ZERO).before(preset.grace());
            assert_eq!(told, Time::ZERO.after(ms(stop)));
        }
    }

    #[test]
    fn a_renew_deadline_past_the_end_of_the_hold_is_refused() {
        let refused = Timing::of(ms(15_000), ms(14_500), ms(2_000)).unwrap_err();
        let shown = alloc::format!("{refused}");
        assert!(shown.contains("14.5s") && shown.contains("14.1s"), "{shown}");
        let latest =
            TimingError::RenewDeadlineTooLate { renew_deadline: ms(14_500), latest: ms(14_100) };
        assert_eq!(refused, latest);
        assert!(Timing::of(ms(100), ms(50), ms(10)).is_err());
    }
}
