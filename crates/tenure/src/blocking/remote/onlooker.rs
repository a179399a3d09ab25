//! Looking on at a lock of a store that is reached with async.
//!
//! **Whether a hold has ended is found out as a contender does it**: its entry was seen unchanged
//! for its ttl and a little more, on our own clock. What its own times say is only shown.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use tenure_core::{Holder, Mark, Term, Text, Time, Wall};
use tenure_store::{Name, Snapshot, Store};
use tokio::task::AbortHandle;

use super::Remote;
use super::bell::Post;
use crate::clock::{Clock, within};
use crate::lock::MAX_CLOCK_SKEW;
use crate::{Error, LockInfo, LockState, Timing};

/// Before a store is asked again that did not answer.
const PAUSE: Duration = Duration::from_secs(1);
/// The first look waits so long for a store.
const FIRST_CONTACT: Duration = Duration::from_secs(10);
/// Look again after this long where nothing else is known.
const BACKSTOP: Duration = Duration::from_secs(60);

/// Looks on: a task that watches, and what it saw last.
#[derive(Debug)]
pub(in crate::blocking) struct RemoteOnlooker {
    remote: Arc<Remote>,
    name: Name,
    post: Arc<Post<Snapshot>>,
    task: Option<AbortHandle>,
    last: Option<Snapshot>,
    /// The holder's entry as first seen, and when.
    since: Option<(RemoteTarget, Time)>,
    wake_after: Duration,
}

/// The hold that an operator has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::blocking) struct RemoteTarget {
    id: Text,
    since: Wall,
    mark: Mark,
    renewed: Wall,
    term: Term,
    /// It was seen to have run out: only that very entry may be ended.
    ended: bool,
}

impl RemoteTarget {
    fn of(h: &Holder) -> Self {
        let (id, since, mark) = (h.id.clone(), h.since, h.mark);
        Self { id, since, mark, renewed: h.renewed, term: h.term, ended: false }
    }

    /// The same entry, not renewed in between.
    pub(in crate::blocking) fn is_same_entry(&self, other: &Self) -> bool {
        Self { ended: false, ..self.clone() } == Self { ended: false, ..other.clone() }
    }

    /// Whether this is the hold that was meant: its every renewal has another mark.
    pub(super) fn is_to_end(&self, h: &Holder) -> bool {
        let now = Self::of(h);
        let same = self.id == now.id && self.since == now.since;
        self.is_same_entry(&now) || (same && !self.ended)
    }

    pub(in crate::blocking) fn ends_by_time(&self) -> bool {
        matches!(self.term, Term::Ttl(_) | Term::Until(_))
    }
}

impl RemoteOnlooker {
    pub(in crate::blocking) fn new(remote: &Arc<Remote>, name: &str) -> Result<Self, Error> {
        let name = Name::new(name).map_err(|e| Error::Invalid(e.to_string()))?;
        Ok(Self {
            remote: Arc::clone(remote),
            name,
            post: Post::new()?,
            task: None,
            last: None,
            since: None,
            wake_after: BACKSTOP,
        })
    }

    pub(in crate::blocking) fn look(&mut self) -> Result<(LockInfo, Option<RemoteTarget>), Error> {
        if self.task.is_none() {
            self.begin()?;
        }
        while let Some(news) = self.post.take() {
            self.note(news);
        }
        let (info, target) = self.judge();
        if !target.as_ref().is_some_and(|target| target.ended) {
            return Ok((info, target));
        }
        // The watch may have been cut off: only what stands there now has stood still.
        match self.read() {
            Ok(news) => {
                self.note(news);
                Ok(self.judge())
            }
            Err(error) if error.is_retryable() => {
                self.wake_after = PAUSE;
                let info = LockInfo { state: LockState::Held, ..info };
                Ok((info, target.map(|target| RemoteTarget { ended: false, ..target })))
            }
            Err(error) => Err(error),
        }
    }

