//! The embedded store for async programs: a short adaptor over [`LocalClaim`].
//!
//! ```text
//! poll ─> LocalClaim, in place ─┬─> done: a few system calls
//!                               ├─> takes long: in a thread, which hands the claim back
//!                               └─> waits: for its descriptors and its next look
//! ```
//!
//! Owns where each step runs: **no poll holds up its thread for longer than a busy guard's
//! millisecond**. Decides nothing: the machine is the one behind the blocking client.

mod aside;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tenure_core::{Patience, Report, Term, Text};
use tenure_local::{LocalClaim, LocalLock, LocalStore, LockName, Quick, Settings};
use tenure_store::Name;

use crate::client::Shared;
use crate::clock::{Alarm, Clock, Descriptor};
use crate::driver::{Ahead, Asked, Turn};
use crate::event::{About, EventKind};
use crate::hold::{Check, Status};
use crate::lock::{Got, Handle, Waiting};
use crate::{Error, Guard, HeldBy, LockInfo, Lost, Released};
use aside::aside;

/// A hold in the embedded store. Dropping it gives it back in place.
pub(crate) struct Held {
    claim: Arc<Slot>,
    status: Arc<Status>,
    shared: Arc<Shared>,
    acquisition: u64,
    /// Whether its end was told.
    told: bool,
    /// Given back after the claim.
    _turn: Turn,
}

/// The claim of a hold, while it is held: whoever looks after its loss shares it.
struct Slot(Mutex<Option<Box<LocalClaim>>>);

/// Acquires in the embedded store.
pub(crate) async fn acquire(
    lock: &Handle,
    store: &Arc<LocalStore>,
    turn: Turn,
    patience: Patience,
    mut waiting: Waiting<'_>,
) -> Result<Got, Error> {
    let mut claim = LocalClaim::new(&local_lock(lock, store)?, patience)?;
    loop {
        let report = match claim.step_quickly()? {
            Quick::Done(report) => report,
            Quick::TakesLong => {
                let (back, report) = aside(&lock.shared, move || {
                    let report = claim.step();
                    (claim, report)
                })
                .await?;
                claim = back;
                report?
            }
        };
        match report {
            None => wait(&lock.shared.clock, &claim).await?,
            Some(Report::Acquired { token }) => {
                let held = Held::new(lock, turn, claim, token.get(), waiting.end());
                let status = Arc::clone(&held.status);
                return Ok(Got::Guard(Guard::local(held, status)));
            }
            Some(Report::Waiting { place, by, .. }) => {
                let by = held_by(&claim, *by);
                waiting.tell(&by, place);
                turn.set_ahead(Ahead::Waits(Box::new(by)));
            }
            Some(Report::Busy(by)) => return Ok(Got::Busy(Box::new(held_by(&claim, *by)))),
            Some(Report::TimedOut(Some(by))) => {
                return Ok(Got::TimedOut(Box::new(held_by(&claim, *by))));
            }
            Some(Report::TimedOut(None)) => {
                return Err(Error::unavailable("the limit passed before the store had answered"));
            }
            // The rest are news of a hold, and there is none.
            Some(_) => {}
        }
    }
}

/// What a lock needs in this store, made once for a handle.
fn local_lock(lock: &Handle, store: &Arc<LocalStore>) -> Result<Arc<LocalLock>, Error> {
    if let Some(local) = lock.local.get() {
        return Ok(Arc::clone(local));
    }
    let settings = Settings {
        id: lock.id.clone(),
        timing: lock.settings.timing,
        tags: lock.settings.tags.clone(),
        durable: lock.settings.durable,
    };
    let name = LockName::new(lock.name())?;
    let local = Arc::new(LocalLock::new(Arc::clone(store), name, settings));
    Ok(Arc::clone(lock.local.get_or_init(|| local)))
}

/// Waits until the claim may have something new. Whoever wakes us for another reason costs a look.
async fn wait(clock: &Clock, claim: &LocalClaim) -> Result<(), Error> {
    clock.start()?;
    let until = claim.wake_after().map(|after| clock.now().after(after));
    let mut alarm = Alarm::new(clock.clone());
    let mut watched: Option<Vec<Descriptor<'_>>> = None;
    std::future::poll_fn(|cx| {
        if watched.is_some() {
            return Poll::Ready(Ok(()));
        }
        let watch = |fd| Descriptor::watch(fd, cx.waker());
        match claim.wake_fds().map(watch).collect() {
            Ok(descriptors) => watched = Some(descriptors),
            Err(error) => return Poll::Ready(Err(error)),
        }
        alarm.set(until, cx.waker());
        Poll::Pending
    })
    .await
}

