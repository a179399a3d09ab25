//! One acquisition after the other through the same client: the contender of the last one is used
//! again, and nothing of the last one is.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/sim.rs"]
mod sim;

use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sim::Sim;
use tenure::store::{Liveness, Memory, Name, Snapshot, Store as _};
use tenure::{Attempt, Client, Error, Released};
use tenure_testkit::{Fate, Request};

const MS: fn(u64) -> Duration = Duration::from_millis;

#[test]
fn what_was_refused_before_holds_up_nobody() {
    for liveness in [Liveness::Observed, Liveness::Server, Liveness::Process] {
        sim::run(async {
            let sim = Sim::new(liveness);
            let client = sim.faulty();
            let lock = client.lock("x");
            drop(sim.within(MS(0), lock.acquire()).await.unwrap().unwrap());
            sim.settle().await;
            sim.fates(|r| match r {
                Request::Write => Fate::Refused(Duration::ZERO),
                _ => Fate::FINE,
            });
            assert!(sim.within(MS(0), lock.try_acquire()).await.unwrap().is_err());
            sim.settle().await;
            sim.fates(|_| Fate::FINE);
            let told = sim.within(MS(0), lock.try_acquire()).await;
            assert!(matches!(told, Some(Ok(_))), "{liveness:?}: {told:?}");
        });
    }
}

#[test]
fn a_task_of_a_local_set_without_a_runtime_is_outside_a_runtime() {
    let client = Client::new(Arc::new(Memory::new(Liveness::Observed)));
    let lock = client.lock("x");
    let local = tokio::task::LocalSet::new();
    let task = local.spawn_local(async move { lock.acquire().await });
    let mut local = pin!(local);
    assert!(local.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    let mut task = pin!(task);
    let told = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(told, Poll::Ready(Ok(Err(Error::Invalid(_))))), "{told:?}");
}

#[test]
fn who_closes_a_client_waits_for_an_acquisition_that_has_just_begun() {
    let sim = Sim::new(Liveness::Observed);
    let (entered, enters) = mpsc::channel();
    let go = Arc::new(Barrier::new(2));
    let (gate, mut first) = (Arc::clone(&go), true);
    sim.fates(move |request| {
        if matches!(request, Request::Write) && std::mem::take(&mut first) {
            entered.send(()).unwrap();
            gate.wait();
        }
        Fate::FINE
    });
    let client = sim.faulty();
    let theirs = client.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let task = runtime.spawn(async move { theirs.lock("x").acquire().await.map(drop) });
    enters.recv().unwrap();
    // Who is in its first poll is let go after a while, whether or not somebody waits for that.
    let closing = std::thread::spawn({
        let (client, handle) = (client.clone(), runtime.handle().clone());
        move || handle.block_on(client.close())
    });
    std::thread::sleep(MS(200));
    let waited = !closing.is_finished();
    go.wait();
    closing.join().unwrap();
    let told = runtime.block_on(task).unwrap();
    assert!(waited, "nobody waited for what came to {told:?}");
    // A program may end here.
    let left = runtime.block_on(client.show("x")).unwrap();
    assert!(left.holders.is_empty(), "{left:?}");
}

