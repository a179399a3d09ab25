//! What users test with does what it says.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use tenure::testing::TestStore;
use tenure::{Attempt, Client, Error, EventKind, Guard, HoldEnd, Lost, Released};

const SECOND: Duration = Duration::from_secs(1);

/// Runs a test on a runtime with one thread and no timers.
fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// A hold, and a task of another program that waits for the same lock.
async fn held_and_waited_for(store: &TestStore) -> (Guard, tokio::task::JoinHandle<Guard>) {
    let guard = store.client().lock("x").acquire().await.unwrap();
    let other = store.client().lock("x");
    let waits = tokio::spawn(async move { other.acquire().await.unwrap() });
    store.settle().await;
    assert!(!waits.is_finished());
    (guard, waits)
}

#[test]
fn time_stands_still_until_it_is_moved_and_then_holds_are_renewed() {
    run(async {
        let store = TestStore::new();
        let client = store.client();
        assert_eq!(client.id(), "client-1");
        assert_eq!(store.clone().client().id(), "client-2");
        let mut events = client.events();
        let guard = client.lock("x").ttl(15 * SECOND).acquire().await.unwrap();
        let deadline = guard.deadline().unwrap();
        let whole = deadline.remaining();
        store.settle().await;
        assert_eq!(deadline.remaining(), whole);
        store.pass(SECOND).await;
        assert_eq!(deadline.remaining(), whole - SECOND);
        store.pass(60 * SECOND).await;
        assert_eq!(store.clock().elapsed(), 61 * SECOND);
        assert!(guard.deadline().unwrap().remaining() > 10 * SECOND);
        drop(guard);
        client.close().await;
        drop(client);
        let mut renewed = 0;
        while let Some(event) = events.next().await {
            renewed += u32::from(matches!(event.kind, EventKind::Renewed { .. }));
        }
        assert_eq!(renewed, 12, "one every five seconds");
    });
}

#[test]
fn expire_takes_the_hold_from_its_holder_and_gives_it_to_who_waits() {
    run(async {
        let store = TestStore::new();
        let bystander = store.client().lock("y").acquire().await.unwrap();
        let (guard, waits) = held_and_waited_for(&store).await;
        store.expire("x").await;
        assert_eq!(guard.lost().await, Lost::Deadline);
        let next = waits.await.unwrap();
        assert!(next.token() > guard.token());
        assert!(!bystander.deadline().unwrap().is_past(), "the others go on to renew");
        assert_eq!(guard.release().await.unwrap(), Released::Lost(Lost::Deadline));
    });
}

#[test]
fn a_hold_that_is_lost_says_no_tags() {
    run(async {
        for dropped in [false, true] {
            let store = TestStore::new();
            let client = store.client();
            let mut guard = client.lock("x").tags(["begun"]).acquire().await.unwrap();
            guard.tags_on_release(["done"]).unwrap();
            // Its user is the first to notice.
            store.clock().advance(60 * SECOND);
            if dropped {
                drop(guard);
            } else {
                assert_eq!(guard.release().await.unwrap(), Released::Lost(Lost::Deadline));
            }
            client.close().await;
            let lock = store.client().show("x").await.unwrap();
            assert!(lock.holders.is_empty(), "it is given back all the same");
            assert_eq!(lock.tags, ["begun"], "dropped: {dropped}");
        }
    });
}

#[test]
fn an_expired_lock_that_nobody_waits_for_is_free() {
    run(async {
        let store = TestStore::new();
        let client = store.client();
        let guard = client.lock("x").acquire().await.unwrap();
        store.expire("x").await;
        let Attempt::Acquired(again) = client.lock("x").try_acquire().await.unwrap() else {
            panic!("still held")
        };
        assert!(again.token() > guard.token());
        let info = client.show("x").await.unwrap();
        assert_eq!(info.history[0].end, HoldEnd::Expired);
        // The new hold is not cut off.
        store.pass(60 * SECOND).await;
        assert_eq!(again.release().await.unwrap(), Released::Released);
    });
}

#[test]
fn work_is_told_to_stop_before_an_expiring_hold_is_lost() {
    run(async {
        let store = TestStore::new();
        let client = store.client();
        let clock = store.clock().clone();
        let work = tokio::spawn(async move {
            client
                .lock("x")
                .run(|hold| async move {
                    hold.stopping().await;
                    let left = hold.deadline().unwrap().remaining();
                    clock.sleep(SECOND).await;
                    left
                })
                .await
        });
        store.settle().await;
        store.expire("x").await;
        // It ended in time, so the hold was not lost under it.
        assert_eq!(work.await.unwrap().unwrap(), 3 * SECOND);
    });
}

#[test]
fn each_cause_of_a_loss_is_told_at_once() {
    run(async {
        let by = "intruder".to_owned();
        for cause in [Lost::Replaced { by }, Lost::Freed, Lost::Deleted] {
            let store = TestStore::new();
            let (guard, waits) = held_and_waited_for(&store).await;
            let begun = store.clock().elapsed();
            store.lose("x", cause.clone()).await;
            assert_eq!(guard.lost().await, cause);
            if matches!(cause, Lost::Replaced { .. }) {
                assert!(!waits.is_finished(), "somebody else has it");
                store.pass(16 * SECOND).await;
            } else {
                assert_eq!(store.clock().elapsed(), begun);
            }
            let next = waits.await.unwrap();
            assert!(next.token() > guard.token(), "{cause:?}");
        }
        let store = TestStore::new();
        let (guard, _waits) = held_and_waited_for(&store).await;
        store.lose("x", Lost::Deadline).await;
        assert_eq!(guard.lost().await, Lost::Deadline);
    });
}

#[test]
fn failing_requests_are_tried_again_and_end_a_hold_only_at_its_deadline() {
    run(async {
        let store = TestStore::new();
        let client = store.client();
        store.fail_next(1);
        assert!(matches!(client.show("x").await, Err(Error::Unavailable(..))));
        client.show("x").await.unwrap();
        let guard = client.lock("x").acquire().await.unwrap();
        store.fail_next(2);
        store.pass(60 * SECOND).await;
        assert!(!guard.deadline().unwrap().is_past());
        store.fail_next(u64::MAX);
        store.pass(15 * SECOND).await;
        assert_eq!(guard.lost().await, Lost::Deadline);
        store.fail_next(0);
        // Its record stands, and only time shows that nobody is behind it any more.
        let lock = client.lock("x");
        let (again, ()) = tokio::join!(lock.acquire(), store.pass(16 * SECOND));
        assert!(again.unwrap().token() > guard.token());
    });
}

/// What `future` panics with.
fn panic_of<F: Future<Output = ()>>(accident: impl FnOnce(TestStore, Client) -> F) -> String {
    let store = TestStore::new();
    let future = accident(store.clone(), store.client());
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(future)));
    *caught.unwrap_err().downcast::<String>().unwrap()
}

#[test]
fn accidents_that_cannot_be_are_panics_that_say_why() {
    let free = panic_of(|store, _| async move { store.expire("x").await });
    assert_eq!(free, "tenure: nobody holds lock \"x\"");
    let free = panic_of(|store, _| async move { store.lose("x", Lost::Freed).await });
    assert!(free.contains("nobody holds"), "{free}");
    let own = panic_of(|store, client| async move {
        let _guard = client.lock("x").acquire().await.unwrap();
        store.lose("x", Lost::RuntimeGone).await;
    });
    assert!(own.contains("runtime"), "{own}");
}
