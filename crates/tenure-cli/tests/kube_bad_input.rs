//! What users and other programs may get wrong in a cluster: one line that names it, or a documented
//! reading; and never a hold, a damaged record or a panic.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "kube")]

mod common;
#[path = "common/kube.rs"]
mod kube;

use std::time::{Duration, Instant};

use common::Ran;
use kube::Kube;
use serde_json::{Value, json};

const KEY: &str = "kubelock.giantswarm.io/nightly";
const ON_TARGET: &str = "annotation&resource=v1/configmaps&object=target";

/// `tenure` with these arguments behind the verb, in this format.
fn on(kube: &Kube, format: &str, args: &[&str]) -> Ran {
    kube.run(&[&[args[0], "--store", &kube.store(format)], &args[1..]].concat())
}

/// It is refused in one line that says all of this, and nothing ran.
fn refused(ran: &Ran, says: &[&str]) {
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(125), ""), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    for part in says {
        assert!(ran.stderr.contains(part), "no `{part}` in {ran:?}");
    }
}

#[test]
fn names_that_a_format_has_not_are_refused_by_every_verb() {
    let kube = Kube::new();
    kube.create("configmaps", "target", json!({}));
    let long = "x".repeat(254);
    let nearly = "x".repeat(245);
    let label = "x".repeat(64);
    for (format, name, says) in [
        ("lease", "Nightly", "is no name of a Lease: give at most 253 lower-case letters"),
        ("lease", "a/b", "is no name of a Lease"),
        ("lease", "../b", "is no name of a Lease"),
        ("lease", "a b", "is no name of a Lease"),
        ("lease", "é", "is no name of a Lease"),
        ("lease", &long, "is no name of a Lease"),
        ("configmap", "Nightly", "makes no name of a ConfigMap: give at most 244"),
        ("configmap", &nearly, "makes no name of a ConfigMap"),
        (ON_TARGET, "a/b", "is no name of an annotation: give at most 63"),
        (ON_TARGET, "a-", "is no name of an annotation"),
        (ON_TARGET, &label, "is no name of an annotation"),
        ("janus", "web", "names no resource: give NAMESPACE/KIND/NAME"),
        ("janus", "a/b/c/d", "names no resource"),
        ("janus", "Default/pod/x", "names no resource"),
        ("janus", "default//x", "names no resource"),
        ("janus", "default/Pod/x", "is not in lower case: give `default/pod/x`"),
    ] {
        refused(&on(&kube, format, &["run", name, "--", "touch", "ran"]), &[says]);
    }
    for (format, name, says) in [
        ("lease", "a/b", "is no name of a Lease"),
        ("configmap", "Nightly", "makes no name of a ConfigMap"),
        (ON_TARGET, "a/b", "is no name of an annotation"),
        ("janus", "web", "names no resource"),
    ] {
        for args in [
            &["show", name][..],
            &["wait", "-n", name],
            &["acquire", name, "--ttl", "1m", "--hold", "hold"],
            &["steal", name, "--reason", "r", "--now", "--yes"],
            &["doctor", name],
        ] {
            refused(&on(&kube, format, args), &[says]);
        }
    }
    assert!(!kube.path("ran").exists() && !kube.path("hold").exists());
    let objects = kube.get("leases", "")["items"].clone();
    assert_eq!(objects, json!([]), "nothing was written");
}

#[test]
fn names_that_a_go_program_could_not_create_have_a_hashed_one() {
    let kube = Kube::new();
    let name = format!("{}/clusterrole/system:{}", kube.namespace, "x".repeat(250));
    // An identity that is no value of a label is left out there, and stands in the spec.
    let id = "t".repeat(64);
    let store = format!("{}&id={id}", kube.store("janus"));
    let args = ["acquire", "--store", &store, &name, "--ttl", "10m", "--hold", "hold"];
    assert_eq!(kube.run(&args).code, Some(0));
    let leases = kube.get("leases", "");
    let [lease] = &leases["items"].as_array().unwrap()[..] else { panic!("{leases}") };
    let object = lease["metadata"]["name"].as_str().unwrap();
    assert!(object.starts_with("janus-lock-") && object.len() == 11 + 32, "{object}");
    assert_eq!(lease["metadata"]["annotations"]["tenure.dev/lock"], name.as_str());
    assert_eq!(lease["metadata"]["labels"], json!({"app.kubernetes.io/managed-by": "janus"}));
    assert_eq!(lease["spec"]["holderIdentity"], id.as_str());
    let listed = on(&kube, "janus", &["ls", "--output", "json"]).stdout;
    assert!(listed.contains(&name), "{listed}");
    assert_eq!(on(&kube, "janus", &["release", "--hold", "hold"]).code, Some(0));
    assert_eq!(kube.get("leases", "")["items"], json!([]));
}

