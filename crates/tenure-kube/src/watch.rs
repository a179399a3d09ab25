//! What happens to one object: begun with what stands there, resumed where the server cut it off.
//!
//! ```text
//! begin ──what stands──> follow ──cut off──> follow from the last version ──gone──> begin
//!                           └──anything else──> an error, the last item
//! ```
//!
//! Where the server can begin a watch with what stands there, that is one request, and its end mark
//! says that nothing stands there and as of when. Where it cannot, a read comes first.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream::unfold;
use serde_json::Value;
use tenure_store::{Error, Name, Result, Snapshot, Watch};
use tenure_wire::meta;

use crate::error::Asked;
use crate::format::Spot;
use crate::http::{Failed, Lines, Status};
use crate::store::{Shared, asked, encoded};

/// After how many seconds the server is to cut a watch off, so that both sides tidy up.
const SECONDS: u64 = 300;
/// After how much silence beyond that a connection is taken for dead.
const SLACK: Duration = Duration::from_secs(10);
/// Says that what stood there has been told.
const INITIAL_END: &str = "k8s.io/initial-events-end";

pub(crate) fn watch(shared: Arc<Shared>, name: Name) -> Watch {
    let state = Some(Watching { shared, name, at: None, lines: None, begun: false });
    Box::pin(unfold(state, |state| async move {
        let mut watching = state?;
        match watching.next().await {
            Ok(news) => Some((Ok(news), Some(watching))),
            Err(error) => Some((Err(error), None)),
        }
    }))
}

struct Watching {
    shared: Arc<Shared>,
    name: Name,
    /// The version to resume at; `None`: begin with what stands there.
    at: Option<u64>,
    lines: Option<Lines>,
    /// Whether anything was told since the watch began with what stands there.
    begun: bool,
}

/// What a line of a watch says.
enum Event {
    News(Snapshot),
    /// Nothing new up to this version; whether all that stood there has been told.
    Mark(u64, bool),
    /// The version to resume at is too old.
    Gone,
}

impl Watching {
    async fn next(&mut self) -> Result<Snapshot> {
        let spot = self.shared.spot(&self.name)?;
        loop {
            let Some(lines) = &mut self.lines else {
                if let Some(news) = self.open(&spot).await? {
                    return Ok(news);
                }
                continue;
            };
            let patience = Duration::from_secs(SECONDS) + SLACK;
            let asked = asked("watch", &spot, Some(&self.name));
            let line = self.shared.http.line(lines, patience).await;
            let Some(line) = line.map_err(|broken| asked.broken(&broken))? else {
                // Cut off, as asked for: goes on where it was, or from the start if it was nowhere.
                self.lines = None;
                continue;
            };
            match read(&self.shared, &self.name, asked, line)? {
                Event::News(news) => {
                    self.at = Some(news.revision());
                    self.begun = true;
                    return Ok(news);
                }
                Event::Mark(revision, told) => {
                    self.at = Some(revision);
                    if told && !self.begun {
                        self.begun = true;
                        return Ok(Snapshot::Absent { revision });
                    }
                }
                Event::Gone => (self.lines, self.at) = (None, None),
            }
        }
    }

    /// Opens the watch; what stands there, if the server does not begin with it.
    async fn open(&mut self, spot: &Spot) -> Result<Option<Snapshot>> {
        let shared = Arc::clone(&self.shared);
        let asked = asked("watch", spot, Some(&self.name));
        let plain = shared.plain_watches.load(Ordering::Relaxed);
        let from = match self.at {
            Some(at) => format!("&resourceVersion={at}"),
            None if plain => String::new(),
            None => "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan".to_owned(),
        };
        if self.at.is_none() {
            self.begun = false;
        }
        let selector = encoded(&format!("metadata.name={}", spot.object));
        let path = format!(
            "{}?watch=true&allowWatchBookmarks=true&fieldSelector={selector}\
             &timeoutSeconds={SECONDS}{from}",
            spot.all
        );
        match shared.http.follow(&path).await {
            Ok(lines) => self.lines = Some(lines),
            Err(Failed::Refused(status)) if status.code == 410 => self.at = None,
            Err(Failed::Refused(status)) if is_too_much(&status) && self.at.is_none() && !plain => {
                shared.plain_watches.store(true, Ordering::Relaxed);
            }
            Err(Failed::Refused(status)) => return Err(asked.refused(&status)),
            Err(Failed::Broken(broken)) => return Err(asked.broken(&broken)),
        }
        if !plain || self.at.is_some() || self.lines.is_none() {
            return Ok(None);
        }
        // The watch is open, so nothing is missed between it and this.
        let news = shared.read(&self.name).await?;
        self.at = Some(news.revision()).filter(|at| *at > 0);
        self.begun = true;
        Ok(Some(news))
    }
}

/// Whether the server does not know what was asked for.
fn is_too_much(status: &Status) -> bool {
    matches!(status.code, 400 | 422) && status.message.contains("sendInitialEvents")
}

fn read(shared: &Shared, name: &Name, asked: Asked<'_>, mut event: Value) -> Result<Event> {
    let object = event.get_mut("object").map(Value::take).unwrap_or_default();
    match event.get("type").and_then(Value::as_str).unwrap_or_default() {
        "ADDED" | "MODIFIED" => shared.found(name, asked, object).map(Event::News),
        "DELETED" => Ok(Event::News(Snapshot::Absent { revision: revision(asked, &object)? })),
        "BOOKMARK" => {
            let told = meta::annotation(&object, INITIAL_END) == Some("true");
            Ok(Event::Mark(revision(asked, &object)?, told))
        }
        "ERROR" => {
            let status = Status::read(500, &object);
            if status.code == 410 || status.reason == "Expired" {
                return Ok(Event::Gone);
            }
            Err(asked.refused(&status))
        }
        other => Err(Error::Unavailable(asked.detail(format!("the watch said {other:?}")))),
    }
}

fn revision(asked: Asked<'_>, object: &Value) -> Result<u64> {
    let text = meta::text(object, "resourceVersion").unwrap_or_default();
    text.parse().map_err(|_| asked.damaged(&format!("its resourceVersion is {text:?}")))
}
