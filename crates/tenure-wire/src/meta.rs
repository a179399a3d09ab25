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

/// A label of the object.
#[must_use]
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    member_of(object, "metadata", "labels")?.get(key)?.as_str()
}

/// Sets a label, or takes it away.
pub(crate) fn set_label(object: &mut Value, key: &str, value: Option<&str>) {
    let Some(metadata) = member(object, "metadata") else { return };
    let labels = metadata.entry("labels").or_insert_with(|| Value::Object(Map::new()));
    if !labels.is_object() {
        *labels = Value::Object(Map::new());
    }
    let Some(map) = labels.as_object_mut() else { return };
    match value {
        Some(value) => drop(map.insert(key.to_owned(), value.into())),
        None => drop(map.remove(key)),
    }
}

/// The object under a field of a field, if there is one.
pub(crate) fn member_of<'a>(
    object: &'a Value,
    outer: &str,
    inner: &str,
) -> Option<&'a Map<String, Value>> {
    object.get(outer)?.get(inner)?.as_object()
}

/// Whether this can be the name of an object: a DNS subdomain of at most 253 characters.
#[must_use]
pub fn is_subdomain(name: &str) -> bool {
    !name.is_empty() && name.len() <= 253 && name.split('.').all(is_part)
}

/// Whether this can be the name of a namespace: a DNS label.
#[must_use]
pub fn is_label(name: &str) -> bool {
    name.len() <= 63 && is_part(name)
}

fn is_part(part: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    bytes.first().is_some_and(|b| plain(*b))
        && bytes.last().is_some_and(|b| plain(*b))
        && bytes.iter().all(|b| plain(*b) || *b == b'-')
}

/// Whether this can be the last part of an annotation's key, or a label's value that says something.
#[must_use]
pub fn is_label_value(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

/// Leaves out what only the server writes and nobody has to send back.
pub(crate) fn lighten(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
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
    fn what_the_server_accepts_and_what_not() {
        let longest = "x".repeat(253);
        for name in ["a", "a.b", "a-b.c-9", "0", &longest] {
            assert!(is_subdomain(name), "{name}");
        }
        let long = "x".repeat(254);
        for name in ["", "A", "a b", "-a", "a-", "a..b", ".a", "a.", "a/b", "é", "a_b", &long] {
            assert!(!is_subdomain(name), "{name}");
        }
        assert!(is_label("default") && !is_label("a.b") && !is_label(&"x".repeat(64)));
        assert!(is_label_value("A_b.c-9") && is_label_value(&"x".repeat(63)));
        for value in ["", "-a", "a-", "a/b", "é", &"x".repeat(64)] {
            assert!(!is_label_value(value), "{value}");
        }
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
