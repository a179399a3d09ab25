//! Holds that no process stands behind, and holds that an operator takes away, in any store.
//!
//! Owns in which order the record is read and written for them. **Every write is on condition of the
//! very record that was judged**, and one whose answer was lost is read back by its mark. Whether a
//! hold with a key has run out is judged by the wall clock that wrote its times: nobody else can
//! have taken it while its mark stands there, so a clock that is wrong costs only the hold.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tenure_core::{Cause, Change, Claim, End, Holder, Mark, Marks, Report, Term, Text, Time};
use tenure_store::{Conditional, Name, Snapshot, Store, Stored};

use super::{RemoteLock, RemoteTarget};
use crate::blocking::{HoldKey, Kept, Theft};
use crate::clock::{Clock, within};
use crate::driver::{Driver, Site, Step};
use crate::lock::Handle;
use crate::{Error, Lost};

/// How long a store is asked again before its silence is an error.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often others may come between.
const ROUNDS: u32 = 16;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

impl RemoteLock {
    pub(in crate::blocking) fn renew_hold(
        &self,
        key: &HoldKey,
        ttl: Option<Duration>,
    ) -> Result<Kept, Error> {
        let job = Job::new(self)?;
        let key = *key;
        self.remote.wait(async move { job.renew(&key, ttl).await })?
    }

    pub(in crate::blocking) fn release_hold(&self, key: &HoldKey) -> Result<Kept, Error> {
        let job = Job::new(self)?;
        let key = *key;
        self.remote.wait(async move { job.release(&key).await })?
    }

    pub(in crate::blocking) fn steal(
        &self,
        target: &RemoteTarget,
        reason: &str,
    ) -> Result<Theft, Error> {
        let job = Job::new(self)?;
        let (target, reason) = (target.clone(), reason.into());
        self.remote.wait(async move { job.steal(&target, reason).await })?
    }
}

/// One such operation.
struct Job {
    lock: Arc<Handle>,
    store: Arc<dyn Store>,
    name: Name,
    clock: Arc<dyn Clock>,
    /// When to give up.
    limit: Time,
}

/// How a hold stands in the record.
enum Standing {
    Held(Holder, Stored),
    Expired(Holder, Stored),
    Lost(Cause),
}

impl Job {
    fn new(lock: &RemoteLock) -> Result<Self, Error> {
        let store = Arc::clone(lock.remote.store()?);
        let name = Name::new(lock.lock.name()).map_err(|e| Error::Invalid(e.to_string()))?;
        let clock = Arc::clone(&lock.remote.client().shared().clock);
        let limit = clock.now().after(PATIENCE);
        lock.lock.check()?;
        Ok(Self { lock: lock.lock.handle(), store, name, clock, limit })
    }

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
        Err(Error::unavailable(format!("lock {:?} changes all the time; try again", self.name)))
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
        Err(Error::unavailable(format!("lock {:?} changes all the time; try again", self.name)))
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
        Err(Error::unavailable(format!("lock {:?} changes all the time; try again", self.name)))
    }

    /// Ends the hold with mark `of`; `false`: it was not there any more.
    async fn end(
        &self,
        of: Mark,
        stored: Stored,
        (end, reason): (End, Option<Text>),
    ) -> Result<bool, Error> {
        let session = self.store.session().await?;
        let marks = Marks::new(tenure_local::HoldKey::anywhere()?.start()?);
        let mut claim = Claim::new(self.lock.config(&self.store, session, marks));
        claim.end_other(of, end, reason);
        let seen = Some(Snapshot::Is(stored));
        let mut driver = Driver::new(claim, seen);
        let site = Site { store: &self.store, name: &self.name, clock: &self.clock };
        let mut trouble = None;
        let ended = std::future::poll_fn(|cx| {
            loop {
                match driver.poll(site, cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Step::Report(Report::Released { .. })) => {
                        return Poll::Ready(Ok(true));
                    }
                    Poll::Ready(Step::Report(Report::Lost(_)) | Step::Ended) => {
                        return Poll::Ready(Ok(false));
                    }
                    Poll::Ready(Step::Failed(e)) => {
                        if !e.is_retryable() && !e.is_outcome_unknown() {
                            return Poll::Ready(Err(Error::from(e)));
                        }
                        trouble = Some(e);
                    }
                    Poll::Ready(_) => {}
                }
            }
        });
        match within(&self.clock, Some(self.limit), ended).await {
            Some(ended) => ended,
            None => Err(trouble.map_or_else(|| self.silent(), Error::from)),
        }
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

    async fn read(&self) -> Result<Snapshot, Error> {
        loop {
            match within(&self.clock, Some(self.limit), self.store.read(&self.name)).await {
                None => return Err(self.silent()),
                Some(Ok(snapshot)) => return Ok(snapshot),
                Some(Err(e)) if e.is_retryable() && !self.is_over() => self.pause().await,
                Some(Err(e)) => return Err(e.into()),
            }
        }
    }

    /// `None`: it was not answered in time.
    async fn write(
        &self,
        judged: &Stored,
        change: &Change,
    ) -> Option<tenure_store::Result<Conditional<Stored>>> {
        let limit = self.clock.now().after(self.lock.settings.timing.attempt());
        within(&self.clock, Some(limit), self.store.write_if(&self.name, Some(judged), change))
            .await
    }

    async fn pause(&self) {
        let until = self.clock.now().after(PAUSE);
        within(&self.clock, Some(until), std::future::pending::<()>()).await;
    }

    fn is_over(&self) -> bool {
        self.clock.now() >= self.limit
    }

    fn silent(&self) -> Error {
        Error::unavailable(format!("the store did not answer within {PATIENCE:?}"))
    }
}
