//! The `tokens` file: a floor below which the store never gives a fencing token again.
//!
//! Owns the floor and the high water and when they rise; knows nothing of single locks. A lock's
//! next token is `max(its last + 1, floor)`, and **every token given is below the high water on
//! the disk**. So what a raise makes the new floor, the old high water, is above every token ever
//! given, whichever record was lost since. The clock only helps where this file itself is lost;
//! nothing else rests on it.
//!
//! Two equal copies stand in sectors of their own; when they differ, the last raise was cut short
//! or damaged, and the next one repairs it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{AtFlags, StatxFlags};
use rustix::io::Errno;
use tenure_core::Token;
use twox_hash::XxHash3_64;

use crate::lockwait::lock_exclusive;
use crate::{Error, Facts, Result, sys};

/// The file, relative to the store folder.
pub(crate) const FILE: &str = "tokens";
const MAGIC: [u8; 8] = *b"tenure-t";
const VERSION: u16 = 1;
const COPY: usize = 72;
/// Where a copy's checksum stands.
const SUM: usize = COPY - 8;
/// Copies stand this far apart, so that no sector holds both.
const STRIDE: usize = 512;
/// How many tokens the wall clock advances in a second: more than are ever given in one.
const PER_SECOND: u64 = 1 << 20;
/// How many tokens a raise makes room for when they were used up, while the clock is ahead of them.
const BLOCK: u64 = 1 << 16;
/// How many any other raise makes room for. The next one begins above them all, used or not, so
/// thousands of new locks a second are needed for tokens to run ahead of the clock; and the clock
/// is all that helps when the whole store is deleted.
const ROOM: u64 = 1 << 8;
/// More writes of one lock than damage can have lost behind the newest whole slot, if the clock was
/// set back meanwhile; else the clock is above them all. By so much, 16 s, tokens run further ahead of
/// the clock with each damage that is found.
const LOST: u64 = 1 << 24;
/// The wall clock counts only while its tokens stay exact in a JSON number.
const CLOCK_MAX: u64 = 1 << 53;

/// What the file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Level {
    floor: u64,
    high: u64,
    boot: u64,
    file: Identity,
}

/// Which file this is: a copy or a restored backup is another one, even where it was given the same
/// inode number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    /// When it was made, in nanoseconds; zero where the file system does not say.
    born: u64,
}

/// How the floor is to rise.
#[derive(Clone, Copy, Debug)]
enum Raise {
    /// Above every token given so far, and to at least this.
    Above(u64),
    /// To at least this.
    To(u64),
    /// Above every token given so far and this, and further than what may have been lost behind it.
    Past(u64),
}

/// The open tokens file, with what this process last read from it.
#[derive(Debug)]
pub(crate) struct Tokens {
    dir: OwnedFd,
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
    /// Reads `file`, which is that of the folder `dir`, and raises the level if this boot, this file or
    /// the last raise demands it.
    pub(crate) fn open(
        dir: &OwnedFd,
        file: OwnedFd,
        folder: &Path,
        facts: Facts,
        wait: Duration,
    ) -> Result<Self> {
        let path = folder.join(FILE);
        let dir = rustix::io::fcntl_dupfd_cloexec(dir, 0)
            .map_err(|e| Error::system("open", folder, e))?;
        let (floor, high) = (AtomicU64::new(0), AtomicU64::new(0));
        let tokens = Self { dir, file, path, facts, wait, floor, high };
        if !tokens.load()? {
            tokens.raise_if(Raise::Above(0), |_, sound| !sound)?;
        }
        Ok(tokens)
    }

    /// The next token after `last`. `fresh` asks for the floor on the disk, not the one read
    /// earlier.
    pub(crate) fn next(&self, last: Token, fresh: bool) -> Result<Token> {
        match self.next_known(last) {
            Ok(token) if !fresh => Ok(token),
            _ => self.next_from_disk(last, fresh),
        }
    }

