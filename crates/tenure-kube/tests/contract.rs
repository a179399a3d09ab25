//! The contract of a store, kept by Leases on a real API server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;
use tenure_kube::{Access, KubeStore, client};
use tenure_store::Store;
use tenure_testkit::contract::{Subject, run};

#[test]
fn leases_keep_the_contract() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let kubeconfig = std::env::var_os("TENURE_TEST_KUBECONFIG").unwrap().into();
    let access = Access { kubeconfig: Some(kubeconfig), context: None };
    let admin = runtime.block_on(client(&access)).unwrap();
    let number = AtomicU32::new(0);
    let handle = runtime.handle().clone();
    run(move || {
        let n = number.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("contract-{}-{n}", std::process::id());
        let body = json!({"metadata": {"name": namespace}}).to_string().into_bytes();
        let request = http::Request::post("/api/v1/namespaces").body(body).unwrap();
        handle.block_on(admin.request::<serde_json::Value>(request)).unwrap();
        let (handle, access) = (handle.clone(), access.clone());
        Subject::new(move || {
            let _entered = handle.enter();
            let (send, receive) = std::sync::mpsc::channel();
            let access = access.clone();
            handle.spawn(async move { send.send(client(&access).await) });
            let client = receive.recv().unwrap().unwrap();
            Arc::new(KubeStore::new(client, &namespace).unwrap()) as Arc<dyn Store>
        })
    });
}
