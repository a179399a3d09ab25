//! One contender for one lock, from wanting it to having given it back.
//!
//! A [`Claim`] is driven by whoever has a store and a clock. Its methods come in families:
//!
//! - *verbs* say what the application wants: [`acquire`](Claim::acquire),
//!   [`cancel`](Claim::cancel), [`release`](Claim::release), [`detach`](Claim::detach),
//!   [`hand_on`](Claim::hand_on), [`end_other`](Claim::end_other);
//! - *`handle_*`* say what came in: a finished read, the answer to a write, the answer to a probe;
//! - [`poll`](Claim::poll) says what must happen now. Call it after every input, with the latest
//!   [`View`] of the record, and carry out what it returns, until it returns [`Action::Wait`] or
//!   [`Action::Idle`];
//! - *getters* say how things stand.
//!
//! **Rules for drivers.** A read that was asked for is handed in before the next write is sent.
//! `sent` times are taken *before* the request leaves. After an acknowledged write the driver's
//! view is the record with the change applied, at the new version, and views never go back to an
//! older revision.
//!
//! **Why two claims never hold at once.** A hold begins only with a view of the record that carries
//! the mark of a conditional write of ours, and counts from its send. Such a write is accepted only
//! if the record is still the one that was judged: free, or held by someone whose session is gone,
//! or by an entry that stood unchanged for `ttl x (1 + drift)` of this claim's clock, which is
//! later than its holder's deadline as long as both clocks' rates are within `drift` of true time.
//!
//! | state | who renews it | who ends it | what if that one is frozen | what if the answer is lost |
//! |---|---|---|---|---|
//! | queued | nobody: its session | itself, or who finds the session gone | skipped while stopped | read back by mark |
//! | held by session | nobody | release; the next, when the session is gone | the hold stays | read back by mark |
//! | held with ttl | this claim | release; the deadline | it ends at its deadline; the next waits out the ttl | read back by mark; validity counts from the landed attempt |
//! | detached | whoever has its mark | its ttl; whoever has its mark, or an operator, by `end_other` | it ends by its ttl | read back by mark; written again while the old hold stands |

mod attempts;
mod contend;
mod front;
mod give_back;
mod keep;
mod types;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use crate::museum::{Bug, planted};
use crate::{End, Holder, Mark, Session, Term, Text, Time, Token, Version, Wall};
use attempts::{Attempt, Attempts, Kind};
use types::Seen;
pub use types::{
    Action, Cause, Config, HeldBy, Liveness, Outcome, Patience, Probed, Report, State, View, Write,
};

/// One contender for one lock. See the module's documentation for how to drive it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    config: Config,
    phase: Phase,
    attempts: Attempts,
    seen: Option<Seen>,
    probed: Vec<(Session, Probed)>,
    /// A fresh read must come before anything is decided.
    need_read: bool,
    /// No write before this: the last one was refused without having happened.
    retry_at: Time,
    /// News to be reported before anything else.
    news: Option<News>,
    /// What is said at the end; `None`: nothing but that it is given back. Boxed as above.
    parting: Option<Box<Parting>>,
}

/// What the end of a hold says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Parting {
    end: End,
    reason: Option<Text>,
    tags: Vec<Text>,
    /// Whether the lock keeps the tags it has beside these.
    add: bool,
}

impl Default for Parting {
    fn default() -> Self {
        Self { end: End::Released, reason: None, tags: Vec::new(), add: false }
    }
}

/// What an answer brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum News {
    Renewed,
    Cancelled,
    Released,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    Contending(Wanting),
    Held(Hold),
    Ending(Ending),
    Ended,
}

/// Wanting the lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Wanting {
    patience: Patience,
    /// Cancelled; and when nothing that may still land can be left of it.
    cancelled: Option<Time>,
    /// Our acknowledged place in line: its mark and when that write was sent.
    joined: Option<(Mark, Time)>,
    /// An acknowledged write that made us the holder too long ago to start on: to be confirmed.
    won: Option<Won>,
    /// What was last reported, so that only changes are. Boxed, as who need not wait has none, and
    /// every hold has the room for it.
    told: Option<Box<Told>>,
    /// When the entry was first seen that [`Patience::Now`] watches because it looks dead.
    watched: Option<Time>,
    /// The limit is over and the last read was asked for.
    last_look: bool,
}

/// What was reported of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Told {
    /// Our place in line and its ticket.
    own: Option<(usize, u64)>,
    /// The token of who has the lock.
    of: Token,
}

/// A write of ours that made us the holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Won {
    mark: Mark,
    sent: Time,
    token: Token,
}

