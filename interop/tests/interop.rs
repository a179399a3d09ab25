//! Rust and Go contend for one lock, in each format and in both directions.
//!
//! A story is told once, of a first and a second side; `sides!` makes the tests of it. They mostly
//! wait, so run many at once: `cargo test -p tenure-interop -- --test-threads=24`.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tenure_interop::{Arena, Contender, Format, Side};

/// What the machine may add to anything: other tests run on it.
const SLACK: Duration = Duration::from_secs(20);

fn arena(format: Format) -> Arena {
    Arena::new(format, env!("CARGO_BIN_EXE_peer-rust"))
}

/// The first holds and the second waits, longer than an unrenewed hold lives; the second gets the
/// lock when the first gives it back, and not before.
fn waits_and_then_gets_it(format: Format, first: Side) {
    let arena = arena(format);
    let mut holder = arena.holder(first);
    holder.says("held", SLACK);
    assert_eq!(arena.holder_id(), first.id());
    let mut waiter = arena.holder(first.other());
    sees(&mut waiter, format, first);
    std::thread::sleep(format.ttl() * 13 / 10);
    waiter.has_not_said("held");
    holder.has_not_said("lost");
    holder.terminate();
    let (given, _) = holder.says("released", SLACK);
    let (got, _) = waiter.says("held", format.retry(first.other()) + SLACK);
    assert!(got >= given - Duration::from_millis(500), "held before the release");
    let idle = got.saturating_duration_since(given);
    let bound = format.retry(first.other()) + Duration::from_secs(5);
    assert!(idle < bound, "{format:?}: free for {idle:?}, {bound:?} at most");
    assert_eq!(arena.holder_id(), first.other().id());
    // client-go's release can conflict with the renewal that it begins with.
    std::thread::sleep(Duration::from_secs(2));
    waiter.terminate();
    waiter.says("released", SLACK);
    assert_eq!(arena.holder_id(), "");
}

/// Waits until the second knows that the first holds the lock.
fn sees(waiter: &mut Contender, format: Format, holder: Side) {
    let lease = matches!(format, Format::ClientGo | Format::Leaselock);
    match holder {
        Side::Rust if lease => waiter.says(&format!("leader {}", holder.id()), SLACK),
        _ => waiter.says("refused", SLACK),
    };
}

/// The first is killed; the second gets the lock by its expiry, neither before nor much later.
fn expires_after_a_kill(format: Format, first: Side) {
    let arena = arena(format);
    let mut holder = arena.holder(first);
    holder.says("held", SLACK);
    let mut waiter = arena.holder(first.other());
    sees(&mut waiter, format, first);
    let killed = Instant::now();
    holder.kill();
    let ttl = format.ttl();
    let (got, _) = waiter.says("held", ttl + format.retry(first.other()) + SLACK * 2);
    let after = got.saturating_duration_since(killed);
    // The last renewal was a third of the ttl before the kill, or 5 s, at most.
    assert!(after > ttl * 6 / 10, "{format:?}: taken {after:?} after the kill");
    let bound = ttl + format.retry(first.other()) + SLACK;
    assert!(after < bound, "{format:?}: free only {after:?} after the kill");
}

