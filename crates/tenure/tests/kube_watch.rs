//! What is sent to an API server while locks are waited for and held, and what becomes of a wait
//! whose watch is cut off, silent, too old or forbidden.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/tap.rs"]
mod tap;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tap::{Seen, Spoilt, tapped, tapped_as, watches};
use tenure::{Client, EventKind, Guard, Released, connect};
use tenure_kube::{Format, Object};
use tokio::time::{sleep, timeout};

const TTL: Duration = Duration::from_secs(3);

/// A namespace of its own.
struct Place {
    server: &'static tenure_servers::Kube,
    name: String,
}

impl Place {
    fn new() -> Self {
        let server = tenure_servers::kube();
        Self { server, name: server.namespace("watch") }
    }

    fn admin(&self) -> PathBuf {
        self.server.admin(&self.name)
    }

    /// Another program.
    async fn other(&self) -> Client {
        let kubeconfig = self.admin();
        connect(&format!("kube:{}?kubeconfig={}", self.name, kubeconfig.display())).await.unwrap()
    }

    /// An account that may do this with Leases.
    fn account(&self, rules: &str) -> PathBuf {
        let file = self.server.service_account(&self.name, "some");
        let api = "apiVersion: rbac.authorization.k8s.io/v1";
        let role = format!(
            "kind: Role\n{api}\nmetadata: {{name: some}}\nrules:\n{rules}---\nkind: RoleBinding\n{api}\n\
             metadata: {{name: some}}\nroleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, \
             name: some}}\nsubjects: [{{kind: ServiceAccount, name: some, namespace: {}}}]\n",
            self.name
        );
        self.server.apply(&self.name, &role);
        file
    }
}

async fn take(client: &Client, name: &str) -> Guard {
    take_for(client, name, TTL).await
}

async fn take_for(client: &Client, name: &str, ttl: Duration) -> Guard {
    let acquired = client.lock(name).ttl(ttl).acquire();
    timeout(Duration::from_secs(20), acquired).await.unwrap().unwrap()
}

async fn give_back(guard: Guard) {
    assert_eq!(guard.release().await.unwrap(), Released::Released);
}

/// Has a second client wait for what a first holds; how long after the release it has it.
async fn waits_and_gets(other: &Client, mine: &Client, name: &'static str) -> Duration {
    let guard = take(other, name).await;
    let waiting = tokio::spawn({
        let mine = mine.clone();
        async move { (take(&mine, name).await, Instant::now()) }
    });
    sleep(Duration::from_secs(2)).await;
    assert!(!waiting.is_finished(), "two hold {name}");
    give_back(guard).await;
    let released = Instant::now();
    let (guard, at) = waiting.await.unwrap();
    give_back(guard).await;
    at.saturating_duration_since(released)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_waiters_have_one_watch_and_three_requests_for_each_hand_over() {
    const WAITERS: usize = 1_000;
    let place = Place::new();
    let (client, seen) = tapped(place.admin(), &place.name).await;
    let other = place.other().await;
    let first = take(&other, "one").await;
    let mut waiters = Vec::new();
    for n in 0..WAITERS {
        let client = client.clone();
        waiters.push(tokio::spawn(async move {
            let acquired = client.lock("one").acquire();
            let guard = timeout(Duration::from_secs(120), acquired).await.unwrap().unwrap();
            // So that some are watched and some are given back before they are.
            sleep(Duration::from_millis(if n % 10 == 0 { 50 } else { 0 })).await;
            give_back(guard).await;
        }));
    }
    sleep(Duration::from_secs(2)).await;
    let sent = seen.take();
    // The attempt to create it, and the watch; and for the holder's renewal nothing.
    assert_eq!(sent.len(), 2, "{sent:#?}");
    assert_eq!((watches(&sent), seen.open()), (1, 1), "{sent:#?}");
    give_back(first).await;
    for waiter in waiters {
        waiter.await.unwrap();
    }
    let sent = seen.take();
    assert!(sent.len() <= 3 * WAITERS, "{} requests for {WAITERS} hand-overs", sent.len());
    assert!(watches(&sent) >= WAITERS / 10, "{} watches", watches(&sent));
    assert_eq!(seen.most(), 1, "watches at once");
}

#[tokio::test]
async fn who_stood_in_line_for_long_gives_the_store_its_time_all_the_same() {
    let place = Place::new();
    let client = place.other().await;
    let guard = take(&client, "long").await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { take(&client, "long").await }
    });
    // Longer than a store has to answer for the first time.
    sleep(Duration::from_secs(11)).await;
    give_back(guard).await;
    give_back(waiting.await.unwrap()).await;
}

