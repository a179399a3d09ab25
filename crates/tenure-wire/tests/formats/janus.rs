//! janus.

use serde_json::json;
use tenure_wire::janus::{self, Target, Written};
use tenure_wire::{Refusal, meta};

use super::*;

fn read(object: &Value) -> Record {
    janus::read(object).unwrap().0
}

fn put(object: &Value, change: &Change) -> Value {
    match janus::changed(object, change).unwrap() {
        Written::Put(object) => object,
        Written::Deleted => panic!("{change:?} deletes it"),
    }
}

fn without_ours(mut object: Value) -> Value {
    for key in ["tenure.dev/mark", "tenure.dev/token"] {
        meta::set_annotation(&mut object, key, None);
    }
    object
}

fn web() -> Target {
    Target::parse("default/Deployment/web").unwrap()
}

#[test]
fn every_record_that_janus_wrote_is_read() {
    let (record, version) = janus::read(&golden("transaction-1-held")).unwrap();
    let h = holder(&record);
    assert_eq!((&*h.id, h.term, version.revision), ("txn-1", ttl(30), 776));
    assert_eq!(Target::of(&golden("transaction-1-held")), Some(web()));
    assert_eq!(holder(&read(&golden("transaction-2-renewed"))).term, ttl(45));
    assert_eq!(&*holder(&read(&golden("transaction-3-taken-over"))).id, "txn-2");
}

#[test]
fn what_janus_wrote_is_written() {
    let take = taking("txn-1", ttl(30), 7, "2026-11-21T00:16:41.159961Z");
    let created = without_ours(janus::created(&web(), &take).unwrap());
    let held = golden("transaction-1-held");
    assert_eq!(created["spec"], held["spec"]);
    assert_eq!(created["metadata"]["labels"], held["metadata"]["labels"]);
    assert_eq!(created["metadata"]["name"], held["metadata"]["name"]);
    let of = holder(&read(&held)).mark;
    let renewed = put(&held, &renewing(of, 8, 776, ttl(45), "2026-11-21T00:16:42.367195Z"));
    assert_eq!(renewed["spec"], golden("transaction-2-renewed")["spec"]);
    assert_eq!(holder(&read(&renewed)).token, Token::new(776));
    let next = taking("txn-2", ttl(30), 9, "2026-11-21T00:16:44.950078Z");
    let taken = without_ours(put(&renewed, &next));
    let wanted = golden("transaction-3-taken-over");
    assert_eq!(taken["spec"], wanted["spec"]);
    assert_eq!(taken["metadata"]["labels"], wanted["metadata"]["labels"]);
    // A release deletes it.
    let release = releasing(of, End::Released, "2026-11-21T00:16:43Z");
    assert_eq!(janus::changed(&held, &release), Ok(Written::Deleted));
    assert_eq!(janus::changed(&renewed, &release), Err(Refusal::Conflict), "that of another state");
}

#[test]
fn a_transaction_that_goes_on_keeps_its_beginning_and_the_labels_it_finds() {
    let mut held = golden("transaction-1-held");
    held["metadata"]["labels"] = json!({"own": "x"});
    held["spec"]["leaseTransitions"] = json!(3);
    let again = put(&held, &taking("txn-1", ttl(30), 7, "2026-11-21T05:00:00Z"));
    assert_eq!(again["metadata"]["labels"], held["metadata"]["labels"]);
    assert_eq!(again["spec"]["acquireTime"], held["spec"]["acquireTime"]);
    assert_eq!(again["spec"]["renewTime"], json!("2026-11-21T05:00:00.000000Z"));
    assert_eq!(again["spec"]["leaseTransitions"], json!(3));
    let other = put(&held, &taking("txn-2", ttl(30), 7, "2026-11-21T05:00:00Z"));
    assert_eq!(other["metadata"]["labels"]["own"], json!("x"));
    assert_eq!(other["metadata"]["labels"]["janus.io/transaction"], json!("txn-2"));
    assert_eq!(other["spec"]["leaseTransitions"], json!(3));
}

