//! What a [`World`](super::world::World) is made of: a tape of choices, and claims with a driver's
//! knowledge and a clock of their own.

use std::rc::Rc;
use std::time::Duration;

use tenure_core::{Claim, Record, Session, Time, Version, View};

pub(crate) const DRIFT_PPM: u32 = 10_000;
pub(crate) const SECOND: u64 = 1_000_000_000;
/// A message's time on the way, in milliseconds. The ttl is 15 s.
const DELAYS: [u64; 8] = [0, 0, 7, 300, 1_500, 3_000, 9_000, 20_000];

pub(crate) struct Tape<'a>(pub(crate) &'a [u16]);

impl Tape<'_> {
    /// A number below `n`.
    pub(crate) fn draw(&mut self, n: u16) -> u16 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first % n
    }

    pub(crate) fn delay(&mut self) -> u64 {
        DELAYS[usize::from(self.draw(8))] * SECOND / 1_000
    }
}

/// What a driver knows of the record.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    Unknown,
    Absent(u64),
    Is(Rc<Record>, Version, Option<Duration>),
}

impl Known {
    pub(crate) fn view(&self) -> View<'_> {
        match self {
            Self::Unknown => View::Unknown,
            Self::Absent(revision) => View::Absent { revision: *revision },
            Self::Is(record, version, age) => View::Is { record, version: *version, age: *age },
        }
    }

    pub(crate) fn revision(&self) -> u64 {
        match self {
            Self::Unknown => 0,
            Self::Absent(revision) => *revision,
            Self::Is(_, version, _) => version.revision,
        }
    }
}

/// A claim with its driver and its clock.
pub(crate) struct Peer {
    pub(crate) claim: Claim,
    pub(crate) name: String,
    pub(crate) session: Session,
    pub(crate) known: Known,
    /// How often it was started anew; what was meant for an earlier life is not for this one.
    pub(crate) life: u32,
    pub(crate) rate_ppm: i64,
    pub(crate) offset: u64,
    /// The read under way: its number, and how often the view had changed when it left.
    pub(crate) read: Option<(u64, u64)>,
    pub(crate) changes: u64,
    /// The newest revision it heard of; nothing older is news.
    pub(crate) newest: u64,
    pub(crate) timer: u64,
    pub(crate) frozen: bool,
}

impl Peer {
    pub(crate) fn local(&self, now: u64) -> Time {
        let rate = u128::try_from(1_000_000 + self.rate_ppm).unwrap();
        Time::from_nanos(self.offset + u64::try_from(u128::from(now) * rate / 1_000_000).unwrap())
    }

    /// The first instant of true time at which its clock shows `local`.
    pub(crate) fn true_time(&self, local: Time) -> u64 {
        let rate = u128::try_from(1_000_000 + self.rate_ppm).unwrap();
        let passed = u128::from(local.as_nanos().saturating_sub(self.offset));
        u64::try_from((passed * 1_000_000).div_ceil(rate)).unwrap_or(u64::MAX)
    }
}
