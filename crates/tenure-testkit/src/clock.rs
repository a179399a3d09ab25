//! The two clocks a driver reads, for tests that drive by real time.

use std::time::SystemTime;

use rustix::time::{ClockId, clock_gettime};
use tenure_core::{Time, Wall};

/// The boot-time clock of this machine.
pub(crate) fn now() -> Time {
    let t = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(t.tv_nsec).unwrap_or(0);
    Time::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// The wall clock.
pub(crate) fn wall() -> Wall {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Wall::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
