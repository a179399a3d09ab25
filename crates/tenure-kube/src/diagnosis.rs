//! What a cluster says when it is asked what could go wrong: for people, not for locks.
//!
//! Asks only; writes nothing. Owns what is asked and how an answer is read, and leaves it to others
//! what is trouble. No lock is decided by anything in here.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tenure_core::{Mark, Term};
use tenure_store::{Error, Name, Result};
use tenure_wire::{annotation, configmap};

use crate::KubeStore;
use crate::clock::{Ahead, narrowed};
use crate::format::{Format, Spot};
use crate::http::{Failed, Probe};
use crate::store::asked;

/// How often the server is asked for its time and speed.
const SAMPLES: u32 = 6;
/// Between two samples: its clock is told in whole seconds, so the samples have to meet the turn of
/// one.
const PAUSE: Duration = Duration::from_millis(230);
/// Whoever writes under this name is tenure.
const OURS: &str = "tenure";
/// Marks of one client are nearer to each other than this.
const OF_ONE_CLIENT: u128 = 1 << 80;

/// What was found. Nothing in it is a judgement.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The store's namespace; empty for an object of the whole cluster.
    pub namespace: String,
    /// What the locks are kept in, as a Role names it: `leases.coordination.k8s.io`.
    pub resource: String,
    /// What a lock needs and the cluster has not: the namespace, the resource, the object.
    pub missing: Vec<String>,
    /// The server's version, such as `v1.36.2`; `None` if it does not tell.
    pub version: Option<String>,
    /// Who asks, as the server knows him; `None` if it does not tell.
    pub user: Option<String>,
    /// How long requests took on a connection that stood.
    pub took: Vec<Duration>,
    /// How far our wall clock is ahead of the server's.
    pub clock: Option<Ahead>,
    /// Which rights were asked about.
    pub rights: Vec<Right>,
    /// The locks that were asked about, or all if they can be listed.
    pub locks: Vec<LockDiagnosis>,
}

/// Whether something may be done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Right {
    /// The verb, as a Role names it.
    pub verb: String,
    /// The object, where the right can be one on a single object.
    pub object: Option<String>,
    /// Whether it may be.
    pub allowed: bool,
}

/// What stands under a name.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LockDiagnosis {
    /// The lock.
    pub name: String,
    /// Why its record cannot be read.
    pub damage: Option<String>,
    /// Who holds it, or did when nobody has released it.
    pub holder: Option<String>,
    /// How long that hold lives without renewal, where the record says it.
    pub ttl: Option<Duration>,
    /// Which client of tenure wrote it last; `None` for another program.
    pub client: Option<Mark>,
    /// Who else has written the part of the object that is the lock.
    pub writers: Vec<Writer>,
    /// Who else has written another part of the object.
    pub neighbours: Vec<Writer>,
}

impl LockDiagnosis {
    /// Whether one client wrote both. One process may have several.
    #[must_use]
    pub fn is_same_client(&self, other: &Self) -> bool {
        let (Some(a), Some(b)) = (self.client, other.client) else { return true };
        let apart = a.as_u128().wrapping_sub(b.as_u128());
        apart.min(apart.wrapping_neg()) < OF_ONE_CLIENT
    }
}

/// Somebody who writes an object, by its `managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Writer {
    /// What it calls itself.
    pub manager: String,
    /// When it last did, as the server says it.
    pub at: Option<String>,
}

impl KubeStore {
    /// Asks how the server does, what may be done, and about these locks, or all that can be listed.
    /// Takes a second and a half.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for a server that does not answer, [`Error::Denied`] for one that does
    /// not know who asks, [`Error::Invalid`] for what is no name of a lock.
    pub async fn diagnose(&self, names: &[String], verbs: &[String]) -> Result<Diagnosis> {
        let names = names.iter().map(|name| self.spot_of(name)).collect::<Result<Vec<_>>>()?;
        let field = self.format().field(self.namespace());
        let sampled = match names.first() {
            Some((_, spot)) => spot.path(),
            None if self.format().shares() => field.path(),
            None => format!("{}?limit=1", field.all),
        };
        let version = self.probe(&field, "/version").await?.object;
        let version = version.get("gitVersion").and_then(Value::as_str).map(str::to_owned);
        let user = self.user().await;
        let missing = self.missing(&field).await?;
        let (took, clock) = self.samples(&field, &sampled).await?;
        let mut rights = Vec::new();
        for verb in verbs {
            rights.extend(self.may(&field, &names, verb).await?);
        }
        let locks = match names.is_empty() {
            true => self.all(&field).await?,
            false => self.each(&names).await?,
        };
        let namespace = self.namespace().to_owned();
        let resource = field.resource;
        Ok(Diagnosis { namespace, resource, missing, version, user, took, clock, rights, locks })
    }