    /// The next token by what this process knows; if none is left, the one that would be next.
    fn next_known(&self, last: Token) -> std::result::Result<Token, u64> {
        let floor = self.floor.load(Ordering::Relaxed);
        let token = last.get().saturating_add(1).max(floor);
        let left = token < self.high.load(Ordering::Relaxed);
        if left { Ok(Token::new(token)) } else { Err(token) }
    }

    #[cold]
    fn next_from_disk(&self, last: Token, fresh: bool) -> Result<Token> {
        if fresh && !self.load()? {
            self.raise_if(Raise::Above(0), |_, sound| !sound)?;
        }
        loop {
            match self.next_known(last) {
                Ok(token) => return Ok(token),
                // Afterwards the high water is above it, or there was an error: this loop ends.
                Err(token) => {
                    self.raise_if(Raise::Above(token), |level, sound| {
                        !sound || level.high <= token
                    })?;
                }
            }
        }
    }

    /// The floor on the disk.
    pub(crate) fn fresh_floor(&self) -> Result<u64> {
        self.next(Token::default(), true)?;
        Ok(self.floor())
    }

    /// The wall clock as a token; zero where it is beyond all use.
    fn clock(&self) -> u64 {
        let micros = u128::from(self.facts.wall().as_micros());
        let tokens = micros * u128::from(PER_SECOND) / 1_000_000;
        u64::try_from(tokens).ok().filter(|t| *t < CLOCK_MAX).unwrap_or(0)
    }

    /// Raises the floor above every token given so far.
    pub(crate) fn raise(&self) -> Result<u64> {
        self.raise_if(Raise::Above(0), |_, _| true)?;
        Ok(self.floor())
    }

    /// Raises the floor above every token given so far, and above the sequences of all records of one
    /// lock that may have been lost behind the one with this `sequence`. Also above those that were
    /// written after a floor like this one and then lost themselves: so no sequence comes twice, and
    /// what is written later has a later one.
    pub(crate) fn raise_past(&self, sequence: u64) -> Result<()> {
        self.raise_if(Raise::Past(sequence), |_, _| true)
    }

    /// Raises the floor to at least `least`, for a lock whose own last token is about to be lost.
    pub(crate) fn raise_to(&self, least: u64) -> Result<()> {
        self.raise_if(Raise::To(least), |level, sound| !sound || level.floor < least)
    }

    /// The floor as this process last read it.
    pub(crate) fn floor(&self) -> u64 {
        self.floor.load(Ordering::Relaxed)
    }

    /// Through a file that is opened for it: who has a file locked are all that share its opening, here
    /// other threads, and children that were forked.
    #[cold]
    fn raise_if(&self, how: Raise, due: impl Fn(&Level, bool) -> bool) -> Result<()> {
        let own = sys::open(&self.dir, FILE).map_err(|e| self.lost(e))?;
        if self.identity(&own)? != self.identity(&self.file)? {
            return Err(self.lost(Errno::NOENT));
        }
        lock_exclusive(&own, self.wait, || self.path.clone())?;
        let result = self.raise_locked(&own, how, due);
        sys::unlock(&own);
        result
    }

    /// Whoever opens the store now makes the file anew, or has done so, and this process goes by the old
    /// one.
    fn lost(&self, e: Errno) -> Error {
        let folder = self.path.parent().filter(|_| e == Errno::NOENT);
        let (problem, remedy) = ("lost its file `tokens` while in use", "start again");
        folder.map_or_else(
            || Error::system("open", &self.path, e),
            |folder| Error::unsuitable(folder, problem, remedy),
        )
    }

    fn raise_locked(
        &self,
        file: &OwnedFd,
        how: Raise,
        due: impl Fn(&Level, bool) -> bool,
    ) -> Result<()> {
        let (found, sound) = self.read_from(file)?;
        // Another process may have done it while this one waited for the lock.
        if due(&found, sound) {
            let level = self.raised(self.identity(file)?, &found, sound, how)?;
            let bytes = level.encode();
            // One copy after the other: a power cut leaves at least one of them whole.
            for copy in [0, STRIDE] {
                let write = sys::write_at(file, &bytes, copy as u64);
                write.map_err(|e| Error::system("write", &self.path, e))?;
                sys::sync(file).map_err(|e| Error::system("sync", &self.path, e))?;
            }
            self.keep(&level);
        } else {
            self.keep(&found);
        }
        Ok(())
    }

