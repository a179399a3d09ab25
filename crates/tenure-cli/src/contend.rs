//! What the verbs need to know of a contender and of who is in its way, wherever it contends.
//!
//! Owns the shapes between the library, the keeper's process and the display; decides nothing.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tenure::blocking::{Guard, Pending};
use tenure::{Error, HeldBy};

/// Who is in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct By {
    pub(crate) id: String,
    pub(crate) pid: Option<u32>,
    pub(crate) orphan: Option<u32>,
    pub(crate) token: Option<u64>,
    /// Nobody holds, and it is first in line.
    pub(crate) is_next: bool,
    /// Microseconds since 1970, by its own wall clock; zero: not known.
    pub(crate) since: u64,
    /// How long until the hold ends, if nobody renews it.
    pub(crate) ends_in: Option<Duration>,
}

/// Where a contender stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) place: Option<usize>,
    pub(crate) ticket: Option<u64>,
    pub(crate) by: By,
}

/// How far a contender has come.
pub(crate) enum Step<H> {
    Waiting(Waiting),
    Acquired(H),
    Busy(By),
    TimedOut(By),
}

/// One who wants the lock.
pub(crate) trait Contender {
    /// What it becomes.
    type Held;

    /// The latest news, without waiting. After an error the next call tries anew.
    fn poll(&mut self) -> Result<Option<Step<Self::Held>>, Error>;

    /// Become readable when there is something to do.
    fn fds(&self) -> Vec<BorrowedFd<'_>>;

    /// Come back after this long at the latest.
    fn wake_after(&self) -> Option<Duration>;

    /// Wants it no more.
    fn leave(self);
}

impl By {
    /// In a store whose holders renew, a time is worth telling only of one who seems to be gone.
    pub(crate) fn of(by: &HeldBy, renews: bool) -> Self {
        Self {
            id: by.id.clone(),
            pid: by.pid,
            orphan: by.orphan,
            token: by.token,
            // Elsewhere there is no line, and programs that know no tokens.
            is_next: by.token.is_none() && !renews,
            since: by.since.as_micros(),
            ends_in: by.takeover_in.filter(|_| by.looks_abandoned || !renews),
        }
    }
}

/// A contender in this process.
pub(crate) struct Here {
    pub(crate) pending: Pending,
    /// Whether holders renew in its store.
    pub(crate) renews: bool,
}

impl Contender for Here {
    type Held = Guard;

    fn poll(&mut self) -> Result<Option<Step<Guard>>, Error> {
        use tenure::blocking::Step as Library;
        Ok(match self.pending.poll()? {
            None => None,
            Some(Library::Acquired(guard)) => Some(Step::Acquired(guard)),
            Some(Library::Busy(by)) => Some(Step::Busy(By::of(&by, self.renews))),
            Some(Library::TimedOut(by)) => Some(Step::TimedOut(By::of(&by, self.renews))),
            Some(Library::Waiting(waiting)) => {
                let by = By::of(&waiting.held_by, self.renews);
                Some(Step::Waiting(Waiting { place: waiting.place, ticket: waiting.ticket, by }))
            }
            Some(_) => None,
        })
    }

    fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.pending.fds().collect()
    }

    fn wake_after(&self) -> Option<Duration> {
        self.pending.wake_after()
    }

    /// A place in line that cannot be given up now is struck out by whoever finds us gone.
    fn leave(self) {
        let _ = self.pending.cancel();
    }
}
