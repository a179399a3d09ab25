//! Wanting the lock: who is in the way, standing in line, taking it, leaving.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::attempts::{Attempt, Kind};
use super::{
    Action, Claim, HeldBy, Hold, Liveness, Mark, Patience, Phase, Probed, Report, Seen, Told, View,
    Wanting, Won, Write,
};
use crate::museum::{Bug, planted};
use crate::{Change, End, Holder, Record, Session, Term, Text, Time, Token, Version, Waiter, Wall};

/// What stands between us and the lock.
enum Obstacle {
    /// Nothing; how the hold found in the record ended, and which waiters are dead.
    None { ended: Option<End>, strike: Vec<Mark> },
    /// First find out about this session.
    Ask(Session),
    /// Somebody, until this instant at the latest.
    Blocked { by: HeldBy, until: Option<Time>, strike: Vec<Mark> },
}

/// What of ours a record names as its holder.
enum Own {
    None,
    /// A hold that a write of ours began.
    Hold(Won),
    /// A key of our session that no write begins that we know of.
    Stray,
}

impl Claim {
    /// The numbered steps of a contender. Reads top to bottom; the first that applies is done.
    pub(super) fn contend(&mut self, now: Time, wall: Wall, view: &View<'_>) -> Action {
        // 1. An answer is awaited: it may have made us the holder.
        if let Some(wait) = self.await_answer(now) {
            return wait;
        }
        self.find_own_place(view);
        let Phase::Contending(w) = &mut self.phase else { return Action::Idle };
        let out_of_time = w.out_of_time(now);
        // 2. Nobody waits for us any more, and nothing of ours can be left by now.
        let nothing_out = w.joined.is_none() && w.won.is_none() && self.attempts.no_doubts();
        if w.cancelled.is_some_and(|until| now >= until || nothing_out) {
            return self.finish(Report::Cancelled);
        }
        // 3. Nothing is decided on what is not known; but past the limit we look only once more.
        if self.need_read || matches!(view, View::Unknown) {
            if out_of_time && w.last_look {
                return self.give_up(now, Report::TimedOut(None));
            }
            w.last_look = out_of_time;
            return Action::Read;
        }
        // 4. The lock may be ours already: handed over, or a write that landed late.
        match self.own_in(now, view) {
            Own::Hold(won) => return self.claim_own(now, wall, view, won),
            Own::Stray => return self.clear_own(now, wall, view),
            Own::None => {}
        }
        // 5. We were asked to stop wanting it.
        if matches!(&self.phase, Phase::Contending(w) if w.cancelled.is_some()) {
            return self.withdraw(now, view, Report::Cancelled);
        }
        // 6. Take it, ask, stand in line, or wait.
        let obstacle = match view {
            View::Is { record, .. } if record.is_wanted() => self.obstacle(now, wall, record),
            // The usual case: nothing is put together only to be taken apart.
            _ => return self.take(now, wall, view, None, Box::default()),
        };
        match obstacle {
            Obstacle::Ask(session) => Action::Probe(session),
            Obstacle::None { ended, strike } => {
                self.take(now, wall, view, ended, strike.into_boxed_slice())
            }
            Obstacle::Blocked { by, .. } if out_of_time => {
                self.withdraw(now, view, Report::TimedOut(Some(Box::new(by))))
            }
            Obstacle::Blocked { by, until, strike } => {
                self.blocked(now, wall, view, by, until, strike)
            }
        }
    }

    /// Waits until the store may be asked to write again, or tells that the limit came first.
    #[cold]
    fn rest(&mut self, now: Time) -> Action {
        let Phase::Contending(w) = &self.phase else { return Action::Idle };
        if w.out_of_time(now) {
            return self.give_up(now, Report::TimedOut(None));
        }
        Action::Wait { until: earlier(Some(self.retry_at), w.limit()) }
    }

    /// Waits while a write is under way; one that took too long comes into doubt.
    pub(super) fn await_answer(&mut self, now: Time) -> Option<Action> {
        let give_up_at = self.attempts.flight()?.sent.after(self.config.timing.attempt());
        if now < give_up_at || planted(Bug::NoTimeout) {
            let give_up_at = if planted(Bug::NoTimeout) { Time::MAX } else { give_up_at };
            return Some(Action::Wait { until: Some(give_up_at) });
        }
        self.attempts.doubt_flight();
        self.need_read = true;
        None
    }

