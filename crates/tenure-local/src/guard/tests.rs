//! The life of one lock's file: birth, changes, damage, deletion.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use tenure_core::{Record, Term, Token};

use crate::sys::record;
use crate::testing::{Scratch, held, lock_in, open_in, session_in};
use crate::{Error, Folder, LockFile, OwnSession, slots};

#[test]
fn a_record_is_created_read_changed_and_deleted() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder);
    let mut lock = lock_in(&folder, "a/b");
    assert!(lock.peek().unwrap().is_none());
    assert!(lock.lock().unwrap().is_none());
    let make = |token| held(token, session.session(), Term::Session);
    let (mut guard, record) = lock.create(&session, make).unwrap().unwrap();
    let first = record.last_token;
    assert_eq!(*guard.read().unwrap().record, record);
    let mut token = first;
    for synced in [false, false, true, false, true, true, false] {
        let before = guard.read().unwrap();
        assert!(!before.damaged && before.clock == folder.clock());
        let next = guard.next_token().unwrap();
        assert!(next > token);
        token = next;
        let record = make(token);
        let version = guard.write(&record, synced).unwrap();
        assert!(version.revision > before.version.revision);
        assert_eq!(version.incarnation, before.version.incarnation);
        let after = guard.read().unwrap();
        assert_eq!((after.record, after.version), (record.into(), version));
    }
    drop(guard);
    let old = lock.peek().unwrap().unwrap().version;
    lock.lock().unwrap().unwrap().delete().unwrap();
    assert!(lock.peek().unwrap().is_none());
    let (_, record) = lock.create(&session, make).unwrap().unwrap();
    assert!(record.last_token > token);
    let new = lock.peek().unwrap().unwrap().version;
    assert!(new.revision > old.revision && new.incarnation != old.incarnation);
}

#[test]
fn a_lock_that_came_and_went_while_another_one_was_born_keeps_its_token() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    // Far beyond the clock, which therefore cannot help.
    folder.tokens().raise_to(1 << 52).unwrap();
    let session = session_in(&folder);
    let mut other = None;
    let make = |token| {
        other.get_or_insert_with(|| {
            let make = |token| held(token, session.session(), Term::Session);
            let (_, record) = lock_in(&folder, "l").create(&session, make).unwrap().unwrap();
            // By hand, which raises nothing.
            fs::remove_file(folder.path().join("locks/l")).unwrap();
            record.last_token
        });
        held(token, session.session(), Term::Session)
    };
    let (_, record) = lock_in(&folder, "l").create(&session, make).unwrap().unwrap();
    assert!(record.last_token > other.unwrap(), "{other:?} {record:?}");
    assert_eq!(*lock_in(&folder, "l").peek().unwrap().unwrap().record, record);
}

#[test]
fn long_records_come_and_go() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder);
    let mut lock = lock_in(&folder, "long");
    let (guard, mut record) =
        lock.create(&session, |t| held(t, session.session(), Term::Session)).unwrap().unwrap();
    drop(guard);
    for len in [10, 950, 970, 5_000, 100, 4_000, 70_000, 9_000, 3, 70_001, 200_000] {
        record.tags = vec!["x".repeat(len).into()];
        let mut guard = lock.lock().unwrap().unwrap();
        guard.write(&record, len % 2 == 0).unwrap();
        drop(guard);
        assert_eq!(*lock_in(&folder, "long").peek().unwrap().unwrap().record, record, "{len}");
    }
    let size = fs::metadata(folder.path().join("locks/long")).unwrap().len();
    assert!(size < 2_000_000, "{size}");
}

#[test]
fn the_guard_excludes_and_is_given_back() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder);
    let mut lock = lock_in(&folder, "l");
    let make = |t| held(t, session.session(), Term::Session);
    drop(lock.create(&session, make).unwrap().unwrap());
    let adders = 4;
    std::thread::scope(|scope| {
        for _ in 0..adders {
            scope.spawn(|| {
                let mut lock = lock_in(&folder, "l");
                for _ in 0..200 {
                    let mut guard = lock.lock().unwrap().unwrap();
                    let mut record = guard.read().unwrap().record;
                    record.last_token = Token::new(record.last_token.get() + 1);
                    record.next_ticket += 1;
                    guard.write(&record, false).unwrap();
                }
            });
        }
    });
    assert_eq!(lock.peek().unwrap().unwrap().record.next_ticket, 1 + adders * 200);
}

