//! SIGKILL of `tenure acquire` at any instant: what it leaves can be undone, and ends by its ttl.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Bench, until};

/// Starts `acquire` and kills it after `delay`; whether it had come to its end before.
fn killed_after(bench: &Bench, ttl: &str, delay: Duration) -> bool {
    let mut command = bench.tenure(&["acquire", "-q", "x", "--ttl", ttl, "--hold", "h"]);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while start.elapsed() < delay {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap().success()
}

/// How long an undisturbed one takes.
fn usual(bench: &Bench) -> Duration {
    let start = Instant::now();
    assert!(bench.run(&["acquire", "x", "--ttl", "1h", "--hold", "h"]).code == Some(0));
    let took = start.elapsed();
    assert_eq!(bench.run(&["release", "--hold", "h"]).code, Some(0));
    took
}

/// Only hold file, store and nothing else may be in the folder.
fn leftovers(bench: &Bench) -> Vec<String> {
    let names = std::fs::read_dir(bench.path(".")).unwrap().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name != "store").collect()
}

#[test]
fn what_is_left_can_be_released_at_any_instant() {
    let bench = Bench::new();
    let usual = usual(&bench);
    let (rounds, mut with_file, mut held) = (150_u32, 0, 0);
    for round in 0..rounds {
        killed_after(&bench, "1h", usual * round / (rounds * 3 / 4));
        if bench.show("x")["state"] == "held" {
            held += 1;
            assert!(bench.path("h").exists(), "a hold that nobody can prove, in round {round}");
        }
        if bench.path("h").exists() {
            with_file += 1;
            let ran = bench.run(&["release", "--hold", "h"]);
            assert_eq!(ran.code, Some(0), "round {round}: {ran:?}");
        }
        assert_eq!(leftovers(&bench), [""; 0], "round {round}");
        let ran = bench.run(&["run", "-n", "x", "--", "true"]);
        assert_eq!(ran.code, Some(0), "round {round}: {ran:?}");
    }
    assert!(
        with_file > 0 && held > 0 && with_file < rounds,
        "{with_file} with a file, {held} held"
    );
}

#[test]
fn what_is_left_ends_by_its_ttl() {
    let bench = Bench::new();
    let usual = usual(&bench);
    for round in 0..20_u32 {
        killed_after(&bench, "60ms", usual * round / 15);
        let start = Instant::now();
        assert_eq!(bench.run(&["run", "-q", "x", "--", "true"]).code, Some(0));
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        let _ = std::fs::remove_file(bench.path("h"));
    }
}

#[test]
fn one_killed_in_line_is_passed_over() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    let mut command = bench.tenure(&["acquire", "-q", "x", "--ttl", "1h", "--hold", "h"]);
    let mut waiter = command.stdout(Stdio::null()).spawn().unwrap();
    bench.wait_for_queue("x", 1);
    let next = bench.start(&["run", "-q", "x", "--", "echo", "ran"]);
    bench.wait_for_queue("x", 2);
    waiter.kill().unwrap();
    waiter.wait().unwrap();
    holder.signal(rustix::process::Signal::TERM);
    assert_eq!(next.end().stdout, "ran\n");
    let ran = bench.run(&["release", "--hold", "h"]);
    assert!(ran.code == Some(0) && ran.stderr.contains("cut off"), "{ran:?}");
    until("nobody is left in line", || bench.show("x")["queue"].as_array().unwrap().is_empty());
    assert!(!bench.path("h").exists());
}

/// A renewal killed at any instant leaves the old end or the new one, and a whole hold file.
#[test]
fn a_renewal_killed_at_any_instant() {
    let bench = Bench::new();
    assert_eq!(bench.run(&["acquire", "x", "--ttl", "1h", "--hold", "h"]).code, Some(0));
    for round in 0..40_u64 {
        let mut child = bench.tenure(&["renew", "--hold", "h"]).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(round * 100));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(bench.show("x")["state"], "held");
    }
    assert_eq!(bench.run(&["renew", "--hold", "h"]).code, Some(0));
    assert_eq!(bench.run(&["release", "--hold", "h"]).code, Some(0));
}