    /// What of ours the record names as its holder.
    fn own_in(&self, now: Time, view: &View<'_>) -> Own {
        let View::Is { record, .. } = view else { return Own::None };
        let (Some(holder), Phase::Contending(w)) = (&record.holder, &self.phase) else {
            return Own::None;
        };
        if let Some(won) = w.own(holder) {
            return Own::Hold(won);
        }
        let later = w.cancelled.is_some() && now < self.retry_at;
        if self.is_own_session(holder.session) && !later { Own::Stray } else { Own::None }
    }

    /// The record names us as holder: begins the hold, or confirms it first if too little of it is
    /// left.
    fn claim_own(&mut self, now: Time, wall: Wall, view: &View<'_>, won: Won) -> Action {
        let View::Is { record, version, .. } = view else { return Action::Read };
        let (Some(holder), Phase::Contending(w)) = (&record.holder, &mut self.phase) else {
            return Action::Read;
        };
        let Won { mark, sent, token } = won;
        w.won = Some(won);
        let cancelled = w.cancelled.is_some();
        if !cancelled && self.is_stale(now, sent, holder.term) {
            if now < self.retry_at {
                return self.rest(now);
            }
            let mine = self.config.marks.draw();
            let change = self.renewal(now, wall, mark, mine, token, holder.term);
            return self.write(now, mine, Some(*version), change);
        }
        let (term, revision) = (holder.term, version.revision);
        self.phase =
            Phase::Held(Hold { mark, token, term, based: sent, revision, stopping: false });
        if cancelled {
            self.cancel(now);
            return self.decide(now, wall, view);
        }
        Action::Report(Report::Acquired { token })
    }

    /// A holder's key under our own session that we know nothing of: a write landed after we gave it
    /// up, or the hold was lost and the key lived on. It would stand in our own way for as long as
    /// the session lives; and its token may have been used. It is taken out.
    #[cold]
    fn clear_own(&mut self, now: Time, wall: Wall, view: &View<'_>) -> Action {
        let View::Is { record, version, .. } = view else { return Action::Read };
        let Some(holder) = &record.holder else { return Action::Read };
        if now < self.retry_at {
            return self.rest(now);
        }
        let mark = self.config.marks.draw();
        let next = record.queue.front().map(|w| w.mark);
        let of = holder.mark;
        let (end, reason) = (End::Released, None);
        let (strike, tags) = (Vec::new(), Vec::new());
        let (at, stamp) = (wall, now);
        let change = Change::Release { of, mark, next, strike, end, reason, at, stamp, tags };
        self.write(now, mark, Some(*version), change)
    }

    /// A place in line under our own session is ours even if we gave that write up.
    fn find_own_place(&mut self, view: &View<'_>) {
        let session = self.config.session;
        if !self.is_own_session(session) {
            return;
        }
        let (View::Is { record, .. }, Phase::Contending(w)) = (view, &mut self.phase) else {
            return;
        };
        let known = w.joined.is_some_and(|(mark, _)| record.place_of(mark).is_some());
        if !known && let Some(own) = record.queue.iter().find(|entry| entry.session == session) {
            w.joined = Some((own.mark, Time::ZERO));
        }
    }

    /// Whether a hold proved at `sent` is so old that it must be confirmed before it is reported.
    pub(super) fn is_stale(&self, now: Time, sent: Time, term: Term) -> bool {
        matches!(term, Term::Ttl(_)) && now >= sent.after(self.config.timing.renew_every())
    }

