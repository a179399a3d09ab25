//! Power cuts after every step of a seeded history of changes.
//!
//! Whatever a cut leaves: every lock that was created durably is there and can be read; what is
//! read is a record that was written, perhaps without the line in it, which no waiter outlives, and
//! not older than the last one acknowledged as durable; and the next token is larger than every token
//! acknowledged before.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tenure_core::{Mark, Record, Session, Term, Token, Waiter, Wall};

use super::disk::{Dice, Disk};
use crate::guard::Stored;
use crate::sys::record::{self, Step};
use crate::testing::{Scratch, held, lock_in, open_in, session_in};
use crate::{Error, Folder, LockFile, OwnSession};

const LOCKS: [&str; 3] = ["a", "b", "c"];
const CHANGES: usize = 80;
const SEEDS: u64 = 4;

/// What one change of one lock did, as far as its author knows.
#[derive(Clone, Debug)]
struct Event {
    lock: &'static str,
    /// What it wrote; `None`: it deleted.
    record: Option<Record>,
    synced: bool,
    /// Steps noted when it began, and when it was acknowledged, if it was.
    began: usize,
    acknowledged: Option<usize>,
}

/// Changes locks at random, as several processes one after the other would, some of them killed.
struct Author {
    folder: Arc<Folder>,
    session: OwnSession,
    locks: BTreeMap<&'static str, LockFile>,
    dice: Dice,
    events: Vec<Event>,
    /// Makes every record different.
    serial: u64,
}

impl Author {
    fn new(folder: Arc<Folder>, seed: u64) -> Self {
        let session = session_in(&folder);
        let locks = BTreeMap::new();
        Self { folder, session, locks, dice: Dice(seed), events: Vec::new(), serial: 0 }
    }

    fn change(&mut self) {
        let name = LOCKS[self.dice.below(LOCKS.len())];
        let dies = self.dice.below(6) == 0;
        if dies {
            record::fail(u32::try_from(self.dice.below(5)).unwrap(), Errno::IO);
        }
        let outcome = self.attempt(name);
        record::heal();
        if dies || self.dice.below(4) == 0 {
            // The next change is by a process that knows nothing of what this one synced.
            self.locks.remove(name);
        }
        if let Err(e) = outcome {
            assert!(dies && !matches!(e, Error::Damaged { .. }), "{e}");
        }
    }

    fn attempt(&mut self, name: &'static str) -> Result<(), Error> {
        let folder = &self.folder;
        let mut lock = self.locks.remove(name).unwrap_or_else(|| lock_in(folder, name));
        let outcome = self.attempt_on(&mut lock, name);
        self.locks.insert(name, lock);
        outcome
    }

    fn attempt_on(&mut self, lock: &mut LockFile, name: &'static str) -> Result<(), Error> {
        let began = record::len();
        let Some(mut guard) = lock.lock()? else {
            let size = self.size();
            let (serial, session) = (self.serial, self.session.session());
            let make = |token| numbered(held(token, session, Term::Session), serial, size);
            let mut made = None;
            let keep = |token| made.insert(make(token)).clone();
            let result = lock.create(&self.session, keep).map(|_| ());
            return self.note(name, made, true, began, result);
        };
        let stored = guard.read()?;
        let last = stored.record.last_token;
        if self.dice.below(12) == 0 {
            let result = guard.delete();
            return self.note(name, None, true, began, result);
        }
        // A hold with a ttl, a hold of a process, or a free lock.
        let (synced, size) = (self.dice.below(3) == 0, self.size());
        let term = if synced { Term::Ttl(Duration::from_secs(60)) } else { Term::Session };
        let record = if synced || self.dice.coin() {
            held(guard.next_token()?, self.session.session(), term)
        } else {
            Record { last_token: last, ..Record::default() }
        };
        let mut record = numbered(record, self.serial, size);
        record.queue = self.line(stored.record.queue);
        let result = guard.write(&record, synced).map(|version| {
            // So that a process that goes on meets what it knows, also after others were killed.
            guard.bring_back(Stored { record: record.clone().into(), version, ..stored });
        });
        self.note(name, Some(record), synced, began, result)
    }

    fn note(
        &mut self,
        lock: &'static str,
        record: Option<Record>,
        synced: bool,
        began: usize,
        result: Result<(), Error>,
    ) -> Result<(), Error> {
        let acknowledged = result.is_ok().then(record::len);
        self.events.push(Event { lock, record, synced, began, acknowledged });
        result
    }

    /// What becomes of a line: it is served, joined, broken off, or a new one.
    fn line(&mut self, mut line: VecDeque<Waiter>) -> VecDeque<Waiter> {
        let serial = self.serial;
        match self.dice.below(8) {
            0 => line.clear(),
            1 => line = (1..=30).map(|n| waiter(serial * 100 + n)).collect(),
            2 | 3 => line.push_back(waiter(serial * 100)),
            4 => line.truncate(line.len() / 2),
            _ => drop(line.pop_front()),
        }
        line
    }

