//! Whatever an object says, no format panics, and a take of what it can read is read back.

use proptest::prelude::*;
use serde_json::json;
use tenure_wire::janus::Written;
use tenure_wire::{annotation, configmap, janus};

use super::*;

const KEYS: [&str; 22] = [
    "spec",
    "metadata",
    "annotations",
    "labels",
    "data",
    "lock",
    "tenure",
    "name",
    "namespace",
    "holderIdentity",
    "leaseDurationSeconds",
    "renewTime",
    "acquireTime",
    "leaseTransitions",
    "kubelock.giantswarm.io/l",
    "reserved/by",
    "reserved/expires",
    "tenure.dev/mark",
    "tenure.dev/token",
    "tenure.dev/lock",
    "finalizers",
    "x",
];

fn anything() -> impl Strategy<Value = Value> {
    let texts = prop_oneof![
        "[ -~]{0,20}",
        Just("2026-11-21T00:15:44.617922Z".to_owned()),
        Just(r#"{"owner":"a","createdAt":"2026-11-21T00:15:44Z","ttl":5}"#.to_owned()),
        Just(r#"{"leases":{"a":{"expires":"2026-11-21T00:15:44Z"}},"tags":["a"]}"#.to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..100).prop_map(Value::from),
        texts.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let key = prop::sample::select(KEYS.to_vec()).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map(key, inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// An object of a server, with anything in it.
fn object() -> impl Strategy<Value = Value> {
    (anything(), anything(), anything(), anything(), any::<bool>()).prop_map(
        |(annotations, labels, spec, data, versioned)| {
            let mut object = json!({
                "metadata": {"name": "n", "namespace": "ns", "annotations": annotations,
                             "labels": labels},
                "spec": spec, "data": data,
            });
            if versioned {
                object["metadata"]["uid"] = json!("u");
                object["metadata"]["resourceVersion"] = json!("5");
            }
            object
        },
    )
}

/// Everything but what a format may write.
fn others(object: &Value) -> Value {
    let mut object = object.clone();
    for part in ["annotations", "labels"] {
        let Some(Value::Object(map)) = object["metadata"].get_mut(part) else {
            object["metadata"].as_object_mut().unwrap().remove(part);
            continue;
        };
        map.retain(|key, _| key == "x");
    }
    for part in ["spec", "data"] {
        let rest = object[part].get("x").cloned();
        object[part] = rest.unwrap_or_default();
    }
    for part in ["annotations", "labels"] {
        if object["metadata"].get(part) == Some(&json!({})) {
            object["metadata"].as_object_mut().unwrap().remove(part);
        }
    }
    object
}

proptest! {
    #[test]
    fn nothing_panics_and_others_keep_theirs(object in object()) {
        let take = taking("me", ttl(15), 42, "2027-11-21T02:00:00Z");
        let mark = Mark::from_u128(42);
        if let Ok((record, _)) = configmap::read(&object)
            && let Ok(taken) = configmap::changed(&object, &take) {
            let (after, _) = configmap::read(&taken).unwrap();
            prop_assert_eq!((holder(&after).mark, &after.tags), (mark, &record.tags));
            prop_assert_eq!(others(&taken), others(&object));
        }
        if janus::read(&object).is_ok() {
            let Ok(Written::Put(taken)) = janus::changed(&object, &take) else {
                return Err(TestCaseError::fail("a take of a Lease is refused"));
            };
            prop_assert_eq!(holder(&janus::read(&taken).unwrap().0).mark, mark);
            prop_assert_eq!(others(&taken), others(&object));
        }
        if annotation::read(&object, "l").is_ok() {
            let patch = annotation::patch(&object, "l", &take).unwrap();
            let sent: Vec<_> = patch["metadata"]["annotations"].as_object().unwrap().keys().collect();
            prop_assert_eq!(sent, ["kubelock.giantswarm.io/l"]);
        }
        let _ = (janus::Target::of(&object), configmap::lock(&object));
        prop_assert!(annotation::locks(&object).count() <= 1);
    }

    #[test]
    fn no_name_panics(name in ".{0,300}") {
        if let Some(target) = janus::Target::parse(&name) {
            prop_assert!(tenure_wire::meta::is_subdomain(&target.lease()));
            prop_assert_eq!(janus::Target::parse(&target.lock()), Some(target));
        }
        let _ = annotation::key(&name);
    }
}