#[tokio::test]
async fn a_standby_sends_nothing_but_its_watch_until_the_holder_is_silent() {
    let place = Place::new();
    let other = place.other().await;
    // Long enough for a server whose disk stands still for some seconds.
    let guard = take_for(&other, "standby", 2 * TTL).await;
    let (client, seen) = tapped(place.admin(), &place.name).await;
    let waiting = tokio::spawn(async move { take(&client, "standby").await });
    sleep(Duration::from_secs(1)).await;
    let sent = seen.take();
    assert_eq!((sent.len(), watches(&sent)), (2, 1), "{sent:#?}");
    // Without the renewals, each two seconds, it would be taken over by then.
    sleep(Duration::from_secs(8)).await;
    assert!(!waiting.is_finished(), "two hold it");
    assert_eq!(seen.take(), Vec::<String>::new());
    give_back(guard).await;
    let guard = waiting.await.unwrap();
    let sent = seen.take();
    assert_eq!((sent.len(), watches(&sent)), (1, 0), "{sent:#?}");
    give_back(guard).await;
}

/// The method of each request; a watch is one of its own.
fn methods(sent: &[String]) -> Vec<&str> {
    let method = |s: &'_ String| if tap::is_watch(s) { None } else { s.find(' ') };
    sent.iter().map(|s| method(s).map_or("WATCH", |end| &s[..end])).collect()
}

#[tokio::test]
async fn to_take_to_renew_and_to_give_back_is_one_request_each() {
    let place = Place::new();
    let target = serde_json::json!({"metadata": {"name": "target"}});
    let path = format!("/api/v1/namespaces/{}/configmaps", place.name);
    assert_eq!(place.server.request("POST", &path, Some(&target)).0, 201);
    let annotation = Format::Annotation(Object::new("v1/configmaps", "target").unwrap());
    let resource = format!("{}/pod/x", place.name);
    for (format, name, take, give) in [
        (Format::Lease, "x", "PUT", "PUT"),
        (annotation, "x", "PATCH", "PATCH"),
        (Format::ConfigMap, "x", "PUT", "PUT"),
        (Format::Janus, &*resource, "POST", "DELETE"),
    ] {
        let (client, seen) = tapped_as(place.admin(), &place.name, format.clone()).await;
        let lock = client.lock(name);
        give_back(lock.acquire().await.unwrap()).await;
        for _ in 0..3 {
            let _ = seen.take();
            let guard = lock.acquire().await.unwrap();
            assert_eq!(methods(&seen.take()), [take], "{format:?}");
            give_back(guard).await;
            assert_eq!(methods(&seen.take()), [give], "{format:?}");
        }
    }
    let (client, seen) = tapped(place.admin(), &place.name).await;
    let guard = take(&client, "renewed").await;
    sleep(Duration::from_millis(3_500)).await;
    assert_eq!(methods(&seen.take()), ["POST", "WATCH", "PUT", "PUT", "PUT"], "each second");
    give_back(guard).await;
}

/// What a command does: a program that knows nothing yet takes a lock, works, and gives it back.
#[tokio::test]
async fn a_program_for_one_hold_sends_three_requests_or_four() {
    let place = Place::new();
    for sent in [&["POST", "WATCH", "PUT"][..], &["POST", "WATCH", "PUT", "PUT"]] {
        let (client, seen) = tapped(place.admin(), &place.name).await;
        let guard = client.lock("once").acquire().await.unwrap();
        sleep(Duration::from_millis(500)).await;
        give_back(guard).await;
        assert_eq!(methods(&seen.take()), sent);
    }
}

#[tokio::test]
async fn from_the_second_name_there_is_one_watch() {
    let place = Place::new();
    let (client, seen) = tapped(place.admin(), &place.name).await;
    let mut guards = Vec::new();
    for n in 0..30 {
        guards.push(take(&client, &format!("n{n}")).await);
    }
    sleep(Duration::from_millis(500)).await;
    assert_eq!(seen.open(), 1);
    let all = seen.take();
    // The first by itself, then what is needed to begin with all of them.
    assert!(watches(&all) <= 3, "{all:#?}");
    sleep(Duration::from_secs(3)).await;
    assert_eq!(watches(&seen.take()), 0, "nobody watches anew");
    // Each is told of its own: what is taken from one is lost by it alone, and at once.
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases/n7", place.name);
    assert_eq!(place.server.request("DELETE", &path, None).0, 200);
    timeout(Duration::from_millis(700), guards[7].lost()).await.unwrap();
    for (n, guard) in guards.into_iter().enumerate() {
        match n {
            7 => drop(guard),
            _ => give_back(guard).await,
        }
    }
    client.close().await;
    assert_eq!(seen.open(), 0, "nobody listens");
}

#[tokio::test]
async fn annotations_of_one_object_share_its_watch() {
    let place = Place::new();
    let target = serde_json::json!({"metadata": {"name": "target"}});
    let path = format!("/api/v1/namespaces/{}/configmaps", place.name);
    assert_eq!(place.server.request("POST", &path, Some(&target)).0, 201);
    let format = Format::Annotation(Object::new("v1/configmaps", "target").unwrap());
    let (client, seen) = tapped_as(place.admin(), &place.name, format).await;
    let mut guards = Vec::new();
    for n in 0..10 {
        let lock = client.lock(&format!("n{n}"));
        guards.push(timeout(Duration::from_secs(20), lock.acquire()).await.unwrap().unwrap());
    }
    sleep(Duration::from_millis(500)).await;
    assert_eq!((seen.open(), seen.most()), (1, 1));
    let sent = seen.take();
    assert!(sent.iter().filter(|s| tap::is_watch(s)).all(|s| s.contains("fieldSelector")));
    for guard in guards {
        give_back(guard).await;
    }
}

