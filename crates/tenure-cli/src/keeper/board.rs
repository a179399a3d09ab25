//! Memory that both processes share: the command's process group, and until when the hold lasts.
//!
//! | bytes | |
//! |---|---|
//! | 0 to 3 | the group's number, little-endian; zero: there is none |
//! | 8 to 15, 16 to 23 | the deadline in nanoseconds of the boot-time clock, twice |
//! | 24 to 31 | when the group's first process had begun at the latest, on that clock; zero: not known |
//!
//! **No stranger is killed.** A number is a group's for as long as anything of the group is left, and
//! nobody else is given it. A process of that number that began later is the first one of another
//! group: ours has ended, however long ago, while whoever kills was stopped.
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
/// Where it stands by when the group had begun.
const BEGUN: u64 = 24;
/// The kernel tells in hundredths of a second when a process began.
const TICK: Duration = Duration::from_millis(10);

/// The memory.
#[derive(Debug)]
pub(super) struct Board(OwnedFd);

impl Board {
    pub(super) fn new() -> io::Result<Self> {
        let memory = memfd_create("tenure", MemfdFlags::CLOEXEC)?;
        pwrite(&memory, &[0; 32], 0)?;
        Ok(Self(memory))
    }

    /// The memory, for the child to write into.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The child has begun, whose number stands here.
    pub(super) fn set_begun(&self) {
        let nanos = u64::try_from(clock::now().as_nanos()).unwrap_or(u64::MAX);
        let _ = pwrite(&self.0, &nanos.to_le_bytes(), BEGUN);
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

    /// The group, unless its number has become another's.
    fn group(&self) -> Option<Pid> {
        let mut bytes = [0; 4];
        let read = pread(&self.0, &mut bytes, 0).ok()?;
        let number = i32::from_le_bytes(bytes);
        let group = if read == 4 && number > 0 { Pid::from_raw(number) } else { None };
        group.filter(|group| !self.is_another(*group))
    }

    /// Whether the process of this number began after ours had.
    fn is_another(&self, group: Pid) -> bool {
        let mut bytes = [0; 8];
        let read = pread(&self.0, &mut bytes, BEGUN);
        let begun = Duration::from_nanos(u64::from_le_bytes(bytes));
        // Before it is written the number is too young to have come round.
        let known = read == Ok(8) && !begun.is_zero();
        known && beginning(group).is_some_and(|at| at > begun + TICK)
    }

    /// Sends KILL to all of the group, if there is one.
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

/// When the process of this number began, on the boot-time clock; `None` if there is none.
fn beginning(pid: Pid) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The 22nd field; the name before the third may hold anything.
    let ticks: u64 = stat.rsplit(") ").next()?.split(' ').nth(19)?.parse().ok()?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Some(Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / per_second)))
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

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::{Child, Command};

    use super::*;

    fn group() -> Child {
        Command::new("sleep").arg("1000").process_group(0).spawn().unwrap()
    }

    /// A board on which the number of this child stands.
    fn board(child: &Child) -> Board {
        let board = Board::new().unwrap();
        pwrite(&board.0, &child.id().to_le_bytes(), 0).unwrap();
        board
    }

    #[test]
    fn a_group_is_ended() {
        let mut child = group();
        let board = board(&child);
        board.set_begun();
        assert!(board.end_group(clock::now() + Duration::from_secs(10)));
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
    }

    #[test]
    fn a_group_is_ended_whose_beginning_is_not_known() {
        let mut child = group();
        board(&child).kill_group();
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
    }

    #[test]
    fn another_group_of_the_same_number_is_left_alone() {
        // What the board knows began before the group did that has the number now.
        let begun = clock::now();
        clock::wait(std::iter::empty(), None, Some(TICK * 5));
        let mut child = group();
        let board = board(&child);
        let nanos = u64::try_from(begun.as_nanos()).unwrap();
        pwrite(&board.0, &nanos.to_le_bytes(), BEGUN).unwrap();
        board.kill_group();
        assert!(board.end_group(clock::now()), "ours has ended");
        clock::wait(std::iter::empty(), None, Some(TICK * 5));
        assert_eq!(child.try_wait().unwrap(), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
