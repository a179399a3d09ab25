//! A hold that is lost while its work runs: the work is ended, and the code says so.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(target_os = "linux")]

mod common;

use std::time::{Duration, Instant};

use common::{Bench, Running, runs, until};

/// Deletes the lock's record, as an operator who knows no better would.
fn delete_record(bench: &Bench, lock: &str) {
    let file = bench.path("store").join("locks").join(lock);
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_lost_hold_ends_the_work_with_123() {
    let bench = Bench::new();
    let line = "exec \"$TENURE\" run --status-fd 3 x -c 'echo up; exec sleep 1000' 3>events";
    let mut running = Running::of(&mut bench.sh(line));
    assert_eq!(running.line(), "up");
    delete_record(&bench, "x");
    let ran = running.end();
    assert_eq!(ran.code, Some(123), "{ran:?}");
    assert!(ran.stderr.starts_with("tenure: lost lock `x`: "), "{ran:?}");
    assert_eq!(ran.stderr.matches('\n').count(), 1, "{ran:?}");
    let events = bench.read("events");
    let order: Vec<&str> = events.lines().map(|l| l.split('"').nth(3).unwrap()).collect();
    assert_eq!(order, ["acquired", "lost", "stopping", "exited", "ended"], "{events}");
    assert!(events.contains("\"signal\":15"), "{events}");
    assert!(events.ends_with("\"outcome\":\"lost\",\"code\":123}\n"), "{events}");
}

#[test]
fn work_that_does_not_listen_is_killed_after_the_grace() {
    let bench = Bench::new();
    let line = "trap '' TERM; sleep 1000 & echo $!; wait; while :; do sleep 0.1; done";
    let mut running = bench.start(&["run", "--grace", "500ms", "x", "-c", line]);
    let grandchild: i32 = running.line().parse().unwrap();
    let start = Instant::now();
    delete_record(&bench, "x");
    let ran = running.end();
    assert_eq!(ran.code, Some(123), "{ran:?}");
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
    until("the whole group is gone", || !runs(grandchild));
}

#[test]
fn a_child_that_exits_well_after_the_loss_is_lost_all_the_same() {
    let bench = Bench::new();
    let line = "trap 'exit 0' TERM; echo up; while :; do sleep 0.02; done";
    let mut running = bench.start(&["run", "x", "-c", line]);
    assert_eq!(running.line(), "up");
    delete_record(&bench, "x");
    assert_eq!(running.end().code, Some(123));
}

#[test]
fn a_loss_seen_only_at_the_release_counts() {
    let bench = Bench::new();
    let ran = bench.run(&["run", "x", "-c", "rm store/locks/x"]);
    assert_eq!(ran.code, Some(123), "{ran:?}");
    assert!(ran.stderr.contains("lost lock `x` before the command ended"), "{ran:?}");
}
