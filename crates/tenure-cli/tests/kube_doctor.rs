//! `tenure doctor` on a real API server: what it finds, and that what it advises helps.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "kube")]

mod common;
#[path = "common/kube.rs"]
mod kube;

use std::time::{Duration, Instant};

use common::{Ran, until};
use kube::Kube;
use serde_json::{Value, json};
use snapbox::{assert_data_eq, file};

/// What it finds, as JSON, and its exit code.
fn found(kube: &Kube, args: &[&str]) -> (Vec<Value>, Option<i32>) {
    let ran = kube.run(&[&["doctor", "--output", "json"], args].concat());
    let report: Value =
        serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    (report["findings"].as_array().unwrap().clone(), ran.code)
}

/// The findings of one kind.
fn of<'a>(findings: &'a [Value], check: &str) -> Vec<&'a Value> {
    findings.iter().filter(|finding| finding["check"] == check).collect()
}

fn is(finding: &Value, state: &str, what: &str) {
    assert_eq!(finding["state"], state, "{finding}");
    assert!(finding["what"].as_str().unwrap().contains(what), "no `{what}` in {finding}");
}

/// Every number, and the namespace, which differ from run to run.
fn masked(kube: &Kube, text: &str) -> String {
    let text = text.replace(&kube.url(), "kube:NAMESPACE").replace(&kube.namespace, "NAMESPACE");
    let mut out = String::new();
    for c in text.chars() {
        if !c.is_ascii_digit() {
            out.push(c);
        } else if !out.ends_with('N') {
            out.push('N');
        }
    }
    // Ahead or behind is the machine's affair.
    let words = ["at most N.N s behind and N.N s ahead of", "N.N s to N.N s ahead of"];
    let out = words.iter().fold(out, |out, words| out.replace(words, "SOMEWHERE BY"));
    out.replace("N.N s to N.N s behind", "SOMEWHERE BY").replace(":-N", ":N")
}