    #[inline]
    fn take(
        &mut self,
        now: Time,
        wall: Wall,
        view: &View<'_>,
        ended: Option<End>,
        dead: Box<[Mark]>,
    ) -> Action {
        if now < self.retry_at {
            return self.rest(now);
        }
        let Phase::Contending(w) = &self.phase else { return Action::Idle };
        let (next_ticket, version) = match view {
            View::Is { record, version, .. } => (record.next_ticket, Some(*version)),
            _ => (0, None),
        };
        let own = w.joined.and_then(|(mark, _)| Some((mark, place(view, mark)?)));
        let ticket = own.map_or(next_ticket, |(_, (_, ticket))| ticket);
        // Boxed until they stand in the change: a slice goes from hand to hand in registers.
        let strike = match own {
            Some((mark, _)) => with_own(dead, mark),
            None => dead,
        };
        let tags = if self.config.tags.is_empty() { Box::default() } else { self.tags(view) };
        let mark = self.config.marks.draw();
        let holder = Holder {
            id: self.config.id.clone(),
            mark,
            session: self.config.session,
            token: Token::default(),
            term: self.config.term,
            ticket,
            since: wall,
            renewed: wall,
            stamp: now,
        };
        let give_up_at = self.send(now, mark, Kind::Take, version);
        let (strike, tags) = (strike.into_vec(), tags.into_vec());
        let change = Change::Take { holder, ended, strike, tags };
        Action::Write(Write { attempt: mark, expected: version, change, give_up_at })
    }

    /// What the lock's tags are to be after a take.
    #[cold]
    fn tags(&self, view: &View<'_>) -> Box<[Text]> {
        let record = match view {
            View::Is { record, .. } if self.config.add_tags => Some(*record),
            _ => None,
        };
        joined(self.config.tags.clone(), record).into_boxed_slice()
    }

    #[cold]
    fn blocked(
        &mut self,
        now: Time,
        wall: Wall,
        view: &View<'_>,
        by: HeldBy,
        until: Option<Time>,
        strike: Vec<Mark>,
    ) -> Action {
        let Phase::Contending(w) = &mut self.phase else { return Action::Idle };
        if w.patience == Patience::Now {
            // A cron job recovers a dead lock: an entry that looks dead by its own times is
            // watched, as long as it is the same one. One that is renewed is alive, whatever its
            // holder's wall clock says.
            let seen = self.seen.as_ref().map(|s| s.at);
            if !by.looks_abandoned || w.watched.is_some_and(|at| Some(at) != seen) {
                return self.withdraw(now, view, Report::Busy(Box::new(by)));
            }
            w.watched = seen;
        }
        let own = w.joined.and_then(|(mark, _)| place(view, mark));
        if own.is_none() && self.config.queue && w.patience != Patience::Now {
            if now < self.retry_at {
                return self.rest(now);
            }
            return self.join(now, wall, view, strike);
        }
        let telling = Told { own, of: by.token };
        if w.told.as_deref() != Some(&telling) {
            w.told = Some(Box::new(telling));
            let (place, ticket) = own.unzip();
            let by = Box::new(by);
            return Action::Report(Report::Waiting { place, ticket, by });
        }
        Action::Wait { until: earlier(until, w.limit()) }
    }

    fn join(&mut self, now: Time, wall: Wall, view: &View<'_>, strike: Vec<Mark>) -> Action {
        let View::Is { record, version, .. } = view else { return Action::Read };
        let mark = self.config.marks.draw();
        let waiter = Waiter {
            id: self.config.id.clone(),
            mark,
            session: self.config.session,
            ticket: record.next_ticket,
            term: self.config.term,
            since: wall,
            tags: self.config.tags.clone(),
        };
        self.write(now, mark, Some(*version), Change::Join { waiter, strike })
    }

    /// Leaves the line if we stand in it, then reports.
    #[cold]
    fn withdraw(&mut self, now: Time, view: &View<'_>, report: Report) -> Action {
        let Phase::Contending(w) = &self.phase else { return Action::Idle };
        let queued = w.joined.map(|(mark, _)| mark).filter(|mark| place(view, *mark).is_some());
        let queued = queued.filter(|_| !planted(Bug::LeftInLine));
        let mut again = self.retry_at;
        if let (Some(mark), View::Is { version, .. }) = (queued, view) {
            if now >= self.retry_at {
                let attempt = self.config.marks.draw();
                let change = Change::Leave { strike: vec![mark] };
                return self.write(now, attempt, Some(*version), change);
            }
        } else if self.attempts.no_doubts() {
            return self.finish(report);
        } else {
            // A write in doubt may still land, and is then undone.
            again = now.after(self.config.timing.attempt());
        }
        if report != Report::Cancelled {
            return self.give_up(now, report);
        }
        self.need_read |= queued.is_none();
        Action::Wait { until: earlier(Some(again), w.cancelled) }
    }

