//! One request, one answer, or the lines of one answer that goes on.
//!
//! Knows bytes and JSON; knows no resource. A client's own retries are off, so that one call is one
//! request.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::{HeaderMap, Method, Request, Response, header};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::clock::{Ahead, Moment, ServerClock};

/// How many requests are under way at once, watches aside: each has a connection of its own.
const AT_ONCE: usize = 16;
/// How long a request waits for its turn. It was not sent: nobody has to read what came of it.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// After how long a request that is not answered counts no more.
const TURN_MAX: Duration = Duration::from_millis(500);
/// How long a server may be left alone that asks for it, where no hold ends meanwhile.
pub(crate) const SPARE: Duration = Duration::from_secs(5);
/// A line of a watch is an object, and the largest object is smaller.
const LINE_MAX: usize = 8 << 20;

/// A question that nobody waits for with a deadline of his own is waited for so long.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Under which name the server notes who wrote.
const AGENT: &str = concat!("tenure/", env!("CARGO_PKG_VERSION"));

/// An answer, whatever it says.
#[derive(Debug)]
pub(crate) struct Probe {
    /// How far our clock is ahead of the server's, if that tells it.
    pub(crate) ahead: Option<Ahead>,
    pub(crate) refusal: Option<Status>,
    pub(crate) object: Value,
}

/// A refusal in the server's words.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) code: u16,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Status {
    /// Reads the `Status` that an error or an event carries.
    pub(crate) fn read(code: u16, object: &Value) -> Self {
        let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
        let said = object.get("code").and_then(Value::as_u64).and_then(|c| u16::try_from(c).ok());
        let code = said.unwrap_or(code);
        Self { code, reason: text("reason").to_owned(), message: text("message").to_owned() }
    }
}

/// A request that got no answer.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) what: String,
    /// Whether the server may have carried it out.
    pub(crate) may_have_arrived: bool,
}

/// Why a request was not answered by what was asked for.
#[derive(Debug)]
pub(crate) enum Failed {
    Refused(Status),
    Broken(Broken),
}

impl Failed {
    /// No answer, or none that can be understood, to what changes nothing.
    pub(crate) fn lost(what: &str) -> Self {
        Self::Broken(lost(what.to_owned()))
    }
}

/// A connection to one API server, usable from any thread: the runtime it was made on does the I/O.
///
/// Limits itself: so many requests at once and no more, and none for as long as the server asked to be
/// left alone, if that can be spared.
#[derive(Clone)]
pub(crate) struct Http {
    client: kube::Client,
    runtime: Handle,
    clock: Arc<ServerClock>,
    turns: Arc<Semaphore>,
    busy: Arc<Mutex<Option<Busy>>>,
}

/// What a server said that is asked too much.
#[derive(Clone, Copy)]
struct Busy {
    since: Instant,
    pause: Duration,
}

impl Http {
    pub(crate) fn new(client: kube::Client, runtime: Handle) -> Self {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        Self { client, runtime, clock: Arc::default(), turns, busy: Arc::default() }
    }

    /// What the server's answers told of its clock.
    pub(crate) fn clock(&self) -> Option<Option<Ahead>> {
        self.clock.known()
    }

