//! Gates on what can be counted: writes, syncs and system calls of the embedded store.
//!
//! These hold on any machine, however slow or busy; times stand in `docs/bench.md`.
#![cfg(target_os = "linux")]

use std::path::Path;

use tenure_bench::count::{Calls, Trace, trace};
use tenure_bench::rows::counts::steady;

const ME: &str = env!("CARGO_BIN_EXE_tenure-bench");

/// Twenty times acquire and release of a lock that nobody else wants.
fn traced(durable: &str) -> Trace {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let url = format!("local:{}/store", dir.path().display());
    trace(Path::new(ME), &[ME, "child", "phases", &url, durable, "20"], &[]).expect("a trace")
}

fn check(calls: &Calls, syncs: usize) {
    assert_eq!(calls.writes(), 1, "one write: {calls}");
    assert_eq!(calls.syncs(), syncs, "{syncs} syncs: {calls}");
    assert!(calls.outside() - syncs <= 6, "at most 6 calls besides syncs: {calls}");
}

#[test]
fn an_uncontended_acquire_or_release_is_one_write_and_no_sync() {
    let (acquire, release) = steady(&traced("plain")).unwrap();
    check(&acquire, 0);
    check(&release, 0);
}

#[test]
fn a_durable_acquire_or_release_is_one_write_and_one_sync() {
    let (acquire, release) = steady(&traced("durable")).unwrap();
    check(&acquire, 1);
    check(&release, 1);
}

#[test]
fn a_trace_sees_what_a_command_and_its_children_do() {
    let count = |command: &[&str]| trace(Path::new(ME), command, &[]).unwrap();
    let one = count(&["sh", "-c", "echo x"]);
    assert_eq!(one.all().writes(), 1, "{}", one.all());
    let two = count(&["sh", "-c", "(echo x); sh -c 'echo y; echo z'; true"]);
    assert_eq!(two.all().writes(), 3, "{}", two.all());
    assert_eq!(two.own().writes(), 0, "{}", two.own());
}

#[test]
fn a_failing_command_is_told() {
    let error = trace(Path::new(ME), &["false"], &[]).unwrap_err().to_string();
    assert!(error.contains("exit code Some(1)"), "{error}");
}
