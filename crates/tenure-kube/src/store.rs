//! The lease format as a [`Store`]: which request each operation is.
//!
//! | operation | requests |
//! |---|---|
//! | read | GET |
//! | write of what was absent | POST |
//! | write of what was judged | PUT with its `uid` and `resourceVersion` |
//! | delete | DELETE with both as preconditions |
//! | list | GET, in pages |

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use http::Method;
use serde_json::{Value, json};
use tenure_core::{Change, Liveness, Probed, Session, Version};
use tenure_store::{
    BoxFuture, Capabilities, Conditional, Detail, Error, Listed, Name, Origin, Result, Snapshot,
    Store, Stored, Watch,
};
use tenure_wire::{Refusal, lease, meta};

use crate::error::{Asked, STORE};
use crate::http::{Failed, Http};
use crate::{names, watch};

/// How many objects are asked for at once.
const PAGE: usize = 500;
/// The resource, as a Role names it.
pub(crate) const RESOURCE: &str = "leases.coordination.k8s.io";

/// Leases of one namespace. Cloning it gives the same store.
#[derive(Clone)]
pub struct KubeStore(Arc<Shared>);

/// What a store and its watches share.
pub(crate) struct Shared {
    pub(crate) http: Http,
    pub(crate) namespace: String,
    /// The server does not begin a watch with what stands there.
    pub(crate) plain_watches: AtomicBool,
}

impl KubeStore {
    /// The Leases of `namespace`. The client must not repeat requests by itself
    /// ([`client`](crate::client) makes one that does not): a write that is repeated may be told of
    /// a conflict with itself, and then nobody holds the lock until it expires.
    ///
    /// Nothing is asked of the server yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what can be no namespace, and outside of a tokio runtime, which does
    /// the I/O for as long as the store is used.
    pub fn new(client: kube::Client, namespace: &str) -> Result<Self> {
        if !names::is_label(namespace) {
            return Err(Error::Invalid(Detail::new(
                STORE,
                format!("{namespace:?} is no namespace: give lower-case letters, digits and `-`"),
            )));
        }
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| {
            Error::Invalid(Detail::new(STORE, "there is no tokio runtime here: make it in one"))
        })?;
        Ok(Self(Arc::new(Shared {
            http: Http::new(client, runtime),
            namespace: namespace.to_owned(),
            plain_watches: AtomicBool::new(false),
        })))
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }
}

