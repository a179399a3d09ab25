//! What a sloppy store does: every operation, with the mistake it is told to make.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use tenure_core::{Change, Liveness, Record, Session, Token, Version};
use tenure_store::{Conditional, Detail, Error, Listed, Name, Origin, Result, Snapshot, Stored};

use crate::bug::Bug;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) bug: Bug,
    pub(crate) liveness: Liveness,
    /// Held from the look at a condition to the write.
    deciding: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) names: HashMap<String, Register>,
    incarnation: u128,
    pub(crate) sessions: u8,
    pub(crate) alive: HashSet<Session>,
    /// Who watches what; the number is the watch's.
    pub(crate) watching: Vec<(String, u64, Waker)>,
    pub(crate) watches: u64,
    pub(crate) reads: u64,
    locked: bool,
    /// The name written last.
    pub(crate) last: String,
}

/// Everything that ever was under a name.
#[derive(Debug, Default)]
pub(crate) struct Register {
    name: Option<Name>,
    now: Option<Stored>,
    pub(crate) before: Option<Stored>,
    revision: u64,
    token: u64,
    written: Option<Instant>,
}

impl Shared {
    pub(crate) fn new(bug: Bug, liveness: Liveness) -> Self {
        Self { bug, liveness, deciding: Mutex::default(), state: Mutex::default() }
    }
}

impl State {
    pub(crate) fn take_out(&mut self, session: Session, clear: bool) {
        let mut changed = Vec::new();
        for (key, register) in &mut self.names {
            let Some(stored) = &mut register.now else { continue };
            let record = Arc::make_mut(&mut stored.record);
            let entries = record.queue.len() + usize::from(record.holder.is_some());
            record.holder.take_if(|h| h.session == session);
            record.queue.retain(|w| !clear && w.session != session);
            if record.queue.len() + usize::from(record.holder.is_some()) < entries {
                register.revision += 1;
                stored.version.revision = register.revision;
                changed.push(key.clone());
            }
        }
        for key in changed {
            self.wake(&key, Bug::None);
        }
    }

    pub(crate) fn wake(&mut self, key: &str, bug: Bug) {
        let is_ours =
            |(name, _, _): &mut (String, u64, Waker)| name == key || bug == Bug::WatchMixesNames;
        let mut ours: Vec<_> = self.watching.extract_if(.., is_ours).collect();
        if bug == Bug::WatchWakesOne {
            ours.drain(..ours.len().saturating_sub(1));
        }
        for (_, _, waker) in ours {
            waker.wake();
        }
    }
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn key(&self, name: &Name) -> String {
        match self.bug {
            Bug::FoldsCase => name.as_str().to_lowercase(),
            Bug::CutsNames => name.as_str().chars().take(200).collect(),
            _ => name.as_str().to_owned(),
        }
    }

    pub(crate) fn queue(&self) -> bool {
        self.liveness != Liveness::Observed
    }

    pub(crate) fn read(&self, name: &Name) -> Snapshot {
        let key = self.key(name);
        let mut state = self.state();
        state.reads += 1;
        let at_times = state.reads.is_multiple_of(5);
        let register = state.names.entry(key).or_default();
        let stored = match self.bug {
            Bug::ReadsOld => register.before.clone(),
            Bug::ReadsOldAtTimes if at_times => register.before.clone(),
            Bug::ReadsDeleted => register.now.clone().or_else(|| register.before.clone()),
            _ => register.now(self.bug),
        };
        stored.map_or(Snapshot::Absent { revision: 0 }, Snapshot::Is)
    }

    pub(crate) fn holds(&self, name: &Name, judged: Option<&Stored>) -> bool {
        let state = self.state();
        let now = state.names.get(&self.key(name)).and_then(|r| r.now.as_ref());
        match (judged, now) {
            (None, None) => true,
            (None, Some(_)) => self.bug == Bug::CreatesOver,
            (Some(_), None) => self.bug == Bug::UpdatesNothing,
            (Some(judged), Some(now)) => match self.bug {
                Bug::IgnoresVersion => true,
                Bug::CountsPerIncarnation => judged.version.revision == now.version.revision,
                _ => judged.version == now.version,
            },
        }
    }

