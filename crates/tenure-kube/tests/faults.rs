//! What each thing that goes wrong between a store and its server comes to: its own clear outcome.
//!
//! Owns the table of faults and outcomes. Time is paused, so that what hangs is waited for in no time.
//! What a hold makes of these outcomes is tested where claims are driven.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;
use tenure_core::{Change, Holder, Mark, Session, Term, Token, Wall};
use tenure_kube::{Format, KubeStore, Object};
use tenure_store::{Conditional, Error, Name, Snapshot, Store, Stored};
use tenure_testkit::api::{Fate, Road, Rule, Server, User};
use tokio::time::{sleep, timeout};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

struct Bench {
    server: Server,
    road: Road,
    store: KubeStore,
    name: Name,
}

impl Bench {
    fn new() -> Self {
        Self::with(Format::Lease, "default")
    }

    fn with(format: Format, namespace: &str) -> Self {
        let server = Server::new();
        let road = Road::new(&server, "admin");
        let store = KubeStore::with_format(road.client(), namespace, format).unwrap();
        Self { server, road, store, name: Name::new("a").unwrap() }
    }

    async fn read(&self) -> tenure_store::Result<Snapshot> {
        self.store.read(&self.name).await
    }

    async fn take(&self, mark: u128) -> tenure_store::Result<Conditional<Stored>> {
        self.store.write_if(&self.name, None, &taking(mark)).await
    }

    /// What becomes of the next writes.
    fn writes(&self, fates: impl IntoIterator<Item = Fate>) {
        self.road.next(|request| request.method != "GET", fates);
    }

    fn all(&self, fates: impl IntoIterator<Item = Fate>) {
        self.road.next(|_| true, fates);
    }

    fn put(&self, path: &str, object: &serde_json::Value) {
        let (code, answer) = self.server.admin("POST", path, object.to_string().into_bytes());
        assert_eq!(code, 201, "{answer}");
    }
}

fn taking(mark: u128) -> Change {
    let since = Wall::from_micros(1_790_000_000_000_000);
    let holder = Holder {
        id: "me".into(),
        mark: Mark::from_u128(mark),
        session: Session::NONE,
        token: Token::default(),
        term: Term::Ttl(Duration::from_secs(15)),
        ticket: 0,
        since,
        renewed: since,
        stamp: tenure_core::Time::ZERO,
    };
    Change::Take { holder, ended: None, strike: Vec::new(), tags: Vec::new() }
}

fn done<T>(answer: tenure_store::Result<Conditional<T>>) -> T {
    match answer.unwrap() {
        Conditional::Done(done) => done,
        Conditional::Conflict => panic!("a conflict"),
    }
}

