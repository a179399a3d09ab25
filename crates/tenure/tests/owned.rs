//! Futures own what they need: they outlive the handle they were made from, and can be spawned.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use tenure::Attempt;

const SECOND: Duration = Duration::from_secs(1);

fn main_of(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future);
}

#[test]
fn each_way_to_acquire_is_spawned_from_a_lock_that_is_gone() {
    main_of(async {
        let client = tenure::connect("memory:").await.unwrap();
        drop(tokio::spawn(client.lock("x").acquire()).await.unwrap().unwrap());
        drop(tokio::spawn(client.lock("x").acquire_timeout(SECOND)).await.unwrap().unwrap());
        let attempt = tokio::spawn(client.lock("x").try_acquire()).await.unwrap().unwrap();
        let Attempt::Acquired(guard) = attempt else { panic!("held") };
        let release = tokio::spawn(guard.release());
        assert!(release.await.unwrap().is_ok());
        let work = client.lock("x").ttl(30 * SECOND).run(|hold| async move { hold.token() });
        assert!(tokio::spawn(work).await.unwrap().unwrap() > 0);
        // And one that does nothing before it is polled keeps nothing busy.
        let waits = client.lock("x").acquire();
        drop(client.lock("x").acquire().await.unwrap());
        drop(waits);
    });
}