/// Having the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Hold {
    mark: Mark,
    token: Token,
    term: Term,
    /// When the write that proves this hold was sent.
    based: Time,
    /// Revision up to which we know the record.
    revision: u64,
    /// Whether `Stopping` was reported: once, as an order to stop cannot be taken back.
    stopping: bool,
}

/// Giving the lock back, or leaving a remainder of it behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ending {
    mark: Mark,
    token: Token,
    /// No use trying after this: nothing of ours can be left.
    until: Time,
    goal: Goal,
    /// Whether a write was sent that may have ended the hold.
    sent: bool,
}

/// What for a hold is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Goal {
    /// To give the lock back.
    Free,
    /// To leave this much of it behind.
    Remainder(Term),
    /// To undo an acquisition that nobody waits for any more.
    Undo,
    /// To give the lock back for a receiver that is gone.
    HandOn,
    /// To end somebody else's hold.
    EndOther,
}

impl Claim {
    /// A claim that wants nothing yet.
    #[must_use]
    pub const fn new(mut config: Config) -> Self {
        // One ttl: a term of another length would be judged by a timing that was not checked.
        if let Term::Ttl(_) = config.term {
            config.term = Term::Ttl(config.timing.ttl());
        }
        Self {
            config,
            phase: Phase::Idle,
            attempts: Attempts::new(),
            seen: None,
            probed: Vec::new(),
            need_read: false,
            retry_at: Time::ZERO,
            news: None,
            parting: None,
        }
    }

    // ---- verbs ----

    /// Wants the lock. Does nothing unless the claim is idle or has ended.
    pub fn acquire(&mut self, patience: Patience) {
        if !matches!(self.phase, Phase::Idle | Phase::Ended) {
            return;
        }
        self.attempts.forget();
        self.need_read = false;
        // What was refused is nothing to a new wish.
        self.retry_at = Time::ZERO;
        self.parting = None;
        self.phase = Phase::Contending(Wanting {
            patience,
            cancelled: None,
            joined: None,
            won: None,
            told: None,
            watched: None,
            last_look: false,
        });
    }

    /// Wants the lock no more. What may still arrive is undone; ends in [`Report::Cancelled`].
    pub fn cancel(&mut self, now: Time) {
        if planted(Bug::DroppedKeeps) && self.phase != Phase::Ended {
            self.phase = Phase::Ended;
            self.news = Some(News::Cancelled);
        }
        let until = self.nothing_left_at(now, self.config.term);
        match &mut self.phase {
            Phase::Contending(w) if w.cancelled.is_none() => w.cancelled = Some(until),
            Phase::Held(_) => self.end(now, Goal::Undo),
            _ => {}
        }
    }

    /// What the release that follows, of one's own hold or of another's, says of the lock: these tags,
    /// beside those it has if `add`; none: it keeps those it has. A hold that is lost says nothing.
    pub fn tag_end(&mut self, tags: Vec<Text>, add: bool) {
        let parting = self.parting.take().unwrap_or_default();
        self.parting = Some(Box::new(Parting { tags, add, ..*parting }));
    }

    /// Gives the lock back. The hold is over for the caller from now on.
    pub fn release(&mut self, now: Time) {
        self.end(now, Goal::Free);
    }

    /// Ends the hold but leaves it in the record for `ttl`, with nobody to renew it: for ever, if that
    /// is [`Duration::MAX`].
    pub fn detach(&mut self, now: Time, ttl: Duration) {
        self.end(now, Goal::Remainder(Term::after(ttl)));
    }

    /// Ends the hold with mark `of` on behalf of a receiver that turned out to be gone, and hands
    /// the lock to the next. The caller must know that the receiver is gone.
    pub fn hand_on(&mut self, of: Mark) {
        self.end_without_holding(of, Goal::HandOn, None);
    }

    /// Ends the hold with mark `of`, which this claim never had, as `end` says, and hands the lock
    /// to the next: for one who has the mark of a detached hold, and for an operator who takes a
    /// hold away. Ends in [`Report::Released`], or in [`Report::Lost`] if the record did not carry
    /// that mark any more; then nothing was changed. Does nothing unless the claim is idle or has
    /// ended.
    pub fn end_other(&mut self, of: Mark, end: End, reason: Option<Text>) {
        self.end_without_holding(of, Goal::EndOther, Some((end, reason)));
    }

