//! One look at a lock under its guard: the machine is polled until it waits.
//!
//! Owns how the machine's actions become reads, probes and writes of this store, and the rule which
//! writes are synced. Knows nothing of waiting.

use std::collections::VecDeque;
use std::time::Duration;

use tenure_core::{
    Action, Change, Claim, End, Holder, Mark, Outcome, Probed, Record, Report, Session, State,
    Term, Time, Token, View, Wall, Write,
};

use crate::guard::{Guard, LockFile, Stored};
use crate::session::{OwnSession, Verdict};
use crate::steal::Kill;
use crate::wait::{Told, WaitPipe, Way};
use crate::{Error, LocalStore, LockName, Result};

/// What a look needs and fills in.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) store: &'a LocalStore,
    pub(crate) name: &'a LockName,
    pub(crate) session: &'a OwnSession,
    pub(crate) durable: bool,
    pub(crate) claim: &'a mut Claim,
    pub(crate) reports: &'a mut VecDeque<Report>,
    pub(crate) pipe: &'a mut Option<WaitPipe>,
    /// What the waiter was told before this look.
    pub(crate) told: Option<Told>,
    /// Whom the last write made the holder, or left without the one it watched.
    pub(crate) to_wake: &'a mut Option<Mark>,
    /// The way to the first in line, if it is open.
    pub(crate) way: &'a mut Option<Way>,
    /// Who was found dead and struck out of the record: to be swept.
    pub(crate) dead: &'a mut Vec<(Session, Option<Mark>)>,
    /// What was asked of sessions in this look.
    pub(crate) verdicts: Vec<(Session, Verdict)>,
    /// Whether a write of this claim is in the file of which a sync failed.
    pub(crate) unsynced: &'a mut bool,
    /// Whom to end before the hold of somebody else is ended.
    pub(crate) kill: &'a mut Option<Kill>,
    /// How long a busy guard is waited for.
    pub(crate) limit: Duration,
    /// Whether one without patience waits a little for a dead holder's orphans to be ended.
    pub(crate) hold_back_for_orphans: bool,
    /// Whether to leave to others what syncs or waits.
    pub(crate) quick: bool,
    /// Both clocks, as they were read last.
    pub(crate) clocks: Clocks,
}

/// What a look goes by. The clocks are read once the guard is there, so that what is written later
/// is dated later, and again after whatever may have taken long and decides something. In between
/// they are late by what a look takes, to the safe side: a hold looks younger than it is, and a limit
/// seems further away, which the next look puts right. Nothing of this store ends by time while it
/// is held.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clocks {
    now: Time,
    wall: Wall,
}

/// How a look ended.
#[derive(Debug)]
pub(crate) enum Rest {
    /// The machine waits.
    Waits(Position),
    /// What is ended cannot go on before this instant: the disk refused.
    Later(Option<Time>),
    /// What comes next may take long, and this look must not. Nothing of it was begun.
    TakesLong,
    /// There is nothing to wait for: held, ended, or news only.
    Done,
}

/// Where a waiter stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Position {
    /// Whom to watch: the nearest one ahead that can move up, else the holder.
    pub(crate) ahead: Session,
    /// Whether that is the holder.
    pub(crate) next: bool,
    /// How many stand ahead in line.
    pub(crate) place: Option<usize>,
    /// The holder's token.
    pub(crate) token: Token,
    /// The holder's process is gone, but something keeps its session.
    pub(crate) orphaned: bool,
    /// The machine was not asked, so that it need not call busy what is about to be free.
    pub(crate) held_back: bool,
    /// The latest instant for the next look.
    pub(crate) until: Option<Time>,
    /// The record's revision.
    pub(crate) revision: u64,
}

