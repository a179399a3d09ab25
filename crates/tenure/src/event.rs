//! What happened: the one source from which everything that reports is derived.
//!
//! Owns the events and who listens. **Nobody who listens can hold up a lock**: an event is handed
//! to a bounded buffer, and a listener that is too slow is told how many it missed. While nobody
//! listens no event is made.
//!
//! ```text
//! driver, line, local ──> Teller ──┬─> Events: listeners of the user's own
//!                                  ├─> meter: the metrics that it documents   (feature metrics)
//!                                  └─> trace: events and spans of tracing     (feature tracing)
//! ```
//!
//! **An acquisition tells a whole story**: after `Waiting` comes `Acquired` or `GaveUp`, and after
//! `Acquired` comes `Lost` or `Released`, each once, all with the same number.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tenure_core::{Text, Wall};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::hold::Status;
use crate::{HeldBy, Lost};

/// How many events a listener may be behind.
const BUFFER: usize = 1_024;

/// Something that happened to a lock.
///
/// An acquisition tells [`Waiting`](EventKind::Waiting) any number of times, then
/// [`Acquired`](EventKind::Acquired) or, if it had told that it waits,
/// [`GaveUp`](EventKind::GaveUp). A hold ends with exactly one of [`Lost`](EventKind::Lost) and
/// [`Released`](EventKind::Released).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// When, by the wall clock.
    pub at: Wall,
    /// The lock's name.
    pub lock: Arc<str>,
    /// The identity it happened to.
    pub id: Arc<str>,
    /// Which acquisition of the client it is about: all from its first wait to the end of its hold
    /// has the same number. 0: none.
    pub acquisition: u64,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// An acquisition has to wait.
    Waiting {
        /// Who is in the way.
        held_by: HeldBy,
        /// How many stand in line before it, where the store has a line.
        place: Option<usize>,
    },
    /// A wait for the lock ended without it: it was busy, the limit passed, it was given up, or it
    /// failed.
    GaveUp {
        /// How long it had waited.
        waited: Duration,
    },
    /// The lock is held.
    Acquired {
        /// Its fencing token.
        token: u64,
        /// How long it took.
        waited: Duration,
        /// How long the hold lives without a renewal; `None` if it does not end by time.
        remaining: Option<Duration>,
    },
    /// The hold was renewed.
    Renewed {
        /// Its fencing token.
        token: u64,
        /// How long the renewal took, from its being sent to its answer.
        took: Duration,
        /// How long the hold lives now without another one.
        remaining: Option<Duration>,
    },
    /// A renewal, or what was asked on its way, failed. It is tried again until the deadline.
    RenewFailed {
        /// The fencing token.
        token: u64,
        /// What the store said.
        error: Arc<str>,
        /// How long the hold still lives without a renewal.
        remaining: Option<Duration>,
    },
    /// The order to stop the work is due.
    Stopping {
        /// The fencing token.
        token: u64,
    },
    /// The hold was lost.
    Lost {
        /// The fencing token.
        token: u64,
        /// Why.
        cause: Lost,
        /// How long it was held.
        held: Duration,
    },
    /// The hold was given back.
    Released {
        /// The fencing token.
        token: u64,
        /// How long it was held.
        held: Duration,
        /// Whether the store said so; if not, the hold has ended by its ttl.
        confirmed: bool,
    },
    /// This many events are missing here: the listener was too slow for them.
    Missed {
        /// How many.
        count: u64,
    },
}

impl EventKind {
    /// How a hold ended.
    pub(crate) fn end(hold: &Status, lost: Option<Lost>, confirmed: bool) -> Self {
        let (token, held) = (hold.token, hold.age());
        match lost {
            Some(cause) => Self::Lost { token, cause, held },
            None => Self::Released { token, held, confirmed },
        }
    }
}

/// The events of a client since this was made. See [`Client::events`](crate::Client::events).
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Event>,
    listeners: Arc<AtomicUsize>,
}

impl Events {
    /// The next event; `None` once the client and everything taken through it is gone.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<Event> {
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(count)) => {
                let kind = EventKind::Missed { count };
                let (lock, id) = ("".into(), "".into());
                Some(Event { at: Wall::default(), lock, id, acquisition: 0, kind })
            }
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where events are told.
#[derive(Debug, Default)]
pub(crate) struct Teller {
    listeners: Arc<AtomicUsize>,
    sender: Mutex<Option<broadcast::Sender<Event>>>,
    #[cfg(feature = "metrics")]
    meter: std::sync::OnceLock<crate::meter::Meter>,
    #[cfg(feature = "tracing")]
    tracer: crate::trace::Tracer,
}

/// Whom an event is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    pub(crate) lock: &'a Text,
    pub(crate) id: &'a Text,
    pub(crate) acquisition: u64,
}

impl Teller {
    /// A new listener.
    pub(crate) fn listen(&self) -> Events {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = sender.get_or_insert_with(|| broadcast::Sender::new(BUFFER));
        self.listeners.fetch_add(1, Ordering::Relaxed);
        Events { receiver: sender.subscribe(), listeners: Arc::clone(&self.listeners) }
    }

    /// From now on there are metrics.
    #[cfg(feature = "metrics")]
    pub(crate) fn measure(&self) {
        self.meter.get_or_init(|| {
            // It stays a listener.
            self.listeners.fetch_add(1, Ordering::Relaxed);
            crate::meter::Meter::new()
        });
    }

    /// Whether anybody wants to know.
    pub(crate) fn is_heard(&self) -> bool {
        #[cfg(feature = "tracing")]
        if crate::trace::is_on() {
            return true;
        }
        self.listeners.load(Ordering::Relaxed) > 0
    }

    /// Tells everybody. Ask first whether anybody listens.
    pub(crate) fn tell(&self, at: Wall, about: About<'_>, kind: EventKind) {
        let About { lock, id, acquisition } = about;
        let event = Event { at, lock: lock.clone(), id: id.clone(), acquisition, kind };
        #[cfg(feature = "metrics")]
        if let Some(meter) = self.meter.get() {
            meter.record(&event);
        }
        #[cfg(feature = "tracing")]
        self.tracer.tell(&event);
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*sender {
            // It fails only if the last listener has just gone.
            let _ = sender.send(event);
        }
    }
}
