//! Virtual time for the async client: one thread, a clock moved by hand, faults by seed.

#![allow(dead_code, reason = "each test uses a part")]

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tenure::Client;
use tenure::store::{BoxFuture, Liveness, Memory, Store};
use tenure::testing::ManualClock;
use tenure_testkit::{Fate, Faulty, Request, Rng, World};

/// Everything a run needs.
pub(crate) struct Sim {
    pub(crate) clock: ManualClock,
    pub(crate) memory: Memory,
    fates: Arc<Mutex<Fates>>,
}

type Fates = Box<dyn FnMut(Request) -> Fate + Send>;

/// Time and tasks for the store with faults.
#[derive(Debug)]
struct Tasks(ManualClock);

impl World for Tasks {
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.0.sleep(time))
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
}

impl Sim {
    pub(crate) fn new(liveness: Liveness) -> Self {
        let fates: Fates = Box::new(|_| Fate::FINE);
        let (clock, memory) = (ManualClock::new(), Memory::new(liveness));
        Self { clock, memory, fates: Arc::new(Mutex::new(fates)) }
    }

    /// From now on requests of the faulty clients end so.
    pub(crate) fn fates(&self, fates: impl FnMut(Request) -> Fate + Send + 'static) {
        *self.fates.lock().unwrap() = Box::new(fates);
    }

    /// A client whose requests have fates.
    pub(crate) fn faulty(&self) -> Client {
        let world = Arc::new(Tasks(self.clock.clone()));
        let fates = Arc::clone(&self.fates);
        let fate = move |request| (fates.lock().unwrap())(request);
        let store = Faulty::new(Arc::new(self.memory.open()), world, fate);
        Client::with_clock(Arc::new(store), &self.clock)
    }

    /// A client of another program, to which nothing bad happens.
    pub(crate) fn other(&self) -> Client {
        let store: Arc<dyn Store> = Arc::new(self.memory.open());
        Client::with_clock(store, &self.clock)
    }

    /// Lets every task run until nothing is left to do at this instant.
    pub(crate) async fn settle(&self) {
        for _ in 0..24 {
            tokio::task::yield_now().await;
        }
    }

    /// Moves time to the next thing that happens, or by `most`.
    pub(crate) fn step(&self, most: Duration) {
        let next = self.clock.next_alarm().unwrap_or(most).min(most);
        self.clock.advance(next.max(Duration::from_nanos(1)));
    }

    /// Lets so much time pass, with everything that happens in it.
    pub(crate) async fn pass(&self, time: Duration) {
        let end = self.clock.elapsed() + time;
        loop {
            self.settle().await;
            let left = end.saturating_sub(self.clock.elapsed());
            if left.is_zero() {
                return;
            }
            self.step(left);
        }
    }

    /// What `future` comes to within `limit` of virtual time.
    pub(crate) async fn within<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        let end = self.clock.elapsed() + limit;
        loop {
            for _ in 0..24 {
                if let Poll::Ready(output) = poll_once(future.as_mut()).await {
                    return Some(output);
                }
                tokio::task::yield_now().await;
            }
            let left = end.saturating_sub(self.clock.elapsed());
            if left.is_zero() {
                return None;
            }
            self.step(left);
        }
    }
}

/// Polls once, with this task's waker.
pub(crate) async fn poll_once<F: Future + ?Sized>(
    mut future: std::pin::Pin<&mut F>,
) -> Poll<F::Output> {
    std::future::poll_fn(|cx: &mut Context<'_>| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Runs one simulation on a runtime of its own.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// One of the things that go wrong on the way to a store and back.
pub(crate) fn some_fate(rng: &mut Rng, longest: Duration) -> Fate {
    let (a, b) = (rng.time(longest), rng.time(longest));
    match rng.below(8) {
        0 => Fate::FINE,
        1 | 2 => Fate::Answered(a, b),
        3 | 4 => Fate::Lost(a, b),
        5 => Fate::Refused(a),
        6 => Fate::Silent(a),
        _ => Fate::Stalled,
    }
}
