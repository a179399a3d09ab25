//! A contender or a hold, and whose turn it is to poll it.
//!
//! ```text
//! acquire: polled in the caller's task ──acquired──> kept ──release──> the caller's task again
//!              └──given up or dropped─────────────────^ └──dropped guard──> undone by the keeper
//! ```
//!
//! Owns a driver and hands it to exactly one of two: the task of whoever waits for an answer, or
//! the keeper. **Whatever future or guard is dropped at whatever await, the driver goes to the
//! keeper**, which undoes what there is, for a ttl at most.
//!
//! | state | who renews | who ends it | what if that one is frozen | what if the answer is lost |
//! |---|---|---|---|---|
//! | acquiring | nobody | the caller's task; the keeper if it is dropped | ends by its ttl | read back by mark |
//! | kept | the keeper | the guard; the deadline | ends at its deadline | read back by mark |
//! | releasing | nobody | the caller's task; the keeper if it is dropped | ends by its ttl | read back by mark |

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use tenure_core::{Claim, Liveness, Patience, Report, Session, State, Text, Time, Token};
use tenure_store::{Snapshot, Store};

use super::keeper::Undoing;
use super::line::Turn;
use super::sweep::Sweep;
use super::{Ahead, Driver, Line, Site, Step};
use crate::client::Shared;
use crate::event::{About, EventKind};
use crate::hold::Status;
use crate::lock::Ears;
use crate::{Error, HeldBy, Lost, Released};

/// One contender or hold of a client on any store.
pub(crate) struct Seat {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    line: Arc<Line>,
    id: Text,
    since: Time,
    acquisition: u64,
    /// In the keeper's list of those to poll.
    pub(super) queued: AtomicBool,
    inner: Mutex<Inner>,
}

struct Inner {
    /// `None`: all is over.
    driver: Option<Box<Driver>>,
    polled_by: PolledBy,
    turn: Option<Turn>,
    status: Option<Arc<Status>>,
    /// Its place with the keeper.
    place: Option<u32>,
    /// Nobody waits for it any more: it is being undone.
    undoing: Option<Undoing>,
    /// All is over but for what may have been left in the record.
    sweep: Option<Box<Sweep>>,
    /// What the store last said instead of doing what it was asked.
    trouble: Option<Box<tenure_store::Error>>,
    told: Told,
}

/// What was told last of a story that has to have an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Waiting,
    Acquired,
}

/// An acquisition that comes to its seat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) number: u64,
    pub(crate) since: Time,
    /// Whether it has told that it waits.
    pub(crate) told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PolledBy {
    Caller,
    Keeper,
}

/// How an acquisition ended.
pub(crate) enum Acquired {
    Held(Arc<Seat>, Arc<Status>),
    Busy(HeldBy),
    TimedOut(HeldBy),
}

