//! Memory that both processes share: the command's process group, and until when the hold lasts.
//!
//! | bytes | |
//! |---|---|
//! | 0 to 3 | the group's number, little-endian; zero: there is none |
//! | 8 to 15, 16 to 23 | the deadline in nanoseconds of the boot-time clock, twice |
//!
//! The deadline counts only where both are the same: nobody believes one that is half written.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{pread, pwrite};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::clock;

/// Between two looks at what was killed.
const PAUSE: Duration = Duration::from_millis(5);

/// Where the two deadlines stand.
const DEADLINE: u64 = 8;

/// The memory.
#[derive(Debug)]
pub(super) struct Board(OwnedFd);

impl Board {
    pub(super) fn new() -> io::Result<Self> {
        let memory = memfd_create("tenure", MemfdFlags::CLOEXEC)?;
        pwrite(&memory, &[0; 24], 0)?;
        Ok(Self(memory))
    }

    /// The memory, for the child to write into.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// From now on the number may be another's.
    pub(super) fn clear_group(&self) {
        let _ = pwrite(&self.0, &[0; 4], 0);
    }

    /// Moves the deadline.
    pub(super) fn set_deadline(&self, at: Duration) {
        let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX).to_le_bytes();
        let _ = pwrite(&self.0, &nanos, DEADLINE);
        let _ = pwrite(&self.0, &nanos, DEADLINE + 8);
    }

    /// The deadline; `None` while it is being moved.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let mut bytes = [0; 16];
        let read = pread(&self.0, &mut bytes, DEADLINE).ok()?;
        let (first, second) = bytes.split_at(8);
        let nanos = u64::from_le_bytes(first.try_into().ok()?);
        (read == 16 && first == second).then_some(Duration::from_nanos(nanos))
    }

    fn group(&self) -> Option<Pid> {
        let mut bytes = [0; 4];
        let read = pread(&self.0, &mut bytes, 0).ok()?;
        let number = i32::from_le_bytes(bytes);
        if read == 4 && number > 0 { Pid::from_raw(number) } else { None }
    }

    /// Sends KILL to all of the group.
    pub(super) fn kill_group(&self) {
        if let Some(group) = self.group() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Kills until nothing of the group is left, or until then; whether nothing is.
    pub(super) fn end_group(&self, limit: Duration) -> bool {
        loop {
            let Some(group) = self.group() else { return true };
            // Also what was born of it since.
            let _ = kill_process_group(group, Signal::KILL);
            if is_gone(group) {
                return true;
            }
            if clock::now() >= limit {
                return false;
            }
            clock::wait(std::iter::empty(), None, Some(PAUSE));
        }
    }
}

/// Whether no process of the group runs any more. What cannot be seen counts as running.
fn is_gone(group: Pid) -> bool {
    use rustix::io::Errno;
    if rustix::process::test_kill_process_group(group) == Err(Errno::SRCH) {
        return true;
    }
    // Dead processes that nobody reaps, as under some containers' first process, are still there.
    let Ok(entries) = fs::read_dir("/proc") else { return false };
    let group = group.as_raw_nonzero().get().to_string();
    let runs = |entry: fs::DirEntry| {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name before it may hold anything.
        let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let (state, _, of) = (fields.next(), fields.next(), fields.next());
        of == Some(&*group) && !matches!(state, Some("Z" | "X" | "x"))
    };
    !entries.flatten().any(runs)
}