impl Turn<'_> {
    /// Polls the machine until it waits.
    pub(crate) fn take(&mut self, file: &mut LockFile) -> Result<Rest> {
        let mut may_join = self.may_join();
        loop {
            let limit = if may_join { Duration::ZERO } else { self.limit };
            let absent = match file.lock_told(limit, self.told) {
                Ok(Some(guard)) => return self.present(guard),
                Ok(None) => true,
                // Where others are at it there will be a line to join. Making a file takes longer
                // than all the rest of that, so it is made now and not while they wait for the guard.
                Err(Error::Busy { .. }) if may_join => {
                    self.store.prepare_pipe();
                    false
                }
                Err(Error::Busy { .. }) if self.quick => return Ok(Rest::TakesLong),
                Err(e) => return Err(e),
            };
            // A new lock raises the token floor, with a sync.
            if absent && self.quick {
                return Ok(Rest::TakesLong);
            }
            if absent && let Some(rest) = self.absent(file)? {
                return Ok(rest);
            }
            may_join = false;
        }
    }

    /// There is no record: the first to take the lock creates it. `None`: somebody else did.
    #[cold]
    fn absent(&mut self, file: &mut LockFile) -> Result<Option<Rest>> {
        let view = View::Absent { revision: 0 };
        let Clocks { now, wall } = self.read_clocks();
        loop {
            match self.claim.poll(now, wall, &view) {
                Action::Read => self.claim.handle_read(now, &view),
                Action::Probe(session) => self.claim.handle_probe(session, Probed::Dead),
                Action::Report(report) => self.reports.push_back(report),
                Action::Wait { .. } | Action::Idle => return Ok(Some(Rest::Done)),
                Action::Write(write) => return self.create(file, &write),
            }
        }
    }

    fn create(&mut self, file: &mut LockFile, write: &Write) -> Result<Option<Rest>> {
        let created = file.create(self.session, |token| {
            let mut record = Record::default();
            record.apply(&write.change, token);
            record
        });
        // Its birth took a sync or two.
        let Clocks { now, .. } = self.read_clocks();
        match created {
            Ok(Some((mut guard, record))) => {
                let mut stored = guard.read()?;
                let outcome = Outcome::Done { version: stored.version, token: record.last_token };
                self.claim.handle_written(now, write.attempt, outcome);
                let rest = self.poll(&mut guard, &mut stored)?;
                guard.bring_back(stored);
                Ok(Some(rest))
            }
            Ok(None) => {
                self.claim.handle_written(now, write.attempt, Outcome::Conflict);
                Ok(None)
            }
            Err(e) => {
                self.note_unsynced(&e);
                self.claim.handle_written(now, write.attempt, Outcome::Unknown);
                Err(e)
            }
        }
    }

    fn present(&mut self, mut guard: Guard<'_>) -> Result<Rest> {
        let mut stored = guard.read_front(self.front())?;
        self.call_first(&stored);
        self.read_clocks();
        if self.quick && is_detached(&stored.record) {
            return Ok(Rest::TakesLong);
        }
        if is_detached(&stored.record) {
            self.restamp(&mut guard, &mut stored)?;
        }
        if *self.unsynced {
            self.sync_again(&mut guard, &mut stored)?;
        }
        if let Some(kill) = self.kill {
            kill.carry_out(self.store, self.name, &stored.record)?;
        }
        if self.hold_back_for_orphans && self.is_impatient() {
            let position = self.position(&stored, None)?;
            if position.orphaned {
                return Ok(Rest::Waits(Position { held_back: true, ..position }));
            }
        }
        let rest = self.poll(&mut guard, &mut stored)?;
        guard.bring_back(stored);
        Ok(rest)
    }

    /// Who ends a hold tells the first in line before all else: while that one wakes up, it is looked
    /// at and written in. A sync would keep it waiting.
    fn call_first(&mut self, stored: &Stored) {
        let own = self.session.session();
        let Some(first) = stored.record.queue.front().filter(|first| first.session != own) else {
            return;
        };
        let syncs = self.durable || is_detached(&stored.record) || stored.damaged;
        if self.claim.frees() && !syncs && !*self.unsynced && self.kill.is_none() {
            *self.way = self.store.way_to(first.mark);
            self.way.iter().for_each(Way::call);
        }
    }

    fn poll(&mut self, guard: &mut Guard<'_>, stored: &mut Stored) -> Result<Rest> {
        loop {
            if !guard.is_whole() && !self.claim.sees_enough(&stored.record) {
                guard.complete(stored)?;
            }
            let Clocks { now, wall } = self.clocks;
            let view = self.view(now, stored);
            match self.claim.poll(now, wall, &view) {
                Action::Read => self.claim.handle_read(now, &view),
                Action::Probe(session) => {
                    if !self.answer_probe(session, &stored.record)? {
                        return Ok(Rest::TakesLong);
                    }
                }
                Action::Report(report) => {
                    self.reports.push_back(report);
                    // The usual end of a look.
                    if self.claim.rests() {
                        debug_assert!(self.asks_for_nothing(stored), "{:?}", self.claim);
                        return Ok(Rest::Done);
                    }
                }
                Action::Write(ref write) => self.write(guard, stored, write)?,
                Action::Idle => return Ok(Rest::Done),
                Action::Wait { until } => return self.wait(guard, stored, until),
            }
        }
    }

    #[cold]
    fn wait(
        &mut self,
        guard: &mut Guard<'_>,
        stored: &mut Stored,
        until: Option<Time>,
    ) -> Result<Rest> {
        Ok(match self.claim.state() {
            State::Contending => {
                guard.complete(stored)?;
                Rest::Waits(self.position(stored, until)?)
            }
            State::Ending => Rest::Later(until),
            State::Held | State::Idle | State::Ended => Rest::Done,
        })
    }

    /// Asks about a session, and ends the work of a dead one; `false`: that would take too long.
    #[cold]
    fn answer_probe(&mut self, session: Session, record: &Record) -> Result<bool> {
        let probed = self.probe(session, record)?;
        if probed == Probed::Dead && self.quick {
            return Ok(false);
        }
        if probed == Probed::Dead {
            self.end_work_of(session, record);
        }
        self.read_clocks();
        self.claim.handle_probe(session, probed);
        Ok(true)
    }

    fn asks_for_nothing(&self, stored: &Stored) -> bool {
        let Clocks { now, wall } = self.clocks;
        let next = self.claim.clone().poll(now, wall, &self.view(now, stored));
        matches!(next, Action::Idle | Action::Wait { until: None })
    }

    #[inline]
    fn read_clocks(&mut self) -> Clocks {
        self.clocks = Clocks { now: self.store.now(), wall: self.store.wall() };
        self.clocks
    }

    fn view<'s>(&self, now: Time, stored: &'s Stored) -> View<'s> {
        let holder = stored.record.holder.as_ref();
        let age = holder.filter(|_| stored.clock == self.store.clock()).map(|h| now.since(h.stamp));
        View::Is { record: &stored.record, version: stored.version, age }
    }

    fn write(&mut self, guard: &mut Guard<'_>, stored: &mut Stored, write: &Write) -> Result<()> {
        let now = self.clocks.now;
        let outcome = self.try_write(guard, stored, &write.change);
        let told = outcome.as_ref().map_or(Outcome::Unknown, |outcome| *outcome);
        if let Err(e) = &outcome {
            self.note_unsynced(e);
        }
        self.claim.handle_written(now, write.attempt, told);
        outcome.map(drop)
    }

    fn try_write(
        &mut self,
        guard: &mut Guard<'_>,
        stored: &mut Stored,
        change: &Change,
    ) -> Result<Outcome> {
        if let Change::Join { waiter, .. } = change {
            *self.pipe = Some(self.store.pipe(waiter.mark)?);
        }
        let token = if change.begins_hold() { guard.next_token()? } else { Token::default() };
        self.note_dead(&stored.record, change);
        let behind = behind(&stored.record, change);
        // A detached hold must survive a power cut, so what makes and what ends one must, too.
        let detached = is_detached(&stored.record);
        stored.record.apply(change, token);
        let synced = self.durable || detached || is_detached(&stored.record);
        stored.version = guard.write(&stored.record, synced)?;
        if matches!(change, Change::Take { .. } | Change::Renew { .. }) || change.begins_hold() {
            stored.clock = self.store.clock();
        }
        if let Change::Release { next, .. } = change {
            // Who was passed over because it is stopped looks as soon as it goes on.
            *self.to_wake = next.or_else(|| stored.record.queue.front().map(|first| first.mark));
        } else if behind.is_some() {
            *self.to_wake = behind;
        }
        Ok(Outcome::Done { version: stored.version, token })
    }

    #[cold]
    fn note_unsynced(&mut self, error: &Error) {
        *self.unsynced |= matches!(error, Error::NotDurable { .. });
    }

    /// What a failed sync left in the file can be read, but is not known to be on the disk, and a
    /// second sync would not tell: the kernel takes the page for written. So the record is written
    /// again, and synced, before the machine may find its mark in it.
    #[cold]
    fn sync_again(&mut self, guard: &mut Guard<'_>, stored: &mut Stored) -> Result<()> {
        stored.version = guard.write(&stored.record, true)?;
        *self.unsynced = false;
        Ok(())
    }

    /// Whom this change strikes out because their session is gone.
    fn note_dead(&mut self, record: &Record, change: &Change) {
        let strike = match change {
            Change::Take { ended, strike, .. } => {
                let died = record.holder.as_ref().filter(|_| *ended == Some(End::Died));
                self.dead.extend(died.map(|h| (h.session, Some(h.mark))));
                strike
            }
            // Whose hold somebody else ends has ended, if it was one of processes.
            Change::Release { of, strike, .. } => {
                let theirs = |h: &&Holder| {
                    h.mark == *of && h.term == Term::Session && h.session != self.session.session()
                };
                let ended = record.holder.as_ref().filter(theirs);
                self.dead.extend(ended.map(|h| (h.session, Some(h.mark))));
                strike
            }
            Change::Join { strike, .. } => strike,
            Change::Leave { .. } | Change::Renew { .. } => return,
        };
        if !strike.is_empty() {
            self.note_struck(record, strike);
        }
    }

    #[cold]
    fn note_struck(&mut self, record: &Record, strike: &[Mark]) {
        let struck = record.queue.iter().filter(|w| strike.contains(&w.mark));
        let others = struck.filter(|w| w.session != self.session.session());
        self.dead.extend(others.map(|w| (w.session, Some(w.mark))));
    }

    /// A detached hold from another boot counts its full ttl anew from the first time it is seen in
    /// this one, and that is written down, so that short-lived contenders agree on it.
    #[cold]
    fn restamp(&self, guard: &mut Guard<'_>, stored: &mut Stored) -> Result<()> {
        let clock = self.store.clock();
        let Some(holder) = &mut stored.record.holder else { return Ok(()) };
        if !matches!(holder.term, Term::Ttl(_)) || stored.clock.boot == clock.boot {
            return Ok(());
        }
        holder.stamp = self.store.now().after(Duration::from_nanos(1));
        stored.version = guard.write(&stored.record, true)?;
        stored.clock = clock;
        Ok(())
    }

    fn probe(&mut self, session: Session, record: &Record) -> Result<Probed> {
        Ok(match self.verdict(session, record)? {
            Verdict::Dead => Probed::Dead,
            Verdict::Stopped => Probed::Stopped,
            Verdict::Alive | Verdict::Orphaned { .. } => Probed::Alive,
        })
    }

    /// What is known of a session, asked once in a look.
    fn verdict(&mut self, session: Session, record: &Record) -> Result<Verdict> {
        if session == self.session.session() {
            return Ok(Verdict::Alive);
        }
        if let Some((_, verdict)) = self.verdicts.iter().find(|(known, _)| *known == session) {
            return Ok(*verdict);
        }
        let holds = record.holder.as_ref().is_some_and(|h| h.session == session);
        let seen = if holds { None } else { self.verdict_by_pipe(session, record)? };
        let verdict = match seen.map_or_else(|| self.store.probe(session), Ok) {
            // It runs. A waiter without its file is no reason to refuse everybody else.
            Err(Error::SessionLost { .. }) if !holds => Verdict::Alive,
            verdict => verdict?,
        };
        self.verdicts.push((session, verdict));
        Ok(verdict)
    }

    /// Who hands the lock over is about to open the waiter's pipe in any case. If it can be opened and
    /// the waiter's process runs, that waiter lives, and its session need not be asked. Nobody counts
    /// as dead because of a pipe.
    fn verdict_by_pipe(&mut self, session: Session, record: &Record) -> Result<Option<Verdict>> {
        if self.claim.state() != State::Ending {
            return Ok(None);
        }
        let Some(waiter) = record.queue.iter().find(|waiter| waiter.session == session) else {
            return Ok(None);
        };
        if !self.way.as_ref().is_some_and(|way| way.leads_to(waiter.mark)) {
            *self.way = self.store.way_to(waiter.mark);
        }
        if self.way.is_none() {
            return Ok(None);
        }
        // Where that says nothing: one that it forked may have its pipe.
        let stopped = self.store.is_stopped(session)?;
        Ok(stopped.map(|stopped| if stopped { Verdict::Stopped } else { Verdict::Alive }))
    }

    /// A dead holder's work may live on without the session: some programs close every descriptor
    /// they inherited. It is ended before anybody takes over.
    fn end_work_of(&self, session: Session, record: &Record) {
        if let Some(holder) = record.holder.as_ref().filter(|h| h.session == session) {
            self.store.end_orphans(session, holder.token, self.name);
        }
    }

    /// How many waiters this look is sure to need. Who joins or may have to wait needs them all, who
    /// gives the lock back the first, and who was woken to be the holder none.
    fn front(&self) -> usize {
        match self.claim.state() {
            State::Contending if self.pipe.is_none() => usize::MAX,
            State::Contending => 0,
            _ => 1,
        }
    }

    /// Whether this look may end with a place in line.
    fn may_join(&self) -> bool {
        let contends = self.claim.state() == State::Contending && !self.claim.is_impatient();
        contends && self.pipe.is_none() && !self.quick
    }

    fn is_impatient(&self) -> bool {
        self.claim.state() == State::Contending && self.claim.is_impatient()
    }

    /// Where this contender stands and whom it has to watch.
    #[cold]
    fn position(&mut self, stored: &Stored, until: Option<Time>) -> Result<Position> {
        let record = &stored.record;
        let place = self.claim.queued().and_then(|mark| record.place_of(mark));
        let before = self.before(record, place.unwrap_or(0))?;
        let holder = record.holder.as_ref();
        let bound = holder.filter(|h| h.term == Term::Session).map(|h| h.session);
        let ahead = before.or(bound).unwrap_or(Session::NONE);
        let orphaned = match bound {
            Some(session) if before.is_none() => {
                matches!(self.verdict(session, record)?, Verdict::Orphaned { .. })
            }
            _ => false,
        };
        Ok(Position {
            ahead,
            next: before.is_none(),
            place,
            token: holder.map_or(Token::default(), |h| h.token),
            orphaned,
            held_back: false,
            until,
            revision: stored.version.revision,
        })
    }

    /// The nearest one ahead in line that can move up. The dead and the stopped cannot, and so
    /// would not notice for us what happens ahead of them.
    fn before(&mut self, record: &Record, place: usize) -> Result<Option<Session>> {
        for waiter in record.queue.iter().take(place).rev() {
            if self.probe(waiter.session, record)? == Probed::Alive {
                return Ok(Some(waiter.session));
            }
        }
        Ok(None)
    }
}

/// Who stands behind one that leaves the line: it watched the one that leaves.
fn behind(record: &Record, change: &Change) -> Option<Mark> {
    let Change::Leave { strike } = change else { return None };
    let place = record.place_of(*strike.first()?)?;
    record.queue.get(place + 1).map(|waiter| waiter.mark)
}

pub(crate) fn is_detached(record: &Record) -> bool {
    record.holder.as_ref().is_some_and(|h| h.term != Term::Session)
}
