//! `tenure wait`: until a lock is free, woken and without taking it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::time::{Duration, Instant};

use common::{Bench, Running, until};
use rustix::process::Signal;

/// Well below the second after which it would look by itself.
const WOKEN: Duration = Duration::from_millis(500);

/// Waits until it looks on: it has said so.
fn onlooker(bench: &Bench) -> Running {
    let mut command = bench.sh("exec 2>&1; exec \"$TENURE\" wait x");
    let mut running = Running::of(&mut command);
    let line = running.line();
    assert!(line.starts_with("tenure: waiting until `x` is free: held "), "{line}");
    running
}

/// It ends with 0, soon after `then`.
fn woken(bench: &Bench, then: impl FnOnce()) {
    let onlooker = onlooker(bench);
    let start = Instant::now();
    then();
    let ran = onlooker.end();
    let took = start.elapsed();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:?}");
    assert!(took < WOKEN, "woken after {took:?}");
}

#[test]
fn what_is_free_is_not_waited_for() {
    let bench = Bench::new();
    assert_eq!(bench.run(&["wait", "x"]).code, Some(0));
    assert!(!bench.path("store").exists(), "looking makes no store");
    assert_eq!(bench.run(&["run", "y", "--", "true"]).code, Some(0));
    assert_eq!(bench.run(&["wait", "x"]).code, Some(0), "never taken");
    let ran = bench.run(&["wait", "-n", "y"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "", ""));
}

#[test]
fn it_is_woken_by_a_release_and_takes_nothing() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    let before = bench.show("x");
    woken(&bench, || {
        assert_eq!(bench.show("x")["queue"].as_array().unwrap().len(), 0, "not in line");
        holder.signal(Signal::TERM);
    });
    let after = bench.show("x");
    assert_eq!(after["state"], "free");
    assert_eq!(after["history"][0]["token"], before["holders"][0]["token"], "nobody held since");
}

#[test]
fn it_is_woken_by_the_release_of_a_detached_hold_and_by_its_end() {
    let bench = Bench::new();
    assert_eq!(bench.run(&["acquire", "x", "--ttl", "1h", "--hold", "h"]).code, Some(0));
    woken(&bench, || assert_eq!(bench.run(&["release", "--hold", "h"]).code, Some(0)));
    assert_eq!(bench.run(&["acquire", "x", "--ttl", "1h", "--hold", "h"]).code, Some(0));
    woken(&bench, || {
        assert_eq!(bench.run(&["renew", "--hold", "h", "--ttl", "100ms"]).code, Some(0));
    });
    assert_eq!(bench.run(&["wait", "-n", "x"]).code, Some(0));
}

#[test]
fn it_is_woken_by_the_death_of_the_holder() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    woken(&bench, || holder.signal(Signal::KILL));
}

#[test]
fn it_is_woken_by_the_deletion_of_the_lock() {
    let bench = Bench::new();
    let _holder = bench.hold("x");
    woken(&bench, || std::fs::remove_file(bench.path("store/locks/x")).unwrap());
}

#[test]
fn a_lock_that_is_handed_over_is_not_free() {
    let bench = Bench::new();
    let first = bench.hold("x");
    let mut second = bench.start(&["run", "-q", "x", "-c", "echo up; exec sleep 1000"]);
    bench.wait_for_queue("x", 1);
    let onlooker = onlooker(&bench);
    first.signal(Signal::TERM);
    assert_eq!(second.line(), "up");
    assert_eq!(bench.run(&["wait", "-n", "-q", "x"]).code, Some(124));
    second.signal(Signal::TERM);
    assert_eq!(onlooker.end().code, Some(0));
}

#[test]
fn a_limit_ends_it() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    for (args, code, says) in [
        (&["-n"][..], 124, true),
        (&["-w", "0"], 124, true),
        (&["-w", "50ms"], 124, true),
        (&["-w", "50ms", "-E", "9"], 9, true),
        (&["-n", "-q"], 124, false),
        (&["-n", "-E", "0"], 0, false),
    ] {
        let ran = bench.run(&[&["wait", "x"], args].concat());
        assert_eq!(ran.code, Some(code), "{ran:?}");
        let pid = format!("held by pid {}", holder.pid());
        assert_eq!(ran.stderr.contains(&pid), says, "{ran:?}");
    }
    holder.signal(Signal::TERM);
}

#[test]
fn signals_end_it() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let onlooker = onlooker(&bench);
        onlooker.signal(signal);
        assert_eq!(onlooker.end().code, Some(code));
    }
    holder.signal(Signal::TERM);
}

#[test]
fn an_idle_one_rests() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    let onlooker = onlooker(&bench);
    let switches = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", onlooker.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with("voluntary_ctxt_switches")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let before = switches();
    let start = Instant::now();
    until("two seconds pass", || start.elapsed() > Duration::from_secs(2));
    assert!(switches() - before <= 8, "{} wake-ups in two seconds", switches() - before);
    holder.signal(Signal::TERM);
    assert_eq!(onlooker.end().code, Some(0));
}

#[test]
fn a_damaged_record_is_not_free() {
    let bench = Bench::new();
    assert_eq!(bench.run(&["run", "x", "--", "true"]).code, Some(0));
    std::fs::write(bench.path("store/locks/x"), "").unwrap();
    let ran = bench.run(&["wait", "x"]);
    assert!(ran.code == Some(125) && ran.stderr.contains("tenure repair"), "{ran:?}");
}
