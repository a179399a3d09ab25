//! A lock by name, and how to take it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tenure_core::{
    Claim, Config, Liveness, Marks, Patience, Session, Term, Text, Time, Timing, TimingSpec,
};
use tenure_store::{Capabilities, Snapshot, Store};

use crate::client::{Backend, Shared};
use crate::clock::within;
use crate::driver::{Asked, Driver, Line, NoTurn, Seat, Turn, has_runtime};
use crate::event::{About, EventKind};
use crate::{Attempt, Error, Guard, HeldBy};

/// How far wall clocks may be apart before a record that looks dead is believed to look so.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5);
/// How long a hold lives by default where wall clocks end it.
pub const WALL_CLOCK_TTL: Duration = Duration::from_secs(60);
/// Who is handed the lock has said what it is to be tagged with when it joined the line.
pub(crate) const ADDS_NO_TAGS: &str =
    "tags cannot be added where waiters stand in line: give all that the lock is to have";
/// What tags come to where they cannot stand.
pub(crate) const NO_TAGS: &str =
    "this store has no place for tags: leave them out; on kube: format=configmap has";
/// How long the first answer of a store is waited for.
const FIRST_CONTACT: Duration = Duration::from_secs(10);

/// A handle on one lock. Cheap to clone; every acquisition through it is its own contender, so a
/// second one in the same program waits for the first: the lock is not reentrant.
///
/// What is wrong with a name or an option is said by the acquisition, as [`Error::Invalid`], or
/// before it by [`check`](Self::check).
#[derive(Clone, Debug)]
#[must_use = "a lock does nothing until it is acquired"]
pub struct Lock(Arc<Handle>);

/// A handle on a lock, shared with the acquisitions through it, which outlive it.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: Text,
    line: Result<Arc<Line>, String>,
    pub(crate) settings: Settings,
    /// Told of every wait, for whoever cannot await.
    pub(crate) ears: Option<Ears>,
    /// How long the first answer of a store is waited for.
    pub(crate) first_contact: Duration,
    /// Where the marks of its contenders begin, instead of among the client's own.
    pub(crate) marks: Option<u128>,
    #[cfg(all(feature = "local", target_os = "linux"))]
    pub(crate) local: std::sync::OnceLock<Arc<tenure_local::LocalLock>>,
}

/// What a user set.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) timing: Timing,
    pub(crate) tags: Vec<Text>,
    pub(crate) add_tags: bool,
    pub(crate) durable: bool,
    /// The first input that is wrong.
    problem: Option<String>,
}

/// Called with who is in the way, the place in line and the ticket.
type OnWaiting = dyn Fn(HeldBy, Option<usize>, Option<u64>) + Send + Sync;

/// What is told of every wait.
#[derive(Clone)]
pub(crate) struct Ears(pub(crate) Arc<OnWaiting>);

impl std::fmt::Debug for Ears {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ears")
    }
}

/// What became of wanting the lock.
pub(crate) enum Got {
    Guard(Guard),
    Busy(Box<HeldBy>),
    TimedOut(Box<HeldBy>),
}

impl Lock {
    pub(crate) fn new(shared: &Arc<Shared>, id: Text, line: Result<Arc<Line>, String>) -> Self {
        let timing = match &shared.backend {
            Backend::Store(store) if store.capabilities().wall_clocks => {
                Timing::new(TimingSpec::of(WALL_CLOCK_TTL)).unwrap_or_default()
            }
            _ => Timing::default(),
        };
        let (tags, add_tags) = (Vec::new(), false);
        let settings = Settings { timing, tags, add_tags, durable: false, problem: None };
        Self(Arc::new(Handle {
            shared: Arc::clone(shared),
            id,
            line,
            settings,
            ears: None,
            first_contact: FIRST_CONTACT,
            marks: None,
            #[cfg(all(feature = "local", target_os = "linux"))]
            local: std::sync::OnceLock::new(),
        }))
    }