    fn spot_of(&self, name: &str) -> Result<(Name, Spot)> {
        let name = Name::new(name).map_err(|e| {
            Error::Invalid(tenure_store::Detail::new(crate::error::STORE, e.to_string()))
        })?;
        let spot = self.shared().spot(&name)?;
        Ok((name, spot))
    }

    /// One question. That the server refuses it is an answer, unless it does not know who asks.
    async fn probe(&self, field: &Spot, path: &str) -> Result<Probe> {
        let asked = asked("get", field, None);
        match self.shared().http.probe(Method::GET, path, None).await {
            Ok(probe) => match &probe.refusal {
                Some(status) if status.code == 401 => Err(asked.refused(status)),
                _ => Ok(probe),
            },
            Err(Failed::Refused(status)) => Err(asked.refused(&status)),
            Err(Failed::Broken(broken)) => Err(asked.broken(&broken)),
        }
    }

    /// Who the server takes us for, if it can be asked that.
    async fn user(&self) -> Option<String> {
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let answer = self.shared().http.probe(Method::POST, path, Some(&review)).await.ok()?;
        let name = answer.object.pointer("/status/userInfo/username")?;
        name.as_str().map(str::to_owned)
    }

    /// What is not there. Whether a namespace is, not everybody may know.
    async fn missing(&self, field: &Spot) -> Result<Vec<String>> {
        let of = Spot { resource: "namespaces".into(), ..field.clone() };
        let namespace = format!("/api/v1/namespaces/{}", field.namespace);
        let namespace = Some((&of, namespace)).filter(|_| !field.namespace.is_empty());
        let object = match self.format().shares() {
            true => field.path(),
            false => format!("{}?limit=1", field.all),
        };
        let mut missing = Vec::new();
        for (spot, path) in namespace.into_iter().chain([(field, object)]) {
            let refusal = self.probe(spot, &path).await?.refusal;
            if let Some(status) = refusal.filter(|status| status.code == 404) {
                missing.push(asked("get", spot, None).refused(&status).detail().what.to_string());
            }
        }
        Ok(missing)
    }

    async fn samples(&self, field: &Spot, path: &str) -> Result<(Vec<Duration>, Option<Ahead>)> {
        let (mut took, mut clock) = (Vec::new(), None);
        for n in 0..SAMPLES {
            if n > 0 {
                self.shared().http.pause(PAUSE).await;
            }
            let start = Instant::now();
            let probe = self.probe(field, path).await?;
            took.push(start.elapsed());
            clock = match (clock, probe.ahead) {
                (Some(known), Some(now)) => Some(narrowed(known, now)),
                (known, now) => now.or(known),
            };
        }
        Ok((took, clock))
    }

    async fn may(&self, field: &Spot, names: &[(Name, Spot)], verb: &str) -> Result<Vec<Right>> {
        let plain = [None];
        let named: Vec<_> = names.iter().map(|(_, spot)| Some(spot)).collect();
        let shared = Some(field).filter(|_| self.format().shares());
        // Neither a creation nor a list can be bound to a name.
        let spots = match (shared, names) {
            _ if matches!(verb, "create" | "list") => &plain[..],
            (Some(_), _) => &[shared],
            (None, []) => &plain,
            (None, _) => &named,
        };
        let mut rights = Vec::new();
        for spot in spots {
            let object = spot.map(|spot| spot.object.as_str());
            let (plural, group) = field.resource.split_once('.').unwrap_or((&field.resource, ""));
            let namespace = spot.map_or(&field.namespace, |spot| &spot.namespace);
            let review = json!({
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": {
                    "namespace": namespace, "verb": verb, "group": group, "resource": plural,
                    "name": object.unwrap_or_default(),
                }},
            });
            let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
            let answer = self.shared().http.probe(Method::POST, path, Some(&review)).await;
            let asked = asked("create", field, None);
            let status = match answer {
                Ok(Probe { refusal: None, object, .. }) => object,
                Ok(Probe { refusal: Some(status), .. }) | Err(Failed::Refused(status)) => {
                    return Err(asked.refused(&status));
                }
                Err(Failed::Broken(broken)) => return Err(asked.broken(&broken)),
            };
            let allowed = status.pointer("/status/allowed").and_then(Value::as_bool);
            let (verb, object) = (verb.to_owned(), object.map(str::to_owned));
            rights.push(Right { verb, object, allowed: allowed.unwrap_or(false) });
        }
        rights.dedup();
        Ok(rights)
    }

    /// Those that were named. What cannot be read for want of a right is left out: that is told.
    async fn each(&self, names: &[(Name, Spot)]) -> Result<Vec<LockDiagnosis>> {
        let mut locks = Vec::new();
        for (name, spot) in names {
            let probe = self.probe(spot, &spot.path()).await?;
            if probe.refusal.is_none() {
                locks.push(self.seen(name, &probe.object));
            }
        }
        Ok(locks)
    }

    /// All of them, unless they cannot be listed.
    async fn all(&self, field: &Spot) -> Result<Vec<LockDiagnosis>> {
        let path = match self.format().shares() {
            true => field.path(),
            false => self.format().selector().map_or_else(
                || format!("{}?limit=500", field.all),
                |s| format!("{}?limit=500&labelSelector={}", field.all, crate::store::encoded(&s)),
            ),
        };
        let answer = self.probe(field, &path).await?.object;
        let one = std::slice::from_ref(&answer);
        let objects = answer.get("items").and_then(Value::as_array).map_or(one, Vec::as_slice);
        let objects = objects.iter().flat_map(|object| {
            self.format().locks(object).into_iter().map(move |name| self.seen(&name, object))
        });
        Ok(objects.collect())
    }

    fn seen(&self, name: &Name, object: &Value) -> LockDiagnosis {
        let read = self.format().read(name, object);
        let damage = read.as_ref().err().map(|e| e.0.clone());
        let record = read.ok().and_then(|(record, _)| record);
        let holder = record.and_then(|record| record.holder);
        let (writers, neighbours) = writers(self.format(), name, object);
        LockDiagnosis {
            name: name.to_string(),
            damage,
            holder: holder.as_ref().map(|h| h.id.to_string()),
            ttl: holder.as_ref().and_then(|h| match h.term {
                Term::Ttl(ttl) => Some(ttl),
                _ => None,
            }),
            client: holder.filter(|h| h.token.get() > 0).map(|h| h.mark),
            writers,
            neighbours,
        }
    }
}