#[test]
fn holds_of_one_client_do_not_overlap_in_the_past_of_the_record() {
    let memory = Memory::new(Liveness::Observed);
    let client = Client::new(Arc::new(memory.open()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    let overlaps = Arc::new(AtomicU32::new(0));
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let (lock, memory) = (client.lock("x"), memory.open());
            let overlaps = Arc::clone(&overlaps);
            tasks.push(tokio::spawn(async move {
                for _ in 0..20_000 {
                    if let Attempt::Acquired(guard) = lock.try_acquire().await.unwrap() {
                        let name = Name::new("x").unwrap();
                        if let Snapshot::Is(s) = memory.read(&name).await.unwrap()
                            && let Some(h) = &s.record.holder
                            && let Some(p) = s.record.history.iter().next_back()
                            && p.until.as_micros() > h.since.as_micros()
                        {
                            overlaps.fetch_add(1, Ordering::Relaxed);
                        }
                        let _ = guard.release().await.unwrap();
                    }
                    tokio::task::yield_now().await;
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(overlaps.load(Ordering::Relaxed), 0);
}

#[test]
fn what_one_hold_says_is_not_said_by_the_next() {
    for liveness in [Liveness::Observed, Liveness::Server, Liveness::Process] {
        sim::run(async {
            let sim = Sim::new(liveness);
            let client = sim.other();
            let lock = client.lock("x");
            let mut guard = lock.acquire().await.unwrap();
            guard.tags_on_release(["a"]).unwrap();
            let _ = guard.release().await.unwrap();
            assert_eq!(client.show("x").await.unwrap().tags, ["a"]);
            let other = sim.other().lock("x").tags(["b"]).acquire().await.unwrap();
            let _ = other.release().await.unwrap();
            let _ = lock.acquire().await.unwrap().release().await.unwrap();
            assert_eq!(client.show("x").await.unwrap().tags, ["b"]);
            // Said to a hold that is over: of no use to the next.
            let (mut old, me) = (lock.acquire().await.unwrap(), lock.clone());
            if let Liveness::Observed = liveness {
                sim.clock.advance(Duration::from_secs(15));
                sim.settle().await;
                old.tags_on_release(["old"]).unwrap();
                let now = sim.within(Duration::from_secs(40), me.acquire()).await.unwrap().unwrap();
                old.tags_on_release(["old"]).unwrap();
                let _ = old.release().await.unwrap();
                assert!(!now.deadline().unwrap().is_past());
                assert_eq!(now.release().await.unwrap(), Released::Released);
                assert_eq!(client.show("x").await.unwrap().tags, ["b"]);
            }
        });
    }
}

#[test]
fn identity_and_ttl_are_those_of_each_handle() {
    sim::run(async {
        let sim = Sim::new(Liveness::Observed);
        let client = sim.other();
        let two = client.with_id("two").unwrap();
        let mut events = client.events();
        let (a, b) = (client.lock("x"), two.lock("x").ttl(Duration::from_secs(30)));
        for n in 0..3 {
            for lock in [&a, &b, &b, &a] {
                let guard = lock.acquire().await.unwrap();
                let info = client.show("x").await.unwrap();
                assert_eq!(info.holders[0].id, guard.id());
                let ttl = if guard.id() == "two" { 30 } else { 15 };
                let left = guard.deadline().unwrap().remaining();
                assert!(left > Duration::from_secs(ttl - 3), "{n} {left:?}");
                assert!(left < Duration::from_secs(ttl), "{n} {left:?}");
                sim.clock.advance(MS(100));
                let _ = guard.release().await.unwrap();
            }
        }
        drop((a, b, two, client));
        let mut said = Vec::new();
        while let Poll::Ready(Some(event)) = {
            let mut next = pin!(events.next());
            sim::poll_once(next.as_mut()).await
        } {
            said.push(format!("{event:?}"));
        }
        assert_eq!(said.len(), 24);
    });
}

#[test]
fn a_session_that_is_born_again_between_two_holds() {
    sim::run(async {
        let sim = Sim::new(Liveness::Server);
        let store = sim.memory.open();
        let client = Client::with_clock(Arc::new(store.clone()), &sim.clock);
        let lock = client.lock("x");
        for n in 0..5 {
            let guard = sim.within(MS(10), lock.acquire()).await.unwrap().unwrap();
            let session = store.session().await.unwrap();
            let name = Name::new("x").unwrap();
            let Snapshot::Is(stored) = store.read(&name).await.unwrap() else { panic!() };
            assert_eq!(stored.record.holder.as_ref().unwrap().session, session, "{n}");
            if n % 2 == 0 {
                assert_eq!(guard.release().await.unwrap(), Released::Released);
                store.end(session);
            } else {
                store.end(session);
                let lost = sim.within(MS(10), guard.lost()).await;
                assert!(lost.is_some(), "{n}");
                drop(guard);
            }
            sim.settle().await;
        }
    });
}
