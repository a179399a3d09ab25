//! The command beside the Go programs of each format: their records, well and badly formed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "kube")]

mod common;
#[path = "common/kube.rs"]
mod kube;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::Ran;
use kube::Kube;
use serde_json::{Value, json};

/// A moment as Go writes it, this many seconds from now.
fn time(from_now: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let at = now.checked_add_signed(from_now).unwrap();
    tenure_time(at)
}

/// Whole seconds since 1970 as RFC 3339 with six digits.
fn tenure_time(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, in eras of 400 years.
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + u64::from(month <= 2);
    let (h, m, s) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.000000Z")
}

/// `tenure` with these arguments on another store.
fn on(kube: &Kube, store: &str, args: &[&str]) -> Ran {
    kube.run(&[&[args[0], "--store", store], &args[1..]].concat())
}

/// A lock of lockheed's as Go leaves it.
fn lockheed(lease: Value, tags: &[&str]) -> Value {
    let state = json!({"name": "nightly", "lockType": "mutex", "leases": lease, "tags": tags});
    json!({
        "metadata": {"labels": {"lockheed/lock": ""}},
        "data": {"lock": state.to_string()},
    })
}

#[test]
fn a_lease_of_lockheed_is_shown_asked_waited_for_and_stolen() {
    let kube = Kube::new();
    let store = kube.store("configmap");
    let tenure = |args: &[&str]| on(&kube, &store, args);
    let lease = json!({"go-1": {"instanceID": "go-1", "expires": time(3)}});
    kube.create("configmaps", "lockheed-nightly", lockheed(lease, &["blue"]));
    let shown = tenure(&["show", "nightly", "--output", "json"]);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    let holder = &shown["holders"][0];
    assert_eq!((&shown["state"], &shown["tags"]), (&json!("held"), &json!(["blue"])));
    assert_eq!(holder["id"], "go-1");
    assert!(holder["token"].is_null() && holder["since"].is_null(), "{holder}");
    assert!(holder["remaining_ms"].as_u64().unwrap() <= 3_000, "{holder}");
    let text = tenure(&["show", "nightly"]).stdout;
    assert!(text.contains("holder  go-1, no token, ends in"), "{text}");
    // What Go can ask of it, and what it answers.
    for (condition, is) in [
        ("tags contains blue and acquired = true", true),
        ("tags contains green or acquired = false", false),
        ("holder = go-1", true),
        // Nobody knows since when.
        ("age > 0s", false),
    ] {
        let listed = tenure(&["ls", "--output", "json", "--where", condition]).stdout;
        assert_eq!(listed.trim() != "[]", is, "{condition}: {listed}");
    }
    let busy = tenure(&["run", "-n", "nightly", "--", "true"]);
    assert_eq!(busy.code, Some(124), "{busy:?}");
    assert!(busy.stderr.contains("is held (go-1)"), "{busy:?}");
    // It ends at its time and what clocks may be apart; one that is renewed meanwhile would not.
    let start = Instant::now();
    let ran = tenure(&["wait", "nightly"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
    let stolen = tenure(&["steal", "nightly", "--reason", "gone", "--yes"]);
    assert_eq!(stolen.code, Some(0), "{stolen:?}");
    let object = kube.get("configmaps", "lockheed-nightly");
    let state: Value = serde_json::from_str(object["data"]["lock"].as_str().unwrap()).unwrap();
    assert_eq!((&state["leases"], &state["tags"]), (&json!({}), &json!(["blue"])));
}

#[test]
fn a_lock_of_lockheed_without_an_end_is_taken_away_only_on_condition_and_at_once() {
    let kube = Kube::new();
    let store = kube.store("configmap");
    let tenure = |args: &[&str]| on(&kube, &store, args);
    let lease = json!({"go-1": {"instanceID": "go-1", "expires": "9999-12-31T23:59:59Z"}});
    kube.create("configmaps", "lockheed-nightly", lockheed(lease, &["maintenance"]));
    let steal = ["steal", "nightly", "--reason", "over", "--yes"];
    let refused = tenure(&steal);
    assert_eq!(refused.code, Some(125), "{refused:?}");
    assert!(refused.stderr.contains("never ends by time; --now frees it"), "{refused:?}");
    let other = tenure(&[&steal[..], &["--now", "--where", "tags contains blue"]].concat());
    assert_eq!(other.code, Some(124), "{other:?}");
    assert_eq!(tenure(&["run", "-n", "nightly", "--", "true"]).code, Some(124));
    let ran = tenure(&[&steal[..], &["--now", "--where", "tags contains maintenance"]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(tenure(&["run", "-n", "nightly", "--", "true"]).code, Some(0));
}

/// The tags of lockheed's state.
fn tags(kube: &Kube) -> Value {
    let object = kube.get("configmaps", "lockheed-nightly");
    let state: Value = serde_json::from_str(object["data"]["lock"].as_str().unwrap()).unwrap();
    state.get("tags").cloned().unwrap_or_default()
}

#[test]
fn tags_add_up_as_lockheeds_do_or_stand_in_place_of_the_earlier_ones() {
    let kube = Kube::new();
    let store = kube.store("configmap");
    kube.create("configmaps", "lockheed-nightly", lockheed(json!({}), &["blue"]));
    let run = |options: &[&str]| {
        let ran = on(&kube, &store, &[&["run"], options, &["nightly", "--", "true"]].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        tags(&kube)
    };
    assert_eq!(run(&[]), json!(["blue"]), "a hold without any leaves them");
    assert_eq!(run(&["--add-tag", "red", "--add-tag", "blue"]), json!(["blue", "red"]));
    let acquire = ["acquire", "nightly", "--ttl", "1m", "--hold", "h", "--add-tag", "green"];
    assert_eq!(on(&kube, &store, &acquire).code, Some(0));
    assert_eq!(tags(&kube), json!(["blue", "green", "red"]));
    let release = ["release", "--hold", "h", "--add-tag", "done"];
    assert_eq!(on(&kube, &store, &release).code, Some(0));
    assert_eq!(tags(&kube), json!(["blue", "done", "green", "red"]));
    assert_eq!(run(&["--tag", "only"]), json!(["only"]));
    for args in [&acquire[..6], &["release", "--hold", "h", "--tag", "last"]] {
        assert_eq!(on(&kube, &store, args).code, Some(0));
    }
    assert_eq!(tags(&kube), json!(["last"]));
    // What says nothing of tags leaves a lock as busy as it was.
    let lease = kube.store("lease");
    assert_eq!(on(&kube, &lease, &acquire[..6]).code, Some(0));
    let refused = on(&kube, &lease, &["release", "--hold", "h", "--tag", "a"]);
    assert_eq!(refused.code, Some(125), "{refused:?}");
    assert!(refused.stderr.contains("no place for tags"), "{refused:?}");
    assert_eq!(on(&kube, &lease, &["release", "--hold", "h"]).code, Some(0));
    for (args, says) in [
        (&["run", "--tag", "a", "--add-tag", "b", "nightly", "--", "true"][..], "contradict"),
        (&["run", "--add-tag", "", "nightly", "--", "true"], "--add-tag `` is empty"),
        (&["run", "--store", "local:", "--add-tag", "a", "x", "--", "true"], "stand in line"),
        (&["run", "--add-tag", "a", "nightly", "--", "true"], "this store has no place for tags"),
    ] {
        let ran = kube.run(args);
        assert_eq!(ran.code, Some(125), "{ran:?}");
        assert!(ran.stderr.contains(says) && ran.stderr.lines().count() == 1, "{ran:?}");
    }
}

#[test]
fn a_hold_without_an_end_is_refused_at_once_where_it_cannot_be_said() {
    let kube = Kube::new();
    kube.create("configmaps", "target", json!({}));
    let janus = format!("{}/pod/x", kube.namespace);
    let on_target = "annotation&resource=v1/configmaps&object=target";
    for (format, name) in [("lease", "x"), (on_target, "x"), ("janus", &*janus)] {
        let acquire = ["acquire", name, "--ttl", "never", "--hold", "h"];
        let refused = on(&kube, &kube.store(format), &acquire);
        assert_eq!(refused.code, Some(125), "{refused:?}");
        assert!(refused.stderr.contains("always ends by time; give a ttl"), "{refused:?}");
    }
    assert!(!kube.path("h").exists());
    assert_eq!(kube.get("leases", "")["items"], json!([]), "nothing was written");
}

#[test]
fn a_hold_without_an_end_is_for_those_who_leave_it_behind() {
    let kube = Kube::new();
    let store = kube.store("configmap");
    let acquire = ["acquire", "nightly", "--ttl", "never", "--hold", "h", "--id", "ops"];
    let acquired = on(&kube, &store, &acquire);
    assert_eq!(acquired.code, Some(0), "{acquired:?}");
    let object = kube.get("configmaps", "lockheed-nightly");
    let state: Value = serde_json::from_str(object["data"]["lock"].as_str().unwrap()).unwrap();
    assert_eq!(state["leases"]["ops"]["expires"], "9999-12-31T23:59:59Z", "as Go writes it");
    let shown = on(&kube, &store, &["show", "nightly"]).stdout;
    assert!(shown.contains("state   held\n") && shown.contains("never ends by time"), "{shown}");
    let shown = on(&kube, &store, &["show", "nightly", "--output", "json"]).stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&shown["ttl_ms"], &shown["holders"][0]["remaining_ms"]),
        (&json!(null), &json!(null))
    );
    assert_eq!(shown["holders"][0]["token"].to_string(), acquired.stdout.trim());
    let ran = on(&kube, &store, &["run", "-w", "1s", "nightly", "--", "true"]);
    assert_eq!(ran.code, Some(124), "{ran:?}");
    // From never to an end, and back.
    for (ttl, expected) in [("10m", json!(600_000)), ("never", json!(null))] {
        let renewed = on(&kube, &store, &["renew", "--hold", "h", "--ttl", ttl]);
        assert_eq!(renewed.code, Some(0), "{renewed:?}");
        let shown = on(&kube, &store, &["show", "nightly", "--output", "json"]).stdout;
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["ttl_ms"], expected);
    }
    assert_eq!(on(&kube, &store, &["renew", "--hold", "h"]).code, Some(0), "as last time");
    assert_eq!(on(&kube, &store, &["release", "--hold", "h"]).code, Some(0));
    assert_eq!(on(&kube, &store, &["run", "-n", "nightly", "--", "true"]).code, Some(0));
    let refused = on(&kube, &store, &["run", "--ttl", "never", "nightly", "--", "true"]);
    assert_eq!(refused.code, Some(125), "{refused:?}");
    assert!(refused.stderr.contains("--ttl `never` is not a duration"), "{refused:?}");
}