    /// Has the runtime do something of its own.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.runtime.spawn(task).abort_handle()
    }

    /// Sends a request and reads the whole answer. A server that asked to be left alone is, as long
    /// as `spare` at the most.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        spare: Duration,
    ) -> Result<Value, Failed> {
        self.on_runtime(async {
            // Sent late it would only be in the way: whoever asks has given it up by then.
            let Ok(turn) = timeout((spare / 2).min(WAIT_MAX), self.turns.acquire()).await else {
                let what = format!("{AT_ONCE} requests are under way, and the server is slow");
                return Err(Failed::lost(&what));
            };
            if let Some(left) = self.busy_for(spare) {
                let what = format!("the server is busy and wants to be left alone for {left:?}");
                return Err(Failed::lost(&what));
            }
            let mut answer = pin!(self.answer(method, path, body));
            if let Ok(answer) = timeout(TURN_MAX, &mut answer).await {
                return answer;
            }
            // What is never answered keeps nobody else from asking.
            drop(turn);
            answer.await
        })
        .await
    }

    /// The same, with what is not of the object: a refusal is an answer, too.
    pub(crate) async fn probe(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Probe, Failed> {
        let asking = async {
            let (answer, ahead) = self.exchange(method, path, body).await?;
            let code = answer.status().as_u16();
            let body = answer.into_body().collect().await;
            let bytes = body.map_err(|e| Failed::Broken(broken(&e)))?.to_bytes();
            let object = serde_json::from_slice(&bytes).unwrap_or_default();
            let refusal = (!(200..300).contains(&code)).then(|| Status::read(code, &object));
            Ok(Probe { ahead, refusal, object })
        };
        let answer = async { timeout(SILENCE_MAX, asking).await };
        self.on_runtime(answer).await.unwrap_or_else(|_| {
            Err(Failed::lost(&format!("the server was silent for {SILENCE_MAX:?}")))
        })
    }

    /// Lets this time pass.
    pub(crate) async fn pause(&self, length: Duration) {
        self.on_runtime(async { sleep(length).await }).await;
    }

    async fn answer(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failed> {
        let (status, body) = self.send(method, path, body).await?;
        let bytes = body.collect().await.map_err(|e| Failed::Broken(broken(&e)))?.to_bytes();
        let object = serde_json::from_slice(&bytes).unwrap_or_default();
        match status {
            200..300 => Ok(object),
            code => Err(Failed::Refused(Status::read(code, &object))),
        }
    }

    /// Sends a request whose answer goes on, line by line.
    pub(crate) async fn follow(&self, path: &str) -> Result<Lines, Failed> {
        self.on_runtime(async {
            if let Some(left) = self.busy_for(SPARE) {
                sleep(left).await;
            }
            let (status, body) = self.send(Method::GET, path, None).await?;
            if status == 200 {
                return Ok(Lines { body, read: Vec::new(), searched: 0 });
            }
            let bytes = body.collect().await.map_err(|e| Failed::Broken(broken(&e)))?.to_bytes();
            let object = serde_json::from_slice(&bytes).unwrap_or_default();
            Err(Failed::Refused(Status::read(status, &object)))
        })
        .await
    }

    /// The next line; `None` at the end, which the server or the network decided. What does not come
    /// within `patience` never comes.
    pub(crate) async fn line(
        &self,
        lines: &mut Lines,
        patience: Duration,
    ) -> Result<Option<Value>, Broken> {
        let next = async {
            match timeout(patience, lines.next()).await {
                Ok(line) => line,
                Err(_) => Err(Broken {
                    what: format!("the watch was silent for {patience:?}"),
                    may_have_arrived: false,
                }),
            }
        };
        self.on_runtime(next).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Body), Failed> {
        let (answer, _) = self.exchange(method, path, body).await?;
        Ok((answer.status().as_u16(), answer.into_body()))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(Response<Body>, Option<Ahead>), Failed> {
        let content = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, content)
            .header(header::USER_AGENT, AGENT)
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string().into_bytes())))
            .map_err(|e| Failed::Broken(Broken { what: e.to_string(), may_have_arrived: false }))?;
        let sent = Moment::now();
        let answer = self.client.send(request).await.map_err(|e| Failed::Broken(broken(&e)))?;
        if answer.status().as_u16() == 429 {
            self.is_busy(answer.headers());
        }
        let date = answer.headers().get(header::DATE).and_then(|date| date.to_str().ok());
        let ahead = self.clock.hear(sent, date);
        Ok((answer, ahead))
    }

    /// How long the server wants to be left alone yet, of what can be spared since it said so.
    fn busy_for(&self, spare: Duration) -> Option<Duration> {
        let busy = (*self.busy.lock().unwrap_or_else(PoisonError::into_inner))?;
        busy.pause.min(spare).checked_sub(busy.since.elapsed()).filter(|left| !left.is_zero())
    }

    fn is_busy(&self, headers: &HeaderMap) {
        let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let Some(seconds) = seconds.and_then(|text| text.trim().parse().ok()) else { return };
        let busy = Busy { since: Instant::now(), pause: Duration::from_secs(seconds) };
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) = Some(busy);
    }

    /// Polls `future` as the runtime's own tasks are polled, whoever polls it.
    pub(crate) fn on_runtime<F: Future>(&self, future: F) -> OnRuntime<F> {
        OnRuntime { runtime: self.runtime.clone(), future: Box::pin(future) }
    }
}

pub(crate) struct OnRuntime<F> {
    runtime: Handle,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for OnRuntime<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let runtime = self.runtime.clone();
        let _entered = runtime.enter();
        self.future.as_mut().poll(cx)
    }
}

/// The lines of an answer that goes on.
pub(crate) struct Lines {
    body: Body,
    read: Vec<u8>,
    /// How much of what was read is known to hold no end of a line.
    searched: usize,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<Value>, Broken> {
        loop {
            if let Some(end) = self.read[self.searched..].iter().position(|b| *b == b'\n') {
                let end = self.searched + end;
                let line: Vec<u8> = self.read.drain(..=end).collect();
                self.searched = 0;
                if line.len() > 1 {
                    let garbled = |e: serde_json::Error| lost(format!("the watch is garbled: {e}"));
                    return serde_json::from_slice(&line).map(Some).map_err(garbled);
                }
                continue;
            }
            self.searched = self.read.len();
            if self.searched > LINE_MAX {
                return Err(lost(format!("a line of the watch has over {LINE_MAX} bytes")));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(broken(&error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.read.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}

fn lost(what: String) -> Broken {
    Broken { what, may_have_arrived: false }
}

/// What a failed exchange says; it never arrived only where there was no connection to send it on.
/// A connection that stood may end with the same words, long after it carried the request: that the
/// host cannot be reached is what the kernel says of one that nothing is acknowledged on any more.
fn broken(error: &(dyn std::error::Error + 'static)) -> Broken {
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    let (mut what, mut next) = (error.to_string(), Some(error));
    let (mut nowhere, mut stood) = (false, false);
    while let Some(error) = next {
        let text = error.to_string();
        if !what.contains(&text) {
            what = format!("{what}: {text}");
        }
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            let kinds = [ConnectionRefused, HostUnreachable, NetworkUnreachable];
            nowhere |= kinds.contains(&io.kind());
        }
        // What hyper itself says is of a connection; that there is none is its connector's to say.
        stood |= error.is::<hyper::Error>();
        next = error.source();
    }
    Broken { what, may_have_arrived: stood || !nowhere }
}
