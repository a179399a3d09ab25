//! The child from its start to its end: signals to its group, its stops, its end.
//!
//! Invariant: the child is reaped last. Until then its number, which is its group's, cannot be
//! given to another process, so a signal never reaches a stranger.

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid,
};

use crate::exit::signal_code;

/// How the child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Code(u8),
    Signal(i32),
}

impl Ended {
    /// The exit code that stands for it.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(number) => signal_code(number),
        }
    }
}

/// What has become of the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Ended(Ended),
    /// By this signal's number; reported once.
    Stopped(i32),
}

/// A running child.
#[derive(Debug)]
pub(crate) struct Child(Pid);

impl Child {
    pub(crate) const fn new(pid: Pid) -> Self {
        Self(pid)
    }

    pub(crate) const fn group(&self) -> Pid {
        self.0
    }

    /// Sends `signal` to the group. What cannot be reached (it ended, or changed user) is not our
    /// business to report: the end is seen in [`change`](Self::change).
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill_process_group(self.0, signal);
    }

    /// Ends the group: a stopped process acts on nothing but KILL until it is continued.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
    }

    /// The latest news, without waiting. An ended child stays until [`reap`](Self::reap).
    pub(crate) fn change(&self) -> Option<Change> {
        let look = WaitIdOptions::EXITED
            | WaitIdOptions::STOPPED
            | WaitIdOptions::NOHANG
            | WaitIdOptions::NOWAIT;
        let status = match waitid(WaitId::Pid(self.0), look) {
            Ok(status) => status?,
            Err(rustix::io::Errno::INTR) => return None,
            // Somebody else's wait took the status away; nothing of it is left to learn.
            Err(_) => return Some(Change::Ended(Ended::Signal(Signal::KILL.as_raw()))),
        };
        match status.stopping_signal() {
            Some(by) => {
                let _ = waitid(WaitId::Pid(self.0), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG);
                Some(Change::Stopped(by))
            }
            None => ended(&status).map(Change::Ended),
        }
    }

    /// Lets the kernel forget the ended child.
    pub(crate) fn reap(self) {
        let _ = waitid(WaitId::Pid(self.0), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

fn ended(status: &WaitIdStatus) -> Option<Ended> {
    match (status.exit_status(), status.terminating_signal()) {
        // The kernel keeps eight bits of it.
        (Some(code), _) => Some(Ended::Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX))),
        (None, Some(number)) => Some(Ended::Signal(number)),
        (None, None) => None,
    }
}
