//! What happened: the one source from which everything that reports is derived.
//!
//! Owns the events and who listens. **Nobody who listens can hold up a lock**: an event is handed
//! to a bounded buffer, and a listener that is too slow is told how many it missed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tenure_core::{Text, Wall};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::{HeldBy, Lost};

/// How many events a listener may be behind.
const BUFFER: usize = 1_024;

/// Something that happened to a lock.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// When, by the wall clock.
    pub at: Wall,
    /// The lock's name.
    pub lock: Arc<str>,
    /// The identity it happened to.
    pub id: Arc<str>,
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
    /// A wait for the lock ended without it: the limit passed, it was given up, or it failed.
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
                Some(Event { at: Wall::default(), lock: "".into(), id: "".into(), kind })
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
}

impl Teller {
    /// A new listener.
    pub(crate) fn listen(&self) -> Events {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = sender.get_or_insert_with(|| broadcast::Sender::new(BUFFER));
        self.listeners.fetch_add(1, Ordering::Relaxed);
        Events { receiver: sender.subscribe(), listeners: Arc::clone(&self.listeners) }
    }

    /// Whether anybody wants to know.
    pub(crate) fn is_heard(&self) -> bool {
        self.listeners.load(Ordering::Relaxed) > 0
    }

    /// Tells everybody; the event is made only if anybody listens.
    pub(crate) fn tell(&self, at: Wall, lock: &Text, id: &Text, kind: impl FnOnce() -> EventKind) {
        if !self.is_heard() {
            return;
        }
        let event = Event { at, lock: lock.clone(), id: id.clone(), kind: kind() };
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*sender {
            // It fails only if the last listener has just gone.
            let _ = sender.send(event);
        }
    }
}
