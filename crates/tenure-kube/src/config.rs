//! Which API server, and as whom: as kubectl resolves it, but what a pod is given comes first.

use std::env::var_os;
use std::path::PathBuf;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tenure_store::{Detail, Error, Result};
use tower::{BoxError, ServiceBuilder};

use crate::error::STORE;

/// How to find the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// A kubeconfig file, instead of what a pod is given, `KUBECONFIG` and `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig, instead of its current one.
    pub context: Option<String>,
}

/// A client of its own for locks: its own connection, no retries of its own. Its default namespace
/// is that of the pod or the context.
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
    connect(config).map_err(invalid)
}

/// The usual client with two differences. Nothing is sent twice: a write that is may be told of a
/// conflict with itself. And a request is sent when it is made: without `TCP_NODELAY` the first one
/// on each connection, and so each watch, waits 40 ms for an acknowledgement.
fn connect(config: Config) -> kube::Result<kube::Client> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(config.connect_timeout);
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(config.extra_headers_layer()?)
        .option_layer(config.auth_layer()?)
        .map_err(BoxError::from)
        .service(http.build::<_, Body>(connector));
    Ok(kube::Client::new(service, config.default_namespace))
}

async fn config(access: &Access) -> Result<Config> {
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
