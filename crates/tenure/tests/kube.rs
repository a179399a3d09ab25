//! The library on a real API server, in each format: two programs, one lock, and whoever else writes
//! the same object.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tenure::{Attempt, Client, Error, Guard, Lost, Released, connect};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);
/// Far less than the time to the next renewal.
const AT_ONCE: Duration = Duration::from_secs(2);
const LEASES: &str = "/apis/coordination.k8s.io/v1";
const KEY: &str = "kubelock.giantswarm.io/nightly";

/// What each format needs of leases or configmaps, and nothing else.
const RIGHTS: [(&str, &str, &str); 4] = [
    ("lease", "leases", "get, watch, create, update"),
    ("annotation", "configmaps", "get, watch, patch"),
    ("configmap", "configmaps", "get, watch, create, update"),
    ("janus", "leases", "get, watch, create, update, delete"),
];

/// A namespace of its own on the server, with an account for each format.
struct Cluster {
    server: &'static tenure_servers::Kube,
    namespace: String,
    accounts: Vec<(&'static str, PathBuf)>,
}

impl Cluster {
    fn new() -> Self {
        let server = tenure_servers::kube();
        let namespace = server.namespace("library");
        let account = |(format, resource, verbs): (&'static str, &str, &str)| {
            let file = server.service_account(&namespace, format);
            let group = if resource == "leases" { "coordination.k8s.io" } else { "" };
            let api = "apiVersion: rbac.authorization.k8s.io/v1";
            let role = format!(
                "kind: Role\n{api}\nmetadata: {{name: {format}}}\nrules:\n- apiGroups: ['{group}']\n  \
                 resources: [{resource}]\n  verbs: [{verbs}]\n---\nkind: RoleBinding\n{api}\n\
                 metadata: {{name: {format}}}\n\
                 roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {format}}}\n\
                 subjects: [{{kind: ServiceAccount, name: {format}, namespace: {namespace}}}]\n"
            );
            server.apply(&namespace, &role);
            (format, file)
        };
        let accounts = RIGHTS.map(account).to_vec();
        let cluster = Self { server, namespace, accounts };
        let body = json!({"metadata": {"name": "target", "annotations": {"other": "kept"}}});
        cluster.ask("POST", &cluster.path("configmaps", ""), Some(&body));
        cluster
    }

    fn path(&self, plural: &str, name: &str) -> String {
        let api = if plural == "leases" { LEASES } else { "/api/v1" };
        let path = format!("{api}/namespaces/{}/{plural}/{name}", self.namespace);
        path.trim_end_matches('/').to_owned()
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.server.request(method, path, body);
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }

    fn get(&self, plural: &str, name: &str) -> Value {
        self.ask("GET", &self.path(plural, name), None)
    }

    /// Writes what somebody else would, who tries again where he is not the only one.
    fn change(&self, plural: &str, name: &str, change: impl Fn(&mut Value)) {
        for _ in 0..50 {
            let mut object = self.get(plural, name);
            change(&mut object);
            let (status, answer) =
                self.server.request("PUT", &self.path(plural, name), Some(&object));
            match status {
                409 => {}
                status => return assert!(status < 300, "{status} {answer}"),
            }
        }
        panic!("{name} changes all the time");
    }

