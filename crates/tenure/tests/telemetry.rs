//! Metrics and tracing are what the guide says, no more and no less.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use tenure::testing::TestStore;
use tenure::{Client, Lost};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};

const GUIDE: &str = include_str!("../src/guide/metrics.md");
const SECOND: Duration = Duration::from_secs(1);

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// The words in backticks in the first column of the guide's tables under a heading.
fn documented(heading: &str) -> BTreeMap<String, String> {
    let section = GUIDE.split(&format!("\n{heading}\n")).nth(1).unwrap();
    let section = section.split("\n# ").find(|part| part.contains("\n| `")).unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.strip_suffix('`')?.to_owned();
        Some((name, cells.next()?.to_owned()))
    };
    section.lines().filter_map(row).collect()
}

/// Everything that happens to one lock after another.
async fn story(store: &TestStore, client: &Client) {
    let guard = client.lock("a").acquire().await.unwrap();
    let lock = client.lock("a");
    let (waited, ()) = tokio::join!(lock.acquire_timeout(SECOND), store.pass(SECOND));
    drop(waited.unwrap_err());
    store.pass(5 * SECOND).await;
    let _ = guard.release().await.unwrap();
    // Tried again while nobody answers, and then lost.
    let guard = client.lock("b").acquire().await.unwrap();
    store.fail_next(2);
    store.pass(5 * SECOND).await;
    store.expire("b").await;
    drop(guard);
    for (lock, cause) in [
        ("c", Lost::Freed),
        ("d", Lost::Deleted),
        ("e", Lost::Replaced { by: "somebody".to_owned() }),
    ] {
        let _guard = client.lock(lock).acquire().await.unwrap();
        store.lose(lock, cause).await;
    }
    store.settle().await;
}

/// The last value, or the sum, or all values, as text.
#[derive(Clone, Debug, Default)]
struct Values(Arc<Mutex<Vec<f64>>>);

impl Values {
    fn all(&self) -> Vec<f64> {
        self.0.lock().unwrap().clone()
    }

    fn last(&self) -> f64 {
        self.all().last().copied().unwrap_or(0.0)
    }

    fn push(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}

impl CounterFn for Values {
    fn increment(&self, value: u64) {
        self.push(self.last() + f64::from(u32::try_from(value).unwrap()));
    }
    fn absolute(&self, value: u64) {
        self.push(f64::from(u32::try_from(value).unwrap()));
    }
}

impl GaugeFn for Values {
    fn increment(&self, value: f64) {
        self.push(self.last() + value);
    }
    fn decrement(&self, value: f64) {
        self.push(self.last() - value);
    }
    fn set(&self, value: f64) {
        self.push(value);
    }
}

impl HistogramFn for Values {
    fn record(&self, value: f64) {
        self.push(value);
    }
}

/// Keeps what it is given, by `name lock cause`.
#[derive(Debug, Default)]
struct Kept {
    values: Mutex<BTreeMap<String, Values>>,
    described: Mutex<BTreeSet<String>>,
}

impl Kept {
    fn of(&self, key: &Key) -> Arc<Values> {
        let mut text = key.name().to_owned();
        for label in key.labels() {
            assert!(["lock", "cause"].contains(&label.key()));
            let _ = write!(text, " {}", label.value());
        }
        Arc::new(self.values.lock().unwrap().entry(text).or_default().clone())
    }

    fn get(&self, key: &str) -> Vec<f64> {
        self.values.lock().unwrap().get(key).map_or_else(Vec::new, Values::all)
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.described.lock().unwrap().insert(format!("{} counter", name.as_str()));
    }
    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.described.lock().unwrap().insert(format!("{} gauge", name.as_str()));
    }
    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.described.lock().unwrap().insert(format!("{} histogram", name.as_str()));
    }
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.of(key))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.of(key))
    }
}

