//! A lock by name, and how to take it.

use std::sync::Arc;
use std::time::Duration;

use tenure_core::Timing;
use tenure_local::{LocalLock, LocalStore, LockName, Settings};

use super::pending::patience;
use super::remote::{RemoteLock, RemotePending};
use super::{Guard, HoldKey, Patience, Pending, Step};
use crate::lock::check_tags;
use crate::{Error, HeldBy, Released};

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
    /// What is wrong first with the name or an option.
    Wrong(Arc<str>),
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
    pub(super) fn local(store: Arc<LocalStore>, id: Arc<str>, name: &str) -> Self {
        let timing = Timing::default();
        let settings = Settings { id, timing, tags: Vec::new(), durable: false };
        let lock = LockName::new(name).map(|name| Arc::new(LocalLock::new(store, name, settings)));
        Self { kind: lock.map_or_else(|e| Kind::Wrong(e.to_string().into()), Kind::Local) }
    }

    pub(super) fn remote(lock: RemoteLock) -> Self {
        let kind = match lock.lock.check() {
            Err(Error::Invalid(problem)) => Kind::Wrong(problem.into()),
            _ => Kind::Remote(Box::new(lock)),
        };
        Self { kind }
    }

    /// The lock's name; empty if it is none.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.kind {
            Kind::Local(lock) => lock.name().as_str(),
            Kind::Remote(lock) => lock.lock.name(),
            Kind::Wrong(_) => "",
        }
    }

    /// Says what is wrong with the name or an option, before anything is asked of the store.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the first input that is wrong and says what would be right.
    pub fn check(&self) -> Result<(), Error> {
        match &self.kind {
            Kind::Wrong(problem) => Err(wrong(problem)),
            _ => Ok(()),
        }
    }

    /// Lease timing: on the embedded store a hold ends with its process and never by time, so only
    /// the stop grace has an effect there. Default: [`Timing::default`].
    pub fn timing(self, timing: Timing) -> Self {
        self.with(|settings| settings.timing = timing, |lock| lock.timing(timing))
    }

    /// Tags of the lock from when it is taken: at most 64, each 1 to 255 bytes of text without
    /// control characters. They stay with the lock until a hold brings others.
    pub fn tags<T: AsRef<str>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        match check_tags(tags) {
            Ok(tags) => {
                self.with(|settings| settings.tags.clone_from(&tags), |lock| lock.tags(&tags))
            }
            Err(_) if matches!(self.kind, Kind::Wrong(_)) => self,
            Err(problem) => Self { kind: Kind::Wrong(problem.into()) },
        }
    }

    /// Syncs every write to disk before it counts, so that who had the lock survives a power cut.
    /// Fencing tokens survive one in any case. Default: off.
    pub fn durable(self, durable: bool) -> Self {
        self.with(|settings| settings.durable = durable, |lock| lock.durable(durable))
    }

    /// How long the first answer of a store elsewhere is waited for; later outages are waited out.
    /// Default: ten seconds.
    pub fn contact_within(self, limit: Duration) -> Self {
        self.with(|_| {}, |lock| lock.set(|settings| settings.first_contact = limit))
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
            Kind::Wrong(problem) => Kind::Wrong(Arc::clone(problem)),
        };
        Self { kind }
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
            Kind::Wrong(problem) => Err(wrong(problem)),
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
    /// [`Error::TimedOut`] says who was in the way; else as [`Pending::poll`].
    pub fn acquire_timeout(&self, limit: Duration) -> Result<Guard, Error> {
        let timed_out = |by: HeldBy| Error::TimedOut { held_by: Box::new(by) };
        match self.start(Patience::For(limit))?.finish()? {
            Step::Acquired(guard) => Ok(guard),
            Step::Busy(held) | Step::TimedOut(held) => Err(timed_out(held)),
            Step::Waiting(waiting) => Err(timed_out(waiting.held_by)),
        }
    }

    /// Waits for the lock, does `work`, and gives the lock back.
    ///
    /// Work that runs in a thread cannot be stopped from outside. On the embedded store it need not
    /// be: a hold there never ends by time. Elsewhere a thread renews the hold as long as the work
    /// runs, and **work that goes on past the [deadline](Guard::deadline) ends with the process,
    /// which is aborted** before somebody else works beside it. So work that may last looks from
    /// time to time at [`Guard::check`], and at [`Guard::news`] for the order to stop.
    ///
    /// ```
    /// # let folder = std::env::current_dir()?.join(format!("target/doc-run-{}", std::process::id()));
    /// # let client = tenure::blocking::connect(&format!("local:{}", folder.display()))?;
    /// let lines = client.lock("report").run(|guard| format!("by token {}", guard.token()))?;
    /// assert!(lines.starts_with("by token "));
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Lost`] if the hold was lost before the work had ended; else as
    /// [`acquire`](Self::acquire). A release that fails is not an error of the work: the hold then
    /// ends with this process.
    ///
    /// # Panics
    /// If the work does. The lock is given back.
    pub fn run<T>(&self, work: impl FnOnce(&mut Guard) -> T) -> Result<T, Error> {
        let mut guard = self.acquire()?;
        let watchdog = guard.watchdog();
        let output = work(&mut guard);
        drop(watchdog);
        match guard.release() {
            Ok(Released::Lost(cause)) => Err(Error::Lost(cause)),
            Ok(Released::Released) | Err(_) => Ok(output),
        }
    }
}

/// What a handle that was made wrongly says to everything.
pub(super) fn wrong(problem: &str) -> Error {
    Error::invalid(problem)
}
