//! Holding a lock.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use tenure_core::{Report, Text};
use tenure_local::LocalClaim;

use super::remote::RemoteGuard;
use crate::lock::check_tags;
use crate::run::CalledOff;
use crate::{Deadline, Error, Lost, Released};

/// A held lock. Dropping it releases it.
///
/// On the embedded store a hold ends with its release or with the death of everything that carries
/// its session: never by time. Elsewhere a thread renews it, and it is lost at its
/// [`deadline`](Self::deadline) at the latest: look at that before each action, or let
/// [`news`](Self::news) tell you.
#[derive(Debug)]
#[must_use = "a dropped guard releases its lock"]
pub struct Guard {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// What is lost stays so: the claim says it once.
    Local {
        claim: Box<LocalClaim>,
        token: u64,
        lost: Option<Lost>,
    },
    Remote(Box<RemoteGuard>),
}

/// What happened to a hold that does not stand by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum News {
    /// It was renewed: [`Guard::deadline`] has moved.
    Renewed,
    /// The work under it must come to its end: the grace before the deadline has come, or the hold
    /// is lost. This is not taken back, even if a renewal comes through after all.
    Stopping,
    /// It is lost.
    Lost(Lost),
}

impl Guard {
    pub(super) fn local(claim: Box<LocalClaim>) -> Option<Self> {
        let token = claim.token()?.get();
        Some(Self { kind: Kind::Local { claim, token, lost: None } })
    }

    pub(super) fn remote(guard: RemoteGuard) -> Self {
        Self { kind: Kind::Remote(Box::new(guard)) }
    }

    /// The fencing token: larger than that of every earlier hold of this lock. Give it to what you
    /// write to, and let that refuse smaller ones.
    #[must_use]
    pub fn token(&self) -> u64 {
        match &self.kind {
            Kind::Local { token, .. } => *token,
            Kind::Remote(guard) => guard.token(),
        }
    }

    /// Sees to it that work which goes on past the deadline ends with the process, until the value
    /// is dropped. What does not end by time needs none.
    pub(super) fn watchdog(&self) -> Option<CalledOff> {
        match &self.kind {
            Kind::Local { .. } => None,
            Kind::Remote(guard) => guard.watchdog(),
        }
    }

    /// The identity that holds the lock.
    #[must_use]
    pub fn id(&self) -> &str {
        match &self.kind {
            Kind::Local { claim, .. } => claim.id(),
            Kind::Remote(guard) => guard.id(),
        }
    }

    /// The lock's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.kind {
            Kind::Local { claim, .. } => claim.name(),
            Kind::Remote(guard) => guard.name(),
        }
    }

    /// When the hold ends unless it is renewed by then; `None` on the embedded store, where it does
    /// not end by time. Every renewal moves it: ask again before each action.
    #[must_use]
    pub fn deadline(&self) -> Option<Deadline> {
        match &self.kind {
            Kind::Local { .. } => None,
            Kind::Remote(guard) => guard.deadline(),
        }
    }

    /// What has happened to the hold since it was asked last, in order, without blocking. There is
    /// none on the embedded store.
    #[must_use]
    pub fn news(&self) -> Option<News> {
        match &self.kind {
            Kind::Local { .. } => None,
            Kind::Remote(guard) => guard.news(),
        }
    }

    /// Descriptors that are readable while there are [`news`](Self::news).
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        match &self.kind {
            Kind::Local { .. } => None,
            Kind::Remote(guard) => Some(guard.fd()),
        }
        .into_iter()
    }

    /// Looks whether the hold is lost. On the embedded store that is one read of the record;
    /// elsewhere what the thread knows, and the clock.
    ///
    /// # Errors
    /// As [`Pending::poll`](super::Pending::poll); the hold then counts as held.
    pub fn check(&mut self) -> Result<Option<Lost>, Error> {
        match &mut self.kind {
            Kind::Local { claim, lost, .. } => {
                if lost.is_none() {
                    *lost = claim.check()?.map(Lost::from);
                }
                Ok(lost.clone())
            }
            Kind::Remote(guard) => Ok(guard.look()),
        }
    }

    /// The lock's tags from the release on. See [`Guard::tags_on_release`](crate::Guard::tags_on_release).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a tag that is none, and [`Error::Unsupported`] where the store has no
    /// place for tags; what was said before still holds then.
    pub fn tags_on_release<T: AsRef<str>>(
        &mut self,
        tags: impl IntoIterator<Item = T>,
    ) -> Result<(), Error> {
        self.tag_end(check_tags(tags).map_err(Error::Invalid)?, false)
    }

    /// The same, but these are added to those that the lock has then.
    ///
    /// # Errors
    /// As [`tags_on_release`](Self::tags_on_release).
    pub fn add_tags_on_release<T: AsRef<str>>(
        &mut self,
        tags: impl IntoIterator<Item = T>,
    ) -> Result<(), Error> {
        self.tag_end(check_tags(tags).map_err(Error::Invalid)?, true)
    }

    fn tag_end(&mut self, tags: Vec<Text>, add: bool) -> Result<(), Error> {
        match &mut self.kind {
            Kind::Local { claim, .. } => claim.tag_end(tags, add),
            Kind::Remote(guard) => return guard.tag_end(tags, add),
        }
        Ok(())
    }

    /// Gives the lock back, to the next in line where there is one, and wakes it.
    ///
    /// # Errors
    /// As [`Pending::poll`](super::Pending::poll). The hold is over for the caller all the same; if
    /// the record still names it, it ends with this process, or elsewhere by its ttl.
    pub fn release(self) -> Result<Released, Error> {
        match self.kind {
            Kind::Local { lost: Some(cause), .. } => Ok(Released::Lost(cause)),
            Kind::Local { mut claim, .. } => {
                let report = claim.release()?;
                claim.leave();
                released(report)
            }
            Kind::Remote(guard) => guard.release(None),
        }
    }

    /// Ends the hold, but leaves it in the record for `ttl` with nobody behind it: the lock stays
    /// busy that long, or with [`Duration::MAX`] until somebody takes it away, where the store can
    /// say so.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    pub fn release_after(self, ttl: Duration) -> Result<Released, Error> {
        match self.kind {
            Kind::Local { lost: Some(cause), .. } => Ok(Released::Lost(cause)),
            Kind::Local { mut claim, .. } => released(claim.detach(ttl)?),
            Kind::Remote(guard) => guard.release(Some(ttl)),
        }
    }

    /// The descriptor whose lock says that this process lives: a child that inherits it keeps the
    /// hold alive. `None` where a hold ends by time.
    #[must_use]
    pub fn session_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.kind {
            Kind::Local { claim, .. } => Some(claim.session_fd()),
            Kind::Remote(_) => None,
        }
    }

    /// Where in that descriptor's file a child's process group is recorded: its number as four
    /// little-endian bytes, written by the child before its work starts, so that what is left of
    /// the group can be ended if this process is killed.
    #[must_use]
    pub const fn group_offset(&self) -> u64 {
        LocalClaim::GROUP_OFFSET
    }
}

fn released(report: Option<Report>) -> Result<Released, Error> {
    Ok(match report {
        Some(Report::Lost(cause)) => Released::Lost(cause.into()),
        _ => Released::Released,
    })
}
