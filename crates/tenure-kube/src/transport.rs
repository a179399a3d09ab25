//! The connections that locks have to themselves, and how they get over what breaks.
//!
//! | what happens | what is done |
//! |---|---|
//! | credentials are refused (401) | they are read again, and the request, which did nothing, is sent once more |
//! | a request is not answered soon | the next one gets a new connection: those at rest may be as dead |
//! | a connection dies in silence | the kernel notices: nothing acknowledged for 10 s, no answer to keep-alives |
//!
//! Owns how one server is reached, and as whom. **Nothing else is sent twice**: a write that is may be
//! told of a conflict with itself, and then nobody holds the lock until it expires.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use kube::config::Config;
use tokio::time::{Instant, timeout};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};

use crate::config::{Access, config};

/// A request that is unanswered for this long makes every connection suspect, and so does one that
/// is given up after this long.
const SUSPECT: Duration = Duration::from_millis(500);
const GIVEN_UP: Duration = Duration::from_millis(90);
/// Credentials are read again at most this often.
const RENEW: Duration = Duration::from_secs(2);
/// How long what was sent may be unacknowledged.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);
/// After how much silence the kernel asks whether anybody is there, and how often, how many times.
const SILENCE: Duration = Duration::from_secs(15);
const ASK_EVERY: Duration = Duration::from_secs(5);
const ASK_TIMES: u32 = 3;

type As = BoxCloneSyncService<Request<Body>, Response<Incoming>, BoxError>;

/// A client of its own for what this access names.
pub(crate) fn client(access: &Access, config: Config) -> kube::Result<kube::Client> {
    let namespace = config.default_namespace.clone();
    let state = State { service: service(&config)?, number: 0 };
    let shared = Shared {
        access: access.clone(),
        state: Mutex::new(state),
        renewed: tokio::sync::Mutex::new(None),
    };
    Ok(kube::Client::new(Transport(Arc::new(shared)), namespace))
}

/// The server as somebody: connections, and the credentials they carry.
fn service(config: &Config) -> kube::Result<As> {
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(config.extra_headers_layer()?)
        .option_layer(config.auth_layer()?)
        .map_err(BoxError::from)
        .service(Connections::new(config.rustls_https_connector_with_connector(tcp(config))?));
    Ok(BoxCloneSyncService::new(service))
}

/// A request is sent when it is made: without `TCP_NODELAY` the first one on each connection, and so
/// each watch, waits 40 ms for an acknowledgement.
fn tcp(config: &Config) -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_keepalive(Some(SILENCE));
    connector.set_keepalive_interval(Some(ASK_EVERY));
    connector.set_keepalive_retries(Some(ASK_TIMES));
    #[cfg(target_os = "linux")]
    connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX));
    connector
}

/// Sends each request as who the credentials say at the time.
#[derive(Clone)]
struct Transport(Arc<Shared>);

struct Shared {
    access: Access,
    state: Mutex<State>,
    /// When the credentials were read again last; whoever does so has it.
    renewed: tokio::sync::Mutex<Option<Instant>>,
}

struct State {
    service: As,
    /// How often the credentials were read again.
    number: u64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server as somebody else than the `number`-th, if there is anybody else.
    async fn renew(&self, number: u64) -> Option<As> {
        let mut renewed = self.renewed.lock().await;
        {
            let state = self.state();
            if state.number != number {
                return Some(state.service.clone());
            }
        }
        if renewed.is_some_and(|at| at.elapsed() < RENEW) {
            return None;
        }
        *renewed = Some(Instant::now());
        let config = config(&self.access).await.ok()?;
        let service = service(&config).ok()?;
        *self.state() = State { service: service.clone(), number: number + 1 };
        Some(service)
    }
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        let (service, number) = {
            let state = shared.state();
            (state.service.clone(), state.number)
        };
        Box::pin(async move {
            let again = copy(&request);
            let answer = service.oneshot(request).await?;
            if answer.status() != StatusCode::UNAUTHORIZED {
                return Ok(answer);
            }
            let Some(again) = again else { return Ok(answer) };
            match shared.renew(number).await {
                Some(service) => service.oneshot(again).await,
                None => Ok(answer),
            }
        })
    }
}

/// The same request, without the credentials that are added on the way.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// Connections to one server. Those at rest are used again, unless they may be dead.
#[derive(Clone)]
struct Connections<C> {
    connector: C,
    used: Arc<Mutex<Used<C>>>,
}

struct Used<C> {
    client: Client<C, Body>,
    /// How often all before were left to nobody.
    number: u64,
}

impl<C: Connect + Clone + Send + Sync + 'static> Connections<C> {
    fn new(connector: C) -> Self {
        let client = Client::builder(TokioExecutor::new()).build(connector.clone());
        Self { connector, used: Arc::new(Mutex::new(Used { client, number: 0 })) }
    }

    fn used(&self) -> MutexGuard<'_, Used<C>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on others than the `number`-th are used.
    fn leave(&self, number: u64) {
        let client = Client::builder(TokioExecutor::new()).build(self.connector.clone());
        let mut used = self.used();
        if used.number == number {
            *used = Used { client, number: number + 1 };
        }
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> Service<Request<Body>> for Connections<C> {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let connections = self.clone();
        let server = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        Box::pin(async move {
            let (mut answer, number) = {
                let used = connections.used();
                (used.client.request(request), used.number)
            };
            let since = Instant::now();
            let mut unanswered = Unanswered { connections: Some(&connections), number, since };
            let answer = match timeout(SUSPECT, &mut answer).await {
                Ok(answer) => answer,
                // It may still come: the writer who gave it up waits for it, too.
                Err(_) => {
                    connections.leave(number);
                    answer.await
                }
            };
            unanswered.connections = None;
            Ok(answer.map_err(|cause| At { server, cause })?)
        })
    }
}

/// What a server was asked in vain, by its name and port.
#[derive(Debug)]
struct At {
    server: String,
    cause: hyper_util::client::legacy::Error,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.server)
    }
}

impl std::error::Error for At {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// A request under way. Dropping it unanswered leaves the connections at rest to nobody.
struct Unanswered<'a, C: Connect + Clone + Send + Sync + 'static> {
    connections: Option<&'a Connections<C>>,
    number: u64,
    since: Instant,
}

impl<C: Connect + Clone + Send + Sync + 'static> Drop for Unanswered<'_, C> {
    fn drop(&mut self) {
        if let Some(connections) = self.connections
            && self.since.elapsed() >= GIVEN_UP
        {
            connections.leave(self.number);
        }
    }
}
