//! The system calls of what is measured, made by nobody who decides, encodes or understands anything.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use anyhow::Result;
use rustix::fs::{AtFlags, FlockOperation, StatxFlags, flock};

/// What a durable change asks of the kernel, without whatever decides and encodes it; it writes as
/// much as a header and a record that remembers its last holds.
///
/// # Errors
/// If the disk fails.
pub fn calls_of_a_change(file: &File, at: u64) -> Result<()> {
    flock(file, FlockOperation::NonBlockingLockExclusive)?;
    rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::NLINK)?;
    file.read_at(&mut [0; 4_096], 0)?;
    file.write_all_at(&[at as u8; 704], at)?;
    rustix::fs::fdatasync(file)?;
    Ok(flock(file, FlockOperation::Unlock)?)
}
