//! What happens in the child between its birth and exec, and the process state it must restore.
//!
//! The only file of the workspace with unsafe code. Five things need it:
//! * [`Hook::start`] makes the child as posix_spawn(3) does, in the parent's memory on a stack of
//!   its own while the parent stands still: copying the address space, as fork(2) does, costs more
//!   than all of tenure's own work. posix_spawn itself has no room for a hook. Everything
//!   [`Hook::run`] calls is a plain system call without allocation or locks.
//! * The child must see the signal dispositions that tenure was started with, but Rust's runtime
//!   ignores SIGPIPE before `main`; only a function that the loader calls earlier can look. It
//!   also undoes an ignored SIGCHLD, with which the kernel would throw the child's exit code away
//!   (as flock(1) does), and the hook puts that back.
//! * With glibc [`entry`] stands in for the runtime's own, which reads all of `/proc/self/maps` at
//!   every start to be able to name a stack's overflow.
//! * The hook addresses descriptors by number, because the child has its own table of them.
//! * The keeper's process is a copy of this one, which std has no call for.
//!
//! Invariant: the work's first instruction runs in its own process group, recorded in the session
//! file, with the parent's death arranged for; or not at all.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use nix::libc;
use nix::sys::signal::SigSet;
use rustix::process::{Pid, Signal};

/// What the hook answers when the process group cannot be recorded; execve never does.
pub(crate) const NOT_RECORDED: i32 = libc::ENOTRECOVERABLE;

/// The signals whose dispositions tenure or Rust's runtime touches or asks for.
const LOOKED_AT: [i32; 12] = [
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
    libc::SIGXFSZ,
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
    // A limit on the length of files is an error like a full disk, not an end by a signal.
    set_disposition(libc::SIGXFSZ, libc::SIG_IGN);
    IGNORED.store(ignored, Ordering::Relaxed);
}

/// What the C library calls, and the runtime's own entry in short: the standard descriptors are open,
/// a reader that went away is an error and no end by a signal, a panic is a failure of tenure. What
/// is written out at exit is written out. The arguments come from a function that the loader calls.
#[cfg(all(not(test), target_env = "gnu"))]
#[unsafe(export_name = "main")]
extern "C" fn entry(_: c_int, _: *const *const c_char) -> c_int {
    open_standard();
    set_disposition(libc::SIGPIPE, libc::SIG_IGN);
    let code = std::panic::catch_unwind(crate::tenure).unwrap_or(crate::exit::FAILED);
    std::process::exit(i32::from(code))
}

/// A file that is opened later must not get the number of a standard descriptor that was closed:
/// what is said there would be written into it.
#[cfg(all(not(test), target_env = "gnu"))]
fn open_standard() {
    for fd in 0..=2 {
        // SAFETY: asks by number, and opens a file whose name ends with a zero. The lowest number
        // that is free is this one. Nobody else has begun to use descriptors.
        unsafe {
            if libc::fcntl(fd, libc::F_GETFD) == -1
                && libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) == -1
            {
                libc::_exit(i32::from(crate::exit::FAILED));
            }
        }
    }
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

/// What the child needs of the stack beside its arguments: exec's search copies a path on it.
const STACK: usize = 64 << 10;

/// All that the hook needs.
pub(crate) struct Hook {
    /// The process whose death must end the child: the caller of [`start`](Self::start).
    pub(crate) parent: Pid,
    /// The descriptor and where in its file the group is recorded; whether it is inherited.
    pub(crate) record: Option<(RawFd, u64, bool)>,
    /// A descriptor that is not the child's business.
    pub(crate) close: Option<RawFd>,
    /// The terminal whose foreground the child's group becomes.
    pub(crate) terminal: Option<RawFd>,
    /// The signal mask that tenure was started with.
    pub(crate) mask: SigSet,
}

/// What the child reads in its parent's memory, and its one answer.
struct Birth<'a> {
    hook: &'a Hook,
    args: &'a [*const c_char],
    env: &'a [*const c_char],
    /// Why there is no work; zero once it runs.
    failure: AtomicI32,
}

