//! An API server in the world of a schedule, and the way to it.
//!
//! Owns the requests and watches that a store of Kubernetes really sends: they take the same network
//! as those of the other stores. **A watch is a stream**: it
//! may fall silent or break, but leaves nothing out.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;

use super::format::Format;
use super::net::{Reply, Request};
use super::world::{Event, Frozen, World};
use super::{with, with_any};
use crate::api::{Answer, Request as Asked, Server, Watching};
use crate::sim::internals::{Dice, MILLI, Plan, SECOND};
use crate::sim::{StoreKind, Telling};

/// How often a quiet watch is told how far it has come.
const MARK_EVERY: u64 = 60 * SECOND;
/// How often everybody looks at timers of its runtime.
const TICK: u64 = 500 * MILLI;
/// What a client that was cut off too often may do without a watch, and then be opening one.
pub(super) const BLIND: u64 = 75 * SECOND;

/// The server and the watches on it.
#[derive(Debug)]
pub(super) struct Cluster {
    format: Format,
    server: Server,
    follows: Vec<Follow>,
}

#[derive(Debug)]
struct Follow {
    by: (usize, u32),
    watching: Watching,
    came: VecDeque<Piece>,
    waker: Option<Waker>,
    open: bool,
    deaf: bool,
    /// When the last piece that is on its way arrives.
    last: u64,
}

/// What comes on a watch.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    /// Whole lines.
    Lines(String),
    /// The server ended it.
    End,
    /// The connection broke.
    Broken,
}

impl Cluster {
    /// With whatever has to be there before anybody can lock in this format.
    pub(super) fn new(format: Format) -> Self {
        let server = Server::new();
        if let Some(ground) = format.ground() {
            let _ = server.admin("POST", format.all(), ground.to_string().into_bytes());
        }
        Self { format, server, follows: Vec::new() }
    }

    pub(super) fn revision(&self) -> u64 {
        self.server.revision()
    }
}

impl World {
    /// The world of an API server: the faults are those of a Lease, in each format.
    pub(super) fn with_cluster(seed: u64, telling: Telling) -> Self {
        let format = Format::of(seed);
        let mut tries = 0;
        loop {
            let mut dice = Dice::new(seed ^ 0xd1e5 ^ tries << 48);
            let plan = match format.wall_clocks() {
                true => Plan::draw_for_wall_clocks(&mut dice),
                false => Plan::draw(&mut dice),
            };
            if plan.store == StoreKind::Lease {
                let mut world = Self::planned(dice, plan, telling);
                world.format = Some(format);
                world.cluster = Some(Cluster::new(format));
                world.at(0, Event::Tick);
                return world;
            }
            tries += 1;
        }
    }

    fn cluster(&mut self) -> &mut Cluster {
        self.cluster.as_mut().expect("a world with a cluster")
    }

    pub(super) fn api(&mut self) -> (Format, Server) {
        let Cluster { format, server, .. } = self.cluster();
        (*format, server.clone())
    }