    async fn client(&self, format: &str, id: &str) -> Client {
        let named = |(name, _): &&(&str, PathBuf)| format.starts_with(&format!("format={name}"));
        let (_, kubeconfig) = self.accounts.iter().find(named).unwrap();
        let (namespace, kubeconfig) = (&self.namespace, kubeconfig.display());
        let url = format!("kube:{namespace}?{format}&kubeconfig={kubeconfig}&id={id}");
        connect(&url).await.unwrap()
    }
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
    let cluster = Cluster::new();
    takes_turns(&cluster, "format=lease", "nightly").await;
    let format = "format=annotation&resource=v1/configmaps&object=target";
    takes_turns(&cluster, format, "nightly").await;
    let target = cluster.get("configmaps", "target");
    assert_eq!(target["metadata"]["annotations"], json!({"other": "kept"}));
    takes_turns(&cluster, "format=configmap", "nightly").await;
    let name = format!("{}/pod/nightly", cluster.namespace);
    takes_turns(&cluster, "format=janus", &name).await;
    let leases = cluster.get("leases", "");
    assert_eq!(leases["items"].as_array().unwrap().len(), 1, "a transaction leaves no Lease");
}

#[tokio::test]
async fn others_may_change_the_object_and_not_the_hold() {
    let cluster = Cluster::new();
    let on = "format=annotation&resource=v1/configmaps&object=target";
    let name = format!("{}/pod/x", cluster.namespace);
    let lease = format!("janus-lock-{}-pod-x", cluster.namespace);
    let state = r#"{"name":"x","lockType":"mutex","leases":{"go":{"instanceID":"go","expires":"#;
    let state = format!("{state}\"{}\"}}}}}}", time(600));
    let go = json!({"owner": "go", "createdAt": time(0), "ttl": 600_000_000_000_u64}).to_string();
    for (format, name, plural, object, theft) in [
        ("format=lease", "x", "leases", "x", ("/spec/holderIdentity", "go")),
        (on, "nightly", "configmaps", "target", (KEY, &*go)),
        ("format=configmap", "x", "configmaps", "lockheed-x", ("/data/lock", &*state)),
        ("format=janus", &name, "leases", &lease, ("/spec/holderIdentity", "go")),
    ] {
        let client = cluster.client(format, "me").await;
        let guard = acquire(&client, name).await;
        let before = guard.deadline().unwrap().remaining();
        cluster.change(plural, object, |o| o["metadata"]["labels"]["a"] = json!("b"));
        // The renewal comes in spite of the version that moved, and nothing is lost.
        assert!(timeout(Duration::from_secs(6), guard.lost()).await.is_err(), "{format}");
        assert!(
            guard.deadline().unwrap().remaining() > before - Duration::from_secs(5),
            "{format}"
        );
        cluster.change(plural, object, |o| match theft {
            (KEY, value) => o["metadata"]["annotations"][KEY] = json!(value),
            (at, value) => *o.pointer_mut(at).unwrap() = json!(value),
        });
        let Ok(Lost::Replaced { by }) = timeout(AT_ONCE, guard.lost()).await else {
            panic!("{format}: not replaced")
        };
        assert_eq!(by, "go", "{format}");
        assert_eq!(held_by(&client, name).await, "go", "{format}");
        drop(guard);
        client.close().await;
    }
}

#[tokio::test]
async fn what_is_deleted_is_lost_at_once() {
    let cluster = Cluster::new();
    let on = "format=annotation&resource=v1/configmaps&object=target";
    let name = format!("{}/pod/x", cluster.namespace);
    let lease = format!("janus-lock-{}-pod-x", cluster.namespace);
    for (format, name, plural, object) in [
        ("format=lease", "x", "leases", "x"),
        (on, "nightly", "configmaps", "target"),
        ("format=configmap", "x", "configmaps", "lockheed-x"),
        ("format=janus", &name, "leases", &lease),
    ] {
        let client = cluster.client(format, "me").await;
        let guard = acquire(&client, name).await;
        // The watch is open, and the next renewal is some seconds away.
        tokio::time::sleep(Duration::from_secs(1)).await;
        match format == on {
            true => cluster.change(plural, object, |o| {
                o["metadata"]["annotations"].as_object_mut().unwrap().remove(KEY).unwrap();
            }),
            false => drop(cluster.ask("DELETE", &cluster.path(plural, object), None)),
        }
        let lost = timeout(AT_ONCE, guard.lost()).await;
        assert!(matches!(lost, Ok(Lost::Deleted | Lost::Freed)), "{format}: {lost:?}");
        drop(guard);
        client.close().await;
    }
}

#[tokio::test]
async fn what_lockheed_left_is_respected_until_it_has_ended() {
    let cluster = Cluster::new();
    let client = cluster.client("format=configmap", "me").await;
    let lock = |expires: &str| {
        let lease = json!({"go": {"instanceID": "go", "expires": expires}});
        json!({"lock": json!({"name": "x", "lockType": "mutex", "leases": lease}).to_string()})
    };
    let body = json!({"metadata": {"name": "lockheed-x"}, "data": lock(&time(600))});
    cluster.ask("POST", &cluster.path("configmaps", ""), Some(&body));
    assert_eq!(held_by(&client, "x").await, "go");
    // Past its end by less than clocks may be apart, then by more.
    cluster.change("configmaps", "lockheed-x", |o| o["data"] = lock(&time(-1)));
    assert_eq!(held_by(&client, "x").await, "go");
    cluster.change("configmaps", "lockheed-x", |o| o["data"] = lock(&time(-6)));
    let Attempt::Acquired(guard) = client.lock("x").try_acquire().await.unwrap() else {
        panic!("what has ended is not taken");
    };
    give_back(guard).await;
    // A reservation stands in the way, and is gone once its end is past.
    let by = json!({"reserved/by": "other", "reserved/expires": time(2)});
    cluster.change("configmaps", "lockheed-x", |o| o["metadata"]["annotations"] = by.clone());
    assert_eq!(held_by(&client, "x").await, "other");
    let guard = acquire(&client, "x").await;
    let object = cluster.get("configmaps", "lockheed-x");
    assert_eq!(object["metadata"].get("annotations"), None);
    give_back(guard).await;
    client.close().await;
}

#[tokio::test]
async fn a_transaction_takes_up_what_it_had() {
    let cluster = Cluster::new();
    let name = format!("{}/deployment/web", cluster.namespace);
    let client = cluster.client("format=janus", "txn-1").await;
    let guard = acquire(&client, &name).await;
    let lease = format!("janus-lock-{}-deployment-web", cluster.namespace);
    let labels = cluster.get("leases", &lease)["metadata"]["labels"].clone();
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
    let cluster = Cluster::new();
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
    // Somebody without the right is told of that, and of nothing else.
    let things = "format=annotation&resource=x.dev/v1/things&object=a";
    let client = cluster.client(things, "me").await;
    let denied = client.lock("x").try_acquire().await.err().unwrap();
    assert!(matches!(denied, Error::Denied(_)), "{denied:?}");
    assert!(denied.to_string().contains("needs `get` on things.x.dev in namespace"), "{denied}");
    let admin = cluster.server.admin(&cluster.namespace);
    let url = format!("kube:{}?{things}&kubeconfig={}", cluster.namespace, admin.display());
    let client = connect(&url).await.unwrap();
    let kind = client.lock("x").try_acquire().await.err().unwrap().to_string();
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
