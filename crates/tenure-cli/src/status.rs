//! `--status-fd`: what happened, one JSON object per line.
//!
//! Invariant: telling never hurts the hold. A full pipe is waited for at the end only, and briefly;
//! a reader that went away ends the telling; a descriptor that cannot be written to is refused
//! before anything is acquired. The last event, and no other, is `ended`. Fields are only ever added.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fcntl_getfl};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use serde::Serialize;

use crate::exit::{Failure, Outcome};
use crate::json;

/// What a pipe takes whole when it says it takes anything.
const AT_ONCE: usize = 4096;
/// What is kept for a reader that is behind; beyond it events are dropped.
const BACKLOG_MAX: usize = 1 << 16;
/// How long the last lines wait for a slow reader.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// One event. Fields that an event does not have are left out.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) struct Event<'a> {
    pub(crate) event: &'static str,
    pub(crate) at: String,
    pub(crate) lock: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) store: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<u64>,
    /// How many stand in line before us.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ticket: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) held_by: Option<json::HeldBy<'a>>,
    /// What it all came to; only of `ended`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<Outcome>,
    /// Why the hold was lost, the work stopped, or tenure ended with a code of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'a str>,
    /// The command's exit code, of `exited` unless it has `signal`; tenure's, of `ended`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remaining_ms: Option<u64>,
}

/// Where the events go; `None` where nobody asked for them.
#[derive(Debug)]
pub(crate) struct Status {
    to: Option<OwnedFd>,
    backlog: Vec<u8>,
}

impl Status {
    /// Opens descriptor `number` of this process for events.
    ///
    /// To be called before this process opens anything, so that a number the user left closed is
    /// not one of ours.
    ///
    /// # Errors
    /// Names a descriptor that is not open, or not for writing.
    pub(crate) fn open(number: Option<i32>) -> Result<Self, Failure> {
        let to = number
            .map(|n| duplicate(n).and_then(writable).map_err(|e| refused(n, &e)))
            .transpose()?;
        Ok(Self { to, backlog: Vec::new() })
    }

    /// Tells `event`; `at` is filled in here.
    pub(crate) fn tell(&mut self, event: Event<'_>) {
        if self.backlog.len() <= BACKLOG_MAX {
            self.note(event);
            self.flush();
        }
    }

    fn note(&mut self, mut event: Event<'_>) {
        if self.to.is_none() {
            return;
        }
        event.at = json::now();
        if let Ok(line) = serde_json::to_vec(&event) {
            self.backlog.extend(line);
            self.backlog.push(b'\n');
        }
    }

    /// The descriptor to poll for writing while something is left to tell.
    pub(crate) fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        self.to.as_ref().filter(|_| !self.backlog.is_empty()).map(AsFd::as_fd)
    }

    /// Writes what can be written without waiting.
    pub(crate) fn flush(&mut self) {
        self.flush_within(Duration::ZERO);
    }

    /// Tells how the run has `ended`, as the last event, and writes the rest: waits for a slow
    /// reader, but not for long.
    pub(crate) fn end(mut self, lock: &str, done: &Result<u8, Failure>) {
        let blank = Event { event: "ended", lock, ..Event::default() };
        self.note(match done {
            Ok(code) => Event { outcome: Some(Outcome::Command), code: Some(*code), ..blank },
            Err(failure) => Event {
                outcome: Some(failure.outcome),
                code: Some(failure.code),
                reason: failure.text.as_deref(),
                held_by: failure.held_by.as_deref().map(json::HeldBy::of),
                ..blank
            },
        });
        self.flush_within(LAST_WAIT);
    }

    fn flush_within(&mut self, limit: Duration) {
        while let Some(to) = self.waits_for() {
            if !ready(to, limit) {
                return;
            }
            let piece = &self.backlog[..self.backlog.len().min(AT_ONCE)];
            match rustix::io::write(to, piece) {
                Ok(written) => {
                    self.backlog.drain(..written);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // The reader is gone, or the disk is full: nobody is told any more.
                Err(_) => self.to = None,
            }
        }
    }
}

/// The descriptor is shared with whoever opened it, so it is not made non-blocking: others would
/// be surprised. Asking first does as well.
fn ready(to: BorrowedFd<'_>, limit: Duration) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(to, PollFlags::OUT)];
    let limit = Timespec::try_from(limit).ok();
    poll(&mut fds, limit.as_ref()).is_ok_and(|n| n > 0)
}

/// A duplicate that shares the position in a file, as `dup` makes it; `dup` itself cannot be
/// called safely with a number. Kernels and sandboxes without pidfd_getfd get a second opening.
fn duplicate(number: i32) -> io::Result<OwnedFd> {
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    if own.as_raw_fd() == number {
        // The number was free until this very moment.
        return Err(Errno::BADF.into());
    }
    match pidfd_getfd(&own, number, PidfdGetfdFlags::empty()) {
        Err(Errno::NOSYS | Errno::PERM) => {
            let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NONBLOCK;
            Ok(rustix::fs::open(format!("/proc/self/fd/{number}"), flags, Mode::empty())?)
        }
        other => Ok(other?),
    }
}

fn writable(fd: OwnedFd) -> io::Result<OwnedFd> {
    let mode = fcntl_getfl(&fd)? & OFlags::RWMODE;
    if mode == OFlags::WRONLY || mode == OFlags::RDWR { Ok(fd) } else { Err(Errno::ACCESS.into()) }
}

fn refused(number: i32, error: &io::Error) -> Failure {
    let why = match Errno::from_io_error(error) {
        Some(Errno::BADF | Errno::NOENT) => "it is not open; open it as in `3>events.json`",
        Some(Errno::ACCESS) => "it is open for reading only; open it as in `3>events.json`",
        _ => return Failure::new(format!("--status-fd {number}: {error}")),
    };
    Failure::new(format!("--status-fd {number}: {why}"))
}
