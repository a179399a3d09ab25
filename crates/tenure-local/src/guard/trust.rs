//! What one handle knows of a record is never trusted over the file.
//!
//! A record that is brought back is exchanged for a forged one where it matters, so that it shows
//! whether it was taken or the bytes were read.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;
use tenure_core::{End, History, Past, Record, Term, Token, Wall};

use super::Stored;
use crate::crash::disk::Dice;
use crate::sys::record;
use crate::testing::{Scratch, held, lock_in, open_in, session_in};
use crate::{Error, Folder, LockFile, OwnSession, slots};

/// Handles on one lock, each as in a process of its own.
struct Handles {
    scratch: Scratch,
    folder: Arc<Folder>,
    session: OwnSession,
    a: LockFile,
    b: LockFile,
    serial: u64,
    /// What records remember of the lock in the random test.
    ended: History,
}

impl Handles {
    fn new() -> Self {
        let scratch = Scratch::new();
        let folder = scratch.open();
        let session = session_in(&folder);
        let other = open_in(&scratch.path().join("store"), None);
        let (mut a, b) = (lock_in(&folder, "l"), lock_in(&other, "l"));
        born(&mut a, &session);
        Self { scratch, folder, session, a, b, serial: 0, ended: History::default() }
    }

    fn path(&self) -> PathBuf {
        self.scratch.path().join("store/locks/l")
    }

    /// A record unlike every other, with a tag of this length.
    fn numbered(&mut self, size: usize) -> Record {
        self.serial += 1;
        let tag = format!("{}{}", self.serial, "x".repeat(size));
        Record { tags: vec![tag.into()], ..Record::default() }
    }

    /// Where the newest slot begins.
    fn newest(&self) -> u64 {
        let bytes = fs::read(self.path()).unwrap();
        let sequence =
            |i: &usize| slots::Slot::decode(&bytes[i * 1024..]).good().map(|h| h.sequence);
        (0..slots::SLOTS).max_by_key(sequence).unwrap() as u64 * 1024
    }

    fn slots_are_whole(&self) -> bool {
        let file = fs::read(self.path()).unwrap();
        (0..slots::SLOTS).all(|slot| {
            let at = slot * slots::SLOT;
            slots::Slot::decode(&file[at..]).good().is_some_and(|head| {
                let inline = (at + slots::HEADER) as u64;
                let body = if head.is_inline() { inline } else { head.area.offset } as usize;
                file.get(body..body + head.len as usize).is_some_and(|body| head.fits(body))
            })
        })
    }

    fn garble(&self, at: u64, len: usize) {
        let file = fs::File::options().write(true).open(self.path()).unwrap();
        file.write_all_at(&vec![0xa5; len], at).unwrap();
    }
}

fn born(lock: &mut LockFile, session: &OwnSession) {
    let make = |token| held(token, session.session(), Term::Session);
    drop(lock.create(session, make).unwrap().unwrap());
}

fn born_again(lock: &mut LockFile, session: &OwnSession) {
    lock.lock().unwrap().unwrap().delete().unwrap();
    born(lock, session);
}

/// What a process reads that knows nothing.
fn afresh(folder: &Arc<Folder>) -> Result<Stored, Error> {
    lock_in(folder, "l").lock().unwrap().unwrap().read()
}

/// Reads and brings back, as every look at a lock does.
fn read(lock: &mut LockFile) -> Stored {
    let mut guard = lock.lock().unwrap().unwrap();
    let stored = guard.read().unwrap();
    guard.bring_back(stored.clone());
    stored
}

fn write(lock: &mut LockFile, record: &Record, synced: bool) {
    let mut guard = lock.lock().unwrap().unwrap();
    let stored = guard.read().unwrap();
    let token = stored.record.last_token;
    let record = Record { last_token: token, ..record.clone() };
    let version = guard.write(&record, synced).unwrap();
    guard.bring_back(Stored { record: record.into(), version, ..stored });
}

fn forged() -> Record {
    Record { next_ticket: 99, ..Record::default() }
}

/// Whether the next reader of `lock` takes what it knows.
fn trusts(lock: &mut LockFile) -> bool {
    lock.known.forge(forged());
    let mut guard = lock.lock().unwrap().unwrap();
    guard.read().is_ok_and(|stored| *stored.record == forged())
}

#[test]
fn what_nobody_wrote_since_is_not_decoded_again() {
    let mut is = Handles::new();
    read(&mut is.a);
    assert!(trusts(&mut is.a));
    let record = is.numbered(3);
    write(&mut is.a, &record, false);
    assert!(trusts(&mut is.a));
    write(&mut is.a, &record, true);
    assert!(trusts(&mut is.a));
    // Another process that only looks changes nothing.
    read(&mut is.b);
    assert!(trusts(&mut is.a));
}

