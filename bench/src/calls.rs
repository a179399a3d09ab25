//! The system calls of what is measured, made by nobody who decides, encodes or understands anything.
//!
//! Owns what rows call "the system calls alone": what their figure would be if all that tenure does
//! between the calls took no time. The lists are those that the row `counts` tells of a durable turn,
//! and that `strace` shows of a hand-over to one waiter. **Nothing checks them**: whoever changes what
//! tenure asks of the kernel changes them here.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, StatxFlags, flock};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, getpid, getppid, pidfd_open};

/// About as much as a header and a record that remembers its last holds.
const RECORD: usize = 704;
/// Where a lock's record stands in its file, by turns.
const SLOTS: [u64; 3] = [0, 1_024, 2_048];
/// Named as a waiter's pipe is.
const PIPE: &str = "wait/00112233445566778899aabbccddeeff";

/// What a durable change asks of the kernel.
///
/// # Errors
/// If the disk fails.
pub fn calls_of_a_change(file: &File, at: u64) -> Result<()> {
    let _ = getpid();
    look(file)?;
    file.write_all_at(&[at as u8; RECORD], at)?;
    rustix::fs::fdatasync(file)?;
    Ok(flock(file, FlockOperation::Unlock)?)
}

/// Takes the guard, which nobody else has, and reads.
fn look(file: &File) -> Result<()> {
    flock(file, FlockOperation::NonBlockingLockExclusive)?;
    look_under(file)
}

fn look_under(file: &File) -> Result<()> {
    rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::NLINK)?;
    file.read_at(&mut [0; 4_096], 0)?;
    Ok(())
}

/// How the store opens its files: else a read after a write changes the inode.
#[must_use]
pub fn as_the_store(flags: OFlags) -> OpenOptions {
    let mut options = File::options();
    options.custom_flags((OFlags::NOATIME | flags).bits().cast_signed());
    options.read(true).write(true);
    options
}

fn open(path: &Path, flags: OFlags) -> Result<File> {
    as_the_store(flags).open(path).with_context(|| format!("open {}", path.display()))
}

/// Who hands over.
#[derive(Debug)]
pub struct Releaser {
    dir: OwnedFd,
    file: File,
    /// What says whether the waiter is stopped.
    stat: File,
    handed: usize,
}

impl Releaser {
    /// Makes a lock's file and a waiter's pipe in `dir`.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn prepare(dir: &Path) -> Result<()> {
        std::fs::write(dir.join("lock"), [1; 3_072])?;
        std::fs::create_dir(dir.join("wait"))?;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(rustix::fs::mkfifoat(rustix::fs::CWD, dir.join(PIPE), mode)?)
    }

    /// One that hands over to this process, in a folder that was prepared.
    ///
    /// # Errors
    /// If it was not.
    pub fn new(dir: &Path, waiter: u32) -> Result<Self> {
        let file = open(&dir.join("lock"), OFlags::empty())?;
        let mode = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(dir, mode, Mode::empty())?;
        let stat = File::open(format!("/proc/{waiter}/stat"))?;
        Ok(Self { dir, file, stat, handed: 0 })
    }

    /// Reads, calls the waiter, asks for it, writes as if it were not stopped, and wakes it.
    ///
    /// # Errors
    /// If any of the calls fails.
    pub fn hand_over(&mut self) -> Result<()> {
        let _ = getpid();
        look(&self.file)?;
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let pipe = rustix::fs::openat(&self.dir, PIPE, flags, Mode::empty())?;
        rustix::io::write(&pipe, b"~")?;
        let _ = getpid();
        let _ = self.stat.read_at(&mut [0; 1_024], 0)?;
        self.handed += 1;
        self.file.write_all_at(&[2; RECORD], SLOTS[self.handed % SLOTS.len()])?;
        flock(&self.file, FlockOperation::Unlock)?;
        poll(&mut [PollFd::new(&pipe, PollFlags::empty())], Some(&Timespec::default()))?;
        rustix::io::write(&pipe, b"!")?;
        Ok(())
    }
}

/// Who is handed over to.
#[derive(Debug)]
pub struct Waiter {
    file: File,
    pipe: File,
    /// Becomes readable when the process ends that is waited for.
    ahead: OwnedFd,
}

impl Waiter {
    /// One that waits for its parent, in a folder that was prepared.
    ///
    /// # Errors
    /// If it was not.
    pub fn new(dir: &Path) -> Result<Self> {
        let parent = getppid().context("no parent")?;
        Ok(Self {
            file: open(&dir.join("lock"), OFlags::empty())?,
            pipe: open(&dir.join(PIPE), OFlags::NONBLOCK)?,
            ahead: pidfd_open(parent, PidfdFlags::empty())?,
        })
    }

    /// Sleeps until it is called, tries for the guard until that is given back, however long that takes,
    /// and reads.
    ///
    /// # Errors
    /// If any of the calls fails.
    pub fn wait(&self) -> Result<()> {
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut ends = [readable(self.pipe.as_fd()), readable(self.ahead.as_fd())];
        let mut words = [0; 64];
        // What comes first may be the last word of the time before.
        while !words.contains(&b'~') {
            poll(&mut ends, Some(&Timespec { tv_sec: 1, tv_nsec: 0 }))?;
            let _ = (&self.pipe).read(&mut words)?;
        }
        let _ = getpid();
        while let Err(busy) = flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            ensure!(busy == Errno::WOULDBLOCK, busy);
            std::thread::yield_now();
        }
        look_under(&self.file)?;
        Ok(flock(&self.file, FlockOperation::Unlock)?)
    }
}
