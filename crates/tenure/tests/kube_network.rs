//! What becomes of locks in Kubernetes when connections die in silence, credentials are changed, and
//! the server is busy.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/tap.rs"]
mod tap;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tap::tapped;
use tenure::{Client, Error, Guard, Released, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

const TTL: Duration = Duration::from_secs(6);

/// A way to the server on which connections can be made to die without a word.
struct Way {
    url: String,
    /// Connections with a number below this carry nothing any more.
    dead: Arc<AtomicU64>,
    made: Arc<AtomicU64>,
    /// While the server is down, connections end, and so does each new one.
    down: tokio::sync::watch::Sender<bool>,
}

impl Way {
    async fn to(server: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (dead, made) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let target = server.trim_start_matches("https://").to_owned();
        let (is_dead, count) = (Arc::clone(&dead), Arc::clone(&made));
        let (down, is_down) = tokio::sync::watch::channel(false);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::Relaxed);
                if *is_down.borrow() {
                    continue;
                }
                let far = TcpStream::connect(&target).await.unwrap();
                let ((nr, nw), (fr, fw)) = (near.into_split(), far.into_split());
                let there = carry(nr, fw, number, Arc::clone(&is_dead));
                let back = carry(fr, nw, number, Arc::clone(&is_dead));
                let mut is_down = is_down.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        ended = async { tokio::join!(there, back) } => drop(ended),
                        ended = is_down.wait_for(|down| *down) => drop(ended),
                    }
                });
            }
        });
        Self { url, dead, made, down }
    }

    /// Whatever is connected now is dead, and nobody is told.
    fn kill(&self) {
        self.dead.store(self.made.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }
}

async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    number: u64,
    dead: Arc<AtomicU64>,
) -> io::Result<()> {
    let mut bytes = vec![0; 16 << 10];
    loop {
        let n = from.read(&mut bytes).await?;
        if number < dead.load(Ordering::Relaxed) {
            // Neither closed nor carried on.
            std::future::pending::<()>().await;
        }
        if n == 0 {
            return to.shutdown().await;
        }
        to.write_all(&bytes[..n]).await?;
    }
}

/// The same kubeconfig, changed.
fn changed(kubeconfig: &Path, name: &str, pointer: &str, value: &str) -> PathBuf {
    let mut config: Value = serde_json::from_slice(&fs::read(kubeconfig).unwrap()).unwrap();
    *config.pointer_mut(pointer).unwrap() = json!(value);
    let file = kubeconfig.with_extension(name);
    fs::write(&file, config.to_string()).unwrap();
    file
}

/// A client over a way of its own.
async fn on_a_way(namespace: &str) -> (Client, Way) {
    let server = tenure_servers::kube();
    let way = Way::to(server.url()).await;
    let admin = server.admin(namespace);
    let kubeconfig = changed(&admin, "way", "/clusters/0/cluster/server", &way.url);
    let url = format!("kube:{namespace}?kubeconfig={}", kubeconfig.display());
    (connect(&url).await.unwrap(), way)
}

async fn take(client: &Client, name: &str) -> Guard {
    let acquired = client.lock(name).ttl(TTL).acquire();
    timeout(Duration::from_secs(20), acquired).await.unwrap().unwrap()
}

async fn give_back(guard: Guard) {
    assert_eq!(guard.release().await.unwrap(), Released::Released);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_die_in_silence_lose_no_hold() {
    let (client, way) = on_a_way(&tenure_servers::kube().namespace("silence")).await;
    // All at once, so that many connections are left at rest.
    let all: Vec<_> = (0..12)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { take(&client, &format!("n{n}")).await })
        })
        .collect();
    let mut guards = Vec::new();
    for one in all {
        guards.push(one.await.unwrap());
    }
    let guard = guards.remove(0);
    for other in guards {
        give_back(other).await;
    }
    sleep(Duration::from_secs(1)).await;
    let before = way.made();
    assert!(before >= 6, "{before} connections: too few for this test to fail");
    way.kill();
    sleep(TTL * 2).await;
    assert!(guard.deadline().is_some_and(|d| !d.is_past()), "lost");
    assert!(way.made() > before, "nothing was connected anew");
    give_back(guard).await;
    client.close().await;
}