#[test]
fn what_another_handle_wrote_is_read() {
    let mut is = Handles::new();
    let record = is.numbered(3);
    for synced in [false, true, false, false, false] {
        write(&mut is.a, &record, synced);
        // The same record: only the header is another.
        write(&mut is.b, &record, synced);
        assert!(!trusts(&mut is.a));
        assert_eq!(read(&mut is.a), afresh(&is.folder).unwrap());
    }
}

#[test]
fn the_record_of_a_file_that_was_deleted_is_not_that_of_the_next() {
    let mut is = Handles::new();
    let before = read(&mut is.a);
    born_again(&mut is.b, &is.session);
    assert!(!trusts(&mut is.a));
    let after = read(&mut is.a);
    assert_eq!(after, afresh(&is.folder).unwrap());
    assert_ne!(after.version.incarnation, before.version.incarnation);
}

#[test]
fn damage_is_seen_through_what_is_known() {
    let mut is = Handles::new();
    let record = is.numbered(3);
    (0..3).for_each(|_| write(&mut is.a, &record, false));
    // In the header and behind it; a single byte is enough.
    for at in [0, 20, slots::HEADER as u64, slots::HEADER as u64 + 7] {
        write(&mut is.a, &record, false);
        let before = read(&mut is.a);
        is.garble(is.newest() + at, 1);
        assert!(!trusts(&mut is.a), "byte {at}");
        let after = read(&mut is.a);
        assert_eq!(after, afresh(&is.folder).unwrap());
        assert!(after.damaged && after.version.revision < before.version.revision);
    }
    // Damage of another slot is told, though the record is the one that is known.
    write(&mut is.a, &record, false);
    let before = read(&mut is.a);
    is.garble((is.newest() + 1024) % 3072, 1);
    assert_eq!(read(&mut is.a), Stored { damaged: true, ..before });
    for damage in [&[][..], &[0; 3072], b"something else"] {
        fs::write(is.path(), damage).unwrap();
        assert!(!trusts(&mut is.a));
        assert!(matches!(afresh(&is.folder), Err(Error::Damaged { .. })));
    }
}

/// Who has mended a slot knows no more headers than the one it wrote, and takes no zeros for the rest.
#[test]
fn slots_of_zeros_are_damage_also_beside_one_that_was_just_mended() {
    let mut is = Handles::new();
    let record = is.numbered(3);
    (0..3).for_each(|_| write(&mut is.a, &record, false));
    is.garble((is.newest() + 1024) % 3072, 1);
    write(&mut is.a, &record, false);
    let mended = is.newest();
    // What others write goes to the other slots, and is lost.
    let mut given = Vec::new();
    for _ in 0..2 {
        let mut guard = is.b.lock().unwrap().unwrap();
        guard.read().unwrap();
        let token = guard.next_token().unwrap();
        given.push(token);
        guard.write(&Record { last_token: token, ..record.clone() }, false).unwrap();
    }
    let file = fs::File::options().write(true).open(is.path()).unwrap();
    for slot in [0, 1024, 2048].into_iter().filter(|slot| *slot != mended) {
        file.write_all_at(&[0; 1024], slot).unwrap();
    }
    let fresh = afresh(&is.folder).unwrap();
    let mut guard = is.a.lock().unwrap().unwrap();
    let read = guard.read().unwrap();
    let token = guard.next_token().unwrap();
    assert!(given.iter().all(|before| token > *before), "{token:?} was given before: {given:?}");
    assert!(read.damaged);
    assert_eq!(read, fresh);
}

#[test]
fn a_slot_of_a_newer_format_is_refused_beside_a_record_that_is_known() {
    let mut is = Handles::new();
    let record = is.numbered(3);
    (0..3).for_each(|_| write(&mut is.a, &record, false));
    let before = read(&mut is.a);
    let bytes = fs::read(is.path()).unwrap();
    for slot in 0..3_usize {
        let mut newer = bytes.clone();
        let head = &mut newer[slot * 1024..][..slots::HEADER];
        head[8] = 3;
        let sum = twox_hash::XxHash3_64::oneshot(&head[..56]);
        head[56..].copy_from_slice(&sum.to_le_bytes());
        fs::write(is.path(), &newer).unwrap();
        for _ in 0..2 {
            let read = is.a.lock().unwrap().unwrap().read();
            assert!(matches!(read, Err(Error::NewerFormat { found: 3, .. })), "slot {slot}");
        }
        fs::write(is.path(), &bytes).unwrap();
        assert_eq!(read(&mut is.a), before);
    }
}

#[test]
fn a_restored_copy_is_read_as_it_is() {
    let mut is = Handles::new();
    let (first, second) = (is.numbered(3), is.numbered(3));
    write(&mut is.a, &first, false);
    let copy = fs::read(is.path()).unwrap();
    let then = read(&mut is.a);
    write(&mut is.a, &second, false);
    fs::write(is.path(), copy).unwrap();
    assert!(!trusts(&mut is.a));
    assert_eq!(read(&mut is.a), then);
}

