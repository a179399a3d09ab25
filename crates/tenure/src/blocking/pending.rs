//! Wanting a lock, for programs with an event loop of their own.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use tenure_core::Report;
use tenure_local::{LocalClaim, LocalLock};

use super::Guard;
use crate::{Error, HeldBy};

/// How long to want a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Patience {
    /// Not at all: busy is an answer.
    Now,
    /// At most this long.
    For(Duration),
    /// For ever.
    Forever,
}

/// Where a waiting contender stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// How many stand in line before it; `None` until it stands in line itself.
    pub place: Option<usize>,
    /// Its ticket: tickets are served in their order.
    pub ticket: Option<u64>,
    /// Who has the lock.
    pub held_by: HeldBy,
}

/// How far a [`Pending`] has come.
#[derive(Debug)]
#[non_exhaustive]
pub enum Step {
    /// Still waiting; this is the latest news.
    Waiting(Waiting),
    /// The lock is held from now on.
    Acquired(Guard),
    /// Somebody has it, and patience was [`Patience::Now`].
    Busy(HeldBy),
    /// Patience ended.
    TimedOut(HeldBy),
}

/// A contender for a lock. Dropping it leaves the line, and gives back what arrived meanwhile.
#[derive(Debug)]
#[must_use = "a dropped contender leaves the line"]
pub struct Pending {
    claim: Option<Box<LocalClaim>>,
    last: Option<Waiting>,
}

impl Pending {
    pub(crate) fn new(lock: &Arc<LocalLock>, want: Patience) -> Result<Self, Error> {
        Ok(Self::of(LocalClaim::new(lock, patience(lock, want))?))
    }

    pub(super) fn of(claim: LocalClaim) -> Self {
        Self { claim: Some(Box::new(claim)), last: None }
    }

    /// Does what can be done now, without waiting for anybody. `None`: nothing new; wait for
    /// [`fds`](Self::fds) to become readable or [`wake_after`](Self::wake_after) to pass.
    ///
    /// # Errors
    /// [`Error::Damaged`] and [`Error::Unsupported`] for a record that cannot be read,
    /// [`Error::Unavailable`] where the disk cannot be used or another process is stuck in the
    /// middle of a change. Nothing is held then.
    ///
    /// # Panics
    /// Never; after a final step it returns `None`.
    pub fn poll(&mut self) -> Result<Option<Step>, Error> {
        let Some(claim) = &mut self.claim else { return Ok(None) };
        loop {
            let Some(report) = claim.step()? else { return Ok(None) };
            let step = match report {
                Report::Acquired { .. } => {
                    let Some(claim) = self.claim.take() else { return Ok(None) };
                    return Ok(Guard::new(claim).map(Step::Acquired));
                }
                Report::Waiting { place, ticket, by } => {
                    let held_by = crate::local::held_by(claim, by);
                    let waiting = Waiting { place, ticket, held_by };
                    self.last = Some(waiting.clone());
                    Step::Waiting(waiting)
                }
                Report::Busy(by) => Step::Busy(crate::local::held_by(claim, by)),
                Report::TimedOut(Some(by)) => Step::TimedOut(crate::local::held_by(claim, by)),
                Report::TimedOut(None) => {
                    let text = "the limit passed before the store had answered".to_owned();
                    return Err(Error::Unavailable(text, None));
                }
                // The rest are news of a hold, and there is none.
                _ => continue,
            };
            return Ok(Some(step));
        }
    }

    /// Descriptors that become readable when there is something to do.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.claim.iter().flat_map(|claim| claim.wake_fds())
    }

    /// Come back after this long at the latest.
    #[must_use]
    pub fn wake_after(&self) -> Option<Duration> {
        self.claim.as_ref().and_then(|claim| claim.wake_after())
    }

    /// The latest news of the wait, if it has begun.
    #[must_use]
    pub fn waiting(&self) -> Option<&Waiting> {
        self.last.as_ref()
    }

    /// Leaves the line and gives back what arrived meanwhile.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub fn cancel(mut self) -> Result<(), Error> {
        match self.claim.take() {
            Some(mut claim) => Ok(claim.cancel()?),
            None => Ok(()),
        }
    }

    /// Blocks until [`poll`](Self::poll) may have something new.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the system cannot wait.
    pub fn wait(&self) -> Result<(), Error> {
        match &self.claim {
            Some(claim) => Ok(claim.block()?),
            None => Ok(()),
        }
    }

    /// Blocks until the wait has ended.
    pub(crate) fn finish(mut self) -> Result<Step, Error> {
        loop {
            match self.poll()? {
                Some(Step::Waiting(_)) => {}
                Some(step) => return Ok(step),
                None if self.claim.is_none() => {
                    return Err(Error::Unavailable("the wait was given up".into(), None));
                }
                None => self.wait()?,
            }
        }
    }
}

/// How long `want` is on the clock of this lock's store.
pub(super) fn patience(lock: &LocalLock, want: Patience) -> tenure_core::Patience {
    match want {
        Patience::Now => tenure_core::Patience::Now,
        Patience::For(limit) => tenure_core::Patience::Until(lock.now().after(limit)),
        Patience::Forever => tenure_core::Patience::Forever,
    }
}