#[tokio::test]
async fn credentials_that_are_refused_are_read_again() {
    let server = tenure_servers::kube();
    let namespace = server.namespace("rotated");
    let admin = server.admin(&namespace);
    let kubeconfig = changed(&admin, "old", "/users/0/user/token", "no-longer-valid");
    let url = format!("kube:{namespace}?kubeconfig={}", kubeconfig.display());
    let client = connect(&url).await.unwrap();
    let denied = client.lock("x").try_acquire().await.err().unwrap();
    assert!(matches!(denied, Error::Denied(_)), "{denied:?}");
    assert!(denied.to_string().contains("renew the credentials"), "{denied}");
    sleep(Duration::from_secs(2)).await;
    fs::copy(&admin, &kubeconfig).unwrap();
    // The same client, and nobody has to try twice.
    let guard = timeout(Duration::from_secs(5), client.lock("x").acquire()).await.unwrap().unwrap();
    give_back(guard).await;
}

#[tokio::test]
async fn a_busy_server_is_left_alone_as_long_as_the_hold_can_spare() {
    let server = tenure_servers::kube();
    let namespace = server.namespace("busy");
    let (client, seen) = tapped(server.admin(&namespace), &namespace).await;
    let guard = take(&client, "x").await;
    sleep(Duration::from_millis(500)).await;
    drop(seen.take());
    seen.refuse(&[(429, "1"), (429, "3600")]);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(7) {
        assert!(guard.deadline().is_some_and(|d| !d.is_past()), "{:?}", begun.elapsed());
        sleep(Duration::from_millis(100)).await;
    }
    assert!(timeout(Duration::ZERO, guard.lost()).await.is_err());
    let mut sent = seen.take_timed();
    sent.retain(|(sent, _)| sent.starts_with("PUT"));
    let gap = |n: usize| sent[n].1.duration_since(sent[n - 1].1);
    // What it asked for; and when that is too much, what the hold can spare.
    assert!(gap(1) >= Duration::from_secs(1), "{sent:#?}");
    assert!(gap(2) >= TTL / 5 && gap(2) < TTL / 2, "{sent:#?}");
    give_back(guard).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_started_again_loses_no_hold_and_no_wait() {
    let namespace = tenure_servers::kube().namespace("restarted");
    let (client, way) = on_a_way(&namespace).await;
    let (other, other_way) = on_a_way(&namespace).await;
    let guard = take(&client, "x").await;
    let token = guard.token();
    let waiting = tokio::spawn(async move { take(&other, "x").await });
    sleep(Duration::from_secs(1)).await;
    let made = (way.made(), other_way.made());
    for down in [true, false] {
        way.down.send_replace(down);
        other_way.down.send_replace(down);
        sleep(TTL / 2 - Duration::from_millis(500)).await;
    }
    assert!(way.made() > made.0 && other_way.made() > made.1, "nothing was connected anew");
    sleep(TTL).await;
    assert!(guard.deadline().is_some_and(|d| !d.is_past()), "lost");
    assert!(!waiting.is_finished(), "two hold it");
    give_back(guard).await;
    let next = timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    assert!(next.token() > token);
    give_back(next).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_refuses_for_a_while_loses_no_hold() {
    let server = tenure_servers::kube();
    let namespace = server.namespace("refusing");
    let kubeconfig = server.admin(&namespace);
    let all = [401, 403, 429, 500, 502, 503, 504].map(|code| {
        let (kubeconfig, namespace) = (kubeconfig.clone(), namespace.clone());
        tokio::spawn(async move {
            let (client, seen) = tapped(kubeconfig, &namespace).await;
            let guard = take(&client, &format!("x{code}")).await;
            // Two in a row: less than a hold has to spare.
            seen.refuse(&[(code, "0"), (code, "0")]);
            let begun = Instant::now();
            while begun.elapsed() < TTL.mul_f64(1.5) {
                assert!(guard.deadline().is_some_and(|d| !d.is_past()), "{code}");
                sleep(Duration::from_millis(100)).await;
            }
            let refused = seen.take().iter().filter(|sent| sent.starts_with("PUT")).count();
            assert!(refused >= 4, "{code}: {refused} renewals were tried");
            give_back(guard).await;
        })
    });
    for one in all {
        one.await.unwrap();
    }
}
