//! Looks that see the head of a long line only, and lose nobody.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;
use tenure_core::{Mark, Patience, Record, Report, Session, Term, Timing, Waiter, Wall};

use crate::guard::Guard;
use crate::sys::record;
use crate::testing::{Scratch, held, lock_in, session_in};
use crate::{Folder, Identity, LocalClaim, LocalLock, LocalStore, LockName, OwnSession, Settings};

/// A waiter whose process is gone.
fn waiter(n: u32, like: Session) -> Waiter {
    let gone = Identity { start: Identity::of(like).start + 1, random: n, ..Identity::of(like) };
    Waiter {
        id: "host_2".into(),
        mark: Mark::from_u128(u128::from(n)),
        session: gone.session(),
        ticket: u64::from(n),
        term: Term::Session,
        since: Wall::from_micros(5),
        tags: Vec::new(),
    }
}

/// A held lock with `count` waiters that are gone.
fn crowded(folder: &Arc<Folder>, session: &OwnSession, count: u32) -> Record {
    let mut file = lock_in(folder, "l");
    let make = |token| held(token, session.session(), Term::Session);
    let (mut guard, mut record) = file.create(session, make).unwrap().unwrap();
    record.queue = (1..=count).map(|n| waiter(n, session.session())).collect();
    guard.write(&record, false).unwrap();
    record
}

#[test]
fn what_a_look_does_not_see_is_written_again_and_can_be_had() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder);
    let mut whole = crowded(&folder, &session, 100);
    let mut file = lock_in(&folder, "l");
    let mut guard = file.lock().unwrap().unwrap();
    let mut stored = guard.read_front(2).unwrap();
    assert!(!guard.is_whole() && stored.record.queue.len() == 2);
    for record in [&mut stored.record, &mut whole] {
        record.queue.pop_front();
        record.tags = vec!["x".into()];
    }
    guard.write(&stored.record, false).unwrap();
    guard.write(&stored.record, true).unwrap();
    assert_eq!(*lock_in(&folder, "l").peek().unwrap().unwrap().record, whole);
    guard.complete(&mut stored).unwrap();
    assert_eq!(*stored.record, whole);
    guard.write(&stored.record, false).unwrap();
    assert_eq!(*guard.read().unwrap().record, whole);
    // A short record is read whole, and so is one that became short.
    stored.record.queue.truncate(3);
    guard.write(&stored.record, false).unwrap();
    assert_eq!(guard.read_front(1).unwrap().record, stored.record);
    assert!(guard.is_whole());
}

/// After this went wrong a write on what was read before is refused, until all is read again.
fn refuses_after(goes_wrong: impl FnOnce(&mut Guard<'_>, &Record, &Path)) {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder);
    let whole = crowded(&folder, &session, 100);
    let mut file = lock_in(&folder, "l");
    let mut guard = file.lock().unwrap().unwrap();
    let head = guard.read_front(1).unwrap().record;
    goes_wrong(&mut guard, &head, &folder.path().join("locks/l"));
    assert!(guard.write(&head, false).is_err());
    assert_eq!(*guard.read().unwrap().record, whole);
    guard.write(&whole, false).unwrap();
    drop(guard);
    assert_eq!(*file.peek().unwrap().unwrap().record, whole);
}

#[test]
fn after_a_write_that_failed_nothing_is_written_over_those_who_were_not_seen() {
    refuses_after(|guard, head, _| {
        record::fail(0, Errno::IO);
        assert!(guard.write(head, false).is_err());
        record::heal();
    });
}

#[test]
fn after_a_look_that_failed_nothing_is_written_over_those_who_were_not_seen() {
    refuses_after(|guard, _, path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, vec![0; bytes.len()]).unwrap();
        assert!(guard.read_front(1).is_err());
        fs::write(path, bytes).unwrap();
    });
}

fn claim(folder: &Arc<Folder>) -> Box<LocalClaim> {
    let store = Arc::new(LocalStore::in_folder(Arc::clone(folder)).unwrap());
    let (timing, tags) = (Timing::default(), Vec::new());
    let settings = Settings { id: "a".into(), timing, tags, durable: false };
    let lock = Arc::new(LocalLock::new(store, LockName::new("l").unwrap(), settings));
    LocalClaim::new(&lock, Patience::Forever).unwrap()
}

#[test]
fn a_long_line_is_served_in_order_past_the_dead() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let session = session_in(&folder);
    let mut file = lock_in(&folder, "l");
    let mut holder = claim(&folder);
    assert!(matches!(holder.step().unwrap(), Some(Report::Acquired { .. })));
    let mut line: Vec<_> = (0..20).map(|_| claim(&folder)).collect();
    for claim in &mut line {
        assert!(matches!(claim.step().unwrap(), Some(Report::Waiting { .. })));
    }
    // Some that are gone: before the first who lives, and among those no look sees.
    let mut record = file.peek().unwrap().unwrap().record;
    for (n, place) in [(1, 12), (2, 12), (3, 5), (4, 0), (5, 0)] {
        record.queue.insert(place, waiter(n, session.session()));
    }
    file.lock().unwrap().unwrap().write(&record, false).unwrap();
    for (n, mut next) in line.into_iter().enumerate() {
        assert_eq!(holder.release().unwrap(), Some(Report::Released { confirmed: true }), "{n}");
        assert!(matches!(next.step().unwrap(), Some(Report::Acquired { .. })), "{n}");
        let record = file.peek().unwrap().unwrap().record;
        let live = record.queue.iter().filter(|waiter| &*waiter.id == "a").count();
        assert_eq!(live, 19 - n, "{n}");
        holder = next;
    }
    assert_eq!(holder.release().unwrap(), Some(Report::Released { confirmed: true }));
    assert_eq!(file.peek().unwrap().unwrap().record.queue.len(), 0);
}
