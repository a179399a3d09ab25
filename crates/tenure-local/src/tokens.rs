//! The `tokens` file: a floor below which the store never gives a fencing token again.
//!
//! Owns the floor and the high water and when they rise; knows nothing of single locks. A lock's
//! next token is `max(its last + 1, floor)`, and **every token given is below the high water on
//! the disk**. So what a raise makes the new floor, the old high water, is above every token ever
//! given, whichever record was lost since. Two equal copies stand in sectors of their own; when
//! they differ, the last raise was cut short or damaged, and the next one repairs it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use tenure_core::Token;
use twox_hash::XxHash3_64;

use crate::lockwait::lock_exclusive;
use crate::{Error, Facts, Result, sys};

/// The file, relative to the store folder.
pub(crate) const FILE: &str = "tokens";
const MAGIC: [u8; 8] = *b"tenure-t";
const VERSION: u16 = 1;
const COPY: usize = 64;
/// Copies stand this far apart, so that no sector holds both.
const STRIDE: usize = 512;
/// How many tokens a raise makes room for.
const BLOCK: u64 = 65_536;
/// The wall clock counts only while `seconds << 20` stays exact in a JSON number.
const SECONDS_MAX: u64 = 1 << 33;

/// What the file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Level {
    floor: u64,
    high: u64,
    device: u64,
    inode: u64,
    boot: u64,
}

/// The open tokens file, with what this process last read from it.
#[derive(Debug)]
pub(crate) struct Tokens {
    file: OwnedFd,
    path: PathBuf,
    facts: Facts,
    /// How long a raise by another process is waited for.
    wait: Duration,
    /// Both only ever rise on the disk, so a value read once never promises too much.
    floor: AtomicU64,
    high: AtomicU64,
}

impl Tokens {
    /// Reads `file`, and raises the level if this boot, this file or the last raise demands it.
    pub(crate) fn open(file: OwnedFd, folder: &Path, facts: Facts, wait: Duration) -> Result<Self> {
        let (floor, high) = (AtomicU64::new(0), AtomicU64::new(0));
        let tokens = Self { file, path: folder.join(FILE), facts, wait, floor, high };
        if !tokens.load()? {
            tokens.raise_if(|_, sound| !sound)?;
        }
        Ok(tokens)
    }

    /// The next token after `last`. `fresh` asks for the floor on the disk, not the one read
    /// earlier.
    pub(crate) fn next(&self, last: Token, fresh: bool) -> Result<Token> {
        if fresh && !self.load()? {
            self.raise_if(|_, sound| !sound)?;
        }
        loop {
            let floor = self.floor.load(Ordering::Relaxed);
            let token = last.get().saturating_add(1).max(floor);
            if token < self.high.load(Ordering::Relaxed) {
                return Ok(Token::new(token));
            }
            // A high water at the end of the numbers is refused by `raised`, so this loop ends.
            self.raise_if(|level, sound| !sound || level.high <= token)?;
        }
    }

    /// Raises the floor above every token given so far, and to at least `least`.
    pub(crate) fn raise(&self, least: u64) -> Result<u64> {
        self.raise_to(least, |_, _| true)?;
        Ok(self.floor())
    }

    /// The floor as this process last read it.
    pub(crate) fn floor(&self) -> u64 {
        self.floor.load(Ordering::Relaxed)
    }

    fn raise_if(&self, due: impl Fn(&Level, bool) -> bool) -> Result<()> {
        self.raise_to(0, due)
    }

    fn raise_to(&self, least: u64, due: impl Fn(&Level, bool) -> bool) -> Result<()> {
        lock_exclusive(&self.file, self.wait, || self.path.clone())?;
        let result = self.raise_locked(least, due);
        sys::unlock(&self.file);
        result
    }

    fn raise_locked(&self, least: u64, due: impl Fn(&Level, bool) -> bool) -> Result<()> {
        let (found, sound) = self.read()?;
        // Another process may have done it while this one waited for the lock.
        if due(&found, sound) {
            let level = self.raised(&found, least)?;
            let bytes = level.encode();
            // One copy after the other: a power cut leaves at least one of them whole.
            for copy in [0, STRIDE] {
                let write = sys::write_at(&self.file, &bytes, copy as u64);
                write.map_err(|e| Error::system("write", &self.path, e))?;
                sys::sync(&self.file).map_err(|e| Error::system("sync", &self.path, e))?;
            }
            self.keep(&level);
        } else {
            self.keep(&found);
        }
        Ok(())
    }

