//! Refusals in the server's words.

use serde_json::{Value, json};

use super::path::Place;

/// A refusal.
#[derive(Debug)]
pub(super) struct Status {
    pub(super) code: u16,
    reason: &'static str,
    message: String,
}

impl Status {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into() }
    }

    /// As an object.
    pub(super) fn object(&self) -> Value {
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        })
    }

    /// As the body of an answer.
    pub(super) fn body(&self) -> String {
        self.object().to_string()
    }
}

/// Reads a body.
pub(super) fn parse(body: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(body).map_err(|e| bad(e.to_string()))
}

pub(super) fn bad(message: impl Into<String>) -> Status {
    Status::new(400, "BadRequest", message)
}

pub(super) fn unauthorized() -> Status {
    Status::new(401, "Unauthorized", "Unauthorized")
}

pub(super) fn forbidden(message: String) -> Status {
    Status::new(403, "Forbidden", message)
}

pub(super) fn missing(place: &Place) -> Status {
    let (resource, name) = (place.resource.shown(), place.name());
    Status::new(404, "NotFound", format!("{resource} {name:?} not found"))
}

pub(super) fn no_namespace(namespace: &str) -> Status {
    Status::new(404, "NotFound", format!("namespaces {namespace:?} not found"))
}

pub(super) fn method() -> Status {
    let message = "the server does not allow this method on the requested resource";
    Status::new(405, "MethodNotAllowed", message)
}

pub(super) fn exists(place: &Place, name: &str) -> Status {
    let resource = place.resource.shown();
    Status::new(409, "AlreadyExists", format!("{resource} {name:?} already exists"))
}

pub(super) fn conflict(place: &Place, why: &str) -> Status {
    let (resource, name) = (place.resource.shown(), place.name());
    let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
    Status::new(409, "Conflict", message)
}

pub(super) fn expired() -> Status {
    Status::new(410, "Expired", "too old resource version")
}

pub(super) fn media(content: &str) -> Status {
    let message = format!("the body of the request was in an unknown format: {content}");
    Status::new(415, "UnsupportedMediaType", message)
}

pub(super) fn invalid(place: &Place, name: &str, what: &str) -> Status {
    Status::new(422, "Invalid", format!("{} {name:?} is invalid: {what}", kind(place)))
}

/// For a PUT without a version the server names the resource, for all else the kind.
pub(super) fn unversioned(place: &Place, what: &str) -> Status {
    let (resource, name) = (place.resource.shown(), place.name());
    Status::new(422, "Invalid", format!("{resource} {name:?} is invalid: {what}"))
}

pub(super) fn precondition(place: &Place, why: &str) -> Status {
    let (kind, name) = (kind(place), place.name());
    let message = format!("Operation cannot be fulfilled on {kind} {name:?}: {why}");
    Status::new(409, "Conflict", message)
}

/// What the server did not expect.
pub(super) fn odd(message: &str) -> Status {
    Status::new(500, "", message)
}

fn kind(place: &Place) -> String {
    match &*place.resource.group {
        "" => place.resource.kind.clone(),
        group => format!("{}.{group}", place.resource.kind),
    }
}

pub(super) fn options(what: &str) -> Status {
    Status::new(422, "Invalid", format!("ListOptions.meta.k8s.io \"\" is invalid: {what}"))
}

/// The group is known and the resource is not.
pub(super) fn unknown() -> Status {
    Status::new(404, "NotFound", "the server could not find the requested resource")
}
