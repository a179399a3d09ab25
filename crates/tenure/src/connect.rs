//! From a store URL to a client: the only place that names backends.

use std::sync::Arc;

use tenure_core::Liveness;
use tenure_store::Memory;

use crate::client::Backend;
use crate::clock::System;
use crate::url::{KubeUrl, Place};
use crate::{Client, Error, StoreUrl};

/// Opens the store that `url` names: `local:` for the default folder of this machine and user,
/// `local:/absolute/path`; `kube:NAMESPACE` for Leases of a Kubernetes cluster, found as kubectl finds
/// it, with `?context=` and `?kubeconfig=`; `memory:` for a new store in this program's memory, to
/// which nobody else has access. `?id=NAME` sets the identity; the default is `<hostname>_<uuid>`, new
/// each time.
///
/// Other formats in Kubernetes, each read and written by a Go program, too:
/// `kube:NAMESPACE?format=annotation&resource=GROUP/VERSION/PLURAL&object=NAME` (kubelock),
/// `kube:NAMESPACE?format=configmap` (lockheed), `kube:?format=janus&id=TRANSACTION` (janus).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let client = tenure::connect("memory:").await?;
/// let guard = client.lock("nightly").acquire().await?;
/// assert!(guard.token() > 0);
/// guard.release().await?;
/// # Ok::<(), tenure::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for an unknown URL and for a folder that locks cannot be kept in,
/// [`Error::Denied`] for missing rights, [`Error::Unavailable`] where the store cannot be used,
/// [`Error::Unsupported`] for one that this program was built without.
///
/// # Cancel safety
/// Dropping the future leaves nothing behind.
pub async fn connect(url: &str) -> Result<Client, Error> {
    let url = StoreUrl::parse(url)?;
    let (backend, shown) = match url.place() {
        Place::Memory => {
            (Backend::Store(Arc::new(Memory::new(Liveness::Observed))), url.without_id())
        }
        Place::Local(_) => local(&url)?,
        Place::Kube(kube) => self::kube(kube).await?,
    };
    Ok(Client::on(backend, shown, Arc::new(System), url.id()))
}

#[cfg(all(feature = "local", target_os = "linux"))]
fn local(url: &StoreUrl) -> Result<(Backend, String), Error> {
    use tenure_local::{LocalStore, Options};
    let store = LocalStore::open(&Options { path: url.path().map(Into::into) })?;
    // With its folder, so that whoever is handed it comes to the same store.
    let shown = format!("local:{}", store.folder().path().display());
    Ok((Backend::Local(Arc::new(store)), shown))
}

#[cfg(not(all(feature = "local", target_os = "linux")))]
fn local(_: &StoreUrl) -> Result<(Backend, String), Error> {
    Err(Error::Unsupported(match cfg!(target_os = "linux") {
        true => "local: was left out of this program; build with its feature".into(),
        false => "local: unsupported: Linux only for now".into(),
    }))
}

/// What a cluster says when it is asked what could go wrong.
#[cfg(all(feature = "kube", feature = "blocking", target_os = "linux"))]
pub mod diagnosis {
    pub use tenure_kube::{Ahead, Diagnosis, LockDiagnosis, Right, Writer};
}

/// Asks it.
#[cfg(all(feature = "kube", feature = "blocking", target_os = "linux"))]
pub(crate) async fn diagnose(
    url: &str,
    names: &[String],
    verbs: &[String],
) -> Result<diagnosis::Diagnosis, Error> {
    let url = StoreUrl::parse(url)?;
    let Place::Kube(kube) = url.place() else { return Err(not_in_kube()) };
    Ok(kube_store(kube).await?.diagnose(names, verbs).await?)
}

#[cfg(feature = "kube")]
async fn kube(url: &KubeUrl) -> Result<(Backend, String), Error> {
    let store = kube_store(url).await?;
    let namespace = Some(store.namespace().to_owned());
    let shown = KubeUrl { namespace, ..url.clone() }.to_string();
    Ok((Backend::Store(Arc::new(store)), shown))
}

