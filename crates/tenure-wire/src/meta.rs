//! What every object of a Kubernetes API server says of itself.

use serde_json::{Map, Value};
use tenure_core::Version;
use twox_hash::XxHash3_128;

use crate::Unreadable;

/// Which state of which incarnation an object is: its `resourceVersion` and its `uid`.
///
/// # Errors
/// A `resourceVersion` that is no number: no token can be made of it, and nothing says which of two
/// is newer.
pub fn version(object: &Value) -> Result<Version, Unreadable> {
    let uid = text(object, "uid").ok_or_else(|| Unreadable("it has no metadata.uid".into()))?;
    let revision = text(object, "resourceVersion").unwrap_or_default();
    let number = revision.bytes().all(|b| b.is_ascii_digit()).then(|| revision.parse().ok());
    let Some(revision) = number.flatten().filter(|n| *n > 0) else {
        return Err(Unreadable(format!(
            "its metadata.resourceVersion is {revision:?}: tokens need a server where it is a number"
        )));
    };
    Ok(Version { incarnation: XxHash3_128::oneshot(uid.as_bytes()), revision })
}

/// A text of the object's metadata.
#[must_use]
pub fn text<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    object.get("metadata")?.get(field)?.as_str()
}

/// An annotation of the object.
#[must_use]
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

/// Sets an annotation, or takes it away; an object that is left without any has no place for them.
pub fn set_annotation(object: &mut Value, key: &str, value: Option<String>) {
    let Some(metadata) = member(object, "metadata") else { return };
    if value.is_none() && metadata.get("annotations").is_none() {
        return;
    }
    let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    if !annotations.is_object() {
        *annotations = Value::Object(Map::new());
    }
    let Some(map) = annotations.as_object_mut() else { return };
    match value {
        Some(value) => drop(map.insert(key.to_owned(), Value::String(value))),
        None => drop(map.remove(key)),
    }
    if map.is_empty() {
        metadata.remove("annotations");
    }
}

/// The object under this field, made if it is not there.
pub(crate) fn member<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Map<String, Value>> {
    let map = object.as_object_mut()?;
    let member = map.entry(field).or_insert_with(|| Value::Object(Map::new()));
    if !member.is_object() {
        *member = Value::Object(Map::new());
    }
    member.as_object_mut()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_version_is_a_number_and_an_incarnation() {
        let object = |uid: &str, rv: &str| json!({"metadata": {"uid": uid, "resourceVersion": rv}});
        let a = version(&object("61a43d04-1b9f-490d-86e7-cd8da9b7cb68", "708")).unwrap();
        let b = version(&object("71a43d04-1b9f-490d-86e7-cd8da9b7cb68", "709")).unwrap();
        assert_eq!((a.revision, b.revision), (708, 709));
        assert_ne!(a.incarnation, b.incarnation);
        for rv in ["", "0", "x", "-1", "+7", "1.5", "99999999999999999999"] {
            assert!(version(&object("u", rv)).is_err(), "{rv}");
        }
        assert!(version(&json!({})).is_err());
    }

    #[test]
    fn an_annotation_leaves_the_others_alone() {
        let mut object = json!({"metadata": {"annotations": {"a": "1"}}});
        set_annotation(&mut object, "b", Some("2".into()));
        assert_eq!((annotation(&object, "a"), annotation(&object, "b")), (Some("1"), Some("2")));
        set_annotation(&mut object, "b", None);
        set_annotation(&mut object, "a", None);
        assert_eq!(object, json!({"metadata": {}}));
    }
}
