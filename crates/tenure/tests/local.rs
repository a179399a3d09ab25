//! The async client on the embedded store.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(all(feature = "local", target_os = "linux"))]

mod common;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use common::Folder;
use rustix::fs::{FlockOperation, flock};
use tenure::{Attempt, Client, Error, EventKind, Lost, Released, RunOptions};

/// Longer than anything here takes, so that only a hang reaches it.
const LONG: Duration = Duration::from_secs(20);

async fn connect(folder: &Folder) -> Client {
    tenure::connect(&folder.url()).await.unwrap()
}

/// The file of the one lock there is.
fn lock_file(folder: &Folder) -> PathBuf {
    let url = folder.url();
    let locks = Path::new(url.strip_prefix("local:").unwrap()).join("locks");
    std::fs::read_dir(locks).unwrap().next().unwrap().unwrap().path()
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

async fn soon<F: Future>(future: F) -> F::Output {
    let started = Instant::now();
    let output = future.await;
    assert!(started.elapsed() < LONG, "took {:?}", started.elapsed());
    output
}

#[tokio::test]
async fn a_lock_goes_from_one_to_the_next_in_their_order() {
    let folder = Folder::new();
    let clients = [connect(&folder).await, connect(&folder).await, connect(&folder).await];
    let first = clients[0].lock("x").acquire().await.unwrap();
    let (told, mut tell) = tokio::sync::mpsc::unbounded_channel();
    for (number, client) in clients.iter().enumerate().skip(1) {
        let (lock, told) = (client.lock("x"), told.clone());
        tokio::spawn(async move {
            let guard = lock.acquire().await.unwrap();
            told.send((number, guard.token())).unwrap();
            assert_eq!(guard.release().await.unwrap(), Released::Released);
        });
        while clients[0].show("x").await.unwrap().queue.len() < number {
            tokio::task::yield_now().await;
        }
    }
    let Attempt::HeldBy(by) = clients[1].lock("x").try_acquire().await.unwrap() else { panic!() };
    assert_eq!((by.id.as_str(), by.pid), (first.id(), Some(std::process::id())));
    let token = first.token();
    assert_eq!(first.deadline().map(|d| d.is_past()), None);
    assert_eq!(first.release().await.unwrap(), Released::Released);
    let (one, two) = (soon(tell.recv()).await.unwrap(), soon(tell.recv()).await.unwrap());
    assert_eq!((one.0, two.0), (1, 2));
    assert!(token < one.1 && one.1 < two.1);
}

#[tokio::test]
async fn a_limit_is_kept_and_says_who_is_in_the_way() {
    let folder = Folder::new();
    let (one, two) = (connect(&folder).await, connect(&folder).await);
    let guard = one.lock("x").acquire().await.unwrap();
    let started = Instant::now();
    let told = two.lock("x").acquire_timeout(Duration::from_millis(80)).await;
    let Err(Error::TimedOut { held_by }) = told else { panic!("{told:?}") };
    assert_eq!(held_by.token, Some(guard.token()));
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(80) && took < Duration::from_secs(5), "{took:?}");
    assert!(one.show("x").await.unwrap().queue.is_empty());
}

#[tokio::test]
async fn every_drop_is_undone_in_place() {
    let folder = Folder::new();
    let (one, two) = (connect(&folder).await, connect(&folder).await);
    let free = |client: &Client| {
        let lock = client.lock("x");
        async move { matches!(lock.try_acquire().await.unwrap(), Attempt::Acquired(_)) }
    };
    // The first acquisition of a lock makes its file, in a thread: dropped at each await.
    for polls in 0..6 {
        let lock = one.lock("x");
        let mut acquire = Box::pin(lock.acquire());
        for _ in 0..polls {
            if let Poll::Ready(guard) = poll(acquire.as_mut()) {
                drop(guard);
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(acquire);
        let _ = one.lock("y").acquire().await.unwrap().release().await.unwrap();
        // What a thread had begun is undone by it.
        let started = Instant::now();
        while !free(&two).await {
            assert!(started.elapsed() < LONG);
            tokio::task::yield_now().await;
        }
    }
    // In line.
    let guard = one.lock("x").acquire().await.unwrap();
    for polls in 0..4 {
        let lock = two.lock("x");
        let mut acquire = Box::pin(lock.acquire());
        for _ in 0..polls {
            assert!(poll(acquire.as_mut()).is_pending());
        }
        drop(acquire);
        assert!(one.show("x").await.unwrap().queue.is_empty(), "after {polls}");
    }
    // A guard, and a release that was never polled, or polled once.
    drop(guard);
    assert!(free(&two).await);
    drop(one.lock("x").acquire().await.unwrap().release());
    assert!(free(&two).await);
    let mut release = Box::pin(one.lock("x").acquire().await.unwrap().release());
    let _ = poll(release.as_mut());
    drop(release);
    assert!(free(&two).await);
    // Work that is dropped.
    let lock = one.lock("x");
    let mut run = Box::pin(lock.run(|_| std::future::pending::<()>()));
    assert!(poll(run.as_mut()).is_pending());
    assert!(!free(&two).await);
    drop(run);
    assert!(free(&two).await);
}

#[test]
fn a_guard_is_given_back_without_a_runtime() {
    let folder = Folder::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (one, two) = runtime.block_on(async { (connect(&folder).await, connect(&folder).await) });
    let guard = runtime.block_on(one.lock("x").acquire()).unwrap();
    let mut waiting = Box::pin({
        let lock = two.lock("x");
        async move { lock.acquire().await.map(drop) }
    });
    runtime.block_on(async {
        assert!(poll(waiting.as_mut()).is_pending());
    });
    drop(runtime);
    drop(waiting);
    drop(guard);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        assert!(matches!(two.lock("x").try_acquire().await.unwrap(), Attempt::Acquired(_)));
    });
}

