//! `tenure doctor` on a store of this machine.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::os::unix::fs::PermissionsExt as _;

use common::Bench;
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use serde_json::Value;

/// State and text of each finding, and the exit code.
fn found(bench: &Bench, store: &str) -> (Vec<[String; 3]>, Option<i32>) {
    let ran = bench.run(&["doctor", "--store", store, "--output", "json"]);
    assert_eq!(ran.stderr, "", "{store}");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap().iter();
    let findings = findings.map(|f| ["check", "state", "what"].map(|field| text(f, field)));
    (findings.collect(), ran.code)
}

fn is(findings: &[[String; 3]], expected: &[[&str; 3]]) {
    assert_eq!(findings.len(), expected.len(), "{findings:?}");
    for (finding, [check, state, says]) in findings.iter().zip(expected) {
        assert_eq!([&*finding[0], &*finding[1]], [*check, *state], "{findings:?}");
        assert!(finding[2].contains(says), "no `{says}` in {findings:?}");
    }
}

#[test]
fn a_store_is_looked_at_and_not_made() {
    let bench = Bench::new();
    let (findings, code) = found(&bench, &bench.url());
    is(&findings, &[["store", "note", "no store yet"]]);
    assert!(code == Some(0) && !bench.path("store").exists());

    let holder = bench.hold("x");
    assert_eq!(bench.run(&["run", "y", "--", "true"]).code, Some(0));
    let ran = bench.run(&["doctor"]);
    let ok = "  ok    store       locks can be kept here: 2 locks, 1 held";
    let begins = format!("Store {}\n\n{ok}\n\nClocks", bench.url());
    assert!(ran.code == Some(0) && ran.stdout.starts_with(&begins), "{ran:?}");
    drop(holder);
}

#[test]
fn what_no_lock_can_be_kept_in_is_told() {
    let bench = Bench::new();
    std::fs::write(bench.path("file"), "mine\n").unwrap();
    let open = bench.path("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    for (name, says) in [("file", "is not a folder"), ("open", "can be written by others")] {
        let (findings, code) = found(&bench, &format!("local:{}", bench.path(name).display()));
        is(&findings, &[["store", "bad", says]]);
        assert_eq!(code, Some(125), "{name}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_told() {
    let bench = Bench::new();
    assert_eq!(bench.run(&["run", "x", "--", "true"]).code, Some(0));
    let tokens = bench.path("store/tokens");
    std::fs::set_permissions(tokens, std::fs::Permissions::from_mode(0o400)).unwrap();
    let (findings, code) = bound_by_rights(|| found(&bench, &bench.url()));
    is(&findings, &[["store", "bad", "tokens: Permission denied"]]);
    assert_eq!(code, Some(125));
}

/// Runs `work` as one whom rights bind: what root starts from a thread without that right is bound.
fn bound_by_rights<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let bound = || {
        if rustix::process::geteuid().is_root() {
            remove_capability_from_bounding_set(CapabilitySet::DAC_OVERRIDE).unwrap();
        }
        work()
    };
    std::thread::scope(|scope| scope.spawn(bound).join().unwrap())
}

#[test]
fn each_record_that_cannot_be_read_is_told() {
    let bench = Bench::new();
    for lock in ["a", "b"] {
        assert_eq!(bench.run(&["run", lock, "--", "true"]).code, Some(0));
    }
    std::fs::write(bench.path("store/locks/b"), "garbage").unwrap();
    let (findings, code) = found(&bench, &bench.url());
    is(&findings, &[["store", "ok", ": 1 locks, 0 held"], ["record", "bad", "`tenure repair b`"]]);
    assert_eq!(code, Some(125));
}
