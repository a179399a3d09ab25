//! A Kubernetes API server in memory: what the stores of Kubernetes rely upon, and nothing else.
//!
//! ```text
//!  kube::Client ──> Road (late, lost, doubled, refused) ──> Server: access ─> path ─> objects
//!        ^                                                    └── history ──> watches
//!        └──────────────── answers, lines of watches ──────────────┘
//! ```
//!
//! Owns objects as JSON under one counter of versions, their history, watches on it, and who may do
//! what. Knows no lock, no time and no randomness: [`Road`] has those of tokio, which may be paused.
//! **What it answers is what a real server answers**: `tenure-kube/tests/behaviour.rs` asks both.
//! It does not know the types of objects: unknown fields stay, and only a few fields are checked.

mod access;
mod client;
mod objects;
mod path;
mod selector;
mod status;
mod valid;
mod watching;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

pub use access::{Rule, User};
pub use client::{Answers, Fate, Road, Service};
pub use path::Resource;
pub use watching::Watching;

use objects::Objects;
use path::{Place, Query};
use status::Status;

/// A request as it reaches the server.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// The path and the query.
    pub path: String,
    /// The content type.
    pub content: String,
    /// The bearer token.
    pub token: String,
    /// The body.
    pub body: Vec<u8>,
}

/// What the server answers.
#[derive(Debug)]
pub enum Answer {
    /// A status and a body.
    Whole(u16, String),
    /// Lines that go on, from [`Server::lines`].
    Watch(Box<Watching>),
}

/// An API server. A clone is the same server.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Moves whenever something is told to watches.
    changed: watch::Sender<u64>,
}

struct State {
    resources: Vec<Resource>,
    users: Vec<User>,
    objects: Objects,
    gone_as_status: bool,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    /// A server that knows the namespace `default`, and the user `admin` by a token of that name.
    #[must_use]
    pub fn new() -> Self {
        let state = State {
            resources: path::built_in(),
            users: vec![User::admin("admin")],
            objects: Objects::new(),
            gone_as_status: false,
        };
        let (changed, _) = watch::channel(0);
        let server = Self(Arc::new(Shared { state: Mutex::new(state), changed }));
        server.namespace("default");
        server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a namespace, unless it is there.
    pub fn namespace(&self, name: &str) {
        let body = serde_json::json!({"metadata": {"name": name}}).to_string().into_bytes();
        let _ = self.admin("POST", "/api/v1/namespaces", body);
    }

    /// Makes a resource known: installs a CRD.
    pub fn install(&self, resource: Resource) {
        self.state().resources.push(resource);
    }

    /// Makes a user known, in place of an earlier one with this token.
    pub fn user(&self, user: User) {
        let mut state = self.state();
        state.users.retain(|known| known.token != user.token);
        state.users.push(user);
    }

    /// The token is no longer valid.
    pub fn revoke(&self, token: &str) {
        self.state().users.retain(|known| known.token != token);
    }

    /// Forgets the history: what is older is too old from now on. Watches that told all of it go on.
    pub fn compact(&self) {
        self.state().objects.compact();
    }

    /// Whether what is too old is answered by the status 410 instead of an event in a watch.
    pub fn gone_as_status(&self, yes: bool) {
        self.state().gone_as_status = yes;
    }

    /// The counter of versions.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.state().objects.revision()
    }

    /// Sets every version that is given from now on, to see what a client makes of text that is no
    /// number. `None`: numbers again.
    pub fn odd_versions(&self, prefix: Option<&'static str>) {
        self.state().objects.odd = prefix;
    }

    /// Answers a request of the administrator: the status and the object.
    pub fn admin(&self, method: &str, path: &str, body: Vec<u8>) -> (u16, Value) {
        let content = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request {
            method: method.into(),
            path: path.into(),
            content: content.into(),
            token: "admin".into(),
            body,
        };
        match self.answer(&request) {
            Answer::Whole(code, body) => {
                (code, serde_json::from_str(&body).unwrap_or(Value::String(body)))
            }
            Answer::Watch(mut watching) => (200, Value::String(self.lines(&mut watching).concat())),
        }
    }

    /// Carries out a request.
    #[must_use]
    pub fn answer(&self, request: &Request) -> Answer {
        let before = self.revision();
        let answer = self.state().answer(request);
        let after = self.revision();
        if after != before {
            self.0.changed.send_replace(after);
        }
        match answer {
            Ok(answer) => answer,
            Err(status) => Answer::Whole(status.code, status.body()),
        }
    }

    /// What a watch has to tell since the last call; each line ends with `\n`.
    #[must_use]
    pub fn lines(&self, watching: &mut Watching) -> Vec<String> {
        watching.lines(&self.state().objects)
    }

    /// A line that tells how far a watch has come, if it wants to be told.
    #[must_use]
    pub fn bookmark(&self, watching: &mut Watching) -> Option<String> {
        watching.bookmark(&self.state().objects)
    }

    /// Moves whenever a watch may have something to tell.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Result<Answer, Status> {
        let user = self.users.iter().find(|user| user.token == request.token);
        let user = user.ok_or_else(status::unauthorized)?;
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let query = Query::parse(query);
        let place = Place::parse(path, &self.resources);
        let place = match place {
            Some(place) => place,
            None if path::is_known_group(path, &self.resources) => return Err(status::unknown()),
            None => return Ok(Answer::Whole(404, "404 page not found\n".to_owned())),
        };
        let verb = verb(&request.method, &place, &query)?;
        access::check(user, verb, &place, &query)?;
        match verb {
            "list" => self.objects.list(&place, &query).map(whole(200)),
            "watch" => {
                let watching = Watching::open(&self.objects, &place, &query)?;
                if self.gone_as_status && watching.is_gone() {
                    return Err(status::expired());
                }
                Ok(Answer::Watch(Box::new(watching)))
            }
            "get" => self.objects.get(&place).map(whole(200)),
            "delete" => {
                let options = match request.body.is_empty() {
                    true => Value::Null,
                    false => status::parse(&request.body)?,
                };
                self.objects.delete(&place, &options).map(whole(200))
            }
            "create" => {
                let body = status::parse(&request.body)?;
                self.objects.create(&place, body).map(whole(201))
            }
            "update" => {
                let body = status::parse(&request.body)?;
                let (made, object) = self.objects.update(&place, body)?;
                Ok(whole(if made { 201 } else { 200 })(object))
            }
            _ => {
                if request.content != "application/merge-patch+json" {
                    return Err(status::media(&request.content));
                }
                let patch = status::parse(&request.body)?;
                self.objects.patch(&place, &patch).map(whole(200))
            }
        }
    }
}

fn whole(code: u16) -> impl Fn(Value) -> Answer {
    move |object| Answer::Whole(code, object.to_string())
}

/// The verb, as a Role names it.
fn verb(method: &str, place: &Place, query: &Query) -> Result<&'static str, Status> {
    Ok(match (method, place.name.is_some()) {
        ("GET", _) if query.is("watch") => "watch",
        ("GET", true) => "get",
        ("GET", false) => "list",
        ("POST", false) => "create",
        ("PUT", true) => "update",
        ("PATCH", true) => "patch",
        ("DELETE", true) => "delete",
        _ => return Err(status::method()),
    })
}
