//! Ends that the disk refuses, and who is watched.

use std::time::Instant;

use rustix::io::Errno;
use tenure_core::Timing;

use super::*;
use crate::sys::record;
use crate::testing::{Scratch, lock_in, wait_until};
use crate::{Identity, LockName, Settings};

fn lock(folder: &Arc<crate::Folder>) -> Arc<LocalLock> {
    let store = Arc::new(LocalStore::in_folder(Arc::clone(folder)).unwrap());
    let (timing, tags) = (Timing::default(), Vec::new());
    let settings = Settings { id: "a".into(), timing, tags, durable: false };
    Arc::new(LocalLock::new(store, LockName::new("l").unwrap(), settings))
}

#[test]
fn one_who_ended_just_before_it_was_watched_is_looked_at_again_soon() {
    let scratch = Scratch::new();
    let mut claim = LocalClaim::new(&lock(&scratch.open()), Patience::Forever).unwrap();
    let own = Identity::of(claim.session.session());
    let ahead = Identity { start: own.start + 1, ..own }.session();
    let position = Position { ahead, next: true, ..Position::default() };
    claim.watch(&position, BACKSTOP);
    assert!(claim.wake_after().unwrap() <= LOOK_AGAIN.1);
    // Once: something may keep its session.
    claim.watch(&position, BACKSTOP);
    assert!(claim.wake_after().unwrap() > BACKSTOP / 2);
}

#[test]
fn a_drop_after_a_refused_release_returns_at_once_and_is_made_good() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let mut claim = LocalClaim::new(&lock(&folder), Patience::Forever).unwrap();
    assert!(matches!(claim.step().unwrap(), Some(Report::Acquired { .. })));
    record::fail(0, Errno::IO);
    assert!(claim.release().is_err());
    record::heal();
    let start = Instant::now();
    drop(claim);
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    let mut file = lock_in(&folder, "l");
    wait_until(|| file.peek().unwrap().unwrap().record.holder.is_none());
}

#[test]
fn what_a_refusing_disk_kept_in_the_record_ends_with_the_session_of_a_process_that_lives_on() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let mut holder = LocalClaim::new(&lock(&folder), Patience::Forever).unwrap();
    holder.step().unwrap();
    let mut waiter = LocalClaim::new(&lock(&folder), Patience::Forever).unwrap();
    waiter.step().unwrap();
    record::fail(0, Errno::IO);
    drop((waiter, holder));
    record::heal();
    let record = lock_in(&folder, "l").peek().unwrap().unwrap().record;
    assert_eq!((record.holder.is_some(), record.queue.len()), (true, 1));
    for _ in 0..2 {
        // The newcomer tidies up before it looks.
        let mut next = LocalClaim::new(&lock(&folder), Patience::Now).unwrap();
        let report = next.step();
        assert!(matches!(report, Ok(Some(Report::Acquired { .. }))), "{report:?}");
        assert!(lock_in(&folder, "l").peek().unwrap().unwrap().record.queue.is_empty());
    }
}

/// As of a process that took the lock and then ran another program in its place.
#[test]
fn a_holder_that_dropped_its_session_and_runs_on_is_noticed_at_the_second_look() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let mut holder = LocalClaim::new(&lock(&folder), Patience::Forever).unwrap();
    holder.step().unwrap();
    let mut waiter = LocalClaim::new(&lock(&folder), Patience::Forever).unwrap();
    waiter.step().unwrap();
    rustix::fs::flock(holder.session_fd(), rustix::fs::FlockOperation::Unlock).unwrap();
    let start = Instant::now();
    while !matches!(waiter.step().unwrap(), Some(Report::Acquired { .. })) {
        waiter.block().unwrap();
    }
    assert!(start.elapsed() < WATCHED + BACKSTOP, "{:?}", start.elapsed());
}

#[test]
fn a_wake_up_that_met_a_busy_guard_is_not_forgotten() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let mut holder = LocalClaim::new(&lock(&folder), Patience::Forever).unwrap();
    holder.step().unwrap();
    let mut waiter = LocalClaim::new(&lock(&folder), Patience::Forever).unwrap();
    waiter.step().unwrap();
    assert!(waiter.step().unwrap().is_none());
    holder.release().unwrap();
    let mut file = lock_in(&folder, "l");
    let guard = file.lock().unwrap();
    assert!(matches!(waiter.step_quickly().unwrap(), Quick::TakesLong));
    drop(guard);
    assert!(matches!(waiter.step().unwrap(), Some(Report::Acquired { .. })));
}

