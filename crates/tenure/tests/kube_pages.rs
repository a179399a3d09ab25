//! What Go programs call, and what is called here: the code of the pages of the formats, as it stands
//! there, on a real API server.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tenure::{Attempt, Client, Condition, Error, EventKind, Lost, Released, Timing, connect};
use tokio::time::timeout;

const KEY: &str = "kubelock.giantswarm.io/nightly";

/// A namespace of its own.
struct Place {
    server: &'static tenure_servers::Kube,
    namespace: String,
}

impl Place {
    fn new() -> Self {
        let server = tenure_servers::kube();
        Self { server, namespace: server.namespace("pages") }
    }

    async fn client(&self, format: &str, id: &str) -> Client {
        let kubeconfig = self.server.admin(&self.namespace);
        let (namespace, kubeconfig) = (&self.namespace, kubeconfig.display());
        connect(&format!("kube:{namespace}?format={format}&id={id}&kubeconfig={kubeconfig}"))
            .await
            .unwrap()
    }

    fn ask(&self, method: &str, kind: &str, body: Option<&Value>) -> Value {
        let api = match kind.split('/').next() {
            Some("leases") => "/apis/coordination.k8s.io/v1",
            _ => "/api/v1",
        };
        let path = format!("{api}/namespaces/{}/{kind}", self.namespace);
        let (status, answer) = self.server.request(method, &path, body);
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn time(at: u64) -> String {
    tenure_wire::time::micro(tenure_core::Wall::from_micros(at * 1_000_000))
}

/// The code between the marks of this name, as it stands on the page.
#[test]
fn the_code_of_the_pages_is_the_code_that_is_tested() {
    let this = include_str!("kube_pages.rs");
    for (page, text) in [
        ("kube-lease", include_str!("../../../docs/kube-lease.md")),
        ("kube-annotation", include_str!("../../../docs/kube-annotation.md")),
        ("kube-configmap", include_str!("../../../docs/kube-configmap.md")),
        ("kube-janus", include_str!("../../../docs/kube-janus.md")),
    ] {
        let marked = this.split(&format!("    // page: {page}\n")).nth(1).unwrap();
        let marked = marked.split("    // end of it\n").next().unwrap();
        let dedented: String = marked
            .lines()
            .map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line)))
            .collect();
        let code = text.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next());
        assert_eq!(code, Some(&*dedented), "docs/{page}.md");
    }
}

async fn as_leaselock(client: &Client) -> Result<(), Error> {
    // page: kube-lease
    let lock = client.lock("lease-lock").timing(Timing::leaselock());
    let guard = lock.acquire().await?; // Lock: no limit; acquire_timeout has one
    tokio::select! {
        () = work(guard.token()) => {}
        cause = guard.lost() => println!("stop: {cause}"), // Unlock would have said nothing
    }
    // Unlock: the next one is told at once.
    if let Released::Lost(cause) = guard.release().await? {
        println!("it had been lost: {cause}");
    }
    // end of it
    Ok(())
}

async fn work(token: u64) {
    assert!(token > 0);
}

#[tokio::test]
async fn leaselock() {
    let place = Place::new();
    let client = place.client("lease", "me").await;
    let mut events = client.events();
    as_leaselock(&client).await.unwrap();
    let lease = place.ask("GET", "leases/lease-lock", None);
    assert_eq!(lease["spec"]["holderIdentity"], "");
    // 60 s, renewed every 5 s, told to stop 15 s after the last renewal that came through.
    let timing = Timing::leaselock();
    assert_eq!((timing.ttl().as_secs(), timing.renew_every().as_secs()), (60, 5));
    assert_eq!(
        timing.deadline(tenure_core::Time::ZERO).since(tenure_core::Time::ZERO).as_secs()
            - timing.grace().as_secs(),
        15
    );
    let (acquired, released) = (events.next().await.unwrap(), events.next().await.unwrap());
    assert!(matches!(acquired.kind, EventKind::Acquired { .. }), "{acquired:?}");
    assert!(matches!(released.kind, EventKind::Released { confirmed: true, .. }), "{released:?}");
    client.close().await;
}

