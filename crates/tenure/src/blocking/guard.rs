//! Holding a lock.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use tenure_core::Report;
use tenure_local::LocalClaim;

use crate::{Error, Lost, Released};

/// A held lock. Dropping it releases it.
///
/// On the embedded store a hold ends with its release or with the death of everything that carries
/// its session: never by time.
#[derive(Debug)]
#[must_use = "a dropped guard releases its lock"]
pub struct Guard {
    claim: Box<LocalClaim>,
    token: u64,
}

impl Guard {
    pub(crate) fn new(claim: Box<LocalClaim>) -> Option<Self> {
        let token = claim.token()?.get();
        Some(Self { claim, token })
    }

    /// The fencing token: larger than that of every earlier hold of this lock. Give it to what you
    /// write to, and let that refuse smaller ones.
    #[must_use]
    pub const fn token(&self) -> u64 {
        self.token
    }

    /// The identity that holds the lock.
    #[must_use]
    pub fn id(&self) -> &str {
        self.claim.id()
    }

    /// The lock's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.claim.name()
    }

    /// Looks whether the record still names this hold. One read, no write.
    ///
    /// # Errors
    /// As [`Pending::poll`](super::Pending::poll); the hold then counts as held.
    pub fn check(&mut self) -> Result<Option<Lost>, Error> {
        Ok(self.claim.check()?.map(Lost::from))
    }

    /// Gives the lock back, to the next in line where there is one, and wakes it.
    ///
    /// # Errors
    /// As [`Pending::poll`](super::Pending::poll). The hold is over for the caller all the same; if
    /// the record still names it, it ends with this process.
    pub fn release(mut self) -> Result<Released, Error> {
        released(self.claim.release()?)
    }

    /// Ends the hold, but leaves it in the record for `ttl` with nobody behind it: the lock stays
    /// busy that long.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    pub fn release_after(mut self, ttl: Duration) -> Result<Released, Error> {
        released(self.claim.detach(ttl)?)
    }

    /// The descriptor whose lock says that this process lives. A child that inherits it keeps the
    /// hold alive.
    #[must_use]
    pub fn session_fd(&self) -> BorrowedFd<'_> {
        self.claim.session_fd()
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
