//! The way between a client and the server, and what becomes of requests on it.
//!
//! ```text
//! kube::Client ─> Service ─> fate ─┬─> a task: there, carried out, back ─> answer
//!                                  └─> refused, broken off, never heard of again
//! ```
//!
//! **A request is a task of its own from when it leaves**: to drop its future ends nothing. Time is
//! tokio's, so that a paused runtime runs through it.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use kube::client::Body;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use super::{Answer, Request, Server, Watching};

/// How often a quiet watch is told how far it has come.
const BOOKMARK: Duration = Duration::from_secs(60);

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is carried out after the first duration and answered after the second.
    Answered(Duration, Duration),
    /// It is answered by this status, after how many seconds to come again, and not carried out.
    Refused(u16, Option<u64>),
    /// There is no connection to send it on.
    NoConnection,
    /// The connection breaks before it arrives.
    Lost,
    /// It never arrives, and the connection stands: half-open.
    Stalled,
    /// It is carried out, and the connection breaks before the answer.
    LostReply,
    /// It is carried out, and no answer ever comes. A watch tells nothing.
    Silent,
    /// It is carried out, and this much later once more. The first answer is told.
    Twice(Duration),
}

impl Fate {
    /// What becomes of a request where nothing is wrong.
    pub const FINE: Self = Self::Answered(Duration::ZERO, Duration::ZERO);
}

type Decides = Box<dyn FnMut(&Request) -> Fate + Send>;

/// A way to the server, for one user. A clone is the same way.
#[derive(Clone)]
pub struct Road(Arc<Shared>);

struct Shared {
    server: Server,
    state: Mutex<State>,
}

struct State {
    token: String,
    decides: Decides,
    asked: Vec<(String, String)>,
    /// Counts how often all connections were cut.
    cuts: u64,
    down: bool,
}

impl fmt::Debug for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Road").finish_non_exhaustive()
    }
}

impl Road {
    /// A way on which nothing is wrong.
    #[must_use]
    pub fn new(server: &Server, token: &str) -> Self {
        let state = State {
            token: token.to_owned(),
            decides: Box::new(|_| Fate::FINE),
            asked: Vec::new(),
            cuts: 0,
            down: false,
        };
        Self(Arc::new(Shared { server: server.clone(), state: Mutex::new(state) }))
    }

