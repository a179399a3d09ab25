//! The library on a real API server, in each format: two programs, one lock, and whoever else writes
//! the same object.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tenure::{Attempt, Client, Error, Guard, Lost, Released, connect};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);
const LEASES: &str = "apis/coordination.k8s.io/v1";
const KEY: &str = "kubelock.giantswarm.io/nightly";

/// A namespace of its own on the server, and somebody who may do anything there.
struct Cluster {
    admin: kube::Client,
    namespace: String,
}

impl Cluster {
    async fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let n = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("library-{}-{n}", std::process::id());
        let access = tenure_kube::Access { kubeconfig: Some(kubeconfig().into()), context: None };
        let cluster = Self { admin: tenure_kube::client(&access).await.unwrap(), namespace };
        let body = json!({"metadata": {"name": cluster.namespace}});
        cluster.ask("POST", "api/v1/namespaces", body).await;
        let body = json!({"metadata": {"name": "target", "annotations": {"other": "kept"}}});
        cluster.ask("POST", &cluster.path("configmaps", ""), body).await;
        cluster
    }

    fn path(&self, plural: &str, name: &str) -> String {
        let api = if plural == "leases" { LEASES } else { "api/v1" };
        let path = format!("{api}/namespaces/{}/{plural}/{name}", self.namespace);
        path.trim_end_matches('/').to_owned()
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("/{path}"))
            .header(
                "content-type",
                if method == "PATCH" { "application/merge-patch+json" } else { "application/json" },
            )
            .body(if body.is_null() { Vec::new() } else { body.to_string().into_bytes() });
        self.admin.request(request.unwrap()).await.unwrap()
    }

    async fn get(&self, plural: &str, name: &str) -> Value {
        self.ask("GET", &self.path(plural, name), Value::Null).await
    }

    /// Writes what somebody else would.
    async fn patch(&self, plural: &str, name: &str, patch: Value) {
        self.ask("PATCH", &self.path(plural, name), patch).await;
    }

    async fn client(&self, format: &str, id: &str) -> Client {
        let Self { namespace, .. } = self;
        let url = format!("kube:{namespace}?{format}&kubeconfig={}&id={id}", kubeconfig());
        connect(&url).await.unwrap()
    }
}

fn kubeconfig() -> String {
    tenure_servers::kube().admin("default").display().to_string()
}

/// A moment as Go writes it, this many seconds from now.
fn time(from_now: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    let at = now as i64 + from_now * 1_000_000;
    tenure_wire::time::micro(tenure_core::Wall::from_micros(at as u64))
}

async fn acquire(client: &Client, name: &str) -> Guard {
    timeout(SOON, client.lock(name).acquire()).await.unwrap().unwrap()
}

async fn give_back(guard: Guard) {
    assert_eq!(guard.release().await.unwrap(), Released::Released);
}

async fn held_by(client: &Client, name: &str) -> String {
    match client.lock(name).try_acquire().await.unwrap() {
        Attempt::HeldBy(by) => by.id,
        Attempt::Acquired(_) => panic!("two hold {name}"),
    }
}

async fn lost(guard: &Guard) -> Lost {
    timeout(SOON, guard.lost()).await.unwrap()
}

/// Two programs take turns: busy is told, a release wakes who waits, tokens rise.
async fn takes_turns(cluster: &Cluster, format: &str, name: &str) {
    let (a, b) = (cluster.client(format, "a").await, cluster.client(format, "b").await);
    let mut last = 0;
    for _ in 0..3 {
        for (one, other, id) in [(&a, &b, "a"), (&b, &a, "b")] {
            let guard = acquire(one, name).await;
            assert!(guard.token() > last, "{} follows {last}", guard.token());
            last = guard.token();
            assert_eq!(held_by(other, name).await, id);
            let waiting = {
                let (other, name) = (other.clone(), name.to_owned());
                tokio::spawn(async move { acquire(&other, &name).await })
            };
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(!waiting.is_finished(), "two hold {name}");
            give_back(guard).await;
            let next = timeout(Duration::from_secs(2), waiting).await.unwrap().unwrap();
            assert!(next.token() > last, "{} follows {last}", next.token());
            last = next.token();
            give_back(next).await;
        }
    }
    a.close().await;
    b.close().await;
}

#[tokio::test]
async fn programs_take_turns_in_every_format() {
    let cluster = Cluster::new().await;
    takes_turns(&cluster, "format=lease", "nightly").await;
    let format = "format=annotation&resource=v1/configmaps&object=target";
    takes_turns(&cluster, format, "nightly").await;
    let target = cluster.get("configmaps", "target").await;
    assert_eq!(target["metadata"]["annotations"], json!({"other": "kept"}));
    takes_turns(&cluster, "format=configmap", "nightly").await;
    let name = format!("{}/pod/nightly", cluster.namespace);
    takes_turns(&cluster, "format=janus", &name).await;
    let leases = cluster.get("leases", "").await;
    assert_eq!(leases["items"].as_array().unwrap().len(), 1, "a transaction leaves no Lease");
}

