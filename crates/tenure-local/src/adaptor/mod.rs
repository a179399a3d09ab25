//! The embedded store behind the [`Store`] contract: one look or one change per request.
//!
//! ```text
//! read, probe ──────────────> in the caller's poll: a few system calls
//! write_if, delete_if ──────> the same, under the guard; in a thread if that takes long
//! list ─────────────────────> in a thread
//! watch ────> Hub ──────────> one thread for all watches of a handle, while there are any
//! ```
//!
//! Owns the translation and nothing else: what a lock's file says and how it is changed is the
//! business of [`LockFile`]. Knows no claims; [`LocalClaim`](crate::LocalClaim) is the driver that
//! was made for this store and does more (it ends the work of a dead holder that still keeps its
//! session). Both may contend for one lock. **A condition is judged under the guard under which the
//! change is made.** Stamps in records must be read from the boot-time clock.

mod aside;
mod hub;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tenure_core::{Change, End, Liveness, Mark, Probed, Record, Session, Text, Token, Version};
use tenure_store::{
    BoxFuture, Capabilities, Conditional, Detail, Listed, Name, Origin, Result as Answer, Snapshot,
    Store, Stored, Watch,
};

use crate::session::Verdict;
use crate::turn::is_detached;
use crate::{Error, Folder, LocalStore, LockFile, LockName, guard};
use aside::aside;
use hub::Hub;
use watch::LocalWatch;

/// What a job comes to.
type Result<T> = std::result::Result<T, Failed>;

/// How errors name this store.
const STORE: &str = "local:";
/// How long a poll waits for a busy guard before a thread does.
const QUICK: Duration = Duration::from_millis(1);

/// A handle on the embedded store. Its session is the process's own and ends when this and the
/// [`LocalStore`] are dropped.
#[derive(Debug)]
pub struct Adaptor {
    store: Arc<LocalStore>,
    id: Text,
    hub: Arc<Hub>,
}

impl Adaptor {
    /// The store as a [`Store`]; `id` is what the session file says of its owner.
    #[must_use]
    pub fn new(store: Arc<LocalStore>, id: Text) -> Self {
        let hub = Arc::new(Hub::new(store.folder()));
        Self { store, id, hub }
    }

    /// Carries out `change` in the poll, or in a thread if it may take long.
    async fn write(&self, job: Write) -> Result<Conditional<Stored>> {
        if !job.may_take_long() {
            match job.run(QUICK) {
                Err(Failed { error: Error::Busy { .. }, outcome_unknown: false }) => {}
                answer => return answer,
            }
        }
        aside(move || job.run(job.store.folder().guard_wait())).await
    }
}

impl Store for Adaptor {
    fn capabilities(&self) -> Capabilities {
        let liveness = Liveness::Process;
        Capabilities { liveness, queue: true, wall_clocks: false, adopts: false, tags: true }
    }

    fn session(&self) -> BoxFuture<'_, Answer<Session>> {
        Box::pin(async {
            let own = self.store.session(&self.id);
            own.map(|own| own.session()).map_err(|e| Failed::from(e).about(None))
        })
    }

    fn probe(&self, session: Session) -> BoxFuture<'_, Answer<Probed>> {
        Box::pin(async move {
            if session.is_none() {
                let what = "session of zeros: give one that a handle opened";
                return Err(tenure_store::Error::Invalid(Detail::new(STORE, what)));
            }
            match self.store.probe(session) {
                Ok(Verdict::Dead) => Ok(Probed::Dead),
                Ok(Verdict::Stopped) => Ok(Probed::Stopped),
                Ok(Verdict::Alive | Verdict::Orphaned { .. }) => Ok(Probed::Alive),
                Err(e) => Err(Failed::from(e).about(None)),
            }
        })
    }

    fn read<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Answer<Snapshot>> {
        Box::pin(async move { snapshot(self.store.folder(), name).map_err(about(name)) })
    }

    fn write_if<'a>(
        &'a self,
        name: &'a Name,
        judged: Option<&'a Stored>,
        change: &'a Change,
    ) -> BoxFuture<'a, Answer<Conditional<Stored>>> {
        Box::pin(async move {
            let write = async {
                let job = Write {
                    store: Arc::clone(&self.store),
                    id: self.id.clone(),
                    lock: LockName::new(name.as_str())?,
                    judged: judged.map(|s| s.version),
                    change: change.clone(),
                };
                self.write(job).await
            };
            write.await.map_err(about(name))
        })
    }

    fn delete_if<'a>(
        &'a self,
        name: &'a Name,
        expected: Version,
    ) -> BoxFuture<'a, Answer<Conditional<()>>> {
        Box::pin(async move {
            let folder = Arc::clone(self.store.folder());
            let delete = async {
                let lock = LockName::new(name.as_str())?;
                // A deletion is synced, which takes its time.
                aside(move || delete(&folder, lock, expected)).await
            };
            delete.await.map_err(about(name))
        })
    }

    fn watch(&self, name: &Name) -> Watch {
        let folder = Arc::clone(self.store.folder());
        Box::pin(LocalWatch::new(folder, Arc::clone(&self.hub), name.clone()))
    }

    fn list(&self) -> BoxFuture<'_, Answer<Vec<Listed>>> {
        Box::pin(async {
            let folder = Arc::clone(self.store.folder());
            aside(move || list(&folder)).await.map_err(|failed| failed.about(None))
        })
    }
}

