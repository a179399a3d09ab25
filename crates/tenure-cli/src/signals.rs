//! Signals as a descriptor to poll, and stopping ourselves as Ctrl-Z does.
//!
//! All signals of interest are blocked in the (only) thread and read from a signalfd: they come
//! in order, between two steps, and no handler ever runs. Signals that tenure was started with
//! ignored are left alone, so that they stay ignored here and in the child.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::exit::{Failure, Interrupt};
use crate::hook;

/// What is read, if it was not ignored at the start.
const READ: [Signal; 11] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGCONT,
];

/// The signals of this process, from [`Signals::block`] on.
pub(crate) struct Signals {
    fd: SignalFd,
    before: SigSet,
    /// Read already, to be handed out first.
    aside: VecDeque<News>,
}

/// What a signal means to tenure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The child may have ended, stopped or continued.
    Child,
    /// To be passed on; while waiting, to end by, unless it is WINCH.
    PassOn(Signal),
    /// Somebody asks the whole job to stop.
    Stop,
    /// Somebody in our process group needs the terminal's foreground and was stopped for it.
    NeedsTerminal,
    /// We were continued.
    Continue,
}

impl Signals {
    /// Takes over the signals of this process.
    ///
    /// # Errors
    /// Only where the kernel has no descriptor left.
    pub(crate) fn block() -> Result<Self, Failure> {
        let mut set = SigSet::empty();
        READ.iter().filter(|s| !hook::was_ignored(**s as i32)).for_each(|s| set.add(*s));
        // Ignored or not, this one is needed, and `hook` has made it readable.
        set.add(Signal::SIGCHLD);
        let take = || {
            let before = set.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?;
            let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
            nix::Result::Ok(Self { fd, before, aside: VecDeque::new() })
        };
        take().map_err(|e| Failure::new(format!("cannot take over signals: {}", e.desc())))
    }

    /// The mask before [`block`](Self::block): the child's.
    pub(crate) const fn mask_before(&self) -> SigSet {
        self.before
    }

    /// The next signal that has arrived, if any.
    pub(crate) fn next(&mut self) -> Option<News> {
        self.aside.pop_front().or_else(|| self.read())
    }

    fn read(&self) -> Option<News> {
        let number = self.fd.read_signal().ok().flatten()?.ssi_signo;
        let signal = i32::try_from(number).ok().and_then(|n| Signal::try_from(n).ok())?;
        Some(match signal {
            Signal::SIGCHLD => News::Child,
            Signal::SIGCONT => News::Continue,
            Signal::SIGTSTP => News::Stop,
            Signal::SIGTTIN | Signal::SIGTTOU => News::NeedsTerminal,
            other => News::PassOn(other),
        })
    }

    /// A signal that has arrived and that ends whoever has no child to pass it to; it stays
    /// readable.
    pub(crate) fn ending(&mut self) -> Option<Signal> {
        self.set_aside();
        self.aside.iter().find_map(|news| news.ending())
    }

    /// Stops our process group, so that the shell sees a stopped job, and returns when it is
    /// continued: true. False: nothing stopped us, because the group has no shell that could
    /// continue it (an orphaned group) or was started with TSTP ignored.
    pub(crate) fn suspend(&mut self) -> bool {
        if hook::was_ignored(Signal::SIGTSTP as i32) {
            return false;
        }
        // A SIGCONT from before must not pass for the one that ends this stop.
        self.set_aside();
        let stop = SigSet::from(Signal::SIGTSTP);
        let _ = rustix::process::kill_current_process_group(rustix::process::Signal::TSTP);
        // Blocked until here: the stop happens in the next line.
        let _ = stop.thread_unblock();
        let _ = stop.thread_block();
        self.set_aside()
    }

    /// Keeps what has arrived for [`next`](Self::next), SIGCONT excepted; true if there was one.
    fn set_aside(&mut self) -> bool {
        let arrived: Vec<News> = std::iter::from_fn(|| self.read()).collect();
        let before = self.aside.len() + arrived.len();
        self.aside.extend(arrived.into_iter().filter(|news| *news != News::Continue));
        self.aside.len() < before
    }
}

/// Ends this process by SIGINT; returns only if that is ignored. Nothing may be left to clean up.
pub(crate) fn end_by_interrupt(whom: Interrupt) {
    use rustix::process::{Signal, getpid, kill_current_process_group, kill_process};
    let _ = match whom {
        Interrupt::Us => kill_process(getpid(), Signal::INT),
        Interrupt::OurGroup => kill_current_process_group(Signal::INT),
    };
    // Blocked until here, and no handler was ever set.
    let _ = SigSet::from(nix::sys::signal::Signal::SIGINT).thread_unblock();
}

impl News {
    /// The signal, if it ends a process that has no child to pass it to.
    pub(crate) const fn ending(self) -> Option<Signal> {
        match self {
            Self::PassOn(Signal::SIGWINCH) => None,
            Self::PassOn(signal) => Some(signal),
            _ => None,
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
