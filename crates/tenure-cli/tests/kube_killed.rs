//! Kubernetes: whoever is killed, stopped or cut off, the work ends before the hold can expire.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "kube")]

mod common;
#[path = "common/kube.rs"]
mod kube;

use std::time::{Duration, Instant};

use common::{Running, has_ended, kill, runs, until};
use kube::{Kube, keeper_of};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use rustix::process::Signal;

const TTL: &str = "3s";
/// When the holder stops believing: `ttl x (1 - drift) - margin`.
const DEADLINE: Duration = Duration::from_millis(2_820);

/// A script that heeds no TERM, and what it started in the background.
const STUBBORN: &str = "trap '' TERM; sleep 1000 & echo $! > born; echo $$ > script; \
                        while :; do sleep 0.1; done";

/// Starts the script under the lock; it, and what it has started.
fn hold(kube: &Kube) -> (Running, [i32; 2]) {
    let running = kube.hold(&["--ttl", TTL], STUBBORN);
    let pid = |name: &str| {
        until(name, || kube.read(name).ends_with('\n'));
        kube.read(name).trim().parse().unwrap()
    };
    let pids = [pid("script"), pid("born")];
    assert!(pids.iter().all(|pid| runs(*pid)));
    (running, pids)
}

/// Waits for the end of all of it; how long that took.
fn ended(pids: &[i32]) -> Duration {
    let start = Instant::now();
    until("the work has ended", || !pids.iter().any(|pid| runs(*pid)));
    start.elapsed()
}