#[tokio::test]
async fn a_busy_guard_does_not_hold_up_the_runtime() {
    let folder = Folder::new();
    let client = connect(&folder).await;
    let guard = client.lock("x").acquire().await.unwrap();
    // Somebody is in the middle of a change, and stays there.
    let file = File::options().read(true).write(true).open(lock_file(&folder)).unwrap();
    flock(&file, FlockOperation::LockExclusive).unwrap();
    let mut worst = Duration::ZERO;
    let mut timed = |work: &mut dyn FnMut()| {
        let started = Instant::now();
        work();
        worst = worst.max(started.elapsed());
    };
    let (other, lock) = (connect(&folder).await, client.lock("x"));
    let theirs = other.lock("x");
    let mut acquire = Box::pin(theirs.acquire());
    let mut release = Box::pin(guard.release());
    timed(&mut || assert!(poll(release.as_mut()).is_pending()));
    timed(&mut || assert!(poll(acquire.as_mut()).is_pending()));
    for _ in 0..20 {
        timed(&mut || assert!(poll(release.as_mut()).is_pending()));
    }
    drop(release);
    // Many such polls in a row: one may be unlucky with the machine, all are not.
    assert!(worst < Duration::from_millis(100), "{worst:?}");
    flock(&file, FlockOperation::Unlock).unwrap();
    drop(file);
    let guard = soon(acquire).await.unwrap();
    // A guard dropped while it is busy again: a thread gives it back, and close waits for it.
    let file = File::options().read(true).write(true).open(lock_file(&folder)).unwrap();
    flock(&file, FlockOperation::LockExclusive).unwrap();
    drop(guard);
    {
        let mut closing = pin!(other.close());
        assert!(poll(closing.as_mut()).is_pending());
        flock(&file, FlockOperation::Unlock).unwrap();
        soon(closing).await;
    }
    assert!(client.show("x").await.unwrap().holders.is_empty());
    assert!(matches!(lock.try_acquire().await.unwrap(), Attempt::Acquired(_)));
}

#[tokio::test]
async fn a_deleted_record_is_a_loss_and_ends_the_work() {
    let folder = Folder::new();
    let client = connect(&folder).await;
    let mut events = client.events();
    let file = folder.url();
    let lock = client.lock("x");
    let ran = lock.run(|hold| {
        let locks = Path::new(file.strip_prefix("local:").unwrap()).join("locks");
        async move {
            assert_eq!(hold.deadline().map(|d| d.is_past()), None);
            let lock = std::fs::read_dir(locks).unwrap().next().unwrap().unwrap().path();
            std::fs::remove_file(lock).unwrap();
            hold.stopping().await;
            assert!(hold.deadline().unwrap().is_past());
            assert_eq!(hold.lost().await, Lost::Deleted);
        }
    });
    let told = soon(ran).await;
    assert!(matches!(told, Err(Error::Lost(Lost::Deleted))), "{told:?}");
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        kinds.push(events.next().await.unwrap().kind);
    }
    assert!(matches!(kinds[0], EventKind::Acquired { .. }), "{kinds:?}");
    assert!(matches!(kinds[1], EventKind::Lost { cause: Lost::Deleted, .. }), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_count_without_losing_any() {
    let folder = Folder::new();
    let (one, two) = (connect(&folder).await, connect(&folder).await);
    let counter = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let lock = if n % 2 == 0 { one.lock("x") } else { two.lock("x") };
            let counter = Arc::clone(&counter);
            tokio::spawn(async move {
                for _ in 0..5 {
                    let work = |_| async {
                        let seen = counter.load(std::sync::atomic::Ordering::Relaxed);
                        tokio::task::yield_now().await;
                        counter.store(seen + 1, std::sync::atomic::Ordering::Relaxed);
                    };
                    lock.run(work).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        soon(task).await.unwrap();
    }
    assert_eq!(counter.load(std::sync::atomic::Ordering::Relaxed), 200);
}

#[tokio::test]
async fn a_lock_may_stay_busy_after_short_work() {
    let folder = Folder::new();
    let client = connect(&folder).await;
    let once = || RunOptions::new().wait_max(Duration::ZERO).at_least(Duration::from_millis(300));
    let lock = client.lock("job");
    lock.run_with(once(), |_| async {}).await.unwrap();
    let told = lock.run_with(once(), |_| async {}).await;
    let Err(Error::TimedOut { held_by }) = told else { panic!("{told:?}") };
    assert!(held_by.takeover_in.unwrap() <= Duration::from_millis(300));
    let _ = soon(lock.acquire()).await.unwrap().release().await.unwrap();
}
