//! Store URLs: what a user writes for `--store`, `TENURE_STORE` and `connect`.
//!
//! Parsing knows the shapes, not the backends; [`crate::connect`] picks the backend.

use std::path::{Path, PathBuf};

use crate::Error;

/// A parsed store URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUrl {
    place: Place,
    /// Identity, if the URL gives one.
    id: Option<String>,
}

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In this program's memory.
    Memory,
    /// In this folder of the machine; `None` is the default folder.
    Local(Option<PathBuf>),
    /// In a Kubernetes cluster.
    Kube(KubeUrl),
}

/// Which cluster, which namespace of it, and what a lock is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KubeUrl {
    /// `None`: the namespace of the pod or the context.
    pub(crate) namespace: Option<String>,
    pub(crate) format: KubeFormat,
    pub(crate) context: Option<String>,
    pub(crate) kubeconfig: Option<PathBuf>,
}

/// What a lock is in Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum KubeFormat {
    /// A Lease, as client-go keeps it.
    #[default]
    Lease,
    /// An annotation on an object, as kubelock keeps it.
    Annotation {
        /// `GROUP/VERSION/PLURAL`, or `VERSION/PLURAL` in the core group.
        resource: String,
        /// The object's name.
        object: String,
    },
    /// A ConfigMap, as lockheed keeps it.
    ConfigMap,
    /// A Lease for a resource of a transaction, as janus keeps it.
    Janus,
}

/// The objects of a Kubernetes cluster that a store's locks are kept in, as a Role names them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KubeObjects {
    /// The format's name: `lease`, `annotation`, `configmap` or `janus`.
    pub format: &'static str,
    /// The namespace, if the URL gives one.
    pub namespace: Option<String>,
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource's plural.
    pub resource: String,
    /// The one object that all locks are on, where the format has one.
    pub object: Option<String>,
}

/// What the errors call known.
const KNOWN: &str =
    "known: local:, local:/absolute/path, kube:NAMESPACE and, in a program, memory:";

impl StoreUrl {
    /// Parses `url`.
    ///
    /// # Errors
    /// [`Error::Invalid`] names what is unknown and says what is known.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let (scheme, rest) = url.split_once(':').ok_or_else(|| {
            let meant = match url.starts_with('/') {
                true => format!("did you mean local:{url}?"),
                false => KNOWN.to_owned(),
            };
            Error::invalid(format!("store `{url}` has no scheme; {meant}"))
        })?;
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let place = match scheme {
            "local" => local(path),
            "memory" if path.is_empty() => Ok(Place::Memory),
            "memory" => Err("memory: takes no path; every connection is a store of its own".into()),
            "kube" => kube(path),
            _ => Err(format!("unknown scheme `{scheme}:`; {KNOWN}")),
        };
        let in_url = |what: String| Error::invalid(format!("store `{url}`: {what}"));
        let mut parsed = Self { place: place.map_err(in_url)?, id: None };
        for option in query.into_iter().flat_map(|q| q.split('&')) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            if key == "id" {
                check_id(value)?;
                parsed.id = Some(value.to_owned());
            } else {
                parsed.place.option(key, value).map_err(in_url)?;
            }
        }
        if let Place::Kube(kube) = &parsed.place {
            kube.format.check().map_err(in_url)?;
        }
        Ok(parsed)
    }

    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }

    /// Whether it names a store in this program's memory.
    #[must_use]
    pub const fn is_memory(&self) -> bool {
        matches!(self.place, Place::Memory)
    }

    /// Whether it names the embedded store of this machine.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        matches!(self.place, Place::Local(_))
    }

    /// What the store's locks are kept in, if it is in a Kubernetes cluster.
    #[must_use]
    pub fn kube_objects(&self) -> Option<KubeObjects> {
        let Place::Kube(url) = &self.place else { return None };
        let (group, resource, object) = match &url.format {
            KubeFormat::Lease | KubeFormat::Janus => ("coordination.k8s.io", "leases", None),
            KubeFormat::ConfigMap => ("", "configmaps", None),
            KubeFormat::Annotation { resource, object } => {
                let mut parts = resource.rsplit('/');
                let plural = parts.next().unwrap_or_default();
                // Behind the version, which a Role does not name.
                let group = parts.nth(1).unwrap_or_default();
                (group, plural, Some(object.clone()))
            }
        };
        let (group, resource) = (group.to_owned(), resource.to_owned());
        let (format, namespace) = (url.format.name(), url.namespace.clone());
        Some(KubeObjects { format, namespace, group, resource, object })
    }

    /// The folder of an embedded store; `None` is the default folder.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Local(path) => path.as_deref(),
            _ => None,
        }
    }

    /// The identity the URL gives.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The URL without an identity, as a child process should see it.
    #[must_use]
    pub fn without_id(&self) -> String {
        match &self.place {
            Place::Memory => "memory:".to_owned(),
            Place::Local(Some(path)) => format!("local:{}", path.display()),
            Place::Local(None) => "local:".to_owned(),
            Place::Kube(url) => url.to_string(),
        }
    }
}

fn local(path: &str) -> Result<Place, String> {
    match path {
        "" => Ok(Place::Local(None)),
        path if path.starts_with('/') => Ok(Place::Local(Some(path.into()))),
        _ => Err("the folder must be an absolute path, such as local:/var/lib/tenure".into()),
    }
}

