//! What `/proc` says about other processes.
//!
//! Owns reading and judging those files; knows nothing of locks. A process is always named by its
//! number *and* its start time, so that a reused number is never mistaken for it.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use tenure_core::Session;

use crate::{Error, Folder, Identity, Result};

/// One process's line in `/proc/PID/stat`, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// The letter of its state.
    pub(crate) state: char,
    /// Its parent; 0 where that cannot be seen from here.
    parent: u32,
    /// Its process group.
    pub(crate) group: u32,
    /// How many threads it has.
    threads: u32,
    /// When it started, in clock ticks since boot.
    pub(crate) start: u64,
}

impl Stat {
    /// Whether it only waits to be noticed by its parent: everything it had open is closed. The
    /// state is that of the first thread, which others may outlive.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x') && self.threads <= 1
    }
}

/// How a recorded process stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It runs, or could.
    Running,
    /// It was stopped by a signal or a debugger.
    Stopped,
    /// It has ended, or its number belongs to another process by now.
    Gone,
}

/// One process's `/proc/PID/stat`, open. It stays that process's, also when its number has passed to
/// another.
#[derive(Debug)]
pub(crate) struct StatFile(OwnedFd);

impl StatFile {
    /// `None` if there is no such process, or it is hidden from us.
    fn open(pid: u32) -> Result<Option<Self>> {
        let path = stat_path(pid);
        match rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => Ok(Some(Self(file))),
            Err(Errno::NOENT | Errno::SRCH) => Ok(None),
            Err(e) => Err(Error::system("open", Path::new(&path), e)),
        }
    }

    /// `None` if the process has ended.
    fn read(&self, pid: u32) -> Result<Option<Stat>> {
        // What matters of it stands in the first half of that.
        let mut bytes = [0; 1024];
        match rustix::io::retry_on_intr(|| rustix::io::pread(&self.0, &mut bytes[..], 0)) {
            Ok(n) => Ok(parse(&String::from_utf8_lossy(&bytes[..n]))),
            Err(Errno::SRCH) => Ok(None),
            Err(e) => Err(Error::system("read", Path::new(&stat_path(pid)), e)),
        }
    }
}

fn stat_path(pid: u32) -> String {
    format!("/proc/{pid}/stat")
}

/// Reads `/proc/PID/stat`; `None` if there is no such process, or it is hidden from us. An error is
/// neither: nobody counts as gone because, say, there are too many open files.
pub(crate) fn stat_of(pid: u32) -> Result<Option<Stat>> {
    StatFile::open(pid)?.map_or(Ok(None), |file| file.read(pid))
}

/// This process's own line.
pub(crate) fn own_stat() -> Result<Option<Stat>> {
    crate::facts::read_proc("/proc/self/stat").map(|text| parse(&text))
}

/// How the process that was recorded as `pid` with this start time stands now.
pub(crate) fn standing(pid: u32, start: u64) -> Result<Standing> {
    standing_by(&mut None, pid, start)
}

/// The same, by its file if that is open; else it is opened, and left open for the next time.
pub(crate) fn standing_by(file: &mut Option<StatFile>, pid: u32, start: u64) -> Result<Standing> {
    if file.is_none() {
        *file = StatFile::open(pid)?;
    }
    let stat = file.as_ref().map_or(Ok(None), |file| file.read(pid));
    Ok(match stat? {
        Some(stat) if stat.start != start || stat.has_ended() => Standing::Gone,
        None => Standing::Gone,
        Some(Stat { state: 'T' | 't', .. }) => Standing::Stopped,
        Some(_) => Standing::Running,
    })
}

/// Whether the process recorded as `pid` with this start time is the parent of this one, or its
/// parent's, and so on.
pub(crate) fn is_ancestor(pid: u32, start: u64) -> Result<bool> {
    let mut next = own_stat()?.map_or(0, |own| own.parent);
    while next != 0 {
        let Some(stat) = stat_of(next)? else { break };
        if next == pid {
            return Ok(stat.start == start);
        }
        next = stat.parent;
    }
    Ok(false)
}

