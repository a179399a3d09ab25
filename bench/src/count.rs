//! System calls, counted exactly: a command is traced from its exec on.
//!
//! Owns the tracing of a command and of all it starts, by ptrace(2), so that it needs no other
//! program. Times nothing: a traced command is slow. **What is counted does not depend on how fast
//! or how busy the machine is**, so tests can gate on it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use syscalls::Sysno;

/// System calls by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Calls(pub BTreeMap<String, usize>);

impl Calls {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// Those that write to a descriptor.
    #[must_use]
    pub fn writes(&self) -> usize {
        self.of(&["write", "writev", "pwrite64", "pwritev", "pwritev2"])
    }

    /// Those that wait for the disk.
    #[must_use]
    pub fn syncs(&self) -> usize {
        self.of(&["fsync", "fdatasync", "syncfs", "sync", "sync_file_range"])
    }

    /// Those that reach something outside of the process: all but asking for its own number, which
    /// guards against forks and costs next to nothing.
    #[must_use]
    pub fn outside(&self) -> usize {
        self.total() - self.of(&["getpid"])
    }

    fn of(&self, names: &[&str]) -> usize {
        names.iter().filter_map(|n| self.0.get(*n)).sum()
    }

    fn from_names<'a>(names: impl IntoIterator<Item = &'a String>) -> Self {
        let mut calls = Self::default();
        names.into_iter().for_each(|n| *calls.0.entry(n.clone()).or_default() += 1);
        calls
    }
}

impl std::fmt::Display for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut by_count: Vec<_> = self.0.iter().collect();
        by_count.sort_by_key(|(name, n)| (std::cmp::Reverse(**n), *name));
        let list: Vec<_> = by_count.iter().map(|(name, n)| format!("{name} {n}")).collect();
        write!(f, "{} ({})", self.total(), list.join(", "))
    }
}

/// What a traced command did.
#[derive(Debug, Default)]
pub struct Trace {
    /// Every call in order, with the process or thread that made it.
    calls: Vec<(i32, String)>,
    /// The first process.
    root: i32,
}

impl Trace {
    /// The calls of the command's own first thread.
    #[must_use]
    pub fn own(&self) -> Calls {
        Calls::from_names(self.own_names())
    }

    /// The calls of the command and of all that it started.
    #[must_use]
    pub fn all(&self) -> Calls {
        Calls::from_names(self.calls.iter().map(|(_, name)| name))
    }

    /// The command's own calls between each two calls of `mark`.
    #[must_use]
    pub fn between(&self, mark: &str) -> Vec<Calls> {
        let names: Vec<String> = self.own_names().cloned().collect();
        let mut parts: Vec<_> = names.split(|n| n == mark).map(Calls::from_names).collect();
        // Before the first mark and after the last there is no phase.
        parts.pop();
        if !parts.is_empty() {
            parts.remove(0);
        }
        parts
    }

    fn own_names(&self) -> impl Iterator<Item = &String> {
        self.calls.iter().filter(|(pid, _)| *pid == self.root).map(|(_, name)| name)
    }
}

/// Runs `command` to its end and counts. `me` is this program, which makes itself traced before it
/// becomes the command. Standard output and error are thrown away.
///
/// # Errors
/// If tracing is not allowed here, or the command does not end with 0.
pub fn trace(me: &Path, command: &[&str], env: &[(&str, &str)]) -> Result<Trace> {
    // A thread of its own: tracing, and waiting for what is traced, belong to a thread.
    std::thread::scope(|scope| {
        let tracer = scope.spawn(|| Tracer::run(me, command, env));
        tracer.join().unwrap_or_else(|_| bail!("the tracing thread panicked"))
    })
}

#[derive(Default)]
struct Tracer {
    found: Trace,
    known: BTreeSet<i32>,
    inside: BTreeSet<i32>,
    began: bool,
}

impl Tracer {
    fn run(me: &Path, command: &[&str], env: &[(&str, &str)]) -> Result<Trace> {
        let mut start = Command::new(me);
        start.args(["child", "traced"]).args(command).envs(env.iter().copied());
        start.env_remove("LD_LIBRARY_PATH");
        start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = start.spawn().with_context(|| format!("start {}", me.display()))?;
        let root = Pid::from_raw(child.id().cast_signed());
        let mut tracer =
            Self { found: Trace { root: root.as_raw(), ..Trace::default() }, ..Self::default() };
        match waitpid(root, None)? {
            WaitStatus::Stopped(_, Signal::SIGSTOP) => {}
            other => bail!("cannot trace a child here: {other:?}"),
        }
        let follow = Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK;
        let tell = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC;
        ptrace::setoptions(root, follow | tell | Options::PTRACE_O_EXITKILL)?;
        tracer.known.insert(root.as_raw());
        ptrace::syscall(root, None)?;
        tracer.until_the_end(command)?;
        Ok(tracer.found)
    }

    fn until_the_end(&mut self, command: &[&str]) -> Result<()> {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let mut code = None;
        loop {
            let status = match waitpid(Pid::from_raw(-1), Some(flags)) {
                Err(nix::Error::ECHILD) => break,
                status => status?,
            };
            if let WaitStatus::Exited(pid, c) = status
                && pid.as_raw() == self.found.root
            {
                code = Some(c);
            }
            let Some((pid, signal)) = self.stopped(status)? else { continue };
            match ptrace::syscall(pid, signal) {
                // Killed meanwhile; its end is reported next.
                Ok(()) | Err(nix::Error::ESRCH) => {}
                Err(error) => return Err(error).context("ptrace"),
            }
        }
        match code {
            Some(0) => Ok(()),
            _ => bail!("{command:?} under trace: exit code {code:?}"),
        }
    }

    /// Notes what a stop means: whom to send on, and with which signal.
    fn stopped(&mut self, status: WaitStatus) -> Result<Option<(Pid, Option<Signal>)>> {
        Ok(match status {
            WaitStatus::PtraceSyscall(pid) => {
                if self.inside.remove(&pid.as_raw()) {
                    return Ok(Some((pid, None)));
                }
                self.inside.insert(pid.as_raw());
                if self.began {
                    let name = name_of(number(pid)?);
                    self.found.calls.push((pid.as_raw(), name));
                }
                Some((pid, None))
            }
            WaitStatus::PtraceEvent(pid, _, event) => {
                let exec = event == nix::libc::PTRACE_EVENT_EXEC;
                self.began |= exec && pid.as_raw() == self.found.root;
                Some((pid, None))
            }
            // A new thread or process begins with a stop that is the tracer's alone.
            WaitStatus::Stopped(pid, Signal::SIGSTOP) if self.known.insert(pid.as_raw()) => {
                Some((pid, None))
            }
            WaitStatus::Stopped(pid, signal) => Some((pid, Some(signal))),
            _ => None,
        })
    }
}

fn name_of(number: u64) -> String {
    let known = usize::try_from(number).ok().and_then(Sysno::new);
    known.map_or_else(|| format!("call {number}"), |s| s.name().to_owned())
}

#[cfg(target_arch = "x86_64")]
fn number(pid: Pid) -> Result<u64> {
    Ok(ptrace::getregs(pid)?.orig_rax)
}

#[cfg(target_arch = "aarch64")]
fn number(pid: Pid) -> Result<u64> {
    Ok(ptrace::getregs(pid)?.regs[8])
}

#[cfg(target_arch = "riscv64")]
fn number(pid: Pid) -> Result<u64> {
    Ok(ptrace::getregs(pid)?.a7)
}
