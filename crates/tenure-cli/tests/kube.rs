//! The command on Kubernetes: every verb, on a real API server.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "kube")]

mod common;
#[path = "common/kube.rs"]
mod kube;

use std::time::{Duration, Instant};

use common::until;
use kube::Kube;
use rustix::process::Signal;

#[test]
fn a_command_runs_under_the_lock_and_the_next_one_after_it() {
    let kube = Kube::new();
    let first = kube.hold(&["--id", "me"], "exec sleep 1000");
    let shown = kube.show();
    assert_eq!((&shown["state"], &shown["holders"][0]["id"]), (&"held".into(), &"me".into()));
    let busy = kube.run(&["run", "-n", "LOCK", "--", "true"]);
    assert_eq!(busy.code, Some(124), "{busy:?}");
    assert!(busy.stderr.contains("is held since") && busy.stderr.contains("(me)"), "{busy:?}");
    let tells = "echo $TENURE_LOCK $TENURE_TOKEN $TENURE_HOLDER $TENURE_STORE";
    let second = kube.start(&["run", "--id", "you", "LOCK", "-c", tells]);
    std::thread::sleep(Duration::from_millis(300));
    first.signal(Signal::TERM);
    let ended = Instant::now();
    assert_eq!(first.end().code, Some(143));
    let ran = second.end();
    assert!(ended.elapsed() < Duration::from_secs(3), "it is woken: {:?}", ended.elapsed());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let said: Vec<_> = ran.stdout.split_whitespace().collect();
    assert_eq!((said[0], said[2]), (kube.lock.as_str(), "you"));
    assert!(said[1].parse::<u64>().unwrap() > shown["holders"][0]["token"].as_u64().unwrap());
    assert!(
        said[3].starts_with(&format!("kube:{}?", kube.namespace)) && !said[3].contains("id="),
        "{}",
        said[3]
    );
    assert_eq!(kube.show()["state"], "free");
}

#[test]
fn a_wait_has_an_end_and_leaves_nothing() {
    let kube = Kube::new();
    let holder = kube.hold(&[], "exec sleep 1000");
    let ran = kube.run(&["run", "-w", "700ms", "-E", "9", "LOCK", "--", "true"]);
    assert_eq!(ran.code, Some(9), "{ran:?}");
    assert!(ran.stderr.contains("the wait for lock"), "{ran:?}");
    let waiter = kube.start(&["run", "LOCK", "--", "true"]);
    let pid = waiter.pid();
    until("it waits", || kube::keeper_of(pid) > 0);
    std::thread::sleep(Duration::from_millis(300));
    waiter.signal(Signal::INT);
    assert_eq!(waiter.end().code, Some(130));
    drop(holder);
}

#[test]
fn what_happens_is_told_as_events() {
    let kube = Kube::new();
    let ran = kube.run(&["run", "--ttl", "1s", "--status-fd", "1", "LOCK", "-c", "sleep 1.5"]);
    let events: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = events.iter().map(|e| e["event"].as_str().unwrap()).collect();
    assert_eq!((names[0], *names.last().unwrap()), ("acquired", "ended"), "{names:?}");
    assert!(names.iter().filter(|name| **name == "renewed").count() >= 2, "{names:?}");
    assert!(events.iter().all(|e| e["lock"] == kube.lock.as_str()));
    let renewed = events.iter().find(|e| e["event"] == "renewed").unwrap();
    assert!((500..=1_000).contains(&renewed["remaining_ms"].as_u64().unwrap()), "{renewed}");
}

#[test]
fn a_lock_inside_itself_is_refused() {
    let kube = Kube::new();
    let inner = format!("{} run -n {} -- true", env!("CARGO_BIN_EXE_tenure"), kube.lock);
    let ran = kube.run(&["run", "LOCK", "-c", &inner]);
    assert_eq!(ran.code, Some(125), "{ran:?}");
    assert!(ran.stderr.contains("already held by a parent"), "{ran:?}");
}

