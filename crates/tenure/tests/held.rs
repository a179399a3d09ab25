//! What a held lock costs: memory, timers, allocations.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/sim.rs"]
mod sim;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use sim::Sim;
use tenure::store::Liveness;
use tenure_testkit::{Fate, Request};

const LOCKS: u64 = 10_000;

/// What `future` allocates, on this thread, which is the only one.
fn count(runtime: &tokio::runtime::Runtime, future: impl Future<Output = ()>) -> AllocationInfo {
    // In a build for tests, a runtime boxes what is large before it runs it.
    let mut future = Box::pin(future);
    measure(|| runtime.block_on(future.as_mut()))
}

#[test]
fn ten_thousand_holds_take_less_than_two_kib_each_and_wake_only_to_renew() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let sim = Sim::new(Liveness::Observed);
    let client = sim.other();
    let mut guards = Vec::with_capacity(10_000);
    let counted = count(&runtime, async {
        for n in 0..LOCKS {
            guards.push(client.lock(&format!("lock {n}")).acquire().await.unwrap());
        }
        // The keeper has seen to each: watches and timers are set.
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
    });
    let each = counted.bytes_current / i64::try_from(LOCKS).unwrap();
    assert!(each < 2_048, "{each} bytes for each hold");
    println!("{each} bytes for each hold");
    // Three renewals of each, and no wake-up besides.
    let (mut wakes, renewals) = (0, 3);
    runtime.block_on(async {
        let end = sim.clock.elapsed() + Duration::from_millis(15_100);
        while let Some(next) = sim.clock.next_alarm()
            && sim.clock.elapsed() + next <= end
        {
            wakes += 1;
            sim.clock.advance(next);
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
        }
    });
    assert_eq!(wakes, renewals, "all begin at one instant, so all renewals come together");
    for guard in &guards {
        assert!(guard.deadline().unwrap().remaining() > Duration::from_secs(14));
    }
}

#[test]
fn a_hold_asks_the_store_only_to_renew() {
    sim::run(async {
        let sim = Sim::new(Liveness::Observed);
        let asked = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&asked);
        sim.fates(move |request| {
            if request != Request::Watch && request != Request::Session {
                count.fetch_add(1, Ordering::Relaxed);
            }
            Fate::FINE
        });
        let client = sim.faulty();
        let lock = client.lock("x");
        let guard = sim.within(Duration::ZERO, lock.acquire()).await.unwrap().unwrap();
        assert_eq!(asked.swap(0, Ordering::Relaxed), 1, "one write: that there is none is tried");
        sim.pass(Duration::from_millis(50_100)).await;
        assert_eq!(asked.swap(0, Ordering::Relaxed), 10, "one write to renew, every 5 s");
        let _ = sim.within(Duration::ZERO, guard.release()).await.unwrap().unwrap();
        assert_eq!(asked.swap(0, Ordering::Relaxed), 1, "one write");
        let guard = sim.within(Duration::ZERO, lock.acquire()).await.unwrap().unwrap();
        assert_eq!(asked.swap(0, Ordering::Relaxed), 1, "one write: the record is known");
        drop(guard);
    });
}

#[test]
fn acquire_and_release_allocate_this_much() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let client = runtime.block_on(tenure::connect("memory:")).unwrap();
    let lock = client.lock("x");
    let pair = || async {
        let guard = lock.acquire().await.unwrap();
        let _ = guard.release().await.unwrap();
    };
    for _ in 0..100 {
        runtime.block_on(pair());
    }
    let eight = || async {
        for _ in 0..8 {
            pair().await;
        }
    };
    let counted = count(&runtime, eight());
    // Seat and status; two writes with two futures and a record each; what is added to the past of
    // the record, which is put together every eighth time, in two parts.
    assert_eq!(counted.count_total, 8 * 9 + 2, "{counted:?}");
    assert_eq!(counted.count_current, 0, "{counted:?}");
}