/// What kubelock would have answered.
async fn as_kubelock(client: &Client) -> Result<String, Error> {
    // page: kube-annotation
    let lock = client.lock("nightly").timing(Timing::kubelock()); // 5 min; the default is 60 s
    let said = match lock.try_acquire().await? {
        Attempt::HeldBy(by) if by.id == client.id() => "already exists".to_owned(),
        Attempt::HeldBy(by) => format!("owner mismatch: {}", by.id),
        Attempt::Acquired(guard) => match guard.release().await? {
            Released::Released => "acquired and released".to_owned(),
            Released::Lost(Lost::Replaced { by }) => format!("owner mismatch: {by}"),
            Released::Lost(_) => "not found".to_owned(),
        },
    };
    // end of it
    Ok(said)
}

#[tokio::test]
async fn kubelock() {
    let place = Place::new();
    place.ask("POST", "configmaps", Some(&json!({"metadata": {"name": "target"}})));
    let on = "annotation&resource=v1/configmaps&object=target";
    let client = place.client(on, "me").await;
    assert_eq!(as_kubelock(&client).await.unwrap(), "acquired and released");
    let lock = |owner: &str| {
        let ttl = 300_000_000_000_u64;
        let value = json!({"owner": owner, "createdAt": time(now()), "ttl": ttl}).to_string();
        let mut target = place.ask("GET", "configmaps/target", None);
        target["metadata"]["annotations"] = json!({KEY: value});
        place.ask("PUT", "configmaps/target", Some(&target));
    };
    lock("me");
    assert_eq!(as_kubelock(&client).await.unwrap(), "already exists");
    lock("other");
    assert_eq!(as_kubelock(&client).await.unwrap(), "owner mismatch: other");
    // What is released must be there, and one's own.
    for (by, expected) in
        [(None, Lost::Freed), (Some("other"), Lost::Replaced { by: "other".into() })]
    {
        let mut target = place.ask("GET", "configmaps/target", None);
        target["metadata"].as_object_mut().unwrap().remove("annotations");
        place.ask("PUT", "configmaps/target", Some(&target));
        let guard = timeout(Duration::from_secs(10), client.lock("nightly").acquire()).await;
        let guard = guard.unwrap().unwrap();
        match by {
            Some(other) => lock(other),
            None => drop(place.ask("PUT", "configmaps/target", Some(&target_without(&place)))),
        }
        let Released::Lost(lost) = guard.release().await.unwrap() else { panic!("{by:?}") };
        let gone = matches!(lost, Lost::Freed | Lost::Deleted) && by.is_none();
        assert!(gone || lost == expected, "{lost:?}");
    }
    // Invalid config: it names what is missing.
    for url in ["kube:x?format=annotation", "kube:x?format=annotation&resource=v1/configmaps"] {
        let Err(Error::Invalid(what)) = connect(url).await else { panic!("{url}") };
        assert!(what.contains("needs &resource=GROUP/VERSION/PLURAL&object=NAME"), "{what}");
    }
    client.close().await;
}

fn target_without(place: &Place) -> Value {
    let mut target = place.ask("GET", "configmaps/target", None);
    target["metadata"].as_object_mut().unwrap().remove("annotations");
    target
}

/// The locks that are blue and held.
async fn as_lockheed(client: &Client) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    // page: kube-configmap
    let lock = client.lock("deploy").add_tags(["blue"]); // tags([..]): WithResetTags
    let mut guard = lock.acquire().await?; // Maintain is part of it
    let condition = Condition::tag("blue").and(Condition::acquired(true));
    assert_eq!(condition, "tags contains blue and acquired = true".parse()?);
    let mut blue = Vec::new();
    for lock in client.list().await? {
        let lock = lock?; // one that cannot be read hides no other
        if lock.meets(&condition) {
            blue.push(lock.name);
        }
    }
    guard.add_tags_on_release(["green"])?; // as Release with tags does
    let _ = guard.release().await?; // Released, or Lost(cause)
    // end of it
    Ok(blue)
}

