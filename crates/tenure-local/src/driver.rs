//! Drives one [`Claim`] over the files: the guard around each look, the wake-ups between them.
//!
//! ```text
//! step ─> guard ─> read ─> Claim::poll ─┬─> write (still under the guard)
//!                                       ├─> probe a session
//!                                       └─> wait ─> unlock ─> wake whom the write made the holder
//! ```
//!
//! Everything between reading and writing happens under the lock's guard, so a write never meets a
//! conflict here. Waiting happens outside it: on the own pipe, on the process that stands directly
//! ahead (the holder for the first in line), and on a backstop of a second.
//!
//! Because each waiter watches only the one ahead, a release wakes one process, however long the
//! line: the next in line by its pipe. Where nothing need be synced, that one is called as soon as the
//! releaser has read who it is, and tries for the guard while the rest of the hand-over is done. And
//! since the one ahead becomes the holder before us, the same descriptor tells of its death as a
//! waiter and as a holder.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tenure_core::{
    Cause, Claim, Config, Liveness, Mark, Marks, Patience, Report, Session, State, Term, Text,
    Time, View,
};

use crate::guard::LockFile;
use crate::lock::Base;
use crate::lockwait::pause_after;
use crate::session::{OwnSession, Ownership, Verdict};
use crate::slots::FILE;
use crate::steal::Kill;
use crate::turn::{Clocks, Position, Rest, Turn};
use crate::wait::{Told, WaitPipe, Way};
use crate::{Error, LocalLock, LocalStore, Result, session};

mod again;
mod other;

/// The longest time between two looks of a waiter that nobody wakes.
const BACKSTOP: Duration = Duration::from_secs(1);
/// One who is further back than this looks less often: nothing comes to it before the others.
const NEAR: u32 = 8;
/// The same for one that watches the process ahead: all that could pass unnoticed is a write whose
/// writer was stopped before it woke us.
const WATCHED: Duration = Duration::from_secs(2);
/// Every so many quiet backstops a waiter looks closely all the same.
const CLOSELY: u32 = 4;
/// How long the command of a holder that died is waited for before it is searched for. The kernel
/// ends it with the holder, in less time than the search takes.
const COMMAND_ENDS: Duration = Duration::from_millis(5);
/// How long orphans that were ended are waited for at short intervals.
const ORPHANS: Duration = Duration::from_millis(500);
/// First and longest pause between two looks at orphans that were just ended.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(5));
/// How long `Drop` waits for a busy guard before it leaves the release to a thread.
const DROP_LIMIT: Duration = Duration::from_millis(5);

/// How long a waiter waits for a busy guard before it lets its caller look whether to go on.
const GUARD_SLICE: Duration = Duration::from_millis(50);
/// How long leaving the line waits for a busy guard: who left is found gone by the others.
const CANCEL_LIMIT: Duration = Duration::from_millis(200);
/// How long a look that must not take long waits for a busy guard.
const QUICK_LIMIT: Duration = Duration::from_millis(1);

/// What became of something that must not take long.
#[derive(Debug)]
pub enum Quick<T> {
    /// It was done.
    Done(T),
    /// It would have to wait or sync: do it where that holds up nobody.
    TakesLong,
}

/// One contender for one lock, and its hold.
///
/// Dropping it leaves the line and gives back what is held; dropping the copy of it in a forked
/// child does nothing while the process that made it runs.
#[derive(Debug)]
pub struct LocalClaim {
    lock: Arc<Base>,
    /// What keeps it once it has ended.
    home: Weak<LocalLock>,
    session: Arc<OwnSession>,
    claim: Claim,
    patience: Patience,
    /// The lock's file, once it was needed.
    file: Option<Box<LockFile>>,
    reports: VecDeque<Report>,
    pipe: Option<WaitPipe>,
    /// What it was told since the last look.
    told: Option<Told>,
    ahead: Ahead,
    /// No need to look before this, unless something wakes us. `None`: look now.
    next_look: Option<Time>,
    /// When the machine asked to be polled again.
    until: Option<Time>,
    /// The record's revision at the last look.
    seen: u64,
    /// The file's slots in that revision, once they were needed.
    slots: Option<Box<[u8]>>,
    /// Whether a write of this claim is in the file of which a sync failed.
    unsynced: bool,
    /// How many backstops passed without a close look.
    quiet: u32,
    /// Since when the guard was found busy at every look.
    busy: Option<Time>,
    /// Since when the holder's orphans are waited for, and the next pause.
    orphans: Option<(Time, Duration)>,
    /// Whether to give up what may take long.
    quick: bool,
    /// Whom this claim struck out because they were dead, as long as what they left is there.
    dead: Vec<(Session, Option<Mark>)>,
    /// Whom to end, under the guard, before the hold of somebody else is ended.
    kill: Option<Kill>,
    ending: EndedBy,
    /// Whether it has a hold, or may have, that must not be taken for a later one.
    once: bool,
}

