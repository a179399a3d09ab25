//! Events tell what happened, in its order.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/sim.rs"]
mod sim;

use std::collections::BTreeMap;
use std::time::Duration;

use sim::{Sim, poll_once};
use tenure::store::Liveness;
use tenure::{EventKind, Events, Lost};
use tenure_testkit::{Fate, Request};

/// What came so far.
async fn kinds(events: &mut Events) -> Vec<EventKind> {
    let mut all = Vec::new();
    loop {
        // Without tokio's budget for one turn.
        let mut next = Box::pin(tokio::task::unconstrained(events.next()));
        let std::task::Poll::Ready(Some(event)) = poll_once(next.as_mut()).await else {
            return all;
        };
        all.push(event.kind);
    }
}

/// Their names, in short.
fn names(kinds: &[EventKind]) -> Vec<String> {
    let name = |kind: &EventKind| {
        let text = format!("{kind:?}");
        text.split([' ', '{']).next().unwrap().to_owned()
    };
    kinds.iter().map(name).collect()
}

#[test]
fn a_hold_tells_its_story() {
    sim::run(async {
        let sim = Sim::new(Liveness::Server);
        let (client, other) = (sim.faulty(), sim.other());
        let mut events = client.events();
        let first = other.lock("x").acquire().await.unwrap();
        let lock = client.lock("x");
        let mut waits = Box::pin(lock.acquire());
        assert!(sim.within(Duration::from_secs(2), waits.as_mut()).await.is_none());
        let _ = first.release().await.unwrap();
        let guard = sim.within(Duration::ZERO, waits).await.unwrap().unwrap();
        sim.pass(Duration::from_millis(5_100)).await;
        let told = kinds(&mut events).await;
        assert_eq!(names(&told), ["Waiting", "Acquired", "Renewed"]);
        let EventKind::Waiting { place: Some(0), held_by } = &told[0] else { panic!("{told:?}") };
        assert_eq!(held_by.id, other.id());
        let EventKind::Acquired { token, waited, .. } = told[1] else { panic!() };
        assert_eq!(token, guard.token());
        assert_eq!(waited, Duration::from_secs(2));
        let EventKind::Renewed { remaining, took, .. } = told[2] else { panic!() };
        assert_eq!((remaining, took), (Some(Duration::from_millis(13_950)), Duration::ZERO));
        sim.fates(|_| Fate::Refused(Duration::from_millis(200)));
        sim.pass(Duration::from_secs(15)).await;
        let told = kinds(&mut events).await;
        let names = names(&told);
        assert_eq!(names.last().unwrap(), "Lost");
        assert_eq!(names.iter().filter(|name| *name == "Stopping").count(), 1);
        assert!(names.iter().filter(|name| *name == "RenewFailed").count() > 3, "{names:?}");
        let EventKind::Lost { cause: Lost::Deadline, held, .. } = told.last().unwrap() else {
            panic!("{told:?}")
        };
        // It counts from when it stood in line, 2 s before it was handed the lock, and was renewed
        // 5 s after that; the server's clock may run faster by the drift.
        assert_eq!(*held, Duration::from_millis(16_950));
        drop(guard);
    });
}

#[test]
fn a_wait_that_is_given_up_and_a_release_are_told() {
    sim::run(async {
        let sim = Sim::new(Liveness::Observed);
        let client = sim.other();
        let mut events = client.events();
        let lock = client.lock("x");
        let guard = lock.acquire().await.unwrap();
        let timed_out = lock.acquire_timeout(Duration::from_secs(1));
        assert!(sim.within(Duration::from_secs(2), timed_out).await.unwrap().is_err());
        drop(guard);
        sim.settle().await;
        let told = kinds(&mut events).await;
        assert_eq!(names(&told), ["Acquired", "Waiting", "GaveUp", "Released"]);
        let EventKind::GaveUp { waited } = told[2] else { panic!() };
        assert_eq!(waited, Duration::from_secs(1));
    });
}

#[test]
fn a_slow_listener_is_told_how_much_it_missed_and_holds_up_nobody() {
    sim::run(async {
        let sim = Sim::new(Liveness::Observed);
        let client = sim.other();
        let mut events = client.events();
        let lock = client.lock("x");
        for _ in 0..1_000 {
            let _ = lock.acquire().await.unwrap().release().await.unwrap();
        }
        let told = kinds(&mut events).await;
        assert!(matches!(told[0], EventKind::Missed { count: 976 }), "{:?}", told[0]);
        assert_eq!(told.len(), 1 + 1_024);
        drop((lock, client));
        // Whatever still wakes the keeper, nobody is left to tell anything.
        sim.settle().await;
        assert!(sim.within(Duration::ZERO, events.next()).await.unwrap().is_none());
    });
}