impl Held {
    fn new(lock: &Handle, turn: Turn, claim: Box<LocalClaim>, token: u64, asked: Asked) -> Self {
        let clock = lock.shared.clock.clone();
        let now = clock.now();
        let waited = now.since(asked.since);
        let name: Text = turn.text().clone();
        let times = (clock, &lock.settings.timing);
        let status = Status::new(times, (name, lock.id.clone()), token, (now, None));
        let claim = Arc::new(Slot(Mutex::new(Some(claim))));
        let weak = Arc::downgrade(&claim);
        status.set_check(weak);
        turn.set_ahead(Ahead::Holds(Arc::clone(&status)));
        let shared = Arc::clone(&lock.shared);
        let held =
            Self { claim, status, shared, acquisition: asked.number, told: false, _turn: turn };
        held.tell(|| EventKind::Acquired { token, waited, remaining: None });
        held
    }

    fn tell(&self, kind: impl FnOnce() -> EventKind) {
        let (lock, id) = (&self.status.name, &self.status.id);
        self.shared.tell(About { lock, id, acquisition: self.acquisition }, kind);
    }

    /// What the release says of the lock's tags.
    pub(crate) fn tag_end(&self, tags: Vec<Text>, add: bool) {
        if let Some(claim) = &mut *self.claim.claim() {
            claim.tag_end(tags, add);
        }
    }

    /// Gives the lock back, or leaves it busy for the ttl given.
    pub(crate) async fn release(mut self, leave: Option<Duration>) -> Result<Released, Error> {
        let lost = self.status.look();
        let Some(mut claim) = self.end() else { return Ok(self.released(lost, true)) };
        // If the answer never comes, dropping this tells of an end that was not confirmed.
        let report = match leave {
            None => match claim.release_quickly()? {
                Quick::Done(report) => {
                    claim.leave();
                    report
                }
                Quick::TakesLong => aside(&self.shared, move || claim.release()).await??,
            },
            // What outlives its process is synced.
            Some(ttl) => aside(&self.shared, move || claim.detach(ttl)).await??,
        };
        let lost = match report {
            Some(Report::Lost(cause)) => Some(Lost::from(cause)),
            _ => lost,
        };
        Ok(self.released(lost, true))
    }

    /// The hold is over for its user: takes the claim out, to be ended.
    fn end(&self) -> Option<Box<LocalClaim>> {
        self.status.give_back(self.shared.clock.now());
        self.claim.claim().take()
    }

    /// Tells how it ended, once.
    fn released(&mut self, lost: Option<Lost>, confirmed: bool) -> Released {
        if !std::mem::replace(&mut self.told, true) {
            self.tell(|| EventKind::end(&self.status, lost.clone(), confirmed));
        }
        lost.map_or(Released::Released, Released::Lost)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let lost = self.status.look();
        let Some(mut claim) = self.end() else {
            drop(self.released(lost, false));
            return;
        };
        if let Ok(Quick::TakesLong) = claim.release_quickly() {
            let undoing = self.shared.keeper.undoing();
            let thread = std::thread::Builder::new().name("tenure-release".into());
            // Without a thread the claim is dropped here, and does what it can in place.
            let _ = thread.spawn(move || drop((claim, undoing)));
        }
        drop(self.released(lost, true));
    }
}

impl Slot {
    fn claim(&self) -> MutexGuard<'_, Option<Box<LocalClaim>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slot")
    }
}

impl Check for Slot {
    fn check(&self) -> Option<Lost> {
        // What cannot be read counts as held: the session says so.
        self.claim().as_mut()?.check().ok()?.map(Lost::from)
    }
}

pub(crate) fn held_by(claim: &LocalClaim, by: tenure_core::HeldBy) -> HeldBy {
    // A hold that ends by time outlives its process, whose number may be another's by now.
    let session = (by.term == Term::Session).then_some(by.session);
    HeldBy {
        pid: session.and_then(tenure_local::pid_of),
        orphan: session.and_then(|session| claim.store().orphan_of(session)),
        ..by.into()
    }
}

/// What is known of one lock.
pub(crate) fn show(store: &LocalStore, name: &Name, url: String) -> Result<LockInfo, Error> {
    let shown = store.show(&LockName::new(name.as_str())?)?;
    Ok(crate::info::of_local(shown, url))
}

/// What is known of all locks.
pub(crate) async fn list(
    shared: &Arc<Shared>,
    store: &Arc<LocalStore>,
) -> Result<Vec<Result<LockInfo, Error>>, Error> {
    let (store, url) = (Arc::clone(store), shared.url.clone());
    let listed = aside(shared, move || store.list()).await??;
    let info = |shown: tenure_local::Result<_>| Ok(crate::info::of_local(shown?, url.clone()));
    Ok(listed.into_iter().map(info).collect())
}