#[test]
fn a_healthy_lock_is_said_to_be_so() {
    let kube = Kube::new();
    assert_eq!(kube.run(&["run", "LOCK", "--", "true"]).code, Some(0));
    let ran = kube.run(&["doctor", "LOCK", "--ttl", "60"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert_data_eq!(masked(&kube, &ran.stdout), file!["snapshots/doctor.txt"]);
    let ran = kube.run(&["doctor", "LOCK", "--ttl", "60", "--output", "json"]);
    let text = masked(&kube, &ran.stdout).replace("{\"check", "\n {\"check");
    assert_data_eq!(text.replace("{\"timing", "\n {\"timing"), file!["snapshots/doctor.json"]);
}

#[test]
fn what_is_advised_gives_the_rights_that_are_missing() {
    let kube = Kube::new();
    let on = "annotation&resource=v1/configmaps&object=target";
    kube.create("configmaps", "target", json!({}));
    for (format, lock, rights) in [
        ("lease", "nightly", 4),
        ("configmap", "nightly", 4),
        (on, "nightly", 3),
        ("janus", &*format!("{}/pod/x", kube.namespace), 5),
    ] {
        let store = kube.store(format);
        kube.become_account(&format[..5]);
        let doctor = ["--store", &store, lock];
        let (findings, code) = found(&kube, &doctor);
        let missing = of(&findings, "rights");
        assert_eq!((missing.len(), code), (rights, Some(125)), "{format}: {missing:?}");
        missing.iter().for_each(|missing| is(missing, "bad", "is not allowed"));
        // What it says, by a shell.
        let change = missing[0]["change"].as_str().unwrap();
        let command = change.split('`').nth(1).unwrap();
        let command = command.replacen("tenure", env!("CARGO_BIN_EXE_tenure"), 1);
        let printed = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
        let role = Ran::of(&printed);
        assert_eq!(role.code, Some(0), "{command}: {role:?}");
        tenure_servers::kube().apply(&kube.namespace, &role.stdout);
        until("the rights are there", || found(&kube, &doctor).1 == Some(0));
        let ran = kube.run(&["run", "--store", &store, lock, "--", "true"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
}

#[test]
fn a_server_that_does_not_answer_or_does_not_know_us_is_a_finding() {
    let kube = Kube::far();
    kube.way().close();
    let (findings, code) = found(&kube, &["LOCK"]);
    assert_eq!((findings.len(), code), (1, Some(125)), "{findings:?}");
    is(&findings[0], "bad", "no answer");
    assert!(findings[0]["change"].as_str().unwrap().contains("kubeconfig="), "{findings:?}");
    kube.way().open();
    kube.way().silence();
    let start = Instant::now();
    let (findings, code) = found(&kube, &["LOCK"]);
    assert_eq!(code, Some(125));
    is(&findings[0], "bad", "silent for 10s");
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    let kube = Kube::new();
    kube.become_stranger();
    let (findings, code) = found(&kube, &[]);
    assert_eq!(code, Some(125));
    is(&findings[0], "bad", "renew the credentials");
}

#[test]
fn what_a_lock_needs_and_is_not_there_is_a_finding() {
    let kube = Kube::new();
    for (store, says) in [
        (kube.store("annotation&resource=v1/configmaps&object=none"), "\"none\" not found"),
        (kube.store("annotation&resource=x.dev/v1/things&object=a"), "knows no things.x.dev"),
        (kube.url().replace(&kube.namespace, "nowhere"), "namespaces \"nowhere\" not found"),
    ] {
        let (findings, code) = found(&kube, &["--store", &store]);
        assert_eq!(code, Some(125), "{store}");
        is(of(&findings, "objects")[0], "bad", says);
    }
}

#[test]
fn one_identity_of_two_programs_is_a_finding() {
    let kube = Kube::new();
    for n in ["1", "2"] {
        let args = ["acquire", n, "--ttl", "10m", "--hold", n, "--id", "ci"];
        assert_eq!(kube.run(&args).code, Some(0));
    }
    let (findings, code) = found(&kube, &[]);
    let [twin] = of(&findings, "identity")[..] else { panic!("{findings:?}") };
    is(twin, "note", "another program of that name 2");
    assert_eq!((twin["lock"].as_str(), code), (Some("1"), Some(0)));
    // Ours to be.
    let (findings, code) = found(&kube, &["--store", &format!("{}&id=ci", kube.url()), "1"]);
    assert_eq!(code, Some(125));
    is(of(&findings, "identity")[0], "bad", "\"ci\" has it already");
    let (findings, _) = found(&kube, &["--store", &format!("{}&id=other", kube.url()), "1"]);
    is(of(&findings, "identity")[0], "ok", "none is used twice");
    // A transaction is meant to be taken up.
    let name = format!("{}/pod/x", kube.namespace);
    let store = format!("{}&id=txn", kube.store("janus"));
    let args = ["acquire", "--store", &store, &name, "--ttl", "10m", "--hold", "3"];
    assert_eq!(kube.run(&args).code, Some(0));
    let (findings, code) = found(&kube, &["--store", &store, &name]);
    assert_eq!(code, Some(0), "{findings:?}");
    is(of(&findings, "identity")[0], "note", "takes it up");
}

#[test]
fn programs_beside_ours_and_their_durations_are_told() {
    let kube = Kube::new();
    let spec = json!({"holderIdentity": "go", "leaseDurationSeconds": 60, "leaseTransitions": 0});
    kube.create("leases", "nightly", json!({"spec": spec}));
    let (findings, code) = found(&kube, &["LOCK"]);
    assert_eq!(code, Some(0));
    is(of(&findings, "writers")[0], "note", "also written by `ureq` (2");
    is(of(&findings, "durations")[0], "note", "ttl is 60 s and yours would be 15 s");
    assert_eq!(of(&findings, "durations")[0]["change"], "give all of them one: --ttl 60s");
    let (findings, _) = found(&kube, &["LOCK", "--ttl", "60"]);
    assert_eq!(of(&findings, "durations").len(), 0);
    // Whoever writes beside the lock costs an annotation a second try, and a Lease nothing.
    let on = kube.store("annotation&resource=v1/configmaps&object=target");
    kube.create("configmaps", "target", json!({"data": {"a": "b"}}));
    let args = ["acquire", "--store", &on, "nightly", "--ttl", "10m", "--hold", "h"];
    assert_eq!(kube.run(&args).code, Some(0));
    let (findings, code) = found(&kube, &["--store", &on, "nightly"]);
    assert_eq!(code, Some(0), "{findings:?}");
    is(of(&findings, "writers")[0], "note", "other parts of the object are written by `ureq`");
}

#[test]
fn a_record_that_cannot_be_read_is_a_finding() {
    let kube = Kube::new();
    let store = kube.store("configmap");
    let object = json!({
        "metadata": {"labels": {"lockheed/lock": ""}},
        "data": {"lock": "{\"lockType\":\"shared\"}"},
    });
    kube.create("configmaps", "lockheed-x", object);
    for args in [&["--store", &*store][..], &["--store", &store, "x"]] {
        let (findings, code) = found(&kube, args);
        assert_eq!(code, Some(125));
        is(of(&findings, "record")[0], "bad", "lockType \"shared\" is not known");
    }
}

#[test]
fn only_what_is_in_a_cluster_can_be_asked() {
    let kube = Kube::new();
    let ran = kube.run(&["doctor", "--store", "local:"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("\n\nClocks: only their rates matter"), "{ran:?}");
    for (args, says) in [
        (&["doctor", "--store", "local:", "x"][..], "give --store kube:NAMESPACE"),
        (&["doctor", "--for", "fly"], "--for `fly`: known: run, ls"),
        (&["doctor", "A/B"], "is no name of a Lease"),
        (&["doctor", "--ttl", "0"], "--ttl `0` is zero"),
        (&["doctor", "--store", &kube.store("janus"), "--ttl", "15"], "20s"),
    ] {
        let ran = kube.run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(125), ""), "{ran:?}");
        assert!(ran.stderr.contains(says), "{ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    }
}
