//! Lines that come and go, and what is left of one that was damaged.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;
use tenure_core::{Mark, Record, Session, Term, Waiter, Wall};

use super::Line;
use crate::codec::{Log, Logged};
use crate::guard::{LockFile, Stored};
use crate::slots::{BODY_MAX, SLOT, Slot};
use crate::sys::record;
use crate::testing::{Scratch, held, lock_in, session_in};
use crate::{Error, Folder, OwnSession};

/// A lock's file with two handles, as two processes have them, and what must stand in it.
struct Lines {
    scratch: Scratch,
    folder: Arc<Folder>,
    _session: OwnSession,
    handles: [LockFile; 2],
    record: Record,
    next: u32,
}

fn waiter(n: u32) -> Waiter {
    let tags = (0..n % 4).map(|tag| "t".repeat((n + tag) as usize % 90).into()).collect();
    Waiter {
        id: format!("host_{n}").into(),
        mark: Mark::from_u128(u128::from(n)),
        session: Session::from_bytes([7; 32]),
        ticket: u64::from(n),
        term: Term::Session,
        since: Wall::from_micros(5),
        tags,
    }
}

impl Lines {
    fn new() -> Self {
        let scratch = Scratch::new();
        let folder = scratch.open();
        let session = session_in(&folder);
        let mut handles = [lock_in(&folder, "l"), lock_in(&folder, "l")];
        let make = |token| held(token, session.session(), Term::Session);
        let (guard, record) = handles[0].create(&session, make).unwrap().unwrap();
        drop(guard);
        Self { scratch, folder, _session: session, handles, record, next: 1 }
    }

    /// With so many waiters, who joined one after the other.
    fn with(count: u32) -> Self {
        let mut lines = Self::new();
        (0..count).for_each(|_| lines.join());
        lines
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("locks/l")
    }

    /// Changes the record after a look at the first `front` waiters, who are all that `change` may
    /// name; the same is done to what must stand there.
    fn change(&mut self, front: usize, synced: bool, change: impl Fn(&mut VecDeque<Waiter>)) {
        self.handles.reverse();
        let mut guard = self.handles[0].lock().unwrap().unwrap();
        let mut stored = guard.read_front(front).unwrap();
        assert!(!stored.damaged);
        change(&mut stored.record.queue);
        change(&mut self.record.queue);
        guard.write(&stored.record, synced).unwrap();
        guard.complete(&mut stored).unwrap();
        assert_eq!(*stored.record, self.record);
        guard.bring_back(stored);
    }

    fn join(&mut self) {
        let waiter = waiter(self.next);
        self.next += 1;
        self.change(usize::MAX, false, |queue| queue.push_back(waiter.clone()));
    }

    /// What a process reads that has not seen the file before.
    fn read(&self) -> Stored {
        lock_in(&self.folder, "l").peek().unwrap().unwrap()
    }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        (self.0 >> 33) as usize % n
    }
}

#[test]
fn whoever_joins_leaves_or_is_served_the_others_stand_as_they_did() {
    record::pretend_syncs();
    for seed in 0..12 {
        let (mut lines, mut dice) = (Lines::new(), Dice(seed));
        for step in 0..600 {
            let len = lines.record.queue.len();
            let crowd = [10, 60, 300][seed as usize % 3];
            match dice.below(12) {
                // One of the first is served: mostly the very first.
                0..=3 if len > 0 => {
                    let front = 1 + dice.below(3);
                    let at = dice.below(front.min(len)) * dice.below(2);
                    lines.change(front, dice.below(9) == 0, |queue| drop(queue.remove(at)));
                }
                4 if len > 0 => {
                    let (a, b) = (dice.below(len), dice.below(len));
                    lines.change(usize::MAX, false, |queue| {
                        let gone = [queue[a].mark, queue[b].mark];
                        queue.retain(|w| !gone.contains(&w.mark));
                    });
                }
                5 if dice.below(20) == 0 => lines.change(usize::MAX, true, VecDeque::clear),
                6 => lines.change(dice.below(3), false, |_| {}),
                _ if len < crowd => lines.join(),
                _ => {}
            }
            let (read, is) = (lines.read(), &lines.record);
            assert_eq!((&*read.record, read.damaged), (is, false), "seed {seed}, step {step}");
        }
    }
}

