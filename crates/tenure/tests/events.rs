//! Events tell what happened, in its order.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/sim.rs"]
mod sim;

use std::time::Duration;

use sim::{Sim, poll_once};
use tenure::store::Liveness;
use tenure::{EventKind, Events, Lost};
use tenure_testkit::Fate;

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
        let EventKind::Acquired { token, waited } = told[1] else { panic!() };
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
