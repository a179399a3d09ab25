//! kubelock.

use proptest::prelude::*;
use serde_json::json;
use tenure_wire::{Refusal, annotation, meta};

use super::*;

/// What a server makes of a merge patch of annotations.
fn patched(object: &Value, patch: &Value) -> Value {
    let mut object = object.clone();
    let metadata = patch["metadata"].as_object().unwrap();
    assert_eq!(patch.as_object().unwrap().len(), 1, "nothing else is sent: {patch}");
    assert_eq!(metadata.len(), 3, "nothing else is sent: {patch}");
    assert_eq!(metadata["uid"], object["metadata"]["uid"]);
    assert_eq!(metadata["resourceVersion"], object["metadata"]["resourceVersion"]);
    for (key, value) in metadata["annotations"].as_object().unwrap() {
        meta::set_annotation(&mut object, key, value.as_str().map(str::to_owned));
    }
    object
}

fn value(object: &Value, lock: &str) -> Value {
    let key = annotation::key(lock).unwrap();
    serde_json::from_str(meta::annotation(object, &key).unwrap()).unwrap()
}

fn read(object: &Value, lock: &str) -> Option<Record> {
    annotation::read(object, lock).unwrap().0
}

fn with(text: &str) -> Value {
    let mut object = golden("annotation-1-held");
    meta::set_annotation(&mut object, "kubelock.giantswarm.io/my-lock", Some(text.into()));
    object
}

#[test]
fn every_record_that_kubelock_wrote_is_read() {
    let (record, version) = annotation::read(&golden("annotation-1-held"), "my-lock").unwrap();
    let record = record.unwrap();
    let h = holder(&record);
    assert_eq!((&*h.id, version.revision, h.term), ("alice", 726, ttl(300)));
    assert_eq!(h.renewed, at("2026-11-21T00:15:59.744001587Z"));
    assert_eq!((h.since, h.token), (h.renewed, Token::default()));
    assert_eq!(read(&golden("annotation-1-held"), "other"), None);
    assert_eq!(read(&golden("annotation-2-released"), "my-lock"), None);
    let record = read(&golden("annotation-3-cluster-scoped-empty-owner"), "cluster-lock").unwrap();
    assert_eq!((&*holder(&record).id, holder(&record).term), ("", ttl(90)));
    let object = golden("annotation-1-held");
    let locks: Vec<_> = annotation::locks(&object).collect();
    assert_eq!(locks, ["my-lock"]);
}

#[test]
fn what_kubelock_wrote_is_written() {
    let (held, free) = (golden("annotation-1-held"), golden("annotation-2-released"));
    let take = taking("alice", ttl(300), 7, "2026-11-21T00:15:59.744001Z");
    let taken = patched(&free, &annotation::patch(&free, "my-lock", &take).unwrap());
    let text = meta::annotation(&taken, "kubelock.giantswarm.io/my-lock").unwrap();
    let go = r#"{"owner":"alice","createdAt":"2026-11-21T00:15:59.744001Z","ttl":300000000000"#;
    assert!(text.starts_with(go), "{text}");
    let mut wanted = value(&held, "my-lock");
    wanted["createdAt"] = json!("2026-11-21T00:15:59.744001Z");
    let mut found = value(&taken, "my-lock");
    found.as_object_mut().unwrap().remove("mark");
    assert_eq!(found, wanted);
    // Released, and nothing of ours is left.
    let of = holder(&read(&held, "my-lock").unwrap()).mark;
    let release = releasing(of, End::Released, "2026-11-21T00:16:30Z");
    let released = patched(&held, &annotation::patch(&held, "my-lock", &release).unwrap());
    assert_eq!(released["metadata"]["annotations"], free["metadata"]["annotations"]);
    // The empty owner is one.
    let empty = taking("", ttl(90), 8, "2026-11-21T00:16:00.177834Z");
    let taken = patched(&free, &annotation::patch(&free, "l", &empty).unwrap());
    assert_eq!(&*holder(&read(&taken, "l").unwrap()).id, "");
}

#[test]
fn a_hold_keeps_its_token_and_its_beginning_through_renewals() {
    let free = golden("annotation-2-released");
    let take = taking("me", ttl(60), 42, "2026-11-21T01:00:00Z");
    let mut taken = patched(&free, &annotation::patch(&free, "l", &take).unwrap());
    taken["metadata"]["resourceVersion"] = json!("900");
    let (first, began) = annotation::read(&taken, "l").unwrap();
    assert_eq!(holder(first.as_ref().unwrap()).token, Token::new(900));
    let of = Mark::from_u128(42);
    let renew = renewing(of, 43, 900, ttl(60), "2026-11-21T01:00:20Z");
    let mut renewed = patched(&taken, &annotation::patch(&taken, "l", &renew).unwrap());
    renewed["metadata"]["resourceVersion"] = json!("901");
    let (record, version) = annotation::read(&renewed, "l").unwrap();
    let record = record.unwrap();
    let h = holder(&record);
    assert_eq!((h.mark, h.token), (Mark::from_u128(43), Token::new(900)));
    assert_eq!((h.since, h.renewed), (at("2026-11-21T01:00:00Z"), at("2026-11-21T01:00:20Z")));
    assert_eq!(version.incarnation, began.incarnation);
    // What the earlier state was judged by does not fit any more.
    assert_eq!(annotation::patch(&renewed, "l", &renew), Err(Refusal::Conflict));
    let release = releasing(of, End::Released, "2026-11-21T01:00:21Z");
    assert_eq!(annotation::patch(&renewed, "l", &release), Err(Refusal::Conflict));
    // The next hold is another incarnation.
    let next = taking("me", ttl(60), 44, "2026-11-21T02:00:00Z");
    let next = patched(&renewed, &annotation::patch(&renewed, "l", &next).unwrap());
    assert_ne!(annotation::read(&next, "l").unwrap().1.incarnation, began.incarnation);
}

