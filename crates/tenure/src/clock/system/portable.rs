//! Where there is no timer descriptor: a condition with a time limit.
//!
//! Nothing that runs here lives by the boot-time clock of one machine alone, but a suspend stops
//! this clock. Each wait is therefore short, and what is due is seen soon after.

use std::io;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tenure_core::Time;

/// The longest single wait.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The steady clock, from when it was first read.
pub(super) fn now() -> Time {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed() + LOOK_EVERY;
    Time::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// What the thread waits on.
#[derive(Debug)]
pub(super) struct Bell {
    at: Mutex<Option<Time>>,
    changed: Condvar,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { at: Mutex::new(None), changed: Condvar::new() })
    }

    /// Rings at `at`; `None`: not by time.
    pub(super) fn ring_at(&self, at: Option<Time>) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = at;
        self.changed.notify_one();
    }

    /// Waits for a ring.
    pub(super) fn wait(&self) {
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = at.map_or(LOOK_EVERY, |at| at.since(now()).min(LOOK_EVERY));
        drop(self.changed.wait_timeout(at, limit));
    }
}
