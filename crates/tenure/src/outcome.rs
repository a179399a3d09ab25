//! What became of an attempt, a hold and a release: answers, none of which is an error.
//!
//! Owns the words of the public API for what a claim reports; decides nothing.

use std::fmt;
use std::time::Duration;

use tenure_core::{Cause, Wall};

use crate::Guard;

/// What [`Lock::try_acquire`](crate::Lock::try_acquire) found.
#[derive(Debug)]
#[must_use = "an acquired lock that is dropped is released"]
pub enum Attempt {
    /// The lock is held from now on.
    Acquired(Guard),
    /// Somebody else has it.
    HeldBy(HeldBy),
}

/// Who is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldBy {
    /// Identity.
    pub id: String,
    /// Process, where the store knows it and the hold depends on it.
    pub pid: Option<u32>,
    /// A process that keeps the lock although the holder's own process is gone.
    pub orphan: Option<u32>,
    /// Fencing token of the hold; `None` for one who is next in line while nobody holds.
    pub token: Option<u64>,
    /// Since when, by its own wall clock.
    pub since: Wall,
    /// Whether the record looks dead by its own times. A hint: clocks may differ.
    pub looks_abandoned: bool,
    /// How long until the lock can be taken over if nothing is heard of its holder; `None` if it
    /// never can by time alone.
    pub takeover_in: Option<Duration>,
}

/// Why a hold was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// The record names another holder.
    Replaced {
        /// Whom it names.
        by: String,
    },
    /// The record names no holder any more.
    Freed,
    /// The record is gone.
    Deleted,
    /// The hold was not renewed in time.
    Deadline,
    /// The runtime that renewed it was shut down: the record stands until its ttl has run out, but
    /// nobody renews it.
    RuntimeGone,
    /// The machine was restarted since, and how long it was off cannot be told.
    Restarted,
}

/// How a release ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a hold may have been lost before it was released"]
pub enum Released {
    /// The lock was given back, to the next in line where there was one.
    Released,
    /// It was not ours to give back any more.
    Lost(Lost),
}

impl From<Cause> for Lost {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Replaced { by } => Self::Replaced { by: by.to_string() },
            Cause::Freed => Self::Freed,
            Cause::Deleted => Self::Deleted,
            Cause::Deadline => Self::Deadline,
        }
    }
}

impl From<tenure_core::HeldBy> for HeldBy {
    fn from(by: tenure_core::HeldBy) -> Self {
        let token = by.token.get();
        Self {
            id: by.id.to_string(),
            pid: None,
            orphan: None,
            token: (token > 0).then_some(token),
            since: by.since,
            looks_abandoned: by.looks_abandoned,
            takeover_in: by.takeover_in,
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replaced { by } => write!(f, "its record names another holder, {by}"),
            Self::Freed => f.write_str("its record names no holder any more"),
            Self::Deleted => f.write_str("its record was deleted"),
            Self::Deadline => f.write_str("it was not renewed in time"),
            Self::RuntimeGone => f.write_str("the runtime that renewed it was shut down"),
            Self::Restarted => f.write_str("the machine was restarted since"),
        }
    }
}

impl fmt::Display for HeldBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        if let Some(pid) = self.pid {
            write!(f, " (process {pid})")?;
        }
        if let Some(token) = self.token {
            write!(f, ", token {token}")?;
        }
        match self.takeover_in {
            Some(left) => write!(f, ", free in {left:?} if it is not renewed"),
            None => Ok(()),
        }
    }
}
