//! Pipes to wake waiters with: one named pipe per waiter, named by its mark.
//!
//! Owns the files in `wait/`; knows nothing of queues. A wake-up is a hint: whoever gets one looks
//! at the record, and whoever gets none looks from time to time. To wake up takes as long as to hand
//! over, so the next in line is told a moment before, and told again when it is done. **The owner
//! keeps both ends open and the pipe locked, so a pipe that nobody reads has lost its owner.**

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tenure_core::Mark;

use crate::lockwait::lock_exclusive;
use crate::{Error, Folder, Result, name, sys};

/// The byte that says [`Told::Soon`].
const SOON: u8 = b'~';
/// The byte that says [`Told::Now`], as any other does.
const NOW: u8 = b'!';

/// A waiter's own pipe. Dropping it removes it.
#[derive(Debug)]
pub struct WaitPipe {
    folder: Arc<Folder>,
    file: OwnedFd,
    mark: Mark,
    /// Who made it: a forked child's copy is not to remove it.
    pid: u32,
}

/// What a waiter was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Its turn may be about to come: whoever has the guard is giving the lock back, and looks whether
    /// this one is next.
    Soon,
    /// There is news in the record.
    Now,
}

/// What became of a wake-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The waiter will see it.
    Yes,
    /// There is no such waiter any more.
    Gone,
}

impl WaitPipe {
    /// Creates the pipe of the waiter with this mark. Do this before the mark is in the queue.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(folder: &Arc<Folder>, mark: Mark) -> Result<Self> {
        let fail = |doing| move |e| Error::system(doing, &path(folder, mark), e);
        let name = file_name(mark);
        let mode = Mode::RUSR | Mode::WUSR;
        loop {
            folder
                .complete(|| rustix::fs::mkfifoat(folder.dir(), name.as_str(), mode))
                .map_err(fail("create"))?;
            // Read and write: with a writer of its own it never sees the end of the pipe.
            let file = match sys::open(folder.dir(), name.as_str()) {
                Err(Errno::NOENT) => continue,
                Err(e) => {
                    remove(folder, mark);
                    return Err(fail("open")(e));
                }
                Ok(file) => file,
            };
            rustix::fs::fchmod(&file, mode).map_err(fail("create"))?;
            // Somebody who tidies up may have come before the lock, and then removes it.
            lock_exclusive(&file, folder.guard_wait(), || path(folder, mark))?;
            if !sys::is_unlinked(&file).map_err(fail("read"))? {
                let folder = Arc::clone(folder);
                return Ok(Self { folder, file, mark, pid: std::process::id() });
            }
        }
    }

    /// The same pipe for another waiter of this process: making one anew costs more than a turn. A
    /// wake-up meant for the last waiter may still arrive, and is only a hint.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn again(mut self, mark: Mark) -> Result<Self> {
        let folder = Arc::clone(&self.folder);
        let (old, new) = (file_name(self.mark), file_name(mark));
        rustix::fs::renameat(folder.dir(), old.as_str(), folder.dir(), new.as_str())
            .map_err(|e| Error::system("rename", &path(&folder, self.mark), e))?;
        self.mark = mark;
        Ok(self)
    }

    /// Whether this process made it.
    pub(crate) fn is_own(&self) -> bool {
        std::process::id() == self.pid
    }

    /// Takes in all wake-ups that have come; what the last one said.
    pub fn drain(&self) -> Option<Told> {
        let mut bytes = [0; 64];
        let mut told = None;
        loop {
            let n = match rustix::io::read(&self.file, &mut bytes) {
                Ok(n) if n > 0 => n,
                Err(Errno::INTR) => continue,
                // Empty.
                _ => return told,
            };
            told = Some(if bytes[n - 1] == SOON { Told::Soon } else { Told::Now });
            // What is read short is empty by then.
            if n < bytes.len() {
                return told;
            }
        }
    }
}

impl AsFd for WaitPipe {
    /// Readable once somebody has woken this waiter.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for WaitPipe {
    fn drop(&mut self) {
        if self.is_own() {
            remove(&self.folder, self.mark);
        }
    }
}

/// Wakes the waiter with this mark. Do this after the guard was given back.
///
/// # Errors
/// What the system says.
pub fn wake(folder: &Folder, mark: Mark) -> Result<Woken> {
    match open(folder, &file_name(mark)) {
        Ok(file) => write(&file, folder, mark),
        // No pipe, or nobody has it open.
        Err(Errno::NOENT | Errno::NXIO) => Ok(Woken::Gone),
        Err(e) => Err(Error::system("open", &path(folder, mark), e)),
    }
}