#[test]
fn a_ttl_is_rounded_up_where_seconds_are_stored_and_never_nothing() {
    let kube = Kube::new();
    kube.create("configmaps", "target", json!({}));
    let janus = format!("{}/pod/x", kube.namespace);
    for (format, lock, ttl, says) in [
        ("lease", "nightly", "0", "--ttl `0` is zero"),
        ("lease", "nightly", "0s", "is zero"),
        ("lease", "nightly", "-1", "negative"),
        ("configmap", "nightly", "15s", "20s"),
        (ON_TARGET, "nightly", "19.9s", "20s"),
        ("janus", &janus, "500ms", "the smallest ttl that fits"),
    ] {
        refused(&on(&kube, format, &["run", "--ttl", ttl, lock, "--", "true"]), &[says]);
    }
    for (ttl, seconds) in [("900ms", 1), ("1s", 1), ("1.001s", 2), ("2500ms", 3)] {
        let line = "echo up; exec sleep 1000";
        let mut running = kube.start(&["run", "--ttl", ttl, "LOCK", "-c", line]);
        assert_eq!(running.line(), "up");
        let spec = kube.get("leases", "nightly")["spec"].clone();
        assert_eq!(spec["leaseDurationSeconds"], seconds, "{ttl}");
        running.signal(rustix::process::Signal::TERM);
        running.end();
    }
    let store = kube.store("janus");
    let args = ["acquire", "--store", &store, &janus, "--ttl", "60.2s", "--hold", "hold"];
    assert_eq!(kube.run(&args).code, Some(0));
    let lease = kube.get("leases", &format!("janus-lock-{}-pod-x", kube.namespace));
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 61);
}

/// Objects that hold no lock that can be understood: which verb says what, and it is left as it is.
fn left_alone(kube: &Kube, format: &str, (plural, object): (&str, &str), says: &str) {
    let before = kube.get(plural, object);
    for args in [
        &["run", "nightly", "--", "touch", "ran"][..],
        &["show", "nightly"],
        &["wait", "-n", "nightly"],
        &["steal", "nightly", "--reason", "r", "--now", "--yes"],
    ] {
        refused(&on(kube, format, args), &[says]);
    }
    // A listing says it of this lock and goes on.
    let listed = on(kube, format, &["ls", "--output", "json"]);
    assert_eq!((listed.code, listed.stdout.trim()), (Some(125), "[]"), "{listed:?}");
    assert!(listed.stderr.contains(says), "{listed:?}");
    assert_eq!(kube.get(plural, object), before, "{says}");
    assert!(!kube.path("ran").exists());
}