    /// Tells a user whose time is over at once; whoever drives us goes on polling until what is
    /// left of the attempt is undone.
    #[cold]
    fn give_up(&mut self, now: Time, report: Report) -> Action {
        self.cancel(now);
        Action::Report(report)
    }

    #[inline]
    pub(super) fn finish(&mut self, report: Report) -> Action {
        self.phase = Phase::Ended;
        self.parting = None;
        Action::Report(report)
    }

    pub(super) fn write(
        &mut self,
        now: Time,
        attempt: Mark,
        expected: Option<Version>,
        change: Change,
    ) -> Action {
        let give_up_at = self.send(now, attempt, Kind::of(&change), expected);
        Action::Write(Write { attempt, expected, change, give_up_at })
    }

    /// Notes a write that leaves now; when to give up waiting for its answer.
    #[inline]
    pub(super) fn send(
        &mut self,
        now: Time,
        mark: Mark,
        kind: Kind,
        expected: Option<Version>,
    ) -> Time {
        let expected = expected.map_or(0, |v| v.revision);
        self.attempts.start(Attempt { mark, kind, sent: now, expected });
        now.after(self.config.timing.attempt())
    }

    #[inline]
    pub(super) fn renewal(
        &self,
        now: Time,
        wall: Wall,
        of: Mark,
        mark: Mark,
        token: Token,
        term: Term,
    ) -> Change {
        let session = self.config.session;
        Change::Renew { of, mark, token, term, session, renewed: wall, stamp: now }
    }

    #[cold]
    fn obstacle(&self, now: Time, wall: Wall, record: &Record) -> Obstacle {
        let mut ended = None;
        if let Some(holder) = &record.holder {
            match self.holder_gone(now, wall, holder) {
                Gone::Ask => return Obstacle::Ask(holder.session),
                Gone::No { until } => {
                    let by = self.held_by(now, wall, holder, until);
                    return Obstacle::Blocked { by, until, strike: Vec::new() };
                }
                Gone::Yes(end) => ended = Some(end),
            }
        }
        self.line_ahead(record, ended)
    }

    /// Whether the lock's hold has ended without having been given back.
    fn holder_gone(&self, now: Time, wall: Wall, h: &Holder) -> Gone {
        if self.config.adopt && h.id == self.config.id {
            return Gone::Yes(End::Released);
        }
        if planted(Bug::PrefixIdentity) && h.id.starts_with(&*self.config.id) {
            return Gone::Yes(End::Released);
        }
        match h.term {
            Term::Forever => Gone::No { until: None },
            Term::Until(end) => {
                let over = end.after(self.config.max_clock_skew);
                if wall >= over {
                    Gone::Yes(End::Expired)
                } else {
                    Gone::No { until: Some(now.after(over.since(wall))) }
                }
            }
            Term::Session => match self.probed(h.session) {
                None => Gone::Ask,
                Some(Probed::Dead) => Gone::Yes(End::Died),
                Some(Probed::Alive | Probed::Stopped) => Gone::No { until: None },
            },
            Term::Ttl(ttl) if planted(Bug::WallClockExpiry) && wall.since(h.renewed) > ttl => {
                Gone::Yes(End::Expired)
            }
            Term::Ttl(ttl) => {
                let expiry = self.config.timing.expiry(ttl);
                let end = match &self.seen {
                    Some(Seen { renewed_at: Some(t), .. }) => match self.config.liveness {
                        // The holder's clock is our own: no drift to allow for.
                        Liveness::Process => t.after(ttl),
                        Liveness::Server | Liveness::Observed => t.after(expiry),
                    },
                    // The store itself ends what is over. An entry that stands unchanged there may
                    // be kept alive by other means than writes.
                    _ if self.config.liveness == Liveness::Server => {
                        return Gone::No { until: None };
                    }
                    Some(seen) => seen.at.after(expiry),
                    None => now.after(expiry),
                };
                if now >= end { Gone::Yes(End::Expired) } else { Gone::No { until: Some(end) } }
            }
        }
    }

