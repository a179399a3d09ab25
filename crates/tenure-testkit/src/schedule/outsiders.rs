//! What the lock's object says, and what those who are no contenders make of it.
//!
//! Owns a plain reading of each format, apart from the one that ships: no judge reads with what it
//! judges. **An outsider leaves the lock usable**: what it takes ends, and the object that an
//! annotation stands on is never gone for long, since nobody would make it again.
//!
//! | format | blanked | taken | deleted |
//! |---|---|---|---|
//! | lease | no holder | by a Go candidate | the Lease |
//! | annotation | the annotation is taken away | by a Go owner | all annotations are |
//! | configmap | no lease in the state | by a Go instance, by force | the ConfigMap |
//! | janus | no holder, and no time | by another transaction | the Lease |

use serde_json::{Value, json};
use tenure_core::Wall;
use tenure_wire::time;

use super::format::Format;
use super::world::World;
use crate::sim::internals::{Meddling, SECOND};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";
/// The annotation of the lock `x`.
const KEY: &str = "kubelock.giantswarm.io/x";
/// When a run begins by every wall clock: the library's clock that is moved by hand begins so.
const BEGINNING: u64 = 1_767_225_600_000_000;
/// How long an instance of lockheed may take between its two writes.
const RESERVED: u64 = 30 * SECOND;

/// What an outsider knows when it writes.
struct Moment {
    /// Nanoseconds of true time.
    now: u64,
    ttl: u64,
    revision: u64,
}

impl Moment {
    fn wall(&self, ahead: u64) -> Wall {
        Wall::from_micros(BEGINNING + (self.now + ahead) / 1_000)
    }
}

impl Format {
    /// The path of all objects of its kind.
    pub(super) const fn all(self) -> &'static str {
        match self {
            Self::Lease | Self::Janus => LEASES,
            Self::Annotation | Self::ConfigMap => CONFIGMAPS,
        }
    }

    /// What has to be there before anybody can lock.
    pub(super) fn ground(self) -> Option<Value> {
        let object = json!({"metadata": {"name": self.object()}, "data": {"of": "others"}});
        (self == Self::Annotation).then_some(object)
    }

    /// Whom the object names as holder; nobody is `""`.
    pub(super) fn holder(self, object: &Value) -> String {
        let inner = |text: &Value| {
            let text = text.as_str().unwrap_or("null");
            serde_json::from_str::<Value>(text).unwrap_or_default()
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match self {
            Self::Lease | Self::Janus => text(&object["spec"]["holderIdentity"]),
            Self::Annotation => text(&inner(&object["metadata"]["annotations"][KEY])["owner"]),
            Self::ConfigMap => {
                let state = inner(&object["data"]["lock"]);
                let leases = state["leases"].as_object();
                leases.and_then(|leases| leases.keys().next().cloned()).unwrap_or_default()
            }
        }
    }

    /// The patch by which an outsider does that.
    fn meddled(self, how: Meddling, at: &Moment) -> Value {
        match (how, self) {
            (Meddling::Label, _) => {
                json!({"metadata": {"labels": {"at": at.revision.to_string()}}})
            }
            (Meddling::Reserve, _) => json!({"metadata": {"annotations": {
                "reserved/by": "go", "reserved/expires": time::shortest(at.wall(RESERVED)),
            }}}),
            (_, Self::Lease) => json!({"spec": lease(how, at)}),
            (_, Self::Annotation) => annotation(how, at),
            (_, Self::ConfigMap) => {
                let expires = time::shortest(at.wall(at.ttl));
                let leases = match how {
                    Meddling::Take => json!({"go": {"instanceID": "go", "expires": expires}}),
                    _ => json!({}),
                };
                let state = json!({"name": "x", "lockType": "mutex", "leases": leases});
                json!({"data": {"lock": state.to_string()}})
            }
            (Meddling::Take, Self::Janus) => json!({
                "metadata": {"labels": {"janus.io/transaction": "go"}},
                "spec": lease(how, at),
            }),
            (_, Self::Janus) => json!({"spec": {"holderIdentity": "", "renewTime": null}}),
        }
    }
}

fn lease(how: Meddling, at: &Moment) -> Value {
    let moment = time::micro(at.wall(0));
    if how == Meddling::Take {
        return json!({
            "holderIdentity": "go", "leaseDurationSeconds": at.ttl / SECOND, "renewTime": moment,
            "acquireTime": moment,
        });
    }
    json!({"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": moment})
}

fn annotation(how: Meddling, at: &Moment) -> Value {
    let created = time::shortest(at.wall(0));
    let taken = json!({"owner": "go", "createdAt": created, "ttl": at.ttl}).to_string();
    match how {
        Meddling::Take => json!({"metadata": {"annotations": {KEY: taken}}}),
        Meddling::Delete => json!({"metadata": {"annotations": null}}),
        _ => json!({"metadata": {"annotations": {KEY: null}}}),
    }
}

impl World {
    /// Lets an outsider change the lock's object; whether there is one.
    pub(super) fn meddles_with_object(&mut self, how: Meddling) -> bool {
        let (format, server) = self.api();
        let path = format!("{}/{}", format.all(), format.object());
        let (200, mut object) = server.admin("GET", &path, Vec::new()) else { return false };
        let at = Moment { now: self.now, ttl: self.ttl(), revision: server.revision() };
        let done = match how {
            Meddling::Delete if format.ground().is_none() => {
                server.admin("DELETE", &path, Vec::new())
            }
            Meddling::Recreate => {
                let gone = server.admin("DELETE", &path, Vec::new());
                if let Some(meta) = object["metadata"].as_object_mut() {
                    meta.remove("resourceVersion");
                    meta.remove("uid");
                }
                let made = server.admin("POST", format.all(), object.to_string().into_bytes());
                if made.0 < 300 { gone } else { made }
            }
            _ => server.admin("PATCH", &path, format.meddled(how, &at).to_string().into_bytes()),
        };
        let what = (done.0 >= 300).then(|| format!("{how:?} was refused: {}", done.1));
        self.judged("world", what);
        true
    }
}