/// Who else writes the lock's part of the object, and who another one.
fn writers(format: &Format, name: &Name, object: &Value) -> (Vec<Writer>, Vec<Writer>) {
    let pointer = match format {
        Format::Lease | Format::Janus => "/fieldsV1/f:spec".to_owned(),
        Format::ConfigMap => format!("/fieldsV1/f:data/f:{}", configmap::STATE),
        Format::Annotation(_) => {
            let key = format!("{}{name}", annotation::PREFIX).replace('/', "~1");
            format!("/fieldsV1/f:metadata/f:annotations/f:{key}")
        }
    };
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let text = |entry: &Value, field: &str| {
        entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (mut own, mut other) = (Vec::new(), Vec::new());
    for entry in entries.into_iter().flatten() {
        let (manager, at) = (text(entry, "manager"), text(entry, "time"));
        if manager == OURS {
            continue;
        }
        let writer = Writer { manager, at: Some(at).filter(|at| !at.is_empty()) };
        match entry.pointer(&pointer) {
            Some(_) => own.push(writer),
            None => other.push(writer),
        }
    }
    (own, other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Object;

    #[test]
    fn a_writer_of_the_lock_is_told_from_a_writer_beside_it() {
        let entry = |manager: &str, fields: Value| json!({"manager": manager, "fieldsV1": fields});
        let key = "f:kubelock.giantswarm.io/nightly";
        let object = json!({"metadata": {"managedFields": [
            entry("tenure", json!({"f:spec": {}})),
            entry("elector", json!({"f:spec": {"f:holderIdentity": {}}})),
            entry("kubectl", json!({"f:metadata": {"f:labels": {}}})),
            entry("kubelock", json!({"f:metadata": {"f:annotations": {key: {}}}})),
            entry("lockheed", json!({"f:data": {"f:lock": {}}})),
        ]}});
        let name = Name::new("nightly").unwrap();
        let on = Format::Annotation(Object::new("v1/configmaps", "c").unwrap());
        for (format, writer) in
            [(Format::Lease, "elector"), (on, "kubelock"), (Format::ConfigMap, "lockheed")]
        {
            let (own, other) = writers(&format, &name, &object);
            assert_eq!(own.len(), 1, "{own:?}");
            assert_eq!((own[0].manager.as_str(), other.len()), (writer, 3));
        }
    }

    #[test]
    fn marks_of_one_client_are_near_to_each_other() {
        let of = |client: Option<u128>| LockDiagnosis {
            name: "x".into(),
            damage: None,
            holder: None,
            ttl: None,
            client: client.map(Mark::from_u128),
            writers: Vec::new(),
            neighbours: Vec::new(),
        };
        let start = u128::MAX - 5;
        let one = of(Some(start));
        assert!(one.is_same_client(&of(Some(start.wrapping_add(70 << 40)))));
        assert!(!one.is_same_client(&of(Some(start / 3))));
        assert!(one.is_same_client(&of(None)), "nothing is known of a Go program");
    }
}