/// A place in the code that tells something decides once whether anybody listens: in two threads at
/// once, one without a listener, it may come to no.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn metrics_are_those_of_the_guide_with_the_values_it_says() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = Kept::default();
    metrics::with_local_recorder(&kept, || {
        run(async {
            let store = TestStore::new();
            let (silent, client) = (store.client(), store.client());
            let before = client.lock("before").acquire().await.unwrap();
            client.record_metrics();
            client.record_metrics();
            // Neither what another client does nor what began before is counted.
            drop(silent.lock("silent").acquire().await.unwrap());
            drop(before);
            story(&store, &client).await;
        });
    });
    let table = documented("# Metrics");
    let described: BTreeSet<_> =
        table.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
    assert_eq!(*kept.described.lock().unwrap(), described);
    let recorded: BTreeSet<_> = (kept.values.lock().unwrap().keys())
        .map(|key| key.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(recorded, table.keys().cloned().collect());

    assert_eq!(kept.get("tenure_held a"), [1.0, 0.0]);
    assert_eq!(kept.get("tenure_held before"), [] as [f64; 0]);
    assert_eq!(kept.get("tenure_held silent"), [] as [f64; 0]);
    assert_eq!(kept.get("tenure_waiters a"), [1.0, 0.0]);
    assert_eq!(kept.get("tenure_given_up_total a"), [1.0]);
    assert_eq!(kept.get("tenure_acquire_wait_seconds a"), [0.0]);
    assert_eq!(kept.get("tenure_hold_seconds a"), [6.0]);
    assert_eq!(kept.get("tenure_renew_seconds a"), [0.0]);
    assert_eq!(kept.get("tenure_time_to_expiry_seconds a"), [14.1, 14.1]);
    let failing = kept.get("tenure_time_to_expiry_seconds b");
    assert!(failing.iter().any(|left| *left < 5.0), "{failing:?}");
    assert!(kept.get("tenure_renew_failures_total b").len() > 2);
    assert_eq!(kept.get("tenure_held b"), [1.0, 0.0]);
    for (lock, cause) in [("b", "deadline"), ("c", "freed"), ("d", "deleted"), ("e", "replaced")] {
        assert_eq!(kept.get(&format!("tenure_losses_total {lock} {cause}")), [1.0]);
    }
}

/// Keeps messages with their level and span, and how many spans are open.
#[derive(Clone, Debug, Default)]
struct Heard(Arc<Mutex<Journal>>);

#[derive(Debug, Default)]
struct Journal {
    told: Vec<(String, String, String)>,
    spans: BTreeMap<u64, (&'static str, u32)>,
    last: u64,
}

struct Message(String);

impl tracing::field::Visit for Message {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl Subscriber for Heard {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "tenure"
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut journal = self.0.lock().unwrap();
        journal.last += 1;
        let number = journal.last;
        journal.spans.insert(number, (span.metadata().name(), 1));
        Id::from_u64(number)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let mut journal = self.0.lock().unwrap();
        let span = event.parent().and_then(|id| journal.spans.get(&id.into_u64()));
        let span = span.map_or("", |(name, _)| name).to_owned();
        let level = event.metadata().level().to_string().to_lowercase();
        journal.told.push((message.0, level, span));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
    fn clone_span(&self, id: &Id) -> Id {
        self.0.lock().unwrap().spans.get_mut(&id.into_u64()).unwrap().1 += 1;
        id.clone()
    }
    fn try_close(&self, id: Id) -> bool {
        let mut journal = self.0.lock().unwrap();
        let count = &mut journal.spans.get_mut(&id.into_u64()).unwrap().1;
        *count -= 1;
        *count == 0
    }
}

#[test]
fn tracing_tells_what_the_guide_says_in_spans_that_end() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let heard = Heard::default();
    tracing::subscriber::with_default(heard.clone(), || {
        run(async {
            let store = TestStore::new();
            let client = store.client();
            story(&store, &client).await;
        });
    });
    let journal = heard.0.lock().unwrap();
    let told: BTreeMap<_, _> =
        journal.told.iter().map(|(message, level, _)| (message.clone(), level.clone())).collect();
    assert_eq!(told, documented("# Tracing"));
    for (message, _, span) in &journal.told {
        let wait = ["waiting", "gave up"].contains(&message.as_str());
        assert_eq!(span, if wait { "wait" } else { "hold" }, "{message}");
    }
    assert_eq!(journal.spans.len(), 6, "one wait, five holds");
    assert!(journal.spans.values().all(|(_, open)| *open == 0), "{:?}", journal.spans);
}