#[test]
fn what_go_takes_for_expired_is_free() {
    for text in ["null", "{}", r#"{"owner":"a","ttl":5}"#, r#"{"createdAt":null}"#] {
        assert_eq!(read(&with(text), "my-lock"), Some(Record::default()), "{text}");
    }
    for ttl in ["0", "-5"] {
        let text = format!(r#"{{"owner":"a","createdAt":"2026-11-21T00:00:00Z","ttl":{ttl}}}"#);
        let record = read(&with(&text), "my-lock").unwrap();
        assert_eq!(holder(&record).term, Term::Ttl(Duration::ZERO));
    }
}

#[test]
fn a_value_that_go_cannot_read_is_an_error_and_never_free() {
    for text in [
        "",
        "{",
        "[]",
        "7",
        "\"a\"",
        "{} x",
        r#"{"owner":1}"#,
        r#"{"ttl":"5"}"#,
        r#"{"ttl":1.5}"#,
        r#"{"ttl":3e9}"#,
        r#"{"createdAt":5}"#,
        r#"{"createdAt":"soon"}"#,
        r#"{"createdAt":"2026-11-21t00:00:00Z"}"#,
    ] {
        let object = with(text);
        assert!(annotation::read(&object, "my-lock").is_err(), "{text}");
        let take = taking("me", ttl(60), 1, "2026-11-21T01:00:00Z");
        let refused = annotation::patch(&object, "my-lock", &take);
        assert!(matches!(refused, Err(Refusal::Unreadable(_))), "{text}");
    }
    let text = r#"{"OWNER":"a","CreatedAt":"2026-11-21T02:00:00+02:00","Ttl":60000000000,"x":[]}"#;
    let record = read(&with(text), "my-lock").unwrap();
    assert_eq!((&*holder(&record).id, holder(&record).renewed), ("a", at("2026-11-21T00:00:00Z")));
}

#[test]
fn a_mark_that_somebody_kept_while_he_changed_the_rest_does_not_count() {
    let free = golden("annotation-2-released");
    let take = taking("me", ttl(60), 42, "2026-11-21T01:00:00Z");
    let taken = patched(&free, &annotation::patch(&free, "my-lock", &take).unwrap());
    for (field, other) in [
        ("owner", json!("you")),
        ("ttl", json!(61_000_000_000_u64)),
        ("createdAt", json!("2026-11-21T01:00:01Z")),
        ("mark", json!("x")),
    ] {
        let mut value = value(&taken, "my-lock");
        value[field] = other;
        let record = read(&with(&value.to_string()), "my-lock").unwrap();
        assert_ne!(holder(&record).mark, Mark::from_u128(42), "{field}");
        assert_eq!(holder(&record).token, Token::default(), "{field}");
    }
}

#[test]
fn names_and_durations_that_the_format_has_not_are_refused() {
    for lock in ["", "a/b", "-a", "a-", "é", "a b", &"x".repeat(64)] {
        assert!(matches!(annotation::key(lock), Err(Refusal::Invalid(_))), "{lock}");
    }
    assert!(annotation::key("My_lock.1").is_ok());
    let free = golden("annotation-2-released");
    let refused =
        |term| annotation::patch(&free, "l", &taking("me", term, 1, "2026-11-21T01:00:00Z"));
    assert!(matches!(refused(Term::Forever), Err(Refusal::Unsupported(_))));
    assert!(matches!(refused(Term::Ttl(Duration::ZERO)), Err(Refusal::Invalid(_))));
    assert!(matches!(refused(Term::Ttl(Duration::MAX)), Err(Refusal::Invalid(_))));
    let tags = tagged(taking("me", ttl(60), 1, "2026-11-21T01:00:00Z"), &["a"]);
    assert!(matches!(annotation::patch(&free, "l", &tags), Err(Refusal::Unsupported(_))));
}

proptest! {
    #[test]
    fn any_owner_and_any_ttl_come_back(owner in ".{0,40}", nanos in 1..i64::MAX.cast_unsigned()) {
        let free = golden("annotation-2-released");
        let term = Term::Ttl(Duration::from_nanos(nanos));
        let take = taking(&owner, term, 42, "2026-11-21T01:00:00.000001Z");
        let taken = patched(&free, &annotation::patch(&free, "l", &take).unwrap());
        let record = read(&taken, "l").unwrap();
        let h = holder(&record);
        prop_assert_eq!((&*h.id, h.term, h.mark), (&*owner, term, Mark::from_u128(42)));
        prop_assert_eq!(meta::annotation(&taken, "other"), Some("kept"));
    }

    #[test]
    fn no_value_panics(text in "[\\[\\]{}:,\"a-zA-Z0-9-]{0,60}") {
        let object = with(&text);
        if annotation::read(&object, "my-lock").is_err() {
            let release = releasing(Mark::default(), End::Stolen, "2026-11-21T01:00:00Z");
            prop_assert!(annotation::patch(&object, "my-lock", &release).is_err());
        }
    }
}