#[tokio::test]
async fn lockheed() {
    let place = Place::new();
    let client = place.client("configmap", "me").await;
    let lease = json!({"go": {"instanceID": "go", "expires": time(now() + 600)}});
    let tagged = |name: &str, tags: &[&str], leases: &Value| {
        let state = json!({"name": name, "lockType": "mutex", "leases": leases, "tags": tags});
        let labels = json!({"lockheed/lock": ""});
        json!({
            "metadata": {"name": format!("lockheed-{name}"), "labels": labels},
            "data": {"lock": state.to_string()},
        })
    };
    for (name, tags, leases) in [
        ("go", &["blue"][..], &lease),
        ("red", &["red"], &lease),
        ("free", &["blue"], &json!({})),
        ("deploy", &["old"], &json!({})),
    ] {
        place.ask("POST", "configmaps", Some(&tagged(name, tags, leases)));
    }
    let mut events = client.events();
    assert_eq!(as_lockheed(&client).await.unwrap(), ["deploy", "go"]);
    let object = place.ask("GET", "configmaps/lockheed-deploy", None);
    let state: Value = serde_json::from_str(object["data"]["lock"].as_str().unwrap()).unwrap();
    assert_eq!(state["tags"], json!(["blue", "green", "old"]), "they add up");
    assert_eq!((&state["leases"], object["metadata"].get("annotations")), (&json!({}), None));
    // A takeover by force: the condition is asked of the very state that is replaced.
    for (condition, is) in [("tags contains blue", false), ("tags contains red", true)] {
        let lock = client.lock("red");
        let was = lock.steal(&condition.parse().unwrap(), "a test").await.unwrap();
        assert_eq!(was.map(|was| was.holders[0].id.clone()), is.then(|| "go".to_owned()));
        let state = place.ask("GET", "configmaps/lockheed-red", None);
        assert_eq!(state["data"]["lock"].as_str().unwrap().contains("instanceID"), !is);
    }
    let blank = client.lock("red").steal(&Condition::all([]), "\n").await;
    assert!(matches!(blank, Err(Error::Invalid(_))), "{blank:?}");
    // 213 acquired, 212 released.
    let kinds = [events.next().await.unwrap().kind, events.next().await.unwrap().kind];
    assert!(matches!(kinds, [EventKind::Acquired { .. }, EventKind::Released { .. }]), "{kinds:?}");
    client.close().await;
}

/// Who was in the way, or nobody.
async fn as_janus(client: &Client, names: &[String]) -> Result<Option<String>, Error> {
    // page: kube-janus
    let mut guards = Vec::new();
    for name in names {
        // In one order everywhere. What was taken before is given back when `guards` is dropped.
        match client.lock(name).try_acquire().await? {
            Attempt::Acquired(guard) => guards.push(guard),
            Attempt::HeldBy(by) => return Ok(Some(by.id)), // resource is locked by ...
        }
    }
    let mut all = Ok(()); // release-all: the first error, after all were tried
    for guard in guards {
        all = all.and(guard.release().await.map(drop));
    }
    // end of it
    all.map(|()| None)
}

#[tokio::test]
async fn janus() {
    let place = Place::new();
    let names = ["deployment/web", "configmap/web"].map(|n| format!("{}/{n}", place.namespace));
    let client = place.client("janus", "txn-1").await;
    assert_eq!(as_janus(&client, &names).await.unwrap(), None);
    assert_eq!(place.ask("GET", "leases", None)["items"], json!([]), "all are released");
    // Another transaction has the second one: the first is given back.
    let other = place.client("janus", "txn-2").await;
    let theirs = other.lock(&names[1]).acquire().await.unwrap();
    assert_eq!(as_janus(&client, &names).await.unwrap(), Some("txn-2".into()));
    client.close().await;
    let leases = place.ask("GET", "leases", None);
    let [left] = &leases["items"].as_array().unwrap()[..] else { panic!("{leases}") };
    let name = format!("janus-lock-{}-configmap-web", place.namespace);
    assert_eq!(left["metadata"]["name"], name.as_str(), "the names are always the same");
    // A renewal of what is gone says so: lock lease has expired.
    place.ask("DELETE", &format!("leases/{name}"), None);
    let lost = timeout(Duration::from_secs(10), theirs.lost()).await.unwrap();
    assert_eq!(lost, Lost::Deleted);
    assert_eq!(theirs.release().await.unwrap(), Released::Lost(Lost::Deleted));
    other.close().await;
}
