//! Signals and process state: what reaches the child, what it starts with, what outlives us.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(target_os = "linux")]

mod common;

use common::{Bench, Ran, Running, is_stopped, kill, runs, until};
use rustix::process::Signal;

/// A shell that says which signals reach it, and ends on the line `TERM`.
const SAYS: &str = "for s in HUP INT QUIT USR1 USR2 WINCH; do trap \"echo $s\" $s; done; \
                    trap 'echo TERM; exit 5' TERM; echo up; while :; do sleep 0.02; done";

#[test]
fn signals_reach_the_child_and_its_code_comes_back() {
    let bench = Bench::new();
    let mut running = bench.start(&["run", "x", "-c", SAYS]);
    assert_eq!(running.line(), "up");
    for (signal, name) in [
        (Signal::HUP, "HUP"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::WINCH, "WINCH"),
        (Signal::TERM, "TERM"),
    ] {
        running.signal(signal);
        assert_eq!(running.line(), name);
    }
    assert_eq!(running.end().code, Some(5));
    assert_eq!(bench.show("x")["state"], "free");
}

#[test]
fn signals_reach_the_childs_own_children() {
    let bench = Bench::new();
    // The shell waits for `sleep`; only a signal to the group ends both.
    let mut running = bench.start(&["run", "x", "-c", "sleep 1000 & echo $!; wait; echo no"]);
    let grandchild: i32 = running.line().parse().unwrap();
    running.signal(Signal::TERM);
    assert_eq!(running.end().code, Some(143));
    until("the grandchild is gone", || !runs(grandchild));
}

/// The lines `SigBlk` and `SigIgn` of a child started by this shell line.
fn signal_state(bench: &Bench, line: &str) -> (u64, u64) {
    let ran = Ran::of(&bench.sh(line).output().unwrap());
    assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
    let field = |name: &str| {
        let line = ran.stdout.lines().find(|line| line.starts_with(name)).unwrap();
        u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
    };
    (field("SigBlk"), field("SigIgn"))
}

#[test]
fn the_child_starts_with_the_state_we_were_started_with() {
    let bench = Bench::new();
    for ignored in ["", "HUP", "PIPE", "CHLD", "INT QUIT", "HUP INT QUIT USR1 TERM TSTP TTIN TTOU"]
    {
        let trap = if ignored.is_empty() { String::new() } else { format!("trap '' {ignored}; ") };
        let direct = signal_state(&bench, &format!("{trap}exec cat /proc/self/status"));
        let line = format!("{trap}exec \"$TENURE\" run x -- cat /proc/self/status");
        assert_eq!(signal_state(&bench, &line), direct, "ignored: {ignored}");
    }
}

#[test]
fn under_nohup_a_hangup_ends_nothing() {
    let bench = Bench::new();
    let line = "trap '' HUP; exec \"$TENURE\" run x -c 'echo up; cat p; exit 4'";
    let mut running = Running::of(&mut bench.sh(&format!("mkfifo p; {line}")));
    assert_eq!(running.line(), "up");
    running.signal(Signal::HUP);
    std::fs::write(bench.path("p"), "on\n").unwrap();
    let ran = running.end();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(4), "on\n"));
}

#[test]
fn the_child_leads_its_own_group() {
    let bench = Bench::new();
    let ran = bench.run(&["run", "x", "-c", "cut -d' ' -f1,4,5 /proc/$$/stat"]);
    let fields: Vec<i32> = ran.stdout.split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert_eq!(fields[0], fields[2], "pid and group: {ran:?}");
    assert_ne!(fields[1], fields[0], "the parent is another");
}

#[test]
fn the_child_has_the_session_and_no_other_descriptor_of_ours() {
    let bench = Bench::new();
    let line = "for f in /proc/$$/fd/*; do readlink $f; done";
    let ran = bench.run(&["run", "x", "-c", line]);
    let ours = bench.path("store").display().to_string();
    let in_store: Vec<&str> = ran.stdout.lines().filter(|l| l.starts_with(&ours)).collect();
    assert_eq!(in_store.len(), 1, "{}", ran.stdout);
    assert!(in_store[0].contains("/sessions/"), "{in_store:?}");
    assert!(!ran.stdout.contains("signalfd"), "{}", ran.stdout);
}