/// A lock with one record, written by its creator.
fn born(folder: &Arc<Folder>, session: &OwnSession, name: &str) -> LockFile {
    let mut lock = lock_in(folder, name);
    lock.create(session, |t| held(t, session.session(), Term::Session)).unwrap().unwrap();
    lock
}

/// Takes a new hold; returns its token.
fn take(lock: &mut LockFile, session: &OwnSession) -> Token {
    let mut guard = lock.lock().unwrap().unwrap();
    let token = guard.next_token().unwrap();
    guard.write(&held(token, session.session(), Term::Session), false).unwrap();
    token
}

#[test]
fn only_one_of_many_creators_wins() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder);
    let winners = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let make = |t| held(t, session.session(), Term::Session);
                if lock_in(&folder, "l").create(&session, make).unwrap().is_some() {
                    winners.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(winners.load(Ordering::Relaxed), 1);
    assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 0);
}

#[test]
fn a_lock_deleted_by_hand_gets_later_tokens() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder);
    let mut lock = born(&folder, &session, "l");
    let tokens: Vec<_> = (0..50).map(|_| take(&mut lock, &session)).collect();
    fs::remove_file(folder.path().join("locks/l")).unwrap();
    assert!(lock.lock().unwrap().is_none() && lock.peek().unwrap().is_none());
    let mut lock = born(&folder, &session, "l");
    assert!(take(&mut lock, &session) > tokens[49]);
}

/// Has another process create the lock, use it and delete it again; returns its last token.
fn whole_life(folder: &Arc<Folder>, session: &OwnSession) -> Token {
    let mut lock = born(folder, session, "l");
    let last = (0..5).map(|_| take(&mut lock, session)).last().unwrap();
    lock.lock().unwrap().unwrap().delete().unwrap();
    last
}

#[test]
fn a_creator_overtaken_by_a_whole_life_of_the_lock_gets_a_later_token() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder);
    let mut overtaken = None;
    let mut lock = lock_in(&folder, "l");
    let make = |token| {
        overtaken = overtaken.or_else(|| Some(whole_life(&folder, &session)));
        held(token, session.session(), Term::Session)
    };
    let (guard, record) = lock.create(&session, make).unwrap().unwrap();
    drop(guard);
    assert!(record.last_token > overtaken.unwrap());
    assert_eq!(*lock.peek().unwrap().unwrap().record, record);
}

#[test]
fn a_creator_overtaken_and_then_killed_leaves_a_lock_with_later_tokens() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder);
    let (mut overtaken, mut stale) = (None, None);
    let mut lock = lock_in(&folder, "l");
    let make = |token| {
        stale = Some(scratch.open());
        overtaken = overtaken.or_else(|| Some(whole_life(&folder, &session)));
        // Creating, writing, syncing and renaming work; then comes the kill.
        record::fail(4, Errno::IO);
        held(token, session.session(), Term::Session)
    };
    let error = lock.create(&session, make).unwrap_err();
    record::heal();
    assert!(matches!(error, Error::NotDurable { .. }), "{error}");
    // Another process, which read the floor before, first joins the line and then takes the lock.
    let stale = stale.unwrap();
    let mut other = lock_in(&stale, "l");
    let mut guard = other.lock().unwrap().unwrap();
    let record = guard.read().unwrap().record;
    assert!(record.last_token < overtaken.unwrap());
    guard.write(&record, false).unwrap();
    drop(guard);
    assert!(take(&mut lock_in(&stale, "l"), &session) > overtaken.unwrap());
}

