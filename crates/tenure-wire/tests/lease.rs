//! The Lease format against the records that leaselock really wrote, and against anything else.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tenure_core::{Change, End, Holder, Mark, Session, Term, Time, Token, Wall};
use tenure_wire::time::{Fraction, parse};
use tenure_wire::{Refusal, lease, meta};

fn golden(name: &str) -> Value {
    let path = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn at(text: &str) -> Wall {
    parse(text, Fraction::Any).unwrap()
}

fn taking(id: &str, ttl: u64, mark: u128, since: &str) -> Change {
    let holder = Holder {
        id: id.into(),
        mark: Mark::from_u128(mark),
        session: Session::NONE,
        token: Token::default(),
        term: Term::Ttl(Duration::from_secs(ttl)),
        ticket: 0,
        since: at(since),
        renewed: at(since),
        stamp: Time::ZERO,
    };
    Change::Take { holder, ended: None, strike: Vec::new(), tags: Vec::new() }
}

fn renewing(object: &Value, mark: u128, token: u64, renewed: &str) -> Change {
    let (record, _) = lease::read(object).unwrap();
    let holder = record.holder.unwrap();
    Change::Renew {
        of: holder.mark,
        mark: Mark::from_u128(mark),
        token: Token::new(token),
        term: holder.term,
        session: Session::NONE,
        renewed: at(renewed),
        stamp: Time::ZERO,
    }
}

fn releasing(object: &Value, when: &str) -> Change {
    let of = lease::read(object).unwrap().0.holder.unwrap().mark;
    let mark = Mark::from_u128(99);
    let (end, reason, next, strike) = (End::Released, None, None, Vec::new());
    Change::Release {
        of,
        end,
        reason,
        mark,
        next,
        strike,
        at: at(when),
        stamp: Time::ZERO,
        tags: vec![],
    }
}

/// What client-go would see of it: everything but our own annotations.
fn without_ours(mut object: Value) -> Value {
    meta::set_annotation(&mut object, lease::MARK, None);
    meta::set_annotation(&mut object, lease::TOKEN, None);
    object
}

/// `spec` alone, and with the renewal time of another record.
fn spec(object: &Value) -> Value {
    object["spec"].clone()
}

#[test]
fn every_record_that_leaselock_wrote_is_read() {
    let (record, version) = lease::read(&golden("lease-1-held")).unwrap();
    let holder = record.holder.unwrap();
    assert_eq!((&*holder.id, version.revision), ("worker-1", 708));
    assert_eq!(holder.term, Term::Ttl(Duration::from_secs(60)));
    assert_eq!(holder.since, at("2026-11-21T00:15:44.617922Z"));
    assert_eq!(holder.renewed, at("2026-11-21T00:15:44.624656Z"));
    assert_eq!(holder.token, Token::default(), "it has none of ours");
    assert_eq!(lease::read(&golden("lease-2-released")).unwrap().0.holder, None);
    let marks = ["lease-3-taken-by-next", "lease-4-renewed"].map(|name| {
        let holder = lease::read(&golden(name)).unwrap().0.holder.unwrap();
        assert_eq!(&*holder.id, "worker-2");
        holder.mark
    });
    assert_ne!(marks[0], marks[1], "a renewal is news");
}

#[test]
fn what_leaselock_wrote_is_written() {
    // Released, then taken by the next one: as it stands before its first renewal.
    let next = taking("worker-2", 60, 7, "2026-11-21T00:15:49.427502Z");
    let taken = lease::changed(&golden("lease-2-released"), &next).unwrap();
    let mut wanted = spec(&golden("lease-3-taken-by-next"));
    wanted["renewTime"] = wanted["acquireTime"].clone();
    assert_eq!(spec(&without_ours(taken.clone())), wanted);
    // Renewed.
    let change = renewing(&taken, 8, 715, "2026-11-21T00:15:54.436016Z");
    let renewed = lease::changed(&taken, &change).unwrap();
    assert_eq!(spec(&renewed), spec(&golden("lease-4-renewed")));
    assert_eq!(lease::read(&renewed).unwrap().0.holder.unwrap().token, Token::new(715));
    // Released, and nothing of ours is left.
    let held = golden("lease-1-held");
    let free = lease::changed(&held, &releasing(&held, "2026-11-21T00:15:47.627096Z")).unwrap();
    assert_eq!(spec(&free), spec(&golden("lease-2-released")));
    assert_eq!(without_ours(free.clone()), free);
    // Created.
    let first = taking("worker-1", 60, 9, "2026-11-21T00:15:44.617922Z");
    let created = lease::created("default", "demo", &first).unwrap();
    assert_eq!(created["spec"]["leaseTransitions"], json!(0));
    assert_eq!(created["metadata"]["name"], json!("demo"));
}

#[test]
fn a_mark_counts_for_the_state_it_was_written_for_only() {
    let taken =
        lease::changed(&golden("lease-2-released"), &taking("me", 15, 42, "2026-11-21T01:00:00Z"))
            .unwrap();
    let mark = |object: &Value| lease::read(object).unwrap().0.holder.unwrap().mark;
    assert_eq!(mark(&taken), Mark::from_u128(42));
    let own = lease::read(&taken).unwrap();
    assert_eq!(own.0.holder.unwrap().token.get(), own.1.revision);
    for (field, value) in [
        ("holderIdentity", json!("you")),
        ("leaseDurationSeconds", json!(16)),
        ("acquireTime", json!("2026-11-21T01:00:00.000001Z")),
        ("renewTime", json!("2026-11-21T01:00:01.000000Z")),
        ("leaseTransitions", json!(3)),
    ] {
        let mut other = taken.clone();
        other["spec"][field] = value;
        assert_ne!(mark(&other), Mark::from_u128(42), "{field}");
        assert_eq!(lease::read(&other).unwrap().0.holder.unwrap().token, Token::default());
    }
    let mut labelled = taken;
    labelled["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(mark(&labelled), Mark::from_u128(42), "a label is no change of the entry");
}

#[test]
fn a_renewal_moves_by_a_whole_second_whatever_the_clock_does() {
    let held = golden("lease-1-held");
    for (now, wanted) in [
        ("2026-11-21T00:15:44.9Z", "2026-11-21T00:15:45.624656Z"),
        ("2026-11-21T00:15:00Z", "2026-11-21T00:15:45.624656Z"),
        ("2026-11-20T00:00:00Z", "2026-11-20T00:00:00.000000Z"),
        ("2026-11-21T00:16:00Z", "2026-11-21T00:16:00.000000Z"),
    ] {
        let renewed = lease::changed(&held, &renewing(&held, 1, 0, now)).unwrap();
        assert_eq!(renewed["spec"]["renewTime"], json!(wanted));
    }
}

/// A holder whose clock was years ahead is followed by one whose clock is right: his hold can be read
/// back, and looks as old as it is.
#[test]
fn a_time_that_is_far_ahead_is_not_counted_on_from() {
    for renewed in ["9999-12-31T23:59:59.999999Z", "2026-11-21T03:00:00.000000Z"] {
        let mut dead = golden("lease-1-held");
        dead["spec"]["renewTime"] = json!(renewed);
        for id in ["me", "worker-1"] {
            let take = taking(id, 15, 42, "2026-11-21T02:00:00Z");
            let taken = lease::changed(&dead, &take).unwrap();
            let holder = lease::read(&taken).unwrap().0.holder.unwrap();
            let expected = (Mark::from_u128(42), at("2026-11-21T02:00:00Z"));
            assert_eq!((holder.mark, holder.renewed), expected);
        }
    }
}

/// Each change is one for client-go, which compares whole seconds, and no time is ahead of the clock:
/// whoever comes by would take a dead holder for a living one for as long.
#[test]
fn a_lock_that_goes_round_quickly_shows_the_time_it_is() {
    let seen = |object: &Value| {
        let mut spec = object["spec"].clone();
        for time in ["acquireTime", "renewTime"] {
            spec[time] = json!(spec[time].as_str().unwrap().split('.').next());
        }
        spec
    };
    let mut object = golden("lease-2-released");
    let mut shown = vec![seen(&object)];
    for turn in 0..20 {
        let now = format!("2026-11-21T02:00:0{}.{}50000Z", turn / 10, turn % 10);
        let id = if turn % 3 == 0 { "other" } else { "me" };
        object = lease::changed(&object, &taking(id, 15, turn, &now)).unwrap();
        assert_eq!(lease::read(&object).unwrap().0.holder.unwrap().renewed, at(&now));
        shown.push(seen(&object));
        object = lease::changed(&object, &releasing(&object, &now)).unwrap();
        shown.push(seen(&object));
    }
    for (n, one) in shown.iter().enumerate() {
        assert!(shown[..n].iter().all(|earlier| earlier != one), "{one} was there before");
    }
    // Its own one, which has ended without a word, is the one that nothing else would show.
    let now = "2026-11-21T02:00:02.1Z";
    let held = lease::changed(&object, &taking("me", 15, 50, now)).unwrap();
    let again = lease::changed(&held, &taking("me", 15, 51, "2026-11-21T02:00:02.2Z")).unwrap();
    assert_ne!(seen(&held), seen(&again));
}

#[test]
fn transitions_count_takes_of_records_that_do_not_name_the_taker() {
    let take = |object: &Value, id: &str| {
        let taken = lease::changed(object, &taking(id, 60, 1, "2026-11-21T02:00:00Z")).unwrap();
        taken["spec"]["leaseTransitions"].as_i64().unwrap()
    };
    assert_eq!(take(&golden("lease-1-held"), "worker-9"), 2);
    assert_eq!(take(&golden("lease-1-held"), "worker-1"), 1);
    assert_eq!(take(&golden("lease-2-released"), "worker-1"), 2);
    assert_eq!(take(&json!({"metadata": {}}), "worker-1"), 1);
}

#[test]
fn whatever_is_not_the_lock_s_stays() {
    let mut object = golden("lease-2-released");
    object["metadata"]["labels"] = json!({"team": "a"});
    object["metadata"]["annotations"] = json!({"other/key": "kept"});
    object["metadata"]["finalizers"] = json!(["x/y"]);
    object["spec"]["strategy"] = json!("OldestEmulationVersion");
    let taken = lease::changed(&object, &taking("me", 15, 1, "2026-11-21T02:00:00Z")).unwrap();
    let free = lease::changed(&taken, &releasing(&taken, "2026-11-21T02:00:09Z")).unwrap();
    assert_eq!(free["metadata"], object["metadata"]);
    assert_eq!(free["spec"]["strategy"], object["spec"]["strategy"]);
}

#[test]
fn a_hold_that_is_not_there_is_not_renewed_or_released() {
    let (held, free) = (golden("lease-1-held"), golden("lease-2-released"));
    let other = golden("lease-4-renewed");
    for object in [&other, &free] {
        for change in [
            renewing(&held, 1, 1, "2026-11-21T02:00:00Z"),
            releasing(&held, "2026-11-21T02:00:00Z"),
        ] {
            assert_eq!(lease::changed(object, &change), Err(Refusal::Conflict));
        }
    }
}

#[test]
fn what_the_format_cannot_say_is_refused() {
    let free = golden("lease-2-released");
    let with = |edit: fn(&mut Holder, &mut Vec<tenure_core::Text>)| {
        let mut change = taking("me", 15, 1, "2026-11-21T02:00:00Z");
        if let Change::Take { holder, tags, .. } = &mut change {
            edit(holder, tags);
        }
        lease::changed(&free, &change)
    };
    assert!(matches!(with(|_, tags| tags.push("a".into())), Err(Refusal::Unsupported(_))));
    assert!(matches!(with(|h, _| h.term = Term::Forever), Err(Refusal::Unsupported(_))));
    assert!(matches!(with(|h, _| h.id = "".into()), Err(Refusal::Invalid(_))));
    let long = with(|h, _| h.term = Term::Ttl(Duration::from_secs(1 << 31)));
    assert!(matches!(long, Err(Refusal::Invalid(_))));
    let rounded = with(|h, _| h.term = Term::Ttl(Duration::from_millis(14_001))).unwrap();
    assert_eq!(rounded["spec"]["leaseDurationSeconds"], json!(15));
}

#[test]
fn a_malformed_lease_is_an_error_and_never_free() {
    for (field, value) in [
        ("holderIdentity", json!(7)),
        ("leaseDurationSeconds", json!("60")),
        ("leaseDurationSeconds", json!(60.5)),
        ("leaseDurationSeconds", json!(-1)),
        ("leaseDurationSeconds", json!(3_000_000_000_u64)),
        ("renewTime", json!("2026-11-21T00:15:44Z")),
        ("renewTime", json!("soon")),
        ("acquireTime", json!(5)),
        ("leaseTransitions", json!(1.5)),
    ] {
        let mut object = golden("lease-1-held");
        object["spec"][field] = value.clone();
        assert!(lease::read(&object).is_err(), "{field}: {value}");
    }
    // Missing fields are what the API allows.
    let mut object = golden("lease-1-held");
    object["spec"] = json!({"holderIdentity": "x"});
    assert_eq!(lease::read(&object).unwrap().0.holder.unwrap().term, Term::Forever);
    object["spec"] = Value::Null;
    assert_eq!(lease::read(&object).unwrap().0.holder, None);
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~]{0,20}".prop_map(Value::from),
        Just(json!("2026-11-21T00:15:44.617922Z")),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let key = prop_oneof![
            "[a-z]{1,6}",
            Just("spec".to_owned()),
            Just("metadata".to_owned()),
            Just("annotations".to_owned()),
            Just("uid".to_owned()),
            Just("resourceVersion".to_owned()),
            Just("holderIdentity".to_owned()),
            Just("leaseDurationSeconds".to_owned()),
            Just("renewTime".to_owned()),
            Just(lease::MARK.to_owned()),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(key, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_panics_and_no_take_of_a_readable_lease_goes_astray(
        object in anything(), spec in anything(), annotations in anything(), meta in any::<bool>(),
    ) {
        let mut object = object;
        if meta {
            object = json!({
                "metadata": {"uid": "u", "resourceVersion": "5", "annotations": annotations},
                "spec": spec,
            });
        }
        let _ = lease::read(&object);
        let change = taking("me", 15, 42, "2026-11-21T02:00:00Z");
        if let (Ok(_), Ok(taken)) = (lease::read(&object), lease::changed(&object, &change)) {
            let holder = lease::read(&taken).unwrap().0.holder.unwrap();
            prop_assert_eq!((&*holder.id, holder.mark), ("me", Mark::from_u128(42)));
        }
    }
}
