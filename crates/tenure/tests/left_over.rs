//! What is left over: by a runtime that is gone, by a store that panicked, by a client that is closed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/sim.rs"]
mod sim;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sim::Sim;
use tenure::store::{Liveness, Memory};
use tenure::{Client, Error, Guard};
use tenure_testkit::{Fate, Request};

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Nobody renews it: then it is an error, or is known to be lost.
fn is_no_hold(told: Result<Guard, Error>) {
    if let Ok(guard) = told {
        let lost = poll(pin!(guard.lost()));
        assert!(lost.is_ready(), "nobody renews it, and it is valid: {:?}", guard.deadline());
    }
}

#[test]
fn what_is_acquired_on_a_runtime_that_is_gone_is_no_hold() {
    let sim = Sim::new(Liveness::Observed);
    let client = sim.other();
    let gone = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let handle = gone.handle().clone();
    gone.shutdown_background();
    is_no_hold(handle.block_on(client.lock("x").acquire()));
}

#[test]
fn who_waits_inside_a_runtime_and_gets_the_lock_outside_has_no_hold() {
    let sim = Sim::new(Liveness::Observed);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let theirs = runtime.block_on(sim.other().lock("x").acquire()).unwrap();
    let lock = sim.other().lock("x");
    let mut waits = pin!(lock.acquire());
    {
        let _inside = runtime.enter();
        assert!(poll(waits.as_mut()).is_pending());
    }
    let _ = runtime.block_on(theirs.release()).unwrap();
    for _ in 0..100 {
        if let Poll::Ready(told) = poll(waits.as_mut()) {
            return is_no_hold(told);
        }
        sim.clock.advance(Duration::from_millis(100));
    }
    panic!("it never got it");
}

#[test]
fn a_store_that_panics_is_not_kept_for_ever() {
    for panics in [false, true] {
        sim::run(async {
            let sim = Sim::new(Liveness::Observed);
            let here = Arc::new(());
            let (kept_by_the_store, mut writes) = (Arc::clone(&here), 0);
            sim.fates(move |request| {
                let _ = &kept_by_the_store;
                writes += u32::from(request == Request::Write);
                assert!(!panics || writes < 2, "of the store");
                Fate::FINE
            });
            let client = sim.faulty();
            drop(client.lock("x").acquire().await.unwrap());
            sim.settle().await;
            client.close().await;
            drop((client, sim));
            for _ in 0..24 {
                tokio::task::yield_now().await;
            }
            assert_eq!(Arc::strong_count(&here), 1, "panics: {panics}");
        });
    }
}

#[test]
fn what_a_runtime_kept_that_is_gone_stands_for_a_ttl_at_most() {
    let sim = Sim::new(Liveness::Observed);
    let client = sim.other();
    let gone = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let guard = gone.block_on(client.lock("x").acquire()).unwrap();
    drop(gone);
    sim::run(async {
        let _ = guard.release().await.unwrap();
        let lock = sim.other().lock("x");
        let told = sim.within(Duration::from_secs(60), lock.acquire()).await;
        assert!(told.is_some(), "nobody can take it");
    });
}

#[cfg(all(feature = "local", target_os = "linux"))]
#[tokio::test]
async fn a_closed_client_of_an_embedded_store_sends_away_whose_turn_it_was() {
    let folder = common::Folder::new();
    let client = tenure::connect(&folder.url()).await.unwrap();
    let lock = client.lock("x");
    let guard = lock.acquire().await.unwrap();
    let mut waits = pin!(lock.acquire());
    assert!(poll(waits.as_mut()).is_pending());
    drop(guard);
    client.close().await;
    let told = poll(waits.as_mut());
    assert!(matches!(told, Poll::Ready(Err(Error::Closed))), "{told:?}");
}

#[cfg(all(feature = "local", target_os = "linux"))]
#[tokio::test]
async fn a_closed_client_of_an_embedded_store_sends_away_who_waits_in_its_line() {
    let folder = common::Folder::new();
    let other = tenure::connect(&folder.url()).await.unwrap();
    let client = tenure::connect(&folder.url()).await.unwrap();
    let guard = other.lock("x").acquire().await.unwrap();
    let lock = client.lock("x");
    let mut waits = pin!(lock.acquire());
    assert!(poll(waits.as_mut()).is_pending());
    client.close().await;
    // Only now is it free.
    let _ = guard.release().await.unwrap();
    let told = poll(waits.as_mut());
    assert!(matches!(told, Poll::Ready(Err(Error::Closed))), "{told:?}");
}

#[tokio::test]
async fn a_closed_client_of_any_store_sends_away_whose_turn_it_was() {
    let client = Client::new(Arc::new(Memory::new(Liveness::Observed)));
    let lock = client.lock("x");
    let guard = lock.acquire().await.unwrap();
    let mut waits = pin!(lock.acquire());
    assert!(poll(waits.as_mut()).is_pending());
    let _ = guard.release().await.unwrap();
    client.close().await;
    let told = poll(waits.as_mut());
    assert!(matches!(told, Poll::Ready(Err(Error::Closed))), "{told:?}");
}
