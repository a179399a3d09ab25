//! Taking a lock away from its holder, for async programs.
//!
//! **What is taken away is what the condition was judged on**: the hold is ended by its mark, and where
//! that is gone the record is read and judged anew.

use std::sync::Arc;

use tenure_core::{Condition, End, Text};

use crate::job::{Job, ROUNDS};
use crate::{Error, Lock, LockInfo, LockState};

impl Lock {
    /// Takes the lock away from whoever holds it, if `condition` is true of it, and frees it: who wants
    /// it acquires it then. The lock as it was, or `None` if nobody held it or it was not so. A hold
    /// that was renewed in between is judged anew. `reason` is kept with the lock's last holds where the
    /// store has room for it.
    ///
    /// **Nothing ends the holder's work**: it learns of it as soon as its store says so, and until then
    /// only the fencing token protects against it. Not on `local:`, where a hold is bound to processes:
    /// the command `tenure steal` and `blocking` end those.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use tenure::Condition;
    ///
    /// # let client = tenure::connect("memory:").await?;
    /// let theirs = client.lock("deploy").tags(["canary"]).acquire().await?;
    /// let lock = client.lock("deploy");
    /// assert!(lock.steal(&Condition::tag("blue"), "a test").await?.is_none());
    /// let was = lock.steal(&Condition::tag("canary"), "a test").await?.unwrap();
    /// assert_eq!(was.holders[0].token, Some(theirs.token()));
    /// assert!(lock.acquire().await?.token() > theirs.token());
    /// # Ok::<(), tenure::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] for a reason that is not 1 to 255 bytes of text without control characters;
    /// [`Error::Unsupported`] on `local:`; [`Error::Damaged`] for a record that cannot be read;
    /// [`Error::Denied`] and [`Error::Unavailable`] from the store.
    ///
    /// # Cancel safety
    /// If the future is dropped the hold may have been ended or not, or be ended by what is under way.
    pub async fn steal(
        &self,
        condition: &Condition,
        reason: &str,
    ) -> Result<Option<LockInfo>, Error> {
        check_reason(reason)?;
        let shared = Arc::clone(&self.handle().shared);
        let job = Job::new(self, &shared)?;
        shared.clock.start()?;
        let reason: Text = reason.into();
        for _ in 0..ROUNDS {
            let snapshot = job.read().await?;
            let Some(stored) = snapshot.stored() else { return Ok(None) };
            let Some(holder) = &stored.record.holder else { return Ok(None) };
            let (mark, wall) = (holder.mark, shared.clock.wall());
            let was = crate::info::of_stored(&job.name, Some(stored), &shared, wall);
            if was.state == LockState::Free || !was.meets(condition) {
                return Ok(None);
            }
            let how = (End::Stolen, Some(Text::clone(&reason)));
            if job.end(mark, stored.clone(), how).await? {
                return Ok(Some(was));
            }
        }
        Err(job.changes())
    }
}

/// What is kept with the last holds.
pub(crate) fn check_reason(reason: &str) -> Result<(), Error> {
    if reason.is_empty() || reason.len() > 255 || reason.chars().any(char::is_control) {
        return Err(Error::invalid(
            "reason: give 1 to 255 bytes of text without control characters",
        ));
    }
    Ok(())
}