impl fmt::Debug for KubeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeStore").field("namespace", &self.0.namespace).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn asked<'a>(&'a self, verb: &'static str, name: Option<&'a Name>) -> Asked<'a> {
        Asked { verb, resource: RESOURCE, namespace: &self.namespace, name }
    }

    /// The path of all Leases.
    pub(crate) fn all(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.namespace)
    }

    fn one(&self, name: &Name) -> String {
        format!("{}/{name}", self.all())
    }

    pub(crate) fn check(&self, name: &Name) -> Result<()> {
        if names::is_subdomain(name.as_str()) {
            return Ok(());
        }
        let what =
            "is no name of a Lease: give at most 253 lower-case letters, digits, `-` and `.`";
        Err(Error::Invalid(self.asked("get", Some(name)).detail(what)))
    }

    /// What an object says.
    pub(crate) fn stored(&self, asked: Asked<'_>, object: Value) -> Result<Stored> {
        let (record, version) = lease::read(&object).map_err(|e| asked.damaged(&e.0))?;
        Ok(Stored { record: Arc::new(record), version, age: None, origin: Origin::new(object) })
    }

    pub(crate) async fn read(&self, name: &Name) -> Result<Snapshot> {
        self.check(name)?;
        let asked = self.asked("get", Some(name));
        match self.http.ask(Method::GET, &self.one(name), None).await {
            Ok(object) => Ok(Snapshot::Is(self.stored(asked, object)?)),
            Err(Failed::Refused(status)) if status.code == 404 => {
                Ok(Snapshot::Absent { revision: 0 })
            }
            Err(Failed::Refused(status)) => Err(asked.refused(&status)),
            Err(Failed::Broken(broken)) => Err(asked.broken(&broken)),
        }
    }

    async fn write(
        &self,
        name: &Name,
        judged: Option<&Stored>,
        change: &Change,
    ) -> Result<Conditional<Stored>> {
        self.check(name)?;
        let verb = if judged.is_some() { "update" } else { "create" };
        let asked = self.asked(verb, Some(name));
        let object = match judged {
            None => lease::created(&self.namespace, name.as_str(), change),
            Some(stored) => match stored.origin.get::<Value>() {
                Some(object) => lease::changed(object, change),
                None => return Err(Error::Invalid(asked.detail("the record is another store's"))),
            },
        };
        let object = match object {
            Ok(object) => object,
            Err(Refusal::Conflict) => return Ok(Conditional::Conflict),
            Err(Refusal::Invalid(what)) => return Err(Error::Invalid(asked.detail(what))),
            Err(Refusal::Unsupported(what)) => return Err(Error::Unsupported(asked.detail(what))),
            Err(Refusal::Unreadable(what)) => return Err(asked.damaged(&what.0)),
            Err(other) => return Err(Error::Invalid(asked.detail(format!("{other:?}")))),
        };
        let answer = match judged {
            None => self.http.ask(Method::POST, &self.all(), Some(&object)).await,
            Some(_) => self.http.ask(Method::PUT, &self.one(name), Some(&object)).await,
        };
        match answer {
            Ok(object) => {
                // It was done, whatever is wrong with the answer.
                let unknown = |e: Error| Error::OutcomeUnknown(e.detail().clone().into());
                self.stored(asked, object).map(Conditional::Done).map_err(unknown)
            }
            Err(Failed::Refused(status)) if status.code == 409 => Ok(Conditional::Conflict),
            Err(Failed::Refused(status)) if status.code == 404 && judged.is_some() => {
                Ok(Conditional::Conflict)
            }
            Err(Failed::Refused(status)) => Err(asked.refused(&status)),
            Err(Failed::Broken(broken)) => Err(asked.broken(&broken)),
        }
    }

    async fn delete(&self, name: &Name, expected: Version) -> Result<Conditional<()>> {
        // The condition names the uid, which a version holds the hash of.
        let Snapshot::Is(stored) = self.read(name).await? else {
            return Ok(Conditional::Conflict);
        };
        let asked = self.asked("delete", Some(name));
        let uid = stored.origin.get::<Value>().and_then(|object| meta::text(object, "uid"));
        let (Some(uid), true) = (uid, stored.version == expected) else {
            return Ok(Conditional::Conflict);
        };
        let revision = expected.revision.to_string();
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid, "resourceVersion": revision},
        });
        match self.http.ask(Method::DELETE, &self.one(name), Some(&options)).await {
            Ok(_) => Ok(Conditional::Done(())),
            Err(Failed::Refused(status)) if matches!(status.code, 404 | 409) => {
                Ok(Conditional::Conflict)
            }
            Err(Failed::Refused(status)) => Err(asked.refused(&status)),
            Err(Failed::Broken(broken)) => Err(asked.broken(&broken)),
        }
    }

    async fn list(&self) -> Result<Vec<Listed>> {
        let asked = self.asked("list", None);
        let (mut listed, mut next) = (Vec::new(), String::new());
        loop {
            let path = format!("{}?limit={PAGE}{next}", self.all());
            let page = match self.http.ask(Method::GET, &path, None).await {
                Ok(page) => page,
                Err(Failed::Refused(status)) => return Err(asked.refused(&status)),
                Err(Failed::Broken(broken)) => return Err(asked.broken(&broken)),
            };
            let items = page.get("items").and_then(Value::as_array).into_iter().flatten();
            listed.extend(items.filter_map(|object| self.listed(object)));
            match meta::text(&page, "continue").filter(|token| !token.is_empty()) {
                Some(token) => next = format!("&continue={}", encoded(token)),
                None => return Ok(listed),
            }
        }
    }

    fn listed(&self, object: &Value) -> Option<Listed> {
        let name = Name::new(meta::text(object, "name")?).ok()?;
        let stored = self.stored(self.asked("list", Some(&name)), object.clone());
        Some(Listed { name, stored })
    }
}

/// Percent-encodes what stands behind a `=`.
pub(crate) fn encoded(text: &str) -> String {
    use fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

impl Store for KubeStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { liveness: Liveness::Observed, queue: false }
    }

    fn session(&self) -> BoxFuture<'_, Result<Session>> {
        Box::pin(async { Ok(Session::NONE) })
    }

    fn probe(&self, _: Session) -> BoxFuture<'_, Result<Probed>> {
        let what = "sessions cannot be probed: a holder is known by its renewals";
        Box::pin(async move { Err(Error::Unsupported(Detail::new(STORE, what))) })
    }

    fn read<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<Snapshot>> {
        Box::pin(self.0.read(name))
    }

    fn write_if<'a>(
        &'a self,
        name: &'a Name,
        judged: Option<&'a Stored>,
        change: &'a Change,
    ) -> BoxFuture<'a, Result<Conditional<Stored>>> {
        Box::pin(self.0.write(name, judged, change))
    }

    fn delete_if<'a>(
        &'a self,
        name: &'a Name,
        expected: Version,
    ) -> BoxFuture<'a, Result<Conditional<()>>> {
        Box::pin(self.0.delete(name, expected))
    }

    fn watch(&self, name: &Name) -> Watch {
        watch::watch(Arc::clone(&self.0), name.clone())
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>>> {
        Box::pin(self.0.list())
    }
}
