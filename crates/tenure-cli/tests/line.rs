//! Standing in line while others in it die or are stopped.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(target_os = "linux")]

mod common;

use std::time::{Duration, Instant};

use common::{Bench, Running, is_stopped, kill, until};
use rustix::process::Signal;

/// Processor time that a process has used so far.
fn used(running: &Running) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{}/schedstat", running.pid())).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// A waiter that works all the time uses more than a tenth of this, whatever else the machine does.
fn assert_rests(waiter: &Running) {
    std::thread::sleep(Duration::from_millis(300));
    let before = used(waiter);
    std::thread::sleep(Duration::from_secs(1));
    let used = used(waiter).checked_sub(before).unwrap();
    assert!(used < Duration::from_millis(40), "{used:?} of a second while it only waits");
}

fn wait(bench: &Bench, lock: &str, length: usize) -> Running {
    let waiter = bench.start(&["run", "--quiet", lock, "--", "true"]);
    bench.wait_for_queue(lock, length);
    waiter
}

#[test]
fn a_waiter_behind_a_killed_one_rests() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    let first = wait(&bench, "x", 1);
    let second = wait(&bench, "x", 2);
    first.signal(Signal::KILL);
    let _ = first.end();
    assert_rests(&second);
    holder.signal(Signal::TERM);
    assert_eq!(second.end().code, Some(0));
}

#[test]
fn a_waiter_behind_an_orphan_rests() {
    let bench = Bench::new();
    // What leaves the group keeps the lock, as documented.
    let script = "setsid sh -c 'echo $$; exec sleep 1000' & wait";
    let mut holder = bench.start(&["run", "x", "-c", script]);
    let orphan: i32 = holder.line().parse().unwrap();
    let waiter = wait(&bench, "x", 1);
    holder.signal(Signal::KILL);
    std::thread::sleep(Duration::from_millis(700));
    assert_rests(&waiter);
    kill(orphan, Signal::KILL);
    assert_eq!(waiter.end().code, Some(0));
}

#[test]
fn a_stopped_waiter_does_not_hide_the_holders_death() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    let first = wait(&bench, "x", 1);
    let second = wait(&bench, "x", 2);
    first.signal(Signal::STOP);
    until("it is stopped", || is_stopped(first.pid()));
    // Long enough for the second one to notice that.
    std::thread::sleep(Duration::from_millis(1500));
    holder.signal(Signal::KILL);
    let start = Instant::now();
    assert_eq!(second.end().code, Some(0));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    first.signal(Signal::CONT);
    assert_eq!(first.end().code, Some(0));
}
