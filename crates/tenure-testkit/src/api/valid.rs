//! What no object may be: the checks that a store can run into.

use serde_json::Value;
use tenure_wire::meta;

use super::objects::text;
use super::path::Place;
use super::status::{self, Status};

/// Refuses an object that the server would refuse.
pub(super) fn check(place: &Place, name: &str, object: &Value) -> Result<(), Status> {
    if !object.is_object() {
        let what = format!("must be of type {}", place.resource.kind);
        return Err(status::bad(format!("the object provided is unrecognized ({what})")));
    }
    let namespace = text(object, "namespace");
    if !namespace.is_empty() && namespace != place.namespace {
        return Err(status::bad(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let invalid = |what: String| Err(status::invalid(place, name, &what));
    // The names of some resources are parts of paths.
    let named = match &*place.resource.group {
        "rbac.authorization.k8s.io" => !name.is_empty() && !name.contains(['/', '%']),
        _ => meta::is_subdomain(name),
    };
    if !named {
        return invalid(format!(
            "metadata.name: Invalid value: {name:?}: a lowercase RFC 1123 subdomain must consist of \
             lower case alphanumeric characters, '-' or '.'"
        ));
    }
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    for (_, value) in labels {
        let value = value.as_str().unwrap_or_default();
        if !(value.is_empty() || meta::is_label_value(value)) {
            return invalid(format!(
                "metadata.labels: Invalid value: {value:?}: a valid label must be an empty string \
                 or consist of alphanumeric characters, '-', '_' or '.'"
            ));
        }
    }
    let annotations = object["metadata"]["annotations"].as_object().into_iter().flatten();
    for (key, value) in annotations {
        let plain = key.rsplit('/').next().unwrap_or_default();
        if !meta::is_label_value(plain) || plain.is_empty() {
            return invalid(format!(
                "metadata.annotations: Invalid value: {key:?}: name part must consist of \
                 alphanumeric characters, '-', '_' or '.'"
            ));
        }
        if !value.is_string() {
            return Err(status::bad("json: cannot unmarshal into Go struct field annotations"));
        }
    }
    let duration = object["spec"]["leaseDurationSeconds"].as_i64();
    match duration.filter(|seconds| *seconds <= 0 && place.resource.plural == "leases") {
        Some(seconds) => invalid(format!(
            "spec.leaseDurationSeconds: Invalid value: {seconds}: must be greater than 0"
        )),
        None => Ok(()),
    }
}
