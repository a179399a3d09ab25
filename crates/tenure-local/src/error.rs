//! What can go wrong with the store, sorted by what the caller should do about it.
//!
//! Owns the mapping from system errors to these kinds and the one-line messages; knows nothing of
//! locks beyond their names. Every message names the input and, where there is one, the remedy.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An input can never work; give another one.
    #[error("{0}")]
    Invalid(String),
    /// The folder is not one that locks can be kept in; follow the remedy.
    #[error("store folder {path} {problem}; {remedy}", path = path.display())]
    Unsuitable {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: Cow<'static, str>,
        /// What to do.
        remedy: Cow<'static, str>,
    },
    /// Rights are missing.
    #[error("cannot {doing} {path}: {source}; run as its owner or choose another store folder",
        path = path.display())]
    Denied {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: Errno,
    },
    /// The disk or the quota is used up.
    #[error("cannot {doing} {path}: {source}; free some space on that disk", path = path.display())]
    Full {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: Errno,
    },
    /// The system refused for now; trying again may help.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    Unavailable {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: Errno,
    },
    /// The record was written but is not known to survive a power cut: every reader sees it, so it
    /// must be read back rather than written again.
    #[error("written but not synced {path}: {source}", path = path.display())]
    NotDurable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Errno,
    },
    /// Another process is in the middle of a change and does not finish it.
    #[error("{path} is being changed by {by} since {waited:?}; continue or end that process",
        path = path.display())]
    Busy {
        /// The file.
        path: PathBuf,
        /// The process, as far as it is visible.
        by: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The record cannot be read; nobody may take the lock until an operator has looked.
    #[error("the record of lock {lock:?} is damaged ({problem}) in {path}; the lock counts as held \
        until `tenure repair {}` frees it", word(lock), path = path.display())]
    Damaged {
        /// The lock.
        lock: String,
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        problem: Cow<'static, str>,
    },
    /// A newer tenure wrote this; update this one.
    #[error("{path} was written by a newer tenure: format {found}, this one knows {known}",
        path = path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format version.
        found: u16,
        /// The newest version known here.
        known: u16,
    },
    /// What a hold stands for could not be ended, so that the hold was not ended either.
    #[error("process {pid} keeps lock {lock:?} and could not be ended; end it, then try again")]
    Survives {
        /// The lock.
        lock: String,
        /// The process.
        pid: u32,
    },
    /// The recorded session has lost its file, yet its process still runs: it may still work under
    /// the lock.
    #[error("process {pid} still runs but its session file {path} is gone; end that process",
        path = path.display())]
    SessionLost {
        /// The process.
        pid: u32,
        /// Where its session file should be.
        path: PathBuf,
    },
}

impl Error {
    /// The kind of error that a system call's failure is.
    #[cold]
    #[must_use]
    pub fn system(doing: &'static str, path: &Path, source: Errno) -> Self {
        let path = path.to_owned();
        match source {
            Errno::ACCESS | Errno::PERM | Errno::ROFS => Self::Denied { doing, path, source },
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Self::Full { doing, path, source },
            _ => Self::Unavailable { doing, path, source },
        }
    }

    pub(crate) fn unsuitable(
        path: &Path,
        problem: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Unsuitable { path: path.to_owned(), problem: problem.into(), remedy: remedy.into() }
    }
}

/// A lock's name as a shell takes it for one word.
fn word(name: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_alphanumeric() || "-_./:@%+,=".contains(c);
    if name.chars().all(plain) {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(format!("'{}'", name.replace('\'', r"'\''")))
    }
}
