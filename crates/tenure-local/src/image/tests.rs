//! Images of lock files with every kind of damage: what is read is always a record that was really
//! written, and whenever it is not the newest, the damage is reported.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use tenure_core::{Record, Term, Token};

use super::*;
use crate::testing::{Scratch, held, lock_in, session_in};

const SECTOR: usize = 512;

/// A lock's file whose three slots hold three different records, all of them held.
struct Sample {
    _scratch: Scratch,
    path: PathBuf,
    /// The same file, open: damage is written through it.
    file: OwnedFd,
    bytes: Vec<u8>,
    /// What was written, oldest first.
    records: Vec<Record>,
}

impl Sample {
    /// With records of about `size` bytes.
    fn new(size: usize) -> Self {
        let scratch = Scratch::new();
        let folder = scratch.open();
        let session = session_in(&folder);
        let mut lock = lock_in(&folder, "l");
        let make = |token: Token| {
            let tags = vec![format!("{}{}", token.get(), "x".repeat(size)).into()];
            Record { tags, ..held(token, session.session(), Term::Session) }
        };
        let (mut guard, record) = lock.create(&session, make).unwrap().unwrap();
        let mut records = vec![record];
        for synced in [true, false, false] {
            let record = make(guard.next_token().unwrap());
            guard.write(&record, synced).unwrap();
            records.push(record);
        }
        drop(guard);
        let path = folder.path().join("locks/l");
        let bytes = fs::read(&path).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let records = records.split_off(1);
        Self { _scratch: scratch, path, file: file.into(), bytes, records }
    }

    fn load(&self) -> Result<Loaded> {
        let place = Place { folder: Path::new("/store"), file: c"locks/l", lock: Some("l") };
        load(&self.file, place)
    }

    /// Checks what is read from the file as it is now; whether it could be read.
    fn check(&self, what: &str) -> bool {
        match self.load() {
            Ok(loaded) => {
                let record = loaded.stored.record;
                let age = self.records.iter().rev().position(|r| *r == record);
                let age = age.unwrap_or_else(|| panic!("{what}: {record:?}"));
                assert!(age == 0 || loaded.image.damaged, "{what}: {age} behind, unnoticed");
                true
            }
            Err(Error::Damaged { .. }) => false,
            Err(e) => panic!("{what}: {e}"),
        }
    }

    /// Puts `bytes` at `at`, checks, and puts back what was there.
    fn with(&self, at: usize, bytes: &[u8], what: &str) -> bool {
        let file = File::from(self.file.try_clone().unwrap());
        file.write_all_at(bytes, at as u64).unwrap();
        let read = self.check(what);
        file.write_all_at(&self.bytes[at..at + bytes.len()], at as u64).unwrap();
        read
    }
}

#[test]
fn any_flipped_bit_is_survived() {
    for size in [20, 700, 1_500] {
        let sample = Sample::new(size);
        assert!(sample.check("as written") && !sample.load().unwrap().image.damaged);
        for at in 0..sample.bytes.len() {
            for bit in 0..8 {
                let what = format!("bit {bit} of byte {at}, size {size}");
                assert!(sample.with(at, &[sample.bytes[at] ^ 1 << bit], &what), "{what}");
            }
        }
    }
}

#[test]
fn any_zeroed_or_garbled_sectors_are_noticed() {
    for size in [20, 700] {
        let sample = Sample::new(size);
        let garbage: Vec<u8> = (0..SECTOR).map(|i| (i * 37 % 251) as u8).collect();
        for fill in [&[0; SECTOR][..], &garbage] {
            for at in (0..FILE).step_by(SECTOR) {
                assert!(sample.with(at, fill, "one sector"));
            }
            for set in 0..1_u32 << (FILE / SECTOR) {
                let mut bytes = sample.bytes.clone();
                for i in (0..FILE / SECTOR).filter(|i| set & 1 << i != 0) {
                    bytes[i * SECTOR..(i + 1) * SECTOR].copy_from_slice(fill);
                }
                let read = sample.with(0, &bytes, &format!("sectors {set:b}"));
                // Headers stand in every second sector: with all of them gone nothing is left.
                assert!(set & 0b01_0101 != 0b01_0101 || !read);
            }
        }
    }
}

#[test]
fn any_truncation_is_noticed() {
    for size in [20, 700, 1_500] {
        let sample = Sample::new(size);
        for len in (0..sample.bytes.len()).rev() {
            sys::truncate(&sample.file, len as u64).unwrap();
            let read = sample.check(&format!("{len} bytes"));
            assert!(len >= HEADER || !read);
        }
        let text = sample.load().unwrap_err().to_string();
        let remedy = "`tenure repair l`";
        assert!(text.contains("the file is empty") && text.contains(remedy), "{text}");
    }
}

#[test]
fn an_exchange_of_slots_is_harmless() {
    let sample = Sample::new(100);
    for (from, to) in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)] {
        let slot = sample.bytes[from * SLOT..(from + 1) * SLOT].to_vec();
        let bytes = [&sample.bytes[..to * SLOT], &slot, &sample.bytes[(to + 1) * SLOT..]].concat();
        File::from(sample.file.try_clone().unwrap()).write_all_at(&bytes, 0).unwrap();
        let record = sample.load().unwrap().stored.record;
        assert!(sample.records.contains(&record));
    }
}

#[test]
fn a_record_of_another_lock_is_refused() {
    let sample = Sample::new(10);
    let place = Place { folder: Path::new("/store"), file: c"locks/m", lock: Some("m") };
    let text = load(&sample.file, place).unwrap_err().to_string();
    assert!(text.contains(r#"it is the record of "l", not of "m""#), "{text}");
}

#[test]
fn a_newer_format_is_refused_but_a_flipped_version_is_damage() {
    let sample = Sample::new(10);
    let mut slot = sample.bytes[..HEADER].to_vec();
    slot[8] = 2;
    assert!(sample.with(0, &slot, "a version that the checksum does not cover"));
    let sum = twox_hash::XxHash3_64::oneshot(&slot[..56]);
    slot[56..].copy_from_slice(&sum.to_le_bytes());
    fs::write(&sample.path, [&slot, &sample.bytes[HEADER..]].concat()).unwrap();
    let text = sample.load().unwrap_err().to_string();
    assert!(text.contains("written by a newer tenure: format 2, this one knows 1"), "{text}");
}

#[test]
fn a_body_too_long_is_refused_before_anything_is_written() {
    let sample = Sample::new(10);
    let mut image = sample.load().unwrap().image;
    let place = Place { folder: Path::new("/store"), file: c"locks/l", lock: Some("l") };
    let mut body = vec![0; BODY_MAX + 1];
    let error = write_slot(&sample.file, place, &mut image, 0, Header::default(), &mut body);
    assert!(error.unwrap_err().to_string().contains("use fewer waiters or tags"));
    assert!(sample.check("untouched") && !sample.load().unwrap().image.damaged);
}
