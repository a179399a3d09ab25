//! `tenure steal`: an operator takes a lock away.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{Bench, Ran, Running, mask, runs, until};
use rustix::process::Signal;
use snapbox::{assert_data_eq, file};

const STEAL: [&str; 5] = ["steal", "x", "--reason", "INC-7: runner gone", "--yes"];

fn steal(bench: &Bench, more: &[&str]) -> Ran {
    bench.run(&[&STEAL[..], more].concat())
}

fn acquire(bench: &Bench, ttl: &str) {
    let ran = bench.run(&["acquire", "x", "--ttl", ttl, "--hold", "h", "--id", "me"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_detached_hold_is_freed_and_the_reason_kept() {
    let bench = Bench::new();
    acquire(&bench, "1h");
    let ran = steal(&bench, &["--now"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""));
    assert!(ran.stderr.contains("held since") && ran.stderr.contains("was freed"), "{ran:?}");
    let shown = bench.run(&["show", "x", "--output", "json"]).stdout;
    let masked = mask(&shown, &["since", "until", "token"]);
    let masked = masked.replace(&bench.url(), "local:/store").replace(",\"", ",\n \"");
    assert_data_eq!(masked, file!["snapshots/show-stolen.json"]);
    let text = bench.run(&["show", "x"]).stdout;
    assert!(
        text.contains("state   free\n") && text.contains(", stolen: INC-7: runner gone\n"),
        "{text}"
    );
    // The holder learns of it, from its next step on.
    for verb in ["renew", "release"] {
        let ran = bench.run(&[verb, "--hold", "h"]);
        assert!(ran.code == Some(123), "{ran:?}");
        assert!(ran.stderr.contains("it was stolen: INC-7: runner gone"), "{ran:?}");
    }
    assert!(!bench.path("h").exists());
}

#[test]
fn nothing_is_left_of_a_stolen_hold() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    assert_eq!(steal(&bench, &["--now"]).code, Some(0));
    holder.end();
    let left = std::fs::read_dir(bench.path("store/sessions")).unwrap().flatten();
    assert_eq!(left.map(|entry| entry.path()).collect::<Vec<_>>(), [""; 0].map(PathBuf::from));
}

#[test]
fn the_next_in_line_gets_it() {
    let bench = Bench::new();
    acquire(&bench, "1h");
    let next = bench.start(&["run", "-q", "x", "--", "echo", "ran"]);
    bench.wait_for_queue("x", 1);
    let start = Instant::now();
    assert_eq!(steal(&bench, &["--now"]).code, Some(0));
    assert_eq!(next.end().stdout, "ran\n");
    assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
}

#[test]
fn a_running_command_is_ended_with_all_it_started() {
    let bench = Bench::new();
    let script = "echo up; sleep 1001 & (sleep 1002 & exec 1>&- 3>&- 4>&- 5>&- 6>&-; wait) & wait";
    let mut holder = bench.start(&["run", "x", "-c", &format!("echo $$; {script}")]);
    let group: i32 = holder.line().parse().unwrap();
    assert_eq!(holder.line(), "up");
    let pid = holder.pid();
    let next = bench.start(&["run", "-q", "x", "-c", "echo ran $TENURE_TOKEN"]);
    bench.wait_for_queue("x", 1);
    let ran = steal(&bench, &[]);
    assert_eq!(ran.code, Some(125));
    assert!(ran.stderr.contains("never ends by time; --now kills"), "{ran:?}");
    assert!(runs(pid) && runs(group));
    let ran = steal(&bench, &["--now"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains(&format!("process {pid} and what it ran were killed")), "{ran:?}");
    assert!(!runs(group) && members(group).is_empty(), "{:?}", members(group));
    assert!(next.end().stdout.starts_with("ran "));
    assert_eq!(holder.end().code, None, "killed by a signal");
    let past = &bench.show("x")["history"][1];
    assert_eq!((&past["end"], &past["reason"]), (&"stolen".into(), &"INC-7: runner gone".into()));
}

/// Every running process of a group.
fn members(group: i32) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let of = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(2)?.parse().ok());
        of == Some(group) && runs(*pid)
    })
    .collect()
}

