//! A machine whose wall clock is wrong holds nothing where Go programs would end it by theirs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderValue, Request, Response, header};
use kube::client::Body;
use serde_json::json;
use tenure::{Client, Error, EventKind, Lost, Released};
use tenure_kube::{Access, Format, KubeStore, Object, client};
use tokio::time::timeout;
use tower::Service;

/// A way to the server on which its clock is this many seconds off; none: it tells no time.
#[derive(Clone)]
struct Off {
    client: kube::Client,
    seconds: Arc<AtomicI64>,
}

const SILENT: i64 = i64::MAX;

impl Service<Request<Body>> for Off {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = Pin<Box<dyn Future<Output = kube::Result<Response<Body>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<kube::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (client, seconds) = (self.client.clone(), self.seconds.load(Ordering::Relaxed));
        Box::pin(async move {
            let mut answer = client.send(request).await?;
            match seconds {
                0 => {}
                SILENT => drop(answer.headers_mut().remove(header::DATE)),
                seconds => {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
                    let date = date(now.checked_add_signed(seconds).unwrap());
                    answer.headers_mut().insert(header::DATE, date);
                }
            }
            Ok(answer)
        })
    }
}

/// As a server writes it.
fn date(at: u64) -> HeaderValue {
    let micro = tenure_wire::time::micro(tenure_core::Wall::from_micros(at * 1_000_000));
    let month =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
            [micro[5..7].parse::<usize>().unwrap() - 1];
    let (year, day, clock) = (&micro[..4], &micro[8..10], &micro[11..19]);
    HeaderValue::from_str(&format!("Sat, {day} {month} {year} {clock} GMT")).unwrap()
}

async fn client_off(namespace: &str, format: Format, seconds: &Arc<AtomicI64>) -> Client {
    let access =
        Access { kubeconfig: Some(tenure_servers::kube().admin(namespace)), context: None };
    let off = Off { client: client(&access).await.unwrap(), seconds: Arc::clone(seconds) };
    let store = KubeStore::with_format(kube::Client::new(off, namespace), namespace, format);
    Client::new(Arc::new(store.unwrap()))
}

fn place() -> (String, [(Format, String); 3]) {
    let server = tenure_servers::kube();
    let namespace = server.namespace("clock");
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let (status, answer) =
        server.request("POST", &path, Some(&json!({"metadata": {"name": "target"}})));
    assert!(status < 300, "{answer}");
    let on = Format::Annotation(Object::new("v1/configmaps", "target").unwrap());
    let janus = format!("{namespace}/pod/x");
    let all = [(on, "x".to_owned()), (Format::ConfigMap, "x".to_owned()), (Format::Janus, janus)];
    (namespace, all)
}

#[tokio::test]
async fn a_clock_that_is_wrong_takes_nothing_where_wall_clocks_decide() {
    let (namespace, formats) = place();
    for (format, name) in formats {
        for (seconds, says) in [(9, "s or more behind the server's"), (-9, "ahead of the server's")]
        {
            let off = Arc::new(AtomicI64::new(seconds));
            let client = client_off(&namespace, format.clone(), &off).await;
            let refused = client.lock(&name).try_acquire().await.err();
            let Some(Error::Invalid(what)) = &refused else { panic!("{format:?}: {refused:?}") };
            assert!(what.contains(says) && what.contains("NTP"), "{what}");
            assert!(client.show(&name).await.unwrap().holders.is_empty());
            // Whichever of the two was wrong, it is right again.
            off.store(0, Ordering::Relaxed);
            let guard = client.lock(&name).acquire().await.unwrap();
            assert_eq!(guard.release().await.unwrap(), Released::Released);
            client.close().await;
        }
        // What may be right is believed, and so is a server that does not tell.
        for seconds in [4, -4, SILENT] {
            let client =
                client_off(&namespace, format.clone(), &Arc::new(AtomicI64::new(seconds))).await;
            let guard = client.lock(&name).acquire().await.unwrap();
            assert_eq!(guard.release().await.unwrap(), Released::Released);
            client.close().await;
        }
    }
    // Nobody goes by the times of a Lease.
    let client = client_off(&namespace, Format::Lease, &Arc::new(AtomicI64::new(3_600))).await;
    let guard = client.lock("x").acquire().await.unwrap();
    assert_eq!(guard.release().await.unwrap(), Released::Released);
    client.close().await;
}

#[tokio::test]
async fn a_clock_that_goes_wrong_renews_nothing_and_the_hold_ends_when_it_was_to() {
    let (namespace, [_, (format, name), _]) = place();
    let off = Arc::new(AtomicI64::new(0));
    let client = client_off(&namespace, format, &off).await;
    let mut events = client.events();
    let lock = client.lock(&name).ttl(Duration::from_secs(20));
    let guard = lock.acquire().await.unwrap();
    let end = guard.deadline().unwrap().remaining();
    off.store(60, Ordering::Relaxed);
    client.show(&name).await.unwrap();
    let lost = timeout(end + Duration::from_secs(2), guard.lost()).await.unwrap();
    assert_eq!(lost, Lost::Deadline);
    let mut said = false;
    while let Ok(Some(event)) = timeout(Duration::from_millis(100), events.next()).await {
        match event.kind {
            EventKind::Renewed { .. } => panic!("{event:?}"),
            EventKind::RenewFailed { error, .. } => said |= error.contains("behind the server's"),
            _ => {}
        }
    }
    assert!(said, "why it is not renewed is told");
}
