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
}

impl Way {
    async fn to(server: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (dead, made) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let target = server.trim_start_matches("https://").to_owned();
        let (is_dead, count) = (Arc::clone(&dead), Arc::clone(&made));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::Relaxed);
                let far = TcpStream::connect(&target).await.unwrap();
                let ((nr, nw), (fr, fw)) = (near.into_split(), far.into_split());
                tokio::spawn(carry(nr, fw, number, Arc::clone(&is_dead)));
                tokio::spawn(carry(fr, nw, number, Arc::clone(&is_dead)));
            }
        });
        Self { url, dead, made }
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

async fn take(client: &Client, name: &str) -> Guard {
    let acquired = client.lock(name).ttl(TTL).acquire();
    timeout(Duration::from_secs(20), acquired).await.unwrap().unwrap()
}

async fn give_back(guard: Guard) {
    assert_eq!(guard.release().await.unwrap(), Released::Released);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_die_in_silence_lose_no_hold() {
    let server = tenure_servers::kube();
    let namespace = server.namespace("silence");
    let way = Way::to(server.url()).await;
    let kubeconfig =
        changed(&server.admin(&namespace), "way", "/clusters/0/cluster/server", &way.url);
    let url = format!("kube:{namespace}?kubeconfig={}", kubeconfig.display());
    let client = connect(&url).await.unwrap();
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