impl Hook {
    /// Starts `args`, the program first, which is searched as execvp(3) does, in the environment
    /// `env`. Returns once the work runs or has failed to.
    ///
    /// # Errors
    /// What the hook or exec said.
    pub(crate) fn start(&self, args: &[CString], env: &[CString]) -> io::Result<Pid> {
        let (args, env) = (pointers(args), pointers(env));
        let birth = Birth { hook: self, args: &args, env: &env, failure: AtomicI32::new(0) };
        // A script without a first line is run with all arguments copied on the stack.
        let words = (STACK + 2 * size_of_val(&*args)) / size_of::<u128>();
        let mut stack = Vec::<u128>::with_capacity(words);
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let arg = (&raw const birth).cast_mut().cast::<c_void>();
        // SAFETY: the stack is aligned for everything, grows down and is the child's alone; what
        // `birth` refers to outlives the call, because CLONE_VFORK lets the parent go on only when
        // the child has left this memory. `bear` has no way back into Rust's frames here and
        // changes nothing but `failure` and errno. No signal handler can run in the child: there
        // are none but the runtime's for faults.
        let pid = unsafe {
            let top = stack.as_mut_ptr().add(words).cast::<c_void>();
            libc::clone(bear, top, flags, arg)
        };
        let child = if pid == -1 { None } else { Pid::from_raw(pid) };
        let Some(child) = child else { return Err(io::Error::last_os_error()) };
        match birth.failure.into_inner() {
            0 => Ok(child),
            failure => {
                let ended = rustix::process::WaitIdOptions::EXITED;
                let _ = rustix::process::waitid(rustix::process::WaitId::Pid(child), ended);
                Err(io::Error::from_raw_os_error(failure))
            }
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
        if let Some((fd, offset, inherit)) = self.record {
            record(fd, offset, own, inherit)
                .map_err(|_| io::Error::from_raw_os_error(NOT_RECORDED))?;
        }
        if let Some(close) = self.close {
            // SAFETY: nothing in the child uses this number again before exec.
            unsafe { rustix::io::close(close) };
        }
        if let Some(terminal) = self.terminal {
            take_foreground(terminal, own);
        }
        // The runtime ignores the first, and `look_at_dispositions` changed the others.
        for number in [libc::SIGPIPE, libc::SIGXFSZ] {
            let before = if was_ignored(number) { libc::SIG_IGN } else { libc::SIG_DFL };
            set_disposition(number, before);
        }
        if was_ignored(libc::SIGCHLD) {
            set_disposition(libc::SIGCHLD, libc::SIG_IGN);
        }
        self.mask.thread_set_mask()?;
        Ok(())
    }
}

/// The child: becomes the work, or leaves the reason why not.
extern "C" fn bear(birth: *mut c_void) -> c_int {
    // SAFETY: `start` passes its own `Birth`, and waits.
    let birth = unsafe { &*birth.cast_const().cast::<Birth<'_>>() };
    let error = match birth.hook.run() {
        Err(error) => error,
        Ok(()) => {
            // SAFETY: both lists end with a null and hold strings that end with a zero. glibc's
            // search for the program allocates nothing but on the stack.
            unsafe { libc::execvpe(birth.args[0], birth.args.as_ptr(), birth.env.as_ptr()) };
            io::Error::last_os_error()
        }
    };
    birth.failure.store(error.raw_os_error().unwrap_or(libc::EINVAL), Ordering::Relaxed);
    // SAFETY: leaves at once; the parent's exit handlers are not this process's.
    unsafe { libc::_exit(i32::from(crate::exit::FAILED)) }
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

/// Records the group, and lets exec keep the descriptor if it is to be inherited.
fn record(fd: RawFd, offset: u64, own: Pid, inherit: bool) -> rustix::io::Result<()> {
    // SAFETY: the parent keeps it open over the fork, and fork copies descriptors.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let bytes = own.as_raw_nonzero().get().to_le_bytes();
    if rustix::io::pwrite(fd, &bytes, offset)? != bytes.len() {
        return Err(rustix::io::Errno::IO);
    }
    match inherit {
        true => rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()),
        false => Ok(()),
    }
}

/// A copy of this process, which must have one thread: `None` in the copy.
///
/// # Errors
/// Where the system has no room for it.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: with one thread no lock is held by anybody who is missing in the copy.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Takes a copy out of its parent's job: neither the terminal's keys reach it, nor does anybody wait
/// for what it has open, but for `keep`.
///
/// # Errors
/// Where there is no `/dev/null`.
pub(crate) fn leave_alone(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    rustix::process::setpgid(None, None)?;
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    drop(null);
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd().cast_unsigned()).collect();
    keep.extend([2, u32::MAX]);
    keep.sort_unstable();
    for pair in keep.windows(2) {
        let (first, last) = (pair[0].saturating_add(1), pair[1].saturating_sub(1));
        if first <= last && first > 2 {
            // SAFETY: closes what the copy never uses again: it leaves by `exit`, without a way back
            // to whatever owns these. A kernel without this call leaves them open.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    }
    Ok(())
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