/// Whether the next one gets the lock; not before the work has ended.
fn next(kube: &Kube) -> Duration {
    let start = Instant::now();
    let ran = kube.run(&["run", "-w", "10s", "LOCK", "--", "true"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    start.elapsed()
}

#[test]
fn killing_the_command_ends_the_work_at_once_and_frees_the_lock() {
    let kube = Kube::new();
    let (running, pids) = hold(&kube);
    let keeper = keeper_of(running.pid());
    running.signal(Signal::KILL);
    assert!(ended(&pids) < Duration::from_secs(1));
    let waited = next(&kube);
    assert!(waited < Duration::from_secs(2), "the lock is given back: {waited:?}");
    until("the keeper ends", || !runs(keeper));
}

#[test]
fn killing_the_keeper_ends_the_work_and_the_lock_is_lost() {
    let kube = Kube::new();
    let (running, pids) = hold(&kube);
    kill(keeper_of(running.pid()), Signal::KILL);
    assert!(ended(&pids) < DEADLINE);
    let ran = running.end();
    assert_eq!(ran.code, Some(123), "{ran:?}");
    assert!(ran.stderr.contains("the process that renewed it has ended"), "{ran:?}");
    next(&kube);
}

#[test]
fn a_keeper_that_hangs_is_not_believed_past_the_deadline() {
    let kube = Kube::new();
    let (running, pids) = hold(&kube);
    let keeper = keeper_of(running.pid());
    kill(keeper, Signal::STOP);
    assert!(ended(&pids) < DEADLINE);
    let ran = running.end();
    assert_eq!(ran.code, Some(123), "{ran:?}");
    assert!(ran.stderr.contains("not renewed in time"), "{ran:?}");
    kill(keeper, Signal::KILL);
    next(&kube);
}

#[test]
fn a_store_that_falls_silent_ends_the_work_before_the_deadline() {
    for closed in [false, true] {
        let kube = Kube::far();
        let (running, pids) = hold(&kube);
        if closed {
            kube.way().close()
        } else {
            kube.way().silence()
        }
        assert!(ended(&pids) < DEADLINE);
        let ran = running.end();
        assert_eq!(ran.code, Some(123), "{ran:?}");
        kube.way().open();
        next(&kube);
    }
}

#[test]
fn work_that_ends_when_told_to_keeps_its_own_code_if_the_hold_came_back() {
    let kube = Kube::far();
    let trap = "trap 'echo told; sleep 0.3; exit 5' TERM; while :; do sleep 0.05; done";
    let mut running = kube.hold(&["--ttl", "6s", "--grace", "2s"], trap);
    kube.way().close();
    assert_eq!(running.line(), "told");
    kube.way().open();
    let ran = running.end();
    assert!(matches!(ran.code, Some(5 | 123)), "{ran:?}");
}

/// It was cut short: a code of its own, such as that of a clean end, would say that all is done.
#[test]
fn work_that_ends_when_told_to_has_lost_its_lock_if_the_hold_did_not_come_back() {
    let kube = Kube::far();
    let trap = "trap 'echo told; exit 0' TERM; while :; do sleep 0.05; done";
    let mut running = kube.hold(&["--ttl", "6s", "--grace", "2s"], trap);
    kube.way().close();
    assert_eq!(running.line(), "told");
    let ran = running.end();
    assert_eq!(ran.code, Some(123), "{ran:?}");
    assert!(ran.stderr.contains("the command was told to end"), "{ran:?}");
}

#[test]
fn a_stopped_command_keeps_its_hold() {
    let kube = Kube::new();
    let running = kube.hold(&["--ttl", TTL], "while [ ! -e go ]; do sleep 0.05; done; exit 3");
    running.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(kube.run(&["run", "-n", "LOCK", "--", "true"]).code, Some(124));
    running.signal(Signal::CONT);
    std::fs::write(kube.path("go"), "").unwrap();
    let ran = running.end();
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert_eq!(kube.show()["state"], "free");
}

#[test]
fn a_stopped_command_that_is_cut_off_is_ended_by_the_keeper() {
    let kube = Kube::far();
    let (running, pids) = hold(&kube);
    running.signal(Signal::STOP);
    kube.way().silence();
    assert!(ended(&pids) < DEADLINE);
    kube.way().open();
    next(&kube);
    running.signal(Signal::CONT);
    let ran = running.end();
    assert_eq!(ran.code, Some(123), "{ran:?}");
}

#[test]
fn killing_the_command_while_it_is_cut_off_ends_the_work_as_well() {
    let kube = Kube::far();
    let (running, pids) = hold(&kube);
    let keeper = keeper_of(running.pid());
    kube.way().silence();
    running.signal(Signal::KILL);
    assert!(ended(&pids) < Duration::from_secs(1));
    until("the keeper ends", || !runs(keeper));
    kube.way().open();
    next(&kube);
}

#[test]
fn killed_at_any_instant_it_leaves_no_work() {
    let kube = Kube::new();
    // From before the store is asked until the work runs.
    for delay in (0..40).map(|n| Duration::from_millis(n * 4)) {
        let _ = std::fs::remove_file(kube.path("born"));
        let line = "sleep 1000 & echo $! > born; wait";
        let running = kube.start(&["run", "--ttl", TTL, "LOCK", "-c", line]);
        std::thread::sleep(delay);
        running.signal(Signal::KILL);
        drop(running);
        assert!(next(&kube) < Duration::from_secs(8));
        let born = kube.read("born");
        if let Ok(pid) = born.trim().parse() {
            assert!(!runs(pid), "after {delay:?} process {pid} still runs");
        }
    }
}

/// A process that takes its time to end: it stops on its way out until it is let go.
struct Slow(nix::unistd::Pid);

impl Slow {
    fn down(pid: i32) -> Self {
        let pid = nix::unistd::Pid::from_raw(pid);
        let allowed = ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACEEXIT);
        allowed.expect("this test traces a descendant, which the system must allow");
        Self(pid)
    }

    fn is_ending(&self) -> bool {
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
        // On the way there it stops for each signal, also for one that it ignores.
        match waitpid(self.0, Some(flags)) {
            Ok(WaitStatus::PtraceEvent(_, _, event)) => {
                let ends = event == ptrace::Event::PTRACE_EVENT_EXIT as i32;
                if !ends {
                    ptrace::cont(self.0, None).unwrap();
                }
                ends
            }
            Ok(WaitStatus::Stopped(_, signal)) => {
                ptrace::cont(self.0, signal).unwrap();
                false
            }
            _ => false,
        }
    }

    fn let_go(self) {
        ptrace::cont(self.0, None).unwrap();
    }
}

#[test]
fn a_hold_is_given_back_only_when_the_work_has_ended() {
    let kube = Kube::new();
    let line = "sleep 1000 & echo $! > born; wait";
    let running = kube.hold(&["--ttl", "60s"], line);
    until("it is born", || kube.read("born").ends_with('\n'));
    let born: i32 = kube.read("born").trim().parse().unwrap();
    let slow = Slow::down(born);
    running.signal(Signal::KILL);
    until("it is told to end", || slow.is_ending());
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        let ran = kube.run(&["run", "-n", "LOCK", "--", "true"]);
        assert_eq!(ran.code, Some(124), "the work has not ended: {ran:?}");
    }
    slow.let_go();
    assert!(next(&kube) < Duration::from_secs(5), "the lock is given back, and does not expire");
}

/// Starts a `tenure run` that waits, stops it, and lets the lock become free: its keeper takes it.
fn stopped_before_it_began(kube: &Kube, options: &[&str], line: &str) -> Running {
    let first = kube.hold(&["--id", "first"], "while [ ! -e go ]; do sleep 0.02; done");
    let args = ["run", "--id", "second", "--status-fd", "1"];
    let mut second = kube.start(&[&args[..], options, &["LOCK", "-c", line]].concat());
    assert!(second.line().contains("waiting"));
    second.signal(Signal::STOP);
    std::fs::write(kube.path("go"), "").unwrap();
    assert_eq!(first.end().code, Some(0));
    until("the keeper has it", || kube.show()["holders"][0]["id"] == "second");
    second
}

/// How a hold is lost by the `tenure run` that is stopped.
type Loses<'a> = &'a dyn Fn(&Kube, &Running);

