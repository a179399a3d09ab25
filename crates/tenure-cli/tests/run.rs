//! `tenure run` from the outside: exit codes, what the child sees, waiting, events, parents.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::{Bench, Ran, Running, mask};
use rustix::process::Signal;
use snapbox::{assert_data_eq, file};

#[test]
fn exit_codes_of_the_child_pass_by() {
    let bench = Bench::new();
    for code in [0, 1, 7, 123, 124, 125, 126, 127, 255] {
        assert_eq!(bench.run(&["run", "x", "-c", &format!("exit {code}")]).code, Some(code));
    }
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("INT", 130), ("SEGV", 139)] {
        let ran = bench.run(&["run", "x", "-c", &format!("kill -{signal} $$")]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(code), ""), "{signal}");
    }
}

#[test]
fn busy_and_timed_out() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    let by = format!("held by pid {} ", holder.pid());
    let cases: [(&[&str], i32); 8] = [
        (&["-n"], 124),
        (&["--no-wait"], 124),
        (&["-w", "0"], 124),
        (&["-w", "100ms"], 124),
        (&["-n", "-E", "75"], 75),
        (&["-n", "-E", "255"], 255),
        (&["-w", "0.05", "-E", "9"], 9),
        (&["-n", "-w", "0"], 124),
    ];
    for (options, code) in cases {
        let args = [&["run"], options, &["x", "--", "echo", "ran"]].concat();
        let ran = bench.run(&args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{args:?}");
        assert!(ran.stderr.lines().all(|l| l.starts_with("tenure: ")), "{ran:?}");
        assert!(ran.stderr.contains(&by) && ran.stderr.contains("since 20"), "{ran:?}");
    }
    for silent in [&["-n", "-E", "0"][..], &["-n", "-q"], &["-w", "20ms", "--quiet"]] {
        let ran = bench.run(&[&["run"], silent, &["x", "--", "echo", "ran"]].concat());
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""), "{silent:?}");
    }
    assert_eq!(bench.show("x")["queue"].as_array().unwrap().len(), 0, "nobody is left in line");
}

#[test]
fn the_wait_is_as_long_as_said() {
    let bench = Bench::new();
    let _holder = bench.hold("x");
    let start = Instant::now();
    assert_eq!(bench.run(&["run", "-w", "0.4", "x", "--", "true"]).code, Some(124));
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(400), "{waited:?}");
    assert!(waited < Duration::from_secs(5), "{waited:?}");
}

#[test]
fn options_stand_anywhere_before_the_command() {
    let bench = Bench::new();
    let ran = bench.run(&["run", "x", "-n", "--ttl=60", "--tag", "a", "--", "echo", "-n", "--ttl"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "--ttl"));
    let ran = bench.run(&["run", "--tag=b", "-w3", "x", "-c", "echo $0 $#"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "/bin/sh 0\n"));
}

#[test]
fn tags_are_those_of_the_last_run_that_gave_any() {
    let bench = Bench::new();
    let tags = || bench.show("x")["tags"].clone();
    let holder = bench.start(&["run", "--tag", "old", "x", "--", "sleep", "1000"]);
    bench.wait_for_hold("x");
    let tagged = &["run", "-q", "--tag", "b", "--tag", "a", "x", "-c", "echo up; exec sleep 1000"];
    let mut waiter = bench.start(tagged);
    bench.wait_for_queue("x", 1);
    assert_eq!(tags(), serde_json::json!(["old"]));
    holder.signal(Signal::TERM);
    // Handed over, not taken: the tags came with its place in line.
    assert_eq!(waiter.line(), "up");
    assert_eq!(tags(), serde_json::json!(["a", "b"]));
    waiter.signal(Signal::TERM);
    waiter.end();
    assert_eq!(bench.run(&["run", "x", "--", "true"]).code, Some(0));
    assert_eq!(tags(), serde_json::json!(["a", "b"]));
}