#[test]
fn a_line_that_never_ends_takes_no_more_room_with_time() {
    record::pretend_syncs();
    let mut lines = Lines::with(40);
    let size = |lines: &Lines| fs::metadata(lines.path()).unwrap().len();
    let mut sizes = Vec::new();
    for _ in 0..2_000 {
        lines.join();
        lines.change(1, false, |queue| drop(queue.pop_front()));
        sizes.push(size(&lines));
    }
    assert!(sizes[500..].iter().all(|size| *size == sizes[500]), "{sizes:?}");
    assert!(sizes[500] < 100_000, "{}", sizes[500]);
}

#[test]
fn a_hand_over_in_a_long_line_reads_and_writes_a_slot_and_little_more() {
    let mut lines = Lines::with(1_000);
    record::start();
    lines.change(1, false, |queue| drop(queue.pop_front()));
    let (writes, bytes) = written();
    assert!(writes == 1 && bytes <= 1_024, "{writes}, {bytes}");
    record::start();
    lines.join();
    let (writes, bytes) = written();
    assert!(writes == 2 && bytes <= 1_500, "{writes}, {bytes}");
}

/// How many writes were made since the start, and of how much.
fn written() -> (usize, usize) {
    let writes = record::stop().into_iter().filter_map(|step| match step {
        record::Step::Write { bytes, .. } => Some(bytes.len()),
        _ => None,
    });
    writes.fold((0, 0), |(writes, sum), len| (writes + 1, sum + len))
}

/// Of a damaged line nothing is taken for somebody who waits; the rest of the record stays.
#[test]
fn a_damaged_line_is_an_empty_one_and_damage() {
    let lines = Lines::with(30);
    let file = File::options().read(true).write(true).open(lines.path()).unwrap();
    let bytes = fs::read(lines.path()).unwrap();
    let mut noticed = 0;
    for at in 4_096..bytes.len() {
        file.write_all_at(&[bytes[at] ^ 1 << (at % 8)], at as u64).unwrap();
        let read = lines.read();
        if read.damaged {
            noticed += 1;
            assert_eq!(*read.record, Record { queue: VecDeque::new(), ..lines.record.clone() });
        } else {
            assert_eq!(*read.record, lines.record, "{at}");
        }
        // Who looks at the head alone sees the first one, or nobody.
        let mut other = lock_in(&lines.folder, "l");
        let head = other.lock().unwrap().unwrap().read_front(1).unwrap().record;
        assert!(head.queue.len() <= 1 && head.queue.iter().all(|w| *w == lines.record.queue[0]));
        file.write_all_at(&bytes[at..=at], at as u64).unwrap();
    }
    assert!(noticed >= 30 * 80, "{noticed}");
    assert_eq!(*lines.read().record, lines.record);
    drop(lines.scratch);
}

#[test]
fn a_damaged_line_can_be_joined_and_left_behind() {
    let mut lines = Lines::with(30);
    let file = File::options().write(true).open(lines.path()).unwrap();
    file.write_all_at(&[0; 12_000], 4_096).unwrap();
    let floor = lines.folder.tokens().fresh_floor().unwrap();
    let mut guard = lines.handles[0].lock().unwrap().unwrap();
    let mut record = guard.read().unwrap().record;
    assert!(record.queue.is_empty());
    record.queue.push_back(waiter(99));
    guard.write(&record, false).unwrap();
    drop(guard);
    let read = lines.read();
    assert_eq!((read.record, read.damaged), (record, false));
    assert!(lines.folder.tokens().fresh_floor().unwrap() > floor, "damage raises the floor");
}