#[test]
fn a_command_that_was_stopped_until_its_hold_was_lost_begins_nothing() {
    let stolen = |kube: &Kube, _: &Running| {
        let steal = ["steal", "LOCK", "--now", "--yes", "--reason", "test"];
        assert_eq!(kube.run(&steal).code, Some(0));
        next(kube);
    };
    let cut_off = |kube: &Kube, _: &Running| {
        kube.way().silence();
        std::thread::sleep(DEADLINE);
    };
    let keeper_killed = |_: &Kube, second: &Running| {
        let keeper = keeper_of(second.pid());
        kill(keeper, Signal::KILL);
        // Its descriptors are closed once the last of its threads is gone, which nobody reaps here.
        let threads = || std::fs::read_dir(format!("/proc/{keeper}/task")).unwrap().count();
        until("the keeper has ended", || has_ended(keeper) && threads() == 1);
    };
    let ways: [Loses<'_>; 3] = [&stolen, &cut_off, &keeper_killed];
    for (way, lose) in ways.iter().enumerate() {
        let kube = Kube::far();
        let second = stopped_before_it_began(&kube, &["--ttl", TTL], "echo > began");
        lose(&kube, &second);
        second.signal(Signal::CONT);
        let ran = second.end();
        assert_eq!(ran.code, Some(123), "{way}: {ran:?}");
        assert!(ran.stderr.contains("the command was not started"), "{way}: {ran:?}");
        assert!(!kube.path("began").exists(), "{way}: nothing may begin under a lost hold");
        kube.way().open();
        next(&kube);
    }
}

#[test]
fn a_hold_that_comes_back_at_the_last_moment_kills_nobody_later() {
    let kube = Kube::far();
    let options = ["--ttl", "6s", "--grace", "2s"];
    let second = stopped_before_it_began(&kube, &options, "sleep 2; echo > done");
    let renewed =
        || kube.get("leases", &kube.lock)["spec"]["renewTime"].as_str().unwrap().to_owned();
    let before = renewed();
    until("it is renewed", || renewed() != before);
    let at = Instant::now();
    kube.way().silence();
    // Between when its work is killed at the latest and when it ends.
    std::thread::sleep(Duration::from_millis(5_590).saturating_sub(at.elapsed()));
    kube.way().open();
    std::thread::sleep(Duration::from_millis(500));
    second.signal(Signal::CONT);
    let ran = second.end();
    assert_eq!(ran.code, Some(123), "it is over for good: {ran:?}");
    assert!(ran.stderr.contains("the command was not started"), "{ran:?}");
    next(&kube);
}

#[test]
fn a_hold_that_ran_out_is_given_back_only_when_its_work_has_ended() {
    let kube = Kube::far();
    // Where wall clocks decide, others wait for seconds after the work was ended.
    let store = kube.store("configmap");
    let line = format!("echo up; {STUBBORN}");
    let args = ["run", "--store", &store, "--ttl", "20s", "--grace", "2s", "LOCK", "-c", &line];
    let mut running = kube.start(&args);
    assert_eq!(running.line(), "up");
    until("it is born", || kube.read("born").ends_with('\n'));
    let slow = Slow::down(kube.read("born").trim().parse().unwrap());
    kube.way().silence();
    until("it is told to end", || slow.is_ending());
    kube.way().open();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        let ran = kube.run(&["run", "--store", &store, "-n", "LOCK", "--", "true"]);
        assert_eq!(ran.code, Some(124), "the work has not ended: {ran:?}");
    }
    slow.let_go();
    assert_eq!(running.end().code, Some(123));
}

/// Their Go programs end a hold by their own clocks, which may be 5 s apart from ours.
#[test]
fn where_wall_clocks_decide_the_work_ends_so_much_earlier() {
    let wall_clocks = |kube: &Kube, format: &str, lock: &str| {
        let store = kube.store(format);
        let line = format!("echo up; {STUBBORN}");
        let args = ["run", "--store", &store, "--ttl", "20s", "--grace", "2s", lock, "-c", &line];
        let mut running = kube.start(&args);
        assert_eq!(running.line(), "up");
        let pids = ["script", "born"].map(|name| {
            until(name, || kube.read(name).ends_with('\n'));
            kube.read(name).trim().parse().unwrap()
        });
        kube.way().silence();
        // 20 s less a hundredth, a twentieth and what clocks may be apart.
        let ended = ended(&pids);
        assert!(ended < Duration::from_millis(13_800), "{format}: {ended:?}");
        assert_eq!(running.end().code, Some(123), "{format}");
        kube.way().open();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| wall_clocks(&Kube::far(), "configmap", "nightly"));
        scope.spawn(|| {
            let kube = Kube::far();
            wall_clocks(&kube, "janus", &format!("{}/pod/x", kube.namespace));
        });
        scope.spawn(|| {
            let kube = Kube::far();
            kube.create("configmaps", "target", serde_json::json!({}));
            let format = "annotation&resource=v1/configmaps&object=target";
            wall_clocks(&kube, format, "nightly");
        });
    });
}