#[tokio::test]
async fn others_may_change_the_object_and_not_the_hold() {
    let cluster = Cluster::new().await;
    let on = "format=annotation&resource=v1/configmaps&object=target";
    let name = format!("{}/pod/x", cluster.namespace);
    let lease = format!("janus-lock-{}-pod-x", cluster.namespace);
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let state = r#"{"name":"x","lockType":"mutex","leases":{"go":{"instanceID":"go","expires":"#;
    let state = format!("{state}\"{}\"}}}}}}", time(600));
    let go = json!({"owner": "go", "createdAt": time(0), "ttl": 600_000_000_000_u64}).to_string();
    for (format, name, plural, object, theft) in [
        ("format=lease", "x", "leases", "x", json!({"spec": {"holderIdentity": "go"}})),
        (on, "nightly", "configmaps", "target", json!({"metadata": {"annotations": {KEY: go}}})),
        ("format=configmap", "x", "configmaps", "lockheed-x", json!({"data": {"lock": state}})),
        ("format=janus", &name, "leases", &lease, json!({"spec": {"holderIdentity": "go"}})),
    ] {
        let client = cluster.client(format, "me").await;
        let guard = acquire(&client, name).await;
        let before = guard.deadline().unwrap().remaining();
        cluster.patch(plural, object, label.clone()).await;
        // The renewal comes in spite of the version that moved, and nothing is lost.
        assert!(timeout(Duration::from_secs(7), guard.lost()).await.is_err(), "{format}");
        assert!(
            guard.deadline().unwrap().remaining() > before - Duration::from_secs(5),
            "{format}"
        );
        cluster.patch(plural, object, theft).await;
        let Lost::Replaced { by } = lost(&guard).await else { panic!("{format}: not replaced") };
        assert_eq!(by, "go", "{format}");
        assert_eq!(held_by(&client, name).await, "go", "{format}");
        drop(guard);
        client.close().await;
    }
}

#[tokio::test]
async fn what_lockheed_left_is_respected_until_it_has_ended() {
    let cluster = Cluster::new().await;
    let client = cluster.client("format=configmap", "me").await;
    let lock = |expires: &str| {
        let lease = json!({"go": {"instanceID": "go", "expires": expires}});
        json!({"lock": json!({"name": "x", "lockType": "mutex", "leases": lease}).to_string()})
    };
    let body = json!({"metadata": {"name": "lockheed-x"}, "data": lock(&time(600))});
    cluster.ask("POST", &cluster.path("configmaps", ""), body).await;
    assert_eq!(held_by(&client, "x").await, "go");
    // Past its end by less than clocks may be apart, then by more.
    cluster.patch("configmaps", "lockheed-x", json!({"data": lock(&time(-1))})).await;
    assert_eq!(held_by(&client, "x").await, "go");
    cluster.patch("configmaps", "lockheed-x", json!({"data": lock(&time(-6))})).await;
    let Attempt::Acquired(guard) = client.lock("x").try_acquire().await.unwrap() else {
        panic!("what has ended is not taken");
    };
    give_back(guard).await;
    // A reservation stands in the way, and is gone once its end is past.
    let by = json!({"reserved/by": "other", "reserved/expires": time(2)});
    cluster.patch("configmaps", "lockheed-x", json!({"metadata": {"annotations": by}})).await;
    assert_eq!(held_by(&client, "x").await, "other");
    let guard = acquire(&client, "x").await;
    let object = cluster.get("configmaps", "lockheed-x").await;
    assert_eq!(object["metadata"].get("annotations"), None);
    give_back(guard).await;
    client.close().await;
}

#[tokio::test]
async fn a_transaction_takes_up_what_it_had() {
    let cluster = Cluster::new().await;
    let name = format!("{}/deployment/web", cluster.namespace);
    let client = cluster.client("format=janus", "txn-1").await;
    let guard = acquire(&client, &name).await;
    let lease = format!("janus-lock-{}-deployment-web", cluster.namespace);
    let labels = cluster.get("leases", &lease).await["metadata"]["labels"].clone();
    assert_eq!(labels["janus.io/transaction"], json!("txn-1"));
    // The same transaction, after a restart.
    let again = cluster.client("format=janus", "txn-1").await;
    let taken = acquire(&again, &name).await;
    assert!(taken.token() > guard.token());
    assert!(matches!(lost(&guard).await, Lost::Replaced { .. }));
    assert_eq!(held_by(&cluster.client("format=janus", "txn-2").await, &name).await, "txn-1");
    give_back(taken).await;
    drop(guard);
}

#[tokio::test]
async fn what_cannot_be_is_said_in_one_line() {
    let cluster = Cluster::new().await;
    let lock = |format: &'static str, name: &'static str| {
        let cluster = &cluster;
        async move {
            let client = cluster.client(format, "me").await;
            let error = client.lock(name).try_acquire().await.err().unwrap();
            assert!(matches!(error, Error::Invalid(_)), "{error:?}");
            assert_eq!(error.to_string().lines().count(), 1);
            error.to_string()
        }
    };
    let missing = lock("format=annotation&resource=v1/configmaps&object=none", "x").await;
    assert!(missing.contains("\"none\" not found"), "{missing}");
    let kind = lock("format=annotation&resource=x.dev/v1/things&object=a", "x").await;
    assert!(kind.contains("knows no things.x.dev"), "{kind}");
    let name = lock("format=annotation&resource=v1/configmaps&object=target", "a/b").await;
    assert!(name.contains("no name of an annotation"), "{name}");
    let name = lock("format=janus", "web").await;
    assert!(name.contains("NAMESPACE/KIND/NAME"), "{name}");
    let name = lock("format=configmap", "A").await;
    assert!(name.contains("lower-case"), "{name}");
    let client = cluster.client("format=configmap", "me").await;
    let short = client.lock("x").ttl(Duration::from_secs(15)).try_acquire().await;
    assert!(short.err().unwrap().to_string().contains("20s"));
}