    /// Who stands in line before us: the dead are struck out, the stopped keep their place.
    fn line_ahead(&self, record: &Record, ended: Option<End>) -> Obstacle {
        let own = match &self.phase {
            Phase::Contending(Wanting { joined: Some((mark, _)), .. }) => record.place_of(*mark),
            _ => None,
        };
        let mut strike = Vec::new();
        for waiter in record.queue.iter().take(own.unwrap_or(record.queue.len())) {
            match self.waiter_probed(waiter.session) {
                None => return Obstacle::Ask(waiter.session),
                Some(Probed::Dead) if !planted(Bug::DeadHead) => strike.push(waiter.mark),
                Some(Probed::Stopped) => {}
                Some(Probed::Alive | Probed::Dead) => {
                    let by = HeldBy {
                        id: waiter.id.clone(),
                        session: waiter.session,
                        token: Token::default(),
                        since: waiter.since,
                        term: waiter.term,
                        looks_abandoned: false,
                        takeover_in: None,
                    };
                    return Obstacle::Blocked { by, until: None, strike };
                }
            }
        }
        Obstacle::None { ended, strike }
    }

    fn held_by(&self, now: Time, wall: Wall, h: &Holder, until: Option<Time>) -> HeldBy {
        let looks_abandoned = match h.term {
            Term::Ttl(ttl) if self.config.liveness == Liveness::Observed => {
                wall.since(h.renewed) > ttl.saturating_add(self.config.max_clock_skew)
            }
            _ => false,
        };
        HeldBy {
            id: h.id.clone(),
            session: h.session,
            token: h.token,
            since: h.since,
            term: h.term,
            looks_abandoned,
            takeover_in: until.map(|t| t.since(now)),
        }
    }

    /// What is known of a waiter; `None`: ask. Where processes cannot be asked about, all stand there
    /// alive.
    pub(super) fn waiter_probed(&self, session: Session) -> Option<Probed> {
        match self.config.liveness {
            Liveness::Process => self.probed(session),
            Liveness::Server | Liveness::Observed => Some(Probed::Alive),
        }
    }

    pub(super) fn probed(&self, session: Session) -> Option<Probed> {
        self.probed.iter().find(|(s, _)| *s == session).map(|(_, probed)| *probed)
    }
}

/// Whether the hold in the record has ended.
enum Gone {
    Yes(End),
    No { until: Option<Time> },
    Ask,
}

impl Wanting {
    const fn limit(&self) -> Option<Time> {
        match self.patience {
            Patience::Until(t) => Some(t),
            Patience::Now | Patience::Forever => None,
        }
    }

    /// Whether the user's limit is over and that was not told yet.
    fn out_of_time(&self, now: Time) -> bool {
        self.cancelled.is_none() && self.limit().is_some_and(|t| now >= t)
    }

    /// The write of ours by which the record names us as holder, if one does.
    pub(super) fn own(&self, holder: &Holder) -> Option<Won> {
        if planted(Bug::OwnEntryNotSeen) {
            return self.won.filter(|won| won.mark == holder.mark);
        }
        let mark = holder.mark;
        let handed = self.joined.filter(|(joined, _)| *joined == mark);
        let handed = handed.map(|(_, sent)| Won { mark, sent, token: holder.token });
        self.won.filter(|won| won.mark == mark).or(handed)
    }
}

/// Place and ticket of the waiter with this mark.
fn place(view: &View<'_>, mark: Mark) -> Option<(usize, u64)> {
    let View::Is { record, .. } = view else { return None };
    let place = record.place_of(mark)?;
    Some((place, record.queue.get(place)?.ticket))
}

#[cold]
fn with_own(dead: Box<[Mark]>, own: Mark) -> Box<[Mark]> {
    let mut strike = dead.into_vec();
    strike.push(own);
    strike.into_boxed_slice()
}

fn earlier(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// How many tags a lock may come to have by adding some: stores bound the size of a record, and a
/// lock must not stay busy for a label.
const TAGS_MAX: usize = 256;

/// These tags and those of the record, or only those if all together were too many; none: nothing
/// is said of tags.
#[inline]
pub(super) fn joined(tags: Vec<Text>, with: Option<&Record>) -> Vec<Text> {
    match with {
        Some(record) if !tags.is_empty() => with_others(tags, &record.tags),
        _ => tags,
    }
}

#[cold]
fn with_others(mut tags: Vec<Text>, others: &[Text]) -> Vec<Text> {
    tags.extend(others.iter().cloned());
    tags.sort_unstable();
    tags.dedup();
    if tags.len() > TAGS_MAX { others.to_vec() } else { tags }
}
