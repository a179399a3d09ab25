//! Objects of a cluster as a [`Store`]: when which request is sent.
//!
//! | operation | requests |
//! |---|---|
//! | read | GET |
//! | write of what was absent | POST; of an annotation PATCH, and GET before it unless it is known |
//! | write of what was judged | one, with its `uid` and `resourceVersion` |
//! | delete | GET, then DELETE or PATCH with both |
//! | list | GET, in pages |

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tenure_core::{Change, Holder, Liveness, Probed, Session, Term, Version};
use tenure_store::{
    BoxFuture, Capabilities, Conditional, Detail, Error, Listed, Name, Origin, Result, Snapshot,
    Store, Stored, Watch,
};
use tenure_wire::{Refusal, meta};

use crate::clock::Ahead;
use crate::error::{Asked, STORE};
use crate::feeds::Feeds;
use crate::format::{Format, Request, Spot};
use crate::http::{Failed, Http, SPARE};
use crate::watch;

/// How many objects are asked for at once.
const PAGE: usize = 500;

/// Locks in one namespace, in one format. Cloning it gives the same store.
#[derive(Clone)]
pub struct KubeStore(Arc<Shared>);

/// What a store and its watches share.
pub(crate) struct Shared {
    pub(crate) http: Http,
    pub(crate) feeds: Feeds,
    namespace: String,
    format: Format,
    /// The server does not begin a watch with what stands there.
    pub(crate) plain_watches: AtomicBool,
    /// The latest known state of the one object that has all the locks, where one has.
    latest: Mutex<Option<Arc<Value>>>,
}

impl KubeStore {
    /// The Leases of `namespace`. The client must not repeat requests by itself (in `kube::Config`:
    /// `default_retry = false`): a write that is repeated may be told of a conflict with itself, and
    /// then nobody holds the lock until it expires. It should have its own connections, as the one
    /// that [`client`](crate::client) makes: what else a program asks must not hold up a renewal.
    ///
    /// Nothing is asked of the server yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what can be no namespace, and outside of a tokio runtime, which does
    /// the I/O for as long as the store is used.
    pub fn new(client: kube::Client, namespace: &str) -> Result<Self> {
        Self::with_format(client, namespace, Format::Lease)
    }

    /// The locks of `namespace` in another format. Annotations may stand on an object of the whole
    /// cluster: then the namespace is empty. For janus it is the one that a listing shows.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_format(client: kube::Client, namespace: &str, format: Format) -> Result<Self> {
        if !(meta::is_label(namespace) || namespace.is_empty() && format.shares()) {
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
            feeds: Feeds::default(),
            namespace: namespace.to_owned(),
            format,
            plain_watches: AtomicBool::new(false),
            latest: Mutex::new(None),
        })))
    }

    /// The namespace; empty for an object of the whole cluster.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }

    /// What a lock is here.
    #[must_use]
    pub fn format(&self) -> &Format {
        &self.0.format
    }
}

impl fmt::Debug for KubeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { namespace, format, .. } = &*self.0;
        f.debug_struct("KubeStore")
            .field("namespace", namespace)
            .field("format", format)
            .finish_non_exhaustive()
    }
}

/// What is asked for, and where.
pub(crate) fn asked<'a>(verb: &'static str, spot: &'a Spot, name: Option<&'a Name>) -> Asked<'a> {
    Asked { verb, resource: &spot.resource, namespace: &spot.namespace, name }
}

impl Shared {
    /// Where a lock is.
    pub(crate) fn spot(&self, name: &Name) -> Result<Spot> {
        let invalid = |what: String| Error::Invalid(Detail::new(STORE, what).on(name));
        self.format.spot(&self.namespace, name).map_err(invalid)
    }

    /// What an object says of a lock, which is something or nothing.
    pub(crate) fn found(
        &self,
        name: &Name,
        asked: Asked<'_>,
        object: Arc<Value>,
    ) -> Result<Snapshot> {
        let read = self.format.read(name, &object).map_err(|e| asked.damaged(&e.0));
        if self.format.shares() {
            self.keep(&object);
        }
        let (record, version) = read?;
        Ok(match record {
            None => Snapshot::Absent { revision: version.revision },
            Some(record) => {
                let (record, origin) = (Arc::new(record), Origin::new(object));
                Snapshot::Is(Stored { record, version, age: None, origin })
            }
        })
    }

    /// Keeps a state of the one object unless a later one is known.
    fn keep(&self, object: &Arc<Value>) {
        let Ok(version) = meta::version(object) else { return };
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let known = latest.as_ref().and_then(|known| meta::version(known).ok());
        if known.is_none_or(|known| version.revision > known.revision) {
            *latest = Some(Arc::clone(object));
        }
    }