    /// A client on this way. Needs a runtime of tokio around it.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        kube::Client::new(Service(self.clone()), "default")
    }

    /// From now on `decides` says what becomes of each request.
    pub fn decide(&self, decides: impl FnMut(&Request) -> Fate + Send + 'static) {
        self.state().decides = Box::new(decides);
    }

    /// What becomes of the next requests that `meets` is true of, in order; all others are fine.
    pub fn next(
        &self,
        meets: impl Fn(&Request) -> bool + Send + 'static,
        fates: impl IntoIterator<Item = Fate>,
    ) {
        let mut fates: VecDeque<Fate> = fates.into_iter().collect();
        self.decide(move |request| match meets(request) {
            true => fates.pop_front().unwrap_or(Fate::FINE),
            false => Fate::FINE,
        });
    }

    /// Every request from now on carries this token.
    pub fn token(&self, token: &str) {
        self.state().token = token.to_owned();
    }

    /// The server stops or is there again; when it stops, every watch breaks.
    pub fn down(&self, down: bool) {
        let mut state = self.state();
        state.down = down;
        state.cuts += u64::from(down);
        drop(state);
        self.0.server.0.changed.send_modify(|_| {});
    }

    /// Takes the requests that were made since the last call: method and path.
    #[must_use]
    pub fn asked(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.state().asked)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fate(&self, request: &mut Request) -> Fate {
        let mut state = self.state();
        request.token.clone_from(&state.token);
        state.asked.push((request.method.clone(), request.path.clone()));
        if state.down {
            return Fate::NoConnection;
        }
        (state.decides)(request)
    }

    async fn travels(self, request: Request, fate: Fate, answer: oneshot::Sender<Answered>) {
        let server = &self.0.server;
        let broken = |what: &str| Error::new(ErrorKind::ConnectionReset, what.to_owned());
        let said = match fate {
            Fate::Answered(there, back) => {
                sleep(there).await;
                let said = server.answer(&request);
                sleep(back).await;
                said
            }
            Fate::Refused(code, after) => {
                let body = refusal(code);
                answer.send(Ok(response(code, after, Answers::whole(body)))).ok();
                return;
            }
            Fate::NoConnection => {
                answer.send(Err(Error::new(ErrorKind::ConnectionRefused, "nobody listens"))).ok();
                return;
            }
            Fate::Lost => {
                answer.send(Err(broken("reset on the way there"))).ok();
                return;
            }
            // The connection is there as long as the client wants it.
            Fate::Stalled => return hang(answer).await,
            Fate::LostReply => {
                let _ = server.answer(&request);
                answer.send(Err(broken("reset on the way back"))).ok();
                return;
            }
            Fate::Silent => match server.answer(&request) {
                Answer::Watch(_) => {
                    let (lines, body) = mpsc::unbounded_channel();
                    answer.send(Ok(response(200, None, Answers(body)))).ok();
                    return lines.closed().await;
                }
                Answer::Whole(..) => return hang(answer).await,
            },
            Fate::Twice(later) => {
                let said = server.answer(&request);
                let server = server.clone();
                tokio::spawn(async move {
                    sleep(later).await;
                    let _ = server.answer(&request);
                });
                said
            }
        };
        match said {
            Answer::Whole(code, body) => {
                answer.send(Ok(response(code, None, Answers::whole(body)))).ok();
            }
            Answer::Watch(watching) => {
                let (lines, body) = mpsc::unbounded_channel();
                if answer.send(Ok(response(200, None, Answers(body)))).is_ok() {
                    self.tells(*watching, lines).await;
                }
            }
        }
    }

    /// Tells a watch what happens, until it is over, or cut off, or nobody listens.
    async fn tells(&self, mut watching: Watching, lines: mpsc::UnboundedSender<Line>) {
        let server = &self.0.server;
        let (mut changes, cuts) = (server.changes(), self.state().cuts);
        let end = watching.seconds().map(|seconds| Instant::now() + Duration::from_secs(seconds));
        loop {
            changes.borrow_and_update();
            for line in server.lines(&mut watching) {
                lines.send(Ok(line.into())).ok();
            }
            if self.state().cuts != cuts {
                lines.send(Err(Error::new(ErrorKind::ConnectionReset, "cut"))).ok();
                return;
            }
            if watching.is_over() || lines.is_closed() {
                return;
            }
            let mark = Instant::now() + BOOKMARK;
            let next = end.map_or(mark, |end| end.min(mark));
            if timeout_at(next, changes.changed()).await.is_ok() {
                continue;
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                return;
            }
            if let Some(line) = server.bookmark(&mut watching) {
                lines.send(Ok(line.into())).ok();
            }
        }
    }
}

async fn hang(mut answer: oneshot::Sender<Answered>) {
    answer.closed().await;
}

fn refusal(code: u16) -> String {
    let (reason, message) = match code {
        429 => ("TooManyRequests", "too many requests, please try again later"),
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
        504 => ("Timeout", "request timed out"),
        _ => ("InternalError", "an error on the server has prevented the request"),
    };
    serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
    .to_string()
}

type Answered = Result<http::Response<Answers>, Error>;
type Line = Result<Bytes, Error>;

fn response(code: u16, after: Option<u64>, body: Answers) -> http::Response<Answers> {
    let mut response = http::Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    if let Some(after) = after {
        response.headers_mut().insert(http::header::RETRY_AFTER, after.into());
    }
    response
}

/// The body of an answer.
#[derive(Debug)]
pub struct Answers(mpsc::UnboundedReceiver<Line>);

impl Answers {
    fn whole(body: String) -> Self {
        let (lines, receiver) = mpsc::unbounded_channel();
        lines.send(Ok(body.into())).ok();
        Self(receiver)
    }
}

impl http_body::Body for Answers {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.0.poll_recv(cx).map(|line| line.map(|line| line.map(Frame::data)))
    }
}

/// A way as a client's service.
#[derive(Clone, Debug)]
pub struct Service(Road);

impl tower::Service<http::Request<Body>> for Service {
    type Response = http::Response<Answers>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Answered> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let road = self.0.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(Error::other)?.to_bytes();
            let content = parts.headers.get(http::header::CONTENT_TYPE);
            let mut request = Request {
                method: parts.method.to_string(),
                path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
                content: content.and_then(|c| c.to_str().ok()).unwrap_or_default().to_owned(),
                token: String::new(),
                body: body.to_vec(),
            };
            let fate = road.fate(&mut request);
            let (send, answer) = oneshot::channel();
            tokio::spawn(road.travels(request, fate, send));
            answer.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::ConnectionReset, "gone")))
        })
    }
}
