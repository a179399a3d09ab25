//! Those of one client who want one lock: one at a time is seated, the others stand here.
//!
//! Owns the order within the client and what is known of the one in the seat. A store that counts
//! places by session sees one contender of this client, whatever number of tasks there are.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tenure_core::Wall;
use tenure_store::{Name, Store};

use super::keeper::Undoing;
use super::turns::{NoTurn, Turns};
use super::{Address, Driver, Seat};
use crate::client::Shared;
use crate::hold::Status;
use crate::{Error, HeldBy};

/// One lock's line within a client.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: Name,
    turns: Turns,
    seated: Mutex<Seated>,
    pub(super) shared: Arc<Shared>,
    at: OnceLock<Arc<Address>>,
}

/// The one in the seat.
#[derive(Debug, Default)]
struct Seated {
    ahead: Ahead,
    /// It may have asked the store already, and is not known to wait or to have the lock.
    begins: bool,
    /// The client was closed meanwhile, and waits for that.
    closer: Option<Undoing>,
    /// Itself, while it waits and has not got the lock yet.
    acquiring: Weak<Seat>,
    /// What the last one seated left.
    left: Option<Box<Driver>>,
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

/// The right to be seated, until it is given up. Dropping it calls the next.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) line: Arc<Line>,
    given_up: AtomicBool,
}

impl Line {
    pub(crate) fn new(name: Name, shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            name,
            turns: Turns::new(),
            seated: Mutex::default(),
            shared: Arc::clone(shared),
            at: OnceLock::new(),
        })
    }

    /// Where the lock stands in this store, which is the client's.
    pub(crate) fn address(&self, store: &Arc<dyn Store>) -> &Arc<Address> {
        let address = || Address { store: Arc::clone(store), name: self.name.clone() };
        self.at.get_or_init(|| Arc::new(address()))
    }

    /// The seat if it is free and nobody stands here.
    pub(crate) fn try_turn(self: &Arc<Self>) -> Result<Turn, NoTurn> {
        self.turns.try_take()?;
        Ok(Turn::of(self))
    }

    /// Waits for the seat, first come first served. Fails once the client is closed.
    pub(crate) async fn turn(self: &Arc<Self>) -> Result<Turn, NoTurn> {
        self.turns.take().await?;
        Ok(Turn::of(self))
    }

    /// Sends everybody away who stands here, and who is seated without having the lock.
    pub(crate) fn close(&self) {
        self.turns.close();
        let mut closer = Some(self.shared.keeper.undoing());
        let mut seated = self.seated();
        if seated.begins {
            seated.closer = closer.take();
        }
        let acquiring = seated.acquiring.upgrade();
        drop(seated);
        if let Some(seat) = acquiring {
            seat.send_away();
        }
    }

    /// Says who is seated and waits for the lock. Who closes the client from now on sends it away; who
    /// did so before waits until what is given here is dropped.
    pub(super) fn set_acquiring(&self, seat: Weak<Seat>) -> Option<Undoing> {
        let mut seated = self.seated();
        seated.acquiring = seat;
        seated.begun()
    }

    /// The one in the seat asks the store from now on, unless the client is closed by now. Gives what the
    /// last one seated left: the record as it was then, if it was free. The next of this client needs
    /// no read to try; if somebody else came between, its write is a conflict.
    pub(crate) fn begin(&self) -> Option<Box<Driver>> {
        let mut seated = self.seated();
        seated.begins = true;
        seated.left.take()
    }

    /// The one in the seat has the lock.
    pub(super) fn set_holds(&self, status: Arc<Status>) {
        let mut seated = self.seated();
        let acquiring = std::mem::take(&mut seated.acquiring);
        let old = std::mem::replace(&mut seated.ahead, Ahead::Holds(status));
        let closer = seated.begun();
        drop(seated);
        drop((acquiring, old, closer));
    }

    /// Nobody is in the seat, and this is what the last one left.
    fn set_empty(&self, mut left: Option<Box<Driver>>) {
        let mut seated = self.seated();
        let ahead = std::mem::take(&mut seated.ahead);
        if left.is_some() {
            std::mem::swap(&mut seated.left, &mut left);
        }
        let closer = seated.begun();
        drop(seated);
        drop((ahead, left, closer));
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

impl Seated {
    /// It is known how the one in the seat stands; who waited for that.
    const fn begun(&mut self) -> Option<Undoing> {
        self.begins = false;
        self.closer.take()
    }
}

impl Turn {
    /// For who has taken the turn of this line.
    fn of(line: &Arc<Line>) -> Self {
        Self { line: Arc::clone(line), given_up: AtomicBool::new(false) }
    }

    /// Calls the next, and leaves it a driver that has done its work. One caller at a time.
    pub(super) fn give_up(&self, left: Option<Box<Driver>>) {
        if !self.given_up.load(Ordering::Relaxed) {
            self.given_up.store(true, Ordering::Relaxed);
            self.line.set_empty(left);
            self.line.turns.give();
        }
    }

    /// The lock's name.
    #[cfg(all(feature = "local", target_os = "linux"))]
    pub(crate) fn text(&self) -> &tenure_core::Text {
        self.line.name.text()
    }

    /// Says what the others are to know of the one seated.
    #[cfg(all(feature = "local", target_os = "linux"))]
    pub(crate) fn set_ahead(&self, ahead: Ahead) {
        self.line.set_ahead(ahead);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.give_up(None);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.forget_line(&self.name);
    }
}
