//! A contender or a hold, and whose turn it is to poll it.
//!
//! ```text
//! acquire: polled in the caller's task ──acquired──> kept ──release──> the caller's task again
//!              └──given up or dropped─────────────────^ └──dropped guard──> undone by the keeper
//! ```
//!
//! Owns a driver and hands it to exactly one of two: the task of whoever waits for an answer, or
//! the keeper. **Whatever future or guard is dropped at whatever await, the driver goes to the
//! keeper**, which undoes what there is, for a ttl at most.
//!
//! | state | who renews | who ends it | what if that one is frozen | what if the answer is lost |
//! |---|---|---|---|---|
//! | acquiring | nobody | the caller's task; the keeper if it is dropped | ends by its ttl | read back by mark |
//! | kept | the keeper | the guard; the deadline | ends at its deadline | read back by mark |
//! | releasing | nobody | the caller's task; the keeper if it is dropped | ends by its ttl | read back by mark |

mod acquire;
mod end;

use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;
use std::time::Duration;

use tenure_core::Time;

use super::Driver;
use super::keeper::{NOWHERE, Undoing};
use super::line::Turn;
use super::sweep::Sweep;
use crate::HeldBy;
use crate::event::{About, EventKind};
use crate::hold::Status;

/// One contender or hold of a client on any store.
pub(crate) struct Seat {
    turn: Turn,
    since: Time,
    acquisition: u64,
    /// In the keeper's list of those to poll.
    pub(super) queued: AtomicBool,
    /// Where the keeper has it; changed by the keeper.
    pub(super) kept_at: AtomicU32,
    inner: Mutex<Inner>,
}

struct Inner {
    /// `None`: all is over.
    driver: Option<Box<Driver>>,
    polled_by: PolledBy,
    status: Option<Arc<Status>>,
    /// Its place with the keeper.
    place: Option<u32>,
    /// Nobody waits for it any more: it is being undone.
    undoing: Option<Undoing>,
    /// All is over but for what may have been left in the record.
    sweep: Option<Box<Sweep>>,
    /// What the store last said instead of doing what it was asked.
    trouble: Option<Box<tenure_store::Error>>,
    told: Told,
}

/// What was told last of a story that has to have an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Waiting,
    Acquired,
}

/// An acquisition that comes to its seat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) number: u64,
    pub(crate) since: Time,
    /// Whether it has told that it waits.
    pub(crate) told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PolledBy {
    Caller,
    Keeper,
}

/// How an acquisition ended.
enum Acquired {
    Held(Arc<Status>),
    Busy(Box<HeldBy>),
    TimedOut(Box<HeldBy>),
}

impl Seat {
    pub(crate) fn new(turn: Turn, driver: Box<Driver>, asked: Asked) -> Arc<Self> {
        Arc::new(Self {
            turn,
            since: asked.since,
            acquisition: asked.number,
            queued: AtomicBool::new(false),
            kept_at: AtomicU32::new(NOWHERE),
            inner: Mutex::new(Inner {
                driver: Some(driver),
                polled_by: PolledBy::Caller,
                status: None,
                place: None,
                undoing: None,
                sweep: None,
                trouble: None,
                told: if asked.told { Told::Waiting } else { Told::Nothing },
            }),
        })
    }

    /// Hands the seat to the keeper, to renew it or to undo it.
    fn give_to_keeper(self: &Arc<Self>, inner: &mut Inner) {
        inner.polled_by = PolledBy::Keeper;
        if inner.place.is_none() {
            inner.place = self.turn.line.shared.keeper.keep(self);
        } else {
            self.turn.line.shared.keeper.poll_soon(self);
        }
    }

    fn age(&self) -> Duration {
        self.turn.line.shared.clock.now().since(self.since)
    }

    /// Tells of a story that is not over: whose it is, the driver knows.
    fn tell(&self, inner: &Inner, kind: impl FnOnce() -> EventKind) {
        let Some(driver) = &inner.driver else { return };
        let (lock, id) = (self.turn.line.name.text(), &driver.claim().config().id);
        self.turn.line.shared.tell(About { lock, id, acquisition: self.acquisition }, kind);
    }

    /// Each change of what it protects is whole before anything of a store's is called.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Seat {
    fn wake(self: Arc<Self>) {
        self.turn.line.shared.keeper.poll_soon(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.turn.line.shared.keeper.poll_soon(self);
    }
}