    /// The whole of a write, with no regard to its condition.
    pub(crate) fn write(&self, name: &Name, change: &Change) -> Stored {
        let key = self.key(name);
        let bug = self.bug;
        let mut state = self.state();
        state.incarnation += 1;
        let newborn = state.incarnation;
        let register = state.names.entry(key.clone()).or_default();
        register.name.get_or_insert_with(|| name.clone());
        let stored = register.write(bug, change, newborn);
        state.last.clone_from(&key);
        state.wake(&key, bug);
        stored
    }

    pub(crate) fn delete(&self, name: &Name) {
        let key = self.key(name);
        let bug = self.bug;
        let mut state = self.state();
        let Some(register) = state.names.get_mut(&key) else { return };
        if bug != Bug::KeepsDeleted {
            register.before = register.now.take();
            register.revision += 1;
        }
        if matches!(bug, Bug::RevisionRestarts | Bug::CountsPerIncarnation) {
            register.revision = 0;
        }
        if bug == Bug::TokenRestarts {
            register.token = 0;
        }
        if bug == Bug::DeletesAllNames {
            state.names.clear();
        }
        state.wake(&key, bug);
    }

    pub(crate) async fn write_if(
        &self,
        name: &Name,
        judged: Option<&Stored>,
        change: &Change,
    ) -> Result<Conditional<Stored>> {
        if matches!(change, Change::Join { .. }) && !self.queue() {
            match self.bug {
                Bug::JoinsWithoutLine => {}
                Bug::ConflictWithoutLine => return Ok(Conditional::Conflict),
                _ => return Err(Error::Unsupported(Detail::new("sloppy:", "no line").on(name))),
            }
        }
        if self.bug == Bug::StaysLocked {
            while std::mem::replace(&mut self.state().locked, true) {
                yield_once().await;
            }
        }
        if self.bug == Bug::WritesHalf
            && self.holds(name, judged)
            && let Some(stored) = &mut self.state().names.entry(self.key(name)).or_default().now
        {
            Arc::make_mut(&mut stored.record).holder = None;
        }
        yield_once().await;
        let answer = self.decide(name, judged, change);
        self.state().locked = false;
        Ok(answer)
    }

    pub(crate) fn decide(
        &self,
        name: &Name,
        judged: Option<&Stored>,
        change: &Change,
    ) -> Conditional<Stored> {
        let looks_first = self.bug == Bug::LooksFirst;
        let _deciding = (!looks_first).then(|| lock(&self.deciding));
        let holds = self.holds(name, judged);
        if looks_first {
            thread::sleep(Duration::from_millis(1));
        }
        if !holds && self.bug != Bug::WritesOnConflict {
            return Conditional::Conflict;
        }
        if let (Bug::ForgetsRenewal, Change::Renew { .. }, Some(judged)) =
            (self.bug, change, judged)
        {
            return Conditional::Done(judged.clone());
        }
        let stored = self.write(name, change);
        match (holds, self.bug, judged) {
            (false, ..) => Conditional::Conflict,
            (true, Bug::GivesJudged, Some(judged)) => Conditional::Done(judged.clone()),
            (true, ..) => Conditional::Done(stored),
        }
    }

    pub(crate) fn delete_if(&self, name: &Name, expected: Version) -> Conditional<()> {
        let looks_first = self.bug == Bug::LooksFirstToDelete;
        let _deciding = (!looks_first).then(|| lock(&self.deciding));
        let now = self.state().names.get(&self.key(name)).and_then(|r| r.now.clone());
        let holds = match now {
            None => self.bug == Bug::DeletesNothing,
            Some(_) if self.bug == Bug::DeletesAnyState => true,
            Some(now) if self.bug == Bug::CountsPerIncarnation => {
                now.version.revision == expected.revision
            }
            Some(now) => now.version == expected,
        };
        if looks_first {
            thread::sleep(Duration::from_millis(1));
        }
        if !holds {
            return Conditional::Conflict;
        }
        self.delete(name);
        Conditional::Done(())
    }