    /// The server carries out a request.
    pub(super) fn serves(&mut self, number: usize, request: &Asked) -> Reply {
        let (by, sent) = (self.calls[number].by, self.calls[number].sent);
        let (format, server) = self.api();
        let before = server.revision();
        let (code, body) = match server.answer(request) {
            Answer::Whole(code, body) => (code, body),
            Answer::Watch(watching) => return self.opens(by, *watching),
        };
        let now = server.revision();
        self.trace.mix(now ^ u64::from(code) << 48);
        let object: Value = serde_json::from_str(&body).unwrap_or_default();
        if now != before {
            let own = format!("p{}.{}.", by.0, by.1);
            if format.holder(&object).starts_with(&own) && self.sides[by.0].life == by.1 {
                self.proved(by.0, sent);
            }
            self.tell_lines();
        }
        // What a user reads or lists is not told to the claims of the process, and a claim's own read
        // cannot be told from it.
        let told = object["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok());
        let revision = told.filter(|_| request.method != "GET").unwrap_or(0);
        Reply::Api { code, body, revision }
    }

    fn opens(&mut self, by: (usize, u32), watching: Watching) -> Reply {
        let seconds = watching.seconds().unwrap_or(300);
        let follows = &mut self.cluster().follows;
        let number = follows.len();
        follows.push(Follow {
            by,
            watching,
            came: VecDeque::new(),
            waker: None,
            open: true,
            deaf: false,
            last: 0,
        });
        self.tells(number);
        self.at(MARK_EVERY, Event::Mark(number));
        self.at(seconds * SECOND, Event::CutOff(number));
        Reply::Opened(number)
    }

    /// Tells every watch what has happened.
    pub(super) fn tell_lines(&mut self) {
        let skip = self.net().skip;
        for number in 0..self.cluster().follows.len() {
            let Follow { by, open, deaf, .. } = self.cluster().follows[number];
            if !open || deaf || self.sides[by.0].life != by.1 {
                continue;
            }
            if self.dice.chance(skip) || self.is_lost_to(by.0) {
                self.goes_deaf(number);
            } else {
                self.tells(number);
            }
        }
    }

    fn tells(&mut self, number: usize) {
        let Cluster { server, follows, .. } = self.cluster();
        let server = server.clone();
        let follow = &mut follows[number];
        let lines = server.lines(&mut follow.watching).concat();
        let over = follow.watching.is_over();
        if !lines.is_empty() {
            self.comes(number, Piece::Lines(lines));
        }
        if over {
            self.comes(number, Piece::End);
        }
    }

    /// A piece is on its way, behind those before it.
    fn comes(&mut self, number: usize, piece: Piece) {
        let at = self.now + self.way();
        let now = self.now;
        let follow = &mut self.cluster().follows[number];
        follow.last = follow.last.max(at);
        let delay = follow.last - now;
        self.at(delay, Event::Piece(number, piece));
    }

    /// Nothing more comes on this watch, until it breaks: at once, in a calm.
    pub(super) fn goes_deaf(&mut self, number: usize) {
        if !std::mem::replace(&mut self.cluster().follows[number].deaf, true) {
            let longest = if self.calm { 0 } else { 2 * self.ttl() };
            let silence = self.way() + self.dice.below(longest);
            self.at(silence, Event::Piece(number, Piece::Broken));
        }
    }

    /// The watches of a process fall silent; sometimes what they missed is forgotten, too.
    pub(super) fn deafens(&mut self, process: usize) {
        for number in 0..self.cluster().follows.len() {
            let Follow { by, open, .. } = self.cluster().follows[number];
            if open && by.0 == process {
                self.goes_deaf(number);
            }
        }
        if self.dice.chance(300) {
            self.cluster().server.compact();
        }
    }

    /// In a calm what is deaf breaks, and is heard of again.
    pub(super) fn undeafens(&mut self) {
        for number in 0..self.cluster().follows.len() {
            if self.cluster().follows[number].deaf {
                self.cluster().follows[number].deaf = false;
                self.goes_deaf(number);
            }
        }
    }

    pub(super) fn marks(&mut self, number: usize) {
        let Cluster { server, follows, .. } = self.cluster();
        let Follow { open, deaf, ref mut watching, .. } = follows[number];
        let line = server.bookmark(watching);
        if open {
            if let Some(line) = line.filter(|_| !deaf) {
                self.comes(number, Piece::Lines(line));
            }
            self.at(MARK_EVERY, Event::Mark(number));
        }
    }

    pub(super) fn cuts_off(&mut self, number: usize) {
        let Follow { open, deaf, .. } = self.cluster().follows[number];
        if open && !deaf {
            self.comes(number, Piece::End);
        }
    }

    /// A piece reaches its process.
    pub(super) fn piece(&mut self, number: usize, piece: Piece) {
        let Follow { by: (process, life), open, deaf, .. } = self.cluster().follows[number];
        if !open || self.sides[process].life != life {
            return;
        }
        let broken = matches!(piece, Piece::Broken);
        match self.sides[process].reach(self.now) {
            // What was on its way when it fell silent is lost with the rest.
            Frozen::No if deaf && !broken => return,
            Frozen::No => {}
            Frozen::Loses if !broken => return self.goes_deaf(number),
            Frozen::Loses | Frozen::Until(_) => {
                let at = self.sides[process].frozen_until - self.now;
                return self.at(at, Event::Piece(number, piece));
            }
        }
        let now = self.now;
        self.trace.say(|| format!("{now:>15} p{process} is told {piece:?}"));
        let follow = &mut self.cluster().follows[number];
        follow.came.push_back(piece);
        let waker = follow.waker.take();
        self.sides[process].wake(waker);
    }

    fn piece_of(&mut self, number: usize, waker: &Waker) -> Option<Piece> {
        let follow = &mut self.cluster().follows[number];
        let (piece, process) = (follow.came.pop_front(), follow.by.0);
        match &piece {
            None => follow.waker = Some(waker.clone()),
            // Not earlier: the watch may not have been known to be open when it came.
            Some(Piece::Lines(lines)) => {
                let newest = lines.lines().filter_map(told).max().unwrap_or(0);
                self.sides[process].newest = self.sides[process].newest.max(newest);
            }
            Some(Piece::End | Piece::Broken) => {}
        }
        piece
    }

    fn hangs_up(&mut self, number: usize) {
        let follow = self.cluster.as_mut().and_then(|c| c.follows.get_mut(number));
        if let Some(follow) = follow {
            follow.open = false;
            follow.waker = None;
        }
    }

    /// Timers of every runtime that are due are looked at.
    pub(super) fn ticks(&mut self) {
        self.sides.iter_mut().for_each(|side| side.woken = true);
        self.at(TICK, Event::Tick);
    }
}

/// The version that a line tells of.
fn told(line: &str) -> Option<u64> {
    let event: Value = serde_json::from_str(line).ok()?;
    event["object"]["metadata"]["resourceVersion"].as_str()?.parse().ok()
}

/// A client of the process of this number, in this life of it. Needs its runtime around it.
#[must_use]
pub fn client(process: usize, life: u32) -> kube::Client {
    kube::Client::new(Service { by: (process, life) }, "default")
}

#[derive(Clone)]
struct Service {
    by: (usize, u32),
}

impl tower::Service<http::Request<Body>> for Service {
    type Response = http::Response<Answers>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Answers>, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let by = self.by;
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(Error::other)?.to_bytes();
            let content = parts.headers.get(http::header::CONTENT_TYPE);
            let asked = Asked {
                method: parts.method.to_string(),
                path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
                content: content.and_then(|c| c.to_str().ok()).unwrap_or_default().to_owned(),
                token: "admin".to_owned(),
                body: body.to_vec(),
            };
            let number = with(|w| w.send(by, Request::Api(asked)));
            let waits = Waits(number);
            let reply = poll_fn(|cx| match with(|w| w.reply_to(number, cx.waker())) {
                Some(reply) => Poll::Ready(reply),
                None => Poll::Pending,
            });
            let reply = reply.await;
            drop(waits);
            let (code, answers) = match reply {
                Reply::Api { code, body, .. } => (code, Answers::Whole(Some(body.into()))),
                Reply::Opened(number) => (200, Answers::Follows(number)),
                Reply::Refused => {
                    return Err(Error::new(ErrorKind::ConnectionRefused, "nobody listens"));
                }
                _ => return Err(Error::new(ErrorKind::ConnectionReset, "the connection broke")),
            };
            let mut response = http::Response::new(answers);
            *response.status_mut() = http::StatusCode::from_u16(code).map_err(Error::other)?;
            Ok(response)
        })
    }
}

/// A request that is waited for.
struct Waits(usize);

impl Drop for Waits {
    fn drop(&mut self) {
        with_any(|w| w.forget(self.0));
    }
}

/// The body of an answer.
enum Answers {
    Whole(Option<Bytes>),
    Follows(usize),
}

impl http_body::Body for Answers {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let number = match &mut *self {
            Self::Whole(body) => return Poll::Ready(body.take().map(|b| Ok(Frame::data(b)))),
            Self::Follows(number) => *number,
        };
        match with(|w| w.piece_of(number, cx.waker())) {
            None => Poll::Pending,
            Some(Piece::Lines(lines)) => Poll::Ready(Some(Ok(Frame::data(lines.into())))),
            Some(Piece::End) => Poll::Ready(None),
            Some(Piece::Broken) => {
                Poll::Ready(Some(Err(Error::new(ErrorKind::ConnectionReset, "broken"))))
            }
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        if let Self::Follows(number) = *self {
            with_any(|w| w.hangs_up(number));
        }
    }
}