/// Both take the lock in turn, a hundred times, and raise a number that is lost wherever both do.
fn hands_over_and_back(format: Format, sections: u32) {
    let arena = arena(format);
    let file =
        std::env::temp_dir().join(format!("tenure-interop-{}-{format:?}", std::process::id()));
    std::fs::write(&file, "0").unwrap();
    let counter = file.to_str().unwrap();
    let mut both = [Side::Rust, Side::Go].map(|side| arena.counting(side, counter, sections));
    // Beside the work and client-go's retry period, at times a release of Go's that conflicted.
    let limit = (format.retry(Side::Go) + Duration::from_secs(2)) * sections + format.ttl() * 3;
    let lines = both.each_mut().map(|contender| contender.ends(limit));
    for (side, said) in [Side::Rust, Side::Go].into_iter().zip(&lines) {
        let count = |begin: &str| said.iter().filter(|line| line.starts_with(begin)).count();
        assert_eq!(count("lost"), 0, "{side:?}: {said:?}");
        assert_eq!(count("held"), sections as usize, "{side:?}: {said:?}");
        let kept = if side == Side::Go { count("kept") } else { 0 };
        assert_eq!(count("released") + kept, sections as usize, "{side:?}: {said:?}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), (sections * 2).to_string());
    assert_eq!(arena.holder_id(), "");
    std::fs::remove_file(file).unwrap();
}

/// We take, renew and release a lock on an object that carries others' data, which a controller
/// goes on writing: only the format's own fields change, and the hold is not lost.
fn leaves_the_rest_alone(format: Format) {
    let arena = arena(format);
    let before = rest(&furnished(&arena), format);
    let mut holder = arena.holder(Side::Rust);
    holder.says("held", format.ttl() + SLACK);
    for round in 0..20 {
        arena.label("controller", &round.to_string());
        std::thread::sleep(format.ttl() / 15);
    }
    assert_eq!(arena.holder_id(), Side::Rust.id());
    assert_eq!(without_label(rest(&arena.object().unwrap(), format)), before, "while held");
    holder.has_not_said("lost");
    holder.terminate();
    holder.says("released", SLACK);
    match arena.object() {
        Some(object) => {
            assert_ne!(format, Format::Janus, "a release deletes it");
            assert_eq!(without_label(rest(&object, format)), before, "after the release");
        }
        None => assert_eq!(format, Format::Janus, "a release keeps it"),
    }
}

/// The lock's object as somebody else left it, free.
fn furnished(arena: &Arena) -> Value {
    let path = arena.path();
    let name = path.rsplit('/').next().unwrap();
    let mut object = json!({"metadata": {
        "name": name,
        "labels": {"team": "a"},
        "annotations": {"note": "kept", "janus.io/other": "kept"},
        "finalizers": ["example.com/kept"],
    }});
    match arena.format {
        Format::ClientGo | Format::Leaselock => {
            object["spec"] = json!({"holderIdentity": "", "leaseDurationSeconds": 1});
        }
        // It stands, with an annotation and data of its own.
        Format::Annotation => return arena.object().unwrap(),
        Format::ConfigMap => {
            object["metadata"]["labels"]["lockheed/lock"] = json!("");
            let state = r#"{"name":"job","lockType":"mutex","leases":{},"tags":["nightly"]}"#;
            object["data"] = json!({"lock": state, "other": "kept"});
        }
        Format::Janus => {
            object["metadata"]["labels"]["app.kubernetes.io/managed-by"] = json!("janus");
            // A deleted Lease with a finalizer stays.
            object["metadata"]["finalizers"] = json!([]);
            object["spec"] = json!({"holderIdentity": "gone", "leaseDurationSeconds": 1,
                "renewTime": "2020-01-01T00:00:00.000000Z"});
        }
    }
    arena.create(&object);
    arena.object().unwrap()
}

/// All of the object that is none of the lock's.
fn rest(object: &Value, format: Format) -> Value {
    let mut rest = object.clone();
    let metadata = rest["metadata"].as_object_mut().unwrap();
    metadata.remove("resourceVersion");
    metadata.remove("managedFields");
    let mut drop_in = |map: &str, ours: fn(&str) -> bool| {
        if let Some(map) = metadata.get_mut(map).and_then(Value::as_object_mut) {
            map.retain(|key, _| !ours(key));
        }
    };
    drop_in("annotations", |key| key.starts_with("tenure.dev/") || key.starts_with("kubelock."));
    drop_in("labels", |key| key == "janus.io/transaction");
    match format {
        Format::ConfigMap => {
            let data = rest["data"].as_object_mut().unwrap();
            data.remove("tenure");
            let mut state: Value = serde_json::from_str(data["lock"].as_str().unwrap()).unwrap();
            state["leases"] = Value::Null;
            data.insert("lock".into(), state);
        }
        Format::Annotation => {}
        _ => {
            let spec = rest["spec"].as_object_mut().unwrap();
            for ours in [
                "holderIdentity",
                "leaseDurationSeconds",
                "acquireTime",
                "renewTime",
                "leaseTransitions",
            ] {
                spec.remove(ours);
            }
        }
    }
    rest
}

/// Without what the controller of the test wrote meanwhile.
fn without_label(mut rest: Value) -> Value {
    let metadata = rest["metadata"].as_object_mut().unwrap();
    let labels = metadata["labels"].as_object_mut().unwrap();
    assert_eq!(labels.remove("controller"), Some(json!("19")));
    if labels.is_empty() {
        metadata.remove("labels");
    }
    rest
}

macro_rules! sides {
    ($($module:ident: $format:ident),* $(,)?) => {$(
        mod $module {
            use super::*;

            #[test]
            fn go_holds_and_rust_waits_and_then_gets_it() {
                waits_and_then_gets_it(Format::$format, Side::Go);
            }

            #[test]
            fn rust_holds_and_go_waits_and_then_gets_it() {
                waits_and_then_gets_it(Format::$format, Side::Rust);
            }

            #[test]
            fn go_is_killed_and_rust_gets_it_by_expiry() {
                expires_after_a_kill(Format::$format, Side::Go);
            }

            #[test]
            fn rust_is_killed_and_go_gets_it_by_expiry() {
                expires_after_a_kill(Format::$format, Side::Rust);
            }

            #[test]
            fn nothing_else_on_the_object_is_changed() {
                leaves_the_rest_alone(Format::$format);
            }
        }
    )*};
}

sides! {
    client_go: ClientGo,
    leaselock: Leaselock,
    annotation: Annotation,
    configmap: ConfigMap,
    janus: Janus,
}

macro_rules! hand_overs {
    ($($test:ident: $format:ident),* $(,)?) => {$(
        #[test]
        fn $test() {
            hands_over_and_back(Format::$format, 50);
        }
    )*};
}

// leaselock has the same format as client-go, and waits for up to 11 s each time.
hand_overs! {
    a_hundred_hand_overs_of_a_lease: ClientGo,
    a_hundred_hand_overs_of_an_annotation: Annotation,
    a_hundred_hand_overs_of_a_config_map: ConfigMap,
    a_hundred_hand_overs_of_a_transaction: Janus,
}