/// Who ends this contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndedBy {
    /// Whoever asks for it, and waits for a busy guard as long as usual.
    Caller,
    /// One that leaves the line and has something else to do.
    Cancel,
    /// `Drop`, which must not keep its thread for long.
    Drop,
    /// A thread of its own.
    Helper,
}

/// Who stands directly ahead.
#[derive(Debug, Default)]
struct Ahead {
    session: Session,
    /// Becomes readable when that process ends; `None` where it cannot be watched.
    end: Option<OwnedFd>,
    /// Whether that is the holder.
    holds: bool,
}

/// What a look leaves to be done once the guard is given back.
#[derive(Debug, Default)]
struct Left {
    to_wake: Option<Mark>,
    /// The way to it, if it is open already.
    way: Option<Way>,
    dead: Vec<(Session, Option<Mark>)>,
}

impl LocalClaim {
    /// Where a child writes its process group into the session's file.
    pub const GROUP_OFFSET: u64 = session::GROUP_OFFSET;

    /// A contender for `lock`. Nothing is written to it before [`step`](Self::step).
    ///
    /// # Errors
    /// What the system says when this process's session cannot be opened; [`Error::Invalid`] in a
    /// forked child of the process that opened the store.
    pub fn new(lock: &Arc<LocalLock>, patience: Patience) -> Result<Box<Self>> {
        // Whose process it is the first step asks in any case.
        let kept = lock.contender();
        let mut claim = kept.map_or_else(|| Self::idle(lock, lock.store().marks()), Ok)?;
        claim.want(patience);
        Ok(claim)
    }

    fn want(&mut self, patience: Patience) {
        self.patience = patience;
        self.claim.acquire(patience);
    }

    /// One that wants nothing yet, with these marks for its attempts.
    #[cold]
    fn idle(lock: &Arc<LocalLock>, marks: Marks) -> Result<Box<Self>> {
        let settings = lock.settings();
        let session = lock.store().session(&settings.id)?;
        let claim = Claim::new(Config {
            id: settings.id.clone(),
            session: session.session(),
            term: Term::Session,
            timing: settings.timing,
            liveness: Liveness::Process,
            queue: true,
            adopt: false,
            max_clock_skew: Duration::ZERO,
            add_tags: false,
            tags: settings.tags.clone(),
            marks,
        });
        Ok(Box::new(Self {
            lock: Arc::clone(&lock.base),
            home: Arc::downgrade(lock),
            session,
            claim,
            patience: Patience::Forever,
            file: None,
            reports: VecDeque::new(),
            pipe: None,
            told: None,
            ahead: Ahead::default(),
            next_look: None,
            until: None,
            seen: 0,
            slots: None,
            unsynced: false,
            quiet: 0,
            busy: None,
            orphans: None,
            quick: false,
            dead: Vec::new(),
            kill: None,
            ending: EndedBy::Caller,
            once: false,
        }))
    }

    fn file(&mut self) -> &mut LockFile {
        self.file.get_or_insert_with(|| self.lock.file())
    }

    /// Does what can be done now and returns the next news; `None`: wait for
    /// [`wake_fds`](Self::wake_fds) or [`wake_after`](Self::wake_after), then call again.
    ///
    /// # Errors
    /// A record that cannot be read, a disk that cannot be used, a guard that stays busy. What may
    /// have been written is undone when this is dropped.
    pub fn step(&mut self) -> Result<Option<Report>> {
        match self.step_as(false)? {
            Quick::Done(report) => Ok(report),
            Quick::TakesLong => Ok(None),
        }
    }

