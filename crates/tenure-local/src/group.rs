//! Ending what is left of a dead holder's process group.
//!
//! Owns the search for the members, the proof that they are the holder's, and the kill; does not
//! decide when that is due. **Nothing is killed on a number alone.** A group counts as the holder's
//! only if one of its members shows it, by the token and the lock in its environment or by the
//! open session file; a member is killed only if it runs as our user and in our pid namespace, and
//! through a descriptor opened before that was checked again.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::killpg;
use nix::unistd::{Pid, getpgid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use tenure_core::{Session, Token};

use crate::process::{self, Stat, stat_of};
use crate::{Error, Folder, Identity, LockName, Result, facts, session};

/// The longest wait for killed processes before the group is searched again.
const ROUND: Duration = Duration::from_millis(50);

/// What came of ending a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupEnd {
    /// Nothing of it is left.
    Ended,
    /// These processes could not be ended, or not be shown to belong to the holder.
    Left(Vec<u32>),
    /// The holder ran in another boot or namespace, so that its group's number means nothing here,
    /// or `/proc` cannot be read.
    OutOfReach,
}

/// Ends the process group `group` of the owner of `session`, which held `lock` under `token`. The
/// caller knows that the owner itself is gone.
///
/// Waits until the members have ended, but not longer than `patience`.
#[must_use]
#[cold]
pub fn end_group(
    folder: &Folder,
    session: Session,
    group: u32,
    (lock, token): (&LockName, Token),
    patience: Duration,
) -> GroupEnd {
    if !Identity::of(session).is_visible(folder) {
        return GroupEnd::OutOfReach;
    }
    let evidence = Evidence {
        token: format!("TENURE_TOKEN={token}"),
        lock: format!("TENURE_LOCK={lock}"),
        session: session::file_identity(folder, session),
    };
    let start = Instant::now();
    // Members seen while the group was proven: as long as one of them lives it is the same group.
    let mut known = Vec::new();
    loop {
        let Ok(members) = members_of(group) else { return GroupEnd::OutOfReach };
        if members.is_empty() {
            return GroupEnd::Ended;
        }
        let proves =
            |m: &(u32, Stat)| known.contains(&(m.0, m.1.start)) || evidence.is_shown_by(m.0);
        let proven = members.iter().any(proves);
        known = members.iter().filter(|_| proven).map(|m| (m.0, m.1.start)).collect();
        let (mut ended, mut left) = (Vec::new(), Vec::new());
        for member in members {
            match kill(member, group, proven) {
                Kill::Sent(pidfd) => ended.push((member.0, pidfd)),
                Kill::Gone => {}
                Kill::NotOurs => left.push(member.0),
            }
        }
        let patience = patience.saturating_sub(start.elapsed());
        if patience.is_zero() || ended.is_empty() && !left.is_empty() {
            left.extend(ended.iter().map(|(pid, _)| *pid));
            return GroupEnd::Left(left);
        }
        await_end(&ended, patience.min(ROUND));
    }
}

/// A process that keeps the file of `session` open, if one can be seen.
#[must_use]
pub(crate) fn keeper(folder: &Folder, session: Session) -> Option<u32> {
    let evidence = Evidence {
        token: String::new(),
        lock: String::new(),
        session: Some(session::file_identity(folder, session)?),
    };
    let entries = fs::read_dir("/proc").ok()?;
    let mut pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(|pid| evidence.is_open_in(*pid))
}

/// Whether this process inherited the file of `session`.
pub(crate) fn is_carried(folder: &Folder, session: Session) -> bool {
    let wanted = session::file_identity(folder, session);
    wanted.is_some_and(|wanted| is_open_in("self", wanted))
}

struct Evidence {
    token: String,
    lock: String,
    /// Device and inode of the session file.
    session: Option<(u64, u64)>,
}

impl Evidence {
    fn is_shown_by(&self, pid: u32) -> bool {
        self.is_in_environment(pid) || self.is_open_in(pid)
    }