#[test]
fn what_was_synced_before_an_older_copy_was_restored_is_not_durable() {
    let mut is = Handles::new();
    let record = is.numbered(3);
    (0..3).for_each(|_| write(&mut is.a, &record, true));
    let copy = fs::read(is.path()).unwrap();
    let restored = read(&mut is.a).version.revision;
    write(&mut is.a, &record, true);
    fs::write(is.path(), copy).unwrap();
    write(&mut is.a, &record, false);
    let bytes = fs::read(is.path()).unwrap();
    let head = *slots::Slot::decode(&bytes[is.newest() as usize..]).good().unwrap();
    assert!(!head.synced && head.sequence > restored);
    assert!(head.durable <= restored, "{head:?} says that itself is durable");
}

#[test]
fn who_fails_leaves_nothing_that_is_known() {
    let mut is = Handles::new();
    for after in 0..3 {
        for size in [3, 5_000] {
            let (record, failing) = (is.numbered(3), is.numbered(size));
            write(&mut is.a, &record, false);
            let mut guard = is.a.lock().unwrap().unwrap();
            guard.read().unwrap();
            record::fail(after, Errno::IO);
            let written = guard.write(&failing, true);
            record::heal();
            drop(guard);
            assert!(written.is_ok() || is.a.known.take(&[]).is_none());
            assert_eq!(read(&mut is.a), afresh(&is.folder).unwrap());
        }
    }
}

/// Damage takes what was written since the last sync, and then what was written after that.
#[test]
fn what_follows_a_lost_write_is_newer_than_any() {
    record::pretend_syncs();
    let mut is = Handles::new();
    // As if the clock had been set back: it helps no more.
    is.folder.tokens().raise_to(1 << 52).unwrap();
    born_again(&mut is.a, &is.session);
    let record = is.numbered(3);
    (0..3).for_each(|_| write(&mut is.a, &record, true));
    let (anchor, mut last) = (is.newest(), read(&mut is.a).version.revision);
    // Where it takes what one write was put beside it, the same newest is left as before.
    for writes in [600, 1, 1, 1, 2, 600, 1, 1] {
        for _ in 0..writes {
            write(&mut is.a, &record, false);
            let now = read(&mut is.b).version.revision;
            assert!(now > last, "{now} after {last}");
            last = now;
        }
        let others = (0..3).map(|slot| slot * 1024).filter(|at| *at != anchor);
        others.for_each(|at| is.garble(at, 64));
        assert_eq!(is.newest(), anchor);
        std::mem::swap(&mut is.a, &mut is.b);
    }
}

#[test]
fn any_history_is_read_as_by_one_who_knows_nothing() {
    record::pretend_syncs();
    for seed in 0..8 {
        let (mut is, mut dice) = (Handles::new(), Dice(seed));
        for step in 0..300 {
            act(&mut is, &mut dice);
            let fresh = afresh(&is.folder).unwrap();
            for lock in [&mut is.a, &mut is.b] {
                assert_eq!(read(lock), fresh, "seed {seed}, step {step}");
                // Twice, so that what was just brought back is met as well.
                assert_eq!(read(lock), fresh, "seed {seed}, step {step}");
            }
        }
    }
}

/// One of the handles writes, fails to, or deletes and creates the lock; or a slot is damaged.
fn act(is: &mut Handles, dice: &mut Dice) {
    for _ in 0..dice.below(3) {
        is.ended.push(Past {
            id: ["a", "b"][dice.below(2)].into(),
            token: Token::new(is.serial),
            ticket: 0,
            since: Wall::default(),
            until: Wall::default(),
            end: End::Released,
            reason: None,
        });
    }
    let history = is.ended.clone();
    let record = Record { history, ..is.numbered([0, 3, 600, 3_000][dice.below(4)]) };
    if dice.coin() {
        std::mem::swap(&mut is.a, &mut is.b);
    }
    match dice.below(8) {
        // One slot at a time: where none is left whole the lock is refused.
        0 if is.slots_are_whole() => {
            is.garble(dice.below(3) as u64 * 1024 + dice.below(200) as u64, 1);
        }
        1 => born_again(&mut is.a, &is.session),
        2 => {
            let mut guard = is.a.lock().unwrap().unwrap();
            guard.read().unwrap();
            record::fail(u32::try_from(dice.below(3)).unwrap(), Errno::NOSPC);
            // Whether it worked is what the next reader is to find out.
            let _ = guard.write(&record, dice.coin());
            record::heal();
        }
        _ => write(&mut is.a, &record, dice.coin()),
    }
}