fn kube(namespace: &str) -> Result<Place, String> {
    if namespace.contains('/') {
        return Err(
            "what follows kube: is a namespace, such as kube:default, and options behind `?`, \
                    such as kube:default?kubeconfig=/path"
                .into(),
        );
    }
    let namespace = (!namespace.is_empty()).then(|| namespace.to_owned());
    Ok(Place::Kube(KubeUrl { namespace, ..KubeUrl::default() }))
}

impl Place {
    fn option(&mut self, key: &str, value: &str) -> Result<(), String> {
        let (scheme, knows) = match self {
            Self::Memory => ("memory", "id="),
            Self::Local(_) => ("local", "id="),
            Self::Kube(url) => match (key, value) {
                ("format", _) => {
                    url.format = KubeFormat::parse(value)?;
                    return Ok(());
                }
                ("resource" | "object", _) => return url.format.option(key, value),
                ("context" | "kubeconfig", "") => return Err(format!("`{key}=` is empty")),
                ("context", _) => {
                    url.context = Some(value.to_owned());
                    return Ok(());
                }
                ("kubeconfig", _) => {
                    url.kubeconfig = Some(value.into());
                    return Ok(());
                }
                _ => ("kube", "format=, resource=, object=, context=, kubeconfig=, id="),
            },
        };
        Err(format!("unknown option `{key}`; {scheme}: knows {knows}"))
    }
}

impl KubeFormat {
    fn parse(name: &str) -> Result<Self, String> {
        match name {
            "lease" => Ok(Self::Lease),
            "annotation" => Ok(Self::Annotation { resource: String::new(), object: String::new() }),
            "configmap" => Ok(Self::ConfigMap),
            "janus" => Ok(Self::Janus),
            _ => {
                Err(format!("unknown format `{name}`; known: lease, annotation, configmap, janus"))
            }
        }
    }

    fn option(&mut self, key: &str, value: &str) -> Result<(), String> {
        let Self::Annotation { resource, object } = self else {
            return Err(format!("`{key}=` belongs behind format=annotation"));
        };
        *(if key == "object" { object } else { resource }) = value.to_owned();
        Ok(())
    }

    /// What is missing.
    fn check(&self) -> Result<(), String> {
        match self {
            Self::Annotation { resource, object } if resource.is_empty() || object.is_empty() => {
                Err("format=annotation needs &resource=GROUP/VERSION/PLURAL&object=NAME, such as \
                 &resource=v1/configmaps&object=settings"
                    .into())
            }
            _ => Ok(()),
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::Annotation { .. } => "annotation",
            Self::ConfigMap => "configmap",
            Self::Janus => "janus",
        }
    }
}

impl std::fmt::Display for KubeUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "kube:{}", self.namespace.as_deref().unwrap_or_default())?;
        write!(f, "?format={}", self.format.name())?;
        if let KubeFormat::Annotation { resource, object } = &self.format {
            write!(f, "&resource={resource}&object={object}")?;
        }
        if let Some(context) = &self.context {
            write!(f, "&context={context}")?;
        }
        if let Some(path) = &self.kubeconfig {
            write!(f, "&kubeconfig={}", path.display())?;
        }
        Ok(())
    }
}

/// Checks an identity: 1 to 255 bytes of text without control characters.
pub(crate) fn check_id(id: &str) -> Result<(), Error> {
    if id.is_empty() || id.len() > 255 || id.chars().any(char::is_control) {
        let shown: String = id.chars().take(40).collect();
        return Err(Error::invalid(format!(
            "identity {shown:?}: give 1 to 255 bytes of text without control characters"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_shapes_parse() {
        assert_eq!(StoreUrl::parse("local:").unwrap().path(), None);
        let url = StoreUrl::parse("local:/a b/c?id=me").unwrap();
        assert_eq!((url.path().unwrap().to_str(), url.id()), (Some("/a b/c"), Some("me")));
        assert_eq!(url.without_id(), "local:/a b/c");
        let text = "kube:jobs?format=lease&context=c&kubeconfig=/k";
        let url = StoreUrl::parse(&format!("{text}&id=me")).unwrap();
        assert_eq!((url.without_id().as_str(), url.id()), (text, Some("me")));
        for text in [
            "kube:jobs?format=annotation&resource=apps/v1/deployments&object=web",
            "kube:?format=annotation&resource=v1/namespaces&object=jobs",
            "kube:jobs?format=configmap",
            "kube:?format=janus",
        ] {
            assert_eq!(StoreUrl::parse(text).unwrap().without_id(), text);
        }
        assert_eq!(StoreUrl::parse("kube:").unwrap().without_id(), "kube:?format=lease");
    }

    #[test]
    fn unknown_shapes_are_named() {
        for (url, says) in [
            ("", "no scheme"),
            ("locale:", "unknown scheme `locale:`"),
            ("local:relative", "absolute path"),
            ("local:?ttl=3", "unknown option `ttl`"),
            ("local:?id=", "identity"),
            ("/var/lib", "no scheme"),
            ("kube:a/b", "is a namespace"),
            ("kube:a?format=x", "unknown format `x`"),
            ("kube:a?format=annotation", "needs &resource=GROUP/VERSION/PLURAL&object=NAME"),
            ("kube:a?format=annotation&object=x", "needs &resource="),
            ("kube:a?object=x", "`object=` belongs behind format=annotation"),
            ("kube:a?context=", "`context=` is empty"),
            ("kube:a?ttl=5", "kube: knows format="),
            ("memory:/x", "takes no path"),
        ] {
            let error = StoreUrl::parse(url).unwrap_err().to_string();
            assert!(error.contains(says), "{url}: {error}");
        }
    }
}
