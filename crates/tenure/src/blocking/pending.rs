//! Wanting a lock, for programs with an event loop of their own.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use tenure_core::Report;
use tenure_local::{LocalClaim, LocalLock};

use super::Guard;
use super::remote::{RemotePending, Told};
use crate::local::held_by;
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
    kind: Kind,
    last: Option<Waiting>,
}

#[derive(Debug)]
enum Kind {
    Local(Box<LocalClaim>),
    Remote(Box<RemotePending>),
    /// The wait has ended.
    Over,
}

impl Pending {
    pub(super) fn local(claim: Box<LocalClaim>) -> Self {
        Self { kind: Kind::Local(claim), last: None }
    }

    pub(super) fn remote(pending: RemotePending) -> Self {
        Self { kind: Kind::Remote(Box::new(pending)), last: None }
    }

    /// Does what can be done now, without waiting for anybody. `None`: nothing new; wait for
    /// [`fds`](Self::fds) to become readable or [`wake_after`](Self::wake_after) to pass.
    ///
    /// # Errors
    /// [`Error::Damaged`] and [`Error::Unsupported`] for a record that cannot be read,
    /// [`Error::Unavailable`] where the disk cannot be used or another process is stuck in the
    /// middle of a change; where the store is elsewhere, also if it did not answer at all for ten
    /// seconds (later outages are waited out), and [`Error::Denied`]. Nothing is held then, and the
    /// next call tries anew.
    ///
    /// # Panics
    /// Never; after a final step it returns `None`.
    pub fn poll(&mut self) -> Result<Option<Step>, Error> {
        let step = match &mut self.kind {
            Kind::Over => return Ok(None),
            Kind::Local(claim) => poll_local(claim)?,
            Kind::Remote(pending) => poll_remote(pending)?.map(Polled::Step),
        };
        let step = match step {
            None => return Ok(None),
            Some(Polled::Step(step)) => step,
            Some(Polled::Acquired) => {
                let Kind::Local(claim) = std::mem::replace(&mut self.kind, Kind::Over) else {
                    return Ok(None);
                };
                return Ok(Guard::local(claim).map(Step::Acquired));
            }
        };
        match (&step, &self.kind) {
            (Step::Waiting(waiting), _) => self.last = Some(waiting.clone()),
            // Of the embedded store something may be left to undo.
            (_, Kind::Remote(_)) => self.kind = Kind::Over,
            _ => {}
        }
        Ok(Some(step))
    }

    /// Descriptors that become readable when there is something to do.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let (local, remote) = match &self.kind {
            Kind::Local(claim) => (Some(claim.wake_fds()), None),
            Kind::Remote(pending) => (None, Some(pending.fd())),
            Kind::Over => (None, None),
        };
        local.into_iter().flatten().chain(remote)
    }

    /// Come back after this long at the latest.
    #[must_use]
    pub fn wake_after(&self) -> Option<Duration> {
        match &self.kind {
            Kind::Local(claim) => claim.wake_after(),
            Kind::Remote(_) | Kind::Over => None,
        }
    }

    /// The latest news of the wait, if it has begun.
    #[must_use]
    pub fn waiting(&self) -> Option<&Waiting> {
        self.last.as_ref()
    }

    /// Leaves the line and gives back what arrived meanwhile. Where the store is elsewhere and does
    /// not answer for two seconds the rest is left to the background.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub fn cancel(mut self) -> Result<(), Error> {
        match std::mem::replace(&mut self.kind, Kind::Over) {
            Kind::Local(mut claim) => Ok(claim.cancel()?),
            Kind::Remote(pending) => pending.cancel(),
            Kind::Over => Ok(()),
        }
    }

    /// Blocks until [`poll`](Self::poll) may have something new.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the system cannot wait.
    pub fn wait(&self) -> Result<(), Error> {
        match &self.kind {
            Kind::Local(claim) => Ok(claim.block()?),
            Kind::Remote(pending) => pending.wait(),
            Kind::Over => Ok(()),
        }
    }

    /// Blocks until the wait has ended.
    pub(crate) fn finish(mut self) -> Result<Step, Error> {
        loop {
            match self.poll()? {
                Some(Step::Waiting(_)) => {}
                Some(step) => return Ok(step),
                None if matches!(self.kind, Kind::Over) => {
                    return Err(Error::Unavailable("the wait was given up".into(), None));
                }
                None => self.wait()?,
            }
        }
    }
}

/// What a claim has to say.
enum Polled {
    Step(Step),
    Acquired,
}

fn poll_local(claim: &mut LocalClaim) -> Result<Option<Polled>, Error> {
    loop {
        match claim.step()? {
            None => return Ok(None),
            Some(Report::Acquired { .. }) => return Ok(Some(Polled::Acquired)),
            Some(report) => {
                if let Some(step) = local_step(claim, report)? {
                    return Ok(Some(Polled::Step(step)));
                }
            }
        }
    }
}

/// What there is to tell of one that does not hold the lock.
#[cold]
fn local_step(claim: &LocalClaim, report: Report) -> Result<Option<Step>, Error> {
    Ok(Some(match report {
        Report::Waiting { place, ticket, by } => {
            Step::Waiting(Waiting { place, ticket, held_by: held_by(claim, *by) })
        }
        Report::Busy(by) => Step::Busy(held_by(claim, *by)),
        Report::TimedOut(Some(by)) => Step::TimedOut(held_by(claim, *by)),
        Report::TimedOut(None) => {
            let text = "the limit passed before the store had answered".to_owned();
            return Err(Error::Unavailable(text, None));
        }
        // The rest are news of a hold, and there is none.
        _ => return Ok(None),
    }))
}

#[cold]
fn poll_remote(pending: &mut RemotePending) -> Result<Option<Step>, Error> {
    Ok(pending.poll()?.map(|told| match told {
        Told::Waiting(waiting) => Step::Waiting(waiting),
        Told::Acquired(guard) => Step::Acquired(Guard::remote(guard)),
        Told::Busy(by) => Step::Busy(by),
        Told::TimedOut(by) => Step::TimedOut(by),
    }))
}

/// How long `want` is on the clock of this lock's store.
pub(super) fn patience(lock: &LocalLock, want: Patience) -> tenure_core::Patience {
    match want {
        Patience::Now => tenure_core::Patience::Now,
        Patience::For(limit) => tenure_core::Patience::Until(lock.now().after(limit)),
        Patience::Forever => tenure_core::Patience::Forever,
    }
}