    /// The same for a thread that others wait for: gives up after a millisecond what a busy guard,
    /// a sync or the end of a dead holder's work would make long. Nothing has changed then.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn step_quickly(&mut self) -> Result<Quick<Option<Report>>> {
        self.step_as(!self.lock.settings.durable)
    }

    fn step_as(&mut self, quick: bool) -> Result<Quick<Option<Report>>> {
        if self.reports.is_empty() && self.claim.state() == State::Contending && self.is_due()? {
            self.session.check_own()?;
            self.quick = quick;
            let looked = self.look();
            self.quick = false;
            let looked = looked.or_else(|e| self.look_later(e));
            if !matches!(looked, Ok(true)) {
                // What woke us is taken in and not dealt with: the next step looks in any case.
                self.next_look = None;
            }
            if !looked.map_err(|e| self.lock.store.folder().explain(e))? {
                return Ok(Quick::TakesLong);
            }
        }
        Ok(Quick::Done(self.reports.pop_front()))
    }

    /// A busy guard is asked for again and again, but not in one go: whoever drives this may be told
    /// to end. Gives the error back once it has lasted too long.
    #[cold]
    fn look_later(&mut self, error: Error) -> Result<bool> {
        let Error::Busy { path, waited, .. } = error else { return Err(error) };
        let now = self.lock.store.now();
        let since = self.busy.take().unwrap_or(now.before(waited));
        let waited = now.since(since);
        if waited >= self.lock.store.folder().guard_wait() || self.is_past_patience(now) {
            return Err(Error::Busy { path, by: self.file().guard_owner(), waited });
        }
        self.busy = Some(since);
        self.next_look = Some(now.after(pause_after(waited)));
        Ok(true)
    }

    fn is_past_patience(&self, now: Time) -> bool {
        matches!(self.patience, Patience::Until(limit) if now >= limit)
    }

    /// Whether there is a reason to look at the record under its guard.
    fn is_due(&mut self) -> Result<bool> {
        if self.busy.is_some() {
            return Ok(self.next_look.is_none_or(|at| self.lock.store.now() >= at));
        }
        self.told = self.pipe.as_ref().and_then(WaitPipe::drain);
        let Some(next_look) = self.next_look else { return Ok(true) };
        if self.told.is_some() || self.ahead.has_ended() {
            return Ok(true);
        }
        let now = self.lock.store.now();
        if now < next_look {
            return Ok(false);
        }
        let asked_for = self.until.is_some_and(|until| now >= until);
        if asked_for || self.quiet >= CLOSELY || !self.is_quiet()? {
            return Ok(true);
        }
        self.quiet += 1;
        let look = now.after(WATCHED);
        self.next_look = Some(self.until.map_or(look, |until| until.min(look)));
        Ok(false)
    }

    /// At the backstop: nothing was written, and the process ahead is watched, so its end would have
    /// woken us. But a holder may have dropped its session and live on, as one that runs another
    /// program in its place, so the first in line asks; and a waiter ahead that was stopped would not
    /// notice the holder's death for us, so that is asked every other time.
    fn is_quiet(&mut self) -> Result<bool> {
        if self.ahead.end.is_none() {
            return Ok(false);
        }
        let store = &self.lock.store;
        let stands = if self.ahead.holds {
            // That its process has not ended is known.
            store.is_kept(self.ahead.session)?
        } else {
            // What is wrong with it, the look under the guard finds out: it may just have been served.
            let alive = || matches!(store.probe(self.ahead.session), Ok(Verdict::Alive));
            self.quiet.is_multiple_of(2) || alive()
        };
        if !stands {
            return Ok(false);
        }
        let mut slots = [0; FILE];
        let Some(n) = self.file().raw_slots(&mut slots)? else { return Ok(false) };
        if self.slots.as_deref() == Some(&slots[..n]) {
            return Ok(true);
        }
        // Every write changes them. They were read before the record: if that is no newer than
        // what was last seen, they are not, either.
        let seen = self.seen;
        let same = self.file().peek()?.is_some_and(|stored| stored.version.revision == seen);
        if same {
            self.slots = Some(slots[..n].into());
        }
        Ok(same)
    }

    /// Looks at the record under its guard and does what is to be done about it; `false`: that
    /// would have taken too long.
    fn look(&mut self) -> Result<bool> {
        self.quiet = 0;
        loop {
            let position = match self.guarded()? {
                Rest::Waits(position) => position,
                Rest::Later(_) | Rest::Done => return Ok(true),
                Rest::TakesLong => return Ok(false),
            };
            if !position.orphaned {
                self.orphans = None;
                self.watch(&position, BACKSTOP);
                return Ok(true);
            }
            if self.quick {
                return Ok(false);
            }
            // The holder is dead but its children keep its session: end them, look again soon.
            let now = self.lock.store.now();
            let (since, pause) = match self.orphans {
                Some(known) => known,
                None => {
                    self.orphans = Some((now, LOOK_AGAIN.0));
                    if self.lock.store.await_command(position.ahead, COMMAND_ENDS) {
                        continue;
                    }
                    (now, LOOK_AGAIN.0)
                }
            };
            self.lock.store.end_orphans(position.ahead, position.token, self.lock.name());
            let now = self.lock.store.now();
            let patient = now.since(since) >= ORPHANS;
            self.orphans = Some((since, (pause * 2).min(LOOK_AGAIN.1)));
            self.watch(&position, if patient { BACKSTOP } else { pause });
            if !position.held_back {
                return Ok(true);
            }
            std::thread::sleep(pause);
        }
    }

    /// One look under the guard; then, outside it, wakes whom it made the holder. What goes wrong
    /// there takes nothing back of what is written, and is made up for by the backstop of who waits.
    fn guarded(&mut self) -> Result<Rest> {
        let mut left = Left::default();
        let rest = self.turn(&mut left);
        while let Some(mark) = left.to_wake.take() {
            let store = &self.lock.store;
            let way = left.way.take().filter(|way| way.leads_to(mark));
            let woken = way.map_or_else(|| store.wake(mark), |way| store.wake_by(way));
            if matches!(woken, Ok(false)) {
                let _ = self.hand_on(mark, &mut left);
            }
        }
        self.dead.append(&mut left.dead);
        // Who has just taken the lock of a dead one begins its work first. If it is killed before it
        // has swept, others tidy up.
        if self.claim.state() != State::Held && !self.dead.is_empty() {
            self.sweep();
        }
        rest
    }

    /// Removes what the dead left.
    #[cold]
    fn sweep(&mut self) {
        for (session, mark) in self.dead.drain(..) {
            self.lock.store.sweep(session, mark);
        }
    }

    fn turn(&mut self, left: &mut Left) -> Result<Rest> {
        let store = &self.lock.store;
        let ending = self.orphans.is_none_or(|(since, _)| store.now().since(since) < ORPHANS);
        let limit = self.guard_limit();
        let mut turn = Turn {
            store: &self.lock.store,
            name: self.lock.name(),
            session: &self.session,
            durable: self.lock.settings.durable,
            claim: &mut self.claim,
            reports: &mut self.reports,
            pipe: &mut self.pipe,
            told: self.told.take(),
            to_wake: &mut left.to_wake,
            way: &mut left.way,
            dead: &mut left.dead,
            verdicts: Vec::new(),
            unsynced: &mut self.unsynced,
            kill: &mut self.kill,
            limit,
            hold_back_for_orphans: ending,
            quick: self.quick,
            clocks: Clocks::default(),
        };
        let rest = turn.take(self.file.get_or_insert_with(|| self.lock.file()))?;
        self.busy = None;
        if let Rest::Waits(position) = &rest {
            self.seen = position.revision;
        }
        Ok(rest)
    }

    /// How long a busy guard is waited for: never past the limit of the one who waits.
    fn guard_limit(&self) -> Duration {
        let usual = self.lock.store.folder().guard_wait();
        match self.patience {
            _ if self.quick => QUICK_LIMIT,
            _ if self.ending == EndedBy::Drop => DROP_LIMIT,
            _ if self.ending == EndedBy::Cancel => CANCEL_LIMIT,
            _ if self.claim.state() != State::Contending => usual,
            _ if self.busy.is_some() => Duration::ZERO,
            Patience::Until(limit) => {
                limit.since(self.lock.store.now()).clamp(DROP_LIMIT, GUARD_SLICE)
            }
            _ => GUARD_SLICE,
        }
    }

    /// Whom we made the holder was gone before it could be woken: hand the lock on. If it only was
    /// quicker than we, or has no pipe any more because it saw the record itself, nothing is done.
    #[cold]
    fn hand_on(&mut self, mark: Mark, left: &mut Left) -> Result<()> {
        let config = Config { marks: self.lock.store.marks(), ..self.claim.config().clone() };
        let mut claim = Claim::new(config);
        claim.hand_on(mark);
        std::mem::swap(&mut claim, &mut self.claim);
        let mut reports = std::mem::take(&mut self.reports);
        let dead = match self.file().peek()?.and_then(|stored| stored.record.holder) {
            Some(holder) if holder.mark == mark => {
                self.lock.store.probe(holder.session)? == Verdict::Dead
            }
            _ => false,
        };
        let outcome = if dead { self.turn(left).map(drop) } else { Ok(()) };
        std::mem::swap(&mut claim, &mut self.claim);
        std::mem::swap(&mut reports, &mut self.reports);
        outcome
    }

    /// Notes whom to watch and when to look again.
    fn watch(&mut self, position: &Position, mut backstop: Duration) {
        // A descriptor that has fired stays readable: an orphan's waiter would never rest.
        if self.ahead.session != position.ahead || self.ahead.has_ended() {
            self.ahead.end = self.lock.store.watch_process(position.ahead);
            self.ahead.session = position.ahead;
            // It may have ended since it was asked about: look once more, soon.
            if self.ahead.end.is_none() && !position.ahead.is_none() {
                backstop = backstop.min(LOOK_AGAIN.1);
            }
        }
        self.ahead.holds = position.next;
        let further = u32::try_from(position.place.unwrap_or(0)).unwrap_or(u32::MAX) / NEAR;
        if backstop >= BACKSTOP {
            backstop = backstop.saturating_mul(further.saturating_add(1));
        }
        let look = self.lock.store.now().after(backstop);
        self.until = position.until;
        self.next_look = Some(self.until.map_or(look, |until| until.min(look)));
    }

    /// Descriptors that become readable when there is something to do.
    pub fn wake_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let pipe = self.pipe.as_ref().map(AsFd::as_fd);
        let all = pipe.into_iter().chain(self.ahead.end.as_ref().map(AsFd::as_fd));
        // Whatever they say, a busy guard is waited for; and the end of a process is said for ever.
        all.filter(|_| self.busy.is_none())
    }

    /// Come back after this long at the latest; `None`: there is nothing to wait for.
    #[must_use]
    pub fn wake_after(&self) -> Option<Duration> {
        if !self.reports.is_empty() {
            return Some(Duration::ZERO);
        }
        let next_look = self.next_look.unwrap_or(Time::ZERO);
        (self.claim.state() == State::Contending).then(|| next_look.since(self.lock.store.now()))
    }

    /// Blocks until there is something to do.
    ///
    /// # Errors
    /// What the system says.
    pub fn block(&self) -> Result<()> {
        crate::wait::block(self.wake_fds(), self.wake_after())
    }

    /// Leaves the line, and gives back what arrived meanwhile.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn cancel(&mut self) -> Result<()> {
        self.claim.cancel(self.lock.store.now());
        self.ending = EndedBy::Cancel;
        self.end().map(drop)
    }

    /// What the release that follows says of the lock's tags: these, beside those it has if `add`.
    pub fn tag_end(&mut self, tags: Vec<Text>, add: bool) {
        self.claim.tag_end(tags, add);
    }

    /// Gives the lock back. Returns [`Report::Released`] or [`Report::Lost`].
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn release(&mut self) -> Result<Option<Report>> {
        self.claim.release(self.lock.store.now());
        self.end()
    }

    /// The same for a thread that others wait for, as [`step_quickly`](Self::step_quickly) is.
    /// What takes long goes on with [`release`](Self::release).
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn release_quickly(&mut self) -> Result<Quick<Option<Report>>> {
        self.claim.release(self.lock.store.now());
        self.quick = !self.lock.settings.durable;
        let ended = self.end();
        self.quick = false;
        Ok(match ended? {
            None if !self.has_ended() => Quick::TakesLong,
            report => Quick::Done(report),
        })
    }

    /// Ends the hold, but leaves it in the record for `ttl`.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn detach(&mut self, ttl: Duration) -> Result<Option<Report>> {
        self.once = true;
        self.claim.detach(self.lock.store.now(), ttl);
        self.end()
    }

    /// Drives an ending claim to its end; returns the last thing it reported.
    fn end(&mut self) -> Result<Option<Report>> {
        match self.session.ownership() {
            Ownership::Own => {}
            // The lock on its open file is shared with whoever else was forked.
            Ownership::Heir => self.file = Some(self.lock.new_file()),
            Ownership::Copy => self.session.check_own()?,
        }
        while !self.has_ended() {
            self.reports.clear();
            let until = match self.guarded()? {
                Rest::Waits(Position { until, .. }) | Rest::Later(until) => until,
                Rest::Done => continue,
                Rest::TakesLong => return Ok(None),
            };
            // The disk refused a moment ago, and is left alone for a while.
            if self.quick || self.ending == EndedBy::Drop {
                return Ok(None);
            }
            let pause = until.map_or(LOOK_AGAIN.1, |until| until.since(self.lock.store.now()));
            std::thread::sleep(pause.min(BACKSTOP));
        }
        if let Some(pipe) = self.pipe.take() {
            self.lock.store.keep(pipe);
        }
        let last = self.reports.pop_back();
        self.reports.clear();
        Ok(last)
    }

    /// Wants nothing any more, whatever became of it.
    fn give_up(&mut self) {
        self.claim = Claim::new(self.claim.config().clone());
    }

    fn has_ended(&self) -> bool {
        matches!(self.claim.state(), State::Ended | State::Idle)
    }

    /// Whether the record still names this hold: `None` if it does.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn check(&mut self) -> Result<Option<Cause>> {
        self.sweep();
        let stored = self.file().peek()?;
        let view = match &stored {
            Some(s) => View::Is { record: &s.record, version: s.version, age: None },
            None => View::Absent { revision: 0 },
        };
        let now = self.lock.store.now();
        self.claim.handle_read(now, &view);
        match self.claim.poll(now, self.lock.store.wall(), &view) {
            tenure_core::Action::Report(Report::Lost(cause)) => Ok(Some(cause)),
            _ => Ok(None),
        }
    }

    /// The fencing token, while held.
    #[must_use]
    pub fn token(&self) -> Option<tenure_core::Token> {
        self.claim.token()
    }

    /// The contender's identity.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.claim.config().id
    }

    /// The lock's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.lock.name().as_str()
    }

    /// The descriptor whose lock says that this process lives.
    #[must_use]
    pub fn session_fd(&self) -> BorrowedFd<'_> {
        self.session.as_fd()
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &LocalStore {
        &self.lock.store
    }
}

