//! A lock by name, and how to take it.

use std::sync::Arc;
use std::time::Duration;

use tenure_core::{Timing, TimingSpec};
use tenure_local::{LocalLock, LocalStore, LockName, Settings};

use super::pending::patience;
use super::remote::{RemoteLock, RemotePending};
use super::{Guard, HeldBy, HoldKey, Patience, Pending, Step};
use crate::Error;

/// A handle on one lock. Cheap to clone; every acquisition through it is its own contender, so a
/// second one in the same process waits for the first.
#[derive(Clone, Debug)]
#[must_use = "a lock does nothing until it is acquired"]
pub struct Lock {
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Local(Arc<LocalLock>),
    Remote(Box<RemoteLock>),
}

/// What [`Lock::try_acquire`] found.
#[derive(Debug)]
#[must_use = "an acquired lock that is dropped is released"]
pub enum Attempt {
    /// The lock is held from now on.
    Acquired(Guard),
    /// Somebody else has it.
    HeldBy(HeldBy),
}

impl Lock {
    pub(super) fn local(store: Arc<LocalStore>, id: Arc<str>, name: &str) -> Result<Self, Error> {
        let name = LockName::new(name)?;
        let timing = Timing::default();
        let settings = Settings { id, timing, tags: Vec::new(), durable: false };
        Ok(Self { kind: Kind::Local(Arc::new(LocalLock::new(store, name, settings))) })
    }

    pub(super) fn remote(lock: RemoteLock) -> Self {
        Self { kind: Kind::Remote(Box::new(lock)) }
    }

    /// The lock's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.kind {
            Kind::Local(lock) => lock.name().as_str(),
            Kind::Remote(lock) => lock.lock.name(),
        }
    }

    /// Lease timing. On the embedded store a hold ends with its process and never by time, so only
    /// the stop grace has an effect there. Default: [`TimingSpec::default`].
    ///
    /// # Errors
    /// [`Error::Invalid`] says which number does not fit and the nearest that would.
    pub fn timing(self, spec: TimingSpec) -> Result<Self, Error> {
        let timing = Timing::new(spec).map_err(|e| Error::Invalid(e.to_string()))?;
        Ok(self.with(|settings| settings.timing = timing, |lock| lock.timing(timing)))
    }

    /// Tags of the lock from when it is taken. They stay with the lock until a hold brings others.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless each is 1 to 255 bytes of text without control characters, and
    /// there are at most 64.
    pub fn tags<T: AsRef<str>>(self, tags: impl IntoIterator<Item = T>) -> Result<Self, Error> {
        let tags = crate::lock::check_tags(tags).map_err(Error::Invalid)?;
        Ok(self.with(|settings| settings.tags.clone_from(&tags), |lock| lock.tags(&tags)))
    }

    /// Syncs every write to disk before it counts, so that who had the lock survives a power cut.
    /// Fencing tokens survive one in any case. Default: off.
    pub fn durable(self, durable: bool) -> Self {
        self.with(|settings| settings.durable = durable, |lock| lock.durable(durable))
    }

    /// How long the first answer of a store elsewhere is waited for; later outages are waited out.
    /// Default: ten seconds.
    pub fn contact_within(self, limit: Duration) -> Self {
        let remote = |mut lock: crate::Lock| {
            lock.first_contact = limit;
            lock
        };
        self.with(|_| {}, remote)
    }

    fn with(
        &self,
        local: impl FnOnce(&mut Settings),
        remote: impl FnOnce(crate::Lock) -> crate::Lock,
    ) -> Self {
        let kind = match &self.kind {
            Kind::Local(lock) => {
                let mut settings = lock.settings().clone();
                local(&mut settings);
                Kind::Local(Arc::new(lock.with(settings)))
            }
            Kind::Remote(lock) => Kind::Remote(Box::new(lock.with(remote))),
        };
        Self { kind }
    }

    /// The timing in force.
    #[must_use]
    pub fn timing_in_force(&self) -> &Timing {
        match &self.kind {
            Kind::Local(lock) => &lock.settings().timing,
            Kind::Remote(lock) => lock.timing(),
        }
    }

    /// Begins to want the lock without blocking; drive what it returns.
    ///
    /// # Errors
    /// As [`Pending::poll`].
    pub fn start(&self, want: Patience) -> Result<Pending, Error> {
        self.begin(want, None)
    }

    pub(super) fn begin(&self, want: Patience, key: Option<&HoldKey>) -> Result<Pending, Error> {
        match &self.kind {
            Kind::Local(lock) => Ok(Pending::local(match key {
                None => tenure_local::LocalClaim::new(lock, patience(lock, want))?,
                Some(key) => {
                    tenure_local::LocalClaim::with_key(lock, patience(lock, want), &key.0)?
                }
            })),
            Kind::Remote(lock) => Ok(Pending::remote(RemotePending::new(lock, key, want)?)),
        }
    }

    /// Takes the lock if it is free, else says who has it.
    ///
    /// # Errors
    /// As [`Pending::poll`].
    pub fn try_acquire(&self) -> Result<Attempt, Error> {
        match self.start(Patience::Now)?.finish()? {
            Step::Acquired(guard) => Ok(Attempt::Acquired(guard)),
            Step::Busy(held) | Step::TimedOut(held) => Ok(Attempt::HeldBy(held)),
            Step::Waiting(waiting) => Ok(Attempt::HeldBy(waiting.held_by)),
        }
    }

    /// Waits for the lock, for ever, first come first served.
    ///
    /// # Errors
    /// As [`Pending::poll`].
    pub fn acquire(&self) -> Result<Guard, Error> {
        match self.start(Patience::Forever)?.finish()? {
            Step::Acquired(guard) => Ok(guard),
            // Patience without an end ends in a hold or an error.
            other => Err(Error::Unavailable(format!("wait ended with {other:?}"), None)),
        }
    }

    /// Waits for the lock for at most `limit`.
    ///
    /// # Errors
    /// As [`Pending::poll`].
    pub fn acquire_timeout(&self, limit: Duration) -> Result<Attempt, Error> {
        match self.start(Patience::For(limit))?.finish()? {
            Step::Acquired(guard) => Ok(Attempt::Acquired(guard)),
            Step::Busy(held) | Step::TimedOut(held) => Ok(Attempt::HeldBy(held)),
            Step::Waiting(waiting) => Ok(Attempt::HeldBy(waiting.held_by)),
        }
    }
}