    /// The length of the next record's tag: mostly short, sometimes too long for a slot.
    fn size(&mut self) -> usize {
        self.serial += 1;
        [0, 10, 500, 3_000, 6_000][self.dice.below(8).saturating_sub(3)]
    }
}

/// The record with a tag that no other record of the history has.
fn numbered(record: Record, serial: u64, size: usize) -> Record {
    Record { tags: vec![format!("{serial}{}", "x".repeat(size)).into()], ..record }
}

fn waiter(n: u64) -> Waiter {
    Waiter {
        id: format!("host_{n}").into(),
        mark: Mark::from_u128(n.into()),
        session: Session::from_bytes([3; 32]),
        ticket: n,
        term: Term::Session,
        since: Wall::from_micros(n),
        tags: Vec::new(),
    }
}

/// Whether `record` is what was written, or that without its line.
fn is_of(record: &Record, event: &Event) -> bool {
    let Some(written) = &event.record else { return false };
    let cut = Record { queue: VecDeque::new(), ..written.clone() };
    record == written || *record == cut
}

/// Checks one lock after a cut that came when `steps` had been made.
fn check(folder: &Arc<Folder>, name: &'static str, events: &[Event], steps: usize) {
    let past: Vec<_> =
        events.iter().filter(|e| e.lock == name && e.began < steps).cloned().collect();
    let acknowledged = |e: &Event| e.acknowledged.is_some_and(|at| at <= steps);
    let floor = past.iter().rposition(|e| e.synced && acknowledged(e));
    let possible = &past[floor.unwrap_or(0)..];
    let token = past.iter().filter(|e| acknowledged(e)).filter_map(|e| e.record.as_ref());
    let token = token.map(|r| r.last_token).max().unwrap_or_default();

    let mut lock = lock_in(folder, name);
    let session = session_in(folder);
    let next = if let Some(mut guard) = lock.lock().unwrap() {
        let record = guard.read().unwrap().record;
        let written = possible.iter().any(|e| is_of(&record, e));
        assert!(written, "{name}: {record:?} is not one of {possible:?}");
        let next = guard.next_token().unwrap();
        guard.write(&held(next, session.session(), Term::Session), false).unwrap();
        next
    } else {
        let absent = floor.is_none() || possible.iter().any(|e| e.record.is_none());
        assert!(absent, "{name} is gone");
        let make = |token| held(token, session.session(), Term::Session);
        lock.create(&session, make).unwrap().unwrap().1.last_token
    };
    assert!(next > token, "{name}: token {next} after {token}");
    assert_eq!(lock.peek().unwrap().unwrap().record.last_token, next);
}

/// Writes a history, then cuts the power after each of its steps; returns how many there were.
fn cut_everywhere(seed: u64) -> usize {
    record::pretend_syncs();
    let scratch = Scratch::new();
    let folder = open_in(&scratch.path().join("store"), Some(1));
    let mut disk = Disk::of(folder.path());
    let mut author = Author::new(Arc::clone(&folder), seed);
    record::start();
    (0..CHANGES).for_each(|_| author.change());
    let steps = record::stop();
    let mut dice = Dice(seed);
    for (n, step) in steps.iter().enumerate() {
        disk.step(step);
        let left = scratch.path().join(format!("cut-{n}"));
        disk.cut(&mut dice, &left);
        examine(&left, &author.events, n + 1, &steps[..=n]);
        fs::remove_dir_all(left).unwrap();
    }
    steps.len()
}

fn examine(left: &Path, events: &[Event], steps: usize, history: &[Step]) {
    let checked = std::panic::catch_unwind(|| {
        let folder = open_in(left, Some(2));
        LOCKS.iter().for_each(|name| check(&folder, name, events, steps));
    });
    if let Err(cause) = checked {
        println!("cut after step {steps}, {:?}", history.last());
        std::panic::resume_unwind(cause);
    }
}

#[test]
fn no_power_cut_loses_a_durable_record_or_repeats_a_token() {
    for seed in 0..SEEDS {
        let cuts = cut_everywhere(seed);
        assert!(cuts >= 100, "seed {seed}: only {cuts} cuts");
    }
}

#[test]
fn a_cut_of_the_tokens_file_itself_never_sets_it_back() {
    record::pretend_syncs();
    let scratch = Scratch::new();
    let folder = open_in(&scratch.path().join("store"), Some(1));
    // Beyond the clock, which therefore cannot help.
    folder.tokens().raise_to(1 << 60).unwrap();
    let mut disk = Disk::of(folder.path());
    record::start();
    let mut given = Vec::new();
    for _ in 0..20 {
        given.push((record::len(), folder.tokens().next(Token::default(), false).unwrap()));
        folder.tokens().raise().unwrap();
    }
    let mut dice = Dice(9);
    for (n, step) in record::stop().iter().enumerate() {
        disk.step(step);
        let left = scratch.path().join(format!("cut-{n}"));
        disk.cut(&mut dice, &left);
        let next = open_in(&left, Some(2)).tokens().next(Token::default(), false).unwrap();
        let last = given.iter().rfind(|(at, _)| *at <= n + 1).unwrap().1;
        assert!(next > last, "after step {n}: {next} after {last}");
    }
}