    /// The one object as it was last seen, if this lock was not on it.
    fn known_without(&self, name: &Name) -> Option<Arc<Value>> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let (record, _) = self.format.read(name, &latest).ok()?;
        record.is_none().then_some(latest)
    }

    /// The object that is there; `None` if there is none.
    async fn get(&self, spot: &Spot, name: &Name) -> Result<Option<Value>> {
        let asked = asked("get", spot, Some(name));
        match self.http.ask(Method::GET, &spot.path(), None, SPARE).await {
            Ok(object) => Ok(Some(object)),
            // Without the object that has the locks there is nothing to take, and nobody makes it.
            Err(Failed::Refused(status)) if status.code == 404 && !self.format.shares() => Ok(None),
            Err(Failed::Refused(status)) => Err(asked.refused(&status)),
            Err(Failed::Broken(broken)) => Err(asked.broken(&broken)),
        }
    }

    pub(crate) async fn read(&self, name: &Name) -> Result<Snapshot> {
        let spot = self.spot(name)?;
        match self.get(&spot, name).await? {
            Some(object) => self.found(name, asked("get", &spot, Some(name)), lean(object)),
            None => Ok(Snapshot::Absent { revision: 0 }),
        }
    }

    async fn write(
        &self,
        name: &Name,
        judged: Option<&Stored>,
        change: &Change,
    ) -> Result<Conditional<Stored>> {
        let spot = self.spot(name)?;
        if matches!(change, Change::Take { .. } | Change::Renew { .. }) {
            self.check_clock(&spot, name).await?;
        }
        if judged.is_none() && self.format.shares() {
            return self.write_on_shared(&spot, name, change).await;
        }
        let object = match judged.map(|stored| stored.origin.get::<Arc<Value>>()) {
            None => None,
            Some(Some(object)) => Some(&**object),
            Some(None) => {
                let what = "the record is another store's";
                return Err(Error::Invalid(asked("update", &spot, Some(name)).detail(what)));
            }
        };
        self.change(&spot, name, object, change).await
    }

    /// Refuses to write a hold by a clock that is wrong, where others end it by theirs. As every answer
    /// tells the server's time, only the first write of all has to ask, and one that would be refused:
    /// whichever clock was wrong may have been set.
    async fn check_clock(&self, spot: &Spot, name: &Name) -> Result<()> {
        if matches!(self.format, Format::Lease) {
            return Ok(());
        }
        let asked = asked("get", spot, Some(name));
        let problem = |known: Option<Option<Ahead>>| known.flatten().and_then(Ahead::problem);
        let known = self.http.clock();
        if known.is_none() || problem(known).is_some() {
            let answer = self.http.probe(Method::GET, "/version", None).await;
            if let Err(Failed::Broken(broken)) = answer {
                return Err(asked.broken(&broken));
            }
        }
        let known = self.http.clock();
        match problem(known) {
            Some(problem) => Err(Error::Invalid(asked.detail(problem))),
            None if known.is_none() => {
                Err(Error::Unavailable(asked.detail("this machine's clock was set just now")))
            }
            None => Ok(()),
        }
    }

    /// A write that expects nothing, where nothing is an object that does not have this lock: as it
    /// was last seen, or if that has changed, as it is.
    async fn write_on_shared(
        &self,
        spot: &Spot,
        name: &Name,
        change: &Change,
    ) -> Result<Conditional<Stored>> {
        if let Some(known) = self.known_without(name)
            && let done @ Conditional::Done(_) =
                self.change(spot, name, Some(&known), change).await?
        {
            return Ok(done);
        }
        // What stands there now, even if it is older than what was known: a server may be set back.
        let Some(object) = self.get(spot, name).await?.map(lean) else {
            return Ok(Conditional::Conflict);
        };
        match self.found(name, asked("get", spot, Some(name)), Arc::clone(&object))? {
            Snapshot::Is(_) => Ok(Conditional::Conflict),
            Snapshot::Absent { .. } => self.change(spot, name, Some(&object), change).await,
        }
    }

    /// Carries out a change on this state of the object; on nothing where there is none.
    async fn change(
        &self,
        spot: &Spot,
        name: &Name,
        object: Option<&Value>,
        change: &Change,
    ) -> Result<Conditional<Stored>> {
        match self.format.request(spot, name, object, change) {
            Ok(request) => self.send(spot, name, object, request, spare(change)).await,
            Err(Refusal::Conflict) => Ok(Conditional::Conflict),
            Err(refusal) => Err(asked("update", spot, Some(name)).unsent(refusal)),
        }
    }

    async fn send(
        &self,
        spot: &Spot,
        name: &Name,
        object: Option<&Value>,
        request: Request,
        spare: Duration,
    ) -> Result<Conditional<Stored>> {
        let (verb, method, path, body) = match request {
            Request::Create(body) => ("create", Method::POST, spot.all.clone(), body),
            Request::Replace(body) => ("update", Method::PUT, spot.path(), body),
            Request::Patch(body) => ("patch", Method::PATCH, spot.path(), body),
            Request::Delete => ("delete", Method::DELETE, spot.path(), preconditions(object)),
        };
        let asked = asked(verb, spot, Some(name));
        match self.http.ask(method, &path, Some(&body), spare).await {
            Ok(_) if verb == "delete" => {
                // When it was deleted is not told: later than what was deleted.
                let was = object.and_then(|object| meta::version(object).ok()).unwrap_or_default();
                let version = Version { revision: was.revision.saturating_add(1), ..was };
                Ok(Conditional::Done(Stored::gone(version)))
            }
            Ok(object) => {
                // It was done, whatever is wrong with the answer.
                let unknown = |e: Error| Error::OutcomeUnknown(e.detail().clone().into());
                let incarnation = meta::version(&object).map_or(0, |version| version.incarnation);
                Ok(Conditional::Done(
                    match self.found(name, asked, lean(object)).map_err(unknown)? {
                        Snapshot::Is(stored) => stored,
                        Snapshot::Absent { revision } => {
                            Stored::gone(Version { incarnation, revision })
                        }
                    },
                ))
            }
            Err(Failed::Refused(status)) if status.code == 409 => Ok(Conditional::Conflict),
            Err(Failed::Refused(status)) if status.code == 404 && verb != "create" => {
                Ok(Conditional::Conflict)
            }
            Err(Failed::Refused(status)) => Err(asked.refused(&status)),
            Err(Failed::Broken(broken)) => Err(asked.broken(&broken)),
        }
    }

    async fn delete(&self, name: &Name, expected: Version) -> Result<Conditional<()>> {
        let spot = self.spot(name)?;
        // The condition names the uid, which a version holds the hash of.
        let Snapshot::Is(stored) = self.read(name).await? else {
            return Ok(Conditional::Conflict);
        };
        let (Some(object), true) = (stored.origin.get::<Arc<Value>>(), stored.version == expected)
        else {
            return Ok(Conditional::Conflict);
        };
        let request = self.format.deletion(name, object);
        Ok(match self.send(&spot, name, Some(object), request, SPARE).await? {
            Conditional::Done(_) => Conditional::Done(()),
            Conditional::Conflict => Conditional::Conflict,
        })
    }

    async fn list(&self) -> Result<Vec<Listed>> {
        let field = self.format.field(&self.namespace);
        if self.format.shares() {
            let asked = asked("get", &field, None);
            return match self.http.ask(Method::GET, &field.path(), None, SPARE).await {
                Ok(object) => Ok(self.listed(&field, object)),
                Err(Failed::Refused(status)) => Err(asked.refused(&status)),
                Err(Failed::Broken(broken)) => Err(asked.broken(&broken)),
            };
        }
        let asked = asked("list", &field, None);
        let selector = self.format.selector();
        let selector = selector.map(|s| format!("&labelSelector={}", encoded(&s)));
        let (selector, mut listed) = (selector.unwrap_or_default(), Vec::new());
        let mut next = String::new();
        loop {
            let path = format!("{}?limit={PAGE}{selector}{next}", field.all);
            let mut page = match self.http.ask(Method::GET, &path, None, SPARE).await {
                Ok(page) => page,
                Err(Failed::Refused(status)) => return Err(asked.refused(&status)),
                Err(Failed::Broken(broken)) => return Err(asked.broken(&broken)),
            };
            let items = page.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take);
            let items = items.unwrap_or_default().into_iter();
            listed.extend(items.flat_map(|object| self.listed(&field, object)));
            match meta::text(&page, "continue").filter(|token| !token.is_empty()) {
                Some(token) => next = format!("&continue={}", encoded(token)),
                None => return Ok(listed),
            }
        }
    }

    /// The locks that an object has.
    fn listed(&self, field: &Spot, object: Value) -> Vec<Listed> {
        let object = lean(object);
        let entry = |name: Name| {
            let asked = asked("list", field, Some(&name));
            let stored = match self.found(&name, asked, Arc::clone(&object)) {
                Ok(Snapshot::Absent { .. }) => return None,
                Ok(Snapshot::Is(stored)) => Ok(stored),
                Err(error) => Err(error),
            };
            Some(Listed { name, stored })
        };
        self.format.locks(&object).into_iter().filter_map(entry).collect()
    }
}

