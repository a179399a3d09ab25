//! What the backends to come will link, so that benchmarks measure a command as big as it will be.
//!
//! Owns one call into each client library; is compiled only with the feature `bench-link`. **Nothing
//! here runs unless `TENURE_BENCH_LINK` is set**, which no benchmark does.

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{ListParams, PostParams, WatchParams};
use kube::{Api, Client};
use tonic::transport::{ClientTlsConfig, Endpoint};

/// Whether the libraries are to be called. The linker cannot know that they never are.
pub(crate) fn is_wanted() -> bool {
    std::env::var_os("TENURE_BENCH_LINK").is_some()
}

/// Calls what a backend would: connect with TLS, read, write, watch.
pub(crate) fn reach() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let leases: Api<Lease> = Api::default_namespaced(Client::try_default().await?);
        let list = leases.list(&ListParams::default()).await?;
        for lease in &list.items {
            leases.create(&PostParams::default(), lease).await?;
        }
        let version = list.metadata.resource_version.unwrap_or_default();
        drop(leases.watch(&WatchParams::default(), &version).await?);
        let tls = ClientTlsConfig::new().with_native_roots();
        let endpoint = Endpoint::from_static("https://localhost:2379").tls_config(tls)?;
        let mut grpc = tonic::client::Grpc::new(endpoint.connect().await?);
        Ok(grpc.ready().await?)
    })
}
