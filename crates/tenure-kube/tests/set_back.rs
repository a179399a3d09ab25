//! A server that was set back from a backup: its versions are older than those that are known.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};
use tenure_core::{Change, Holder, Mark, Session, Term, Time, Token, Wall};
use tenure_kube::{Format, KubeStore, Object};
use tenure_store::{Conditional, Name, Store as _};
use tower::Service;

/// One object, and its version.
#[derive(Clone)]
struct Server(Arc<Mutex<(Value, u64)>>);

impl Service<Request<Body>> for Server {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move {
            let patches = request.method() == Method::PATCH;
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let patch: Value = serde_json::from_slice(&body).unwrap_or_default();
            let mut state = server.0.lock().unwrap();
            let (object, version) = &mut *state;
            let mut code = 200;
            let named = patch["metadata"]["resourceVersion"].as_str();
            if patches && named == Some(&*version.to_string()) {
                *version += 1;
                let annotations = patch["metadata"]["annotations"].clone();
                object["metadata"]["annotations"] = annotations;
            } else if patches {
                code = 409;
            }
            object["metadata"]["resourceVersion"] = version.to_string().into();
            let body = Body::from(object.to_string().into_bytes());
            Ok(Response::builder().status(code).body(body).unwrap())
        })
    }
}

fn taking(mark: u128) -> Change {
    let holder = Holder {
        id: "me".into(),
        mark: Mark::from_u128(mark),
        session: Session::NONE,
        token: Token::default(),
        term: Term::Ttl(Duration::from_secs(60)),
        ticket: 0,
        since: Wall::from_micros(1_000_000),
        renewed: Wall::from_micros(1_000_000),
        stamp: Time::ZERO,
    };
    Change::Take { holder, ended: None, strike: Vec::new(), tags: Vec::new() }
}

#[test]
fn an_annotation_is_taken_on_a_server_that_was_set_back() {
    tokio::runtime::Runtime::new().unwrap().block_on(taken_on_a_server_that_was_set_back());
}

async fn taken_on_a_server_that_was_set_back() {
    let object = json!({"metadata": {"name": "o", "uid": "u"}});
    let server = Server(Arc::new(Mutex::new((object.clone(), 900))));
    let on = Format::Annotation(Object::new("v1/configmaps", "o").unwrap());
    let client = kube::Client::new(server.clone(), "ns");
    let store = KubeStore::with_format(client, "ns", on).unwrap();
    let name = Name::new("x").unwrap();
    assert_eq!(store.read(&name).await.unwrap().revision(), 900);
    *server.0.lock().unwrap() = (object, 100);
    let taken = store.write_if(&name, None, &taking(7)).await.unwrap();
    let Conditional::Done(stored) = taken else { panic!("never to be had again") };
    assert_eq!(stored.version.revision, 101);
}