/// A waiter's pipe, opened before the waiter is to be woken. That it can be opened says that the
/// waiter's process, or one that it forked, has not ended.
#[derive(Debug)]
pub(crate) struct Way {
    file: OwnedFd,
    mark: Mark,
}

impl Way {
    /// The way to the waiter with this mark; `None` if there is none to be found.
    pub(crate) fn to(folder: &Folder, mark: Mark) -> Option<Self> {
        let file = open(folder, &file_name(mark)).ok()?;
        Some(Self { file, mark })
    }

    pub(crate) fn leads_to(&self, mark: Mark) -> bool {
        self.mark == mark
    }

    /// Tells the waiter that its turn is about to come. The way must have been opened just now.
    pub(crate) fn call(&self) {
        // Only the wake-up that follows counts.
        let _ = rustix::io::write(&self.file, &[SOON]);
    }

    /// As [`wake`].
    pub(crate) fn wake(self, folder: &Folder) -> Result<Woken> {
        // Whoever it led to may have ended long ago, and a write would be answered by a signal.
        let mut ends = [PollFd::new(&self.file, PollFlags::empty())];
        if rustix::event::poll(&mut ends, Some(&Timespec::default())).is_ok_and(|ended| ended > 0) {
            return Ok(Woken::Gone);
        }
        write(&self.file, folder, self.mark)
    }
}

/// Opens a pipe to write to, if somebody has it open for reading.
fn open(folder: &Folder, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(folder.dir(), name, flags, Mode::empty())
}

fn write(file: &OwnedFd, folder: &Folder, mark: Mark) -> Result<Woken> {
    match rustix::io::retry_on_intr(|| rustix::io::write(file, &[NOW])) {
        // A full pipe holds wake-ups enough.
        Ok(_) | Err(Errno::AGAIN) => Ok(Woken::Yes),
        Err(Errno::PIPE) => Ok(Woken::Gone),
        Err(e) => Err(Error::system("write", &path(folder, mark), e)),
    }
}

/// Blocks until one of `fds` is readable or `limit` has passed.
///
/// # Errors
/// What the system says.
pub(crate) fn block<'f>(
    fds: impl Iterator<Item = BorrowedFd<'f>>,
    limit: Option<Duration>,
) -> Result<()> {
    let mut fds: Vec<_> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    let limit =
        limit.map(|d| Timespec::try_from(d).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 }));
    match rustix::event::poll(&mut fds, limit.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(e) => Err(Error::system("wait for", Path::new("a pipe"), e)),
    }
}

/// Whether `fd` can be read without blocking.
pub(crate) fn is_readable(fd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&Timespec::default())).is_ok_and(|n| n > 0)
}

/// Removes the pipe of a waiter.
pub(crate) fn remove(folder: &Folder, mark: Mark) {
    // A leftover wakes nobody and is in nobody's way.
    let _ = sys::remove(folder.dir(), file_name(mark).as_str());
}

/// Removes a pipe that nobody reads. Its owner locks it right after making it, so that this never
/// hits one that is just being made.
pub(crate) fn remove_unowned(folder: &Folder, name: &str) {
    let name = format!("wait/{name}");
    let opened = open(folder, &name);
    if !matches!(opened, Err(Errno::NXIO)) {
        return;
    }
    let Ok(file) = sys::open(folder.dir(), name.as_str()) else { return };
    if sys::try_lock(&file, false).unwrap_or(false) {
        let _ = sys::remove(folder.dir(), name.as_str());
    }
}

fn file_name(mark: Mark) -> String {
    name::hex("wait/", &mark.as_u128().to_be_bytes())
}

