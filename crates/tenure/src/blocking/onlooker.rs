//! Looking on at a lock without wanting it, and taking it away from its holder.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use tenure_local::{LockName, Target};

use super::client::Backend;
use super::lock::Kind as LockKind;
use super::remote::{RemoteOnlooker, RemoteTarget};
use super::{Client, Lock};
use crate::{Error, HeldBy, LockInfo, LockState, Lost};

/// Looks on at one lock, for programs with an event loop of their own.
#[derive(Debug)]
pub struct Onlooker(Looks);

#[derive(Debug)]
enum Looks {
    Local { inner: Box<tenure_local::Onlooker>, store: String },
    Remote(RemoteOnlooker),
}

/// A lock as it was seen: what an operator acts upon.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What its record said.
    pub lock: LockInfo,
    target: Option<Aim>,
}

/// The hold that was seen.
#[derive(Clone, Debug)]
enum Aim {
    Local(Target),
    Remote(RemoteTarget),
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
        Ok(Onlooker(match &self.backend {
            Backend::Local(store) => {
                let inner = tenure_local::Onlooker::new(store.clone(), LockName::new(name)?);
                Looks::Local { inner: Box::new(inner), store: self.store() }
            }
            Backend::Remote(remote) => Looks::Remote(RemoteOnlooker::new(remote, name)?),
        }))
    }
}

impl Onlooker {
    /// How the lock stands now. Look again once one of [`fds`](Self::fds) is readable or
    /// [`wake_after`](Self::wake_after) has passed: a free lock is then seen at once. A hold counts
    /// as expired as it does for a contender: where the store cannot tell, once it was seen
    /// unchanged for its ttl.
    ///
    /// # Errors
    /// [`Error::Damaged`] and [`Error::Unsupported`] for a record that cannot be read; from the
    /// first look also [`Error::Unavailable`] and [`Error::Denied`] where the store is elsewhere.
    pub fn look(&mut self) -> Result<Seen, Error> {
        match &mut self.0 {
            Looks::Local { inner, store } => {
                let shown = inner.look()?;
                let target = Target::of(&shown).map(Aim::Local);
                Ok(Seen { lock: crate::info::of_local(shown, store.clone()), target })
            }
            Looks::Remote(looks) => {
                let (lock, target) = looks.look()?;
                Ok(Seen { lock, target: target.map(Aim::Remote) })
            }
        }
    }

    /// Descriptors that become readable when there is something to see.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let (local, remote) = match &self.0 {
            Looks::Local { inner, .. } => (Some(inner.fds()), None),
            Looks::Remote(looks) => (None, Some(looks.fd())),
        };
        local.into_iter().flatten().chain(remote)
    }

    /// Look again after this long at the latest.
    #[must_use]
    pub const fn wake_after(&self) -> Duration {
        match &self.0 {
            Looks::Local { inner, .. } => inner.wake_after(),
            Looks::Remote(looks) => looks.wake_after(),
        }
    }
}

impl Seen {
    /// Whether the hold lives as long as its processes on this machine, which a theft kills.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        matches!(&self.target, Some(Aim::Local(target)) if target.is_bound())
    }

    /// Whether the hold ends by itself if nothing is heard of its holder.
    #[must_use]
    pub fn ends_by_time(&self) -> bool {
        match &self.target {
            None => false,
            Some(Aim::Local(_)) => self.lock.ttl.is_some(),
            Some(Aim::Remote(target)) => target.ends_by_time(),
        }
    }

    /// Who has the lock, if its record names somebody.
    #[must_use]
    pub fn held_by(&self) -> Option<HeldBy> {
        let holder = self.lock.holders.first()?;
        Some(HeldBy {
            id: holder.id.clone(),
            pid: holder.pid,
            orphan: holder.orphan,
            token: holder.token,
            since: holder.since,
            looks_abandoned: self.lock.state == LockState::Expired,
            takeover_in: holder.remaining,
        })
    }

    /// Whether both times the same hold was seen, not renewed in between.
    #[must_use]
    pub fn is_same_hold(&self, other: &Self) -> bool {
        match (&self.target, &other.target) {
            (Some(Aim::Local(a)), Some(Aim::Local(b))) => a == b,
            (Some(Aim::Remote(a)), Some(Aim::Remote(b))) => a.is_same_entry(b),
            _ => false,
        }
    }
}

impl Lock {
    /// Takes away the hold that was `seen`, and no other. `reason` is kept with the lock's last
    /// holds where the store has room for them. A hold of the embedded store that is bound to
    /// processes is freed once they were killed: that of the holder, and the group of its command.
    /// Elsewhere **nothing ends the holder's work**, and only the fencing token protects against
    /// it. A hold that was seen to have expired is left alone if it was renewed since.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a reason that is not 1 to 255 bytes of text without control
    /// characters; [`Error::Unavailable`] if what keeps the lock cannot be ended, and then nothing
    /// is freed; else as [`Pending::poll`](super::Pending::poll).
    pub fn steal(&self, seen: &Seen, reason: &str) -> Result<Theft, Error> {
        use tenure_local::Theft as Local;
        crate::steal::check_reason(reason)?;
        Ok(match (&seen.target, &self.kind) {
            (Some(Aim::Local(target)), LockKind::Local(_)) => {
                match self.embedded()?.steal(*target, reason.into())? {
                    Local::Freed { killed } => Theft::Freed { killed },
                    Local::Changed(cause) => Theft::Changed(cause.into()),
                    _ => Theft::NotHeld,
                }
            }
            (Some(Aim::Remote(target)), LockKind::Remote(lock)) => lock.steal(target, reason)?,
            (None, _) => Theft::NotHeld,
            _ => return Err(Error::invalid("the hold was seen in another store")),
        })
    }
}