#[test]
fn a_damaged_slot_raises_the_floor_and_is_mended() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder);
    let mut lock = born(&folder, &session, "l");
    let stale = scratch.open();
    let last = (0..4).map(|_| take(&mut lock, &session)).last().unwrap();
    let newest = lock.peek().unwrap().unwrap();
    let path = folder.path().join("locks/l");
    let slot = (0..3).find(|i| {
        let bytes = fs::read(&path).unwrap();
        slots::Slot::decode(&bytes[i * 1024..]).good().unwrap().sequence == newest.version.revision
    });
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0; 512], slot.unwrap() as u64 * 1024).unwrap();

    let mut guard = lock.lock().unwrap().unwrap();
    let stored = guard.read().unwrap();
    assert!(stored.damaged && stored.record.last_token < last);
    // First something that begins no hold, then, by a process that knows an old floor, one. The
    // lost slot may have been the only durable one, so the first write is synced in any case.
    record::start();
    let version = guard.write(&stored.record, false).unwrap();
    assert!(matches!(record::stop().last(), Some(record::Step::Sync { .. })));
    assert!(version.revision > newest.version.revision);
    let stored = guard.read().unwrap();
    assert!(!stored.damaged && stored.version == version);
    drop(guard);
    assert!(take(&mut lock_in(&stale, "l"), &session) > last);
    assert!(lock.peek().unwrap().unwrap().version.revision > version.revision);
}

#[test]
fn a_damaged_record_is_refused_until_it_is_repaired() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder);
    let mut lock = born(&folder, &session, "a b");
    let last = take(&mut lock, &session);
    let path = folder.path().join("locks/a%20b");
    for damage in [&[][..], &[0; 3072], b"something else"] {
        fs::write(&path, damage).unwrap();
        let text = lock.peek().unwrap_err().to_string();
        assert!(text.contains("`tenure repair 'a b'`") && text.contains("a%20b"), "{text}");
        let mut guard = lock.lock().unwrap().unwrap();
        assert!(matches!(guard.read(), Err(Error::Damaged { .. })));
        assert!(matches!(guard.next_token(), Err(Error::Damaged { .. })));
        let record = Record::default();
        assert!(matches!(guard.write(&record, true), Err(Error::Damaged { .. })));
        drop(guard);
    }
    let mut guard = lock.lock().unwrap().unwrap();
    let version = guard.repair(Record::default()).unwrap();
    let stored = guard.read().unwrap();
    assert!(!stored.damaged && stored.version == version && stored.record.holder.is_none());
    assert!(guard.next_token().unwrap() > last);
    // What can be read is replaced like by any write.
    let again = guard.repair(Record::default()).unwrap();
    assert_eq!((again.incarnation, again.revision), (version.incarnation, version.revision + 1));
}

#[test]
fn a_full_disk_fails_the_change_and_nothing_else() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder);
    let long = |token, size| Record {
        tags: vec!["x".repeat(size).into()],
        ..held(token, session.session(), Term::Session)
    };
    let mut full = 0;
    for after in 0..12 {
        let name = format!("l{after}");
        let mut lock = lock_in(&folder, &name);
        record::fail(after, Errno::NOSPC);
        let created = lock.create(&session, |t| long(t, 0)).map(|made| made.is_some());
        record::heal();
        match created {
            Err(Error::Full { .. }) => {
                full += 1;
                assert!(lock.lock().unwrap().is_none());
                lock.create(&session, |t| long(t, 0)).unwrap().unwrap();
            }
            Err(Error::NotDurable { .. }) => {}
            other => assert!(other.unwrap()),
        }
        let mut guard = lock.lock().unwrap().unwrap();
        let before = guard.read().unwrap();
        record::fail(after, Errno::NOSPC);
        let token = guard.next_token();
        let written = token.and_then(|t| guard.write(&long(t, 3_000), false));
        record::heal();
        let stored = guard.read().unwrap();
        match written {
            Ok(version) => assert_eq!(stored.version, version),
            Err(Error::Full { .. }) => assert_eq!(stored.record, before.record),
            Err(e) => panic!("{e}"),
        }
        full += u32::from(stored.record == before.record);
        // There is still room for what needs none: giving the lock back.
        guard
            .write(&Record { last_token: stored.record.last_token, ..Record::default() }, false)
            .unwrap();
        assert!(guard.read().unwrap().record.holder.is_none());
    }
    assert!(full >= 6, "the disk was full only {full} times");
    // Removing failed as well, so that something was left over; the session's end takes it along.
    drop(session);
    assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 0);
}

