//! Metrics, derived from events alone.
//!
//! Owns the names, which `guide/metrics.md` documents, and what has to be remembered between the
//! events of one acquisition. Knows no recorder: whichever is installed is asked at every event.
//! **A hold or a wait is counted out only if it was counted in**, so that what began before there
//! were metrics leaves no gauge below zero.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Label, Unit, counter, gauge, histogram};

use crate::{Event, EventKind, Lost};

const HELD: &str = "tenure_held";
const WAITERS: &str = "tenure_waiters";
const WAIT: &str = "tenure_acquire_wait_seconds";
const HOLD: &str = "tenure_hold_seconds";
const RENEW: &str = "tenure_renew_seconds";
const RENEW_FAILURES: &str = "tenure_renew_failures_total";
const EXPIRY: &str = "tenure_time_to_expiry_seconds";
const LOSSES: &str = "tenure_losses_total";
const GIVEN_UP: &str = "tenure_given_up_total";

/// What becomes of an acquisition, as far as gauges count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    Waits,
    Holds,
}

/// The metrics of one client.
#[derive(Debug)]
pub(crate) struct Meter(Mutex<HashMap<u64, Counted>>);

impl Meter {
    /// Describes the metrics to the recorder that is installed now.
    pub(crate) fn new() -> Self {
        metrics::describe_gauge!(HELD, Unit::Count, "Locks held now");
        metrics::describe_gauge!(WAITERS, Unit::Count, "Acquisitions that wait now");
        metrics::describe_histogram!(WAIT, Unit::Seconds, "How long acquisitions took");
        metrics::describe_histogram!(HOLD, Unit::Seconds, "How long locks were held");
        metrics::describe_histogram!(RENEW, Unit::Seconds, "How long renewals took");
        metrics::describe_counter!(RENEW_FAILURES, Unit::Count, "Renewals that failed");
        metrics::describe_gauge!(
            EXPIRY,
            Unit::Seconds,
            "How long the hold lived after the last renewal, or after the last that failed"
        );
        metrics::describe_counter!(LOSSES, Unit::Count, "Holds that were lost");
        metrics::describe_counter!(GIVEN_UP, Unit::Count, "Waits that ended without the lock");
        Self(Mutex::default())
    }

    pub(crate) fn record(&self, event: &Event) {
        let lock = || vec![Label::new("lock", Arc::clone(&event.lock))];
        match &event.kind {
            EventKind::Waiting { .. } => self.change(event, Some(Counted::Waits)),
            EventKind::GaveUp { .. } => {
                self.change(event, None);
                counter!(GIVEN_UP, lock()).increment(1);
            }
            EventKind::Acquired { waited, remaining, .. } => {
                self.change(event, Some(Counted::Holds));
                histogram!(WAIT, lock()).record(*waited);
                expires(event, *remaining);
            }
            EventKind::Renewed { took, remaining, .. } => {
                histogram!(RENEW, lock()).record(*took);
                expires(event, *remaining);
            }
            EventKind::RenewFailed { remaining, .. } => {
                counter!(RENEW_FAILURES, lock()).increment(1);
                expires(event, *remaining);
            }
            EventKind::Lost { cause, held, .. } => {
                self.change(event, None);
                let mut labels = lock();
                labels.push(Label::from_static_parts("cause", word(cause)));
                counter!(LOSSES, labels).increment(1);
                histogram!(HOLD, lock()).record(*held);
            }
            EventKind::Released { held, .. } => {
                self.change(event, None);
                histogram!(HOLD, lock()).record(*held);
            }
            EventKind::Stopping { .. } | EventKind::Missed { .. } => {}
        }
    }

    /// Moves the acquisition from the gauge it is counted in to another one, or to none.
    fn change(&self, event: &Event, to: Option<Counted>) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from = match to {
            Some(to) => counted.insert(event.acquisition, to),
            None => counted.remove(&event.acquisition),
        };
        drop(counted);
        if from == to {
            return;
        }
        let gauge_of = |counted| match counted {
            Counted::Waits => gauge!(WAITERS, "lock" => Arc::clone(&event.lock)),
            Counted::Holds => gauge!(HELD, "lock" => Arc::clone(&event.lock)),
        };
        if let Some(from) = from {
            gauge_of(from).decrement(1);
        }
        if let Some(to) = to {
            gauge_of(to).increment(1);
        }
    }
}

fn expires(event: &Event, remaining: Option<Duration>) {
    if let Some(remaining) = remaining {
        gauge!(EXPIRY, "lock" => Arc::clone(&event.lock)).set(remaining);
    }
}

/// A cause as the value of a label.
const fn word(cause: &Lost) -> &'static str {
    match cause {
        Lost::Replaced { .. } => "replaced",
        Lost::Freed => "freed",
        Lost::Deleted => "deleted",
        Lost::Deadline => "deadline",
        Lost::Restarted => "restarted",
        Lost::RuntimeGone => "runtime_gone",
    }
}
