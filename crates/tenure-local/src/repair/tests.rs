//! Damage in every form: cut anywhere, garbage, a power cut in the middle of the remedy.

use std::fs;

use proptest::prelude::*;
use tenure_core::Session;

use super::*;
use crate::crash::disk::{Dice, Disk};
use crate::sys::record;
use crate::testing::{Scratch, held, lock_in, open_in, session_in};

fn store(scratch: &Scratch) -> LocalStore {
    LocalStore::in_folder(scratch.open()).unwrap()
}

/// Makes the lock `l`, held; its token and its file.
fn make(store: &LocalStore) -> (Token, PathBuf) {
    let session = session_in(store.folder());
    let make = |token| held(token, Session::NONE, Term::Ttl(std::time::Duration::from_secs(60)));
    let mut lock = lock_in(store.folder(), "l");
    let (_, record) = lock.create(&session, make).unwrap().unwrap();
    (record.last_token, store.folder().path().join("locks/l"))
}

fn only(store: &LocalStore) -> Damage {
    let mut found = store.damages(None).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0).unwrap()
}

#[test]
fn a_file_cut_off_anywhere_is_listed_and_freed() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let (mut last, file) = make(&store);
    for length in (0..=64).chain([100]) {
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..length]).unwrap();
        let damage = only(&store);
        assert_eq!((damage.name.as_str(), &damage.path), ("l", &file));
        assert!(store.repair(&damage).unwrap());
        assert!(store.damages(None).unwrap().is_empty());
        assert!(!store.repair(&damage).unwrap(), "a healthy record is not touched");
        let mut lock = lock_in(store.folder(), "l");
        let mut guard = lock.lock().unwrap().unwrap();
        assert!(guard.read().unwrap().record.holder.is_none());
        let next = guard.next_token().unwrap();
        assert!(next > last, "{next} after {last}");
        last = next;
        guard.write(&held(next, Session::NONE, Term::Forever), true).unwrap();
    }
}

#[test]
fn what_can_be_read_is_told() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let (token, file) = make(&store);
    let mut bytes = fs::read(&file).unwrap();
    for slot in 0..SLOTS {
        bytes[slot * SLOT + 48] ^= 1;
    }
    fs::write(&file, &bytes).unwrap();
    let found = only(&store).salvage.unwrap();
    assert_eq!((found.lock.as_str(), found.holder.as_deref()), ("l", Some("host_1")));
    assert_eq!((found.token, found.free, found.pid), (Some(token), Some(false), None));
}

#[test]
fn one_that_was_deleted_or_renewed_meanwhile_is_left_alone() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let (_, file) = make(&store);
    let whole = fs::read(&file).unwrap();
    for name in ["l", "nobody~s"] {
        let file = file.with_file_name(name);
        fs::write(&file, "").unwrap();
        let damage = only(&store);
        fs::remove_file(&file).unwrap();
        assert!(!store.repair(&damage).unwrap());
        assert!(!file.exists());
    }
    fs::write(&file, "").unwrap();
    let damage = only(&store);
    fs::write(&file, &whole).unwrap();
    assert!(!store.repair(&damage).unwrap());
    assert_eq!(fs::read(&file).unwrap(), whole);
}

/// Whatever a cut leaves, the lock is still refused, or free with tokens above all before.
#[test]
fn a_power_cut_in_the_middle_frees_nothing_by_half() {
    record::pretend_syncs();
    for name in ["l", "a~b"] {
        let scratch = Scratch::new();
        let folder = open_in(&scratch.path().join("store"), Some(1));
        let store = LocalStore::in_folder(folder).unwrap();
        let (token, file) = make(&store);
        let file = file.with_file_name(name);
        fs::write(&file, "garbage").unwrap();
        let mut disk = Disk::of(store.folder().path());
        let damage = store.damages(None).unwrap().into_iter().flatten().next().unwrap();
        record::start();
        assert!(store.repair(&damage).unwrap());
        let steps = record::stop();
        assert!(steps.len() > 3);
        for (n, step) in steps.iter().enumerate() {
            disk.step(step);
            let left = scratch.path().join(format!("cut-{n}"));
            disk.cut(&mut Dice(n as u64), &left);
            let after = open_in(&left, Some(2));
            let there = left.join("locks").join(name).exists();
            match lock_in(&after, "l").peek() {
                Err(Error::Damaged { .. }) => assert!(there),
                Ok(None) => assert_ne!(name, "l"),
                Ok(Some(_)) => {
                    let mut lock = lock_in(&after, "l");
                    let next = lock.lock().unwrap().unwrap().next_token().unwrap();
                    assert!(next > token, "after step {n}: {next} after {token}");
                }
                Err(e) => panic!("{e}"),
            }
            fs::remove_dir_all(left).unwrap();
        }
    }
}

proptest! {
    /// Bytes that nobody wrote neither panic nor allocate without end.
    #[test]
    fn any_bytes_can_be_looked_through(bytes in prop::collection::vec(any::<u8>(), 0..4096), len: u32) {
        let mut bytes = bytes;
        if let Some(field) = bytes.get_mut(12..16) {
            field.copy_from_slice(&len.to_le_bytes());
        }
        for i in 0..SLOTS {
            let found = slot(&bytes, i).and_then(|(_, body)| codec::salvage(body));
            prop_assert!(found.is_none_or(|(name, _)| !name.is_empty()));
        }
    }
}
