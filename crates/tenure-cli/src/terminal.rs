//! The terminal's foreground: who may read from it and whom its keys reach.
//!
//! Owns handing it to the child's group and taking it back. Invariant: taken only from the child,
//! never from a group that a shell has put there meanwhile. All calls here are made with SIGTTOU
//! blocked (`signals.rs`), so that none of them stops us.

use rustix::process::{Pid, getpgrp};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

/// The controlling terminal, open as stdin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal(());

/// Whether our group has the foreground of a terminal that is stdin, stdout or stderr.
pub(crate) fn in_front() -> bool {
    let fds = [stdin(), stdout(), stderr()];
    fds.iter().any(|fd| tcgetpgrp(fd).is_ok_and(|foreground| foreground == getpgrp()))
}

impl Terminal {
    /// The terminal on stdin, if it is one and controls our session.
    pub(crate) fn on_stdin() -> Option<Self> {
        tcgetpgrp(stdin()).is_ok().then_some(Self(()))
    }

    /// Whether our group has the foreground.
    pub(crate) fn is_ours(self) -> bool {
        self.is_of(getpgrp())
    }

    /// Whether `group` has the foreground.
    pub(crate) fn is_of(self, group: Pid) -> bool {
        tcgetpgrp(stdin()).is_ok_and(|foreground| foreground == group)
    }

    /// Gives the foreground to `group` if we have it; true if `group` has it now.
    pub(crate) fn give_to(self, group: Pid) -> bool {
        self.is_of(group) || (self.is_ours() && tcsetpgrp(stdin(), group).is_ok())
    }

    /// Takes the foreground back if `group` still has it.
    pub(crate) fn take_back_from(self, group: Pid) {
        if self.is_of(group) {
            // A terminal that hung up has no foreground to take.
            let _ = tcsetpgrp(stdin(), getpgrp());
        }
    }
}
