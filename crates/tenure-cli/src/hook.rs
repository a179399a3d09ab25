//! What happens in the child between fork and exec, and the process state it must restore.
//!
//! The only file of the workspace with unsafe code. Three things need it:
//! * [`Command::pre_exec`]: the closure runs after fork, where only async-signal-safe calls are
//!   sound. Everything [`Hook::run`] calls is a plain system call without allocation or locks.
//! * The child must see the signal dispositions that tenure was started with, but Rust's runtime
//!   ignores SIGPIPE before `main`; only a function that the loader calls earlier can look. It
//!   also undoes an ignored SIGCHLD, with which the kernel would throw the child's exit code away
//!   (as flock(1) does), and the hook puts that back.
//! * The hook addresses descriptors by number, because nothing can be borrowed across a fork.
//!
//! Invariant: the work's first instruction runs in its own process group, recorded in the session
//! file, with the parent's death arranged for; or not at all.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::libc;
use nix::sys::signal::SigSet;
use rustix::process::{Pid, Signal};

/// What the hook answers when the process group cannot be recorded; execve never does.
pub(crate) const NOT_RECORDED: i32 = libc::ENOTRECOVERABLE;

/// The signals whose dispositions tenure or Rust's runtime touches or asks for.
const LOOKED_AT: [i32; 11] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGPIPE,
    libc::SIGTERM,
    libc::SIGCHLD,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGWINCH,
];

/// One bit for each signal that was ignored when the process started.
static IGNORED: AtomicU64 = AtomicU64::new(0);

#[used]
// SAFETY: the section holds pointers to functions that the loader calls once, before `main`, with
// C's convention and arguments that may be disregarded.
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = look_at_dispositions;

extern "C" fn look_at_dispositions() {
    let mut ignored = 0;
    for number in LOOKED_AT {
        if disposition(number) == libc::SIG_IGN {
            ignored |= 1 << number;
        }
    }
    if ignored & (1 << libc::SIGCHLD) != 0 {
        set_disposition(libc::SIGCHLD, libc::SIG_DFL);
    }
    IGNORED.store(ignored, Ordering::Relaxed);
}

/// Whether this process was started with signal `number` ignored, as by `nohup` or `&`.
pub(crate) fn was_ignored(number: i32) -> bool {
    IGNORED.load(Ordering::Relaxed) & (1 << number) != 0
}

fn disposition(number: i32) -> libc::sighandler_t {
    // SAFETY: `sigaction` is plain data, a null new action only asks, and all pointers are valid.
    unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        libc::sigaction(number, ptr::null(), &raw mut old);
        old.sa_sigaction
    }
}

fn set_disposition(number: i32, to: libc::sighandler_t) {
    // SAFETY: sets default or ignore only, so no handler's soundness is at stake.
    unsafe {
        libc::signal(number, to);
    }
}

/// All that the hook needs, copied before the fork.
pub(crate) struct Hook {
    /// The process whose death must end the child: the caller of fork.
    pub(crate) parent: Pid,
    /// The session's descriptor, to be inherited, and where in its file the group is recorded.
    pub(crate) session: Option<(RawFd, u64)>,
    /// A descriptor that is not the child's business.
    pub(crate) close: Option<RawFd>,
    /// The terminal whose foreground the child's group becomes.
    pub(crate) terminal: Option<RawFd>,
    /// The signal mask that tenure was started with.
    pub(crate) mask: SigSet,
}

impl Hook {
    /// Has `command` run the hook in its child.
    pub(crate) fn install(self, command: &mut Command) {
        // SAFETY: `run` calls async-signal-safe functions only, see there.
        unsafe {
            command.pre_exec(move || self.run());
        }
    }

    /// Runs in the child: system calls only, no allocation, no locks, no panics.
    fn run(&self) -> io::Result<()> {
        rustix::process::setpgid(None, None)?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the line above; then no signal comes any more.
        if rustix::process::getppid() != Some(self.parent) {
            // Nobody is left to be told: std would write the error into a pipe without a reader,
            // and abort with a message that frightens.
            // SAFETY: `_exit` ends the process at once and is async-signal-safe.
            unsafe { libc::_exit(126) };
        }
        let own = rustix::process::getpid();
        if let Some((session, offset)) = self.session {
            inherit(session, offset, own)
                .map_err(|_| io::Error::from_raw_os_error(NOT_RECORDED))?;
        }
        if let Some(close) = self.close {
            // SAFETY: nothing in the child uses this number again before exec.
            unsafe { rustix::io::close(close) };
        }
        if let Some(terminal) = self.terminal {
            take_foreground(terminal, own);
        }
        for number in [libc::SIGPIPE, libc::SIGCHLD] {
            if was_ignored(number) {
                set_disposition(number, libc::SIG_IGN);
            }
        }
        // std has emptied the mask by now.
        self.mask.thread_set_mask()?;
        Ok(())
    }
}

/// Records the group in the session's file and lets exec keep the descriptor.
fn inherit(session: RawFd, offset: u64, own: Pid) -> rustix::io::Result<()> {
    // SAFETY: the parent keeps the session open over the fork, and fork copies descriptors.
    let session = unsafe { BorrowedFd::borrow_raw(session) };
    let bytes = own.as_raw_nonzero().get().to_le_bytes();
    if rustix::io::pwrite(session, &bytes, offset)? != bytes.len() {
        return Err(rustix::io::Errno::IO);
    }
    rustix::io::fcntl_setfd(session, rustix::io::FdFlags::empty())
}

/// The foreground is a convenience: a terminal that went away meanwhile is no reason to fail.
fn take_foreground(terminal: RawFd, own: Pid) {
    // A background group that sets the foreground is stopped by SIGTTOU unless that is blocked.
    // The caller sets the final mask afterwards.
    if SigSet::all().thread_block().is_ok() {
        // SAFETY: the number is one of the standard descriptors, open since the start.
        let terminal = unsafe { BorrowedFd::borrow_raw(terminal) };
        let _ = rustix::termios::tcsetpgrp(terminal, own);
    }
}