/// The line that an older slot refers to may be gone; who holds the lock is still known.
#[test]
fn an_older_slot_outlives_its_line() {
    record::pretend_syncs();
    for joins in [0, 50, 120, 200] {
        let mut lines = Lines::with(20);
        for _ in 0..joins {
            lines.join();
            lines.change(1, false, |queue| drop(queue.pop_front()));
        }
        let (whole, bytes) = (lines.read(), fs::read(lines.path()).unwrap());
        let sequence = |i: &usize| Slot::decode(&bytes[i * SLOT..]).good().map(|h| h.sequence);
        let newest = (0..3).max_by_key(sequence).unwrap();
        let file = File::options().write(true).open(lines.path()).unwrap();
        file.write_all_at(&[0; 64], (newest * SLOT) as u64).unwrap();
        let older = lines.read();
        assert!(older.damaged && older.record.holder == whole.record.holder);
        assert!(older.version.revision < whole.version.revision);
    }
}

#[test]
fn who_has_not_seen_the_line_does_not_join_it() {
    let mut lines = Lines::with(30);
    let mut guard = lines.handles[0].lock().unwrap().unwrap();
    let mut record = guard.read_front(1).unwrap().record;
    record.queue.push_back(waiter(99));
    let refused = guard.write(&record, false).unwrap_err();
    assert!(refused.to_string().contains("cannot write"), "{refused}");
    drop(guard);
    assert_eq!(*lines.read().record, lines.record);
}

/// What is written to a full disk is not in the line, and what was there still is.
#[test]
fn a_line_survives_writes_that_fail() {
    record::pretend_syncs();
    for fails in 0..6 {
        for count in [3, 8, 30, 140] {
            let mut lines = Lines::with(count);
            let mut guard = lines.handles[0].lock().unwrap().unwrap();
            let mut longer = guard.read().unwrap().record;
            longer.queue.push_back(waiter(999));
            record::fail(fails, Errno::NOSPC);
            let written = guard.write(&longer, true);
            record::heal();
            drop(guard);
            let read = lines.read().record;
            let expected = if written.is_ok() { &longer } else { &lines.record };
            let there = matches!(written, Err(Error::NotDurable { .. })) && read == longer;
            assert!(there || *read == *expected, "{fails} {count}");
            // The next one is not misled by what was begun.
            lines.record = *read;
            lines.join();
            assert_eq!(*lines.read().record, lines.record);
        }
    }
}

/// Whoever is stopped between a line and the slot that refers to it changes nothing, wherever in its
/// regions the line is just then.
#[test]
fn a_line_that_no_slot_refers_to_yet_changes_nothing() {
    record::pretend_syncs();
    let mut lines = Lines::with(40);
    for round in 0..500 {
        let mut guard = lines.handles[0].lock().unwrap().unwrap();
        let mut other = guard.read().unwrap().record;
        if round % 2 == 0 {
            other.queue.extend((900..903).map(waiter));
        } else {
            other.queue.remove(20);
        }
        record::fail(1, Errno::NOSPC);
        assert!(guard.write(&other, false).is_err());
        record::heal();
        drop(guard);
        let read = lines.read();
        assert_eq!((&*read.record, read.damaged), (&lines.record, false), "round {round}");
        lines.join();
        // Who leaves from the middle moves the line to another place in its region.
        let at = if round % 7 == 0 { 20 } else { 0 };
        lines.change(usize::MAX, false, |queue| drop(queue.remove(at)));
    }
}

/// A power cut may bring back what stood in a region before: its head is not taken for the line's.
#[test]
fn an_earlier_line_is_never_taken_for_this_one() {
    let mut lines = Lines::with(26);
    let path = lines.path();
    let (region, before) = (4_096, fs::read(&path).unwrap());
    // All but one leave, and as many come, to where the others stood.
    lines.change(usize::MAX, false, |queue| queue.truncate(1));
    let others: Vec<_> = (27..52).map(waiter).collect();
    lines.change(usize::MAX, false, |queue| queue.extend(others.clone()));
    assert_ne!(fs::read(&path).unwrap()[region..], before[region..]);
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&before[region..], region as u64).unwrap();
    let mut other = lock_in(&lines.folder, "l");
    let mut guard = other.lock().unwrap().unwrap();
    for front in [1, usize::MAX] {
        let read = guard.read_front(front).unwrap();
        assert!(read.damaged && read.record.queue.is_empty(), "{front}: {:?}", read.record.queue);
    }
}