#[test]
fn a_stopped_holder_is_ended_too() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    holder.signal(Signal::STOP);
    let ran = steal(&bench, &["--now"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!((bench.show("x")["state"].as_str(), holder.end().code), (Some("free"), None));
}

/// What left the group and kept the session keeps the lock: the case `--now` is there for.
#[test]
fn an_orphan_that_keeps_the_lock_is_ended() {
    let bench = Bench::new();
    let mut holder =
        bench.start(&["run", "x", "-c", "setsid sh -c 'echo $$; exec sleep 1000' & wait"]);
    let orphan: i32 = holder.line().parse().unwrap();
    holder.signal(Signal::KILL);
    until("the orphan is known", || bench.show("x")["holders"][0]["orphan"] == orphan);
    let ran = steal(&bench, &[]);
    assert!(ran.code == Some(125) && ran.stderr.contains("--now"), "{ran:?}");
    let ran = steal(&bench, &["--now"]);
    assert!(ran.code == Some(0) && ran.stderr.contains(&orphan.to_string()), "{ran:?}");
    assert!(!runs(orphan));
    assert_eq!(bench.show("x")["state"], "free");
}

#[test]
fn after_expiry_waits_for_the_end_of_the_ttl() {
    let bench = Bench::new();
    acquire(&bench, "400ms");
    let start = Instant::now();
    let ran = steal(&bench, &["--after-expiry"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(start.elapsed() > Duration::from_millis(200), "{:?}", start.elapsed());
    let past = &bench.show("x")["history"][0];
    assert_eq!((&past["id"], &past["end"]), (&"me".into(), &"stolen".into()));
    // One whose processes are gone has ended: nobody is killed, and nothing waited for.
    let holder = bench.hold("x");
    let pid = holder.pid();
    holder.signal(Signal::KILL);
    drop(holder);
    until("it has ended", || bench.show("x")["state"] == "expired");
    let ran = steal(&bench, &[]);
    assert_eq!(ran.code, Some(0), "{pid}: {ran:?}");
    assert_eq!(bench.show("x")["state"], "free");
}

/// Starts a theft after expiry and waits until it waits.
fn waiting_thief(bench: &Bench) -> Running {
    let line = format!("exec 2>&1; exec \"$TENURE\" {} x --reason why --yes", STEAL[0]);
    let mut thief = Running::of(&mut bench.sh(&line));
    assert!(thief.line().starts_with("tenure: lock `x` is held"));
    let line = thief.line();
    assert!(line.contains("waiting until the ttl of `x` has run out"), "{line}");
    thief
}

#[test]
fn a_hold_that_is_renewed_meanwhile_is_left_alone() {
    let bench = Bench::new();
    acquire(&bench, "1h");
    let thief = waiting_thief(&bench);
    assert_eq!(bench.run(&["renew", "--hold", "h"]).code, Some(0));
    let ran = thief.end();
    assert!(ran.code == Some(124) && ran.stdout.contains("renewed meanwhile"), "{ran:?}");
    assert_eq!(bench.show("x")["holders"][0]["id"], "me");
    let thief = waiting_thief(&bench);
    assert_eq!(bench.run(&["release", "--hold", "h"]).code, Some(0));
    let ran = thief.end();
    assert!(ran.code == Some(0) && ran.stdout.contains("ended by itself"), "{ran:?}");
    assert_eq!(bench.show("x")["history"][0]["end"], "released");
}

#[test]
fn one_that_waits_ends_by_a_signal() {
    let bench = Bench::new();
    acquire(&bench, "1h");
    let thief = waiting_thief(&bench);
    thief.signal(Signal::INT);
    assert_eq!(thief.end().code, Some(130));
    assert_eq!(bench.run(&["renew", "--hold", "h"]).code, Some(0));
}

#[test]
fn without_a_yes_nothing_is_done() {
    let bench = Bench::new();
    acquire(&bench, "1h");
    let ran = bench.run(&["steal", "x", "--reason", "why", "--now"]);
    assert!(ran.code == Some(125) && ran.stderr.contains("--yes"), "{ran:?}");
    assert_eq!(bench.run(&["renew", "--hold", "h"]).code, Some(0));
}

#[test]
fn what_is_free_is_not_stolen() {
    let bench = Bench::new();
    let ran = steal(&bench, &[]);
    assert!(ran.code == Some(0) && ran.stderr.contains("nothing to steal"), "{ran:?}");
    assert!(!bench.path("store").exists());
    assert_eq!(bench.run(&["run", "x", "--", "true"]).code, Some(0));
    let ran = steal(&bench, &["--now"]);
    assert!(ran.code == Some(0) && ran.stderr.contains("nothing to steal"), "{ran:?}");
    assert_eq!(bench.show("x")["history"][0]["end"], "released");
}

#[test]
fn bad_usage_names_what_is_right() {
    let bench = Bench::new();
    for (args, says) in [
        (&["steal", "x", "--yes"][..], "missing --reason"),
        (&["steal", "x", "--reason", ""], "is empty"),
        (&["steal", "x", "--reason", "a\nb"], "control character"),
        (&["steal", "x", "--reason", "a", "--now", "--after-expiry"], "contradict"),
        (&["steal", "--reason", "a"], "missing NAME"),
    ] {
        let ran = bench.run(args);
        assert!(ran.code == Some(125) && ran.stderr.contains(says), "{ran:?}");
    }
}

#[test]
fn only_a_hold_that_is_as_was_said_is_taken_away() {
    let bench = Bench::new();
    acquire(&bench, "1h");
    let ran = steal(&bench, &["--now", "--where", "holder = you or age > 1h"]);
    assert_eq!(ran.code, Some(124), "{ran:?}");
    assert!(ran.stderr.contains("was left alone"), "{ran:?}");
    assert!(ran.stderr.contains("(me), and not `holder = you or age > 3600s`"), "{ran:?}");
    assert_eq!(bench.show("x")["state"], "held");
    let ran = steal(&bench, &["--now", "--where", "holder = me and age < 1h"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(bench.show("x")["state"], "free");
}
