//! What is none of the lock's stays as it is, on an object that others write, too.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tenure_interop::{Arena, CONTROLLER, FURNISHER, Format, Side};

use super::{SLACK, arena};

/// How often the controller writes while we hold the lock.
const WRITES: u32 = 20;
/// Another lock on the object that annotations stand on.
const ANOTHER: &str = "kubelock.giantswarm.io/another";
/// What a record of somebody else's says, who nobody has heard of for long.
const LONG_AGO: &str = "2020-01-01T00:00:00.000000Z";

/// We take, renew and release a lock on an object that carries others' data, which a controller
/// goes on writing: only the format's own fields change, and the hold is not lost.
pub(super) fn leaves_the_rest_alone(format: Format) {
    let arena = arena(format);
    let before = rest(&furnished(&arena, false), format);
    let mut holder = arena.holder(Side::Rust);
    holder.says("held", format.ttl() + SLACK);
    for round in 0..WRITES {
        arena.label("controller", &round.to_string());
        std::thread::sleep(format.ttl() * 4 / 3 / WRITES);
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

/// We wait for a lock that somebody else holds: the object stays as it is, byte for byte.
pub(super) fn waits_without_a_write(format: Format) {
    let arena = arena(format);
    let before = furnished(&arena, true);
    let mut waiter = arena.holder(Side::Rust);
    waiter.says("refused other-1", SLACK);
    // Far less than what is left of the hold, and more than a look at it takes.
    std::thread::sleep(Duration::from_secs(6));
    waiter.has_not_said("held");
    assert_eq!(arena.object().unwrap(), before, "while it waits");
    waiter.terminate();
    waiter.ends(SLACK);
    assert_eq!(arena.object().unwrap(), before, "when it has given up");
}

/// The lock's object as somebody else left it: free, or held for a while.
fn furnished(arena: &Arena, held: bool) -> Value {
    let path = arena.path();
    let name = path.rsplit('/').next().unwrap();
    let mut object = json!({"metadata": {
        "name": name,
        "labels": {"team": "a"},
        "annotations": {"note": "kept", "janus.io/other": "kept"},
        "finalizers": ["example.com/kept"],
    }});
    let now = arena.now();
    let id = if held { "other-1" } else { "" };
    match arena.format {
        Format::ClientGo | Format::Leaselock => {
            object["spec"] = json!({"holderIdentity": id, "leaseDurationSeconds": 60,
                "acquireTime": now, "renewTime": now});
        }
        Format::Annotation => {
            let value = json!({"owner": "other-1", "createdAt": now, "ttl": 60_000_000_000_u64});
            arena.annotate(ANOTHER, &value.to_string());
            if held {
                arena.annotate("kubelock.giantswarm.io/job", &value.to_string());
            }
            return arena.object().unwrap();
        }
        Format::ConfigMap => {
            object["metadata"]["labels"]["lockheed/lock"] = json!("");
            let lease = json!({"instanceID": "other-1", "expires": "2999-01-01T00:00:00Z"});
            let leases = if held { json!({"other-1": lease}) } else { json!({}) };
            let state = json!({"name": "job", "lockType": "mutex", "leases": leases,
                "tags": ["nightly"]});
            object["data"] = json!({"lock": state.to_string(), "other": "kept"});
        }
        Format::Janus => {
            object["metadata"]["labels"]["app.kubernetes.io/managed-by"] = json!("janus");
            // A deleted Lease with a finalizer stays.
            object["metadata"]["finalizers"] = json!([]);
            let (id, renewed) = if held { (id, &*now) } else { ("gone", LONG_AGO) };
            object["spec"] = json!({"holderIdentity": id, "renewTime": renewed,
                "leaseDurationSeconds": if held { 60 } else { 1 }});
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
    let owned = metadata.remove("managedFields").map(|fields| of_others(&fields));
    let mut drop_in = |map: &str, ours: fn(&str) -> bool| {
        if let Some(map) = metadata.get_mut(map).and_then(Value::as_object_mut) {
            map.retain(|key, _| !ours(key));
        }
    };
    let ours = |key: &str| key.starts_with("tenure.dev/") || key == "kubelock.giantswarm.io/job";
    drop_in("annotations", ours);
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
            spec.retain(|field, _| !LEASE.contains(&&**field));
        }
    }
    rest["owned by others"] = json!(owned.unwrap());
    rest
}

/// The fields of a Lease that a holder writes.
const LEASE: [&str; 5] =
    ["holderIdentity", "leaseDurationSeconds", "acquireTime", "renewTime", "leaseTransitions"];

/// The fields that the server says are others', less those that a holder writes.
fn of_others(fields: &Value) -> BTreeSet<String> {
    let mut owned = BTreeSet::new();
    for entry in fields.as_array().unwrap() {
        let manager = entry["manager"].as_str().unwrap();
        if [FURNISHER, CONTROLLER].contains(&manager) {
            paths(manager, &entry["fieldsV1"], &mut owned);
        }
    }
    owned.retain(|path| {
        let last = path.rsplit("/f:").next().unwrap_or_default();
        !LEASE.contains(&last) && !path.ends_with("f:data/f:lock")
    });
    owned
}

fn paths(path: &str, fields: &Value, into: &mut BTreeSet<String>) {
    let Some(fields) = fields.as_object().filter(|fields| !fields.is_empty()) else {
        into.insert(path.to_owned());
        return;
    };
    // A map that a field was added to is listed with `.` by whoever made it: by nobody else.
    for (name, below) in fields.iter().filter(|(name, _)| *name != ".") {
        paths(&format!("{path}/{name}"), below, into);
    }
}

/// Without what the controller of the test wrote meanwhile.
fn without_label(mut rest: Value) -> Value {
    let metadata = rest["metadata"].as_object_mut().unwrap();
    let labels = metadata["labels"].as_object_mut().unwrap();
    assert_eq!(labels.remove("controller"), Some(json!((WRITES - 1).to_string())));
    if labels.is_empty() {
        metadata.remove("labels");
    }
    let owned = rest["owned by others"].as_array_mut().unwrap();
    let (theirs, others) =
        owned.drain(..).partition(|path| path.as_str().unwrap().starts_with(CONTROLLER));
    *owned = others;
    let theirs: Vec<Value> = theirs;
    assert_eq!(theirs, [json!(format!("{CONTROLLER}/f:metadata/f:labels/f:controller"))]);
    rest
}
