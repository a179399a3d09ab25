//! Looking on at a lock without wanting it, and taking it away from its holder.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use tenure_local::{LockName, Target};

use super::{Client, Lock};
use crate::{Error, HeldBy, LockInfo, LockState, Lost};

/// Looks on at one lock, for programs with an event loop of their own.
#[derive(Debug)]
pub struct Onlooker {
    inner: tenure_local::Onlooker,
    store: String,
}

/// A lock as it was seen: what an operator acts upon.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What its record said.
    pub lock: LockInfo,
    target: Option<Target>,
}

/// What came of a theft.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Theft {
    /// The hold is over, and the lock went to the next in line where there was one.
    Freed {
        /// The holder's processes that were killed for it.
        killed: Vec<u32>,
    },
    /// It is not the hold that was seen any more: nothing was done.
    Changed(Lost),
    /// No hold was seen: nothing was done.
    NotHeld,
}

impl Client {
    /// Looks on at the lock called `name`, which need not exist.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that no lock can have.
    pub fn look_on(&self, name: &str) -> Result<Onlooker, Error> {
        let inner = tenure_local::Onlooker::new(self.store.clone(), LockName::new(name)?);
        Ok(Onlooker { inner, store: self.store() })
    }
}

impl Onlooker {
    /// How the lock stands now. Look again once one of [`fds`](Self::fds) is readable or
    /// [`wake_after`](Self::wake_after) has passed: a free lock is then seen at once.
    ///
    /// # Errors
    /// [`Error::Damaged`] and [`Error::Unsupported`] for a record that cannot be read.
    pub fn look(&mut self) -> Result<Seen, Error> {
        let shown = self.inner.look()?;
        let target = Target::of(&shown);
        Ok(Seen { lock: crate::info::of_local(shown, self.store.clone()), target })
    }

    /// Descriptors that become readable when there is something to see.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.inner.fds()
    }

    /// Look again after this long at the latest.
    #[must_use]
    pub const fn wake_after(&self) -> Duration {
        self.inner.wake_after()
    }
}

impl Seen {
    /// Whether the hold lives as long as its processes, and never ends by time.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.target.is_some_and(|target| target.is_bound())
    }

    /// Who has the lock, if its record names somebody.
    #[must_use]
    pub fn held_by(&self) -> Option<HeldBy> {
        let holder = self.lock.holders.first()?;
        Some(HeldBy {
            id: holder.id.clone(),
            pid: holder.pid,
            orphan: holder.orphan,
            token: Some(holder.token),
            since: holder.since,
            looks_abandoned: self.lock.state == LockState::Expired,
            takeover_in: holder.remaining,
        })
    }

    /// Whether both times the same hold was seen, not renewed in between.
    #[must_use]
    pub fn is_same_hold(&self, other: &Self) -> bool {
        self.target.is_some() && self.target == other.target
    }
}

impl Lock {
    /// Takes away the hold that was `seen`, and no other. `reason` is kept with the lock's last
    /// holds. A hold that is bound to processes is freed once they were killed: that of the holder,
    /// and the group of its command.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a reason that is not 1 to 255 bytes of text without control
    /// characters; [`Error::Unavailable`] if what keeps the lock cannot be ended, and then nothing
    /// is freed; else as [`Pending::poll`](super::Pending::poll).
    pub fn steal(&self, seen: &Seen, reason: &str) -> Result<Theft, Error> {
        use tenure_local::Theft as Local;
        if reason.is_empty() || reason.len() > 255 || reason.chars().any(char::is_control) {
            return Err(Error::invalid(
                "reason: give 1 to 255 bytes of text without control characters",
            ));
        }
        let Some(target) = seen.target else { return Ok(Theft::NotHeld) };
        Ok(match self.local()?.steal(target, reason.into())? {
            Local::Freed { killed } => Theft::Freed { killed },
            Local::Changed(cause) => Theft::Changed(cause.into()),
            _ => Theft::NotHeld,
        })
    }
}
