//! Which API server, and as whom: as kubectl resolves it, but what a pod is given comes first.

use std::env::var_os;
use std::path::PathBuf;

use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tenure_store::{Detail, Error, Result};

use crate::error::STORE;
use crate::transport;

/// How to find the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// A kubeconfig file, instead of what a pod is given, `KUBECONFIG` and `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig, instead of its current one.
    pub context: Option<String>,
}

/// A client of its own for locks: its own connections, no retries of its own. Its default namespace
/// is that of the pod or the context. Where the server refuses its credentials they are read again.
///
/// # Errors
/// [`Error::Invalid`] for a configuration that is missing or cannot be read.
pub async fn client(access: &Access) -> Result<kube::Client> {
    let config = config(access).await?;
    if let Some(proxy) = &config.proxy_url {
        let what = format!("the proxy {proxy} is not used for locks: reach the server directly");
        return Err(Error::Unsupported(Detail::new(STORE, what)));
    }
    let invalid = |e: kube::Error| Error::Invalid(Detail::new(STORE, e.to_string()).because(e));
    transport::client(access, config).map_err(invalid)
}

/// The address of the API server that is found now. Nothing is asked of it.
///
/// # Errors
/// As [`client`].
pub async fn server(access: &Access) -> Result<String> {
    Ok(config(access).await?.cluster_url.to_string())
}

pub(crate) async fn config(access: &Access) -> Result<Config> {
    let invalid = |what: String| Error::Invalid(Detail::new(STORE, what));
    let chosen = access.kubeconfig.is_some() || access.context.is_some();
    if !chosen && var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return Config::incluster()
            .map_err(|e| invalid(format!("this pod's service account cannot be used: {e}")));
    }
    let options =
        KubeConfigOptions { context: access.context.clone(), ..KubeConfigOptions::default() };
    let found = match &access.kubeconfig {
        Some(path) => match Kubeconfig::read_from(path) {
            Ok(read) => Config::from_custom_kubeconfig(read, &options).await,
            Err(error) => Err(error),
        },
        None => Config::from_kubeconfig(&options).await,
    };
    found.map_err(|e| {
        let file = access.kubeconfig.as_ref().map(|path| path.display().to_string());
        let file = file.unwrap_or_else(|| "KUBECONFIG or ~/.kube/config".into());
        invalid(format!("no API server: {file}: {e}; give kubeconfig=FILE or context=NAME"))
    })
}
