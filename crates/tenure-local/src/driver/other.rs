//! Claims that do more than take a lock for this process: with marks that another process will
//! know, and to end a hold that was never this process's own.

use std::sync::Arc;

use tenure_core::{End, Mark, Patience, Report, Text};

use super::LocalClaim;
use crate::steal::Kill;
use crate::{Error, HoldKey, LocalLock, Result};

impl LocalClaim {
    /// A contender whose hold, once it was left behind with [`detach`](LocalClaim::detach), whoever
    /// has `key` can renew and release.
    ///
    /// # Errors
    /// As [`new`](LocalClaim::new).
    pub fn with_key(lock: &Arc<LocalLock>, patience: Patience, key: &HoldKey) -> Result<Box<Self>> {
        let mut claim = Self::idle(lock, key.marks()?)?;
        // Its marks stand for the one hold with this key.
        claim.once = true;
        claim.want(patience);
        Ok(claim)
    }

    /// Ends the hold with mark `of`, whoever has it, and hands the lock to the next. What `kill`
    /// says is done before, under the same guard.
    pub(crate) fn end_other(
        lock: &Arc<LocalLock>,
        of: Mark,
        (end, reason): (End, Option<Text>),
        kill: Option<Kill>,
    ) -> Result<(Option<Report>, Option<Kill>)> {
        let mut claim = Self::idle(lock, lock.store().marks())?;
        claim.once = true;
        claim.kill = kill;
        // A hold that is lost says nothing.
        if end == End::Released {
            claim.claim.tag_end(lock.settings().tags.clone(), false);
        }
        claim.claim.end_other(of, end, reason);
        let mut ended = claim.end();
        if matches!(ended, Err(Error::NotDurable { .. })) {
            // It is over for every reader, and must be so after a power cut.
            ended = claim.end();
        }
        if ended.is_err() {
            // The order is not carried out later, when nobody hears of it.
            claim.give_up();
        }
        Ok((ended?, claim.kill.take()))
    }
}
