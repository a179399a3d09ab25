//! Those of one client who want one lock: one at a time is seated, the others stand here.
//!
//! Owns the order within the client and what is known of the one in the seat. A store that counts
//! places by session sees one contender of this client, whatever number of tasks there are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tenure_core::Wall;
use tenure_store::{Name, Snapshot};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::Seat;
use crate::client::Shared;
use crate::hold::Status;
use crate::{Error, HeldBy};

/// One lock's line within a client.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: Name,
    turn: Arc<Semaphore>,
    seated: Mutex<Seated>,
    lines: Weak<Shared>,
}

/// The one in the seat.
#[derive(Debug, Default)]
struct Seated {
    ahead: Ahead,
    /// Itself, while it has not got the lock yet.
    acquiring: Weak<Seat>,
    /// The record as the last one seated left it, if it was free then.
    known: Option<Snapshot>,
}

/// Who is in the seat, as the others know it.
#[derive(Debug, Default)]
pub(crate) enum Ahead {
    /// Nobody, or one of whom nothing is known yet.
    #[default]
    Nobody,
    /// One who gave up without having learnt anything, and whose write may still come to be.
    Undone,
    /// One who waits itself, and for whom.
    Waits(Box<HeldBy>),
    /// One who has the lock.
    Holds(Arc<Status>),
}

/// The right to be seated. Dropping it calls the next.
#[derive(Debug)]
pub(crate) struct Turn {
    line: Arc<Line>,
    _permit: OwnedSemaphorePermit,
}

impl Line {
    pub(crate) fn new(name: Name, shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            name,
            turn: Arc::new(Semaphore::new(1)),
            seated: Mutex::default(),
            lines: Arc::downgrade(shared),
        })
    }

    /// The seat if it is free and nobody stands here.
    pub(crate) fn try_turn(self: &Arc<Self>) -> Result<Turn, TryAcquireError> {
        let permit = Arc::clone(&self.turn).try_acquire_owned()?;
        Ok(Turn { line: Arc::clone(self), _permit: permit })
    }

    /// Waits for the seat, first come first served. Fails once the client is closed.
    pub(crate) async fn turn(self: &Arc<Self>) -> Result<Turn, AcquireError> {
        let permit = Arc::clone(&self.turn).acquire_owned().await?;
        Ok(Turn { line: Arc::clone(self), _permit: permit })
    }

    /// Sends everybody away who stands here, and who is seated without having the lock.
    pub(crate) fn close(&self) {
        self.turn.close();
        let acquiring = self.seated().acquiring.upgrade();
        if let Some(seat) = acquiring {
            seat.send_away();
        }
    }

    /// Says who is seated and has not got the lock yet.
    pub(super) fn set_acquiring(&self, seat: Weak<Seat>) {
        self.seated().acquiring = seat;
    }

    /// The record as the last one seated left it. The next of this client needs no read to try;
    /// if somebody else came between, its write is a conflict.
    pub(super) fn take_known(&self) -> Option<Snapshot> {
        self.seated().known.take()
    }

    pub(super) fn set_known(&self, known: Option<Snapshot>) {
        let old = std::mem::replace(&mut self.seated().known, known);
        drop(old);
    }

    pub(crate) fn set_ahead(&self, ahead: Ahead) {
        let old = std::mem::replace(&mut self.seated().ahead, ahead);
        drop(old);
    }

    /// The one in the seat has given up.
    pub(super) fn set_undone(&self) {
        let ahead = &mut self.seated().ahead;
        if matches!(ahead, Ahead::Nobody) {
            *ahead = Ahead::Undone;
        }
    }

    /// Who is in the way of one who stands here no longer; an error where nobody is known to be: the
    /// store has not said yet what became of what this client asked for.
    pub(crate) fn in_the_way(&self, id: &str) -> Result<HeldBy, Error> {
        if matches!(self.seated().ahead, Ahead::Undone) {
            let what = "the store has not answered what this client asked before: try again later";
            return Err(Error::unavailable(what));
        }
        Ok(self.held_by(id))
    }

    /// Who is in the way of those who stand here; `id` is who is in the seat if nothing is known.
    pub(crate) fn held_by(&self, id: &str) -> HeldBy {
        let unknown = |id: &str, token| HeldBy {
            id: id.to_owned(),
            pid: None,
            orphan: None,
            token,
            since: Wall::default(),
            looks_abandoned: false,
            takeover_in: None,
        };
        match &self.seated().ahead {
            Ahead::Nobody | Ahead::Undone => unknown(id, None),
            Ahead::Waits(by) => HeldBy::clone(by),
            Ahead::Holds(status) => {
                let since = status.clock.wall().as_micros();
                let age = u64::try_from(status.age().as_micros()).unwrap_or(since);
                let since = Wall::from_micros(since.saturating_sub(age));
                HeldBy { since, ..unknown(&status.id, Some(status.token)) }
            }
        }
    }

    fn seated(&self) -> MutexGuard<'_, Seated> {
        self.seated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    pub(super) const fn line(&self) -> &Arc<Line> {
        &self.line
    }
    /// The lock's name.
    #[cfg(all(feature = "local", target_os = "linux"))]
    pub(crate) fn text(&self) -> &tenure_core::Text {
        self.line.name.text()
    }

    #[cfg(all(feature = "local", target_os = "linux"))]
    /// Says what the others are to know of the one seated.
    pub(crate) fn set_ahead(&self, ahead: Ahead) {
        self.line.set_ahead(ahead);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.line.set_ahead(Ahead::Nobody);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(shared) = self.lines.upgrade() {
            shared.forget_line(&self.name);
        }
    }
}