    fn end_without_holding(&mut self, mark: Mark, goal: Goal, how: Option<(End, Option<Text>)>) {
        if matches!(self.phase, Phase::Idle | Phase::Ended) {
            self.attempts.forget();
            self.need_read = false;
            if let Some((end, reason)) = how {
                let parting = self.parting.take().unwrap_or_default();
                self.parting = Some(Box::new(Parting { end, reason, ..*parting }));
            }
            self.phase = Phase::Ending(Ending {
                mark,
                token: Token::default(),
                until: Time::MAX,
                goal,
                sent: false,
            });
        }
    }

    #[inline]
    fn end(&mut self, now: Time, goal: Goal) {
        let Phase::Held(hold) = self.phase else { return };
        // A renewal still under way may land; its mark then is in doubt, not forgotten.
        self.attempts.doubt_flight();
        let until = self.nothing_left_at(now, hold.term);
        let Hold { mark, token, .. } = hold;
        self.phase = Phase::Ending(Ending { mark, token, until, goal, sent: false });
    }

    // ---- what came in ----

    /// A read that [`Action::Read`] asked for has finished; pass its result to the next
    /// [`poll`](Self::poll). Not called for a read that failed: that changes nothing.
    pub fn handle_read(&mut self, now: Time, view: &View<'_>) {
        self.need_read = false;
        if let Phase::Contending(w) = &mut self.phase {
            w.last_look = false;
        }
        self.observe(now, view);
        self.settle(view, true);
    }

    /// The answer to a probe that [`Action::Probe`] asked for.
    pub fn handle_probe(&mut self, session: Session, probed: Probed) {
        self.probed.push((session, probed));
    }

    /// The answer to the write whose [`Write::attempt`] is `attempt`, in time or late.
    #[inline]
    pub fn handle_written(&mut self, now: Time, attempt: Mark, outcome: Outcome) {
        match outcome {
            Outcome::Conflict if planted(Bug::RefusedIsLost) => {
                self.need_read |= self.attempts.flight().is_some_and(|a| a.mark == attempt);
                self.attempts.take(attempt);
            }
            Outcome::Conflict if planted(Bug::RefusedIsWon) => self.won_anyway(attempt),
            // Late, of one that is in doubt or settled by now: nothing new.
            Outcome::Unknown if self.attempts.flight().is_none_or(|a| a.mark != attempt) => {}
            Outcome::Unknown => {
                self.attempts.doubt_flight();
                self.need_read = true;
                self.retry_at = now.after(self.pause());
            }
            // What something on the way sent twice is refused by its own first copy: the record
            // tells whether it happened. Late, of one in doubt by now: nothing new.
            Outcome::Conflict if self.attempts.flight().is_some_and(|a| a.mark == attempt) => {
                self.not_sent();
                self.attempts.doubt_flight();
                self.need_read = true;
            }
            Outcome::Conflict => {}
            // Late, of one that is in doubt or settled by now, it says nothing of the store as it is.
            Outcome::NotDone => {
                let late = self.attempts.flight().is_none_or(|a| a.mark != attempt);
                if self.attempts.take(attempt).is_some() {
                    self.not_sent();
                }
                if !late {
                    self.retry_at = now.after(self.pause());
                }
            }
            Outcome::Done { version, token } => {
                if let Some(mut a) = self.attempts.take(attempt) {
                    if planted(Bug::CountedFromReply) {
                        a.sent = now;
                    }
                    self.landed(a, version, token);
                    // Nothing is in doubt any more that a read was to settle.
                    self.need_read &= !self.attempts.none_pending();
                }
            }
        }
    }

    // ---- what must happen now ----

    /// What must happen now. `wall` is the wall clock, for times that people read.
    #[inline]
    pub fn poll(&mut self, now: Time, wall: Wall, view: &View<'_>) -> Action {
        self.observe(now, view);
        self.settle(view, false);
        if self.probed.is_empty() {
            // The usual case. An action is large, and one that is not looked at is not copied.
            return self.decide(now, wall, view);
        }
        let action = self.decide(now, wall, view);
        if !matches!(action, Action::Probe(_)) {
            self.probed.clear();
        }
        action
    }

    #[inline]
    fn decide(&mut self, now: Time, wall: Wall, view: &View<'_>) -> Action {
        if let Some(news) = self.news.take() {
            return Action::Report(match news {
                News::Renewed => Report::Renewed,
                News::Cancelled => Report::Cancelled,
                News::Released => Report::Released { confirmed: true },
            });
        }
        match self.phase {
            Phase::Idle | Phase::Ended => Action::Idle,
            Phase::Contending(_) => self.contend(now, wall, view),
            Phase::Held(hold) => self.keep(now, wall, view, hold),
            Phase::Ending(ending) => self.give_back(now, wall, view, ending),
        }
    }

    // ---- getters ----

