//! The contract of a store, kept by each format on a real API server, and on the one in memory.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt;
use std::sync::Arc;

use serde_json::json;
use tenure_core::{Change, Probed, Session, Version};
use tenure_kube::{Access, Format, KubeStore, Object, client};
use tenure_store::{
    BoxFuture, Capabilities, Conditional, Detail, Error, Listed, Name, Result, Snapshot, Store,
    Stored, Watch,
};
use tenure_testkit::api::{Road, Server};
use tenure_testkit::contract::{Subject, run};
use tokio::runtime::Handle;

/// Runs the contract on stores of this format, each in a namespace of its own, on a real server.
fn keeps_the_contract(format: &Format) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = tenure_servers::kube();
    run(|| {
        let namespace = server.namespace("contract");
        let target = json!({"metadata": {"name": "target"}, "data": {"k": "v"}});
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        assert_eq!(server.request("POST", &path, Some(&target)).0, 201);
        let access = Access { kubeconfig: Some(server.admin(&namespace)), context: None };
        subject(runtime.handle(), &namespace, format, move || {
            let access = access.clone();
            async move { client(&access).await.unwrap() }
        })
    });
}

/// The same on a server in memory.
fn keeps_the_contract_in_memory(format: &Format) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    run(|| {
        let server = Server::new();
        let target = json!({"metadata": {"name": "target"}, "data": {"k": "v"}});
        let path = "/api/v1/namespaces/default/configmaps";
        assert_eq!(server.admin("POST", path, target.to_string().into_bytes()).0, 201);
        subject(runtime.handle(), "default", format, move || {
            let road = Road::new(&server, "admin");
            async move { road.client() }
        })
    });
}

fn subject<F>(
    runtime: &Handle,
    namespace: &str,
    format: &Format,
    connect: impl Fn() -> F + Send + Sync + 'static,
) -> Subject
where
    F: Future<Output = kube::Client> + Send + 'static,
{
    let (handle, format) = (runtime.clone(), format.clone());
    let namespace = namespace.to_owned();
    Subject::new(move || {
        let _entered = handle.enter();
        let (send, receive) = std::sync::mpsc::channel();
        let client = connect();
        handle.spawn(async move { send.send(client.await).ok() });
        let client = receive.recv().unwrap();
        let store = KubeStore::with_format(client, &namespace, format.clone()).unwrap();
        match format {
            Format::Janus => {
                let prefix = format!("{namespace}/pod/");
                Arc::new(Under { store, prefix }) as Arc<dyn Store>
            }
            _ => Arc::new(store),
        }
    })
}

fn on_target() -> Format {
    Format::Annotation(Object::new("v1/configmaps", "target").unwrap())
}

#[test]
fn leases_keep_the_contract() {
    keeps_the_contract(&Format::Lease);
}

#[test]
fn annotations_keep_the_contract() {
    keeps_the_contract(&on_target());
}

#[test]
fn config_maps_keep_the_contract() {
    keeps_the_contract(&Format::ConfigMap);
}

#[test]
fn transactions_keep_the_contract() {
    keeps_the_contract(&Format::Janus);
}

#[test]
fn leases_in_memory_keep_the_contract() {
    keeps_the_contract_in_memory(&Format::Lease);
}

#[test]
fn annotations_in_memory_keep_the_contract() {
    keeps_the_contract_in_memory(&on_target());
}

#[test]
fn config_maps_in_memory_keep_the_contract() {
    keeps_the_contract_in_memory(&Format::ConfigMap);
}

#[test]
fn transactions_in_memory_keep_the_contract() {
    keeps_the_contract_in_memory(&Format::Janus);
}

/// Names as resources of one kind, for a format whose names are resources. Names that differ in case
/// only are one there, so that this has none in upper case.
struct Under {
    store: KubeStore,
    prefix: String,
}

impl Under {
    fn full(&self, name: &Name) -> Result<Name> {
        let plain = !name.as_str().contains(char::is_uppercase);
        let full = Name::new(&format!("{}{name}", self.prefix)).ok().filter(|_| plain);
        full.ok_or_else(|| Error::Invalid(Detail::new("kube:", "no name of the test's").on(name)))
    }
}

impl fmt::Debug for Under {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

impl Store for Under {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    fn session(&self) -> BoxFuture<'_, Result<Session>> {
        self.store.session()
    }

    fn probe(&self, session: Session) -> BoxFuture<'_, Result<Probed>> {
        self.store.probe(session)
    }

    fn read<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<Snapshot>> {
        Box::pin(async { self.store.read(&self.full(name)?).await })
    }

    fn write_if<'a>(
        &'a self,
        name: &'a Name,
        judged: Option<&'a Stored>,
        change: &'a Change,
    ) -> BoxFuture<'a, Result<Conditional<Stored>>> {
        Box::pin(async move { self.store.write_if(&self.full(name)?, judged, change).await })
    }

    fn delete_if<'a>(
        &'a self,
        name: &'a Name,
        expected: Version,
    ) -> BoxFuture<'a, Result<Conditional<()>>> {
        Box::pin(async move { self.store.delete_if(&self.full(name)?, expected).await })
    }

    fn watch(&self, name: &Name) -> Watch {
        self.store.watch(&self.full(name).unwrap())
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>>> {
        Box::pin(async {
            let short = |listed: Listed| {
                let name = listed.name.as_str().strip_prefix(&self.prefix)?;
                Some(Listed { name: Name::new(name).ok()?, ..listed })
            };
            Ok(self.store.list().await?.into_iter().filter_map(short).collect())
        })
    }
}
