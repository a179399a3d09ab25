//! One operation on a record for somebody who holds nothing: read it, end a hold that is in it.
//!
//! Owns how long a store is asked again. **A hold is ended on condition of the very record that was
//! judged**, by its mark; an answer that was lost is read back by the machine.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tenure_core::{Claim, End, Mark, Marks, Report, Text, Time};
use tenure_store::{Name, Snapshot, Store, Stored};

use crate::client::{Backend, Shared};
use crate::clock::{Clock, within};
use crate::driver::{Driver, Site, Step};
use crate::lock::Handle;
use crate::{Error, Lock, identity};

/// How long a store is asked again before its silence is an error.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often others may come between.
pub(crate) const ROUNDS: u32 = 16;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// The operation.
pub(crate) struct Job {
    pub(crate) lock: Arc<Handle>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) name: Name,
    pub(crate) clock: Arc<dyn Clock>,
    /// When to give up.
    limit: Time,
}

impl Job {
    pub(crate) fn new(lock: &Lock, shared: &Arc<Shared>) -> Result<Self, Error> {
        lock.check()?;
        let store = match &shared.backend {
            Backend::Store(store) => Arc::clone(store),
            #[cfg(all(feature = "local", target_os = "linux"))]
            Backend::Local(_) => {
                return Err(Error::Unsupported("local: has ways of its own".into()));
            }
        };
        let name = Name::new(lock.name()).map_err(|e| Error::Invalid(e.to_string()))?;
        let clock = Arc::clone(&shared.clock);
        let limit = clock.now().after(PATIENCE);
        Ok(Self { lock: lock.handle(), store, name, clock, limit })
    }

    /// Ends the hold with mark `of`; `false`: it was not there any more.
    pub(crate) async fn end(
        &self,
        of: Mark,
        stored: Stored,
        (end, reason): (End, Option<Text>),
    ) -> Result<bool, Error> {
        let session = self.store.session().await?;
        let marks = Marks::new(identity::random_u128().map_err(Error::unavailable)?);
        let mut claim = Claim::new(self.lock.config(&self.store, session, marks));
        // A hold that is lost says nothing.
        if end == End::Released {
            let (tags, add) = self.lock.tags();
            claim.tag_end(tags.to_vec(), add);
        }
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

    pub(crate) async fn read(&self) -> Result<Snapshot, Error> {
        loop {
            match within(&self.clock, Some(self.limit), self.store.read(&self.name)).await {
                None => return Err(self.silent()),
                Some(Ok(snapshot)) => return Ok(snapshot),
                Some(Err(e)) if e.is_retryable() && !self.is_over() => self.pause().await,
                Some(Err(e)) => return Err(e.into()),
            }
        }
    }

    pub(crate) async fn pause(&self) {
        let until = self.clock.now().after(PAUSE);
        within(&self.clock, Some(until), std::future::pending::<()>()).await;
    }

    pub(crate) fn is_over(&self) -> bool {
        self.clock.now() >= self.limit
    }

    pub(crate) fn silent(&self) -> Error {
        Error::unavailable(format!("the store did not answer within {PATIENCE:?}"))
    }

    pub(crate) fn changes(&self) -> Error {
        Error::unavailable(format!("lock {:?} changes all the time; try again", self.name))
    }
}
