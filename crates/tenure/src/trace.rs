//! Events and spans of `tracing`, derived from events alone.
//!
//! Owns their names and levels, which `guide/metrics.md` documents, and the open spans. **A span
//! lives as long as what it stands for**: `wait` from the first wait to its end, `hold` from the
//! acquisition to the end of the hold; both are children of the span the caller acquired in.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing::{Level, Span, debug, debug_span, trace, warn};

use crate::{Event, EventKind};

/// Where all of it comes from, for filters.
const TARGET: &str = "tenure";

/// Whether anybody may want to know.
pub(crate) fn is_on() -> bool {
    LevelFilter::current() != LevelFilter::OFF
}

/// The open spans of one client, by acquisition.
#[derive(Debug, Default)]
pub(crate) struct Tracer(Mutex<HashMap<u64, Span>>);

impl Tracer {
    pub(crate) fn tell(&self, event: &Event) {
        if !is_on() {
            return;
        }
        let span = self.span(event);
        let (lock, id) = (&*event.lock, &*event.id);
        match &event.kind {
            EventKind::Waiting { held_by, place } => {
                let (by, place) = (&*held_by.id, place.map(as_number));
                debug!(target: TARGET, parent: &span, lock, id, by, place, "waiting");
            }
            EventKind::GaveUp { waited } => {
                debug!(target: TARGET, parent: &span, lock, id, ?waited, "gave up");
            }
            EventKind::Acquired { token, waited, .. } => {
                debug!(target: TARGET, parent: &span, lock, id, token, ?waited, "acquired");
            }
            EventKind::Renewed { token, took, .. } => {
                trace!(target: TARGET, parent: &span, lock, id, token, ?took, "renewed");
            }
            EventKind::RenewFailed { token, error, remaining } => {
                let error = &**error;
                warn!(target: TARGET, parent: &span, lock, id, token, error, ?remaining, "renewal failed");
            }
            EventKind::Stopping { token } => {
                warn!(target: TARGET, parent: &span, lock, id, token, "stopping");
            }
            EventKind::Lost { token, cause, held } => {
                warn!(target: TARGET, parent: &span, lock, id, token, %cause, ?held, "lost");
            }
            EventKind::Released { token, held, confirmed } => {
                debug!(target: TARGET, parent: &span, lock, id, token, ?held, confirmed, "released");
            }
            EventKind::Missed { .. } => {}
        }
    }

    /// The span an event belongs to. Those it begins are kept and those it ends are let go.
    fn span(&self, event: &Event) -> Span {
        let Event { acquisition, lock, id, .. } = event;
        let mut spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &event.kind {
            EventKind::Waiting { .. } if !tracing::enabled!(target: TARGET, Level::DEBUG) => {
                Span::none()
            }
            EventKind::Acquired { .. } if !tracing::enabled!(target: TARGET, Level::DEBUG) => {
                Span::none()
            }
            EventKind::Waiting { .. } => {
                let span = || debug_span!(target: TARGET, "wait", lock = &**lock, id = &**id);
                spans.entry(*acquisition).or_insert_with(span).clone()
            }
            EventKind::Acquired { token, .. } => {
                let span = debug_span!(target: TARGET, "hold", lock = &**lock, id = &**id, token);
                spans.insert(*acquisition, span.clone());
                span
            }
            EventKind::GaveUp { .. } | EventKind::Lost { .. } | EventKind::Released { .. } => {
                spans.remove(acquisition).unwrap_or_else(Span::none)
            }
            _ => spans.get(acquisition).cloned().unwrap_or_else(Span::none),
        }
    }
}

fn as_number(place: usize) -> u64 {
    u64::try_from(place).unwrap_or(u64::MAX)
}