#[test]
fn the_child_sees_its_hold_and_our_streams() {
    let bench = Bench::new();
    let line = "echo \"$TENURE_LOCK $TENURE_STORE $TENURE_HOLDER $TENURE_TOKEN\"; cat; echo e >&2";
    let url = format!("{}?id=other", bench.url());
    let piped = format!("echo in | \"$TENURE\" run --store '{url}' x -c '{line}'");
    let ran = Ran::of(&bench.sh(&piped).output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), "e\n"));
    let (first, rest) = ran.stdout.split_once('\n').unwrap();
    let words: Vec<&str> = first.split(' ').collect();
    assert_eq!(&words[..3], ["x", bench.url().as_str(), "other"]);
    assert!(words[3].parse::<u64>().unwrap() > 0);
    assert_eq!(rest, "in\n");
    let ran = bench.run(&["run", "--id", "me", "x", "--", "printenv", "TENURE_HOLDER"]);
    assert_eq!(ran.stdout, "me\n");
}

#[test]
fn tokens_grow_from_hold_to_hold() {
    let bench = Bench::new();
    let token = || {
        let ran = bench.run(&["run", "x", "--", "printenv", "TENURE_TOKEN"]);
        ran.stdout.trim().parse::<u64>().unwrap()
    };
    let tokens: Vec<u64> = (0..5).map(|_| token()).collect();
    assert!(tokens.windows(2).all(|pair| pair[0] < pair[1]), "{tokens:?}");
}

#[test]
fn a_waiter_runs_after_the_holder() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    let waiter = bench.start(&["run", "x", "--", "echo", "mine"]);
    bench.wait_for_queue("x", 1);
    let last = bench.start(&["run", "-w", "1h", "x", "--", "echo", "last"]);
    bench.wait_for_queue("x", 2);
    holder.signal(Signal::TERM);
    assert_eq!(holder.end().code, Some(143));
    let ran = waiter.end();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "mine\n"));
    assert_eq!(ran.stderr.matches('\n').count(), 1, "one line when piped: {ran:?}");
    assert!(
        ran.stderr.starts_with("tenure: waiting for `x`, next in line: held by pid "),
        "{ran:?}"
    );
    assert_eq!(last.end().stdout, "last\n");
}

#[test]
fn told_to_end_while_waiting() {
    let bench = Bench::new();
    let _holder = bench.hold("x");
    let signals =
        [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];
    for signal in signals {
        let waiter = bench.start(&["run", "-q", "x", "--", "echo", "ran"]);
        bench.wait_for_queue("x", 1);
        waiter.signal(signal);
        let ran = waiter.end();
        let told = (ran.code, ran.stdout.as_str(), ran.stderr.as_str());
        assert_eq!(told, (Some(128 + signal.as_raw()), "", ""), "{signal:?}");
        bench.wait_for_queue("x", 0);
    }
}

#[test]
fn a_window_change_does_not_end_the_wait() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    let waiter = bench.start(&["run", "-q", "x", "--", "echo", "ran"]);
    bench.wait_for_queue("x", 1);
    waiter.signal(Signal::WINCH);
    waiter.signal(Signal::CONT);
    bench.wait_for_queue("x", 1);
    holder.signal(Signal::TERM);
    assert_eq!(waiter.end().stdout, "ran\n");
}

#[test]
fn a_lock_inside_itself_is_refused() {
    let bench = Bench::new();
    let inner = |line: &str| {
        let line = format!("\"$TENURE\" run x -c '{line}'");
        Ran::of(&bench.sh(&line).output().unwrap())
    };
    let ran = inner("\"$TENURE\" run x -- echo inner; echo $?");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "125\n"));
    assert!(ran.stderr.contains("`x` is already held by a parent"), "{ran:?}");
    // Another one in between does not hide it.
    let script = "#!/bin/sh\n\"$TENURE\" run y -- \"$TENURE\" run -w 5 x -- true; echo $?\n";
    std::fs::write(bench.path("script"), script).unwrap();
    assert_eq!(inner("sh ./script").stdout, "125\n");
    // Nor does a pid namespace, where the kernel lets us make one.
    let rights = if rustix::process::geteuid().is_root() { "" } else { "--map-root-user" };
    let unshare = format!("unshare {rights} --pid --fork --mount-proc");
    let between = bench.sh(&format!("{unshare} true")).output().unwrap().status.success();
    let between = if between { unshare.as_str() } else { "env" };
    let line = format!("{between} \"$TENURE\" run y -- \"$TENURE\" run -w 5 x -- true; echo $?");
    assert_eq!(inner(&line).stdout, "125\n");
    // A hold that was lost meanwhile is nobody's.
    let lost = "rm store/locks/x; \"$TENURE\" run y -- \"$TENURE\" run x -- echo inner";
    let ran = inner(lost);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(123), "inner\n"), "{ran:?}");
    // Another lock is no matter, and neither is an environment whose hold has ended.
    assert_eq!(inner("\"$TENURE\" run y -- echo inner").stdout, "inner\n");
    let stale = inner("env | grep ^TENURE_ | grep -v STORE > env; true");
    assert_eq!(stale.code, Some(0), "{stale:?}");
    let ran =
        Ran::of(&bench.sh("export $(cat env); \"$TENURE\" run x -- echo again").output().unwrap());
    assert_eq!(ran.stdout, "again\n", "{ran:?}");
}