#[test]
fn it_stays_busy_for_at_least_so_long() {
    let kube = Kube::new();
    let start = Instant::now();
    let ran = kube.run(&["run", "--at-least", "3s", "LOCK", "--", "true"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(start.elapsed() < Duration::from_secs(2), "it does not wait: {:?}", start.elapsed());
    assert_eq!(kube.run(&["run", "-n", "LOCK", "--", "true"]).code, Some(124));
    let ran = kube.run(&["run", "-w", "15s", "LOCK", "--", "true"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(start.elapsed() >= Duration::from_secs(3));
}

#[test]
fn steps_of_a_script_hold_it_with_a_file() {
    let kube = Kube::new();
    let ran = kube.run(&["acquire", "LOCK", "--ttl", "10m", "--hold", "hold", "--id", "me"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let shown = kube.show();
    assert_eq!(shown["ttl_ms"], 600_000);
    assert_eq!(shown["holders"][0]["token"].to_string(), ran.stdout.trim());
    assert_eq!(
        kube.run(&["acquire", "LOCK", "-n", "--ttl", "1m", "--hold", "other"]).code,
        Some(124)
    );
    assert!(!kube.path("other").exists());
    let renewed = kube.run(&["renew", "--hold", "hold", "--ttl", "20m"]);
    assert_eq!(renewed.code, Some(0), "{renewed:?}");
    let shown = kube.show();
    assert_eq!(shown["ttl_ms"], 1_200_000);
    assert_eq!(shown["holders"][0]["token"].to_string(), ran.stdout.trim(), "it is the same hold");
    assert_eq!(kube.run(&["release", "--hold", "hold"]).code, Some(0));
    assert_eq!(kube.show()["state"], "free");
    assert!(!kube.path("hold").exists());
}

#[test]
fn a_hold_that_ran_out_is_lost_to_its_file() {
    let kube = Kube::new();
    assert_eq!(kube.run(&["acquire", "LOCK", "--ttl", "1s", "--hold", "hold"]).code, Some(0));
    // The format's times move by whole seconds, so its end may be told a second late.
    std::thread::sleep(Duration::from_millis(2_100));
    let renewed = kube.run(&["renew", "--hold", "hold"]);
    assert_eq!(renewed.code, Some(123), "{renewed:?}");
    assert_eq!(kube.run(&["release", "--hold", "hold"]).code, Some(123));
    assert_eq!(kube.show()["state"], "free");
}

#[test]
fn a_wait_ends_when_the_lock_is_free() {
    let kube = Kube::new();
    assert_eq!(kube.run(&["wait", "LOCK"]).code, Some(0), "it was never taken");
    let holder = kube.hold(&[], "exec sleep 1000");
    assert_eq!(kube.run(&["wait", "-n", "LOCK"]).code, Some(124));
    let waiter = kube.start(&["wait", "LOCK"]);
    std::thread::sleep(Duration::from_millis(300));
    holder.signal(Signal::TERM);
    let ended = Instant::now();
    assert_eq!(waiter.end().code, Some(0));
    assert!(ended.elapsed() < Duration::from_secs(3), "{:?}", ended.elapsed());
}

#[test]
fn a_stolen_lock_is_lost_at_once() {
    let kube = Kube::new();
    let holder = kube.hold(&[], "exec sleep 1000");
    let stolen = kube.run(&["steal", "LOCK", "--reason", "test", "--yes", "--now"]);
    assert_eq!(stolen.code, Some(0), "{stolen:?}");
    assert!(stolen.stderr.contains("only its fencing token protects"), "{stolen:?}");
    let start = Instant::now();
    let ran = holder.end();
    assert_eq!(ran.code, Some(123), "{ran:?}");
    assert!(ran.stderr.contains("it was freed by somebody else"), "{ran:?}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn a_dead_hold_is_stolen_when_it_has_expired_and_a_live_one_is_not() {
    let kube = Kube::new();
    assert_eq!(kube.run(&["acquire", "LOCK", "--ttl", "2s", "--hold", "hold"]).code, Some(0));
    let start = Instant::now();
    let stolen = kube.run(&["steal", "LOCK", "--reason", "test", "--yes"]);
    assert_eq!(stolen.code, Some(0), "{stolen:?}");
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(kube.show()["state"], "free");
    let holder = kube.hold(&["--ttl", "1s"], "exec sleep 1000");
    let refused = kube.run(&["steal", "LOCK", "--reason", "test", "--yes"]);
    assert_eq!(refused.code, Some(124), "{refused:?}");
    assert_eq!(kube.show()["state"], "held");
    drop(holder);
}

#[test]
fn locks_are_listed() {
    let kube = Kube::new();
    let holder = kube.hold(&["--id", "me"], "exec sleep 1000");
    let ran = kube.run(&["ls", "--output", "json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let listed: Vec<serde_json::Value> = serde_json::from_str(&ran.stdout).unwrap();
    let own = listed.iter().find(|lock| lock["lock"] == kube.lock.as_str()).unwrap();
    assert_eq!((&own["state"], &own["holders"][0]["id"]), (&"held".into(), &"me".into()));
    assert!(own["queue"].is_null(), "nobody knows who waits: {own}");
    drop(holder);
}

#[test]
fn who_is_not_known_is_told_so_at_once() {
    let kube = Kube::new();
    kube.become_stranger();
    let start = Instant::now();
    for args in [
        &["run", "LOCK", "--", "true"][..],
        &["show", "LOCK"],
        &["ls"],
        &["wait", "LOCK"],
        &["acquire", "LOCK", "--ttl", "1m", "--hold", "hold"],
    ] {
        let ran = kube.run(args);
        assert_eq!(ran.code, Some(125), "{ran:?}");
        assert!(ran.stderr.contains("401") && ran.stderr.contains("credentials"), "{ran:?}");
    }
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    assert!(!kube.path("hold").exists());
}

#[test]
fn a_server_that_cannot_be_reached_is_given_up_in_time() {
    let kube = Kube::far();
    for closed in [true, false] {
        if closed {
            kube.way().close()
        } else {
            kube.way().silence()
        }
        let start = Instant::now();
        let ran = kube.run(&["run", "--connect-timeout", "1s", "LOCK", "--", "true"]);
        assert_eq!(ran.code, Some(125), "{ran:?}");
        assert!(!closed || ran.stderr.contains(" 127.0.0.1:"), "which server: {ran:?}");
        let waited = start.elapsed();
        assert!(waited >= Duration::from_secs(1) && waited < Duration::from_secs(5), "{waited:?}");
    }
}

#[test]
fn an_outage_while_waiting_is_waited_out() {
    let kube = Kube::far();
    let holder = kube.hold(&["--ttl", "60s"], "exec sleep 1000");
    let waiter = kube.start(&["run", "--connect-timeout", "1s", "LOCK", "-c", "echo mine"]);
    std::thread::sleep(Duration::from_secs(1));
    kube.way().close();
    std::thread::sleep(Duration::from_secs(9));
    kube.way().open();
    holder.signal(Signal::TERM);
    assert_eq!(holder.end().code, Some(143));
    let ran = waiter.end();
    assert_eq!((ran.code, ran.stdout.trim()), (Some(0), "mine"), "{ran:?}");
    assert_eq!(ran.stderr.matches("no news from the server").count(), 1, "{ran:?}");
}

#[test]
fn a_hold_file_is_of_one_cluster() {
    let kube = Kube::far();
    let acquire = ["acquire", "LOCK", "--ttl", "1m", "--hold", "hold"];
    assert_eq!(kube.run(&acquire).code, Some(0));
    let (near, far) = (Kube::new().read("kubeconfig"), kube.read("kubeconfig"));
    // Another cluster, as far as anybody can tell.
    std::fs::write(kube.path("kubeconfig"), near).unwrap();
    for args in [&["release", "--hold", "hold"][..], &["renew", "--hold", "hold"]] {
        let refused = kube.run(args);
        assert_eq!(refused.code, Some(125), "{refused:?}");
        assert!(refused.stderr.contains("is of the cluster at"), "{refused:?}");
    }
    std::fs::write(kube.path("kubeconfig"), far).unwrap();
    assert_eq!(kube.run(&["release", "--hold", "hold"]).code, Some(0));
}

/// Each lock is a Role of its own, and where janus' locks are the rights are, too.
#[test]
fn what_is_applied_for_one_lock_takes_nothing_from_another() {
    let kube = Kube::new();
    let apply = |args: &[&str]| {
        let role = kube.run(&[&["rbac", "--account", "runner"], args].concat());
        assert_eq!(role.code, Some(0), "{role:?}");
        tenure_servers::kube().apply(&kube.namespace, &role.stdout);
        role.stdout
    };
    let name = |role: &str| role.lines().find(|l| l.starts_with("  name: ")).unwrap().to_owned();
    let (one, two) = (apply(&["one"]), apply(&["two"]));
    assert_ne!(name(&one), name(&two));
    let janus = ["--store", "kube:jobs?format=janus&id=tx", "b/pod/x", "a/pod/y", "a/pod/z"];
    let role = kube.run(&[&["rbac", "--account", "runner"], &janus[..]].concat()).stdout;
    let placed: Vec<_> = role.lines().filter(|line| line.starts_with("  namespace: ")).collect();
    let [a, b, jobs] = ["a", "b", "jobs"].map(|of| format!("  namespace: {of}"));
    assert_eq!(placed, [&a, &a, &jobs, &b, &b, &jobs]);
    kube.become_account("runner");
    until("the rights are there", || {
        ["one", "two"].iter().all(|lock| kube.run(&["show", lock]).code == Some(0))
    });
}

#[test]
fn who_may_not_watch_is_told_so_once() {
    let kube = Kube::new();
    let role = kube.run(&["rbac", "--account", "runner"]).stdout.replace(", watch", "");
    assert!(!role.contains("watch"), "{role}");
    tenure_servers::kube().apply(&kube.namespace, &role);
    let holder = kube.hold(&[], "exec sleep 1000");
    kube.become_account("runner");
    until("the right is there", || kube.run(&["show", "LOCK"]).code == Some(0));
    let ran = kube.run(&["run", "-w", "5s", "LOCK", "--", "true"]);
    assert_eq!(ran.code, Some(124), "{ran:?}");
    assert_eq!(ran.stderr.matches("warning: cannot watch").count(), 1, "{ran:?}");
    holder.signal(Signal::TERM);
    holder.end();
}

#[test]
fn the_printed_role_is_enough_and_no_more() {
    let kube = Kube::new();
    // It stands there already, so that the account need not create it.
    assert_eq!(kube.run(&["run", "LOCK", "--", "true"]).code, Some(0));
    let role = kube.run(&["rbac", "--account", "runner", "LOCK"]);
    assert_eq!(role.code, Some(0), "{role:?}");
    kube.become_account("runner");
    let denied = kube.run(&["run", "LOCK", "--", "true"]);
    assert_eq!(denied.code, Some(125), "{denied:?}");
    assert!(denied.stderr.contains("tenure rbac"), "{denied:?}");
    tenure_servers::kube().apply(&kube.namespace, &role.stdout);
    // The authorizer learns of a binding from a watch.
    until("the right is there", || kube.run(&["show", "LOCK"]).code == Some(0));
    for args in [
        &["run", "LOCK", "--", "true"][..],
        &["wait", "LOCK"],
        &["acquire", "LOCK", "--ttl", "1m", "--hold", "hold"],
        &["renew", "--hold", "hold"],
        &["steal", "LOCK", "--now", "--yes", "--reason", "test"],
    ] {
        let ran = kube.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
    }
    assert_eq!(kube.run(&["release", "--hold", "hold"]).code, Some(123));
    for args in [&["ls"][..], &["show", "another"], &["wait", "another"]] {
        let ran = kube.run(args);
        assert_eq!(ran.code, Some(125), "{args:?}: {ran:?}");
    }
    let refused = kube.run(&["rbac", "--store", "local:"]);
    assert_eq!(refused.code, Some(125), "{refused:?}");
}