#[test]
fn a_wake_up_that_met_an_error_is_not_forgotten() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let mut holder = LocalClaim::new(&lock(&folder), Patience::Forever).unwrap();
    holder.step().unwrap();
    let mut waiter = LocalClaim::new(&lock(&folder), Patience::Forever).unwrap();
    waiter.step().unwrap();
    assert!(waiter.step().unwrap().is_none());
    holder.release().unwrap();
    let path = folder.path().join("locks/l");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, vec![0; whole.len()]).unwrap();
    assert!(waiter.step().is_err());
    std::fs::write(&path, whole).unwrap();
    assert!(matches!(waiter.step().unwrap(), Some(Report::Acquired { .. })));
}

#[test]
fn a_release_is_done_even_if_the_next_one_cannot_be_woken() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let mut holder = LocalClaim::new(&lock(&folder), Patience::Forever).unwrap();
    holder.step().unwrap();
    let mut waiter = LocalClaim::new(&lock(&folder), Patience::Forever).unwrap();
    waiter.step().unwrap();
    let pipes = folder.path().join("wait");
    let pipe = std::fs::read_dir(&pipes).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(&pipe).unwrap();
    std::fs::create_dir(&pipe).unwrap();
    assert_eq!(holder.release().unwrap(), Some(Report::Released { confirmed: true }));
    waiter.next_look = None;
    assert!(matches!(waiter.step().unwrap(), Some(Report::Acquired { .. })));
    std::fs::remove_dir(&pipe).unwrap();
}

#[test]
fn a_hold_whose_sync_failed_counts_only_once_it_was_written_and_synced_again() {
    let scratch = Scratch::new();
    let lock = lock(&scratch.open());
    let lock = Arc::new(lock.with(Settings { durable: true, ..lock.settings().clone() }));
    LocalClaim::new(&lock, Patience::Forever).unwrap().step().unwrap();
    let mut claim = LocalClaim::new(&lock, Patience::Forever).unwrap();
    // The write succeeds, its sync fails.
    record::fail(1, Errno::IO);
    let failed = claim.step();
    assert!(matches!(failed, Err(Error::NotDurable { .. })), "{failed:?}");
    // What is in the file is not believed while the disk still refuses.
    record::fail(0, Errno::IO);
    assert!(claim.step().is_err());
    record::heal();
    record::start();
    assert!(matches!(claim.step().unwrap(), Some(Report::Acquired { .. })));
    let steps = record::stop();
    let written = steps.iter().position(|s| matches!(s, record::Step::Write { .. })).unwrap();
    assert!(steps[written..].iter().any(|s| matches!(s, record::Step::Sync { .. })), "{steps:?}");
}

#[test]
fn who_meets_a_busy_guard_has_its_pipe_before_it_has_the_guard() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let mut holder = LocalClaim::new(&lock(&folder), Patience::Forever).unwrap();
    holder.step().unwrap();
    let pipes = || std::fs::read_dir(folder.path().join("wait")).unwrap().count();
    let mut file = lock_in(&folder, "l");
    let guard = file.lock().unwrap();
    let own = lock(&folder);
    let mut waiter = LocalClaim::new(&own, Patience::Forever).unwrap();
    assert!(waiter.step().unwrap().is_none() && waiter.claim.queued().is_none());
    assert_eq!(pipes(), 1);
    // And one without patience needs none.
    let own_too = lock(&folder);
    let mut passer = LocalClaim::new(&own_too, Patience::Now).unwrap();
    assert!(passer.step().unwrap().is_none());
    assert_eq!(pipes(), 1);
    drop(guard);
    std::thread::sleep(waiter.wake_after().unwrap());
    assert!(matches!(waiter.step().unwrap(), Some(Report::Waiting { .. })));
    assert_eq!(pipes(), 1, "the same one, under the mark in the line");
    holder.release().unwrap();
    assert!(matches!(waiter.step().unwrap(), Some(Report::Acquired { .. })));
    drop((waiter, own));
    assert_eq!(pipes(), 0);
}
