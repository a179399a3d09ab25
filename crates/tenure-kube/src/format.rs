//! What a lock is in the cluster: which object, what it says, and which request changes it.
//!
//! | format | object | to take what is free | to release |
//! |---|---|---|---|
//! | lease | Lease of the lock's name | POST, or PUT where it stands | PUT |
//! | annotation | any one object, that must be there | PATCH of one annotation | PATCH |
//! | configmap | ConfigMap `lockheed-` and the name | POST, or PUT where it stands | PUT |
//! | janus | Lease made of `NAMESPACE/KIND/NAME` | POST | DELETE |

use serde_json::Value;
use tenure_core::{Change, Record, Version};
use tenure_store::{Detail, Error, Name, Result};
use tenure_wire::janus::{Target, Written};
use tenure_wire::{Refusal, Unreadable, annotation, configmap, janus, lease, meta};

use crate::error::STORE;

/// What a lock is in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A Lease, as client-go's leader election and leaselock keep it. A lock's name is the Lease's.
    #[default]
    Lease,
    /// An annotation on an object that is there, as kubelock keeps it. A lock's name is the last part
    /// of the annotation's key.
    Annotation(Object),
    /// A ConfigMap, as lockheed keeps it. A lock's name is the ConfigMap's without `lockheed-`.
    ConfigMap,
    /// A Lease for a resource that a transaction of janus touches. A lock's name is
    /// `NAMESPACE/KIND/NAME` of that resource, and the identity is the transaction.
    Janus,
}

/// An object that annotations stand on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    resource: Resource,
    name: String,
}

impl Object {
    /// The object `name` of a resource that is written `GROUP/VERSION/PLURAL`, or `VERSION/PLURAL`
    /// in the core group: `apps/v1/deployments`, `v1/configmaps`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what can be no resource, or no name.
    pub fn new(resource: &str, name: &str) -> Result<Self> {
        let invalid = |what: String| Error::Invalid(Detail::new(STORE, what));
        let parsed = Resource::parse(resource).ok_or_else(|| {
            let right = "write GROUP/VERSION/PLURAL, or v1/PLURAL in the core group";
            invalid(format!("{resource:?} is no resource: {right}, such as apps/v1/deployments"))
        })?;
        // Names of some resources hold `:`; what separates parts of a path is in none.
        if name.is_empty() || matches!(name, "." | "..") || name.contains(['/', '%']) {
            return Err(invalid(format!("{name:?} is no name of an object")));
        }
        Ok(Self { resource: parsed, name: name.to_owned() })
    }
}

/// A resource as its path and a Role name it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Resource {
    group: String,
    version: String,
    plural: String,
}

impl Resource {
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let (group, version, plural) = match parts[..] {
            [version, plural] => ("", version, plural),
            [group, version, plural] if meta::is_subdomain(group) => (group, version, plural),
            _ => return None,
        };
        let valid = meta::is_label(version) && meta::is_subdomain(plural);
        let (group, version, plural) = (group.into(), version.into(), plural.into());
        valid.then_some(Self { group, version, plural })
    }

    fn leases() -> Self {
        let (group, version) = ("coordination.k8s.io".into(), "v1".into());
        Self { group, version, plural: "leases".into() }
    }

    fn configmaps() -> Self {
        Self { group: String::new(), version: "v1".into(), plural: "configmaps".into() }
    }

    /// The path of all of them; no namespace: of the cluster.
    fn path(&self, namespace: &str) -> String {
        let Self { group, version, plural } = self;
        let api = if group.is_empty() { "api".to_owned() } else { format!("apis/{group}") };
        match namespace {
            "" => format!("/{api}/{version}/{plural}"),
            namespace => format!("/{api}/{version}/namespaces/{namespace}/{plural}"),
        }
    }

    /// As a Role names it.
    fn shown(&self) -> String {
        match &*self.group {
            "" => self.plural.clone(),
            group => format!("{}.{group}", self.plural),
        }
    }
}

/// Where a lock's object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) namespace: String,
    /// As a Role names it.
    pub(crate) resource: String,
    /// The path of all objects of the resource.
    pub(crate) all: String,
    /// The object's name.
    pub(crate) object: String,
}

impl Spot {
    /// The path of the object.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.all, crate::store::encoded(&self.object))
    }
}