    /// Where this claim stands.
    #[must_use]
    pub const fn state(&self) -> State {
        match self.phase {
            Phase::Idle => State::Idle,
            Phase::Contending(_) => State::Contending,
            Phase::Held(_) => State::Held,
            Phase::Ending(_) => State::Ending,
            Phase::Ended => State::Ended,
        }
    }

    /// The fencing token, while held.
    #[must_use]
    pub const fn token(&self) -> Option<Token> {
        match &self.phase {
            Phase::Held(hold) => Some(hold.token),
            _ => None,
        }
    }

    /// The mark by which the record names this hold, while held.
    #[must_use]
    pub const fn mark(&self) -> Option<Mark> {
        match &self.phase {
            Phase::Held(hold) => Some(hold.mark),
            _ => None,
        }
    }

    /// Whether it ends a hold, so that the lock is free for the next in line then.
    #[must_use]
    pub const fn frees(&self) -> bool {
        matches!(&self.phase, Phase::Ending(end) if !matches!(end.goal, Goal::Remainder(_)))
    }

    /// The mark of our place in line, while queued.
    #[must_use]
    pub fn queued(&self) -> Option<Mark> {
        match &self.phase {
            Phase::Contending(w) => w.joined.map(|(mark, _)| mark),
            _ => None,
        }
    }

    /// How long it wants the lock; `None` unless it contends.
    #[must_use]
    pub const fn patience(&self) -> Option<Patience> {
        match &self.phase {
            Phase::Contending(w) => Some(w.patience),
            _ => None,
        }
    }