#[test]
fn states_of_lockheed_that_cannot_be_understood_are_never_free() {
    let kube = Kube::new();
    let in_state = |state: &str| json!({"metadata": {"labels": {"lockheed/lock": ""}}, "data": {"lock": state}});
    let lease = |expires: &str| {
        let lease = json!({"go": {"instanceID": "go", "expires": expires}});
        json!({"name": "nightly", "lockType": "mutex", "leases": lease}).to_string()
    };
    let two = json!({"lockType": "mutex", "leases": {"a": {}, "b": {}}}).to_string();
    for (state, says) in [
        ("", "data.lock is not lockheed's"),
        ("no json", "data.lock is not lockheed's"),
        ("[]", "it is no object"),
        (r#"{"name":"nightly","lockType":"shared"}"#, "lockType \"shared\" is not known"),
        (r#"{"name":"nightly","lockType":7}"#, "lockType is not what belongs there"),
        (r#"{"name":"nightly","leases":[]}"#, "leases is not what belongs there"),
        (r#"{"name":"nightly","tags":"blue"}"#, "tags is not what belongs there"),
        (&two, "Invalid number of leases for mutex lock: 2"),
        (&lease("tomorrow"), "expires is not what belongs there"),
        (&lease("99999-01-01T00:00:00Z"), "expires is not what belongs there"),
        (&lease("2026-13-01T00:00:00Z"), "expires is not what belongs there"),
    ] {
        kube.create("configmaps", "lockheed-nightly", in_state(state));
        left_alone(&kube, "configmap", ("configmaps", "lockheed-nightly"), says);
        kube.ask("DELETE", &kube.objects("configmaps", "lockheed-nightly"), None);
    }
    let none = json!({"metadata": {"labels": {"lockheed/lock": ""}}});
    kube.create("configmaps", "lockheed-nightly", none);
    left_alone(&kube, "configmap", ("configmaps", "lockheed-nightly"), "it is missing");
}

#[test]
fn annotations_that_cannot_be_understood_are_never_free() {
    let kube = Kube::new();
    kube.create("configmaps", "target", json!({"data": {"a": "b"}}));
    let put = |value: &str| {
        let mut object = kube.get("configmaps", "target");
        object["metadata"]["annotations"][KEY] = json!(value);
        let (status, answer) =
            kube.ask("PUT", &kube.objects("configmaps", "target"), Some(&object));
        assert_eq!(status, 200, "{answer}");
    };
    for (value, says) in [
        ("", "its annotation is not kubelock's"),
        ("no json", "its annotation is not kubelock's"),
        ("7", "it is no object"),
        (r#"{"owner":7}"#, "owner is not what belongs there"),
        (r#"{"owner":"go","ttl":"5m"}"#, "ttl is not what belongs there"),
        (r#"{"owner":"go","ttl":1e9}"#, "ttl is not what belongs there"),
        (r#"{"owner":"go","ttl":99999999999999999999}"#, "ttl is not what belongs there"),
        (r#"{"owner":"go","createdAt":"now","ttl":1}"#, "createdAt is not what belongs there"),
    ] {
        put(value);
        left_alone(&kube, ON_TARGET, ("configmaps", "target"), says);
    }
    // What Go takes for a lock that ended long ago.
    for value in ["null", "{}", r#"{"owner":"go"}"#, r#"{"owner":"go","ttl":300000000000}"#] {
        put(value);
        let ran = on(&kube, ON_TARGET, &["run", "-n", "nightly", "--", "true"]);
        assert_eq!(ran.code, Some(0), "{value}: {ran:?}");
        let target = kube.get("configmaps", "target");
        assert_eq!(
            (target["data"]["a"].as_str(), target["metadata"].get("annotations")),
            (Some("b"), None)
        );
    }
}

#[test]
fn leases_with_fields_missing_are_read_as_their_programs_read_them() {
    let kube = Kube::new();
    let put = |spec: Value| {
        kube.ask("DELETE", &kube.objects("leases", "nightly"), None);
        kube.create("leases", "nightly", json!({"spec": spec}));
    };
    // Nobody holds what names nobody, whatever else it says.
    for spec in [
        json!({}),
        json!(null),
        json!({"holderIdentity": ""}),
        json!({"leaseDurationSeconds": 3600, "renewTime": "2999-01-01T00:00:00.000000Z"}),
    ] {
        put(spec.clone());
        let ran = kube.run(&["run", "-n", "LOCK", "--", "true"]);
        assert_eq!(ran.code, Some(0), "{spec}: {ran:?}");
    }
    // Without a duration it never ends, and that is said.
    put(json!({"holderIdentity": "go"}));
    assert_eq!(kube.run(&["run", "-w", "2s", "LOCK", "--", "true"]).code, Some(124));
    refused(
        &kube.run(&["steal", "LOCK", "--reason", "r", "--now", "--yes", "--where", "tag = x"]),
        &["field tag"],
    );
    let steal = kube.run(&["steal", "LOCK", "--reason", "r", "--yes"]);
    assert_eq!(steal.code, Some(125), "{steal:?}");
    assert!(steal.stderr.contains("never ends by time; --now frees it"), "{steal:?}");
    // A transaction's Lease without a time, or without a duration, has ended.
    let (name, object) =
        (format!("{}/pod/x", kube.namespace), format!("janus-lock-{}-pod-x", kube.namespace));
    for spec in [
        json!({"holderIdentity": "go", "leaseDurationSeconds": 3600}),
        json!({"holderIdentity": "go", "renewTime": "2999-01-01T00:00:00.000000Z"}),
    ] {
        let labels = json!({"app.kubernetes.io/managed-by": "janus"});
        kube.create("leases", &object, json!({"metadata": {"labels": labels}, "spec": spec}));
        let ran = on(&kube, "janus", &["run", "-n", &name, "--", "true"]);
        assert_eq!(ran.code, Some(0), "{spec}: {ran:?}");
    }
}

#[test]
fn times_far_in_the_future_hold_nobody_up_where_clocks_do_not_decide() {
    let kube = Kube::new();
    kube.create("configmaps", "target", json!({}));
    let far = "9998-01-01T00:00:00.000000Z";
    let spec = json!({
        "holderIdentity": "go", "leaseDurationSeconds": 3, "acquireTime": far, "renewTime": far,
    });
    kube.create("leases", "nightly", json!({"spec": spec}));
    let value = json!({"owner": "go", "createdAt": far, "ttl": 3_000_000_000_u64}).to_string();
    let mut target = kube.get("configmaps", "target");
    target["metadata"]["annotations"] = json!({KEY: value});
    kube.ask("PUT", &kube.objects("configmaps", "target"), Some(&target));
    for format in ["lease", ON_TARGET] {
        assert_eq!(on(&kube, format, &["run", "-n", "nightly", "--", "true"]).code, Some(124));
        let shown = on(&kube, format, &["show", "nightly", "--output", "json"]);
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
        assert_eq!(shown["state"], "held");
        // It did not move for its ttl, and that is all that counts.
        let start = Instant::now();
        let ran = on(&kube, format, &["run", "-w", "15s", "nightly", "--", "true"]);
        assert_eq!(ran.code, Some(0), "{format}: {ran:?}");
        assert!(start.elapsed() >= Duration::from_secs(3), "{:?}", start.elapsed());
    }
    // lockheed says nothing but when it ends.
    let lease = json!({"go": {"instanceID": "go", "expires": far}});
    let state = json!({"name": "nightly", "lockType": "mutex", "leases": lease}).to_string();
    kube.create("configmaps", "lockheed-nightly", json!({"data": {"lock": state}}));
    let ran = on(&kube, "configmap", &["run", "-w", "1s", "nightly", "--", "true"]);
    assert_eq!(ran.code, Some(124), "{ran:?}");
}

/// A holder's name may be as long as an object; it is shown cut short, and the lock is busy.
#[test]
fn a_holder_of_any_length_is_in_the_way_like_any_other() {
    let kube = Kube::new();
    for len in [100_000, 400_000] {
        let name = format!("of-{len}");
        let spec = json!({
            "holderIdentity": "h".repeat(len),
            "leaseDurationSeconds": 600,
            "renewTime": "2099-01-01T00:00:00.000000Z",
        });
        kube.create("leases", &name, json!({ "spec": spec }));
        for wait in ["-n", "-w1"] {
            let ran = kube.run(&["run", wait, &name, "--", "touch", "ran"]);
            assert_eq!(ran.code, Some(124), "{:.200}", ran.stderr);
        }
    }
    assert!(!kube.path("ran").exists());
}

/// A plugin for credentials that hangs, before anything can be asked of the server.
#[test]
fn a_plugin_that_hangs_is_waited_for_no_longer_than_the_first_contact_may_take() {
    let kube = Kube::new();
    let mut config: Value = serde_json::from_str(&kube.read("kubeconfig")).unwrap();
    config["users"][0]["user"] = json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "sleep",
        "args": ["60"],
        "interactiveMode": "Never",
    }});
    std::fs::write(kube.path("kubeconfig"), config.to_string()).unwrap();
    for (limit, code) in [("--connect-timeout=1s", 125), ("-w1", 124)] {
        let start = Instant::now();
        let ran = kube.run(&["run", limit, "LOCK", "--", "touch", "ran"]);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    }
    assert!(!kube.path("ran").exists());
}

/// What one without patience asked for and got no answer to is not taken for somebody's hold.
#[test]
fn a_server_that_never_answers_is_no_busy_lock() {
    let kube = Kube::far();
    kube.way().silence();
    let ran = kube.run(&["run", "-n", "LOCK", "--", "touch", "ran"]);
    assert_eq!(ran.code, Some(125), "{ran:?}");
    assert!(!kube.path("ran").exists());
}