#[tokio::test]
async fn who_may_watch_only_his_own_names_has_a_watch_for_each() {
    let place = Place::new();
    let leases = "apiGroups: [coordination.k8s.io], resources: [leases]";
    let account = place.account(&format!(
        "- {{{leases}, verbs: [create]}}\n\
         - {{{leases}, resourceNames: [a, b, c], verbs: [get, watch, update]}}\n"
    ));
    let other = place.other().await;
    let (client, seen) = tapped(account, &place.name).await;
    // One that may be created and nothing else: that it is not watched is no matter of the others.
    let stranger = take(&client, "d").await;
    sleep(Duration::from_millis(300)).await;
    drop((stranger, seen.take()));
    let (a, b) = (take(&client, "a").await, take(&client, "b").await);
    assert!(waits_and_gets(&other, &client, "c").await < Duration::from_millis(500));
    let sent = seen.take();
    let wide = |s: &&String| tap::is_watch(s) && !s.contains("fieldSelector");
    assert_eq!(sent.iter().filter(wide).count(), 1, "asked once: {sent:#?}");
    assert_eq!(seen.open(), 2);
    give_back(a).await;
    give_back(b).await;
}

#[tokio::test]
async fn who_may_not_watch_looks_every_few_seconds() {
    let place = Place::new();
    let rule = "- {apiGroups: [coordination.k8s.io], resources: [leases], \
                verbs: [create, get, update]}\n";
    let other = place.other().await;
    let (client, seen) = tapped(place.account(rule), &place.name).await;
    let took = waits_and_gets(&other, &client, "looked-at").await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    let sent = seen.take();
    assert_eq!(watches(&sent), 1, "asked once: {sent:#?}");
    assert!(sent.len() < 9, "{sent:#?}");
}

#[tokio::test]
async fn what_cuts_off_watches_is_found_out() {
    let place = Place::new();
    let other = place.other().await;
    let (client, seen) = tapped(place.admin(), &place.name).await;
    seen.spoil_all(Spoilt::Cut);
    let took = waits_and_gets(&other, &client, "cut-off").await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    let sent = seen.take();
    assert!(watches(&sent) <= 6 && sent.len() < 16, "{sent:#?}");
}

/// Waits for a lock that another holds, by watches that are spoilt like this.
async fn passes(place: &Place, name: &'static str, spoilt: &[Spoilt]) -> (Duration, Vec<String>) {
    let other = place.other().await;
    let (client, seen) = tapped(place.admin(), &place.name).await;
    Seen::spoil(&seen, spoilt);
    let took = waits_and_gets(&other, &client, name).await;
    client.close().await;
    (took, seen.take())
}

#[tokio::test]
async fn a_watch_is_resumed_where_it_was_cut_off() {
    let place = Place::new();
    let soon = Duration::from_millis(700);
    let (took, sent) = passes(&place, "cut", &[Spoilt::After(3)]).await;
    assert!(took < soon, "{took:?}");
    let resumed = |s: &&String| tap::is_watch(s) && s.contains("resourceVersion=");
    assert_eq!(sent.iter().filter(resumed).count(), 1, "{sent:#?}");
    let (took, sent) = passes(&place, "broken", &[Spoilt::Breaks(3)]).await;
    assert!(took < soon, "{took:?}");
    assert_eq!(sent.iter().filter(resumed).count(), 1, "{sent:#?}");
    for too_old in [Spoilt::TooOld, Spoilt::Refused(410)] {
        let (took, sent) = passes(&place, "old", &[Spoilt::After(3), too_old]).await;
        assert!(took < soon, "{too_old:?}: {took:?}");
        let begun = sent.iter().filter(|s| s.contains("sendInitialEvents")).count();
        assert_eq!(begun, 2, "{too_old:?}: {sent:#?}");
    }
}

#[tokio::test]
async fn a_watch_that_says_nothing_is_survived() {
    let place = Place::new();
    let other = place.other().await;
    let (client, seen) = tapped(place.admin(), &place.name).await;
    seen.spoil_all(Spoilt::Silent);
    // The expiry is the net: what was heard last is tried to be taken, and the conflict is the read.
    let took = waits_and_gets(&other, &client, "silent").await;
    assert!(took < TTL.mul_f64(1.2), "{took:?}");
    let sent = seen.take();
    assert!(sent.len() < 14, "{sent:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_took_no_longer_than_since_the_last_one() {
    let place = Place::new();
    let client = place.other().await;
    let mut events = client.events();
    let guard = take(&client, "renewed").await;
    let mut last = None;
    for _ in 0..6 {
        let (at, took) = loop {
            let event = timeout(TTL, events.next()).await.unwrap().unwrap();
            if let EventKind::Renewed { took, .. } = event.kind {
                break (event.at, took);
            }
        };
        // It was sent after the last one was known to be done, whether the answer or the watch said so.
        if let Some(last) = last.replace(at) {
            assert!(took <= at.since(last), "{took:?}, {:?} after the last", at.since(last));
        }
    }
    give_back(guard).await;
}
