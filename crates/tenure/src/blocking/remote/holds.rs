//! Holds that no process stands behind, and holds that an operator takes away, in any store.
//!
//! Owns in which order the record is read and written for them. **Every write is on condition of the
//! very record that was judged**, and one whose answer was lost is read back by its mark. Whether a
//! hold with a key has run out is judged by the wall clock that wrote its times: nobody else can
//! have taken it while its mark stands there, so a clock that is wrong costs only the hold.

use std::time::Duration;

use tenure_core::{Cause, Change, End, Holder, Mark, Term, Text};
use tenure_store::{Conditional, Stored};

use super::{RemoteLock, RemoteTarget};
use crate::blocking::{HoldKey, Kept, Theft};
use crate::clock::within;
use crate::job::{Job, ROUNDS};
use crate::{Error, Lost};

impl RemoteLock {
    fn job(&self) -> Result<Job, Error> {
        Job::new(&self.lock, self.remote.client().shared())
    }

    pub(in crate::blocking) fn renew_hold(
        &self,
        key: &HoldKey,
        ttl: Option<Duration>,
    ) -> Result<Kept, Error> {
        let job = self.job()?;
        let key = *key;
        self.remote.wait(async move { job.renew(&key, ttl).await })?
    }

    pub(in crate::blocking) fn release_hold(&self, key: &HoldKey) -> Result<Kept, Error> {
        let job = self.job()?;
        let key = *key;
        self.remote.wait(async move { job.release(&key).await })?
    }

    pub(in crate::blocking) fn steal(
        &self,
        target: &RemoteTarget,
        reason: &str,
    ) -> Result<Theft, Error> {
        let job = self.job()?;
        let (target, reason) = (target.clone(), reason.into());
        self.remote.wait(async move { job.steal(&target, reason).await })?
    }
}

/// How a hold stands in the record.
enum Standing {
    Held(Holder, Stored),
    Expired(Holder, Stored),
    Lost(Cause),
}

impl Job {
    async fn renew(&self, key: &HoldKey, ttl: Option<Duration>) -> Result<Kept, Error> {
        let mut in_doubt: Vec<Mark> = Vec::new();
        for _ in 0..ROUNDS {
            let (holder, stored) = match self.standing(key).await? {
                Standing::Lost(cause) => return Ok(Kept::Lost(cause.into())),
                // Only what was sent here can have left these marks.
                Standing::Held(h, _) | Standing::Expired(h, _) if in_doubt.contains(&h.mark) => {
                    return Ok(Kept::Done { token: h.token.get() });
                }
                Standing::Expired(..) => {
                    return Ok(Kept::Lost(Lost::Deadline));
                }
                Standing::Held(holder, stored) => (holder, stored),
            };
            let mark = Mark::from_u128(key.0.start()?.wrapping_add(1));
            let change = Change::Renew {
                of: holder.mark,
                mark,
                token: holder.token,
                term: ttl.map_or(holder.term, Term::after),
                session: holder.session,
                renewed: self.clock.wall(),
                stamp: self.clock.now(),
            };
            match self.write(&stored, &change).await {
                Some(Ok(Conditional::Done(_))) => {
                    return Ok(Kept::Done { token: holder.token.get() });
                }
                // A copy of it may have come first: the record tells.
                Some(Ok(Conditional::Conflict)) => in_doubt.push(mark),
                Some(Err(e)) if e.is_outcome_unknown() => in_doubt.push(mark),
                Some(Err(e)) if e.is_retryable() && !self.is_over() => {}
                Some(Err(e)) => return Err(e.into()),
                None => in_doubt.push(mark),
            }
            self.pause().await;
        }
        Err(self.changes())
    }

    async fn release(&self, key: &HoldKey) -> Result<Kept, Error> {
        for _ in 0..ROUNDS {
            let (holder, stored, end, kept) = match self.standing(key).await? {
                Standing::Lost(cause) => return Ok(Kept::Lost(cause.into())),
                Standing::Held(h, stored) => {
                    let done = Kept::Done { token: h.token.get() };
                    (h, stored, End::Released, done)
                }
                Standing::Expired(h, stored) => {
                    let lost = Kept::Lost(Lost::Deadline);
                    (h, stored, End::Expired, lost)
                }
            };
            if self.end(holder.mark, stored, (end, None)).await? {
                return Ok(kept);
            }
            // It was renewed or taken in between: look again.
        }
        Err(self.changes())
    }

    async fn steal(&self, target: &RemoteTarget, reason: Text) -> Result<Theft, Error> {
        for _ in 0..ROUNDS {
            let snapshot = self.read().await?;
            let cause = match snapshot.stored() {
                None => Cause::Deleted,
                Some(stored) => match &stored.record.holder {
                    None => Cause::Freed,
                    Some(h) if !target.is_to_end(h) => Cause::Replaced { by: h.id.clone() },
                    Some(h) => {
                        let how = (End::Stolen, Some(Text::clone(&reason)));
                        if self.end(h.mark, stored.clone(), how).await? {
                            return Ok(Theft::Freed { killed: Vec::new() });
                        }
                        continue;
                    }
                },
            };
            return Ok(Theft::Changed(cause.into()));
        }
        Err(self.changes())
    }

    async fn standing(&self, key: &HoldKey) -> Result<Standing, Error> {
        let snapshot = self.read().await?;
        let Some(stored) = snapshot.stored() else { return Ok(Standing::Lost(Cause::Deleted)) };
        let holder = match &stored.record.holder {
            None => return Ok(Standing::Lost(Cause::Freed)),
            Some(h) if !key.0.made(h.mark) => {
                return Ok(Standing::Lost(Cause::Replaced { by: h.id.clone() }));
            }
            Some(h) => h.clone(),
        };
        let age = stored.age.unwrap_or_else(|| self.clock.wall().since(holder.renewed));
        let over = matches!(holder.term, Term::Ttl(ttl) if age >= ttl);
        let stored = stored.clone();
        Ok(if over { Standing::Expired(holder, stored) } else { Standing::Held(holder, stored) })
    }

    /// `None`: it was not answered in time.
    async fn write(
        &self,
        judged: &Stored,
        change: &Change,
    ) -> Option<tenure_store::Result<Conditional<Stored>>> {
        let limit = self.clock.now().after(self.lock.settings.timing.attempt());
        within(
            &self.clock,
            Some(limit),
            self.at.store.write_if(&self.at.name, Some(judged), change),
        )
        .await
    }
}