    /// When the hold ends for its holder; `None` while nothing is held or it has no end by time.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        match &self.phase {
            Phase::Held(hold) => self.deadline_of(hold),
            _ => None,
        }
    }

    /// When guarded work must be told to stop.
    #[must_use]
    pub fn stop_at(&self) -> Option<Time> {
        self.deadline().map(|d| d.before(self.config.timing.grace()))
    }

    /// Whether an action may start at `now`: held, and before the deadline.
    #[must_use]
    pub fn is_valid(&self, now: Time) -> bool {
        if planted(Bug::FlagLeftTrue) && matches!(self.phase, Phase::Ending(_)) {
            return true;
        }
        let late = planted(Bug::LateHolder);
        matches!(self.phase, Phase::Held(_)) && (late || self.deadline().is_none_or(|d| now < d))
    }

    /// Whether the next [`poll`](Self::poll) asks for nothing, if nothing came in since the last one
    /// and it is shown the same record: all is told, nothing is in doubt, and the claim has ended or
    /// has a hold that does not end by time. Who knows need not poll to hear [`Action::Idle`], or to
    /// wait for ever.
    #[must_use]
    pub fn rests(&self) -> bool {
        let over = match &self.phase {
            Phase::Idle | Phase::Ended => true,
            Phase::Held(hold) => self.deadline_of(hold).is_none(),
            Phase::Contending(_) | Phase::Ending(_) => false,
        };
        over && self.news.is_none() && self.attempts.none_pending()
    }

    /// Whether it wants the lock only if it is free.
    #[must_use]
    pub const fn is_impatient(&self) -> bool {
        matches!(&self.phase, Phase::Contending(Wanting { patience: Patience::Now, .. }))
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    fn deadline_of(&self, hold: &Hold) -> Option<Time> {
        match hold.term {
            Term::Ttl(ttl) => {
                let deadline = self.config.timing.deadline_of(hold.based, ttl);
                // Elsewhere who takes over waits longer than the ttl by the error of its own clock.
                // A server that ends the hold waits for the ttl alone, and its clock errs, too.
                let server = self.config.liveness == Liveness::Server;
                let error = if server { self.config.timing.error(ttl) } else { Duration::ZERO };
                Some(deadline.before(error))
            }
            Term::Session | Term::Until(_) | Term::Forever => None,
        }
    }

    // ---- shared by the phases ----

    /// Whether the record's holder is the hold of ours with this mark and token. Where the server
    /// keeps a session's keys, only that session writes them: the key that began the hold is ours
    /// under whatever mark, and a renewal leaves none.
    fn is_own(&self, h: &Holder, mark: Mark, token: Token) -> bool {
        h.mark == mark || (self.is_own_session(h.session) && h.token == token)
    }

    /// Whether this is our session, and the server ends its entries with it.
    fn is_own_session(&self, session: Session) -> bool {
        self.config.liveness == Liveness::Server
            && session == self.config.session
            && !session.is_none()
    }

    /// How long to leave a store alone that refused, or did not answer.
    pub(super) fn pause(&self) -> Duration {
        self.config.timing.attempt() / 2
    }

    /// When a hold with this `term` that is not renewed after `now` has ended by itself.
    fn nothing_left_at(&self, now: Time, term: Term) -> Time {
        match term {
            Term::Ttl(ttl) => now.after(self.config.timing.expiry(ttl)),
            Term::Session | Term::Until(_) | Term::Forever => Time::MAX,
        }
    }

    /// Notes when the holder's entry was first seen as it is now. Only who wants the lock asks.
    #[inline]
    fn observe(&mut self, now: Time, view: &View<'_>) {
        let Phase::Contending(w) = &self.phase else { return };
        match view {
            View::Unknown => {}
            // Our own is never waited for.
            View::Is { record, age, .. } => match &record.holder {
                Some(h) if w.own(h).is_none() => self.observe_other(now, h, *age),
                _ => self.seen = None,
            },
            View::Absent { .. } => self.seen = None,
        }
    }

    fn observe_other(&mut self, now: Time, h: &Holder, age: Option<Duration>) {
        if !self.seen.as_ref().is_some_and(|s| s.same(h)) {
            self.seen = Some(Seen::of(h, now));
        }
        // The age may be as old as the view: the largest one seen of an entry says when it began.
        if let (Some(seen), Some(age)) = (&mut self.seen, age) {
            let renewed = now.before(age);
            seen.renewed_at = Some(seen.renewed_at.map_or(renewed, |t| t.min(renewed)));
        }
    }

    /// Settles writes whose answer was lost, by promise 5: our mark in the record, it happened;
    /// the version moved past the expected one without it, nothing is held; else not yet known.
    #[inline]
    fn settle(&mut self, view: &View<'_>, fresh: bool) {
        if !self.attempts.none_pending() {
            self.settle_pending(view, fresh);
        }
    }

    fn settle_pending(&mut self, view: &View<'_>, fresh: bool) {
        if let View::Is { record, version, .. } = view {
            let holder = record.holder.as_ref();
            if let Some(a) = holder.and_then(|h| self.attempts.take(h.mark)) {
                let token = holder.map_or(Token::default(), |h| h.token);
                self.landed(a, *version, token);
            } else if let Some(a) = record.queue.iter().find_map(|w| self.attempts.take(w.mark)) {
                self.landed(a, *version, Token::default());
            }
        }
        match view {
            View::Unknown => {}
            _ if fresh && self.config.liveness == Liveness::Process => self.attempts.no_late_ones(),
            View::Is { version, .. } => self.attempts.moved_past(version.revision),
            View::Absent { revision: 0 } if !fresh => {}
            View::Absent { revision } => self.attempts.object_gone(*revision),
        }
    }

    /// [`Bug::RefusedIsWon`]: a renewal that was refused prolongs the hold.
    fn won_anyway(&mut self, attempt: Mark) {
        let Some(a) = self.attempts.take(attempt) else { return };
        if let Phase::Held(hold) = &mut self.phase {
            hold.based = a.sent;
            hold.revision = u64::MAX;
        }
    }

    /// The last write was refused: unless an earlier one is in doubt, none ended the hold.
    fn not_sent(&mut self) {
        if let Phase::Ending(e) = &mut self.phase
            && self.attempts.no_doubts()
        {
            e.sent = false;
        }
    }

    /// A write of ours is in the record.
    fn landed(&mut self, a: Attempt, version: Version, token: Token) {
        match (&mut self.phase, a.kind) {
            (Phase::Contending(w), Kind::Join) => w.joined = Some((a.mark, a.sent)),
            (Phase::Contending(w), Kind::Leave) => w.joined = None,
            // The hold begins with the next poll, if the view still shows it then: an answer may be
            // older than what is known by now.
            (Phase::Contending(w), kind @ (Kind::Take | Kind::Renew(_))) => {
                // A confirming renewal begins no hold: the token is the one of what it confirms.
                let token = match (kind, w.won) {
                    (Kind::Renew(_), Some(won)) => won.token,
                    _ => token,
                };
                w.won = Some(Won { mark: a.mark, sent: a.sent, token });
            }
            (Phase::Held(hold), Kind::Renew(term)) => {
                hold.mark = a.mark;
                hold.term = term;
                hold.based = a.sent;
                hold.revision = version.revision;
                self.news = Some(News::Renewed);
            }
            (Phase::Ending(_), Kind::Release) => self.finish_ending(),
            (Phase::Ending(e), Kind::Renew(term)) => {
                if e.sent && e.goal == Goal::Remainder(term) {
                    self.finish_ending();
                } else {
                    e.mark = a.mark;
                }
            }
            _ => {}
        }
    }
}
