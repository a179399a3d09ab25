//! A lock by name, and how to take it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tenure_core::{
    Claim, Config, Liveness, Patience, Session, Term, Text, Time, Timing, TimingSpec,
};
use tenure_store::Store;
use tokio::sync::TryAcquireError;

use crate::client::{Backend, Shared};
use crate::clock::within;
use crate::driver::{Acquired, Line, Seat, Turn};
use crate::event::EventKind;
use crate::{Attempt, Error, Guard, HeldBy};

/// How far wall clocks may be apart before a record that looks dead is believed to look so.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5);
/// How long the first answer of a store is waited for.
const FIRST_CONTACT: Duration = Duration::from_secs(10);

/// A handle on one lock. Cheap to clone; every acquisition through it is its own contender, so a
/// second one in the same program waits for the first: the lock is not reentrant.
///
/// What is wrong with a name or an option is said by the acquisition, as [`Error::Invalid`].
#[derive(Clone, Debug)]
#[must_use = "a lock does nothing until it is acquired"]
pub struct Lock {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: Text,
    line: Result<Arc<Line>, String>,
    pub(crate) settings: Settings,
    #[cfg(feature = "local")]
    pub(crate) local: std::sync::OnceLock<Arc<tenure_local::LocalLock>>,
}

/// What a user set.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) timing: Timing,
    pub(crate) tags: Vec<Text>,
    pub(crate) durable: bool,
    /// The first input that is wrong.
    problem: Option<String>,
}

/// What became of wanting the lock.
pub(crate) enum Got {
    Guard(Guard),
    Busy(HeldBy),
    TimedOut(HeldBy),
}

impl Lock {
    pub(crate) fn new(shared: &Arc<Shared>, id: Text, line: Result<Arc<Line>, String>) -> Self {
        let settings =
            Settings { timing: Timing::default(), tags: Vec::new(), durable: false, problem: None };
        Self {
            shared: Arc::clone(shared),
            id,
            line,
            settings,
            #[cfg(feature = "local")]
            local: std::sync::OnceLock::new(),
        }
    }