#[test]
fn a_lease_always_carries_a_label_and_never_an_invalid_one() {
    let mut bare = golden("transaction-1-held");
    bare["metadata"].as_object_mut().unwrap().remove("labels");
    let of = holder(&read(&bare)).mark;
    let renewed = put(&bare, &renewing(of, 8, 776, ttl(45), "2026-11-21T00:16:42Z"));
    assert_eq!(meta::label(&renewed, "app.kubernetes.io/managed-by"), Some("janus"));
    let held = golden("transaction-1-held");
    for id in ["x".repeat(64), "a/b".into(), "-a".into()] {
        let taken = put(&held, &taking(&id, ttl(30), 7, "2026-11-21T05:00:00Z"));
        assert_eq!(meta::label(&taken, "janus.io/transaction"), None, "{id}");
        assert_eq!(meta::label(&taken, "app.kubernetes.io/managed-by"), Some("janus"));
        assert_eq!(*holder(&read(&taken)).id, *id);
    }
}

#[test]
fn an_empty_holder_is_one_and_missing_times_have_ended() {
    let mut object = golden("transaction-1-held");
    object["spec"]["holderIdentity"] = json!("");
    assert_eq!((&*holder(&read(&object)).id, holder(&read(&object)).term), ("", ttl(30)));
    for field in ["renewTime", "leaseDurationSeconds"] {
        let mut object = golden("transaction-1-held");
        object["spec"].as_object_mut().unwrap().remove(field);
        assert_eq!(holder(&read(&object)).term, Term::Ttl(Duration::ZERO), "{field}");
    }
    object["spec"] = Value::Null;
    assert_eq!(holder(&read(&object)).term, Term::Ttl(Duration::ZERO));
    object["spec"] = json!({"renewTime": "soon"});
    assert!(janus::read(&object).is_err());
}

#[test]
fn a_lock_s_name_is_go_s_where_go_could_create_it() {
    for (text, lease) in [
        ("default/Deployment/web", "janus-lock-default-deployment-web"),
        ("ns/configmap/a.b-c", "janus-lock-ns-configmap-a.b-c"),
        ("ns/ConfigMap/A", "janus-lock-ns-configmap-a"),
    ] {
        assert_eq!(Target::parse(text).unwrap().lease(), lease);
    }
    let long = format!("ns/configmap/{}", "x".repeat(240));
    for text in ["ns/clusterrole/system:x", &long, "ns/configmap/a_b"] {
        let target = Target::parse(text).unwrap();
        let lease = target.lease();
        assert!(meta::is_subdomain(&lease) && lease.len() == 43, "{lease}");
        let take = taking("txn-1", ttl(30), 7, "2026-11-21T00:16:41Z");
        let created = janus::created(&target, &take).unwrap();
        assert_eq!(Target::of(&created), Some(target), "a listing names it");
    }
    for text in ["", "a", "a/b", "a/b/", "a//c", "a/b/c/d", "A/b/c", "a/b-c/d", "/b/c", "a.b/c/d"] {
        assert_eq!(Target::parse(text), None, "{text}");
    }
}

#[test]
fn what_the_format_cannot_say_is_refused() {
    let held = golden("transaction-1-held");
    let refused = |change: &Change| janus::changed(&held, change);
    let take = |id, term| taking(id, term, 1, "2026-11-21T01:00:00Z");
    assert!(matches!(refused(&take("", ttl(1))), Err(Refusal::Invalid(_))));
    assert!(matches!(refused(&take("me", Term::Forever)), Err(Refusal::Unsupported(_))));
    let tags = tagged(take("me", ttl(1)), &["a"]);
    assert!(matches!(refused(&tags), Err(Refusal::Unsupported(_))));
    let short = put(&held, &take("me", Term::Ttl(Duration::from_millis(1))));
    assert_eq!(short["spec"]["leaseDurationSeconds"], json!(1), "up, never down");
}