    fn raised(&self, file: Identity, found: &Level, sound: bool, how: Raise) -> Result<Level> {
        let clock = self.clock();
        let floor = match how {
            // Nothing else is lost, so the high water need not be left behind.
            Raise::To(least) if sound => found.floor.max(least),
            Raise::To(least) | Raise::Above(least) => found.high.max(clock).max(least).max(1),
            Raise::Past(last) => found.high.max(clock).max(last).saturating_add(LOST),
        };
        let end = || {
            let message = format!("{}: the tokens have reached 64 bits", self.path.display());
            Error::Invalid(message + "; move the store folder away to start anew")
        };
        let used_up = matches!(how, Raise::Above(token) if token > 0);
        let room = if used_up && floor <= clock { BLOCK } else { ROOM };
        let high = floor.checked_add(room).ok_or_else(end)?.max(found.high);
        Ok(Level { floor, high, boot: self.facts.clock.boot, file })
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
        self.read_from(&self.file)
    }

    fn read_from(&self, file: &OwnedFd) -> Result<(Level, bool)> {
        let mut bytes = [0; STRIDE + COPY];
        let read = sys::read_at(file, &mut bytes, 0);
        let n = read.map_err(|e| Error::system("read", &self.path, e))?;
        let first = self.decode(&bytes[..n.min(COPY)])?;
        let second = self.decode(bytes.get(STRIDE..n).unwrap_or_default())?;
        let level = match (first, second) {
            (Some(a), Some(b)) if a.high >= b.high => a,
            (Some(_), Some(b)) | (None, Some(b)) => b,
            (Some(a), None) => a,
            (None, None) => Level::default(),
        };
        let ours = level.file == self.identity(file)?;
        let sound = first.is_some() && first == second;
        Ok((level, sound && ours && level.boot == self.facts.clock.boot))
    }

    fn identity(&self, file: &OwnedFd) -> Result<Identity> {
        let wanted = StatxFlags::INO | StatxFlags::BTIME;
        let stat = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, wanted)
            .map_err(|e| Error::system("read", &self.path, e))?;
        let device = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
        let seconds = u64::try_from(stat.stx_btime.tv_sec).unwrap_or(0);
        let nanos = u64::from(stat.stx_btime.tv_nsec);
        let told = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
        let born = if told { seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos) } else { 0 };
        Ok(Identity { device, inode: stat.stx_ino, born })
    }

    /// One copy, if it is whole.
    fn decode(&self, bytes: &[u8]) -> Result<Option<Level>> {
        let Ok(copy) = <[u8; COPY]>::try_from(bytes) else { return Ok(None) };
        let at = |i: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&copy[i..i + 8]);
            u64::from_le_bytes(word)
        };
        if copy[..8] != MAGIC || XxHash3_64::oneshot(&copy[..SUM]) != at(SUM) {
            return Ok(None);
        }
        let found = u16::from_le_bytes([copy[8], copy[9]]);
        if found > VERSION {
            return Err(Error::NewerFormat { path: self.path.clone(), found, known: VERSION });
        }
        let file = Identity { device: at(40), inode: at(48), born: at(56) };
        Ok(Some(Level { floor: at(16), high: at(24), boot: at(32), file }))
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
        let Identity { device, inode, born } = self.file;
        let fields = [self.floor, self.high, self.boot, device, inode, born];
        for (i, field) in fields.iter().enumerate() {
            copy[16 + i * 8..24 + i * 8].copy_from_slice(&field.to_le_bytes());
        }
        let sum = XxHash3_64::oneshot(&copy[..SUM]);
        copy[SUM..].copy_from_slice(&sum.to_le_bytes());
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

#[cfg(test)]
mod tests;
