//! One watch on the server: opened, resumed where it was cut off, begun anew where that is too old.
//!
//! ```text
//! begin ──what stands──> follow ──cut off──> follow from the last version ──gone──> begin
//!                           ├──cut off at once, again and again, or forbidden──> no watch
//!                           └──anything else──> failed
//! ```
//!
//! Where the server can begin a watch with what stands there, that is one request, and its end mark
//! says that nothing stands there and as of when. Where it cannot, whoever listens has to look. A
//! watch of all objects begins at a version instead: what stands in a namespace may be much.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use tenure_wire::meta;
use tokio::time::{Instant, sleep, timeout};

use crate::feeds::{Key, News, Over, Source};
use crate::format::Spot;
use crate::http::{Failed, Lines, SPARE, Status};
use crate::store::{Shared, encoded, lean};

/// After how many seconds the server is to cut a watch off, so that both sides tidy up.
const SECONDS: u64 = 300;
/// After how much silence a connection is taken for dead: a bookmark comes about every minute.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// How long a server may take to begin.
const OPEN_MAX: Duration = Duration::from_secs(10);
/// A watch that told nothing and was cut off before this had no chance to.
const CUT: Duration = Duration::from_secs(10);
/// After how many of them in a row it is given up, and the pause before each further one.
const CUTS_MAX: u32 = 3;
const CUT_PAUSE: Duration = Duration::from_millis(250);
/// The pause before what has to be asked in another way.
const AGAIN_PAUSE: Duration = Duration::from_millis(50);
/// How often it is doubled.
const AGAIN_MAX: u32 = 7;
/// How long nobody tries again: what cuts watches off, and what forbids them.
const CUT_TIME: Duration = Duration::from_secs(60);
const FORBIDDEN_TIME: Duration = Duration::from_secs(600);
/// Says that what stood there has been told.
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// The watch of one feed.
pub(crate) struct Stream {
    shared: Arc<Shared>,
    source: Source,
    /// The object, or one of them.
    spot: Spot,
    /// The version to resume at; `None`: begin.
    at: Option<u64>,
    /// How many were cut off at once, one after the other.
    cuts: u32,
}

/// What a line of a watch says.
enum Event {
    Is(Value),
    Gone(String, u64),
    /// Nothing new up to this version; whether all that stood there has been told.
    Mark(u64, bool),
    /// The version to resume at is too old.
    TooOld,
}

/// Why a stream goes on no more.
enum Stop {
    /// It was cut off, or broke.
    Cut,
    /// It has to be asked for in another way.
    Again,
    Over(Over),
}

impl Stream {
    pub(crate) fn new(shared: Arc<Shared>, source: Source, spot: Spot) -> Self {
        Self { shared, source, spot, at: None, cuts: 0 }
    }

    /// Tells what happens until nobody listens, or no more can be told.
    pub(crate) async fn run(mut self) {
        let over = self.go_on().await;
        self.source.end(over);
    }

    async fn go_on(&mut self) -> Over {
        let mut again = 0_u32;
        loop {
            let opened = Instant::now();
            let at = self.at;
            match self.watch().await {
                Stop::Over(over) => return over,
                Stop::Again => {
                    // Of a server that never has what it says: up to some seconds.
                    sleep(AGAIN_PAUSE * (1 << again.min(AGAIN_MAX))).await;
                    again += 1;
                    continue;
                }
                Stop::Cut if opened.elapsed() >= CUT || self.at != at => {
                    (self.cuts, again) = (0, 0)
                }
                Stop::Cut => {
                    self.cuts += 1;
                    if self.cuts >= CUTS_MAX {
                        let why = "each watch is cut off at once";
                        let all = Key { object: None, ..self.source.key.clone() };
                        self.shared.feeds.go_blind(all, CUT_TIME, why);
                        return Over::Moved;
                    }
                    sleep(CUT_PAUSE * self.cuts).await;
                }
            }
            if self.source.key.object.is_none() && self.source.objects() <= 1 {
                // One is watched by itself: a namespace may be busy.
                return Over::Moved;
            }
        }
    }

    /// Opens the watch and tells what it says, to its end.
    async fn watch(&mut self) -> Stop {
        let (wide, begins) = (self.source.key.object.is_none(), self.at.is_none());
        if wide && begins {
            match timeout(OPEN_MAX, self.shared.position(&self.spot)).await {
                Ok(Ok(at)) => self.at = Some(at),
                Ok(Err(failed)) => return self.failed(failed),
                Err(_) => return Stop::Cut,
            }
        }
        let plain = self.shared.plain_watches.load(Ordering::Relaxed);
        let path = path(&self.spot, !wide, self.at, plain);
        let mut lines = match timeout(OPEN_MAX, self.shared.http.follow(&path)).await {
            Ok(Ok(lines)) => lines,
            Ok(Err(Failed::Refused(status))) if status.code == 410 && self.at.is_some() => {
                self.at = None;
                return Stop::Again;
            }
            Ok(Err(Failed::Refused(status)))
                if is_too_much(&status) && self.at.is_none() && !plain =>
            {
                self.shared.plain_watches.store(true, Ordering::Relaxed);
                return Stop::Again;
            }
            Ok(Err(failed)) => return self.failed(failed),
            Err(_) => return Stop::Cut,
        };
        let tells = self.at.is_none() && !plain;
        if begins && !tells {
            self.source.begin(false);
        }
        self.follow(&mut lines, tells).await
    }