impl Drop for LocalClaim {
    /// Undoes in place what is there, in microseconds; after 5 ms of a busy guard, or where the disk
    /// has just refused, a thread does. Where the disk refuses, the hold ends with this process's session.
    fn drop(&mut self) {
        // The usual end, after a release: nothing is left that another process could still have.
        if self.has_ended() && self.pipe.is_none() {
            self.give_back_file();
            return;
        }
        if self.session.ownership() == Ownership::Copy {
            return;
        }
        let now = self.lock.store.now();
        match self.claim.state() {
            State::Contending => self.claim.cancel(now),
            State::Held => self.claim.release(now),
            State::Ending | State::Idle | State::Ended => {}
        }
        if self.ending != EndedBy::Helper {
            self.ending = EndedBy::Drop;
        }
        match self.end() {
            Err(Error::Busy { .. }) if self.ending == EndedBy::Drop => self.leave_to_helper(),
            Ok(_) if !self.has_ended() => self.leave_to_helper(),
            // There is nobody left to tell.
            _ => {
                if !self.has_ended() {
                    self.session.stays_named();
                }
                self.give_back_file();
            }
        }
    }
}

impl LocalClaim {
    fn leave_to_helper(&mut self) {
        let rest = Self {
            lock: Arc::clone(&self.lock),
            home: Weak::new(),
            session: Arc::clone(&self.session),
            claim: self.claim.clone(),
            patience: self.patience,
            file: self.file.take(),
            reports: VecDeque::new(),
            pipe: self.pipe.take(),
            told: None,
            ahead: Ahead::default(),
            next_look: None,
            until: None,
            seen: 0,
            slots: None,
            unsynced: self.unsynced,
            quiet: 0,
            busy: None,
            orphans: None,
            quick: false,
            dead: std::mem::take(&mut self.dead),
            kill: None,
            ending: EndedBy::Helper,
            once: true,
        };
        // Without a thread the hold ends with the session.
        let _ = std::thread::Builder::new().name("tenure-release".into()).spawn(|| drop(rest));
    }

    fn give_back_file(&mut self) {
        if let Some(file) = self.file.take() {
            self.lock.give_back(file);
        }
    }
}

impl Ahead {
    fn has_ended(&self) -> bool {
        self.end.as_ref().is_some_and(crate::wait::is_readable)
    }
}

#[cfg(test)]
mod tests;
