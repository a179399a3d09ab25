//! lockheed.

use serde_json::json;
use tenure_wire::{Refusal, configmap, meta};

use super::*;

const INSTANCE: &str = "0f5c71d1-e457-4f61-a375-16158611bd40";

fn state(object: &Value) -> &str {
    object["data"]["lock"].as_str().unwrap()
}

fn read(object: &Value) -> Record {
    configmap::read(object).unwrap().0
}

fn take(id: &str, mark: u128) -> Change {
    taking(id, ttl(60), mark, "2026-11-21T01:00:00Z")
}

fn with(state: &str) -> Value {
    let mut object = golden("configmap-1-held");
    object["data"]["lock"] = json!(state);
    object
}

fn reserved(mut object: Value, by: &str, until: Option<&str>) -> Value {
    meta::set_annotation(&mut object, "reserved/by", Some(by.into()));
    meta::set_annotation(&mut object, "reserved/expires", until.map(str::to_owned));
    object
}

#[test]
fn every_record_that_lockheed_wrote_is_read() {
    let (record, version) = configmap::read(&golden("configmap-1-held")).unwrap();
    let h = holder(&record);
    assert_eq!((&*h.id, version.revision), (INSTANCE, 757));
    assert_eq!(h.term, Term::Until(at("2026-11-21T00:17:01.833776959Z")));
    assert_eq!(h.token, Token::default());
    assert_eq!(record.tags, ["nightly".into(), "team-a".into()]);
    let renewed = read(&golden("configmap-2-renewed"));
    assert_ne!(holder(&renewed).mark, h.mark, "a renewal is news");
    let free = read(&golden("configmap-3-released"));
    assert_eq!((&free.holder, free.tags.len()), (&None, 2));
    let forever = read(&golden("configmap-4-infinite"));
    assert_eq!(holder(&forever).term, Term::Forever);
    assert_eq!(configmap::lock(&golden("configmap-4-infinite")).as_deref(), Some("forever"));
    // Requests: these have no version yet, or are between two writes.
    let reservation = read(&golden("configmap-0b-reserved-request"));
    assert_eq!(holder(&reservation).term, Term::Until(at("2026-11-21T00:17:01Z")));
    assert_eq!(&*holder(&reservation).id, INSTANCE);
    let held = read(&golden("configmap-1b-reserved-while-held-request"));
    assert_eq!(holder(&held).mark, h.mark, "a reservation is no change of the hold");
    let mut created = golden("configmap-0a-created-request");
    created["metadata"]["uid"] = json!("u");
    created["metadata"]["resourceVersion"] = json!("5");
    assert_eq!(read(&created).holder, None);
}