/// What to send, and what it does.
#[derive(Debug)]
pub(crate) enum Request {
    Create(Value),
    Replace(Value),
    Patch(Value),
    Delete,
}

impl Format {
    fn resource(&self) -> Resource {
        match self {
            Self::Lease | Self::Janus => Resource::leases(),
            Self::Annotation(object) => object.resource.clone(),
            Self::ConfigMap => Resource::configmaps(),
        }
    }

    /// Where the objects of a namespace are that [`locks`](Self::locks) names locks of.
    pub(crate) fn field(&self, namespace: &str) -> Spot {
        let resource = self.resource();
        let object = match self {
            Self::Annotation(object) => object.name.clone(),
            Self::Lease | Self::ConfigMap | Self::Janus => String::new(),
        };
        let (all, resource) = (resource.path(namespace), resource.shown());
        Spot { namespace: namespace.to_owned(), resource, all, object }
    }

    /// Where a lock is; what is wrong with its name.
    pub(crate) fn spot(&self, namespace: &str, name: &Name) -> std::result::Result<Spot, String> {
        let lock = name.as_str();
        let (namespace, object) = match self {
            Self::Lease => {
                let right = "give at most 253 lower-case letters, digits, `-` and `.`";
                check(meta::is_subdomain(lock), "is no name of a Lease", right)?;
                (namespace, lock.to_owned())
            }
            Self::ConfigMap => {
                let object = format!("{}{lock}", configmap::PREFIX);
                let right = "give at most 244 lower-case letters, digits, `-` and `.`";
                check(meta::is_subdomain(&object), "makes no name of a ConfigMap", right)?;
                (namespace, object)
            }
            Self::Annotation(object) => match annotation::key(lock) {
                Err(Refusal::Invalid(what)) => return Err(what),
                _ => (namespace, object.name.clone()),
            },
            Self::Janus => {
                let target = target(name)?;
                let lease = target.lease();
                return Ok(Spot { object: lease, ..self.field(&target.namespace) });
            }
        };
        Ok(Spot { object, ..self.field(namespace) })
    }

    /// What an object says of a lock; no record: nothing.
    pub(crate) fn read(
        &self,
        name: &Name,
        object: &Value,
    ) -> std::result::Result<(Option<Record>, Version), Unreadable> {
        let is = |(record, version)| (Some(record), version);
        match self {
            Self::Lease => lease::read(object).map(is),
            Self::Annotation(_) => annotation::read(object, name.as_str()),
            Self::ConfigMap => configmap::read(object).map(is),
            Self::Janus => janus::read(object).map(is),
        }
    }

    /// The request that carries out `change` on `object`; on nothing where there is none.
    pub(crate) fn request(
        &self,
        spot: &Spot,
        name: &Name,
        object: Option<&Value>,
        change: &Change,
    ) -> std::result::Result<Request, Refusal> {
        let lock = name.as_str();
        let namespace = &spot.namespace;
        match (self, object) {
            (Self::Lease, None) => lease::created(namespace, lock, change).map(Request::Create),
            (Self::Lease, Some(is)) => lease::changed(is, change).map(Request::Replace),
            (Self::ConfigMap, None) => {
                configmap::created(namespace, lock, change).map(Request::Create)
            }
            (Self::ConfigMap, Some(is)) => configmap::changed(is, change).map(Request::Replace),
            (Self::Annotation(_), Some(is)) => {
                annotation::patch(is, lock, change).map(Request::Patch)
            }
            // Nobody makes the object that the annotation is to stand on.
            (Self::Annotation(_), None) => Err(Refusal::Conflict),
            (Self::Janus, None) => {
                let target = target(name).map_err(Refusal::Invalid)?;
                janus::created(&target, change).map(Request::Create)
            }
            (Self::Janus, Some(is)) => Ok(match janus::changed(is, change)? {
                Written::Put(object) => Request::Replace(object),
                Written::Deleted => Request::Delete,
            }),
        }
    }

    /// The request that takes a lock's record away.
    pub(crate) fn deletion(&self, name: &Name, object: &Value) -> Request {
        match self {
            Self::Annotation(_) => Request::Patch(annotation::cleared(object, name.as_str())),
            Self::Lease | Self::ConfigMap | Self::Janus => Request::Delete,
        }
    }