#[test]
fn killing_us_kills_the_child_and_frees_the_lock() {
    let bench = Bench::new();
    let mut holder = bench.start(&["run", "x", "-c", "echo $$; exec sleep 1000"]);
    let child: i32 = holder.line().parse().unwrap();
    let waiter = bench.start(&["run", "x", "--", "echo", "next"]);
    bench.wait_for_queue("x", 1);
    holder.signal(Signal::KILL);
    until("the child is gone", || !runs(child));
    let ran = waiter.end();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "next\n"));
}

#[test]
fn killing_us_ends_a_scripts_own_children_before_the_next_holds() {
    let bench = Bench::new();
    let mut holder = bench.start(&["run", "x", "-c", "sleep 1000 & echo $!; wait"]);
    let grandchild: i32 = holder.line().parse().unwrap();
    // A killed process may be a zombie for as long as its new parent likes.
    let state = format!("cut -d' ' -f3 /proc/{grandchild}/stat 2>/dev/null");
    let line = format!("case $({state}) in ''|Z|X) echo alone;; *) echo both;; esac");
    let waiter = bench.start(&["run", "x", "-c", &line]);
    bench.wait_for_queue("x", 1);
    holder.signal(Signal::KILL);
    assert_eq!(waiter.end().stdout, "alone\n");
    until("the grandchild is gone", || !runs(grandchild));
}

#[test]
fn a_child_that_stops_itself_without_a_terminal_is_left_alone() {
    let bench = Bench::new();
    let mut running = bench.start(&["run", "x", "-c", "echo $$; kill -STOP $$; exit 6"]);
    let child: i32 = running.line().parse().unwrap();
    until("the child stops", || is_stopped(child));
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(is_stopped(child) && !is_stopped(running.pid()));
    assert_eq!(bench.run(&["run", "-n", "x", "--", "true"]).code, Some(124), "still held");
    kill(child, Signal::CONT);
    assert_eq!(running.end().code, Some(6));
}

#[test]
fn a_stopped_child_can_be_ended() {
    let bench = Bench::new();
    let mut running = bench.start(&["run", "x", "-c", "echo $$; kill -STOP $$; exit 6"]);
    let child: i32 = running.line().parse().unwrap();
    until("the child stops", || is_stopped(child));
    // As a shell's `kill` does it for a stopped job.
    running.signal(Signal::TERM);
    running.signal(Signal::CONT);
    assert_eq!(running.end().code, Some(143));
}

#[test]
fn a_stop_that_nobody_could_end_stops_nothing() {
    let bench = Bench::new();
    // A session of its own: no shell is left that could continue it.
    let line = "mkfifo p; exec setsid \"$TENURE\" run x -c 'echo up; read a < p; exit 8'";
    let mut running = Running::of(&mut bench.sh(line));
    assert_eq!(running.line(), "up");
    for _ in 0..3 {
        running.signal(Signal::TSTP);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(!is_stopped(running.pid()));
    // Opening the pipe for writing waits for the reader: a stopped child would hang this test.
    let pipe = bench.path("p");
    let write = std::thread::spawn(move || std::fs::write(pipe, "on\n"));
    assert_eq!(running.end().code, Some(8));
    write.join().unwrap().unwrap();
}

#[test]
fn closed_standard_descriptors_are_never_those_of_our_files() {
    let bench = Bench::new();
    let line =
        "exec 0<&- 2>&-; \"$TENURE\" run x -- /bin/sh -c 'readlink /proc/$$/fd/0 /proc/$$/fd/2'";
    let ran = bench.sh(line).output().unwrap();
    assert_eq!(String::from_utf8(ran.stdout).unwrap(), "/dev/null\n/dev/null\n");
    assert_eq!(bench.show("x")["state"], "free", "nothing was written into the record");
}