    /// The lock's name; empty if it is none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// How long a hold lives without renewal; everything else follows from it: renewed every third
    /// of it, at most every 5 s, and work is told to stop a fifth of it, at most 10 s, before the
    /// end. Default: 15 s, and 60 s in formats whose holds others end by their wall clocks, where it
    /// is at least 20 s. On `local:` a hold ends with its process and never by time.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.timing_of(Timing::new(TimingSpec::of(ttl)))
    }

    /// Lease timing in full: one of the presets, or a [`TimingSpec`].
    pub fn timing(self, timing: Timing) -> Self {
        self.timing_of(Ok(timing))
    }

    fn timing_of(self, timing: Result<Timing, tenure_core::TimingError>) -> Self {
        self.set(|settings| match timing {
            Ok(timing) => settings.timing = timing,
            Err(error) => settings.set_problem(error.to_string()),
        })
    }

    /// Tags of the lock from when it is taken: at most 64, each 1 to 255 bytes of text without
    /// control characters. They stay with the lock until a hold brings others.
    pub fn tags<T: AsRef<str>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        self.set(|settings| match check_tags(tags) {
            Ok(tags) => (settings.tags, settings.add_tags) = (tags, false),
            Err(problem) => settings.set_problem(problem),
        })
    }

    /// The same, but these are added to those that the lock has. If they were more than 256 together
    /// it keeps those that it has. Not on `local:`, where a lock can be handed on.
    pub fn add_tags<T: AsRef<str>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        self.set(|settings| match check_tags(tags) {
            Ok(tags) => (settings.tags, settings.add_tags) = (tags, true),
            Err(problem) => settings.set_problem(problem),
        })
    }

    /// Syncs every write to disk before it counts, so that who had the lock survives a power cut.
    /// Only `local:` makes a difference; fencing tokens survive one in any case. Default: off.
    pub fn durable(self, durable: bool) -> Self {
        self.set(|settings| settings.durable = durable)
    }

    /// Changes the settings of this handle, which is the only one while it is built.
    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        let handle = Arc::make_mut(&mut self.0);
        change(&mut handle.settings);
        #[cfg(all(feature = "local", target_os = "linux"))]
        {
            handle.local = std::sync::OnceLock::new();
        }
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
    pub fn try_acquire(
        &self,
    ) -> impl Future<Output = Result<Attempt, Error>> + Send + 'static + use<> {
        let handle = Arc::clone(&self.0);
        async move {
            match handle.get(Patience::Now).await? {
                Got::Guard(guard) => Ok(Attempt::Acquired(guard)),
                Got::Busy(by) | Got::TimedOut(by) => Ok(Attempt::HeldBy(*by)),
            }
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
    pub fn acquire(&self) -> impl Future<Output = Result<Guard, Error>> + Send + 'static + use<> {
        let handle = Arc::clone(&self.0);
        async move { handle.get(Patience::Forever).await?.in_time() }
    }

    /// Waits for the lock for at most `limit`, which begins when the future is first polled.
    ///
    /// # Errors
    /// [`Error::TimedOut`] says who was in the way; else as [`try_acquire`](Self::try_acquire).
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    pub fn acquire_timeout(
        &self,
        limit: Duration,
    ) -> impl Future<Output = Result<Guard, Error>> + Send + 'static + use<> {
        let handle = Arc::clone(&self.0);
        async move { handle.get(handle.patience(Some(limit))).await?.in_time() }
    }

    /// Says what is wrong with the name or an option, before anything is asked of the store.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the first input that is wrong and says what would be right.
    pub fn check(&self) -> Result<(), Error> {
        self.0.valid().map(drop)
    }

    pub(crate) fn handle(&self) -> Arc<Handle> {
        Arc::clone(&self.0)
    }

    /// The same with something that only this crate sets.
    #[cfg(all(feature = "blocking", target_os = "linux"))]
    pub(crate) fn tuned(mut self, change: impl FnOnce(&mut Handle)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

impl Got {
    /// The guard; there is none if the limit passed.
    pub(crate) fn in_time(self) -> Result<Guard, Error> {
        match self {
            Self::Guard(guard) => Ok(guard),
            Self::Busy(by) | Self::TimedOut(by) => Err(Error::TimedOut { held_by: by }),
        }
    }
}

impl Settings {
    fn set_problem(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }
}

impl Handle {
    pub(crate) fn name(&self) -> &str {
        self.line.as_ref().map_or("", |line| line.name.as_str())
    }

    /// Until so long from now; `None` is for ever.
    pub(crate) fn patience(&self, limit: Option<Duration>) -> Patience {
        match limit {
            None => Patience::Forever,
            Some(Duration::ZERO) => Patience::Now,
            Some(limit) => Patience::Until(self.shared.clock.now().after(limit)),
        }
    }

    pub(crate) async fn get(&self, patience: Patience) -> Result<Got, Error> {
        let line = self.ready()?;
        // A loop that always finds the lock free must leave the thread to others all the same.
        tokio::task::consume_budget().await;
        let (number, turn) = (self.shared.number(), line.try_turn());
        // Not before: a hold begins later than the one that left the seat ended.
        let mut tick = self.shared.clock.tick();
        let asked = Asked { number, since: tick.now, told: false };
        let mut waiting = Waiting { shared: &self.shared, line, id: &self.id, asked };
        let turn = match turn {
            Ok(turn) => turn,
            Err(NoTurn::Closed) => return Err(Error::Closed),
            Err(NoTurn::Taken) => {
                match self.turn(line, patience, &mut waiting).await? {
                    Ok(turn) => {
                        // The store is asked from now on, however long others came first.
                        tick = self.shared.clock.tick();
                        turn
                    }
                    Err(busy) => return Ok(busy),
                }
            }
        };
        match &self.shared.backend {
            Backend::Store(store) => {
                self.shared.clock.start()?;
                let limit = tick.now.after(self.first_contact);
                let mut session = Session::NONE;
                let can = store.capabilities();
                if can.liveness != Liveness::Observed {
                    let asked = pin!(self.session(store, patience, tick.now));
                    session = self.shared.unless_closed(asked).await??;
                    tick = self.shared.clock.tick();
                }
                let driver = self.driver((store, can), session, patience, (line, number))?;
                let seat = Seat::new(turn, driver, waiting.end());
                seat.acquire(&self.shared, (tick, limit), self.ears.as_ref()).await
            }
            #[cfg(all(feature = "local", target_os = "linux"))]
            Backend::Local(store) => {
                let acquire = pin!(crate::local::acquire(self, store, turn, patience, waiting));
                self.shared.unless_closed(acquire).await?
            }
        }
    }

    /// What can be said before anything is asked of anybody.
    fn ready(&self) -> Result<&Arc<Line>, Error> {
        let line = self.valid()?;
        if self.shared.is_closed() {
            return Err(Error::Closed);
        }
        if !has_runtime() {
            let what = "a lock is acquired outside a tokio runtime: await it inside one, or use \
                        tenure::blocking";
            return Err(Error::invalid(what));
        }
        Ok(line)
    }

    fn valid(&self) -> Result<&Arc<Line>, Error> {
        let line = self.line.as_ref().map_err(|problem| Error::Invalid(problem.clone()))?;
        if let Some(problem) = &self.settings.problem {
            return Err(Error::Invalid(problem.clone()));
        }
        if self.settings.add_tags && self.shared.has_queue() {
            return Err(Error::Unsupported(ADDS_NO_TAGS.into()));
        }
        if !(self.settings.tags.is_empty() || self.shared.has_tags()) {
            return Err(Error::Unsupported(NO_TAGS.into()));
        }
        match &self.shared.backend {
            Backend::Store(store) if store.capabilities().wall_clocks => {
                let earlier = self.settings.timing.for_wall_clocks(MAX_CLOCK_SKEW);
                earlier.map_err(|error| Error::Invalid(error.to_string()))?;
            }
            _ => {}
        }
        Ok(line)
    }

    /// Waits until no other task of this client is seated before this lock.
    async fn turn(
        &self,
        line: &Arc<Line>,
        patience: Patience,
        waiting: &mut Waiting<'_>,
    ) -> Result<Result<Turn, Got>, Error> {
        if patience == Patience::Now {
            return Ok(Err(Got::Busy(Box::new(line.in_the_way(&self.id)?))));
        }
        let by = line.held_by(&self.id);
        self.shared.clock.start()?;
        if let Some(Ears(ears)) = &self.ears {
            ears(by.clone(), None, None);
        }
        waiting.tell(&by, None);
        let limit = match patience {
            Patience::Until(limit) => Some(limit),
            Patience::Now | Patience::Forever => None,
        };
        match within(&self.shared.clock, limit, line.turn()).await {
            Some(Ok(turn)) => Ok(Ok(turn)),
            Some(Err(_)) => Err(Error::Closed),
            None => Ok(Err(Got::TimedOut(Box::new(line.in_the_way(&self.id)?)))),
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
        let first =
            Some(since.after(self.first_contact)).filter(|_| !contact.load(Ordering::Relaxed));
        let limit = match patience {
            Patience::Until(own) => Some(first.map_or(own, |first| own.min(first))),
            Patience::Now => Some(since.after(self.first_contact)),
            Patience::Forever => first,
        };
        let until = |time: Duration| {
            let at = clock.now().after(time);
            Some(limit.map_or(at, |limit| limit.min(at)))
        };
        let attempt = self.settings.timing.attempt();
        let mut said = None;
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
                    said = Some(error.to_string());
                    within(clock, until(attempt / 2), std::future::pending::<()>()).await;
                }
                None => {}
            }
            if limit.is_some_and(|limit| clock.now() >= limit) {
                let unsaid = || "the store did not say how it knows who lives".to_owned();
                return Err(Error::unavailable(said.unwrap_or_else(unsaid)));
            }
        }
    }

    /// A contender for the lock in the store: the last one of this client again, if it was the same.
    fn driver(
        &self,
        (store, can): (&Arc<dyn Store>, Capabilities),
        session: Session,
        patience: Patience,
        (line, number): (&Line, u64),
    ) -> Result<Box<Driver>, Error> {
        let mut left = line.begin();
        if self.shared.is_closed() {
            return Err(Error::Closed);
        }
        // Where liveness is observed, one who knows nothing tries to create: if there is a record
        // after all, that is a conflict, and nothing is lost but what a read would have cost.
        let creates = can.liveness == Liveness::Observed;
        let nothing = || creates.then_some(Snapshot::Absent { revision: 0 });
        let known = left.as_mut().and_then(|left| left.seen_free()).or_else(nothing);
        let same = |left: &Driver| left.is_done() && self.is_told(left, can, session);
        if let Some(mut left) = left.filter(|left| same(left)) {
            left.again(patience, known);
            return Ok(left);
        }
        let driver = |marks| {
            let mut claim = Claim::new(self.config(store, session, marks));
            claim.acquire(patience);
            Driver::new(claim, (line.address(store), &self.shared.clock), known)
        };
        Ok(Box::new(match self.marks {
            Some(start) => driver(Marks::new(start)).only_once(),
            None => driver(self.shared.marks(number)?),
        }))
    }

    /// Whether a claim of this lock would be told the same, but for its marks.
    fn is_told(&self, driver: &Driver, can: Capabilities, session: Session) -> bool {
        let Config { id, session: its_session, timing, tags, add_tags, .. } =
            driver.claim().config();
        let Settings { tags: our_tags, add_tags: adds, .. } = &self.settings;
        self.marks.is_none()
            && (*id == self.id && *its_session == session)
            && *timing == self.timing(can)
            && (tags == our_tags && add_tags == adds)
    }

    /// What its holds say of the lock's tags, and whether they are added to those it has.
    pub(crate) fn tags(&self) -> (&[Text], bool) {
        (&self.settings.tags, self.settings.add_tags)
    }

    /// What a claim of this lock is told once.
    pub(crate) fn config(&self, store: &Arc<dyn Store>, session: Session, marks: Marks) -> Config {
        let can = store.capabilities();
        let timing = self.timing(can);
        Config {
            id: self.id.clone(),
            session,
            term: match can.liveness {
                Liveness::Process => Term::Session,
                Liveness::Server | Liveness::Observed => Term::Ttl(timing.ttl()),
            },
            timing,
            liveness: can.liveness,
            queue: can.queue,
            adopt: can.adopts,
            max_clock_skew: MAX_CLOCK_SKEW,
            add_tags: self.settings.add_tags,
            tags: self.settings.tags.clone(),
            marks,
        }
    }

    fn timing(&self, can: Capabilities) -> Timing {
        let Settings { timing, .. } = &self.settings;
        // Checked when the acquisition began.
        match can.wall_clocks {
            true => timing.for_wall_clocks(MAX_CLOCK_SKEW).unwrap_or(*timing),
            false => *timing,
        }
    }
}

/// An acquisition on its way, which tells when it has told that it waits and ends without the lock.
pub(crate) struct Waiting<'a> {
    shared: &'a Shared,
    line: &'a Line,
    id: &'a Text,
    asked: Asked,
}

impl Waiting<'_> {
    /// Tells that it waits.
    pub(crate) fn tell(&mut self, by: &HeldBy, place: Option<usize>) {
        self.asked.told = true;
        let held_by = || by.clone();
        self.shared.tell(self.about(), || EventKind::Waiting { held_by: held_by(), place });
    }

    /// It is somebody else's to tell how this ends.
    pub(crate) fn end(mut self) -> Asked {
        let asked = self.asked;
        self.asked.told = false;
        asked
    }

    fn about(&self) -> About<'_> {
        About { lock: self.line.name.text(), id: self.id, acquisition: self.asked.number }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.asked.told {
            let waited = self.shared.clock.now().since(self.asked.since);
            self.shared.tell(self.about(), || EventKind::GaveUp { waited });
        }
    }
}

/// Checks tags.
pub(crate) fn check_tags<T: AsRef<str>>(
    tags: impl IntoIterator<Item = T>,
) -> Result<Vec<Text>, String> {
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