    /// The lock's name; empty if it is none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.line.as_ref().map_or("", |line| line.name.as_str())
    }

    /// How long a hold lives without renewal; everything else follows from it: renewed every third
    /// of it, at most every 5 s, and work is told to stop a fifth of it, at most 10 s, before the
    /// end. Default: 15 s. On `local:` a hold ends with its process and never by time.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.timing_of(Timing::new(TimingSpec::of(ttl)))
    }

    /// Lease timing in full: one of the presets, or a [`TimingSpec`].
    pub fn timing(self, timing: Timing) -> Self {
        self.timing_of(Ok(timing))
    }

    fn timing_of(mut self, timing: Result<Timing, tenure_core::TimingError>) -> Self {
        match timing {
            Ok(timing) => self.settings.timing = timing,
            Err(error) => self.set_problem(error.to_string()),
        }
        self.changed()
    }

    /// Tags of the lock from when it is taken: at most 64, each 1 to 255 bytes of text without
    /// control characters. They stay with the lock until a hold brings others.
    pub fn tags<T: AsRef<str>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        match check_tags(tags) {
            Ok(tags) => self.settings.tags = tags,
            Err(problem) => self.set_problem(problem),
        }
        self.changed()
    }

    /// Syncs every write to disk before it counts, so that who had the lock survives a power cut.
    /// Only `local:` makes a difference; fencing tokens survive one in any case. Default: off.
    pub fn durable(mut self, durable: bool) -> Self {
        self.settings.durable = durable;
        self.changed()
    }

    fn set_problem(&mut self, problem: String) {
        self.settings.problem.get_or_insert(problem);
    }

    fn changed(mut self) -> Self {
        #[cfg(feature = "local")]
        {
            self.local = std::sync::OnceLock::new();
        }
        let _ = &mut self;
        self
    }

    /// Takes the lock if it is free, else says who has it.
    ///
    /// Answers at once, with one exception: a record that looks dead by its own times is watched
    /// for its ttl and taken if nothing is heard of its holder, so that a job that is started from
    /// time to time recovers what a dead machine left.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a wrong name or option and outside a tokio runtime,
    /// [`Error::Closed`] on a closed client; [`Error::Unavailable`], [`Error::Denied`],
    /// [`Error::Damaged`], [`Error::Unsupported`] from the store. Nothing is held then.
    ///
    /// # Cancel safety
    /// Dropping the future undoes what it began: nothing of it outlives its ttl, and on `local:`
    /// nothing outlives the drop.
    pub async fn try_acquire(&self) -> Result<Attempt, Error> {
        match self.get(Patience::Now).await? {
            Got::Guard(guard) => Ok(Attempt::Acquired(guard)),
            Got::Busy(by) | Got::TimedOut(by) => Ok(Attempt::HeldBy(by)),
        }
    }

    /// Waits for the lock, for ever.
    ///
    /// Outages of the store are waited out, once it has answered; a store that never does is an
    /// error after 10 s.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    ///
    /// # Cancel safety
    /// As [`try_acquire`](Self::try_acquire): it also leaves the line.
    pub async fn acquire(&self) -> Result<Guard, Error> {
        self.wait(Patience::Forever).await
    }

    /// Waits for the lock for at most `limit`.
    ///
    /// # Errors
    /// [`Error::TimedOut`] says who was in the way; else as [`try_acquire`](Self::try_acquire).
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_timeout(&self, limit: Duration) -> Result<Guard, Error> {
        self.wait(Patience::Until(self.shared.clock.now().after(limit))).await
    }

    pub(crate) async fn wait(&self, patience: Patience) -> Result<Guard, Error> {
        match self.get(patience).await? {
            Got::Guard(guard) => Ok(guard),
            Got::Busy(by) | Got::TimedOut(by) => Err(Error::TimedOut { held_by: Box::new(by) }),
        }
    }

    pub(crate) async fn get(&self, patience: Patience) -> Result<Got, Error> {
        let line = self.ready()?;
        // A loop that always finds the lock free must leave the thread to others all the same.
        tokio::task::consume_budget().await;
        let since = self.shared.clock.now();
        let turn = match self.turn(line, patience, since).await? {
            Ok(turn) => turn,
            Err(busy) => return Ok(busy),
        };
        match &self.shared.backend {
            Backend::Store(store) => {
                self.shared.clock.start()?;
                let session = self.session(store, patience, since);
                let session = self.shared.unless_closed(session).await??;
                let seat = self.seat(store, session, turn, patience, since)?;
                Ok(match self.shared.unless_closed(seat.acquire()).await?? {
                    Acquired::Held(seat, status) => Got::Guard(Guard::kept(seat, status)),
                    Acquired::Busy(by) => Got::Busy(by),
                    Acquired::TimedOut(by) => Got::TimedOut(by),
                })
            }
            #[cfg(feature = "local")]
            Backend::Local(store) => {
                let acquire = crate::local::acquire(self, store, turn, patience, since);
                self.shared.unless_closed(acquire).await?
            }
        }
    }

    #[cfg(feature = "local")]
    pub(crate) fn tell(&self, kind: impl FnOnce() -> EventKind) {
        if let Ok(line) = &self.line {
            self.shared.tell(line.name.text(), &self.id, kind);
        }
    }

    /// What can be said before anything is asked of anybody.
    fn ready(&self) -> Result<&Arc<Line>, Error> {
        let line = self.line.as_ref().map_err(|problem| Error::Invalid(problem.clone()))?;
        if let Some(problem) = &self.settings.problem {
            return Err(Error::Invalid(problem.clone()));
        }
        if self.shared.is_closed() {
            return Err(Error::Closed);
        }
        if tokio::runtime::Handle::try_current().is_err() {
            let what = "a lock is acquired outside a tokio runtime: await it inside one, or use \
                        tenure::blocking";
            return Err(Error::invalid(what));
        }
        Ok(line)
    }

    /// Waits until no other task of this client is seated before this lock.
    async fn turn(
        &self,
        line: &Arc<Line>,
        patience: Patience,
        since: Time,
    ) -> Result<Result<Turn, Got>, Error> {
        match line.try_turn() {
            Ok(turn) => return Ok(Ok(turn)),
            Err(TryAcquireError::Closed) => return Err(Error::Closed),
            Err(TryAcquireError::NoPermits) => {}
        }
        let by = line.held_by(&self.id);
        if patience == Patience::Now {
            return Ok(Err(Got::Busy(by)));
        }
        self.shared.clock.start()?;
        let waiting = || EventKind::Waiting { held_by: by, place: None };
        self.shared.tell(line.name.text(), &self.id, waiting);
        let gave_up = GaveUp { lock: self, line, since };
        let limit = match patience {
            Patience::Until(limit) => Some(limit),
            Patience::Now | Patience::Forever => None,
        };
        match within(&self.shared.clock, limit, line.turn()).await {
            Some(Ok(turn)) => {
                std::mem::forget(gave_up);
                Ok(Ok(turn))
            }
            Some(Err(_)) => Err(Error::Closed),
            None => Ok(Err(Got::TimedOut(line.held_by(&self.id)))),
        }
    }

    /// What the store knows about whether this process lives. Asked again while the store fails, for
    /// as long as an outage is waited out.
    async fn session(
        &self,
        store: &Arc<dyn Store>,
        patience: Patience,
        since: Time,
    ) -> Result<Session, Error> {
        let (clock, contact) = (&self.shared.clock, &self.shared.contact);
        let first = Some(since.after(FIRST_CONTACT)).filter(|_| !contact.load(Ordering::Relaxed));
        let limit = match patience {
            Patience::Until(own) => Some(first.map_or(own, |first| own.min(first))),
            Patience::Now => Some(since.after(FIRST_CONTACT)),
            Patience::Forever => first,
        };
        let until = |time: Duration| {
            let at = clock.now().after(time);
            Some(limit.map_or(at, |limit| limit.min(at)))
        };
        let attempt = self.settings.timing.attempt();
        let mut said = "the store did not say how it knows who lives".to_owned();
        loop {
            match within(clock, until(attempt), store.session()).await {
                Some(Ok(session)) => {
                    contact.store(true, Ordering::Relaxed);
                    return Ok(session);
                }
                Some(Err(error)) if patience == Patience::Now || !error.is_retryable() => {
                    return Err(error.into());
                }
                Some(Err(error)) => {
                    said = error.to_string();
                    within(clock, until(attempt / 2), std::future::pending::<()>()).await;
                }
                None => {}
            }
            if limit.is_some_and(|limit| clock.now() >= limit) {
                return Err(Error::unavailable(said));
            }
        }
    }

    /// A contender for the lock in the store.
    fn seat(
        &self,
        store: &Arc<dyn Store>,
        session: Session,
        turn: Turn,
        patience: Patience,
        since: Time,
    ) -> Result<Arc<Seat>, Error> {
        let can = store.capabilities();
        let Settings { timing, tags, .. } = &self.settings;
        let mut claim = Claim::new(Config {
            id: self.id.clone(),
            session,
            term: match can.liveness {
                Liveness::Process => Term::Session,
                Liveness::Server | Liveness::Observed => Term::Ttl(timing.ttl()),
            },
            timing: *timing,
            liveness: can.liveness,
            queue: can.queue,
            adopt: false,
            max_clock_skew: MAX_CLOCK_SKEW,
            tags: tags.clone(),
            marks: self.shared.marks()?,
        });
        claim.acquire(patience);
        Ok(Seat::new((&self.shared, store), turn, claim, patience, since))
    }
}

/// A wait among ourselves that ends without a turn.
struct GaveUp<'a> {
    lock: &'a Lock,
    line: &'a Line,
    since: Time,
}

impl Drop for GaveUp<'_> {
    fn drop(&mut self) {
        let shared = &self.lock.shared;
        let waited = shared.clock.now().since(self.since);
        shared.tell(self.line.name.text(), &self.lock.id, || EventKind::GaveUp { waited });
    }
}

/// Checks tags.
fn check_tags<T: AsRef<str>>(tags: impl IntoIterator<Item = T>) -> Result<Vec<Text>, String> {
    let mut all: Vec<Text> = Vec::new();
    for tag in tags {
        let tag = tag.as_ref();
        if tag.is_empty() || tag.len() > 255 || tag.chars().any(char::is_control) {
            let shown: String = tag.chars().take(40).collect();
            return Err(format!(
                "tag {shown:?}: give 1 to 255 bytes of text without control characters"
            ));
        }
        all.push(tag.into());
    }
    if all.len() > 64 {
        return Err(format!("{} tags: give at most 64", all.len()));
    }
    Ok(all)
}
