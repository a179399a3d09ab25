//! One watch: what it has told, and what it is to tell next.
//!
//! **It tells every change once, in order, or that it cannot**: what was forgotten before it was told
//! ends the watch with an error event.

use serde_json::{Value, json};

use super::objects::{Objects, is_at, text};
use super::path::{Place, Query};
use super::selector::Selector;
use super::status::{self, Status};

/// A watch that was opened.
#[derive(Debug)]
pub struct Watching {
    place: Place,
    selector: Selector,
    /// Told up to here.
    at: u64,
    first: Vec<String>,
    /// Whether it wants to be told how far it has come.
    bookmarks: bool,
    over: bool,
    seconds: Option<u64>,
}

impl Watching {
    pub(super) fn open(objects: &Objects, place: &Place, query: &Query) -> Result<Self, Status> {
        let initial = query.is("sendInitialEvents");
        if initial && query.get("resourceVersionMatch") != "NotOlderThan" {
            return Err(status::options(
                "resourceVersionMatch: Forbidden: sendInitialEvents requires setting \
                 resourceVersionMatch to NotOlderThan",
            ));
        }
        let mut fields = query.get("fieldSelector").to_owned();
        if let Some(name) = &place.name {
            fields = format!("metadata.name={name}");
        }
        let place = Place { name: None, ..place.clone() };
        let selector = Selector::parse(&fields, query.get("labelSelector"))?;
        let bookmarks = query.is("allowWatchBookmarks");
        let seconds = query.number("timeoutSeconds").filter(|seconds| *seconds > 0);
        let mut watching =
            Self { place, selector, at: 0, first: Vec::new(), bookmarks, over: false, seconds };
        let at = query.get("resourceVersion");
        let begins = initial || matches!(at, "" | "0");
        if !begins {
            watching.at = at.trim_start_matches(objects.odd.unwrap_or_default()).parse().map_err(
                |_| {
                    status::odd(&format!(
                        "resourceVersion: Invalid value: {at:?}: strconv.ParseUint: parsing {at:?}: \
                         invalid syntax"
                    ))
                },
            )?;
            watching.over = objects.is_forgotten(watching.at);
            return Ok(watching);
        }
        watching.at = objects.revision();
        let stands = objects.all(&watching.place).filter(|o| watching.selector.meets(o));
        let mut first: Vec<&Value> = stands.collect();
        first.sort_by_key(|object| text(object, "resourceVersion").parse::<u64>().unwrap_or(0));
        watching.first = first.into_iter().map(|object| line("ADDED", object)).collect();
        if initial && bookmarks {
            let told = json!({"k8s.io/initial-events-end": "true"});
            let mark = watching.mark(objects, Some(told));
            watching.first.push(mark);
        }
        Ok(watching)
    }

    /// Whether what it asked for is forgotten, which it says first.
    pub(super) const fn is_gone(&self) -> bool {
        self.over
    }

    /// After how many seconds it wants to be cut off.
    #[must_use]
    pub const fn seconds(&self) -> Option<u64> {
        self.seconds
    }

    pub(super) fn lines(&mut self, objects: &Objects) -> Vec<String> {
        let mut lines = std::mem::take(&mut self.first);
        self.over |= objects.is_forgotten(self.at);
        if self.over {
            if self.at < u64::MAX {
                lines.push(line("ERROR", &status::expired().object()));
                self.at = u64::MAX;
            }
            return lines;
        }
        for event in objects.since(self.at) {
            if !is_at(&event.key, &self.place) {
                continue;
            }
            let meets = |object: &&Value| self.selector.meets(object);
            let before = event.before.as_ref().filter(meets);
            let after = event.after.as_ref().filter(meets);
            match (before, after) {
                (None, Some(after)) => lines.push(line("ADDED", after)),
                (Some(_), Some(after)) => lines.push(line("MODIFIED", after)),
                (Some(before), None) => {
                    // What left the selection is told as it was, at the version of its leaving.
                    let mut last = before.clone();
                    last["metadata"]["resourceVersion"] = json!(objects.version(event.revision));
                    lines.push(line("DELETED", &last));
                }
                (None, None) => {}
            }
        }
        self.at = objects.revision();
        lines
    }

    /// Whether it has said its last.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn bookmark(&self, objects: &Objects) -> Option<String> {
        (self.bookmarks && !self.over).then(|| self.mark(objects, None))
    }

    fn mark(&self, objects: &Objects, annotations: Option<Value>) -> String {
        let mut object = json!({
            "kind": self.place.resource.kind, "apiVersion": self.place.resource.api_version(),
            "metadata": {"resourceVersion": objects.version(self.at)},
        });
        if let Some(annotations) = annotations {
            object["metadata"]["annotations"] = annotations;
        }
        line("BOOKMARK", &object)
    }
}

fn line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}
