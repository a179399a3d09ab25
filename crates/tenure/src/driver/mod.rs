//! Drives one [`Claim`] over any [`Store`]: what came in, then everything it asks for, then the
//! next that came in.
//!
//! ```text
//! seat (whose turn it is to poll) ──> Driver ──┬─> Claim: decides
//! keeper (the task that polls kept seats)      ├─> requests: reads, probes, writes; late answers
//!                                              ├─> watch: the own record, or the one in the way
//!                                              └─> alarm: at most one per seat
//! ```
//!
//! Owns the requests under way and the latest view of the record. Knows nothing of guards, users
//! and tasks: it is polled, and tells. A request that takes too long is given up: a read is asked
//! again, a write is in doubt and its answer still taken when it comes.
//!
//! **The view is what the store said last, and the claim is polled before anything that came in is
//! handed to it**, so that an answer from after the deadline finds the hold lost.

mod keeper;
mod line;
mod requests;
mod seat;
mod sweep;
mod turns;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tenure_core::{
    Action, Cause, Claim, Liveness, Mark, Patience, Report, Session, State, Text, Time, View,
};
use tenure_store::{Error as StoreError, Name, Snapshot, Store, Stored, Watch};

use crate::clock::{Alarm, Clock, Tick};
pub(crate) use keeper::{Keeper, has_runtime};
pub(crate) use line::{Ahead, Line, Turn};
use requests::{Ask, Sent};
pub(crate) use seat::{Asked, Seat};
pub(crate) use turns::NoTurn;

/// How many rounds one poll may take before it lets others run.
const ROUNDS_MAX: u32 = 64;
/// How many conflicts and unanswered probes in a row are taken up at once; then there are pauses.
const AT_ONCE: u32 = 3;
/// The first of these pauses.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// The pause before a quick try, and how many of the usual pauses are between two of them.
const QUICK: Duration = Duration::from_millis(50);
const QUICK_EVERY: u32 = 8;
/// How many late writes are waited for.
const LATE_MAX: usize = 8;

/// Where the record of one lock stands.
#[derive(Debug)]
pub(crate) struct Address {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) name: Name,
}

/// What a driver tells.
#[derive(Debug)]
pub(crate) enum Step {
    /// What the claim reports.
    Report(Report),
    /// A renewal was acknowledged after this long.
    Renewed(Duration),
    /// The store did not do what it was asked. The claim goes on.
    Failed(StoreError),
    /// The session that the claim contends under is gone, and with it all that stood under it; the
    /// store has this one now.
    Reborn(Session),
    /// There is nothing left to do.
    Ended,
}

/// One claim, the requests under way for it and the latest view of its record.
pub(crate) struct Driver {
    claim: Claim,
    /// Every request under way shares it.
    at: Arc<Address>,
    clock: Clock,
    seen: Option<Snapshot>,
    ask: Option<Ask>,
    /// Writes that were not answered yet, the newest last.
    writes: Vec<Sent>,
    watch: Option<Watch>,
    /// Whether `seen` came from elsewhere since the read under way began.
    news: bool,
    /// When the write answered last was sent.
    sent: Time,
    /// No read, probe or watch before this: the last ones led nowhere.
    rest_until: Time,
    /// How many in a row.
    stumbles: u32,
    /// From when on a failure may be passing, so that the next try comes quickly.
    quick_from: Time,
    /// A watch told something that only a read can put in order.
    unsure: bool,
    /// The first mark that the claim may draw.
    first: Mark,
    /// When the last write was sent.
    last_sent: Time,
    /// The outcome of a write was lost, or the hold without a word to the store.
    in_doubt: bool,
    /// Something was refused, for which the end of our session may be the reason.
    doubts_session: bool,
    /// Whether the store has ever answered.
    contact: bool,
    /// Something is known by the marks of this claim that is not to be taken for a later hold.
    once: bool,
    /// When it was polled last.
    now: Time,
    /// Made when there is something to wait for.
    alarm: Option<Alarm>,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("state", &self.state()).finish_non_exhaustive()
    }
}

/// What the claim wants.
enum Want {
    Told(Step),
    /// A request was made: it may be answered at once.
    Asked,
    Wait(Option<Time>),
}