    fn raised(&self, found: &Level, least: u64) -> Result<Level> {
        let seconds = self.facts.wall().as_micros() / 1_000_000;
        let clock = if seconds < SECONDS_MAX { seconds << 20 } else { 0 };
        let floor = found.high.max(clock).max(least).max(1);
        let high = floor.checked_add(BLOCK).ok_or_else(|| Error::Damaged {
            lock: FILE.into(),
            path: self.path.clone(),
            problem: "the tokens have reached the end of 64 bits".into(),
        })?;
        let (device, inode) = self.identity()?;
        Ok(Level { floor, high, device, inode, boot: self.facts.clock.boot })
    }

    /// Reads the file; whether what it says may be used as it is.
    fn load(&self) -> Result<bool> {
        let (level, sound) = self.read()?;
        if sound {
            self.keep(&level);
        }
        Ok(sound)
    }

    fn read(&self) -> Result<(Level, bool)> {
        let mut bytes = [0; STRIDE + COPY];
        let read = sys::read_at(&self.file, &mut bytes, 0);
        let n = read.map_err(|e| Error::system("read", &self.path, e))?;
        let first = self.decode(&bytes[..n.min(COPY)])?;
        let second = self.decode(bytes.get(STRIDE..n).unwrap_or_default())?;
        let (device, inode) = self.identity()?;
        let level = match (first, second) {
            (Some(a), Some(b)) if a.high >= b.high => a,
            (Some(_), Some(b)) | (None, Some(b)) => b,
            (Some(a), None) => a,
            (None, None) => Level::default(),
        };
        let ours = (level.device, level.inode) == (device, inode);
        let sound = first.is_some() && first == second;
        Ok((level, sound && ours && level.boot == self.facts.clock.boot))
    }

    fn identity(&self) -> Result<(u64, u64)> {
        let stat = sys::stat(&self.file).map_err(|e| Error::system("read", &self.path, e))?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// One copy, if it is whole.
    fn decode(&self, bytes: &[u8]) -> Result<Option<Level>> {
        let Ok(copy) = <[u8; COPY]>::try_from(bytes) else { return Ok(None) };
        let at = |i: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&copy[i..i + 8]);
            u64::from_le_bytes(word)
        };
        if copy[..8] != MAGIC || XxHash3_64::oneshot(&copy[..56]) != at(56) {
            return Ok(None);
        }
        let found = u16::from_le_bytes([copy[8], copy[9]]);
        if found > VERSION {
            return Err(Error::NewerFormat { path: self.path.clone(), found, known: VERSION });
        }
        let level =
            Level { floor: at(16), high: at(24), device: at(32), inode: at(40), boot: at(48) };
        Ok(Some(level))
    }

    fn keep(&self, level: &Level) {
        self.floor.fetch_max(level.floor, Ordering::Relaxed);
        self.high.fetch_max(level.high, Ordering::Relaxed);
    }
}

impl Level {
    fn encode(&self) -> [u8; COPY] {
        let mut copy = [0; COPY];
        copy[..8].copy_from_slice(&MAGIC);
        copy[8..10].copy_from_slice(&VERSION.to_le_bytes());
        let fields = [self.floor, self.high, self.device, self.inode, self.boot];
        for (i, field) in fields.iter().enumerate() {
            copy[16 + i * 8..24 + i * 8].copy_from_slice(&field.to_le_bytes());
        }
        let sum = XxHash3_64::oneshot(&copy[..56]);
        copy[56..].copy_from_slice(&sum.to_le_bytes());
        copy
    }
}

/// Opens the tokens file, or creates it empty; an empty one is raised by [`Tokens::open`].
pub(crate) fn open_file(dir: &OwnedFd, folder: &Path) -> Result<OwnedFd> {
    match sys::create(dir, FILE) {
        Ok(file) => Ok(file),
        // Another process was faster.
        Err(Errno::EXIST) => {
            sys::open(dir, FILE).map_err(|e| Error::system("open", &folder.join(FILE), e))
        }
        Err(e) => Err(Error::system("create", &folder.join(FILE), e)),
    }
}