/// A write, with all that it takes, so that a thread can make it.
struct Write {
    store: Arc<LocalStore>,
    id: Text,
    lock: LockName,
    judged: Option<Version>,
    change: Change,
}

impl Write {
    /// Whether something is synced, or the end of somebody's work awaited.
    fn may_take_long(&self) -> bool {
        self.judged.is_none() || matches!(self.change, Change::Take { ended: Some(End::Died), .. })
    }

    fn run(&self, limit: Duration) -> Result<Conditional<Stored>> {
        let mut file = LockFile::new(self.store.folder(), self.lock.clone());
        match self.judged {
            None => self.create(&mut file),
            Some(judged) => self.change(&mut file, judged, limit),
        }
    }

    fn create(&self, file: &mut LockFile) -> Result<Conditional<Stored>> {
        // To find it there now saves writing a whole file in vain.
        if file.peek()?.is_some() {
            return Ok(Conditional::Conflict);
        }
        let session = self.store.session(&self.id)?;
        let created = file.create(&session, |token| {
            let mut record = Record::default();
            record.apply(&self.change, token);
            record
        });
        let stored = match created {
            Ok(None) => return Ok(Conditional::Conflict),
            Ok(Some((mut guard, _))) => guard.read(),
            Err(e) => Err(e),
        };
        let folder = self.store.folder();
        match stored {
            Ok(stored) => Ok(Conditional::Done(convert_stored(folder, stored))),
            Err(e) if matches!(LockFile::new(folder, self.lock.clone()).peek(), Ok(None)) => {
                Err(e.into())
            }
            // What went wrong may have gone wrong after the file had its name.
            Err(error) => Err(Failed { error, outcome_unknown: true }),
        }
    }

    fn change(
        &self,
        file: &mut LockFile,
        judged: Version,
        limit: Duration,
    ) -> Result<Conditional<Stored>> {
        let Some(mut guard) = file.lock_within(limit)? else { return Ok(Conditional::Conflict) };
        let mut stored = guard.read()?;
        if stored.version != judged {
            return Ok(Conditional::Conflict);
        }
        self.end_work_of_the_dead(&stored.record);
        let dead = self.struck(&stored.record);
        let change = &self.change;
        let token = if change.begins_hold() { guard.next_token()? } else { Token::default() };
        // A detached hold must survive a power cut, so what makes and what ends one must, too.
        let detached = is_detached(&stored.record);
        stored.record.apply(change, token);
        let synced = detached || is_detached(&stored.record);
        stored.version = guard.write(&stored.record, synced)?;
        if change.begins_hold() || matches!(change, Change::Renew { .. }) {
            stored.clock = self.store.clock();
        }
        drop(guard);
        self.tell(&dead);
        Ok(Conditional::Done(convert_stored(self.store.folder(), stored)))
    }

    /// A dead holder's work may live on without its session: it is ended before anybody takes over.
    fn end_work_of_the_dead(&self, record: &Record) {
        if let (Change::Take { ended: Some(End::Died), .. }, Some(holder)) =
            (&self.change, &record.holder)
        {
            self.store.end_orphans(holder.session, holder.token, &self.lock);
        }
    }