impl Driver {
    /// A driver for `claim`, which has been told what to want. `known` is a state of the record
    /// from before, to be judged if nothing newer is known: no write succeeds on one that is past.
    pub(crate) fn new(
        claim: Claim,
        (at, clock): (&Arc<Address>, &Clock),
        known: Option<Snapshot>,
    ) -> Self {
        let first = claim.config().marks.clone().draw();
        Self {
            claim,
            at: Arc::clone(at),
            clock: clock.clone(),
            seen: known,
            ask: None,
            writes: Vec::new(),
            watch: None,
            news: false,
            sent: Time::ZERO,
            rest_until: Time::ZERO,
            stumbles: 0,
            quick_from: Time::ZERO,
            unsure: false,
            first,
            last_sent: Time::ZERO,
            in_doubt: false,
            doubts_session: false,
            contact: false,
            once: false,
            now: Time::ZERO,
            alarm: None,
        }
    }

    /// Where the claim stands.
    pub(crate) const fn state(&self) -> State {
        self.claim.state()
    }

    /// When it was polled last.
    pub(crate) const fn now(&self) -> Time {
        self.now
    }

    pub(crate) const fn claim(&self) -> &Claim {
        &self.claim
    }

    /// The record as it was seen last, if it was free: the next of this client may find it so.
    pub(crate) fn seen_free(&mut self) -> Option<Snapshot> {
        let free = |s: &Snapshot| {
            let free = |s: &Stored| s.record.holder.is_none() && s.record.queue.is_empty();
            s.stored().is_some_and(free)
        };
        self.seen.take().filter(free)
    }

    /// The same one, whose marks are nobody else's: it does not want the lock again.
    pub(crate) fn only_once(self) -> Self {
        Self { once: true, ..self }
    }

    /// Whether its claim has ended with nothing of it left or to come, so that it may want the lock
    /// again. Else it may not: what is looked for after an end in doubt, or by whoever has the key
    /// of a hold, is known by all marks of one claim.
    pub(crate) fn is_done(&self) -> bool {
        let nothing_left = !self.in_doubt && self.writes.is_empty();
        nothing_left && !self.once && self.claim.state() == State::Ended
    }

    /// Wants the lock once more, with the marks that go on from the last ones.
    pub(crate) fn again(&mut self, patience: Patience, known: Option<Snapshot>) {
        self.claim.acquire(patience);
        self.seen = known;
        (self.rest_until, self.stumbles, self.quick_from) = (Time::ZERO, 0, Time::ZERO);
        (self.news, self.unsure, self.doubts_session, self.contact) = (false, false, false, false);
    }

    /// The same one, of a store that has answered before.
    pub(crate) fn with_contact(self) -> Self {
        Self { contact: true, ..self }
    }

    /// What the release says of the lock's tags.
    pub(crate) fn tag_end(&mut self, tags: Vec<Text>, add: bool) {
        self.claim.tag_end(tags, add);
    }

    /// Gives the lock back.
    pub(crate) fn release(&mut self, now: Time) {
        self.claim.release(now);
        self.watch = None;
    }

    /// Takes what stands of a lost hold out of the record, without a word of its own.
    pub(crate) fn release_lost(&mut self, now: Time) {
        self.claim.tag_end(Vec::new(), false);
        self.release(now);
    }

    /// Gives the lock back but leaves it busy for `ttl`.
    pub(crate) fn detach(&mut self, now: Time, ttl: Duration) {
        self.claim.detach(now, ttl);
        self.watch = None;
        self.once = true;
    }

    /// Undoes whatever there is.
    pub(crate) fn cancel(&mut self, now: Time) {
        self.claim.cancel(now);
        self.watch = None;
    }