#[test]
fn a_line_ends_where_it_is_said_to() {
    let mut lines = Lines::with(30);
    let mut guard = lines.handles[0].lock().unwrap().unwrap();
    guard.read().unwrap();
    let (log, bytes) =
        (*guard.line().log(), fs::read(lines.folder.path().join("locks/l")).unwrap());
    let all = &bytes[log.line.at as usize..][..log.line.len];
    let read = |change: fn(&mut Logged), front: usize| {
        let mut log = log;
        change(&mut log.line);
        Line::decode(log, front.min(log.line.count), all).map(|(waiters, _)| waiters.len())
    };
    let count = log.line.count;
    assert_eq!(read(|_| {}, usize::MAX), Some(count));
    assert_eq!(read(|_| {}, 2), Some(2));
    assert_eq!(read(|line| line.count -= 1, usize::MAX), None);
    assert_eq!(read(|line| line.count += 1, usize::MAX), None);
    assert_eq!(read(|line| line.last ^= 1, usize::MAX), None);
    assert_eq!(read(|line| line.before ^= 1, 1), None);
}

/// On a full disk nobody can join a line that is to be longer than ever, but a lock must go on.
#[test]
fn whoever_leaves_or_is_served_needs_no_more_disk() {
    record::pretend_syncs();
    let (mut lines, mut dice) = (Lines::with(20), Dice(1));
    let size = |lines: &Lines| fs::metadata(lines.path()).unwrap().len();
    for _ in 0..300 {
        lines.join();
        lines.join();
        let before = size(&lines);
        // The first of them are stopped, and passed over.
        let passed = dice.below(9);
        lines.change(usize::MAX, false, |queue| drop(queue.remove(passed)));
        let len = lines.record.queue.len();
        if dice.below(3) == 0 {
            let gone = dice.below(len);
            lines.change(usize::MAX, false, |queue| drop(queue.remove(gone)));
        }
        assert_eq!(size(&lines), before, "{passed} of {len}");
    }
}

/// A line that no reader would take is not written: what is in the file stays readable.
#[test]
fn a_line_longer_than_a_reader_takes_is_refused() {
    record::pretend_syncs();
    let large = |n: u32| Waiter { tags: vec!["t".repeat(BODY_MAX / 4).into()], ..waiter(n) };
    for joined in [0, 30] {
        let mut lines = Lines::with(joined);
        let mut refused = false;
        for n in 900..905 {
            let mut guard = lines.handles[0].lock().unwrap().unwrap();
            let mut longer = guard.read().unwrap().record;
            longer.queue.push_back(large(n));
            match guard.write(&longer, false) {
                Ok(_) => lines.record = *longer,
                Err(Error::Invalid(_)) => refused = true,
                Err(e) => panic!("{e}"),
            }
            drop(guard);
            let read = lines.read();
            assert!(!read.damaged && *read.record == lines.record, "{joined}, {n}");
        }
        assert!(refused && lines.record.queue.len() >= 3 + joined as usize);
        // Who leaves and who is served still can.
        lines.change(1, false, |queue| drop(queue.pop_front()));
        lines.change(usize::MAX, false, |queue| drop(queue.remove(1)));
        lines.join();
    }
}

/// What a slot says of a line warrants no memory: only bytes that are there do.
#[test]
fn a_line_of_more_waiters_than_there_are_bytes_costs_nothing() {
    let line = Logged { count: usize::MAX, len: BODY_MAX, ..Logged::default() };
    let log = Log { line, ..Log::default() };
    assert!(Line::decode(log, usize::MAX, &[0; 64]).is_none());
}
