//! What a path and its query name.
//!
//! Owns which resources there are. A path that names none of them is no object's: the server then
//! answers with plain text, as for a CRD that is not installed.

/// A resource that the server knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// Its group; empty for the core group.
    pub group: String,
    /// Its version.
    pub version: String,
    /// Its name in paths and roles.
    pub plural: String,
    /// The kind of its objects.
    pub kind: String,
    /// Whether its objects stand in namespaces.
    pub namespaced: bool,
    /// Whether a PUT of an object that is not there creates it.
    pub puts_create: bool,
    /// Whether a PUT must name the version that it replaces.
    pub versioned: bool,
}

impl Resource {
    /// A custom resource, as a CRD defines one: `plural` of `group`, `v1`.
    #[must_use]
    pub fn custom(group: &str, plural: &str, kind: &str, namespaced: bool) -> Self {
        let made = Self::built_in(group, plural, kind, namespaced);
        Self { versioned: true, ..made }
    }

    fn built_in(group: &str, plural: &str, kind: &str, namespaced: bool) -> Self {
        Self {
            group: group.into(),
            version: "v1".into(),
            plural: plural.into(),
            kind: kind.into(),
            namespaced,
            puts_create: false,
            versioned: false,
        }
    }

    /// As a Role names it.
    pub(super) fn shown(&self) -> String {
        match &*self.group {
            "" => self.plural.clone(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// As objects name it.
    pub(super) fn api_version(&self) -> String {
        match &*self.group {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }
}

pub(super) fn built_in() -> Vec<Resource> {
    let leases = Resource::built_in("coordination.k8s.io", "leases", "Lease", true);
    vec![
        Resource::built_in("", "namespaces", "Namespace", false),
        Resource::built_in("", "configmaps", "ConfigMap", true),
        Resource::built_in("apps", "deployments", "Deployment", true),
        Resource::built_in("rbac.authorization.k8s.io", "clusterroles", "ClusterRole", false),
        Resource { puts_create: true, versioned: true, ..leases },
    ]
}

/// Whether the path is in a group and version of which any resource is known.
pub(super) fn is_known_group(path: &str, resources: &[Resource]) -> bool {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version) = match parts[..] {
        ["api", version, ..] => ("", version),
        ["apis", group, version, ..] => (group, version),
        _ => return false,
    };
    resources.iter().any(|known| (&*known.group, &*known.version) == (group, version))
}

/// Where an object is, or many of them are.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) resource: Resource,
    /// Empty: those of the whole cluster.
    pub(super) namespace: String,
    pub(super) name: Option<String>,
}

impl Place {
    pub(super) fn parse(path: &str, resources: &[Resource]) -> Option<Self> {
        let parts: Vec<String> = path.trim_matches('/').split('/').map(decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, version, rest) = match parts[..] {
            ["api", version, ref rest @ ..] => ("", version, rest),
            ["apis", group, version, ref rest @ ..] => (group, version, rest),
            _ => return None,
        };
        let (namespace, plural, name) = match *rest {
            ["namespaces", namespace, plural] => (namespace, plural, None),
            ["namespaces", namespace, plural, name] => (namespace, plural, Some(name)),
            [plural] => ("", plural, None),
            [plural, name] => ("", plural, Some(name)),
            _ => return None,
        };
        let resource = resources.iter().find(|known| {
            (&*known.group, &*known.version, &*known.plural) == (group, version, plural)
        })?;
        let fits = resource.namespaced != namespace.is_empty() || name.is_none();
        (fits && (resource.namespaced || namespace.is_empty())).then(|| Self {
            resource: resource.clone(),
            namespace: namespace.to_owned(),
            name: name.map(str::to_owned),
        })
    }

    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }
}

/// What stands behind the `?`.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let pair = |part: &str| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (decoded(key), decoded(value))
        };
        Self(text.split('&').filter(|part| !part.is_empty()).map(pair).collect())
    }

    pub(super) fn get(&self, key: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == key);
        found.map_or("", |(_, value)| value)
    }

    pub(super) fn is(&self, key: &str) -> bool {
        matches!(self.get(key), "true" | "1")
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.get(key).parse().ok()
    }
}

fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        out.push(match byte {
            b'%' => match (hex(bytes.next()), hex(bytes.next())) {
                (Some(high), Some(low)) => (high * 16 + low) as u8,
                _ => b'?',
            },
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_what_they_name() {
        let known = built_in();
        let at = |path: &str| {
            Place::parse(path, &known).map(|p| (p.resource.plural, p.namespace, p.name))
        };
        let leases = "/apis/coordination.k8s.io/v1/namespaces/n/leases";
        let named = |plural: &str, namespace: &str, name: Option<&str>| {
            Some((plural.to_owned(), namespace.to_owned(), name.map(str::to_owned)))
        };
        assert_eq!(at(leases), named("leases", "n", None));
        assert_eq!(at(&format!("{leases}/a%3Ab")), named("leases", "n", Some("a:b")));
        assert_eq!(at("/api/v1/namespaces/n"), named("namespaces", "", Some("n")));
        assert_eq!(at("/api/v1/configmaps"), named("configmaps", "", None));
        assert_eq!(at("/api/v1/configmaps/c"), None);
        assert_eq!(at("/api/v1/namespaces/n/namespaces/n"), None);
        assert_eq!(at("/apis/example.org/v1/namespaces/n/things"), None);
        assert_eq!(at("/healthz"), None);
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse("watch=true&fieldSelector=metadata.name%3Da&limit=5&x");
        assert_eq!((query.is("watch"), query.get("fieldSelector")), (true, "metadata.name=a"));
        assert_eq!((query.number("limit"), query.get("x"), query.get("y")), (Some(5), "", ""));
    }
}