    /// Goes on until there is something to tell or to wait for. `tick` is the time now: read once, as
    /// only what is seen in the store must be dated later than it was seen.
    pub(crate) fn poll(&mut self, mut tick: Tick, cx: &mut Context<'_>) -> Poll<Step> {
        for _ in 0..ROUNDS_MAX {
            self.now = tick.now;
            let want = self.act(tick);
            if let Want::Told(step) = want {
                return Poll::Ready(step);
            }
            match self.take_in(&mut tick, cx) {
                Some(Ok(Some(session))) => return Poll::Ready(Step::Reborn(session)),
                Some(Ok(None)) => continue,
                Some(Err(error)) => return Poll::Ready(Step::Failed(error)),
                None => {}
            }
            if let Want::Wait(until) = want {
                if until.is_some_and(|until| tick.now >= until) {
                    continue;
                }
                if self.writes.is_empty() {
                    // Every hold would keep the room.
                    self.writes = Vec::new();
                }
                let alarm = || Alarm::new(self.clock.clone());
                self.alarm.get_or_insert_with(alarm).set(until, cx.waker());
                return Poll::Pending;
            }
        }
        // Somebody else's turn: a store whose answers are always there must not keep the thread.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Carries out the claim's next action.
    fn act(&mut self, Tick { now, wall }: Tick) -> Want {
        let view = self.seen.as_ref().map_or(View::Unknown, Snapshot::view);
        match self.claim.poll(now, wall, &view) {
            Action::Report(Report::Renewed) => Want::Told(Step::Renewed(now.since(self.sent))),
            Action::Report(report) => {
                self.in_doubt |= matches!(
                    report,
                    Report::Lost(Cause::Deadline) | Report::Released { confirmed: false }
                );
                self.stumbles = 0;
                Want::Told(Step::Report(report))
            }
            Action::Idle => {
                self.stop();
                Want::Told(Step::Ended)
            }
            Action::Read => self.ask(now, None),
            Action::Probe(session) => self.ask(now, Some(session)),
            Action::Write(write) => {
                // Its answer would be older than the write.
                self.ask = None;
                self.send(now, write);
                Want::Asked
            }
            Action::Wait { .. } if self.unsure && self.ask.is_none() => {
                self.unsure = false;
                self.ask(now, None)
            }
            Action::Wait { until } => Want::Wait(self.rest(now, until)),
        }
    }

    /// Waits with an eye on the record, unless the answer to a write is all that is waited for.
    fn rest(&mut self, now: Time, until: Option<Time>) -> Option<Time> {
        let asks = self.doubts_session && self.ask.is_none();
        if asks && now >= self.rest_until && self.claim.state() == State::Contending {
            self.ask_session(now);
            return Some(now);
        }
        let answered = self.writes.last().is_none_or(|write| now >= write.give_up_at);
        let wanted = matches!(self.claim.state(), State::Contending | State::Held);
        if let Some(given_up) = self.ask_ends() {
            return earlier(until, Some(given_up));
        }
        if self.watch.is_some() || !wanted || !answered {
            return until;
        }
        if now < self.rest_until {
            return earlier(until, Some(self.rest_until));
        }
        self.watch = Some(self.at.store.watch(&self.at.name));
        // It tells what stands there at its first poll, which comes now.
        Some(now)
    }

    /// The instants at which a claim wants to be polled whatever is under way.
    fn own_times(&self, now: Time) -> Option<Time> {
        let limit = match self.claim.patience() {
            Some(Patience::Until(limit)) => Some(limit),
            _ => None,
        };
        let later = |t: Option<Time>| t.filter(|t| now < *t);
        earlier(later(limit), earlier(later(self.claim.stop_at()), self.claim.deadline()))
    }

    /// Whether something of the claim may stand in the record, or come to, for as long as its session
    /// lives.
    fn leaves_doubts(&self) -> bool {
        let server = self.claim.config().liveness == Liveness::Server;
        server && (self.in_doubt || !self.writes.is_empty())
    }

    /// Lets go of everything under way.
    pub(crate) fn stop(&mut self) {
        self.in_doubt |= !self.writes.is_empty();
        self.ask = None;
        self.watch = None;
        self.writes.clear();
        self.alarm = None;
    }

    /// What led nowhere is repeated after a pause that grows.
    fn stumble(&mut self, now: Time) {
        self.stumbles = self.stumbles.saturating_add(1);
        if let Some(n) = self.stumbles.checked_sub(AT_ONCE) {
            let pause = PAUSE_MIN.saturating_mul(1 << n.min(16));
            self.rest_until = now.after(pause.min(self.pause()));
        }
    }

    /// A read, a probe or a watch failed. What ended a single watch is over by the time of a quick
    /// try, and until that nobody sees the lock become free; else the store is left alone.
    fn fail(&mut self, now: Time) {
        let mut pause = self.pause();
        if now >= self.quick_from {
            self.quick_from = now.after(pause * QUICK_EVERY);
            pause = pause.min(QUICK);
        }
        self.rest_until = now.after(pause);
    }

    /// How long a store is left alone that did not answer.
    fn pause(&self) -> Duration {
        self.claim.config().timing.attempt() / 2
    }

    /// Whether the store has ever answered.
    pub(crate) const fn has_contact(&self) -> bool {
        self.contact
    }
}

fn earlier(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
