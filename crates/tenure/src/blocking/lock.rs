//! A lock by name, and how to take it.

use std::sync::Arc;
use std::time::Duration;

use tenure_core::Timing;
use tenure_local::{LocalClaim, LocalLock, LocalStore, LockName, Settings};

use super::pending::patience;
use super::remote::{RemoteLock, RemotePending};
use super::{Guard, HoldKey, Patience, Pending, Step};
use crate::lock::{ADDS_NO_TAGS, check_tags};
use crate::{Error, HeldBy, Released};

/// A handle on one lock. Cheap to clone; every acquisition through it is its own contender, so a
/// second one in the same process waits for the first.
///
/// What is wrong with a name or an option is said by the acquisition, as [`Error::Invalid`], or
/// before it by [`check`](Self::check).
#[derive(Clone, Debug)]
#[must_use = "a lock does nothing until it is acquired"]
pub struct Lock {
    name: Arc<str>,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Or what is wrong first.
    Local(Result<Arc<LocalLock>, Arc<str>>),
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
    pub(super) fn local(store: Arc<LocalStore>, id: Arc<str>, name: &str) -> Self {
        let timing = Timing::default();
        let settings = Settings { id, timing, tags: Vec::new(), durable: false };
        let lock = LockName::new(name).map(|name| Arc::new(LocalLock::new(store, name, settings)));
        let lock = lock.map_err(|error| error.to_string().into());
        let name = if lock.is_ok() { name.into() } else { "".into() };
        Self { name, kind: Kind::Local(lock) }
    }

    pub(super) fn remote(lock: RemoteLock) -> Self {
        Self { name: lock.lock.name().into(), kind: Kind::Remote(Box::new(lock)) }
    }

    /// The lock's name; empty if it is none.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Says what is wrong with the name or an option, before anything is asked of the store.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the first input that is wrong and says what would be right.
    pub fn check(&self) -> Result<(), Error> {
        match &self.kind {
            Kind::Local(_) => self.embedded().map(drop),
            Kind::Remote(lock) => lock.lock.check(),
        }
    }

    /// Lease timing. On the embedded store a hold ends with its process and never by time, so only
    /// the stop grace has an effect there. Default: [`Timing::default`].
    pub fn timing(self, timing: Timing) -> Self {
        self.with(|settings| settings.timing = timing, |lock| lock.timing(timing))
    }

    /// Tags of the lock from when it is taken: at most 64, each 1 to 255 bytes of text without
    /// control characters. They stay with the lock until a hold brings others.
    pub fn tags<T: AsRef<str>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        match (&mut self.kind, check_tags(tags)) {
            (_, Ok(tags)) => {
                self.with(|settings| settings.tags.clone_from(&tags), |lock| lock.tags(&tags))
            }
            (Kind::Local(lock), Err(problem)) => {
                if lock.is_ok() {
                    *lock = Err(problem.into());
                }
                self
            }
            // A tag that is none, so that the lock says so itself.
            (Kind::Remote(_), Err(_)) => self.with(|_| {}, |lock| lock.tags([""])),
        }
    }

    /// The same, but these are added to those that the lock has. Not on `local:`, where a lock can be
    /// handed on.
    pub fn add_tags<T: AsRef<str>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        if let Kind::Local(lock) = &mut self.kind {
            if lock.is_ok() {
                *lock = Err(ADDS_NO_TAGS.to_owned().into());
            }
            return self;
        }
        let tags: Vec<String> = tags.into_iter().map(|tag| tag.as_ref().to_owned()).collect();
        self.with(|_| {}, |lock| lock.add_tags(&tags))
    }

    /// Syncs every write to disk before it counts, so that who had the lock survives a power cut.
    /// Only the embedded store makes a difference; fencing tokens survive one in any case. Default:
    /// off.
    pub fn durable(self, durable: bool) -> Self {
        self.with(|settings| settings.durable = durable, |lock| lock.durable(durable))
    }

    /// With the timing in force: how long before the end of a hold its work is told to stop.
    #[must_use]
    pub fn grace(&self) -> Duration {
        match &self.kind {
            Kind::Local(Ok(lock)) => lock.settings().timing.grace(),
            Kind::Local(Err(_)) => Duration::ZERO,
            Kind::Remote(lock) => lock.lock.handle().settings.timing.grace(),
        }
    }

    /// How long the first answer of a store elsewhere is waited for; later outages are waited out.
    /// Default: ten seconds.
    pub fn contact_within(self, limit: Duration) -> Self {
        self.with(|_| {}, |lock| lock.tuned(|handle| handle.first_contact = limit))
    }

    /// The lock of the embedded store.
    pub(super) fn embedded(&self) -> Result<&Arc<LocalLock>, Error> {
        match &self.kind {
            Kind::Local(lock) => lock.as_ref().map_err(|problem| Error::invalid(&**problem)),
            Kind::Remote(_) => Err(Error::Unsupported("only a local: store can do that".into())),
        }
    }

    fn with(
        mut self,
        local: impl FnOnce(&mut Settings),
        remote: impl FnOnce(crate::Lock) -> crate::Lock,
    ) -> Self {
        match &mut self.kind {
            Kind::Local(Ok(lock)) => {
                let mut settings = lock.settings().clone();
                local(&mut settings);
                *lock = Arc::new(lock.with(settings));
            }
            Kind::Local(Err(_)) => {}
            Kind::Remote(lock) => **lock = lock.with(remote),
        }
        self
    }

    /// Begins to want the lock without blocking; drive what it returns.
    ///
    /// # Errors
    /// As [`Pending::poll`].
    pub fn start(&self, want: Patience) -> Result<Pending, Error> {
        self.begin(want, None)
    }

    pub(super) fn begin(&self, want: Patience, key: Option<&HoldKey>) -> Result<Pending, Error> {
        if let Kind::Remote(lock) = &self.kind {
            return Ok(Pending::remote(RemotePending::new(lock, key, want)?));
        }
        let lock = self.embedded()?;
        let patience = patience(lock, want);
        Ok(Pending::local(match key {
            None => LocalClaim::new(lock, patience)?,
            Some(key) => LocalClaim::with_key(lock, patience, &key.0)?,
        }))
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
    /// be: a hold there never ends by time, and work that may last looks from time to time with
    /// [`Guard::check`] whether an operator took the lock away. Elsewhere a thread renews the hold as
    /// long as the work runs, and **work that goes on past the [deadline](Guard::deadline) ends with
    /// the process, which is aborted** before somebody else works beside it: look at
    /// [`Guard::news`] for the order to stop, and fence what is written with the token.
    ///
    /// ```
    /// # let folder = std::env::current_dir()?.join(format!("target/doc-run-{}", std::process::id()));
    /// # let client = tenure::blocking::connect(&format!("local:{}", folder.display()))?;
    /// use tenure::Error;
    /// use tenure::blocking::{Guard, News};
    ///
    /// /// Whether to begin nothing more: the one question for every store.
    /// fn must_stop(guard: &mut Guard) -> Result<bool, Error> {
    ///     let mut told = false;
    ///     while let Some(news) = guard.news() {
    ///         told |= news != News::Renewed;
    ///     }
    ///     Ok(told || guard.check()?.is_some())
    /// }
    ///
    /// let done = client.lock("report").run(|guard| {
    ///     for page in 1..=3 {
    ///         if must_stop(guard)? {
    ///             return Ok(page - 1);
    ///         }
    ///         print(page, guard.token());
    ///     }
    ///     Ok::<_, Error>(3)
    /// })??;
    /// assert_eq!(done, 3);
    /// # fn print(_page: u32, _token: u64) {}
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