/// The address of the cluster that this store is in.
#[cfg(all(feature = "kube", feature = "blocking", target_os = "linux"))]
pub(crate) async fn cluster(url: &StoreUrl) -> Result<String, Error> {
    let Place::Kube(kube) = url.place() else { return Err(not_in_kube()) };
    Ok(tenure_kube::server(&access(kube)).await?)
}

#[cfg(all(feature = "kube", feature = "blocking", target_os = "linux"))]
fn not_in_kube() -> Error {
    Error::Unsupported("only a store in Kubernetes can be asked: kube:".into())
}

#[cfg(feature = "kube")]
fn access(url: &KubeUrl) -> tenure_kube::Access {
    tenure_kube::Access { kubeconfig: url.kubeconfig.clone(), context: url.context.clone() }
}

#[cfg(feature = "kube")]
async fn kube_store(url: &KubeUrl) -> Result<tenure_kube::KubeStore, Error> {
    use crate::url::KubeFormat;
    use tenure_kube::{Format, KubeStore, Object, client};
    let client = client(&access(url)).await?;
    let format = match &url.format {
        KubeFormat::Lease => Format::Lease,
        KubeFormat::Annotation { resource, object } => {
            Format::Annotation(Object::new(resource, object)?)
        }
        KubeFormat::ConfigMap => Format::ConfigMap,
        KubeFormat::Janus => Format::Janus,
    };
    let namespace = match (&url.namespace, &format) {
        (Some(namespace), _) => namespace.clone(),
        // An object of the whole cluster.
        (None, Format::Annotation(_)) => String::new(),
        (None, _) => client.default_namespace().to_owned(),
    };
    Ok(KubeStore::with_format(client, &namespace, format)?)
}

#[cfg(not(feature = "kube"))]
async fn kube(_: &KubeUrl) -> Result<(Backend, String), Error> {
    Err(Error::Unsupported("kube: was left out of this program; build with its feature".into()))
}

/// The same for programs without async.
#[cfg(all(feature = "blocking", target_os = "linux"))]
pub(crate) fn connect_blocking(url: &str) -> Result<crate::blocking::Client, Error> {
    let parsed = StoreUrl::parse(url)?;
    let Some(options) = embedded(&parsed) else { return crate::blocking::Client::elsewhere(url) };
    let store = tenure_local::LocalStore::open(&options)?;
    crate::blocking::Client::local(Arc::new(store), &parsed)
}

/// Opens the store that `url` names if there is one. Elsewhere there always is.
#[cfg(all(feature = "blocking", target_os = "linux"))]
pub(crate) fn connect_existing(url: &str) -> Result<Option<crate::blocking::Client>, Error> {
    let parsed = StoreUrl::parse(url)?;
    let Some(options) = embedded(&parsed) else {
        return crate::blocking::Client::elsewhere(url).map(Some);
    };
    let store = tenure_local::LocalStore::open_existing(&options)?;
    store.map(|store| crate::blocking::Client::local(Arc::new(store), &parsed)).transpose()
}

/// How the embedded store is opened, if that is what the URL names.
#[cfg(all(feature = "blocking", target_os = "linux"))]
fn embedded(url: &StoreUrl) -> Option<tenure_local::Options> {
    let Place::Local(path) = url.place() else { return None };
    Some(tenure_local::Options { path: path.clone() })
}

#[cfg(all(feature = "local", target_os = "linux"))]
impl From<tenure_local::Error> for Error {
    fn from(error: tenure_local::Error) -> Self {
        use tenure_local::Error as Local;
        let text = error.to_string();
        match error {
            Local::Invalid(_) | Local::Unsuitable { .. } => Self::Invalid(text),
            Local::Denied { .. } => Self::Denied(text),
            Local::Damaged { .. } => Self::Damaged(text),
            Local::NewerFormat { .. } => Self::Unsupported(text),
            _ => Self::Unavailable(text, Some(Box::new(error))),
        }
    }
}