fn path(folder: &Folder, mark: Mark) -> PathBuf {
    folder.path().join(file_name(mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn a_waiter_is_woken_and_a_gone_one_is_told_apart() {
        let scratch = Scratch::new();
        let folder = scratch.open();
        let mark = Mark::from_u128(7);
        assert_eq!(wake(&folder, mark).unwrap(), Woken::Gone);
        let pipe = WaitPipe::create(&folder, mark).unwrap();
        assert_eq!(pipe.drain(), None);
        assert_eq!(wake(&folder, mark).unwrap(), Woken::Yes);
        assert_eq!((pipe.drain(), pipe.drain()), (Some(Told::Now), None));
        drop(pipe);
        assert_eq!(wake(&folder, mark).unwrap(), Woken::Gone);
    }

    #[test]
    fn a_way_that_was_open_before_its_waiter_ended_leads_nowhere() {
        let scratch = Scratch::new();
        let folder = scratch.open();
        let mark = Mark::from_u128(13);
        assert!(Way::to(&folder, mark).is_none());
        let pipe = WaitPipe::create(&folder, mark).unwrap();
        let (first, second) = (Way::to(&folder, mark).unwrap(), Way::to(&folder, mark).unwrap());
        assert!(first.leads_to(mark) && !first.leads_to(Mark::from_u128(14)));
        assert_eq!(first.wake(&folder).unwrap(), Woken::Yes);
        assert_eq!(pipe.drain(), Some(Told::Now));
        drop(pipe);
        assert_eq!(second.wake(&folder).unwrap(), Woken::Gone);
    }

    #[test]
    fn the_last_word_counts() {
        let scratch = Scratch::new();
        let folder = scratch.open();
        let pipe = WaitPipe::create(&folder, Mark::from_u128(15)).unwrap();
        let way = || Way::to(&folder, Mark::from_u128(15)).unwrap();
        way().call();
        assert_eq!((pipe.drain(), pipe.drain()), (Some(Told::Soon), None));
        way().call();
        way().wake(&folder).unwrap();
        assert_eq!((pipe.drain(), pipe.drain()), (Some(Told::Now), None));
        for _ in 0..64 {
            way().wake(&folder).unwrap();
        }
        way().call();
        assert_eq!((pipe.drain(), pipe.drain()), (Some(Told::Soon), None));
    }

    #[test]
    fn a_pipe_used_again_has_its_new_name_only() {
        let scratch = Scratch::new();
        let folder = scratch.open();
        let (old, new) = (Mark::from_u128(11), Mark::from_u128(12));
        let pipe = WaitPipe::create(&folder, old).unwrap().again(new).unwrap();
        assert_eq!(wake(&folder, old).unwrap(), Woken::Gone);
        assert_eq!(wake(&folder, new).unwrap(), Woken::Yes);
        assert_eq!(pipe.drain(), Some(Told::Now));
        remove(&folder, new);
        assert!(pipe.again(old).is_err(), "somebody removed it");
        assert_eq!(wake(&folder, old).unwrap(), Woken::Gone);
    }

    #[test]
    fn a_pipe_whose_owner_died_wakes_nobody() {
        let scratch = Scratch::new();
        let folder = scratch.open();
        let mark = Mark::from_u128(8);
        let name = file_name(mark);
        rustix::fs::mkfifoat(folder.dir(), name.as_str(), Mode::RWXU).unwrap();
        assert_eq!(wake(&folder, mark).unwrap(), Woken::Gone);
        remove(&folder, mark);
        assert!(!folder.path().join(name).exists());
    }

    #[test]
    fn only_a_pipe_without_an_owner_is_tidied_away() {
        let scratch = Scratch::new();
        let folder = scratch.open();
        let mark = Mark::from_u128(10);
        let name = file_name(mark);
        let tidy = || remove_unowned(&folder, name.strip_prefix("wait/").unwrap());
        let pipe = WaitPipe::create(&folder, mark).unwrap();
        tidy();
        assert_eq!(wake(&folder, mark).unwrap(), Woken::Yes);
        drop(pipe);
        rustix::fs::mkfifoat(folder.dir(), name.as_str(), Mode::RWXU).unwrap();
        tidy();
        assert!(!folder.path().join(&name).exists());
        // Made and not yet locked, while somebody tidies up: the owner makes another one.
        let made = || WaitPipe::create(&folder, mark).unwrap();
        for _ in 0..200 {
            let pipe = std::thread::scope(|scope| {
                let tidier = scope.spawn(|| (0..20).for_each(|_| tidy()));
                let pipe = scope.spawn(made).join().unwrap();
                tidier.join().unwrap();
                pipe
            });
            assert_eq!(wake(&folder, mark).unwrap(), Woken::Yes);
            drop(pipe);
        }
    }

    #[test]
    fn more_wake_ups_than_a_pipe_holds_are_no_error() {
        let scratch = Scratch::new();
        let folder = scratch.open();
        let pipe = WaitPipe::create(&folder, Mark::from_u128(9)).unwrap();
        for _ in 0..70_000 {
            assert_eq!(wake(&folder, Mark::from_u128(9)).unwrap(), Woken::Yes);
        }
        assert_eq!(pipe.drain(), Some(Told::Now));
    }
}
