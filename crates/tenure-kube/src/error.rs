//! What an answer of the server means to whoever asked: each is converted exactly once, here.
//!
//! | answer | to a write | to anything else |
//! |---|---|---|
//! | 409, 404 | conflict | 404: absent |
//! | 429, no connection | not done | unavailable |
//! | 401, 403 | denied, names what is missing | the same |
//! | 400, 405, 415, 422 | invalid, in the server's words | the same |
//! | 5xx, 408, a broken connection | **unknown** | unavailable |

use tenure_store::{Detail, Error, Name};
use tenure_wire::Refusal;

use crate::http::{Broken, Status};

/// How errors name this store.
pub(crate) const STORE: &str = "kube:";

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// The verb, as a Role names it.
    pub(crate) verb: &'static str,
    /// The resource, as a Role names it: `leases.coordination.k8s.io`.
    pub(crate) resource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: Option<&'a Name>,
}

impl Asked<'_> {
    fn is_write(&self) -> bool {
        matches!(self.verb, "create" | "update" | "patch" | "delete")
    }

    pub(crate) fn detail(&self, what: impl Into<tenure_core::Text>) -> Box<Detail> {
        let detail = Detail::new(STORE, what);
        match self.name {
            Some(name) => detail.on(name),
            None => detail,
        }
    }

    /// What cannot be sent, and why.
    pub(crate) fn unsent(&self, refusal: Refusal) -> Error {
        match refusal {
            Refusal::Unreadable(what) => self.damaged(&what.0),
            Refusal::Reserved(what) => Error::Unavailable(self.detail(what)),
            Refusal::Unsupported(what) => Error::Unsupported(self.detail(what)),
            Refusal::Invalid(what) => Error::Invalid(self.detail(what)),
            other => Error::Invalid(self.detail(format!("{other:?}"))),
        }
    }

    /// What a refusal means.
    pub(crate) fn refused(&self, status: &Status) -> Error {
        let Asked { verb, resource, namespace, .. } = self;
        let said = &status.message;
        match status.code {
            // A namespace that is going away also answers 403, and no Role helps.
            403 if said.contains("being terminated") => {
                Error::Invalid(self.detail(format!("{said}: name another namespace")))
            }
            401 => Error::Denied(self.detail(format!(
                "the server does not know who asks (401 {said}): renew the credentials"
            ))),
            403 => {
                let place = match *namespace {
                    "" => "of the cluster".to_owned(),
                    namespace => format!("in namespace {namespace}"),
                };
                Error::Denied(self.detail(format!(
                    "needs `{verb}` on {resource} {place}; `tenure rbac` prints the Role"
                )))
            }
            // A path that is none of its own is answered without an object.
            404 if said.is_empty() => Error::Invalid(self.detail(format!(
                "the server knows no {resource}: name another resource, or install what defines it"
            ))),
            404 => Error::Invalid(self.detail(format!("{said}: create it or name another"))),
            429 => Error::Unavailable(self.detail(format!("the server is busy (429 {said})"))),
            code @ (408 | 500..) if self.is_write() => {
                Error::OutcomeUnknown(self.detail(format!("the server failed ({code} {said})")))
            }
            code @ (408 | 500..) => {
                Error::Unavailable(self.detail(format!("the server failed ({code} {said})")))
            }
            code => Error::Invalid(self.detail(format!("refused by the server ({code}): {said}"))),
        }
    }

    /// What a connection that failed means.
    pub(crate) fn broken(&self, broken: &Broken) -> Error {
        let detail = self.detail(format!("no answer: {}", broken.what));
        match self.is_write() && broken.may_have_arrived {
            true => Error::OutcomeUnknown(detail),
            false => Error::Unavailable(detail),
        }
    }

    /// An object that is none of this format.
    pub(crate) fn damaged(&self, what: &str) -> Error {
        Error::Damaged(self.detail(what))
    }
}
