//! The examples of the guide do what it says of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../examples/http.rs"]
#[allow(dead_code, reason = "the example's own main")]
mod http;
#[path = "../examples/worker.rs"]
#[allow(dead_code, reason = "the example's own main")]
mod worker;

use std::sync::{Arc, Mutex};

use tenure::Lost;
use tenure::testing::TestStore;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

#[test]
fn the_guide_shows_the_examples_as_they_are() {
    let guide = include_str!("../src/guide/embedding.md");
    for example in [include_str!("../examples/worker.rs"), include_str!("../examples/http.rs")] {
        let (_, code) = example.split_once("\n\n").unwrap();
        assert!(guide.contains(code), "src/guide/embedding.md has another one than this: {code}");
    }
}

// The README's, as it stands there.
async fn nightly(store: &str) -> Result<u64, tenure::Error> {
    let client = tenure::connect(store).await?; // local:, kube:jobs, or memory: in a test
    let lock = client.lock("nightly-backup");
    lock.run(|hold| async move {
        tokio::select! {
            () = backup(hold.token()) => hold.token(), // dropped at the deadline at the latest
            () = hold.stopping() => 0, // the lock is about to be lost: clean up
        }
    })
    .await
}

async fn backup(token: u64) {
    assert!(token > 0);
}

#[tokio::test]
async fn the_readme_shows_a_program_that_runs() {
    let readme = include_str!("../../../README.md");
    let (_, shown) = readme.split_once("```rust\n").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    assert!(include_str!("examples.rs").contains(shown), "tests/examples.rs has another one");
    assert!(nightly("memory:").await.unwrap() > 0);
}

/// What the service answers to a request for a report.
async fn ask(at: std::net::SocketAddr, name: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!("POST /reports/{name} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    format!("{} {body}", head.split(' ').nth(1).unwrap())
}

#[tokio::test]
async fn the_service_builds_a_report_once_at_a_time() {
    let store = TestStore::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let service = http::service(store.client());
    let serving = tokio::spawn(async move { axum::serve(listener, service).await });
    assert!(ask(at, "june").await.starts_with("200 built under token "));
    // Somebody else, in another program.
    let other = store.client().lock("report/june").acquire().await.unwrap();
    let busy = ask(at, "june").await;
    assert!(busy.starts_with(&format!("409 being built by {}", other.id())), "{busy}");
    assert!(ask(at, "may").await.starts_with("200 "), "another report");
    drop(other);
    store.settle().await;
    assert!(ask(at, "june").await.starts_with("200 "));
    assert!(ask(at, "a%09b").await.starts_with("400 "), "a control character");
    store.fail_next(u64::MAX);
    assert!(ask(at, "july").await.starts_with("503 "));
    serving.abort();
}

#[tokio::test]
async fn the_worker_works_while_it_leads_and_gives_the_lock_back() {
    let store = TestStore::new();
    let sent = Arc::new(Mutex::new(Vec::new()));
    let shutdown = Arc::new(Notify::new());
    let (log, end) = (Arc::clone(&sent), Arc::clone(&shutdown));
    let client = store.client();
    let leads = tokio::spawn(async move {
        let send = |_, token: u64| log.lock().unwrap().push(token);
        worker::lead(&client, end.notified(), send).await.unwrap();
        client.close().await;
    });
    store.settle().await;
    let first = sent.lock().unwrap().last().copied().unwrap();
    // Taken away: it waits for the lock again, and works under a larger token.
    store.lose("mail-sender", Lost::Freed).await;
    let second = sent.lock().unwrap().last().copied().unwrap();
    assert!(second > first, "{second} after {first}");
    shutdown.notify_one();
    leads.await.unwrap();
    assert!(store.client().show("mail-sender").await.unwrap().holders.is_empty());
}
