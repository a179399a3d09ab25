//! A namespace of a real API server, what is sent to it, and the plainest write there is.
//!
//! Owns the server, which ends with this process, the count of requests, and [`Raw`], the PUT that
//! every row of a cluster is compared with. **Both go through the same client.** Knows no lock.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use http::{Method, Request};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tenure_kube::{Access, KubeStore, client};
use tokio::runtime::Runtime;
use tower::service_fn;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces";

/// A namespace that nobody else uses, as its administrator.
pub struct Cluster {
    /// The server itself.
    pub server: &'static tenure_servers::Kube,
    /// Its name.
    pub namespace: String,
    /// A file with the way there.
    pub kubeconfig: PathBuf,
    /// What does the I/O of this process.
    pub runtime: Runtime,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Starts the server for the first one.
    ///
    /// # Errors
    /// If there is no runtime.
    ///
    /// # Panics
    /// With what to install, if there is no server.
    pub fn new() -> Result<Self> {
        let server = tenure_servers::kube();
        let namespace = server.namespace("bench");
        let kubeconfig = server.admin(&namespace);
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(1).enable_all().build()?;
        Ok(Self { server, namespace, kubeconfig, runtime })
    }

    /// The URL of its locks, with more options before the way there.
    #[must_use]
    pub fn url(&self, options: &str) -> String {
        format!("kube:{}?{options}kubeconfig={}", self.namespace, self.kubeconfig.display())
    }

    /// A client of the kind that the library makes for itself, and what is sent through it.
    ///
    /// # Errors
    /// If the way there cannot be read.
    pub async fn client(&self) -> Result<(Client, Sent)> {
        let access = Access { kubeconfig: Some(self.kubeconfig.clone()), context: None };
        let client = client(&access).await?;
        let sent = Sent::default();
        let seen = sent.clone();
        let service = service_fn(move |request: Request<Body>| {
            seen.note(format!("{} {}", request.method(), request.uri()));
            let client = client.clone();
            async move { client.send(request).await }
        });
        Ok((Client::new(service, &*self.namespace), sent))
    }

    /// A library on such a client.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn library(&self, client: &Client) -> Result<tenure::Client> {
        let _inside = self.runtime.enter();
        let store = KubeStore::new(client.clone(), &self.namespace)?;
        Ok(tenure::Client::new(Arc::new(store)))
    }

    /// A Lease to write.
    ///
    /// # Errors
    /// If the server refuses it.
    pub async fn raw(&self, client: &Client) -> Result<Raw> {
        let all = format!("{LEASES}/{}/leases", self.namespace);
        let times = "2026-01-01T00:00:00.000000Z";
        let lease = json!({"metadata": {"name": "raw"}, "spec": {
            "holderIdentity": "host_3f1c8f4e-0000-4000-8000-000000000000",
            "leaseDurationSeconds": 15, "leaseTransitions": 0,
            "acquireTime": times, "renewTime": times}});
        let (path, client) = (format!("{all}/raw"), client.clone());
        let object = ask(&client, Method::POST, &all, &lease).await?;
        Ok(Raw { client, path, object })
    }

    /// How often each request for Leases was answered so far, by the server's own count. A watch
    /// counts when it has ended. The server renews a Lease of its own every 10 s.
    ///
    /// # Errors
    /// If the server does not tell.
    pub fn answered(&self) -> Result<BTreeMap<String, u64>> {
        let (status, text) = self.server.request("GET", "/metrics", None);
        ensure!(status == 200, "/metrics: {status}");
        let mut found = BTreeMap::new();
        for line in text.as_str().unwrap_or_default().lines() {
            let leases = line.contains(r#"resource="leases""#);
            let Some(labels) = line.strip_prefix("apiserver_request_total{").filter(|_| leases)
            else {
                continue;
            };
            let label = |name: &str| {
                let value = labels.split_once(&format!("{name}=\""))?.1;
                value.split('"').next()
            };
            let (verb, code) = (label("verb").context("verb")?, label("code").context("code")?);
            let count: f64 = labels.rsplit(' ').next().unwrap_or_default().parse()?;
            *found.entry(format!("{verb} {code}")).or_default() += count as u64;
        }
        Ok(found)
    }
}

/// What was sent.
#[derive(Clone, Debug, Default)]
pub struct Sent(Arc<Mutex<Vec<String>>>);

impl Sent {
    fn note(&self, what: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// Requests since this was asked last: writes and reads, and watches that were opened.
    #[must_use]
    pub fn take(&self) -> (Vec<String>, usize) {
        let sent = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let (watches, sent): (Vec<_>, Vec<_>) =
            sent.into_iter().partition(|what| what.contains("watch=true"));
        (sent, watches.len())
    }
}

/// A Lease of nobody's, for writing.
pub struct Raw {
    client: Client,
    path: String,
    object: Value,
}

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Raw").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Raw {
    /// Writes it once, changed, with the version that is known: how long that takes.
    ///
    /// # Errors
    /// If the server refuses it.
    pub async fn put(&mut self) -> Result<Duration> {
        let transitions = self.object["spec"]["leaseTransitions"].as_u64().unwrap_or_default();
        self.object["spec"]["leaseTransitions"] = json!(transitions + 1);
        let start = Instant::now();
        self.object = ask(&self.client, Method::PUT, &self.path, &self.object).await?;
        Ok(start.elapsed())
    }
}

async fn ask(client: &Client, method: Method, path: &str, body: &Value) -> Result<Value> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("Accept", "application/json")
        .header("Content-Type", "application/json")
        .body(body.to_string().into_bytes())?;
    client.request(request).await.map_err(|e| anyhow!("{path}: {e}"))
}
