//! The store in memory: the contract at its simplest, and what users test with.
//!
//! One mutex, held for the time of one operation and never while anybody is woken or dropped, makes
//! every operation atomic. One counter numbers the writes of all names: it is the revision, the
//! incarnation of what a write creates and the token of a hold that begins with it, so all three
//! rise across deletion though nothing is kept of a deleted name.
//!
//! It knows no time: a hold in it ends by a session only when that session is ended by hand or by
//! dropping its handle.

mod shelf;
mod watch;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_core::future::BoxFuture;
use tenure_core::{Change, Liveness, Probed, Session, Version};

use crate::{
    Capabilities, Conditional, Detail, Error, Listed, Name, Result, Snapshot, Store, Stored, Watch,
};
use shelf::{Shelf, Wakers};
use watch::MemoryWatch;

/// How errors name this store.
const STORE: &str = "memory:";

/// A handle on a store in memory. Cloning it gives the same handle; see [`Memory::open`].
#[derive(Clone)]
pub struct Memory(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    /// Number of the session; 0: none yet.
    session: AtomicU64,
}

/// What all handles on one store share.
#[derive(Debug)]
struct Shared {
    liveness: Liveness,
    shelf: Mutex<Shelf>,
}

impl Memory {
    /// An empty store that knows in this way whether a holder lives. Waiters stand in its records
    /// unless liveness is [`Liveness::Observed`], where nobody could tell a dead one.
    #[must_use]
    pub fn new(liveness: Liveness) -> Self {
        Self::over(Arc::new(Shared { liveness, shelf: Mutex::default() }))
    }

    /// One more handle on the same store with a session of its own, as another process would open
    /// it. The session ends when the last clone of the handle is dropped.
    #[must_use]
    pub fn open(&self) -> Self {
        Self::over(Arc::clone(&self.0.shared))
    }

    /// Ends `session`, as if its process had died.
    pub fn end(&self, session: Session) {
        self.0.shared.end(session);
    }

    /// Stops the process of `session` (`true`) or lets it go on. Does nothing to a session that has
    /// ended.
    pub fn stop(&self, session: Session, stopped: bool) {
        let mut shelf = self.0.shared.shelf();
        if let Some(state) = shelf.sessions.get_mut(&session) {
            *state = if stopped { Probed::Stopped } else { Probed::Alive };
        }
    }

    fn over(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Handle { shared, session: AtomicU64::new(0) }))
    }

    fn shared(&self) -> &Shared {
        &self.0.shared
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("liveness", &self.shared().liveness).finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.end(session_of(*self.session.get_mut()));
    }
}

impl Shared {
    /// What a panic of another thread left is whole: every change is made in one piece.
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, session: Session) {
        let mut shelf = self.shelf();
        if shelf.sessions.remove(&session).is_none() || self.liveness != Liveness::Server {
            return;
        }
        let wakers = shelf.take_out(session);
        drop(shelf);
        wake(wakers);
    }

    fn write(
        &self,
        name: &Name,
        judged: Option<Version>,
        change: &Change,
    ) -> Result<Conditional<Stored>> {
        let capabilities = self.capabilities();
        if !capabilities.queue && matches!(change, Change::Join { .. }) {
            let what = "with observed liveness nobody can stand in line: wait for the record";
            return Err(Error::Unsupported(Detail::new(STORE, what).on(name)));
        }
        let mut shelf = self.shelf();
        let Some((stored, wakers)) = shelf.write(name, judged, change) else {
            return Ok(Conditional::Conflict);
        };
        drop(shelf);
        wake(wakers);
        Ok(Conditional::Done(stored))
    }

    fn delete(&self, name: &Name, expected: Version) -> Conditional<()> {
        let mut shelf = self.shelf();
        let Some(wakers) = shelf.delete(name, expected) else {
            return Conditional::Conflict;
        };
        drop(shelf);
        wake(wakers);
        Conditional::Done(())
    }

    fn probe(&self, session: Session) -> Result<Probed> {
        if self.liveness != Liveness::Process {
            let what = "sessions cannot be probed: only with process liveness";
            return Err(Error::Unsupported(Detail::new(STORE, what)));
        }
        if session.is_none() {
            let what = "session of zeros: give one that a handle opened";
            return Err(Error::Invalid(Detail::new(STORE, what)));
        }
        Ok(self.shelf().sessions.get(&session).copied().unwrap_or(Probed::Dead))
    }

    const fn capabilities(&self) -> Capabilities {
        let queue = !matches!(self.liveness, Liveness::Observed);
        Capabilities {
            liveness: self.liveness,
            queue,
            wall_clocks: false,
            adopts: false,
            tags: true,
        }
    }
}

impl Handle {
    fn session(&self) -> Session {
        if self.shared.liveness == Liveness::Observed {
            return Session::NONE;
        }
        // Under the lock, so that two callers do not open two.
        let mut shelf = self.shared.shelf();
        let current = session_of(self.session.load(Ordering::Relaxed));
        if shelf.sessions.contains_key(&current) {
            return current;
        }
        let number = shelf.next_session();
        self.session.store(number, Ordering::Relaxed);
        shelf.sessions.insert(session_of(number), Probed::Alive);
        session_of(number)
    }
}

impl Store for Memory {
    fn capabilities(&self) -> Capabilities {
        self.shared().capabilities()
    }

    fn session(&self) -> BoxFuture<'_, Result<Session>> {
        Box::pin(async { Ok(self.0.session()) })
    }

    fn probe(&self, session: Session) -> BoxFuture<'_, Result<Probed>> {
        Box::pin(async move { self.shared().probe(session) })
    }

    fn read<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<Snapshot>> {
        Box::pin(async { Ok(self.shared().shelf().read(name)) })
    }

    fn write_if<'a>(
        &'a self,
        name: &'a Name,
        judged: Option<&'a Stored>,
        change: &'a Change,
    ) -> BoxFuture<'a, Result<Conditional<Stored>>> {
        Box::pin(async move { self.shared().write(name, judged.map(|s| s.version), change) })
    }

    fn delete_if<'a>(
        &'a self,
        name: &'a Name,
        expected: Version,
    ) -> BoxFuture<'a, Result<Conditional<()>>> {
        Box::pin(async move { Ok(self.shared().delete(name, expected)) })
    }

    fn watch(&self, name: &Name) -> Watch {
        Box::pin(MemoryWatch::new(Arc::clone(&self.0.shared), name.clone()))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>>> {
        Box::pin(async { Ok(self.shared().shelf().list()) })
    }
}

fn session_of(number: u64) -> Session {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Session::from_bytes(bytes)
}

/// Wakes without the mutex: a waker may run anything, a drop of the store's handle too.
fn wake(wakers: Wakers) {
    for waker in wakers {
        waker.wake();
    }
}

#[cfg(test)]
mod tests;
