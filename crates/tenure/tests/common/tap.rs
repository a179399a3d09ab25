//! A client of an API server that counts what is sent, and spoils watches on demand.
#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::VecDeque;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;

use http::{Request, Response};
use http_body::Frame;
use kube::client::Body;
use tenure::Client;
use tenure_kube::{Access, Format, KubeStore, client};
use tower::Service;

/// What is wrong with a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoilt {
    No,
    /// It says nothing and does not end.
    Silent,
    /// It ends at once.
    Cut,
    /// It ends after this many frames.
    After(usize),
    /// It breaks with an error after this many frames.
    Breaks(usize),
    /// It is refused by this status.
    Refused(u16),
    /// It says that it is too old.
    TooOld,
}

/// What was sent.
#[derive(Default)]
pub(crate) struct Seen {
    sent: Mutex<Vec<(String, Instant)>>,
    open: AtomicUsize,
    most: AtomicUsize,
    next: Mutex<VecDeque<Spoilt>>,
    always: Mutex<Option<Spoilt>>,
    /// What is answered to the next requests that are no watches, instead of asking the server.
    answers: Mutex<VecDeque<(u16, &'static str)>>,
}

impl Seen {
    /// What was sent since this was asked last.
    pub(crate) fn take(&self) -> Vec<String> {
        self.take_timed().into_iter().map(|(sent, _)| sent).collect()
    }

    /// The same, and when.
    pub(crate) fn take_timed(&self) -> Vec<(String, Instant)> {
        std::mem::take(&mut self.sent.lock().unwrap())
    }

    /// How many watches are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many were open at once at the most.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// The next watches are like this.
    pub(crate) fn spoil(&self, next: &[Spoilt]) {
        self.next.lock().unwrap().extend(next);
    }

    /// All watches from now on are like this.
    pub(crate) fn spoil_all(&self, always: Spoilt) {
        *self.always.lock().unwrap() = Some(always);
    }

    /// The next requests that are no watches are refused: status and `Retry-After`.
    pub(crate) fn refuse(&self, answers: &[(u16, &'static str)]) {
        self.answers.lock().unwrap().extend(answers);
    }

    fn spoilt(&self) -> Spoilt {
        let next = self.next.lock().unwrap().pop_front();
        next.or(*self.always.lock().unwrap()).unwrap_or(Spoilt::No)
    }
}

pub(crate) fn is_watch(sent: &str) -> bool {
    sent.contains("watch=true")
}

pub(crate) fn watches(sent: &[String]) -> usize {
    sent.iter().filter(|sent| is_watch(sent)).count()
}

/// A client of the library with this kubeconfig, and what it sends.
pub(crate) async fn tapped(kubeconfig: PathBuf, namespace: &str) -> (Client, Arc<Seen>) {
    tapped_as(kubeconfig, namespace, Format::Lease).await
}

pub(crate) async fn tapped_as(
    kubeconfig: PathBuf,
    namespace: &str,
    format: Format,
) -> (Client, Arc<Seen>) {
    let access = Access { kubeconfig: Some(kubeconfig), context: None };
    let seen = Arc::<Seen>::default();
    let tap = Tap { client: client(&access).await.unwrap(), seen: Arc::clone(&seen) };
    let store = KubeStore::with_format(kube::Client::new(tap, namespace), namespace, format);
    (Client::new(Arc::new(store.unwrap())), seen)
}

struct Tap {
    client: kube::Client,
    seen: Arc<Seen>,
}

type Answer = Pin<Box<dyn Future<Output = kube::Result<Response<Tapped>>> + Send>>;

impl Service<Request<Body>> for Tap {
    type Response = Response<Tapped>;
    type Error = kube::Error;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<kube::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let sent = format!("{} {}", request.method(), request.uri());
        let watch = is_watch(&sent);
        self.seen.sent.lock().unwrap().push((sent, Instant::now()));
        let spoilt = if watch { self.seen.spoilt() } else { Spoilt::No };
        let open = watch.then(|| Open::new(&self.seen));
        let refused = if watch { None } else { self.seen.answers.lock().unwrap().pop_front() };
        if let Some((code, after)) = refused {
            return Box::pin(async move {
                let status = r#"{"kind":"Status","message":"refused by the test"}"#;
                let body = Tapped { body: Body::from(status.as_bytes().to_vec()), spoilt, open };
                let answer = Response::builder().status(code).header("Retry-After", after);
                Ok(answer.body(body).unwrap())
            });
        }
        let client = self.client.clone();
        Box::pin(async move {
            let said = match spoilt {
                Spoilt::Refused(code) => {
                    let status = r#"{"kind":"Status","message":"refused by the test"}"#;
                    let body =
                        Tapped { body: Body::from(status.as_bytes().to_vec()), spoilt, open };
                    return Ok(Response::builder().status(code).body(body).unwrap());
                }
                Spoilt::TooOld => {
                    let line = r#"{"type":"ERROR","object":{"code":410,"reason":"Expired"}}"#;
                    let body = Body::from(format!("{line}\n").into_bytes());
                    return Ok(Response::new(Tapped { body, spoilt, open }));
                }
                _ => client.send(request).await?,
            };
            Ok(said.map(|body| Tapped { body, spoilt, open }))
        })
    }
}

/// An answer on its way.
pub(crate) struct Tapped {
    body: Body,
    spoilt: Spoilt,
    open: Option<Open>,
}

impl http_body::Body for Tapped {
    type Data = <Body as http_body::Body>::Data;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let spoilt = self.spoilt;
        match spoilt {
            Spoilt::Silent => return Poll::Pending,
            Spoilt::Cut | Spoilt::After(0) => {
                self.open = None;
                return Poll::Ready(None);
            }
            Spoilt::Breaks(0) => return Poll::Ready(Some(Err("broken by the test".into()))),
            _ => {}
        }
        let frame = http_body::Body::poll_frame(Pin::new(&mut self.body), cx);
        if frame.is_ready() {
            self.spoilt = match spoilt {
                Spoilt::After(n) => Spoilt::After(n - 1),
                Spoilt::Breaks(n) => Spoilt::Breaks(n - 1),
                other => other,
            };
        }
        frame.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }
}

/// A watch that is open.
struct Open(Arc<Seen>);

impl Open {
    fn new(seen: &Arc<Seen>) -> Self {
        let now = seen.open.fetch_add(1, Ordering::Relaxed) + 1;
        seen.most.fetch_max(now, Ordering::Relaxed);
        Self(Arc::clone(seen))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
