//! The requests of one driver: how each is made, given up, and what its answer means.
//!
//! Owns the translation between a claim's actions and a store's calls. **An answer that contradicts
//! the contract is not believed**: a write that is said to be done but left no trace of itself is in
//! doubt, and the record is read.

use std::sync::Arc;
use std::task::{Context, Poll};

use tenure_core::{Change, Liveness, Mark, Outcome, Patience, Probed, Session, State, Time, Write};
use tenure_store::{BoxFuture, Conditional, Detail, Error as StoreError, Result, Snapshot, Stored};

use super::{Driver, LATE_MAX, Want, earlier};
use crate::clock::Tick;

/// A read or a probe under way.
pub(super) struct Ask {
    pending: Pending,
    since: Time,
}

enum Pending {
    Read(BoxFuture<'static, Result<Snapshot>>),
    /// The first item of the watch, which tells what stands there.
    Watch,
    Probe(BoxFuture<'static, (Session, Result<Probed>)>),
    Session(BoxFuture<'static, Result<Session>>),
}

/// Something came in; with it, perhaps, the session that has taken the place of the claim's.
pub(super) type Came = std::result::Result<Option<Session>, StoreError>;

/// What a read or a probe came to.
enum Answer {
    Read(Result<Snapshot>),
    Probed(Session, Result<Probed>),
    Session(Result<Session>),
}

/// A write that was not answered yet.
pub(super) struct Sent {
    attempt: Mark,
    sent: Time,
    pub(super) give_up_at: Time,
    /// Where the record shows that it was done.
    trace: Trace,
    judged: Option<u64>,
    /// A renewal that a server may answer without having moved the record: by a keep-alive.
    kept_alive: bool,
    answer: BoxFuture<'static, Result<Conditional<Stored>>>,
}

enum Trace {
    Holder(Mark),
    Queue(Mark),
    None,
}

impl Driver {
    /// Reads the record or probes a session, unless that is under way already or too soon.
    pub(super) fn ask(&mut self, now: Time, session: Option<Session>) -> Want {
        if let Some(given_up) = self.ask_ends() {
            return Want::Wait(earlier(Some(given_up), self.own_times(now)));
        }
        if now < self.rest_until {
            return Want::Wait(earlier(Some(self.rest_until), self.own_times(now)));
        }
        let at = Arc::clone(&self.at);
        let pending = match session {
            // What is waited for or held is watched anyway: one request does for both.
            None if self.is_watched() => {
                self.watch = Some(at.store.watch(&at.name));
                Pending::Watch
            }
            None => Pending::Read(Box::pin(async move { at.store.read(&at.name).await })),
            Some(s) => Pending::Probe(Box::pin(async move { (s, at.store.probe(s).await) })),
        };
        self.news = false;
        self.ask = Some(Ask { pending, since: now });
        Want::Asked
    }

    /// Whether the record is looked at by a watch that begins now.
    fn is_watched(&self) -> bool {
        let lasts = matches!(self.claim.state(), State::Contending | State::Held);
        let observed = self.at.store.capabilities().liveness == Liveness::Observed;
        lasts && observed && self.watch.is_none()
    }

    /// Asks which session is ours: where a server ends them, the claim's may be over, and nothing can
    /// be put under it any more.
    pub(super) fn ask_session(&mut self, now: Time) {
        let at = Arc::clone(&self.at);
        let pending = Pending::Session(Box::pin(async move { at.store.session().await }));
        self.doubts_session = false;
        self.ask = Some(Ask { pending, since: now });
    }

    /// Sends a write on condition of the record as it was last seen, which is the one judged.
    pub(super) fn send(&mut self, now: Time, write: Write) {
        let at = Arc::clone(&self.at);
        let judged = self.seen.as_ref().and_then(Snapshot::stored).cloned();
        let Write { attempt, change, give_up_at, .. } = write;
        let trace = trace(&change);
        let server = self.claim.config().liveness == Liveness::Server;
        let kept_alive = server && matches!(change, Change::Renew { .. });
        let revision = judged.as_ref().map(|judged| judged.version.revision);
        let answer =
            Box::pin(async move { at.store.write_if(&at.name, judged.as_ref(), &change).await });
        if self.writes.len() >= LATE_MAX {
            self.in_doubt = true;
            self.writes.remove(0);
        }
        self.writes.reserve_exact(1);
        self.last_sent = now;
        let judged = revision;
        self.writes.push(Sent {
            attempt,
            sent: now,
            give_up_at,
            trace,
            judged,
            kept_alive,
            answer,
        });
    }

    /// Hands at most one thing that came in to the claim; `None`: nothing came.
    pub(super) fn take_in(&mut self, tick: &mut Tick, cx: &mut Context<'_>) -> Option<Came> {
        for place in 0..self.writes.len() {
            if let Poll::Ready(answer) = self.writes[place].answer.as_mut().poll(cx) {
                let sent = self.writes.remove(place);
                return Some(self.written(tick.now, &sent, answer).map(|()| None));
            }
        }
        if let Some(ask) = &mut self.ask {
            let answer = match &mut ask.pending {
                Pending::Read(read) => read.as_mut().poll(cx).map(Answer::Read),
                Pending::Watch => match self.watch.as_mut().map(|w| w.as_mut().poll_next(cx)) {
                    Some(Poll::Pending) => Poll::Pending,
                    Some(Poll::Ready(Some(Ok(first)))) => Poll::Ready(Answer::Read(Ok(first))),
                    Some(Poll::Ready(Some(Err(error)))) => {
                        self.watch = None;
                        Poll::Ready(Answer::Read(Err(error)))
                    }
                    _ => {
                        self.watch = None;
                        let what = Detail::new("the store", "ended a watch that told nothing");
                        Poll::Ready(Answer::Read(Err(StoreError::Unavailable(what))))
                    }
                },
                Pending::Probe(probe) => {
                    probe.as_mut().poll(cx).map(|(s, probed)| Answer::Probed(s, probed))
                }
                Pending::Session(session) => session.as_mut().poll(cx).map(Answer::Session),
            };
            if let Poll::Ready(answer) = answer {
                tick.now = self.clock.now();
                return Some(self.answered(tick.now, answer));
            }
            if let Some(late) = self.ask_late(tick.now) {
                return Some(late);
            }
            if matches!(self.ask, Some(Ask { pending: Pending::Watch, .. })) {
                // What the watch tells first is the answer.
                return None;
            }
        }
        // Also while a read is under way: it may never be answered, and the watch tells of a loss.
        let news = self.look_at_watch(tick.now, cx);
        if news.is_some() {
            tick.now = self.clock.now();
        }
        news.map(|news| news.map(|()| None))
    }

    /// Gives up a read or a probe that takes too long: neither leaves anything behind.
    fn ask_late(&mut self, now: Time) -> Option<Came> {
        if now < self.ask_ends()? {
            return None;
        }
        let attempt = self.claim.config().timing.attempt();
        if let Some(Ask { pending: Pending::Watch, .. }) = self.ask.take() {
            self.watch = None;
        }
        self.rest_until = now.after(self.pause());
        let what = format!("did not answer within {attempt:?}");
        Some(Err(StoreError::Unavailable(Detail::new("the store", what))))
    }

    /// When the read or probe under way is given up.
    pub(super) fn ask_ends(&self) -> Option<Time> {
        let attempt = self.claim.config().timing.attempt();
        self.ask.as_ref().map(|ask| ask.since.after(attempt))
    }

    fn answered(&mut self, now: Time, answer: Answer) -> Came {
        self.ask = None;
        self.contact |= matches!(answer, Answer::Read(Ok(_)) | Answer::Probed(_, Ok(_)));
        match answer {
            Answer::Read(Ok(snapshot)) => self.read(now, snapshot),
            Answer::Probed(session, Ok(probed)) => self.claim.handle_probe(session, probed),
            Answer::Session(Ok(session)) => {
                let gone = session != self.claim.config().session;
                return Ok(gone.then_some(session));
            }
            // The session may have been given up since: the record tells.
            Answer::Probed(_, Err(error)) if error.is_retryable() => {
                self.seen = None;
                self.stumble(now);
            }
            Answer::Read(Err(error))
            | Answer::Probed(_, Err(error))
            | Answer::Session(Err(error)) => {
                self.fail(now);
                return Err(error);
            }
        }
        Ok(None)
    }

    fn read(&mut self, now: Time, snapshot: Snapshot) {
        // A late answer to a write came first, and may be newer than what was read.
        if self.news && self.seen.as_ref().is_some_and(|s| s.revision() > snapshot.revision()) {
            self.stumble(now);
            return;
        }
        self.claim.handle_read(now, &snapshot.view());
        self.seen = Some(snapshot);
    }

    fn written(
        &mut self,
        now: Time,
        sent: &Sent,
        answer: Result<Conditional<Stored>>,
    ) -> std::result::Result<(), StoreError> {
        let attempt = sent.attempt;
        self.contact |= answer.is_ok();
        let (outcome, error) = match answer {
            Ok(done @ Conditional::Done(_)) if sent.is_shown_by(&done) => {
                self.sent = sent.sent;
                self.stumbles = 0;
                let outcome = done.outcome();
                if let Conditional::Done(stored) = done {
                    self.note(stored.into());
                }
                (outcome, None)
            }
            Ok(Conditional::Done(_)) => {
                self.in_doubt = true;
                self.stumble(now);
                let what = "said that a write was done and showed a record without it";
                let detail = Detail::new("the store", what);
                (Outcome::Unknown, Some(StoreError::OutcomeUnknown(detail)))
            }
            Ok(Conditional::Conflict) => {
                self.stumble(now);
                (Outcome::Conflict, None)
            }
            Err(error) if error.is_outcome_unknown() => {
                self.in_doubt = true;
                (Outcome::Unknown, Some(error))
            }
            Err(error) => {
                self.doubts_session |= self.claim.config().liveness == Liveness::Server;
                (Outcome::NotDone, Some(error))
            }
        };
        self.claim.handle_written(now, attempt, outcome);
        error.map_or(Ok(()), Err)
    }

    fn look_at_watch(
        &mut self,
        now: Time,
        cx: &mut Context<'_>,
    ) -> Option<std::result::Result<(), StoreError>> {
        match self.watch.as_mut()?.as_mut().poll_next(cx) {
            Poll::Pending => None,
            Poll::Ready(Some(Ok(news))) => {
                self.note(news);
                Some(Ok(()))
            }
            // What it would have told may be missed: look, and watch anew after a pause.
            Poll::Ready(end) => {
                self.watch = None;
                self.unsure |= self.claim.state() == State::Contending;
                self.fail(now);
                match end {
                    Some(Err(error)) => Some(Err(error)),
                    _ => Some(Ok(())),
                }
            }
        }
    }

    /// Keeps what is newer than what is known; looks again where that cannot be told.
    fn note(&mut self, news: Snapshot) {
        let known = self.seen.as_ref().map(Snapshot::revision);
        if news.revision() == 0 {
            // Nothing there, but since when? It is news only for who knows of something.
            self.unsure |= known.is_some_and(|known| known > 0);
        } else if known.is_none_or(|known| news.revision() > known) {
            // A watch may tell of a write before the write is answered.
            let shown = |write: &&Sent| news.stored().is_some_and(|stored| write.is_in(stored));
            if let Some(write) = self.writes.iter().find(shown) {
                self.sent = write.sent;
            }
            self.seen = Some(news);
            self.news = true;
        }
    }

    /// Whether an error ends a wait: what cannot pass, and what one without patience met.
    pub(crate) fn ends_wait(&self, error: &StoreError) -> bool {
        let may_pass = error.is_retryable() || error.is_outcome_unknown();
        !may_pass || self.claim.patience() == Some(Patience::Now)
    }
}

impl Sent {
    /// Whether the record that the store says it made is one that this write can have made.
    fn is_shown_by(&self, answer: &Conditional<Stored>) -> bool {
        let Conditional::Done(stored) = answer else { return false };
        let revision = stored.version.revision;
        let newer = |judged| revision > judged || self.kept_alive && revision == judged;
        let newer = self.judged.is_none_or(newer);
        newer && (matches!(self.trace, Trace::None) || self.is_in(stored))
    }

    /// Whether the record bears the mark that this write leaves.
    fn is_in(&self, stored: &Stored) -> bool {
        match self.trace {
            Trace::Holder(mark) => stored.record.holder.as_ref().is_some_and(|h| h.mark == mark),
            Trace::Queue(mark) => stored.record.place_of(mark).is_some(),
            Trace::None => false,
        }
    }
}

fn trace(change: &Change) -> Trace {
    match change {
        Change::Take { holder, .. } => Trace::Holder(holder.mark),
        Change::Renew { mark, .. } | Change::Release { next: Some(mark), .. } => {
            Trace::Holder(*mark)
        }
        Change::Join { waiter, .. } => Trace::Queue(waiter.mark),
        Change::Leave { .. } | Change::Release { next: None, .. } => Trace::None,
    }
}
