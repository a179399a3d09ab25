//! Detached holds: over processes, boots, time namespaces and power cuts.

use std::fs;
use std::path::Path;
use std::time::Instant;

use rustix::io::Errno;
use tenure_core::{Patience, Timing};

use super::*;
use crate::crash::disk::{Dice, Disk};
use crate::sys::record::{self, Step};
use crate::testing::{Scratch, lock_in, open_in, wait_until};
use crate::{Clock, Facts, Folder, LockName, Settings};

const LONG: Duration = Duration::from_secs(3600);

/// The lock `l`, as another process sees it.
fn lock(folder: &Arc<Folder>) -> Arc<LocalLock> {
    let store = Arc::new(LocalStore::in_folder(Arc::clone(folder)).unwrap());
    let (timing, tags) = (Timing::default(), Vec::new());
    let settings = Settings { id: "me".into(), timing, tags, durable: false };
    Arc::new(LocalLock::new(store, LockName::new("l").unwrap(), settings))
}

/// Takes the lock and leaves it behind for `ttl`.
fn leave(lock: &Arc<LocalLock>, ttl: Duration) -> HoldKey {
    let key = lock.store().hold_key().unwrap();
    let mut claim = LocalClaim::with_key(lock, Patience::Now, &key).unwrap();
    assert!(matches!(claim.step().unwrap(), Some(Report::Acquired { .. })));
    assert_eq!(claim.detach(ttl).unwrap(), Some(Report::Released { confirmed: true }));
    key
}

fn holder(folder: &Arc<Folder>) -> Option<Holder> {
    lock_in(folder, "l").peek().unwrap().unwrap().record.holder
}

/// Whether the lock is taken at once.
fn takes(lock: &Arc<LocalLock>) -> bool {
    let mut claim = LocalClaim::new(lock, Patience::Now).unwrap();
    matches!(claim.step().unwrap(), Some(Report::Acquired { .. }))
}

#[test]
fn a_key_is_read_as_it_was_written_and_nothing_else_is() {
    let key = HoldKey { start: u128::MAX - 3, boot: 0xab };
    let text = key.to_string();
    assert_eq!(text, "fffffffffffffffffffffffffffffffc00000000000000ab");
    assert!(text.parse::<HoldKey>().unwrap() == key);
    for bad in
        ["", &text[1..], &format!("{text}0"), &text.replace('a', "g"), &text.replace("00a", "+a0")]
    {
        assert!(bad.parse::<HoldKey>().is_err(), "{bad}");
    }
    assert!(!format!("{key:?}").contains("ff"), "a log is no place for it");
}

#[test]
fn a_key_knows_its_own_marks_and_no_others() {
    let scratch = Scratch::new();
    let store = LocalStore::in_folder(scratch.open()).unwrap();
    // Also where the marks go round the end of 128 bits.
    let keys = [store.hold_key().unwrap(), HoldKey { start: u128::MAX, boot: 1 }];
    for key in &keys {
        for _ in 0..100 {
            let mut marks = key.marks().unwrap();
            let all: Vec<Mark> = (0..100).map(|_| marks.draw()).collect();
            assert!(all.iter().all(|mark| key.made(*mark)));
            assert!(!key.made(store.marks().draw()));
            assert!(keys.iter().filter(|key| key.made(all[0])).count() == 1);
        }
        assert!(!key.made(Mark::from_u128(key.start)));
    }
}

#[test]
fn whoever_has_the_key_renews_and_releases() {
    let scratch = Scratch::new();
    let (first, later) = (scratch.open(), scratch.open());
    let key = leave(&lock(&first), LONG);
    let left = holder(&later).unwrap();
    assert_eq!(left.term, Term::Ttl(LONG));
    let done = Kept::Done { token: left.token };
    assert_eq!(lock(&later).renew_detached(&key, None).unwrap(), done);
    let renewed = holder(&later).unwrap();
    assert!(renewed.stamp > left.stamp && renewed.mark != left.mark && renewed.term == left.term);
    let short = Duration::from_secs(60);
    assert_eq!(lock(&later).renew_detached(&key, Some(short)).unwrap(), done);
    assert_eq!(holder(&later).unwrap().term, Term::Ttl(short));
    assert!(!takes(&lock(&first)));
    let other = lock(&later).store().hold_key().unwrap();
    let lost = Kept::Lost(Cause::Replaced { by: "me".into() });
    assert_eq!(lock(&later).renew_detached(&other, None).unwrap(), lost);
    assert_eq!(lock(&later).release_detached(&other).unwrap(), lost);
    assert_eq!(lock(&later).release_detached(&key).unwrap(), done);
    assert_eq!(lock(&later).release_detached(&key).unwrap(), Kept::Lost(Cause::Freed));
    assert!(takes(&lock(&first)));
    let history = lock_in(&first, "l").peek().unwrap().unwrap().record.history;
    let past = history.iter().next().unwrap();
    assert_eq!((past.end, past.token), (End::Released, left.token));
}