/// What each acquisition told, by its number, in its order.
async fn stories(events: &mut Events) -> BTreeMap<u64, Vec<String>> {
    let mut stories = BTreeMap::<u64, Vec<String>>::new();
    loop {
        let mut next = Box::pin(tokio::task::unconstrained(events.next()));
        let std::task::Poll::Ready(Some(event)) = poll_once(next.as_mut()).await else {
            return stories;
        };
        stories.entry(event.acquisition).or_default().extend(names(&[event.kind]));
    }
}

#[test]
fn whatever_becomes_of_an_acquisition_its_story_has_one_end() {
    sim::run(async {
        for liveness in [Liveness::Observed, Liveness::Server] {
            let sim = Sim::new(liveness);
            let (client, other) = (sim.faulty(), sim.other());
            let mut events = client.events();
            let second = Duration::from_secs(1);
            // Somebody else's hold: busy, timed out, given up, closed; the last two one by one.
            let theirs = other.lock("x").acquire().await.unwrap();
            let lock = client.lock("x");
            assert!(sim.within(second, lock.try_acquire()).await.is_some());
            assert!(sim.within(second * 2, lock.acquire_timeout(second)).await.is_some());
            assert!(sim.within(second, lock.acquire()).await.is_none());
            let (mut seated, mut behind) = (Box::pin(lock.acquire()), Box::pin(lock.acquire()));
            assert!(sim.within(second, seated.as_mut()).await.is_none());
            assert!(sim.within(second, behind.as_mut()).await.is_none());
            drop((seated, behind));
            // Waits in the program, then at the store, then has it and gives it back.
            let (mut first, mut next) = (Box::pin(lock.acquire()), Box::pin(lock.acquire()));
            assert!(sim.within(second, first.as_mut()).await.is_none());
            assert!(sim.within(second, next.as_mut()).await.is_none());
            let _ = theirs.release().await.unwrap();
            let guard = sim.within(second, first).await.unwrap().unwrap();
            drop(guard);
            let guard = sim.within(second, next).await.unwrap().unwrap();
            // A release that is dropped before its answer, and one that never gets it.
            sim.fates(|request| match request {
                Request::Write => Fate::Stalled,
                _ => Fate::FINE,
            });
            assert!(sim.within(second / 2, guard.release()).await.is_none());
            sim.pass(second * 40).await;
            sim.fates(|_| Fate::FINE);
            // Lost, as its user sees first.
            let guard = sim.within(second, client.lock("y").acquire()).await.unwrap().unwrap();
            sim.clock.advance(second * 60);
            assert!(guard.deadline().unwrap().is_past());
            assert_eq!(guard.lost().await, Lost::Deadline);
            drop(guard);
            sim.pass(second).await;
            client.close().await;
            for (number, story) in stories(&mut events).await {
                let ends = ["GaveUp", "Lost", "Released"];
                let count = |of: &[&str]| story.iter().filter(|n| of.contains(&n.as_str())).count();
                assert_eq!(count(&ends), 1, "{liveness:?} {number}: {story:?}");
                assert!(ends.contains(&story.last().unwrap().as_str()), "{number}: {story:?}");
                let held = count(&["Lost", "Released"]);
                assert_eq!(count(&["Acquired"]), held, "{liveness:?} {number}: {story:?}");
            }
        }
    });
}

#[test]
fn a_runtime_that_ends_under_a_hold_ends_its_story() {
    let client = sim::run(tenure::connect("memory:")).unwrap();
    let mut events = client.events();
    let (kept, dropped) = sim::run(async {
        let kept = client.lock("kept").acquire().await.unwrap();
        (kept, client.lock("dropped").acquire().await.unwrap())
    });
    // Nobody is left to carry out what it asks for.
    drop(dropped);
    drop(kept);
    let told = sim::run(stories(&mut events));
    let told: Vec<_> = told.values().map(|story| story.join(" ")).collect();
    assert_eq!(told, ["Acquired Lost", "Acquired Lost"]);
}
