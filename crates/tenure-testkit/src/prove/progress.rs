//! How a search goes: one line on a terminal, written over every half second; and CPU time.
//!
//! Owns the line. Nothing is shown when stderr is no terminal.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The line on the terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    shown: bool,
    next: Instant,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { shown: stderr().is_terminal(), next: Instant::now() }
    }

    /// Shows the line, if it is time.
    pub(crate) fn show(&mut self, line: impl FnOnce() -> String) {
        if self.shown && Instant::now() >= self.next {
            self.next = Instant::now() + Duration::from_millis(500);
            // A line that cannot be shown is no reason to stop.
            let _ = write!(stderr(), "\r\x1b[K{}", line());
        }
    }

    /// Clears it.
    pub(crate) fn done(&self) {
        if self.shown {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

/// CPU time this thread has used.
pub(crate) fn cpu_time() -> Duration {
    let t = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(t.tv_nsec).unwrap_or(0))
}