#[test]
fn the_end_is_the_same_for_the_holder_and_for_the_next() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let ttl = Duration::from_millis(40);
    let key = leave(&lock(&folder), ttl);
    let end = holder(&folder).unwrap().stamp.after(ttl);
    loop {
        let before = folder.now();
        let taken = takes(&lock(&folder));
        if taken {
            assert!(folder.now() >= end);
            break;
        }
        assert!(before < end, "not taken although it is over");
    }
    assert_eq!(lock(&folder).renew_detached(&key, None).unwrap(), Kept::Lost(Cause::Freed));
    // And where nobody took it.
    let key = leave(&lock(&folder), ttl);
    let end = holder(&folder).unwrap().stamp.after(ttl);
    wait_until(|| folder.now() >= end);
    let lost = Kept::Lost(Cause::Deadline);
    assert_eq!(lock(&folder).renew_detached(&key, None).unwrap(), lost);
    assert!(holder(&folder).is_some());
    assert_eq!(lock(&folder).release_detached(&key).unwrap(), lost);
    assert!(holder(&folder).is_none());
}

#[test]
fn an_acquire_that_died_before_it_left_the_hold_is_undone() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let lock_of_dead = lock(&folder);
    let key = lock_of_dead.store().hold_key().unwrap();
    let mut claim = LocalClaim::with_key(&lock_of_dead, Patience::Now, &key).unwrap();
    assert!(matches!(claim.step().unwrap(), Some(Report::Acquired { .. })));
    let error = lock(&scratch.open()).release_detached(&key).unwrap_err().to_string();
    assert!(error.contains("still runs"), "{error}");
    // As after its death: its session's file is there, and nobody has it locked.
    rustix::fs::flock(claim.session_fd(), rustix::fs::FlockOperation::Unlock).unwrap();
    assert_eq!(lock(&folder).renew_detached(&key, None).unwrap(), Kept::Never);
    assert_eq!(lock(&folder).release_detached(&key).unwrap(), Kept::Never);
    assert!(holder(&folder).is_none());
}

#[test]
fn one_that_could_not_leave_its_hold_behind_gives_it_back_at_once() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let lock = lock(&folder);
    let key = lock.store().hold_key().unwrap();
    let mut claim = LocalClaim::with_key(&lock, Patience::Now, &key).unwrap();
    assert!(matches!(claim.step().unwrap(), Some(Report::Acquired { .. })));
    record::fail(0, Errno::IO);
    assert!(claim.detach(LONG).is_err());
    record::heal();
    // A thread goes on to leave it behind.
    drop(claim);
    let kept = lock.release_detached(&key);
    assert!(matches!(kept, Ok(Kept::Never | Kept::Done { .. })), "{kept:?}");
    assert!(holder(&folder).is_none());
    // Nor does that thread take it again.
    std::thread::sleep(Duration::from_millis(100));
    assert!(holder(&folder).is_none());
}

#[test]
fn after_a_restart_it_is_lost_to_its_holder_and_counts_anew_for_the_next() {
    let scratch = Scratch::new();
    let path = scratch.path().join("store");
    let ttl = Duration::from_millis(150);
    let before = open_in(&path, Some(1));
    let key = leave(&lock(&before), ttl);
    wait_until(|| before.now().since(holder(&before).unwrap().stamp) > ttl);
    // Over by its stamp, which says nothing here.
    let after = open_in(&path, Some(2));
    assert_eq!(lock(&after).renew_detached(&key, None).unwrap(), Kept::Restarted);
    record::start();
    let start = Instant::now();
    assert!(!takes(&lock(&after)), "its ttl counts anew");
    let steps = record::stop();
    assert!(is_synced(&steps), "what was seen first is written down: {steps:?}");
    // The next process goes on counting where the first one began.
    wait_until(|| takes(&lock(&open_in(&path, Some(2)))));
    assert!(start.elapsed() >= ttl && start.elapsed() < ttl * 4, "{:?}", start.elapsed());
    // Its holder gives back what is left of another one.
    let key = leave(&lock(&before), LONG);
    assert_eq!(lock(&after).release_detached(&key).unwrap(), Kept::Restarted);
    assert!(holder(&after).is_none());
}