#[track_caller]
fn says(error: &Error, words: &[&str]) {
    let text = error.to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_left_alone_for_as_long_as_it_asks() {
    let bench = Bench::new();
    bench.all([Fate::Refused(429, Some(1))]);
    let error = bench.take(1).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    says(&error, &["429", "busy"]);
    assert_eq!(bench.road.asked().len(), 1);
    // Nothing is sent meanwhile, whatever it is.
    sleep(Duration::from_millis(900)).await;
    let error = bench.read().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    says(&error, &["left alone for 100ms"]);
    says(&bench.take(1).await.unwrap_err(), &["left alone"]);
    assert_eq!(bench.road.asked(), []);
    sleep(Duration::from_millis(101)).await;
    done(bench.take(1).await);
    // Whoever asks for an hour is asked again in time to keep a hold.
    bench.all([Fate::Refused(429, Some(3600))]);
    bench.read().await.unwrap_err();
    sleep(Duration::from_millis(5001)).await;
    bench.read().await.unwrap();
    // And who says no time is not left alone.
    bench.all([Fate::Refused(429, None)]);
    bench.read().await.unwrap_err();
    bench.read().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_failed_may_have_written() {
    for code in [500, 502, 503, 504] {
        let bench = Bench::new();
        bench.all([Fate::Refused(code, None), Fate::Refused(code, None)]);
        let error = bench.take(1).await.unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown(_)), "{code}: {error:?}");
        says(&error, &[&code.to_string()]);
        let error = bench.read().await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{code}: {error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_leaves_a_write_in_doubt() {
    for (fate, there) in [(Fate::LostReply, true), (Fate::Lost, false)] {
        let bench = Bench::new();
        bench.writes([fate]);
        let error = bench.take(1).await.unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown(_)), "{error:?}");
        // What is read tells by its mark.
        let read = bench.read().await.unwrap();
        let mark = read.stored().and_then(|s| s.record.holder.as_ref().map(|h| h.mark));
        assert_eq!(mark, there.then(|| Mark::from_u128(1)));
    }
}

#[tokio::test(start_paused = true)]
async fn where_nobody_listens_nothing_was_written() {
    let bench = Bench::new();
    bench.road.down(true);
    let error = bench.take(1).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    says(&error, &["nobody listens"]);
    bench.road.down(false);
    done(bench.take(1).await);
}

#[tokio::test(start_paused = true)]
async fn a_half_open_connection_is_given_up_by_whoever_waits() {
    let bench = Bench::new();
    let long = Duration::from_secs(3600);
    bench.writes([Fate::Stalled, Fate::Silent]);
    assert!(timeout(long, bench.take(1)).await.is_err());
    assert!(bench.read().await.unwrap().stored().is_none());
    assert!(timeout(long, bench.take(2)).await.is_err());
    let read = bench.read().await.unwrap();
    assert_eq!(read.stored().unwrap().record.holder.as_ref().unwrap().mark, Mark::from_u128(2));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_delivered_twice_is_done_once() {
    let bench = Bench::new();
    bench.writes([Fate::Twice(Duration::from_secs(1))]);
    let stored = done(bench.take(1).await);
    sleep(Duration::from_secs(2)).await;
    let read = bench.read().await.unwrap();
    assert_eq!(read.stored().unwrap().version, stored.version);
}

#[tokio::test(start_paused = true)]
async fn a_race_that_was_lost_is_a_conflict() {
    let bench = Bench::new();
    let other = json!({"metadata": {"name": "a"}, "spec": {"holderIdentity": "other"}});
    bench.put(LEASES, &other);
    assert!(matches!(bench.take(1).await, Ok(Conditional::Conflict)));
    let Snapshot::Is(judged) = bench.read().await.unwrap() else { panic!("absent") };
    bench.server.admin("DELETE", &format!("{LEASES}/a"), Vec::new());
    let change = judged_change();
    let write = || bench.store.write_if(&bench.name, Some(&judged), &change);
    assert!(matches!(write().await, Ok(Conditional::Conflict)));
    bench.put(LEASES, &other);
    assert!(matches!(write().await, Ok(Conditional::Conflict)));
}

/// Takes what another holds, as expired.
fn judged_change() -> Change {
    match taking(2) {
        Change::Take { holder, .. } => Change::Take {
            holder,
            ended: Some(tenure_core::End::Expired),
            strike: Vec::new(),
            tags: Vec::new(),
        },
        change => change,
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_named() {
    // A namespace.
    let bench = Bench::with(Format::Lease, "nowhere");
    assert!(bench.read().await.unwrap().stored().is_none());
    let error = bench.take(1).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    says(&error, &["namespaces \"nowhere\" not found", "create it or name another"]);
    // The object that an annotation is to stand on.
    let on = |resource| Format::Annotation(Object::new(resource, "target").unwrap());
    let bench = Bench::with(on("v1/configmaps"), "default");
    let error = bench.take(1).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    says(&error, &["configmaps \"target\" not found"]);
    // A resource whose CRD is not installed, until it is.
    let bench = Bench::with(on("example.org/v1/things"), "default");
    let error = bench.take(1).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    says(&error, &["things.example.org", "install"]);
    let things = tenure_testkit::api::Resource::custom("example.org", "things", "Thing", true);
    bench.server.install(things);
    let target = json!({"metadata": {"name": "target"}, "spec": {"kept": [1, {"as": "it is"}]}});
    bench.put("/apis/example.org/v1/namespaces/default/things", &target);
    done(bench.take(1).await);
    let path = "/apis/example.org/v1/namespaces/default/things/target";
    assert_eq!(bench.server.admin("GET", path, Vec::new()).1["spec"], target["spec"]);
}

#[tokio::test(start_paused = true)]
async fn who_is_not_known_or_may_not_is_told_what_to_do() {
    let bench = Bench::new();
    bench.server.user(User::with("poor", Vec::new()));
    bench.road.token("poor");
    let error = bench.take(1).await.unwrap_err();
    assert!(matches!(error, Error::Denied(_)), "{error:?}");
    let needs = ["`create`", "leases.coordination.k8s.io", "namespace default", "tenure rbac"];
    says(&error, &needs);
    says(&bench.read().await.unwrap_err(), &["`get`", "tenure rbac"]);
    let rule = Rule {
        verbs: vec!["get", "create", "update", "watch"],
        group: "coordination.k8s.io".into(),
        resource: "leases".into(),
        namespace: "default".into(),
        names: Vec::new(),
    };
    bench.server.user(User::with("poor", vec![rule]));
    done(bench.take(1).await);
    // A token that was rotated, and the one after it.
    bench.server.revoke("poor");
    let error = bench.read().await.unwrap_err();
    assert!(matches!(error, Error::Denied(_)), "{error:?}");
    says(&error, &["401", "renew the credentials"]);
    bench.road.token("admin");
    bench.read().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_no_number_gives_no_token() {
    let bench = Bench::new();
    bench.server.odd_versions(Some("v-"));
    let error = bench.take(1).await.unwrap_err();
    // It was written; that it can be no hold is known from the answer.
    assert!(matches!(error, Error::OutcomeUnknown(_)), "{error:?}");
    says(&error, &["resourceVersion"]);
    let error = bench.read().await.unwrap_err();
    assert!(matches!(error, Error::Damaged(_)), "{error:?}");
    says(&error, &["resourceVersion", "v-"]);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_is_never_free() {
    let odd = [
        json!({"holderIdentity": 7}),
        json!({"holderIdentity": "x", "leaseDurationSeconds": "long"}),
        json!({"holderIdentity": "x", "renewTime": "yesterday", "leaseDurationSeconds": 15}),
        json!([]),
    ];
    for spec in odd {
        let bench = Bench::new();
        bench.put(LEASES, &json!({"metadata": {"name": "a"}, "spec": spec}));
        match bench.read().await {
            Err(error) => assert!(matches!(error, Error::Damaged(_)), "{spec}: {error:?}"),
            Ok(read) => {
                let record = &read.stored().unwrap().record;
                assert!(record.holder.is_some(), "{spec} is read as free");
            }
        }
        assert!(matches!(bench.take(1).await, Ok(Conditional::Conflict)), "{spec}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_whatever_cuts_it() {
    for as_status in [false, true] {
        let bench = Bench::new();
        bench.server.gone_as_status(as_status);
        done(bench.take(1).await);
        let mut watch = bench.store.watch(&bench.name);
        let mut last = watch.next().await.unwrap().unwrap().revision();
        for round in 0..3 {
            // Cut, and what it stood at is forgotten; changed while nobody was told.
            bench.road.down(true);
            let path = format!("{LEASES}/a");
            let patch = json!({"metadata": {"labels": {"round": round.to_string()}}});
            bench.server.admin("PATCH", &path, patch.to_string().into_bytes());
            bench.server.compact();
            bench.road.down(false);
            let news = timeout(Duration::from_secs(30), next(&bench, &mut watch)).await.unwrap();
            assert!(news > last, "round {round}: {news} after {last}");
            last = news;
        }
    }
}

/// What a watch tells next; one that ended with an error is begun again, as a claim does.
async fn next(bench: &Bench, watch: &mut tenure_store::Watch) -> u64 {
    loop {
        match watch.next().await {
            Some(Ok(news)) => return news.revision(),
            _ => {
                sleep(Duration::from_millis(100)).await;
                *watch = bench.store.watch(&bench.name);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_falls_silent_is_not_waited_for_for_ever() {
    let bench = Bench::new();
    done(bench.take(1).await);
    bench.road.next(|request| request.path.contains("watch=true"), [Fate::Silent]);
    let mut watch = bench.store.watch(&bench.name);
    // What stands there is told although the watch says nothing.
    let first = timeout(Duration::from_secs(15), next(&bench, &mut watch)).await.unwrap();
    let path = format!("{LEASES}/a");
    bench.server.admin("PATCH", &path, br#"{"metadata":{"labels":{"l":"1"}}}"#.to_vec());
    let then = timeout(Duration::from_secs(120), next(&bench, &mut watch)).await.unwrap();
    assert!(then > first);
}

/// As behind something that keeps an answer back until it is whole.
#[tokio::test(start_paused = true)]
async fn where_no_watch_ever_says_anything_it_is_looked_every_few_seconds() {
    let bench = Bench::new();
    done(bench.take(1).await);
    bench.road.decide(|request| match request.path.contains("watch=true") {
        true => Fate::Silent,
        false => Fate::Answered(Duration::ZERO, Duration::ZERO),
    });
    let mut watch = bench.store.watch(&bench.name);
    let mut last = timeout(Duration::from_secs(5), next(&bench, &mut watch)).await.unwrap();
    for round in 0..30 {
        let patch = json!({"metadata": {"labels": {"round": round.to_string()}}});
        let path = format!("{LEASES}/a");
        bench.server.admin("PATCH", &path, patch.to_string().into_bytes());
        let news = timeout(Duration::from_secs(5), next(&bench, &mut watch)).await.unwrap();
        assert!(news > last, "round {round}: {news} after {last}");
        last = news;
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_not_stuck_in_a_read_that_is_not_answered() {
    let bench = Bench::new();
    done(bench.take(1).await);
    // The watch is slow to begin, so what stands there is read; that is never answered.
    let mut first = true;
    bench.road.decide(move |request| {
        if !request.path.contains("watch=true") {
            return Fate::Stalled;
        }
        let slow = std::mem::take(&mut first);
        let late = Duration::from_secs(if slow { 2 } else { 0 });
        Fate::Answered(late, Duration::ZERO)
    });
    let mut watch = bench.store.watch(&bench.name);
    timeout(Duration::from_secs(30), next(&bench, &mut watch)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_watch_tells_is_heard_while_a_read_is_not_answered() {
    let bench = Bench::new();
    done(bench.take(1).await);
    let second = Duration::from_secs(1);
    // Reads are never answered, and the first watch is so slow to begin that one is tried.
    let mut first = true;
    bench.road.decide(move |request| {
        if !request.path.contains("watch=true") {
            return Fate::Stalled;
        }
        let late = if std::mem::take(&mut first) { 2 * second } else { Duration::ZERO };
        Fate::Answered(late, Duration::ZERO)
    });
    let mut watch = bench.store.watch(&bench.name);
    timeout(3 * second, watch.next()).await.unwrap().unwrap().unwrap();
    // Who comes later has to look, since the watch has told already what stands there.
    let mut later = bench.store.watch(&bench.name);
    assert!(timeout(second, later.next()).await.is_err());
    let path = format!("{LEASES}/{}", bench.name);
    assert_eq!(bench.server.admin("DELETE", &path, Vec::new()).0, 200);
    for watch in [&mut watch, &mut later] {
        let told = timeout(second, watch.next()).await.unwrap().unwrap().unwrap();
        assert!(told.stored().is_none(), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_watch_is_neither_cut_nor_asked_again() {
    let bench = Bench::new();
    done(bench.take(1).await);
    let mut watch = bench.store.watch(&bench.name);
    watch.next().await.unwrap().unwrap();
    let _ = bench.road.asked();
    // The server cuts it off every five minutes, as asked to; that is all that is sent in an hour.
    assert!(timeout(Duration::from_secs(3600), watch.next()).await.is_err());
    let asked = bench.road.asked();
    assert!((11..=13).contains(&asked.len()), "{asked:?}");
    assert!(asked.iter().all(|(_, path)| path.contains("resourceVersion=")), "{asked:?}");
}