    async fn follow(&mut self, lines: &mut Lines, mut tells: bool) -> Stop {
        let mut told_any = false;
        loop {
            let patience = if tells { OPEN_MAX } else { SILENCE_MAX };
            let Ok(Some(line)) = self.shared.http.line(lines, patience).await else {
                return Stop::Cut;
            };
            match read(line) {
                Ok(Event::Is(object)) => {
                    self.at = meta::version(&object).ok().map(|v| v.revision).or(self.at);
                    let name = meta::text(&object, "name").unwrap_or_default().to_owned();
                    self.source.tell(&name, &News::Is(lean(object)));
                    if tells && !told_any {
                        self.source.begin(true);
                    }
                    told_any = true;
                }
                Ok(Event::Gone(name, revision)) => {
                    self.at = Some(revision);
                    self.source.tell(&name, &News::Gone(revision));
                }
                Ok(Event::Mark(revision, end)) => {
                    self.at = Some(revision);
                    if tells && end {
                        tells = false;
                        if !told_any {
                            self.source.tell(&self.spot.object, &News::Gone(revision));
                            self.source.begin(true);
                        }
                    }
                }
                Ok(Event::TooOld) => {
                    self.at = None;
                    return Stop::Again;
                }
                Err(failed) => return self.failed(failed),
            }
        }
    }

    fn failed(&self, failed: Failed) -> Stop {
        match &failed {
            Failed::Refused(status) if status.code == 403 => {
                match self.source.key.object {
                    None => self.shared.feeds.watch_alone(&self.spot.all),
                    Some(_) => {
                        let why = &status.message;
                        // Of this object: a Role may name some of them.
                        let one = self.source.key.clone();
                        self.shared.feeds.go_blind(one, FORBIDDEN_TIME, why);
                    }
                }
                Stop::Over(Over::Moved)
            }
            _ => Stop::Over(Over::Failed(Arc::new(failed))),
        }
    }
}

impl Shared {
    /// A version of now, at which a watch of all objects may begin.
    async fn position(&self, spot: &Spot) -> Result<u64, Failed> {
        if let Some((_, at)) = self.look(spot).await? {
            return Ok(at);
        }
        let path = format!("{}?limit=1", spot.all);
        revision(&self.http.ask(::http::Method::GET, &path, None, SPARE).await?)
    }

    /// What stands there and as of when, by a watch that is ended at once; `None` where the server
    /// does not begin a watch with that.
    pub(crate) async fn look(&self, spot: &Spot) -> Result<Option<(Option<Value>, u64)>, Failed> {
        if self.plain_watches.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut lines = match self.http.follow(&path(spot, true, None, false)).await {
            Ok(lines) => lines,
            Err(Failed::Refused(status)) if is_too_much(&status) => {
                self.plain_watches.store(true, Ordering::Relaxed);
                return Ok(None);
            }
            Err(failed) => return Err(failed),
        };
        let mut found = None;
        loop {
            let line = self.http.line(&mut lines, OPEN_MAX).await.map_err(Failed::Broken)?;
            let Some(line) = line else { return Err(Failed::lost("the watch told nothing")) };
            match read(line)? {
                Event::Is(object) => found = Some(object),
                Event::Gone(..) => found = None,
                Event::Mark(at, true) => return Ok(Some((found, at))),
                Event::Mark(..) => {}
                Event::TooOld => return Err(Failed::lost("the watch began too long ago")),
            }
        }
    }
}

fn path(spot: &Spot, one: bool, at: Option<u64>, plain: bool) -> String {
    let from = match at {
        Some(at) => format!("&resourceVersion={at}"),
        None if plain => String::new(),
        None => "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan".to_owned(),
    };
    let selector = match one {
        true => format!("&fieldSelector={}", encoded(&format!("metadata.name={}", spot.object))),
        false => String::new(),
    };
    let all = &spot.all;
    format!("{all}?watch=true&allowWatchBookmarks=true&timeoutSeconds={SECONDS}{selector}{from}")
}

/// Whether the server does not know what was asked for.
fn is_too_much(status: &Status) -> bool {
    matches!(status.code, 400 | 422) && status.message.contains("sendInitialEvents")
}

fn read(mut event: Value) -> Result<Event, Failed> {
    let object = event.get_mut("object").map(Value::take).unwrap_or_default();
    match event.get("type").and_then(Value::as_str).unwrap_or_default() {
        "ADDED" | "MODIFIED" => Ok(Event::Is(object)),
        "DELETED" => {
            let name = meta::text(&object, "name").unwrap_or_default().to_owned();
            Ok(Event::Gone(name, revision(&object)?))
        }
        "BOOKMARK" => {
            let told = meta::annotation(&object, INITIAL_END) == Some("true");
            Ok(Event::Mark(revision(&object)?, told))
        }
        "ERROR" => {
            let status = Status::read(500, &object);
            match status.code == 410 || status.reason == "Expired" {
                true => Ok(Event::TooOld),
                false => Err(Failed::Refused(status)),
            }
        }
        other => Err(Failed::lost(&format!("the watch said {other:?}"))),
    }
}

fn revision(object: &Value) -> Result<u64, Failed> {
    let text = meta::text(object, "resourceVersion").unwrap_or_default();
    text.parse().map_err(|_| Failed::lost(&format!("its resourceVersion is {text:?}")))
}
