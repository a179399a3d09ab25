//! Records that cannot be read, and freeing their locks when an operator says so.
//!
//! Owns what is damage, what can still be read of it, and the order of the remedy. **A record that
//! can be read is never touched**, which is looked at again under the guard; **the token floor rises
//! before anything else happens**, so that no token is given twice, whatever the record had given.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use tenure_core::{Record, Term, Token, Wall};

use crate::guard::LockFile;
use crate::image::{self, Buffers, Image, Place};
use crate::known::Known;
use crate::list::list;
use crate::lockwait::lock_exclusive;
use crate::session::Verdict;
use crate::slots::{HEADER, SLOT, SLOTS};
use crate::{Error, LocalStore, LockName, Result, codec, pid_of, sys};

/// More of a damaged file than this is not looked through.
const LOOKED_THROUGH: usize = 64 << 10;

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The lock's name; that of its file where only a hash of the name is left.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
    /// What can still be read of it, unverified.
    pub salvage: Option<Salvage>,
}

/// What a damaged record seems to say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Salvage {
    /// The name of the lock it was written for.
    pub lock: String,
    /// Whether nobody held it; `None` where that cannot be read.
    pub free: Option<bool>,
    /// Identity of its holder, if it named one.
    pub holder: Option<String>,
    /// The holder's token.
    pub token: Option<Token>,
    /// Since when, by the holder's wall clock.
    pub since: Option<Wall>,
    /// The holder's process, if the hold was bound to one.
    pub pid: Option<u32>,
    /// Whether that process, or something that it started, still runs.
    pub running: bool,
}

impl LocalStore {
    /// The records that cannot be read, sorted by name, or why one cannot even be looked at: a
    /// newer format, missing rights. Of the lock `name` alone, if it is given.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn damages(&self, name: Option<&LockName>) -> Result<Vec<Result<Damage>>> {
        let errors: Vec<Error> = match name {
            Some(name) => {
                LockFile::new(self.folder(), name.clone()).peek().err().into_iter().collect()
            }
            None => list(self.folder())?.into_iter().filter_map(|l| l.stored.err()).collect(),
        };
        Ok(errors.into_iter().map(|error| self.damage(error)).collect())
    }

    fn damage(&self, error: Error) -> Result<Damage> {
        let Error::Damaged { lock, path, problem } = error else { return Err(error) };
        let salvage = self.salvage(&path);
        Ok(Damage { name: lock, path, problem: problem.into_owned(), salvage })
    }

    /// Frees the lock of a damaged record: its tokens go on above all that were ever given. `false`:
    /// there is nothing damaged any more, and nothing was done.
    ///
    /// # Errors
    /// What the system says; [`Error::NewerFormat`].
    pub fn repair(&self, damage: &Damage) -> Result<bool> {
        match LockName::new(&damage.name) {
            Ok(name) if damage.path.ends_with(name.file().to_string_lossy().as_ref()) => {
                self.replace(name)
            }
            // Nobody knows of which lock it is, so there is nobody to keep a record for.
            _ => self.remove(&damage.path),
        }
    }

    fn replace(&self, name: LockName) -> Result<bool> {
        let mut file = LockFile::new(self.folder(), name);
        let Some(mut guard) = file.lock()? else { return Ok(false) };
        match guard.read() {
            Ok(_) => Ok(false),
            Err(Error::Damaged { .. }) => guard.repair(Record::default()).map(|_| true),
            Err(e) => Err(e),
        }
    }

    fn remove(&self, path: &Path) -> Result<bool> {
        let folder = self.folder();
        let fail = |doing| move |e| Error::system(doing, path, e);
        let relative = Path::new("locks").join(path.file_name().unwrap_or_default());
        let file = match sys::open(folder.dir(), relative.as_path()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(false),
            Err(e) => return Err(fail("open")(e)),
        };
        lock_exclusive(&file, folder.guard_wait(), || path.to_owned())?;
        let removed = match self.still_damaged(&file, path) {
            Ok(true) => self.unlink(&relative, path).map(|()| true),
            other => other,
        };
        sys::unlock(&file);
        removed
    }

    fn unlink(&self, relative: &Path, path: &Path) -> Result<()> {
        let folder = self.folder();
        folder.tokens().raise()?;
        sys::remove(folder.dir(), relative).map_err(|e| Error::system("delete", path, e))?;
        sys::sync_dir(folder.dir(), "locks").map_err(|e| Error::system("sync", path, e))
    }

    /// Under its guard: whether the file is still there, and what it says cannot be read or belongs
    /// to a file of another name.
    fn still_damaged(&self, file: &OwnedFd, path: &Path) -> Result<bool> {
        if sys::is_unlinked(file).map_err(|e| Error::system("read", path, e))? {
            return Ok(false);
        }
        let name = std::ffi::CString::new(path.file_name().unwrap_or_default().as_encoded_bytes());
        let Ok(name) = name else { return Ok(true) };
        let folder = self.folder().path().join("locks");
        let place = Place { folder: &folder, file: &name, lock: None };
        let (buffers, known) = (&mut Buffers::default(), &mut Known::default());
        match image::load(file, place, buffers, known, usize::MAX, &mut Image::default()) {
            Ok(loaded) => {
                Ok(LockName::new(&loaded.name).map_or(true, |is| is.file_name() != name.as_bytes()))
            }
            Err(Error::Damaged { .. }) => Ok(true),
            Err(e) => Err(e),
        }
    }

    /// The newest slot that says anything, its checksums unasked.
    fn salvage(&self, path: &Path) -> Option<Salvage> {
        let file = File::open(path).ok()?;
        let mut bytes = vec![0; LOOKED_THROUGH];
        let n = file.read_at(&mut bytes, 0).ok()?;
        bytes.truncate(n);
        let mut slots: Vec<(u64, &[u8])> = (0..SLOTS).filter_map(|i| slot(&bytes, i)).collect();
        slots.sort_by_key(|(sequence, _)| std::cmp::Reverse(*sequence));
        slots.into_iter().find_map(|(_, body)| self.read(body))
    }

    fn read(&self, body: &[u8]) -> Option<Salvage> {
        let (lock, held) = codec::salvage(body)?;
        let (free, holder) = (held.as_ref().map(Option::is_none), held.flatten());
        let bound = holder.as_ref().filter(|h| h.term == Term::Session).map(|h| h.session);
        let alive = |session| matches!(self.probe(session), Ok(v) if v != Verdict::Dead);
        Some(Salvage {
            lock: lock.to_owned(),
            free,
            holder: holder.as_ref().map(|h| h.id.to_string()),
            token: holder.as_ref().map(|h| h.token),
            since: holder.as_ref().map(|h| h.since),
            pid: bound.and_then(pid_of),
            running: bound.is_some_and(alive),
        })
    }
}

/// The sequence that slot `i` claims to have, and its body.
fn slot(bytes: &[u8], i: usize) -> Option<(u64, &[u8])> {
    let header = bytes.get(i * SLOT..i * SLOT + HEADER)?;
    let quad = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let word = |at: usize| Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?));
    let len = usize::try_from(quad(12)?).ok()?;
    let inline = i * SLOT + HEADER;
    let area = usize::try_from(word(32)?).ok()?;
    let start = if len <= SLOT - HEADER { inline } else { area };
    let end = start.saturating_add(len).min(bytes.len());
    Some((word(16)?, bytes.get(start..end)?))
}

#[cfg(test)]
mod tests;