#[test]
fn what_lockheed_wrote_is_written() {
    let free = golden("configmap-3-released");
    let change =
        taking(INSTANCE, Term::Ttl(Duration::from_micros(30_833_776)), 7, "2026-11-21T00:16:31Z");
    let taken = configmap::changed(&free, &change).unwrap();
    let wanted = state(&golden("configmap-1-held")).replace("833776959", "833776");
    assert_eq!(state(&taken), wanted);
    let renew = renewing(Mark::from_u128(7), 8, 757, ttl(30), "2026-11-21T00:16:33.849813Z");
    let renewed = configmap::changed(&taken, &renew).unwrap();
    let wanted = state(&golden("configmap-2-renewed")).replace("849813143", "849813");
    assert_eq!(state(&renewed), wanted);
    let release = releasing(Mark::from_u128(8), End::Released, "2026-11-21T00:16:38Z");
    let released = configmap::changed(&renewed, &release).unwrap();
    assert_eq!(released["data"], free["data"], "and nothing of ours is left");
    assert_eq!(released["metadata"], free["metadata"]);
    // Created, with the two tags, and without an end.
    let first =
        tagged(taking(INSTANCE, ttl(30), 9, "2026-11-21T00:16:31Z"), &["team-a", "nightly"]);
    let created = configmap::created("default", "build", &first).unwrap();
    let golden_request = golden("configmap-0a-created-request");
    assert_eq!(created["metadata"]["labels"], golden_request["metadata"]["labels"]);
    assert_eq!(created["metadata"]["name"], golden_request["metadata"]["name"]);
    assert!(state(&created).ends_with(r#""tags":["team-a","nightly"]}"#), "{}", state(&created));
    let id = "eb44b572-fc39-43da-9724-b62e60437f4c";
    let forever = taking(id, Term::Forever, 9, "2026-11-21T00:16:38Z");
    let created = configmap::created("default", "forever", &forever).unwrap();
    assert_eq!(state(&created), state(&golden("configmap-4-infinite")));
}

#[test]
fn a_hold_of_ours_keeps_what_lockheed_has_no_place_for() {
    let taken = configmap::changed(&golden("configmap-3-released"), &take("me", 42)).unwrap();
    let record = read(&taken);
    let h = holder(&record);
    assert_eq!((h.mark, h.term, h.token), (Mark::from_u128(42), ttl(60), Token::new(768)));
    assert_eq!((h.since, h.renewed), (at("2026-11-21T01:00:00Z"), at("2026-11-21T01:00:00Z")));
    let renew = renewing(h.mark, 43, 768, ttl(90), "2026-11-21T01:00:20Z");
    let mut renewed = configmap::changed(&taken, &renew).unwrap();
    renewed["metadata"]["resourceVersion"] = json!("900");
    let record = read(&renewed);
    let h = holder(&record);
    assert_eq!((h.mark, h.term, h.token), (Mark::from_u128(43), ttl(90), Token::new(768)));
    assert_eq!((h.since, h.renewed), (at("2026-11-21T01:00:00Z"), at("2026-11-21T01:00:20Z")));
    assert_eq!(configmap::changed(&renewed, &renew), Err(Refusal::Conflict));
    // Go adds a tag: no change of the hold. Go renews under our name: not ours any more.
    let mut other = renewed.clone();
    other["data"]["lock"] = json!(state(&renewed).replace("\"nightly\"", "\"nightly\",\"x\""));
    assert_eq!(holder(&read(&other)).mark, Mark::from_u128(43));
    other["data"]["lock"] = json!(state(&renewed).replace("01:01:50Z", "01:01:51Z"));
    assert_ne!(state(&other), state(&renewed));
    assert_ne!(holder(&read(&other)).mark, Mark::from_u128(43));
    assert_eq!(holder(&read(&other)).term, Term::Until(at("2026-11-21T01:01:51Z")));
}

#[test]
fn tags_of_a_hold_stand_in_place_of_the_earlier_ones_and_unknown_fields_stay() {
    let object = with(r#"{"name":"b","lockType":"","leases":null,"tags":["x"],"maxLeases":2}"#);
    let taken = configmap::changed(&object, &take("me", 1)).unwrap();
    assert!(state(&taken).ends_with(r#""tags":["x"],"maxLeases":2}"#), "{}", state(&taken));
    assert!(state(&taken).starts_with(r#"{"name":"b","lockType":"mutex","leases":{"me":"#));
    let taken = configmap::changed(&object, &tagged(take("me", 1), &["z", "y"])).unwrap();
    assert!(state(&taken).ends_with(r#""tags":["z","y"],"maxLeases":2}"#), "{}", state(&taken));
}

#[test]
fn a_take_respects_a_reservation_while_it_lives_and_removes_it_afterwards() {
    let free = golden("configmap-3-released");
    for until in ["2026-11-21T01:00:01Z", "2026-11-21T02:00:01+01:00"] {
        let object = reserved(free.clone(), "x", Some(until));
        assert!(matches!(configmap::changed(&object, &take("me", 1)), Err(Refusal::Reserved(_))));
    }
    for until in [None, Some("soon")] {
        let object = reserved(free.clone(), "x", until);
        assert_eq!(holder(&read(&object)).term, Term::Forever, "nobody knows when it ends");
        assert!(matches!(configmap::changed(&object, &take("me", 1)), Err(Refusal::Reserved(_))));
        // A forced takeover removes it.
        let of = holder(&read(&object)).mark;
        let release =
            |end| configmap::changed(&object, &releasing(of, end, "2026-11-21T01:00:00Z"));
        assert_eq!(release(End::Released), Err(Refusal::Conflict));
        assert_eq!(release(End::Stolen).unwrap(), free);
    }
    let ended = reserved(free.clone(), "x", Some("2026-11-21T01:00:00Z"));
    let taken = configmap::changed(&ended, &take("me", 1)).unwrap();
    assert_eq!(taken["metadata"], free["metadata"], "and nobody leaves one behind");
    // Without an author it is none.
    let mut alone = free;
    meta::set_annotation(&mut alone, "reserved/expires", Some("9999-01-01T00:00:00Z".into()));
    assert_eq!(read(&alone).holder, None);
    assert!(configmap::changed(&alone, &take("me", 1)).is_ok());
}

#[test]
fn a_holder_writes_under_a_foreign_reservation_and_leaves_it() {
    let taken = configmap::changed(&golden("configmap-3-released"), &take("me", 42)).unwrap();
    let object = reserved(taken, "x", Some("2026-11-21T09:00:00Z"));
    assert_eq!(holder(&read(&object)).mark, Mark::from_u128(42));
    let renew = renewing(Mark::from_u128(42), 43, 1, ttl(60), "2026-11-21T01:00:10Z");
    let renewed = configmap::changed(&object, &renew).unwrap();
    assert_eq!(renewed["metadata"], object["metadata"]);
    let release = releasing(Mark::from_u128(42), End::Released, "2026-11-21T01:00:10Z");
    let released = configmap::changed(&object, &release).unwrap();
    assert_eq!(released["metadata"], object["metadata"]);
    assert_eq!(&*holder(&read(&released)).id, "x", "the reservation is now what is in the way");
}

#[test]
fn a_state_that_is_not_a_mutex_of_lockheed_is_an_error_and_never_free() {
    let lease =
        |id: &str| format!(r#""{id}":{{"instanceID":"{id}","expires":"2026-11-21T00:00:00Z"}}"#);
    let two = format!(r#"{{"leases":{{{},{}}}}}"#, lease("a"), lease("b"));
    let error = configmap::read(&with(&two)).unwrap_err().to_string();
    assert!(error.contains("Invalid number of leases for mutex lock: 2"), "{error}");
    for text in [
        "",
        "{",
        "[]",
        "7",
        r#"{"lockType":"shared"}"#,
        r#"{"lockType":7}"#,
        r#"{"leases":[]}"#,
        r#"{"leases":{"a":7}}"#,
        r#"{"leases":{"a":{"expires":"soon"}}}"#,
        r#"{"tags":["a",1]}"#,
        r#"{"tags":"a"}"#,
        r#"{"leases":{"a":{"instanceID":1}}}"#,
    ] {
        let object = with(text);
        assert!(configmap::read(&object).is_err(), "{text}");
        let refused = configmap::changed(&object, &take("me", 1));
        assert!(matches!(refused, Err(Refusal::Unreadable(_))), "{text}");
    }
    let mut object = golden("configmap-1-held");
    object.as_object_mut().unwrap().remove("data");
    assert!(configmap::read(&object).is_err(), "no state is not a free one");
    // A lease without an end has ended, as in Go.
    let record = read(&with(r#"{"LeaseS":{"a":{}}}"#));
    assert_eq!(holder(&record).term, Term::Until(Wall::default()));
    assert_eq!(configmap::lock(&with("{}")).as_deref(), Some("build"));
}

#[test]
fn durations_that_the_format_has_not_are_refused() {
    let free = golden("configmap-3-released");
    let refused = |term| configmap::changed(&free, &taking("me", term, 1, "2026-11-21T01:00:00Z"));
    assert!(matches!(refused(Term::Ttl(Duration::ZERO)), Err(Refusal::Invalid(_))));
    assert!(matches!(refused(Term::Ttl(Duration::MAX)), Err(Refusal::Invalid(_))));
    assert!(matches!(refused(Term::Session), Err(Refusal::Unsupported(_))));
    assert!(matches!(configmap::changed(&free, &take("", 1)), Err(Refusal::Invalid(_))));
}