    /// Whom the change takes out of the record.
    fn struck(&self, record: &Record) -> Vec<(Session, Mark)> {
        let (ended, strike) = match &self.change {
            Change::Take { ended, strike, .. } => (*ended, strike),
            Change::Join { strike, .. } | Change::Release { strike, .. } => (None, strike),
            Change::Leave { .. } | Change::Renew { .. } => return Vec::new(),
        };
        let holder = record.holder.as_ref().filter(|_| ended == Some(End::Died));
        let waiters = record.queue.iter().filter(|w| strike.contains(&w.mark));
        let waiters = waiters.map(|w| (w.session, w.mark));
        holder.map(|h| (h.session, h.mark)).into_iter().chain(waiters).collect()
    }

    /// Wakes the next holder, if it waits with a pipe, and tidies up after the dead; the living
    /// among those struck out, oneself for one, are left alone.
    fn tell(&self, struck: &[(Session, Mark)]) {
        if let Change::Release { next: Some(next), .. } = &self.change {
            // One without a pipe watches the record. A wake-up that fails is made up for by the
            // waiter's backstop, and the write was done.
            let _ = self.store.wake(*next);
        }
        for (session, mark) in struck {
            self.store.sweep(*session, Some(*mark));
        }
    }
}

fn delete(folder: &Arc<Folder>, lock: LockName, expected: Version) -> Result<Conditional<()>> {
    let mut file = LockFile::new(folder, lock);
    let Some(mut guard) = file.lock()? else { return Ok(Conditional::Conflict) };
    if guard.read()?.version != expected {
        return Ok(Conditional::Conflict);
    }
    Ok(Conditional::Done(guard.delete()?))
}

fn list(folder: &Folder) -> Result<Vec<Listed>> {
    let all = crate::list(folder)?.into_iter().filter_map(|crate::Listed { name, stored }| {
        // What is no name of a lock was not put there by us.
        let name = Name::new(&name).ok()?;
        let stored = stored.map(|s| convert_stored(folder, s));
        Some(Listed { stored: stored.map_err(|e| Failed::from(e).about(Some(&name))), name })
    });
    Ok(all.collect())
}

/// What stands under `name` now.
fn snapshot(folder: &Arc<Folder>, name: &Name) -> Result<Snapshot> {
    let stored = LockFile::new(folder, LockName::new(name.as_str())?).peek()?;
    let stored = stored.map(|stored| Snapshot::Is(convert_stored(folder, stored)));
    Ok(stored.unwrap_or(Snapshot::Absent { revision: 0 }))
}

fn convert_stored(folder: &Folder, stored: guard::Stored) -> Stored {
    let guard::Stored { record, version, clock, .. } = stored;
    let holder = record.holder.as_ref().filter(|_| clock == folder.clock());
    let age = holder.map(|h| folder.now().since(h.stamp));
    Stored { record: Arc::from(record), version, age, origin: Origin::default() }
}

/// Why a request failed.
#[derive(Debug)]
struct Failed {
    error: Error,
    /// Whether what was asked for may have happened all the same.
    outcome_unknown: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let outcome_unknown = matches!(error, Error::NotDurable { .. });
        Self { error, outcome_unknown }
    }
}

impl Failed {
    /// What this means to whoever asked.
    fn about(self, name: Option<&Name>) -> tenure_store::Error {
        use tenure_store::Error as Meaning;
        let meaning = match &self.error {
            _ if self.outcome_unknown => Meaning::OutcomeUnknown,
            Error::Invalid(_) | Error::Unsuitable { .. } => Meaning::Invalid,
            Error::Denied { .. } => Meaning::Denied,
            Error::Damaged { .. } => Meaning::Damaged,
            Error::NewerFormat { .. } => Meaning::Unsupported,
            Error::Full { .. }
            | Error::Unavailable { .. }
            | Error::Busy { .. }
            | Error::NotDurable { .. }
            | Error::Survives { .. }
            | Error::SessionLost { .. } => Meaning::Unavailable,
        };
        let mut detail = Detail::new(STORE, self.error.to_string()).because(self.error);
        detail.name = name.cloned();
        meaning(detail)
    }
}

/// The meaning of an error of one lock to whoever asked for it.
fn about(name: &Name) -> impl Fn(Failed) -> tenure_store::Error {
    move |failed| failed.about(Some(name))
}