#[test]
fn a_guard_that_is_not_given_back_names_its_process() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder);
    let mut lock = born(&folder, &session, "l");
    let guard = lock.lock().unwrap().unwrap();
    // Whoever asks again does not stop the whole machine's locks to learn a name.
    let mut other = lock_in(&folder, "l");
    let error = other.lock_within(Duration::from_millis(20)).unwrap_err();
    assert!(matches!(error, Error::Busy { by, .. } if by.is_empty()));
    let process = format!("process {}", std::process::id());
    assert_eq!(other.guard_owner(), process);
    let text = other.lock_within(Duration::from_secs(1)).unwrap_err().to_string();
    assert!(text.contains(&process) && text.contains("locks/l"), "{text}");
    drop(guard);
    lock_in(&folder, "l").lock_within(Duration::ZERO).unwrap().unwrap();
}

#[test]
fn a_lock_deleted_while_it_is_waited_for_is_absent() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder);
    let mut lock = born(&folder, &session, "l");
    let guard = lock.lock().unwrap().unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| lock_in(&folder, "l").lock().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(20));
        guard.delete().unwrap();
        assert!(waiter.join().unwrap());
    });
}

#[test]
fn readers_without_the_guard_see_whole_records_in_order() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder);
    let mut lock = born(&folder, &session, "l");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut last, mut seen) = (Token::default(), 0);
            let mut lock = lock_in(&folder, "l");
            while !done.load(Ordering::Relaxed) || seen == 0 {
                let stored = lock.peek().unwrap().unwrap();
                let expected = stored.record.last_token.get().to_string();
                assert!(stored.record.tags.first().is_none_or(|tag| tag.starts_with(&expected)));
                assert!(!stored.damaged && stored.record.last_token >= last);
                seen += u32::from(stored.record.last_token > last);
                last = stored.record.last_token;
            }
            seen
        });
        for n in 0..3_000 {
            let mut guard = lock.lock().unwrap().unwrap();
            let token = guard.next_token().unwrap();
            let tag = format!("{token}{}", "x".repeat([10, 900, 5_000][n % 3]));
            let record = held(token, session.session(), Term::Session);
            guard.write(&Record { tags: vec![tag.into()], ..record }, false).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 1);
    });
}

#[test]
fn a_stamp_keeps_its_clock_until_it_changes() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder);
    let lock = born(&folder, &session, "l");
    let later = open_in(folder.path(), Some(folder.clock().boot ^ 1));
    let mut other = lock_in(&later, lock.name().as_str());
    let mut guard = other.lock().unwrap().unwrap();
    let stored = guard.read().unwrap();
    assert_eq!(stored.clock, folder.clock());
    let mut record = stored.record;
    record.tags.push("carried along".into());
    guard.write(&record, false).unwrap();
    assert_eq!(guard.read().unwrap().clock, folder.clock());
    record.holder.as_mut().unwrap().stamp = later.now();
    guard.write(&record, false).unwrap();
    assert_eq!(guard.read().unwrap().clock, later.clock());
}

#[test]
fn a_file_whose_creator_was_killed_is_made_durable_before_what_is_in_it() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder);
    let make = |token| {
        // Creating, writing, syncing and renaming work; then comes the kill.
        record::fail(4, Errno::IO);
        held(token, session.session(), Term::Session)
    };
    assert!(lock_in(&folder, "l").create(&session, make).is_err());
    record::heal();
    let mut lock = lock_in(&folder, "l");
    take(&mut lock, &session);
    let mut syncs_the_folder = |synced| {
        let mut guard = lock.lock().unwrap().unwrap();
        let record = guard.read().unwrap().record;
        record::start();
        guard.write(&record, synced).unwrap();
        let steps = record::stop();
        steps.iter().any(|s| matches!(s, record::Step::SyncDir { path } if path == "locks"))
    };
    assert!(!syncs_the_folder(false));
    assert!(syncs_the_folder(true));
    assert!(!syncs_the_folder(true));
}
