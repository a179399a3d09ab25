//! The few system calls that change what is on the disk, in one place.
//!
//! Owns how they are made (whole writes, no inherited descriptors, rights that no umask widens or
//! narrows); knows nothing of what the bytes mean. Everything the store changes goes through here,
//! so that a test can note each step, replay any prefix of them as a power cut would leave it, and
//! make any of them fail.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags, Stat, StatxFlags};
use rustix::io::{Errno, Result};
use rustix::path::Arg;

#[cfg(test)]
pub(crate) mod record;

/// Rights of every file of the store.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Rights of every folder of the store.
const FOLDER_MODE: Mode = Mode::RWXU;

/// How files are opened. Without NOATIME every read after a write would also write the inode;
/// NONBLOCK is for pipes and for whatever else somebody may have put in a file's place.
const OPEN: OFlags = OFlags::RDWR
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOATIME);

/// Opens an existing file for reading and writing.
pub(crate) fn open(dir: &OwnedFd, path: impl Arg + Copy) -> Result<OwnedFd> {
    match rustix::fs::openat(dir, path, OPEN, Mode::empty()) {
        // Only a file's owner may leave its access time alone.
        Err(Errno::PERM) => {
            rustix::fs::openat(dir, path, OPEN.difference(OFlags::NOATIME), Mode::empty())
        }
        result => result,
    }
}

/// Creates a file that must not exist yet.
pub(crate) fn create(dir: &OwnedFd, path: impl Arg + Copy) -> Result<OwnedFd> {
    fault()?;
    let flags = OPEN | OFlags::CREATE | OFlags::EXCL;
    let file = rustix::fs::openat(dir, path, flags, FILE_MODE)?;
    // On the descriptor: the umask narrows and a default ACL widens what openat was told.
    rustix::fs::fchmod(&file, FILE_MODE)?;
    note_create(path, &file);
    Ok(file)
}

/// Creates a folder unless it exists.
pub(crate) fn create_dir(dir: impl AsFd, path: impl Arg + Copy) -> Result<()> {
    match rustix::fs::mkdirat(&dir, path, FOLDER_MODE) {
        Ok(()) => rustix::fs::fchmod(open_dir(dir, path)?, FOLDER_MODE),
        Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Opens a folder.
pub(crate) fn open_dir(dir: impl AsFd, path: impl Arg) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(dir, path, flags, Mode::empty())
}

/// Writes all of `bytes` at `offset`.
pub(crate) fn write_at(file: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> Result<()> {
    fault()?;
    note_write(file, bytes, offset);
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, offset) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(n) => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Reads from `offset` until `buffer` is full or the file ends; returns how much was read.
pub(crate) fn read_at(file: &OwnedFd, buffer: &mut [u8], offset: u64) -> Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match rustix::io::pread(file, &mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Makes the bytes of a file, and its length, survive a power cut.
pub(crate) fn sync(file: &OwnedFd) -> Result<()> {
    fault()?;
    if really_syncs() {
        rustix::io::retry_on_intr(|| rustix::fs::fdatasync(file))?;
    }
    note_sync(file);
    Ok(())
}

/// Makes the entries of a folder survive a power cut.
pub(crate) fn sync_dir(dir: &OwnedFd, path: impl Arg + Copy) -> Result<()> {
    fault()?;
    let folder = open_dir(dir, path)?;
    if really_syncs() {
        rustix::io::retry_on_intr(|| rustix::fs::fsync(&folder))?;
    }
    note_sync_dir(path);
    Ok(())
}

/// Cuts a file to `len` bytes.
pub(crate) fn truncate(file: &OwnedFd, len: u64) -> Result<()> {
    fault()?;
    rustix::fs::ftruncate(file, len)?;
    note_truncate(file, len);
    Ok(())
}

/// Renames, but never over something that exists.
pub(crate) fn rename_new(dir: &OwnedFd, from: impl Arg + Copy, to: impl Arg + Copy) -> Result<()> {
    fault()?;
    rustix::fs::renameat_with(dir, from, dir, to, RenameFlags::NOREPLACE)?;
    note_rename(from, to);
    Ok(())
}

/// Removes a file; one that is not there counts as removed.
pub(crate) fn remove(dir: &OwnedFd, path: impl Arg + Copy) -> Result<()> {
    fault()?;
    match rustix::fs::unlinkat(dir, path, AtFlags::empty()) {
        Ok(()) => {
            note_remove(path);
            Ok(())
        }
        Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Tries to lock without waiting: `false` if another open description has a lock in the way.
pub(crate) fn try_lock(file: &OwnedFd, shared: bool) -> Result<bool> {
    let how = if shared {
        FlockOperation::NonBlockingLockShared
    } else {
        FlockOperation::NonBlockingLockExclusive
    };
    match rustix::io::retry_on_intr(|| rustix::fs::flock(file, how)) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Gives a lock back. Never left to the descriptor's end: a forked child may share it.
pub(crate) fn unlock(file: &OwnedFd) {
    // Unlocking an open descriptor has no way to fail.
    let _ = rustix::fs::flock(file, FlockOperation::Unlock);
}

/// Whether a file has no name any more. Asks for nothing but that: who asks when a file was changed
/// makes the kernel give the next write a time stamp of its own (since Linux 6.13), so that every
/// write would also change the inode.
pub(crate) fn is_unlinked(file: &OwnedFd) -> Result<bool> {
    let stat = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::NLINK)?;
    Ok(stat.stx_nlink == 0)
}

/// What the system says about an open file.
pub(crate) fn stat(file: &OwnedFd) -> Result<Stat> {
    rustix::fs::fstat(file)
}

#[cfg(test)]
use record::{
    fault, note_create, note_remove, note_rename, note_sync, note_sync_dir, note_truncate,
    note_write, really_syncs,
};

#[cfg(not(test))]
mod silent {
    //! The hooks of the tests' recorder, as no code at all.
    use std::os::fd::OwnedFd;

    pub(super) fn fault() -> rustix::io::Result<()> {
        Ok(())
    }
    pub(super) fn really_syncs() -> bool {
        true
    }
    pub(super) fn note_create<P>(_: P, _: &OwnedFd) {}
    pub(super) fn note_write(_: &OwnedFd, _: &[u8], _: u64) {}
    pub(super) fn note_sync(_: &OwnedFd) {}
    pub(super) fn note_sync_dir<P>(_: P) {}
    pub(super) fn note_truncate(_: &OwnedFd, _: u64) {}
    pub(super) fn note_rename<P, Q>(_: P, _: Q) {}
    pub(super) fn note_remove<P>(_: P) {}
}
#[cfg(not(test))]
use silent::{
    fault, note_create, note_remove, note_rename, note_sync, note_sync_dir, note_truncate,
    note_write, really_syncs,
};