/// An object without the record of who set which field: several times the size of the rest, and the
/// server keeps it for writers that leave it out.
pub(crate) fn lean(mut object: Value) -> Arc<Value> {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    Arc::new(object)
}

/// How long a write may be put off. Of a hold's ttl two fifths are between the first renewal and the
/// deadline less the grace: half of that is kept for trying. For a release others wait.
fn spare(change: &Change) -> Duration {
    match change {
        Change::Take { holder: Holder { term: Term::Ttl(ttl), .. }, .. }
        | Change::Renew { term: Term::Ttl(ttl), .. } => (*ttl / 5).min(SPARE),
        _ => Duration::from_secs(1),
    }
}

/// What makes a deletion that of this state and no other.
fn preconditions(object: Option<&Value>) -> Value {
    let of = |field| object.and_then(|object| meta::text(object, field)).unwrap_or_default();
    json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": of("uid"), "resourceVersion": of("resourceVersion")},
    })
}

/// Percent-encodes what stands behind a `=` or between two `/`.
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
        let (wall_clocks, adopts) = match self.0.format {
            Format::Lease => (false, false),
            Format::Annotation(_) | Format::ConfigMap => (true, false),
            Format::Janus => (true, true),
        };
        let tags = matches!(self.0.format, Format::ConfigMap);
        Capabilities { liveness: Liveness::Observed, queue: false, wall_clocks, adopts, tags }
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