impl Seat {
    pub(crate) fn new(
        (shared, store): (&Arc<Shared>, &Arc<dyn Store>),
        turn: Turn,
        claim: Claim,
        asked: Asked,
    ) -> Arc<Self> {
        let line = Arc::clone(turn.line());
        // Where liveness is observed, one who knows nothing tries to create: if there is a record
        // after all, that is a conflict, and nothing is lost but what a read would have cost.
        let creates = store.capabilities().liveness == Liveness::Observed;
        let nothing = || creates.then_some(Snapshot::Absent { revision: 0 });
        let known = line.take_known().or_else(nothing);
        Arc::new(Self {
            shared: Arc::clone(shared),
            store: Arc::clone(store),
            line,
            id: claim.config().id.clone(),
            since: asked.since,
            acquisition: asked.number,
            queued: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                driver: Some(Box::new(Driver::new(claim, known))),
                polled_by: PolledBy::Caller,
                turn: Some(turn),
                status: None,
                place: None,
                undoing: None,
                sweep: None,
                trouble: None,
                told: if asked.told { Told::Waiting } else { Told::Nothing },
            }),
        })
    }

    /// Acquires, if the store answers anything by `contact_by`. The future undoes it when it is
    /// dropped first.
    pub(crate) async fn acquire(
        self: Arc<Self>,
        contact_by: Time,
        ears: Option<&Ears>,
    ) -> Result<Acquired, Error> {
        let clock = Arc::clone(&self.shared.clock);
        self.line.set_acquiring(Arc::downgrade(&self));
        let mut undo = UndoOnDrop(Some(self));
        let mut acquired = std::future::poll_fn(|cx| match &undo.0 {
            Some(seat) => seat.poll_acquire(cx, ears),
            None => Poll::Pending,
        });
        let output = match crate::clock::within(&clock, Some(contact_by), &mut acquired).await {
            Some(output) => output?,
            None => {
                if let Some(silent) = undo.0.as_ref().and_then(|seat| seat.silent()) {
                    return Err(silent);
                }
                acquired.await?
            }
        };
        // Busy and timed out may have left something to undo.
        if let Acquired::Held(seat, _) = &output {
            seat.line.set_acquiring(Weak::new());
            undo.0 = None;
        }
        Ok(output)
    }

    fn poll_acquire(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        ears: Option<&Ears>,
    ) -> Poll<Result<Acquired, Error>> {
        let mut inner = self.inner();
        if inner.undoing.is_some() {
            return Poll::Ready(Err(Error::Closed));
        }
        loop {
            let Some(driver) = &mut inner.driver else {
                // Nobody else gives up what is still waited for.
                return Poll::Ready(Err(Error::Closed));
            };
            let Poll::Ready(step) = driver.poll(self.site(), cx) else { return Poll::Pending };
            let report = match step {
                Step::Report(report) => report,
                Step::Failed(error) if self.is_final(driver, &error) => {
                    return Poll::Ready(Err(error.into()));
                }
                Step::Failed(error) => {
                    inner.trouble = Some(Box::new(error));
                    continue;
                }
                Step::Renewed(_) => continue,
                Step::Reborn(session) => {
                    match self.begin_anew(driver, session) {
                        Ok(driver) => inner.driver = Some(driver),
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                    continue;
                }
                Step::Ended => {
                    return Poll::Ready(Err(Error::unavailable("the wait was given up")));
                }
            };
            match report {
                Report::Acquired { token } => {
                    return Poll::Ready(Ok(self.acquired(&mut inner, token)));
                }
                Report::Waiting { place, ticket, by } => {
                    inner.told = Told::Waiting;
                    let by = HeldBy::from(by);
                    if let Some(Ears(ears)) = ears {
                        ears(by.clone(), place, ticket);
                    }
                    self.waits(by, place);
                }
                Report::Busy(by) => return Poll::Ready(Ok(Acquired::Busy(by.into()))),
                Report::TimedOut(Some(by)) => {
                    return Poll::Ready(Ok(Acquired::TimedOut(by.into())));
                }
                Report::TimedOut(None) => {
                    let said = inner.trouble.take().map(|error| Error::from(*error));
                    let none = || Error::unavailable("the limit passed before the store answered");
                    return Poll::Ready(Err(said.unwrap_or_else(none)));
                }
                _ => {}
            }
        }
    }

    /// The same wish under a new session. What stood under the old one is the server's to end, in a
    /// ttl at most.
    fn begin_anew(&self, driver: &Driver, session: Session) -> Result<Box<Driver>, Error> {
        let mut config = driver.claim().config().clone();
        config.session = session;
        config.marks = self.shared.marks(self.shared.number())?;
        let mut claim = Claim::new(config);
        claim.acquire(driver.claim().patience().unwrap_or(Patience::Now));
        let driver = Driver::new(claim, None);
        Ok(Box::new(driver.with_contact()))
    }

    /// Whether a store's refusal ends the wait.
    fn is_final(&self, driver: &Driver, error: &tenure_store::Error) -> bool {
        driver.state() == State::Contending && driver.ends_wait(error)
    }

    /// What to say of a store that has never answered.
    fn silent(&self) -> Option<Error> {
        let mut inner = self.inner();
        let silent = inner.driver.as_ref().is_some_and(|driver| !driver.has_contact());
        let waited = Duration::from_secs(self.age().as_secs());
        let none = || Error::unavailable(format!("the store did not answer within {waited:?}"));
        silent.then(|| inner.trouble.take().map_or_else(none, |error| Error::from(*error)))
    }

    fn acquired(self: &Arc<Self>, inner: &mut Inner, token: Token) -> Acquired {
        let clock = Arc::clone(&self.shared.clock);
        let (timing, until, now) = match &inner.driver {
            Some(driver) => {
                (driver.claim().config().timing, driver.claim().deadline(), driver.now())
            }
            None => (tenure_core::Timing::default(), None, self.since),
        };
        let who = (self.line.name.text().clone(), self.id.clone());
        let status = Status::new((clock, &timing), who, token.get(), (now, until));
        inner.status = Some(Arc::clone(&status));
        inner.trouble = None;
        self.line.set_ahead(Ahead::Holds(Arc::clone(&status)));
        inner.told = Told::Acquired;
        let remaining = || until.map(|until| until.since(self.shared.clock.now()));
        self.tell(|| EventKind::Acquired {
            token: token.get(),
            waited: self.age(),
            remaining: remaining(),
        });
        self.give_to_keeper(inner);
        Acquired::Held(Arc::clone(self), status)
    }

    fn waits(&self, by: HeldBy, place: Option<usize>) {
        self.tell(|| EventKind::Waiting { held_by: by.clone(), place });
        self.line.set_ahead(Ahead::Waits(Box::new(by)));
    }

    /// Gives the hold back, or leaves it busy for the ttl given, and waits for the store's answer
    /// for one attempt. Dropping the future leaves the rest to the keeper.
    pub(crate) async fn release(
        self: Arc<Self>,
        leave: Option<Duration>,
    ) -> Result<Released, Error> {
        let Some(limit) = self.begin_release(leave) else {
            return Ok(Released::Lost(self.cause()));
        };
        let mut keep = KeepOnDrop(Some(self));
        let Some(seat) = &keep.0 else { return Ok(Released::Released) };
        let answer = std::future::poll_fn(|cx| seat.poll_release(cx));
        match crate::clock::within(&seat.shared.clock, Some(limit), answer).await {
            Some(released) => {
                // All is over: there is nothing left to keep, unless it ended in doubt.
                if let Some(seat) = keep.0.take()
                    && seat.inner().sweep.is_some()
                {
                    seat.shared.keeper.poll_soon(&seat);
                }
                Ok(released)
            }
            None => Err(seat.unanswered()),
        }
    }

    /// `None`: there is nothing left to give back. Else when to stop waiting for the answer.
    fn begin_release(self: &Arc<Self>, leave: Option<Duration>) -> Option<Time> {
        let mut inner = self.inner();
        let now = self.shared.clock.now();
        let held = inner.status.as_ref().is_some_and(|status| status.give_back(now));
        let driver = inner.driver.as_mut()?;
        match leave {
            Some(ttl) if held => driver.detach(now, ttl),
            // What was lost by the clock alone may still stand in the record.
            _ => driver.release(now),
        }
        let limit = now.after(driver.claim().config().timing.attempt());
        if !held {
            self.undo(&mut inner);
            return None;
        }
        inner.polled_by = PolledBy::Caller;
        Some(limit)
    }

    fn poll_release(&self, cx: &mut Context<'_>) -> Poll<Released> {
        let mut inner = self.inner();
        loop {
            let Some(driver) = &mut inner.driver else {
                return Poll::Ready(Released::Lost(Lost::RuntimeGone));
            };
            let Poll::Ready(step) = driver.poll(self.site(), cx) else { return Poll::Pending };
            if let Step::Failed(error) = step {
                inner.trouble = Some(Box::new(error));
                continue;
            }
            if let Some(released) = self.ended(&mut inner, step) {
                return Poll::Ready(released);
            }
        }
    }

    fn unanswered(&self) -> Error {
        let text = "the release was not answered; the hold ends with its ttl";
        match self.inner().trouble.take() {
            Some(error) => Error::Unavailable(format!("{text}: {error}"), Some(error)),
            None => Error::unavailable(text),
        }
    }

    fn cause(&self) -> Lost {
        let inner = self.inner();
        let cause = inner.status.as_ref().and_then(|status| status.look());
        cause.unwrap_or(Lost::Deadline)
    }

    /// The client is closed while this is acquired: whoever waits for it need not be polled again
    /// for it to be undone.
    pub(super) fn send_away(self: &Arc<Self>) {
        let acquiring = self.inner().status.is_none();
        if acquiring {
            self.give_up();
        }
    }

    /// Nobody waits for the lock any more.
    fn give_up(self: &Arc<Self>) {
        let mut inner = self.inner();
        if inner.undoing.is_some() || inner.status.is_some() {
            return;
        }
        if inner.told == Told::Waiting {
            inner.told = Told::Nothing;
            self.tell(|| EventKind::GaveUp { waited: self.age() });
        }
        let Some(driver) = &mut inner.driver else { return };
        driver.cancel(self.shared.clock.now());
        let over = matches!(driver.state(), State::Ended | State::Idle);
        if over && !driver.leaves_doubts() {
            return self.finish(&mut inner);
        }
        self.undo(&mut inner);
    }

    /// Asks the keeper to give the hold back. Never blocks and needs no runtime around it.
    pub(crate) fn drop_hold(self: &Arc<Self>) {
        let mut inner = self.inner();
        let now = self.shared.clock.now();
        if let Some(status) = &inner.status {
            status.give_back(now);
        }
        if let Some(driver) = &mut inner.driver {
            driver.release(now);
            self.undo(&mut inner);
        }
    }

    /// Polls as the keeper; whether all is over.
    pub(super) fn poll_kept(&self, cx: &mut Context<'_>) {
        let mut inner = self.inner();
        while inner.polled_by == PolledBy::Keeper {
            if let Some(sweep) = inner.sweep.take() {
                // In the keeper's task there is a runtime.
                drop(tokio::spawn(sweep.run()));
                return self.leave(&mut inner);
            }
            let Some(driver) = &mut inner.driver else { return };
            match driver.poll(self.site(), cx) {
                Poll::Ready(step) => drop(self.ended(&mut inner, step)),
                Poll::Pending if !self.is_over(&mut inner) => return,
                Poll::Pending => {}
            }
        }
    }

    /// Somebody saw the deadline pass before this did: the hold is lost, even if an answer came
    /// since that would have moved it. What stands in the record is given back.
    fn is_over(&self, inner: &mut Inner) -> bool {
        let Some(driver) = &mut inner.driver else { return false };
        let lost = inner.status.as_ref().is_some_and(|status| status.look().is_some());
        if !lost || driver.state() != State::Held {
            return false;
        }
        driver.release(self.shared.clock.now());
        true
    }

    /// Passes on what the driver of a hold tells; what it comes to, if it has ended.
    fn ended(&self, inner: &mut Inner, step: Step) -> Option<Released> {
        let status = inner.status.as_ref();
        let token = status.map_or(0, |status| status.token);
        let driver = inner.driver.as_ref()?;
        let released = match step {
            Step::Renewed(took) => {
                let until = driver.claim().deadline();
                if let Some(status) = status {
                    status.extend(until);
                }
                let remaining = until.map(|until| until.since(self.shared.clock.now()));
                self.tell(|| EventKind::Renewed { token, took, remaining });
                return None;
            }
            Step::Failed(error) => {
                let until = driver.claim().deadline();
                let remaining = until.map(|until| until.since(self.shared.clock.now()));
                let error = || error.to_string().into();
                self.tell(|| EventKind::RenewFailed { token, error: error(), remaining });
                return None;
            }
            Step::Report(Report::Stopping) => {
                if let Some(status) = status {
                    status.stop();
                }
                self.tell(|| EventKind::Stopping { token });
                return None;
            }
            Step::Report(Report::Lost(cause)) => {
                let mut cause = Lost::from(cause);
                if let Some(status) = status {
                    status.lose(cause.clone());
                    cause = status.look().unwrap_or(cause);
                }
                self.tell_end(inner, Some(cause.clone()), true);
                Released::Lost(cause)
            }
            Step::Report(Report::Released { confirmed }) => {
                // Who looked after the deadline found it lost before the claim did.
                let lost = status.and_then(|status| status.look());
                self.tell_end(inner, lost, confirmed);
                Released::Released
            }
            Step::Report(Report::Cancelled) | Step::Ended => Released::Released,
            Step::Report(_) | Step::Reborn(_) => return None,
        };
        self.finish(inner);
        Some(released)
    }

    /// Hands the seat to the keeper, to renew it or to undo it.
    fn give_to_keeper(self: &Arc<Self>, inner: &mut Inner) {
        inner.polled_by = PolledBy::Keeper;
        if inner.place.is_none() {
            inner.place = self.shared.keeper.keep(self);
        } else {
            self.shared.keeper.poll_soon(self);
        }
    }

    /// Leaves to the keeper what nobody waits for.
    fn undo(self: &Arc<Self>, inner: &mut Inner) {
        inner.undoing.get_or_insert_with(|| self.shared.keeper.undoing());
        self.give_to_keeper(inner);
        if inner.place.is_none() {
            // Without a runtime what is there ends with its ttl.
            self.finish(inner);
        }
    }

    /// All is over: lets the next one in.
    fn finish(&self, inner: &mut Inner) {
        if let Some(driver) = &mut inner.driver {
            self.line.set_known(driver.seen_free());
        }
        // Where nobody was left to hear how it ended.
        let lost = inner.status.as_ref().and_then(|status| status.look());
        self.tell_end(inner, lost, false);
        let kept = inner.place.is_some();
        if let Some(driver) = inner.driver.take().filter(|d| kept && d.leaves_doubts()) {
            self.sweep(inner, &driver);
        }
        inner.turn = None;
        inner.undoing = None;
        if inner.sweep.is_none() {
            self.leave(inner);
        }
    }

    /// Sees to it that nothing is left of a claim that ended in doubt.
    fn sweep(&self, inner: &mut Inner, driver: &Driver) {
        let timing = driver.claim().config().timing;
        let sweep = Sweep {
            client: Arc::downgrade(&self.shared),
            store: Arc::clone(&self.store),
            name: self.line.name.clone(),
            clock: Arc::clone(&self.shared.clock),
            first: driver.first,
            attempt: timing.attempt(),
            until: driver.last_sent.after(timing.ttl()),
            undoing: inner.undoing.take().or_else(|| Some(self.shared.keeper.undoing())),
        };
        inner.sweep = Some(Box::new(sweep));
        inner.polled_by = PolledBy::Keeper;
    }

    /// The keeper has nothing more to do with it.
    fn leave(&self, inner: &mut Inner) {
        if let Some(place) = inner.place.take() {
            self.shared.keeper.forget(self, place);
        }
    }

    /// The keeper is gone, and nobody will poll this any more.
    pub(super) fn abandon(&self) {
        let mut inner = self.inner();
        inner.place = None;
        if inner.polled_by == PolledBy::Caller && inner.driver.is_some() {
            return;
        }
        if let Some(status) = &inner.status {
            status.lose(Lost::RuntimeGone);
        }
        self.finish(&mut inner);
    }

    /// Tells how a hold ended, once.
    fn tell_end(&self, inner: &mut Inner, lost: Option<Lost>, confirmed: bool) {
        if let (Told::Acquired, Some(status)) = (inner.told, &inner.status) {
            self.tell(|| EventKind::end(status, lost, confirmed));
            inner.told = Told::Nothing;
        }
    }

    fn site(&self) -> Site<'_> {
        Site { store: &self.store, name: &self.line.name, clock: &self.shared.clock }
    }

    fn age(&self) -> Duration {
        self.shared.clock.now().since(self.since)
    }

    fn tell(&self, kind: impl FnOnce() -> EventKind) {
        let (lock, id) = (self.line.name.text(), &self.id);
        self.shared.tell(About { lock, id, acquisition: self.acquisition }, kind);
    }

    /// Each change of what it protects is whole before anything of a store's is called.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Seat {
    fn wake(self: Arc<Self>) {
        self.shared.keeper.poll_soon(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.shared.keeper.poll_soon(self);
    }
}

/// An acquisition under way.
struct UndoOnDrop(Option<Arc<Seat>>);

impl Drop for UndoOnDrop {
    fn drop(&mut self) {
        if let Some(seat) = &self.0 {
            seat.give_up();
        }
    }
}

/// A release under way.
struct KeepOnDrop(Option<Arc<Seat>>);

impl Drop for KeepOnDrop {
    fn drop(&mut self) {
        let Some(seat) = &self.0 else { return };
        let mut inner = seat.inner();
        if inner.driver.is_some() {
            seat.undo(&mut inner);
        }
    }
}