#[test]
fn in_another_time_namespace_the_mark_alone_decides() {
    let scratch = Scratch::new();
    let path = scratch.path().join("store");
    let here = open_in(&path, None);
    let clock = Clock { time_namespace: 7, ..here.clock() };
    let there = Folder::open_as(Some(&path), Facts { clock }, LONG).unwrap();
    let ttl = Duration::from_millis(80);
    let key = leave(&lock(&here), ttl);
    let end = holder(&here).unwrap().stamp.after(ttl);
    wait_until(|| here.now() > end);
    // There the stamp means nothing, so it is not over; the renewal has a stamp of that clock.
    assert!(matches!(lock(&there).renew_detached(&key, None).unwrap(), Kept::Done { .. }));
    // And here that one means nothing: it must be seen unchanged for its ttl.
    let mut claim = LocalClaim::new(&lock(&here), Patience::Forever).unwrap();
    let start = Instant::now();
    while !matches!(claim.step().unwrap(), Some(Report::Acquired { .. })) {
        claim.block().unwrap();
    }
    assert!(start.elapsed() >= ttl, "{:?}", start.elapsed());
}

#[test]
fn a_shortened_hold_wakes_the_first_in_line() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let key = leave(&lock(&folder), LONG);
    let mut claim = LocalClaim::new(&lock(&folder), Patience::Forever).unwrap();
    while claim.step().unwrap().is_some() {}
    let start = Instant::now();
    let ttl = Duration::from_millis(50);
    assert!(matches!(lock(&folder).renew_detached(&key, Some(ttl)).unwrap(), Kept::Done { .. }));
    while !matches!(claim.step().unwrap(), Some(Report::Acquired { .. })) {
        claim.block().unwrap();
    }
    assert!(start.elapsed() < Duration::from_millis(600), "{:?}", start.elapsed());
}

/// Whether the last write is followed by a sync.
fn is_synced(steps: &[Step]) -> bool {
    let last = steps.iter().rposition(|step| matches!(step, Step::Write { .. }));
    let behind = last.map(|at| &steps[at..]);
    behind.is_some_and(|steps| steps.iter().any(|step| matches!(step, Step::Sync { .. })))
}

#[test]
fn a_refused_sync_is_an_error_and_no_renewal_or_release_is_forgotten() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let lock = lock(&folder);
    let key = leave(&lock, LONG);
    // The write succeeds, its sync fails.
    record::fail(1, Errno::IO);
    assert!(matches!(lock.renew_detached(&key, None), Err(Error::NotDurable { .. })));
    record::heal();
    assert!(matches!(lock.renew_detached(&key, None).unwrap(), Kept::Done { .. }));
    record::fail(1, Errno::IO);
    let failed = lock.release_detached(&key);
    record::heal();
    assert!(failed.is_err(), "{failed:?}");
}

/// After every step of two holds, their renewals and releases: what was acknowledged is there.
#[test]
fn no_power_cut_forgets_what_was_acknowledged() {
    record::pretend_syncs();
    let scratch = Scratch::new();
    let folder = open_in(&scratch.path().join("store"), Some(1));
    let lock_now = lock(&folder);
    let mut disk = Disk::of(folder.path());
    record::start();
    // Steps at which something was acknowledged, and the hold's term and token from then on.
    let mut acknowledged: Vec<(usize, Option<(Term, Token)>)> = Vec::new();
    let note = |all: &mut Vec<_>| {
        let held = holder(&folder).map(|h| (h.term, h.token));
        all.push((record::len(), held));
    };
    for round in 1..=2 {
        let key = leave(&lock_now, LONG);
        note(&mut acknowledged);
        for minutes in [3_u64, 500, 7] {
            let ttl = Duration::from_secs(minutes * 60 * round);
            assert!(matches!(lock_now.renew_detached(&key, Some(ttl)).unwrap(), Kept::Done { .. }));
            note(&mut acknowledged);
        }
        assert!(matches!(lock_now.release_detached(&key).unwrap(), Kept::Done { .. }));
        note(&mut acknowledged);
    }
    let steps = record::stop();
    assert!(steps.len() > 20, "{}", steps.len());
    for (n, step) in steps.iter().enumerate() {
        disk.step(step);
        let left = scratch.path().join(format!("cut-{n}"));
        disk.cut(&mut Dice(n as u64), &left);
        examine(&left, n + 1, &acknowledged);
        fs::remove_dir_all(left).unwrap();
    }
}

fn examine(left: &Path, steps: usize, acknowledged: &[(usize, Option<(Term, Token)>)]) {
    let Some(last) = acknowledged.iter().rposition(|(at, _)| *at <= steps) else { return };
    let after = open_in(left, Some(2));
    let found = holder(&after).map(|h| (h.term, h.token));
    // The last that was acknowledged, or one that was under way.
    let (_, known) = acknowledged[last];
    let next = acknowledged.get(last + 1).map(|(_, next)| *next);
    let under_way = found.is_some_and(|(term, _)| term == Term::Session);
    assert!(
        found == known || Some(found) == next || under_way,
        "after step {steps}: {found:?}, not {known:?} or {next:?}"
    );
}