#[test]
fn a_hold_that_outlives_its_work_is_not_laid_to_a_process_that_is_gone() {
    let bench = Bench::new();
    assert_eq!(bench.run(&["run", "--at-least", "1h", "x", "--", "true"]).code, Some(0));
    let ran = bench.run(&["run", "-n", "x", "--", "true"]);
    assert_eq!(ran.code, Some(124), "{ran:?}");
    assert!(ran.stderr.contains("is held since ") && ran.stderr.contains(" until "), "{ran:?}");
    assert!(!ran.stderr.contains("pid"), "{ran:?}");
}

#[test]
fn at_least_keeps_the_lock_without_us() {
    let bench = Bench::new();
    let start = Instant::now();
    let ran = bench.run(&["run", "--at-least", "1s", "x", "--", "true"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let busy = bench.run(&["run", "-n", "x", "--", "true"]);
    assert!(busy.code == Some(124) || start.elapsed() > Duration::from_secs(1), "{busy:?}");
    let ran = bench.run(&["run", "-w", "30", "x", "--", "true"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    // Work that took longer is over when it is over.
    bench.run(&["run", "--at-least", "50ms", "y", "--", "sleep", "0.1"]);
    assert_eq!(bench.show("y")["state"], "free");
}

#[test]
fn background_work_does_not_keep_the_lock() {
    let bench = Bench::new();
    let line = "sleep 1000 >/dev/null 2>&1 & echo $! > left";
    assert_eq!(bench.run(&["run", "x", "-c", line]).code, Some(0));
    assert_eq!(bench.show("x")["state"], "free");
    assert_eq!(bench.run(&["run", "-n", "x", "--", "true"]).code, Some(0));
    let left: i32 = bench.wait_for_file("left").parse().unwrap();
    assert!(common::runs(left), "it was not ended either");
    common::kill(left, Signal::KILL);
}

#[test]
fn events_of_a_hold_and_of_a_wait() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    let mut command = bench.sh("exec \"$TENURE\" run -q --id me --status-fd 3 x -- false 3>events");
    let waiter = Running::of(&mut command);
    bench.wait_for_queue("x", 1);
    holder.signal(Signal::TERM);
    holder.end();
    assert_eq!(waiter.end().code, Some(1));
    let masked = mask(&bench.read("events"), &["at", "since", "token", "pid", "ticket"]);
    let masked = masked.replace(&bench.url(), "local:/store");
    let masked = mask_holder(&masked);
    assert_data_eq!(masked, file!["snapshots/events.jsonl"]);
}

/// The last events of runs that came to every end there is.
#[test]
fn the_last_event_says_what_the_run_came_to() {
    let bench = Bench::new();
    let _holder = bench.start(&["run", "--id", "me", "held", "-c", "sleep 1000"]);
    bench.wait_for_hold("held");
    let mut last = String::new();
    for (line, code) in [
        ("x -c 'exit 123'", 123),
        ("x -c 'kill -TERM $$'", 143),
        ("x -c 'kill -INT $$'", 130),
        ("x -c 'rm store/locks/x' 2>/dev/null", 123),
        ("-n held -- true 2>/dev/null", 124),
        ("-q -n -E 0 held -- true", 0),
        ("-w 50ms -E 7 held -- true 2>/dev/null", 7),
        ("-q held -- true", 143),
        ("x -- /no/such 2>/dev/null", 127),
        ("-w soon x -- true 2>/dev/null", 125),
    ] {
        let line = format!("exec \"$TENURE\" run --status-fd 3 {line} 3>events");
        let running = Running::of(&mut bench.sh(&line));
        if line.contains(" -q held") {
            bench.wait_for_queue("held", 1);
            running.signal(Signal::TERM);
        }
        assert_eq!(running.end().code, Some(code), "{line}");
        let events = bench.read("events");
        assert_eq!(events.matches("\"ended\"").count(), 1, "{events}");
        last += events.lines().next_back().unwrap();
        last += "\n";
    }
    let masked = mask(&last, &["at", "since", "token", "pid"]);
    let since = masked.match_indices("held by pid ").map(|(at, _)| at).next().unwrap();
    let shown = &masked[since..masked[since..].find('"').unwrap() + since];
    assert_data_eq!(masked.replace(shown, "held by <shown>"), file!["snapshots/ended.jsonl"]);
}

/// The default identity is new at every start.
fn mask_holder(text: &str) -> String {
    let (before, after) = text.split_once("\"held_by\":{\"id\":\"").unwrap();
    let (_, after) = after.split_once('"').unwrap();
    format!("{before}\"held_by\":{{\"id\":\"<hostname>_<uuid>\"{after}")
}

#[test]
fn events_share_a_files_position() {
    let bench = Bench::new();
    let line =
        "exec 3>log; echo before >&3; \"$TENURE\" run --status-fd 3 x -- true; echo after >&3";
    assert!(bench.sh(line).status().unwrap().success());
    let log = bench.read("log");
    let first: Vec<&str> = log.lines().map(|line| &line[..6.min(line.len())]).collect();
    let event = "{\"even";
    assert_eq!(first, ["before", event, event, event, event, "after"], "{log}");
}

#[test]
fn the_child_has_no_status_descriptor() {
    let bench = Bench::new();
    let line = "\"$TENURE\" run --status-fd 9 x -c 'echo x >&9' 9>log 2>/dev/null";
    assert_ne!(bench.sh(line).status().unwrap().code(), Some(0));
    assert!(!bench.read("log").contains("x\n"), "{}", bench.read("log"));
    // Standard error stays the child's although events go there as well.
    let ran = bench.run(&["run", "--status-fd", "2", "x", "-c", "echo child >&2"]);
    assert!(ran.stderr.contains("child\n") && ran.stderr.contains("\"released\""), "{ran:?}");
}

#[test]
fn a_reader_that_went_away_or_sleeps_is_no_matter() {
    let bench = Bench::new();
    let gone = "mkfifo p; (exec 9<p) & exec 3>p; wait; \"$TENURE\" run --status-fd 3 x -- echo ran";
    let ran = Ran::of(&bench.sh(gone).output().unwrap());
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "ran\n"), "{ran:?}");
    // A pipe that is full: nobody reads it, and yet the work is done and the lock is freed.
    let full = "mkfifo q; exec 4<>q; head -c 65536 /dev/zero >&4; \
                \"$TENURE\" run --status-fd 4 x -- echo ran";
    let ran = Ran::of(&bench.sh(full).output().unwrap());
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "ran\n"), "{ran:?}");
    assert_eq!(bench.show("x")["state"], "free");
}

#[test]
fn events_reach_sockets_too() {
    use std::io::Read as _;
    use std::os::fd::OwnedFd;
    let bench = Bench::new();
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut command = bench.tenure(&["run", "--status-fd", "1", "x", "-c", "exit 3"]);
    let status = command.stdout(OwnedFd::from(theirs)).status().unwrap();
    drop(command);
    assert_eq!(status.code(), Some(3));
    let mut text = String::new();
    ours.read_to_string(&mut text).unwrap();
    assert!(text.contains("\"exited\"") && text.contains("\"code\":3"), "{text}");
}