    /// What objects of this format are found by; nothing where all of them are.
    pub(crate) fn selector(&self) -> Option<String> {
        match self {
            Self::Lease | Self::Annotation(_) => None,
            Self::ConfigMap => Some(configmap::LABEL.to_owned()),
            Self::Janus => Some(format!("{}={}", janus::MANAGED.0, janus::MANAGED.1)),
        }
    }

    /// Whether one object has many locks.
    pub(crate) const fn shares(&self) -> bool {
        matches!(self, Self::Annotation(_))
    }

    /// The locks that an object has.
    pub(crate) fn locks(&self, object: &Value) -> Vec<Name> {
        let named = |name: Option<String>| name.and_then(|name| Name::new(&name).ok());
        match self {
            Self::Lease => {
                named(meta::text(object, "name").map(str::to_owned)).into_iter().collect()
            }
            Self::ConfigMap => named(configmap::lock(object)).into_iter().collect(),
            Self::Janus => named(Target::of(object).map(|t| t.lock())).into_iter().collect(),
            Self::Annotation(_) => {
                annotation::locks(object).filter_map(|lock| named(Some(lock.into()))).collect()
            }
        }
    }
}

fn check(is_valid: bool, what: &str, right: &str) -> std::result::Result<(), String> {
    if is_valid { Ok(()) } else { Err(format!("{what}: {right}")) }
}

/// One resource is one lock, whose name is the only one: in the Go program case does not count.
fn target(name: &Name) -> std::result::Result<Target, String> {
    let target = Target::parse(name.as_str()).ok_or(
        "names no resource: give NAMESPACE/KIND/NAME, such as default/deployment/web".to_owned(),
    )?;
    if target.lock() == name.as_str() {
        return Ok(target);
    }
    Err(format!("is not in lower case: give `{}`", target.lock()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot(format: &Format, name: &str) -> std::result::Result<String, String> {
        format.spot("ns", &Name::new(name).unwrap()).map(|spot| spot.path())
    }

    #[test]
    fn each_format_has_its_place() {
        let leases = "/apis/coordination.k8s.io/v1/namespaces";
        assert_eq!(spot(&Format::Lease, "a").unwrap(), format!("{leases}/ns/leases/a"));
        let path = spot(&Format::Janus, "other/deployment/web").unwrap();
        assert_eq!(path, format!("{leases}/other/leases/janus-lock-other-deployment-web"));
        let path = spot(&Format::ConfigMap, "a").unwrap();
        assert_eq!(path, "/api/v1/namespaces/ns/configmaps/lockheed-a");
        let on = Format::Annotation(Object::new("apps/v1/deployments", "web").unwrap());
        assert_eq!(spot(&on, "A_b").unwrap(), "/apis/apps/v1/namespaces/ns/deployments/web");
        assert_eq!(on.field("").path(), "/apis/apps/v1/deployments/web");
        assert_eq!(
            (on.field("").resource, Format::ConfigMap.field("x").resource),
            ("deployments.apps".into(), "configmaps".into())
        );
    }

    #[test]
    fn names_that_a_format_has_not_are_refused() {
        let on = Format::Annotation(Object::new("v1/configmaps", "c").unwrap());
        let long = "x".repeat(245);
        for (format, name) in [
            (&Format::Lease, "a/b"),
            (&Format::Lease, "A"),
            (&Format::ConfigMap, "A"),
            (&Format::ConfigMap, &long),
            (&on, "a/b"),
            (&on, &long),
            (&Format::Janus, "a"),
            (&Format::Janus, "a/b"),
            (&Format::Janus, "a/B/c"),
            (&Format::Janus, "a/b/C"),
        ] {
            assert!(spot(format, name).is_err(), "{format:?} {name}");
        }
        for (resource, name) in [
            ("configmaps", "a"),
            ("v1/", "a"),
            ("a/b/c/d", "a"),
            ("", "a"),
            ("v1/configmaps", ""),
            ("v1/configmaps", ".."),
            ("v1/configmaps", "a/b"),
            ("v1/configmaps?x=", "a"),
        ] {
            assert!(Object::new(resource, name).is_err(), "{resource} {name}");
        }
        assert!(Object::new("rbac.authorization.k8s.io/v1/clusterroles", "system:x").is_ok());
    }
}