    pub(crate) fn list(&self) -> Vec<Listed> {
        let state = self.state();
        let mut all = Vec::new();
        for register in state.names.values() {
            let stored = match self.bug {
                Bug::ListsDeleted => register.now.as_ref().or(register.before.as_ref()),
                Bug::ListsOld => register.before.as_ref().or(register.now.as_ref()),
                Bug::ListsHeldOnly => {
                    register.now.as_ref().filter(|stored| stored.record.holder.is_some())
                }
                _ => register.now.as_ref(),
            };
            let entry = register.name.clone().zip(stored.cloned());
            all.extend(entry.map(|(name, stored)| Listed { name, stored: Ok(stored) }));
        }
        if self.bug == Bug::ListsTwice {
            all.extend_from_within(..all.len().min(1));
        }
        all
    }
}

impl State {
    pub(crate) fn snapshot(&self, key: &str, bug: Bug) -> Snapshot {
        let key = if bug == Bug::WatchMixesNames { &self.last } else { key };
        let register = self.names.get(key);
        match register.and_then(|r| r.now(bug)) {
            Some(stored) => Snapshot::Is(stored),
            None => Snapshot::Absent { revision: register.map_or(0, |r| r.revision) },
        }
    }
}

impl Register {
    pub(crate) fn now(&self, bug: Bug) -> Option<Stored> {
        let age = match bug {
            Bug::AgeOfAnHour => Some(Duration::from_secs(3_600)),
            _ => self.written.map(|written| written.elapsed()),
        };
        self.now.as_ref().map(|stored| Stored { age, ..stored.clone() })
    }

    pub(crate) fn write(&mut self, bug: Bug, change: &Change, newborn: u128) -> Stored {
        let renews = matches!(change, Change::Renew { .. });
        let hands_over = matches!(change, Change::Release { next: Some(_), .. });
        let takes_over = self.now.as_ref().is_some_and(|s| s.record.holder.is_some());
        let keeps_token = match bug {
            Bug::TokenHandedOver => hands_over,
            Bug::TokenTakenOver => takes_over && !hands_over,
            _ => false,
        };
        if change.begins_hold() && !keeps_token || renews && bug == Bug::TokenRenewed {
            self.token += 1;
        }
        let mut record = self.now.as_ref().map_or_else(Record::default, |s| (*s.record).clone());
        record.apply(&spoilt(bug, change), Token::new(self.token));
        if let (Bug::TokenRenewed, Some(holder)) = (bug, &mut record.holder) {
            holder.token = Token::new(self.token);
        }
        if matches!((bug, change), (Bug::ForgetsTags, Change::Take { tags, .. }) if tags.is_empty())
        {
            record.tags.clear();
        }
        if matches!((bug, change), (Bug::LastComesFirst, Change::Join { .. })) {
            record.queue.rotate_right(1);
        }
        if !(renews && bug == Bug::RevisionStays) {
            self.revision += 1;
        }
        let incarnation = match (bug, &self.now) {
            (Bug::OneIncarnation, _) => 1,
            (Bug::IncarnationMoves, _) | (_, None) => newborn,
            (_, Some(now)) => now.version.incarnation,
        };
        if !(renews && bug == Bug::AgeOfHold) {
            self.written = Some(Instant::now());
        }
        let version = Version { incarnation, revision: self.revision };
        let stored =
            Stored { record: Arc::new(record), version, age: None, origin: Origin::default() };
        self.before = self.now.replace(stored.clone());
        stored
    }
}

/// The change as a store with this mistake understands it.
fn spoilt(bug: Bug, change: &Change) -> Change {
    let mut change = change.clone();
    match (bug, &mut change) {
        (Bug::ForgetsStrike, Change::Take { strike, .. }) => strike.clear(),
        (Bug::ForgetsHandOver, Change::Release { next, .. }) => *next = None,
        (Bug::ForgetsLastTags, Change::Release { tags, .. }) => tags.clear(),
        _ => {}
    }
    change
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Comes back once it is asked again, as an answer over a network does.
pub(crate) async fn yield_once() {
    let mut asked = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut asked, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
