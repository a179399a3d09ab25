//! The life of one lock's file: birth, changes, damage, deletion.

use tenure_core::{Term, Token};

use crate::testing::{Scratch, held, lock_in, session_in};

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
    assert_eq!(guard.read().unwrap().record, record);
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
        assert_eq!((after.record, after.version), (record, version));
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
        assert_eq!(lock_in(&folder, "long").peek().unwrap().unwrap().record, record, "{len}");
    }
    let size = std::fs::metadata(folder.path().join("locks/long")).unwrap().len();
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
