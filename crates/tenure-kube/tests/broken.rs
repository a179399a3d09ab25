//! What a write comes to whose connection ends: nobody says that it never arrived but who knows.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::rt::{Read, ReadBufCursor, Write};
use kube::client::Body;
use serde_json::json;
use tenure_core::{Change, Holder, Mark, Session, Term, Time, Token, Wall};
use tenure_kube::{Access, KubeStore, client};
use tenure_store::{Error, Name, Store as _};
use tower::Service;

/// A connection that takes what is sent and then ends like this.
struct Ending {
    kind: ErrorKind,
    sent: bool,
    reader: Option<Waker>,
}

impl Read for Ending {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.sent {
            return Poll::Ready(Err(self.kind.into()));
        }
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Write for Ending {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.sent = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A way to the server on such connections.
#[derive(Clone)]
struct Way(ErrorKind);

impl Service<Request<Body>> for Way {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let ending = Ending { kind: self.0, sent: false, reader: None };
        Box::pin(async move {
            let (mut sender, connection) = http1::handshake(ending).await?;
            tokio::spawn(connection);
            sender.send_request(request).await
        })
    }
}

async fn take(store: &KubeStore) -> Error {
    let holder = Holder {
        id: "me".into(),
        mark: Mark::from_u128(7),
        session: Session::NONE,
        token: Token::default(),
        term: Term::Ttl(Duration::from_secs(15)),
        ticket: 0,
        since: Wall::from_micros(1_000_000),
        renewed: Wall::from_micros(1_000_000),
        stamp: Time::ZERO,
    };
    let change = Change::Take { holder, ended: None, strike: Vec::new(), tags: Vec::new() };
    store.write_if(&Name::new("x").unwrap(), None, &change).await.unwrap_err()
}

/// The kernel says so of a connection on which nothing is acknowledged any more, and a firewall may
/// have it say so: the server may have had the request long before.
#[tokio::test]
async fn a_connection_that_stood_leaves_a_write_in_doubt_however_it_ends() {
    use ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut};
    for kind in [TimedOut, HostUnreachable, NetworkUnreachable, ConnectionRefused] {
        let store = KubeStore::new(kube::Client::new(Way(kind), "default"), "default").unwrap();
        let error = take(&store).await;
        assert!(matches!(error, Error::OutcomeUnknown(_)), "{kind}: {error:?}");
    }
}

#[tokio::test]
async fn where_no_connection_could_be_made_nothing_was_written() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let config = json!({
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    });
    let name = format!("nowhere-{}", std::process::id());
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, config.to_string()).unwrap();
    let access = Access { kubeconfig: Some(file.clone()), context: None };
    let store = KubeStore::new(client(&access).await.unwrap(), "default").unwrap();
    let error = take(&store).await;
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    std::fs::remove_file(file).unwrap();
}