/// A descriptor that becomes readable when the owner of `session` ends: a hint to look again, never
/// a proof. `None` if the process cannot be seen from here or has ended already.
#[must_use]
pub fn pidfd_of(folder: &Folder, session: Session) -> Option<OwnedFd> {
    let identity = Identity::of(session);
    identity.is_visible(folder).then(|| open(identity.pid, identity.start)).flatten()
}

/// A descriptor of the process with this number and this start time.
pub(crate) fn open(pid: u32, start: u64) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Looked at after opening: the number cannot pass to another process while this is open and
    // the process has not been waited for.
    let number = u32::try_from(pid.as_raw_nonzero().get()).ok()?;
    standing(number, start).is_ok_and(|now| now != Standing::Gone).then_some(pidfd)
}

/// Waits until the process with this number has ended; `false` if it has not in that time.
pub(crate) fn await_end(pid: u32, at_most: Duration) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(e) => return e == Errno::SRCH,
    };
    let limit = Timespec::try_from(at_most).ok();
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], limit.as_ref()).is_ok_and(|ended| ended > 0)
}

fn parse(text: &str) -> Option<Stat> {
    // The command name stands in parentheses and may itself hold spaces and parentheses.
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let threads = fields.nth(14)?.parse().ok()?;
    let start = fields.nth(1)?.parse().ok()?;
    Some(Stat { state, parent, group, threads, start })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_past_any_command_name() {
        let rest = "S 1 77 77 0 -1 4 1 2 3 4 5 6 7 8 20 0 3 0 4242 9 9";
        for name in ["sh", "a b", "x) S 9 9", ")("] {
            let stat = parse(&format!("12 ({name}) {rest}")).unwrap();
            assert_eq!(stat, Stat { state: 'S', parent: 1, group: 77, threads: 3, start: 4242 });
        }
        for garbage in ["", "12 (sh", "12 (sh)", "12 (sh) S", "12 (sh) S 1 x"] {
            assert_eq!(parse(garbage), None, "{garbage:?}");
        }
    }

    #[test]
    fn a_process_is_told_from_a_reused_number() {
        let own = own_stat().unwrap().unwrap();
        let pid = std::process::id();
        assert_eq!(standing(pid, own.start).unwrap(), Standing::Running);
        assert_eq!(standing(pid, own.start + 1).unwrap(), Standing::Gone);
        assert_eq!(standing(u32::MAX, own.start).unwrap(), Standing::Gone);
    }

    #[test]
    fn the_end_of_a_process_is_waited_for() {
        let mut sleep = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = sleep.id();
        assert!(!await_end(pid, Duration::from_millis(1)), "it runs");
        let ended = std::thread::spawn(move || await_end(pid, Duration::from_secs(60)));
        sleep.kill().unwrap();
        assert!(ended.join().unwrap());
        assert!(await_end(pid, Duration::ZERO), "not waited for, but over");
        sleep.wait().unwrap();
        assert!(await_end(pid, Duration::ZERO), "there is none");
        assert!(!await_end(0, Duration::ZERO) && !await_end(u32::MAX, Duration::ZERO));
    }

    #[test]
    fn an_ancestor_is_known_by_its_start_as_well() {
        let parent = own_stat().unwrap().unwrap().parent;
        let start = stat_of(parent).unwrap().unwrap().start;
        assert!(is_ancestor(parent, start).unwrap());
        assert!(!is_ancestor(parent, start + 1).unwrap());
        let own = own_stat().unwrap().unwrap();
        assert!(!is_ancestor(std::process::id(), own.start).unwrap());
        assert!(is_ancestor(1, stat_of(1).unwrap().unwrap().start).unwrap());
    }

    #[test]
    fn a_process_whose_first_thread_ended_has_not() {
        let stat = |state, threads| Stat { state, parent: 1, group: 1, threads, start: 1 };
        assert!(stat('Z', 1).has_ended() && stat('X', 0).has_ended());
        assert!(!stat('Z', 2).has_ended() && !stat('S', 1).has_ended());
    }
}
