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
        self.load_into(&mut Image::default())
    }

    fn load_into(&self, image: &mut Image) -> Result<Loaded> {
        load_as(&self.file, Some("l"), image)
    }

    /// Checks what is read from the file as it is now; whether it could be read.
    fn check(&self, what: &str) -> bool {
        match self.load() {
            Ok(loaded) => {
                let record = loaded.stored.record;
                let age = self.records.iter().rev().position(|r| *r == *record);
                let age = age.unwrap_or_else(|| panic!("{what}: {record:?}"));
                assert!(age == 0 || loaded.stored.damaged, "{what}: {age} behind, unnoticed");
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

fn load_as(file: &OwnedFd, lock: Option<&str>, image: &mut Image) -> Result<Loaded> {
    let place = Place { folder: Path::new("/store"), file: c"locks/l", lock };
    load(file, place, &mut Buffers::default(), &mut Known::default(), usize::MAX, image)
}

#[test]
fn any_flipped_bit_is_survived() {
    for size in [20, 700, 1_500] {
        let sample = Sample::new(size);
        assert!(sample.check("as written") && !sample.load().unwrap().stored.damaged);
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
    let mut image = Image::default();
    let text = load_as(&sample.file, Some("m"), &mut image).unwrap_err().to_string();
    assert!(text.contains(r#"it is the record of "l", not of "m""#), "{text}");
}

#[test]
fn a_newer_format_is_refused_but_a_flipped_version_is_damage() {
    let sample = Sample::new(10);
    let mut slot = sample.bytes[..HEADER].to_vec();
    slot[8] = 3;
    assert!(sample.with(0, &slot, "a version that the checksum does not cover"));
    let sum = twox_hash::XxHash3_64::oneshot(&slot[..56]);
    slot[56..].copy_from_slice(&sum.to_le_bytes());
    fs::write(&sample.path, [&slot, &sample.bytes[HEADER..]].concat()).unwrap();
    let text = sample.load().unwrap_err().to_string();
    assert!(text.contains("written by a newer tenure: format 3, this one knows 2"), "{text}");
}

#[test]
fn a_body_too_long_is_refused_before_anything_is_written() {
    let sample = Sample::new(10);
    let mut image = Image::default();
    sample.load_into(&mut image).unwrap();
    let place = Place { folder: Path::new("/store"), file: c"locks/l", lock: Some("l") };
    let mut whole = vec![0; HEADER + BODY_MAX + 1];
    let error = write_slot(&sample.file, place, &mut image, 0, Header::default(), &mut whole);
    assert!(error.unwrap_err().to_string().contains("use fewer waiters or tags"));
    assert!(sample.check("untouched") && !sample.load().unwrap().stored.damaged);
}

/// The bytes of a file as `FORMAT.md` puts them, written here without any code of this crate.
fn by_the_book(sequence: u64, flags: u8, durable: u64, body: &[u8]) -> Vec<u8> {
    let sum = |bytes: &[u8]| twox_hash::XxHash3_64::oneshot(bytes).to_le_bytes();
    let mut slot = b"tenure-l\x01\x00".to_vec();
    slot.extend([flags, 0, u8::try_from(body.len()).unwrap(), 0, 0, 0]);
    slot.extend(sequence.to_le_bytes());
    slot.extend(durable.to_le_bytes());
    slot.extend([0; 16]);
    slot.extend(sum(body));
    slot.extend(sum(&slot));
    slot.extend(body);
    slot
}

#[test]
fn the_bytes_are_those_of_the_description() {
    let session = [9; 32];
    let body = [
        &[1, 2, 3, 4, 5, 6, 7, 8][..],       // incarnation
        b"\x01l",                            // name
        &[1, 0xAC, 0x02, 1],                 // next ticket, last token 300, held
        b"\x06host_1",                       // holder: id
        &[0x2C, 1, 0, 0, 0, 0, 0, 0],        // mark 300
        &[0; 8],                             //
        &[1],                                // session
        &session,                            //
        &[0xAC, 0x02, 1, 60, 0, 0, 1, 2, 3], // token, ttl 60 s, ticket, since, renewed, stamp
        &[7, 0, 0, 0, 0, 0, 0, 0],           // boot
        &[8, 0, 0, 0],                       // time namespace
        &[0],                                // queue
        &[1, 1, b't'],                       // tags
        &[0],                                // history
    ]
    .concat();
    let slot = by_the_book(1_000, 7, 1_000, &body);
    let mut bytes = slot.clone();
    bytes.resize(SLOT, 0);
    let bytes = bytes.repeat(SLOTS);

    let scratch = Scratch::new();
    let path = scratch.path().join("l");
    fs::write(&path, &bytes).unwrap();
    let file: OwnedFd = File::options().read(true).write(true).open(&path).unwrap().into();
    let loaded = load_as(&file, Some("l"), &mut Image::default()).unwrap();
    let term = Term::Ttl(Duration::from_secs(60));
    let held = held(Token::new(300), tenure_core::Session::from_bytes(session), term);
    assert_eq!(*loaded.stored.record, Record { tags: vec!["t".into()], ..held });
    assert_eq!(loaded.stored.version.revision, 1_000);
    let clock = crate::Clock { boot: 7, time_namespace: 8 };
    assert_eq!(loaded.stored.clock, clock);

    // And back: a new file, then a write into one of its slots.
    let mut encoded = Vec::new();
    codec::encode(loaded.incarnation, "l", clock, &loaded.stored.record, &mut encoded);
    assert_eq!(encoded, body);
    let new =
        File::options().read(true).write(true).create_new(true).open(path.with_extension("n"));
    let new = new.unwrap().into();
    let place = Place { folder: scratch.path(), file: c"l", lock: Some("l") };
    let mut image = write_new(&new, place, &encoded, 1_000).unwrap();
    assert_eq!(fs::read(path.with_extension("n")).unwrap(), bytes);
    let header = Header { sequence: 1_001, durable: 1_000, floor_due: true, ..Header::default() };
    let mut whole = [&[0; HEADER][..], &encoded].concat();
    write_slot(&new, place, &mut image, 2, header, &mut whole).unwrap();
    let written = fs::read(path.with_extension("n")).unwrap();
    assert_eq!(written[2 * SLOT..2 * SLOT + slot.len()], by_the_book(1_001, 2, 1_000, &body));
}