    fn is_in_environment(&self, pid: u32) -> bool {
        let Ok(bytes) = fs::read(format!("/proc/{pid}/environ")) else { return false };
        let has = |wanted: &str| bytes.split(|b| *b == 0).any(|entry| entry == wanted.as_bytes());
        has(&self.token) && has(&self.lock)
    }

    fn is_open_in(&self, pid: u32) -> bool {
        self.session.is_some_and(|wanted| is_open_in(&pid.to_string(), wanted))
    }
}

/// Whether a process has the file with this device and inode open.
fn is_open_in(pid: &str, wanted: (u64, u64)) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let open = entries.flatten().filter_map(|entry| fs::metadata(entry.path()).ok());
    open.map(|meta| (meta.dev(), meta.ino())).any(|found| found == wanted)
}

/// The living members of a group that can be seen, except ourselves.
#[cold]
pub(crate) fn members_of(group: u32) -> Result<Vec<(u32, Stat)>> {
    let unreadable = |e: std::io::Error| {
        let errno = e.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
        Error::system("list", Path::new("/proc"), errno)
    };
    let Some(wanted) = number(group) else { return Ok(Vec::new()) };
    // The kernel knows at once when there is none at all, which is the usual end of a plain command.
    if killpg(wanted, None) == Err(nix::errno::Errno::ESRCH) {
        return Ok(Vec::new());
    }
    let mut members = Vec::new();
    for entry in fs::read_dir("/proc").map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // Asked first, as it costs a thirtieth of reading a line about each process there is.
        if number(pid).is_some_and(|pid| getpgid(Some(pid)).is_ok_and(|of| of != wanted)) {
            continue;
        }
        let member = stat_of(pid)?.filter(|stat| stat.group == group && !stat.has_ended());
        members.extend(member.filter(|_| pid != std::process::id()).map(|stat| (pid, stat)));
    }
    Ok(members)
}

fn number(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().map(Pid::from_raw)
}

enum Kill {
    Sent(OwnedFd),
    Gone,
    NotOurs,
}

/// Kills one member, if it is ours to kill.
fn kill((pid, seen): (u32, Stat), group: u32, proven: bool) -> Kill {
    let Some(pidfd) = process::open(pid, seen.start) else { return Kill::Gone };
    // From here on the number cannot pass to another process without this being noticed below.
    let ours = proven && is_ours(pid);
    let Ok(now) = stat_of(pid) else { return Kill::NotOurs };
    match now.filter(|now| now.start == seen.start && !now.has_ended()) {
        // Ended, or left the group, while we looked.
        None => return Kill::Gone,
        Some(now) if now.group != group => return Kill::Gone,
        Some(_) if !ours => return Kill::NotOurs,
        Some(_) => {}
    }
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) => Kill::Sent(pidfd),
        Err(Errno::SRCH) => Kill::Gone,
        Err(_) => Kill::NotOurs,
    }
}

/// Whether a process runs as our user and in our pid namespace.
pub(crate) fn is_ours(pid: u32) -> bool {
    let user = rustix::process::geteuid().as_raw();
    let space = |of: &str| facts::namespace(&format!("/proc/{of}/ns/pid")).ok();
    fs::metadata(format!("/proc/{pid}")).is_ok_and(|meta| meta.uid() == user)
        && space("self").is_some_and(|here| space(&pid.to_string()) == Some(here))
}

/// Waits until the first of these processes has ended; the next search finds the rest.
fn await_end(processes: &[(u32, OwnedFd)], at_most: Duration) {
    let mut fds: Vec<_> =
        processes.iter().map(|(_, pidfd)| PollFd::new(pidfd, PollFlags::IN)).collect();
    let nanos = if fds.is_empty() { 0 } else { at_most.subsec_nanos() };
    let timeout = Timespec { tv_sec: 0, tv_nsec: nanos.into() };
    // An early return only means an early search.
    let _ = poll(&mut fds, Some(&timeout));
}

#[cfg(test)]
mod tests;
