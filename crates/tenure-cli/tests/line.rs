//! Standing in line while others in it die or are stopped.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(target_os = "linux")]

mod common;

use std::time::{Duration, Instant};

use common::{Bench, Ran, Running, is_stopped, kill, until};
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
fn a_waiter_that_was_passed_over_while_stopped_has_the_lock_as_soon_as_it_goes_on() {
    let bench = Bench::new();
    // One whose process goes on to run: its end would wake the waiter, too.
    let client = tenure::blocking::connect(&bench.url()).unwrap();
    let guard = client.lock("x").acquire().unwrap();
    let waiter = wait(&bench, "x", 1);
    waiter.signal(Signal::STOP);
    until("it is stopped", || is_stopped(waiter.pid()));
    assert_eq!(guard.release().unwrap(), tenure::Released::Released);
    assert_eq!(bench.show("x")["state"], "free");
    let start = Instant::now();
    waiter.signal(Signal::CONT);
    assert_eq!(waiter.end().code, Some(0));
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
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
    let shown = bench.show("x");
    assert_eq!(shown["holders"][0]["orphan"], orphan, "{shown}");
    assert_eq!(shown["queue"][0]["pid"], waiter.pid(), "{shown}");
    let listed = bench.run(&["ls"]);
    assert!(listed.stdout.contains(&format!("  orphan {orphan}  ")), "{listed:?}");
    for verb in [&["run", "-n", "x", "--", "true"][..], &["wait", "-n", "x"]] {
        let ran = bench.run(verb);
        let remedy = format!("; end process {orphan}, or its hold by `tenure steal --now`\n");
        assert!(ran.code == Some(124) && ran.stderr.ends_with(&remedy), "{ran:?}");
    }
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
    std::thread::sleep(Duration::from_millis(4500));
    holder.signal(Signal::KILL);
    let start = Instant::now();
    assert_eq!(second.end().code, Some(0));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    first.signal(Signal::CONT);
    assert_eq!(first.end().code, Some(0));
}

#[test]
fn a_waiter_whose_session_file_was_deleted_harms_nobody() {
    let bench = Bench::new();
    let sessions = || std::fs::read_dir(bench.path("store/sessions")).unwrap().flatten();
    let line = "run x -c 'echo up; read line <go'";
    assert!(bench.sh("mkfifo go").status().unwrap().success());
    let mut holder = Running::of(&mut bench.sh(&format!("exec \"$TENURE\" {line}")));
    assert_eq!(holder.line(), "up");
    let own: Vec<_> = sessions().map(|entry| entry.path()).collect();
    let first = wait(&bench, "x", 1);
    for entry in sessions().filter(|entry| !own.contains(&entry.path())) {
        std::fs::remove_file(entry.path()).unwrap();
    }
    let second = wait(&bench, "x", 2);
    std::fs::write(bench.path("go"), "\n").unwrap();
    let ran = holder.end();
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(first.end().code, Some(0));
    assert_eq!(second.end().code, Some(0));
}

#[test]
fn a_limit_is_kept_while_the_record_is_busy() {
    let bench = Bench::new();
    assert_eq!(bench.run(&["run", "x", "--", "true"]).code, Some(0));
    // A stopped process in the middle of a change looks like this.
    let file = std::fs::File::open(bench.path("store/locks/x")).unwrap();
    file.lock().unwrap();
    let start = Instant::now();
    let ran = bench.run(&["run", "-w", "300ms", "x", "--", "echo", "ran"]);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(124), ""), "{ran:?}");
    assert!(ran.stderr.contains("is being changed by process"), "{ran:?}");
    drop(file);
    assert_eq!(bench.run(&["run", "x", "--", "true"]).code, Some(0));
}

#[test]
fn told_to_end_while_the_record_is_busy() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    let second = wait(&bench, "x", 1);
    let file = std::fs::File::open(bench.path("store/locks/x")).unwrap();
    file.lock().unwrap();
    // One that has not stood in line yet, one that does and wants to leave, and one that tries.
    let first = bench.start(&["run", "--quiet", "x", "--", "echo", "ran"]);
    let third = bench.start(&["run", "-n", "x", "--", "echo", "ran"]);
    std::thread::sleep(Duration::from_millis(300));
    for (signal, waiter) in [(Signal::INT, first), (Signal::TERM, second), (Signal::TERM, third)] {
        let start = Instant::now();
        waiter.signal(signal);
        let ran = waiter.end();
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(128 + signal.as_raw()), ""), "{ran:?}");
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    }
    let waiter = bench.start(&["run", "--quiet", "x", "--", "true"]);
    assert_rests(&waiter);
    drop(file);
    until("it stands in line", || {
        let queue = bench.show("x")["queue"].clone();
        queue.as_array().is_some_and(|all| all.iter().any(|w| w["pid"] == waiter.pid()))
    });
    // Who could not leave the line is gone, and in nobody's way.
    holder.signal(Signal::TERM);
    assert_eq!(waiter.end().code, Some(0));
}

#[test]
fn a_limit_on_the_length_of_files_is_an_error_and_not_a_signal() {
    let bench = Bench::new();
    let ran = Ran::of(&bench.sh("ulimit -f 0; exec \"$TENURE\" run x -- true").output().unwrap());
    assert_eq!(ran.code, Some(125), "{ran:?}");
    assert!(ran.stderr.contains("File too large"), "{ran:?}");
    // The child's disposition is what it was.
    let line = "exec \"$TENURE\" run y -c 'ulimit -f 0; exec dd if=/dev/zero of=z count=1'";
    let ran = Ran::of(&bench.sh(line).output().unwrap());
    assert_eq!(ran.code, Some(128 + 25), "{ran:?}");
}

#[test]
fn a_waiter_in_a_deleted_store_ends() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    let waiter = wait(&bench, "x", 1);
    // As often as it takes: the living go on making files.
    until("the store is gone", || std::fs::remove_dir_all(bench.path("store")).is_ok());
    let _ = holder.end();
    let ran = waiter.end();
    assert_eq!(ran.code, Some(125), "{ran:?}");
    assert!(ran.stderr.contains("was deleted while in use"), "{ran:?}");
}
