//! `tenure repair`: records that cannot be read.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use common::{Bench, Ran};
use rustix::process::Signal;

fn file(bench: &Bench, lock: &str) -> PathBuf {
    bench.path("store/locks").join(lock)
}

fn token(bench: &Bench, lock: &str) -> u64 {
    let ran = bench.run(&["run", "-n", lock, "-c", "echo $TENURE_TOKEN"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.stdout.trim().parse().unwrap()
}

/// Flips a bit of all three checksums of the headers, so that the rest can still be read.
fn damage(bench: &Bench, lock: &str) {
    let file = fs::File::options().read(true).write(true).open(file(bench, lock)).unwrap();
    for slot in 0..3 {
        let mut byte = [0];
        file.read_exact_at(&mut byte, slot * 1024 + 60).unwrap();
        file.write_all_at(&[byte[0] ^ 1], slot * 1024 + 60).unwrap();
    }
}

fn repair(bench: &Bench, args: &[&str]) -> Ran {
    bench.run(&[&["repair"], args].concat())
}

#[test]
fn where_nothing_is_damaged_nothing_is_done() {
    let bench = Bench::new();
    let ran = repair(&bench, &["--yes"]);
    assert!(ran.code == Some(0) && ran.stderr.contains("no store"), "{ran:?}");
    assert!(!bench.path("store").exists());
    token(&bench, "x");
    let before = fs::read(file(&bench, "x")).unwrap();
    for args in [&["--yes"][..], &["x", "--yes"], &["never", "--yes"], &[]] {
        let ran = repair(&bench, args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "nothing is damaged\n"), "{ran:?}");
    }
    assert_eq!(fs::read(file(&bench, "x")).unwrap(), before);
}

#[test]
fn it_lists_and_frees_only_when_told_to() {
    let bench = Bench::new();
    let mut last = 0;
    for lock in ["a", "b", "good"] {
        last = last.max(token(&bench, lock));
    }
    damage(&bench, "a");
    fs::write(file(&bench, "b"), "").unwrap();
    let before = ["a", "b", "good"].map(|lock| fs::read(file(&bench, lock)).unwrap());
    let ran = repair(&bench, &[]);
    assert_eq!(ran.code, Some(125), "{ran:?}");
    for part in [
        "lock    a\n",
        "damage  no slot is whole\n",
        "said    free; unverified\n",
        "lock    b\n",
        "damage  the file is empty\n",
        "said    nothing that can be read\n",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {ran:?}");
    }
    assert!(ran.stderr.contains("2 damaged records") && ran.stderr.contains("--yes"), "{ran:?}");
    assert!(!ran.stdout.contains("good"), "{ran:?}");
    assert_eq!(before, ["a", "b", "good"].map(|lock| fs::read(file(&bench, lock)).unwrap()));
    assert_eq!(bench.run(&["run", "-n", "a", "--", "true"]).code, Some(125), "still held");
    let ran = repair(&bench, &["--yes"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.stderr.contains("`a` was freed") && ran.stderr.contains("`b` was freed"),
        "{ran:?}"
    );
    assert_eq!(fs::read(file(&bench, "good")).unwrap(), before[2], "a healthy one is not touched");
    for lock in ["a", "b"] {
        let token = token(&bench, lock);
        assert!(token > last, "{lock}: {token} after {last}");
    }
    assert_eq!(repair(&bench, &[]).code, Some(0));
}

#[test]
fn one_lock_alone() {
    let bench = Bench::new();
    for lock in ["a", "b"] {
        token(&bench, lock);
        fs::write(file(&bench, lock), [0; 3072]).unwrap();
    }
    assert_eq!(repair(&bench, &["a", "--yes"]).code, Some(0));
    token(&bench, "a");
    assert_eq!(bench.run(&["show", "b"]).code, Some(125));
}

#[test]
fn a_holder_that_still_runs_is_named_and_learns_of_it() {
    let bench = Bench::new();
    let holder = bench.start(&["run", "--id", "me", "x", "--", "sleep", "1000"]);
    bench.wait_for_hold("x");
    let held = bench.show("x")["holders"][0]["token"].as_u64().unwrap();
    damage(&bench, "x");
    let ran = repair(&bench, &["x"]);
    assert_eq!(ran.code, Some(125));
    let says = format!("held by me, token {held}, since ");
    assert!(ran.stdout.contains(&says), "{ran:?}");
    assert!(ran.stdout.contains(&format!("pid {}, WHICH STILL RUNS", holder.pid())), "{ran:?}");
    assert_eq!(repair(&bench, &["x", "--yes"]).code, Some(0));
    let ran = holder.end();
    assert!(ran.code == Some(123) && ran.stderr.contains("lost lock `x`"), "{ran:?}");
    assert!(token(&bench, "x") > held);
}

#[test]
fn a_holder_that_has_ended_is_named_as_such() {
    let bench = Bench::new();
    let holder = bench.start(&["run", "--id", "me", "x", "--", "sleep", "1000"]);
    bench.wait_for_hold("x");
    let pid = holder.pid();
    holder.signal(Signal::KILL);
    let _ = holder.end();
    damage(&bench, "x");
    common::until("it has ended", || {
        repair(&bench, &["x"]).stdout.contains(&format!("pid {pid}, which has ended"))
    });
}

#[test]
fn a_copy_and_a_name_that_only_a_hash_is_left_of() {
    let bench = Bench::new();
    let long = "x".repeat(300);
    let last = token(&bench, "x").max(token(&bench, &long));
    fs::copy(file(&bench, "x"), file(&bench, "y")).unwrap();
    let hashed = fs::read_dir(bench.path("store/locks")).unwrap().flatten();
    let hashed = hashed.map(|e| e.path()).find(|p| p.to_string_lossy().contains('~')).unwrap();
    fs::write(&hashed, "garbage").unwrap();
    let ran = repair(&bench, &["--yes"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("it is the record of \"x\""), "{ran:?}");
    for lock in ["x", "y", &long] {
        assert!(token(&bench, lock) > last, "{lock}");
    }
    assert_eq!(repair(&bench, &[]).code, Some(0));
}

#[test]
fn a_record_of_a_newer_tenure_is_named_and_left_alone() {
    let bench = Bench::new();
    token(&bench, "new");
    token(&bench, "bad");
    // As a newer version would write it: its number, and the checksum that goes with it.
    let mut bytes = fs::read(file(&bench, "new")).unwrap();
    for slot in 0..3 {
        let header = &mut bytes[slot * 1024..slot * 1024 + 64];
        header[8] = 9;
        let sum = twox_hash::XxHash3_64::oneshot(&header[..56]);
        header[56..].copy_from_slice(&sum.to_le_bytes());
    }
    fs::write(file(&bench, "new"), &bytes).unwrap();
    fs::write(file(&bench, "bad"), "").unwrap();
    let ran = repair(&bench, &["--yes"]);
    assert_eq!(ran.code, Some(125), "{ran:?}");
    assert!(ran.stderr.contains("locks/new was written by a newer tenure"), "{ran:?}");
    assert_eq!(fs::read(file(&bench, "new")).unwrap(), bytes);
    token(&bench, "bad");
}

/// One slot that is not whole is mended by the next write: that is no case for an operator.
#[test]
fn a_record_that_can_still_be_read_is_left_alone() {
    let bench = Bench::new();
    token(&bench, "x");
    let written = fs::File::options().write(true).open(file(&bench, "x")).unwrap();
    written.write_all_at(b"garbage", 1024 + 70).unwrap();
    let before = fs::read(file(&bench, "x")).unwrap();
    let ran = repair(&bench, &["--yes"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "nothing is damaged\n"));
    assert_eq!(fs::read(file(&bench, "x")).unwrap(), before);
}
