//! Starting the command: its environment, its hook, and what a failure to start means.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::libc;
use rustix::process::{Pid, getpid};

use crate::duration::shorten;
use crate::exit::{CANNOT_RUN, FAILED, Failure, NOT_FOUND};
use crate::hook::{Hook, NOT_RECORDED};
use crate::signals::Signals;
use crate::terminal::Terminal;

/// What the child is told of the hold.
pub(crate) struct HoldEnv<'a> {
    pub(crate) lock: &'a str,
    pub(crate) store: &'a str,
    pub(crate) token: u64,
    pub(crate) holder: &'a str,
}

/// Where the child's process group is recorded.
pub(crate) struct GroupRecord<'a> {
    pub(crate) fd: BorrowedFd<'a>,
    pub(crate) offset: u64,
    /// Whether the command gets the descriptor, so that the hold lasts as long as anything of it.
    pub(crate) inherit: bool,
}

/// What the child gets besides its arguments.
pub(crate) struct Start<'a> {
    pub(crate) command: &'a [OsString],
    pub(crate) env: HoldEnv<'a>,
    pub(crate) record: Option<GroupRecord<'a>>,
    /// The number of the status descriptor, which the child must not have.
    pub(crate) status_fd: Option<i32>,
    pub(crate) terminal: Option<Terminal>,
}

/// Starts the command in a process group of its own; the group's number is the child's.
///
/// Must be called from the main thread: the kernel ends the child with the thread that forked it.
///
/// # Errors
/// 127 if the command is not found, 126 if it cannot be run, 125 for everything else.
pub(crate) fn spawn(start: &Start<'_>, signals: &Signals) -> Result<Pid, Failure> {
    let Some(program) = start.command.first() else {
        return Err(Failure::new("missing command; give it behind `--`"));
    };
    let hook = Hook {
        parent: getpid(),
        record: start.record.as_ref().map(|r| (r.fd.as_raw_fd(), r.offset, r.inherit)),
        // Descriptors 0 to 2 are the child's in any case, `--status-fd 2` included.
        close: start.status_fd.filter(|fd| *fd > 2),
        terminal: start
            .terminal
            .filter(|t| t.is_ours())
            .map(|_| rustix::stdio::stdin().as_fd().as_raw_fd()),
        mask: signals.mask_before(),
    };
    let args = start.command.iter().map(|arg| c_string(&[arg])).collect::<io::Result<Vec<_>>>();
    args.and_then(|args| hook.start(&args, &environment(&start.env)?))
        .map_err(|e| explain(&program.to_string_lossy(), &e))
}

/// Our own environment and what it says of the hold.
fn environment(hold: &HoldEnv<'_>) -> io::Result<Vec<CString>> {
    let token = hold.token.to_string();
    let told = [
        ("TENURE_LOCK", hold.lock),
        ("TENURE_STORE", hold.store),
        ("TENURE_TOKEN", &token),
        ("TENURE_HOLDER", hold.holder),
    ];
    let is_told = |key: &OsStr| told.iter().any(|(told, _)| key == *told);
    let kept = std::env::vars_os().filter(|(key, _)| !is_told(key));
    let kept = kept.map(|(key, value)| c_string(&[&key, OsStr::new("="), &value]));
    let told = told.iter().map(|(key, value)| c_string(&[key, "=", value].map(OsStr::new)));
    kept.chain(told).collect()
}

fn c_string(parts: &[&OsStr]) -> io::Result<CString> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len()).sum::<usize>() + 1);
    parts.iter().for_each(|part| bytes.extend_from_slice(part.as_bytes()));
    Ok(CString::new(bytes)?)
}

fn explain(program: &str, error: &io::Error) -> Failure {
    let shown = shorten(program);
    match error.raw_os_error() {
        Some(NOT_RECORDED) => {
            Failure::new("cannot record the command's process group in the session file")
        }
        Some(libc::ENOENT) if program.contains('/') && Path::new(program).exists() => {
            let text =
                format!("cannot run `{shown}`: the interpreter in its first line is missing");
            Failure::with_code(CANNOT_RUN, text)
        }
        Some(libc::ENOENT) if program.contains('/') => {
            Failure::with_code(NOT_FOUND, format!("command `{shown}` not found"))
        }
        // execvp says EACCES also for a folder of PATH that may not be searched.
        Some(libc::ENOENT | libc::EACCES) if !program.contains('/') && !is_in_path(program) => {
            Failure::with_code(NOT_FOUND, format!("command `{shown}` not found in PATH"))
        }
        Some(libc::EAGAIN | libc::ENOMEM | libc::ESRCH | libc::EMFILE | libc::ENFILE) => {
            Failure::with_code(FAILED, format!("cannot start a process: {error}"))
        }
        _ => Failure::with_code(CANNOT_RUN, format!("cannot run `{shown}`: {error}")),
    }
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