    /// Keeps what is not older than what is known.
    fn note(&mut self, news: Snapshot) {
        let known = self.last.as_ref().map_or(0, Snapshot::revision);
        if news.revision() == 0 || news.revision() >= known {
            self.last = Some(news);
        }
    }

    /// How the lock stands by what was seen last.
    fn judge(&mut self) -> (LockInfo, Option<RemoteTarget>) {
        let shared = self.remote.client().shared();
        let (now, wall) = (shared.clock.now(), shared.clock.wall());
        let stored = self.last.as_ref().and_then(Snapshot::stored);
        let mut info = crate::info::of_stored(&self.name, stored, shared, wall);
        let holder = stored.and_then(|stored| stored.record.holder.as_ref());
        let mut target = holder.map(RemoteTarget::of);
        let same = |(seen, _): &(RemoteTarget, Time)| Some(seen) == target.as_ref();
        let first = self.since.take().filter(same).map_or(now, |(_, at)| at);
        let age = stored.and_then(|stored| stored.age);
        let first = age.map_or(first, |age| first.min(now.before(age)));
        self.since = target.clone().map(|target| (target, first));
        self.wake_after = BACKSTOP;
        let Some(seen) = &mut target else { return (info, target) };
        info.state = LockState::Held;
        if let Term::Ttl(ttl) = seen.term {
            let end = first.after(Timing::default().expiry(ttl));
            if now >= end {
                info.state = LockState::Expired;
                seen.ended = true;
            } else {
                self.wake_after = end.since(now).min(BACKSTOP);
            }
        }
        // Its author says when it ends, by his wall clock, and not how long it is.
        if let Term::Until(end) = seen.term {
            let left = end.since(wall).saturating_add(MAX_CLOCK_SKEW);
            if wall.since(end) > MAX_CLOCK_SKEW {
                info.state = LockState::Expired;
                seen.ended = true;
            } else {
                self.wake_after = left.saturating_sub(wall.since(end)).min(BACKSTOP);
            }
        }
        (info, target)
    }

    fn read(&self) -> Result<Snapshot, Error> {
        let store = Arc::clone(self.remote.store()?);
        let clock = Arc::clone(&self.remote.client().shared().clock);
        let name = self.name.clone();
        let read = self.remote.wait(async move {
            let limit = clock.now().after(FIRST_CONTACT);
            within(&clock, Some(limit), store.read(&name)).await
        })?;
        let silent = || Error::unavailable(format!("no answer within {FIRST_CONTACT:?}"));
        Ok(read.ok_or_else(silent)??)
    }

    /// Reads the record, and watches it from then on.
    fn begin(&mut self) -> Result<(), Error> {
        let store = Arc::clone(self.remote.store()?);
        let clock = Arc::clone(&self.remote.client().shared().clock);
        self.last = Some(self.read()?);
        let watch = watch(store, clock, self.name.clone(), Arc::clone(&self.post));
        self.task = Some(self.remote.handle().spawn(watch).abort_handle());
        Ok(())
    }

    pub(in crate::blocking) fn fd(&self) -> BorrowedFd<'_> {
        self.post.fd()
    }

    pub(in crate::blocking) const fn wake_after(&self) -> Duration {
        self.wake_after
    }
}

impl Drop for RemoteOnlooker {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Posts every state that lasts; reads from time to time where there can be no watch.
async fn watch(
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    name: Name,
    post: Arc<Post<Snapshot>>,
) {
    loop {
        let mut watch = store.watch(&name);
        while let Some(Ok(news)) = std::future::poll_fn(|cx| watch.as_mut().poll_next(cx)).await {
            post.put(news);
        }
        drop(watch);
        let until = clock.now().after(PAUSE);
        within(&clock, Some(until), std::future::pending::<()>()).await;
        let limit = clock.now().after(FIRST_CONTACT);
        if let Some(Ok(news)) = within(&clock, Some(limit), store.read(&name)).await {
            post.put(news);
        }
    }
}
