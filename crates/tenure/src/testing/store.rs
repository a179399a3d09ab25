//! The store of a test: its clients, its time, its accidents.
//!
//! Owns the order of an accident: what happens to the record, then the time in which everybody
//! notices. Nothing of a client is touched: **what a test sees is what the client makes of the
//! record and of its clock**, as with any other store.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tenure_core::{Change, End, Holder, Liveness, Mark, Session, Term, Time};
use tenure_store::{Memory, Name, Store, Stored};

use super::ManualClock;
use super::faults::{Faults, FaultyHandle};
use crate::client::Backend;
use crate::clock::Clock;
use crate::{Client, Lost, identity};

/// How many turns of the runtime without anything new mean that nobody has anything left to do.
const QUIET: u32 = 32;

/// A store in memory for tests, with a clock that only the test moves. Clones are the same store.
///
/// Its methods that wait let the other tasks of the runtime run in between, so the runtime must
/// have one thread, as that of `#[tokio::test]` has unless told otherwise. Timers of tokio know
/// nothing of this clock: work under test may wait by [`ManualClock::sleep`] instead. And what
/// waits for time gets none while the test itself waits for it: give it some beside it.
///
/// ```
/// # use std::time::Duration;
/// # use tenure::{Error, testing::TestStore};
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let store = TestStore::new();
/// let _held = store.client().lock("x").acquire().await?;
/// let lock = store.client().lock("x");
/// let waits = lock.acquire_timeout(Duration::from_secs(5));
/// let (waited, ()) = tokio::join!(waits, store.pass(Duration::from_secs(5)));
/// assert!(matches!(waited, Err(Error::TimedOut { .. })));
/// # Ok::<(), Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct TestStore(Arc<Inner>);

struct Inner {
    memory: Memory,
    clock: ManualClock,
    faults: Arc<Faults>,
    clients: AtomicU32,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            memory: Memory::new(Liveness::Observed),
            clock: ManualClock::new(),
            faults: Arc::default(),
            clients: AtomicU32::new(0),
        }
    }
}

impl TestStore {
    /// An empty store at some instant.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more program that works with the store: a client called `client-1`, `client-2` and so
    /// on.
    #[must_use]
    pub fn client(&self) -> Client {
        let Inner { memory, clock, faults, clients } = &*self.0;
        let number = clients.fetch_add(1, Ordering::Relaxed) + 1;
        let store = FaultyHandle { memory: memory.open(), faults: Arc::clone(faults) };
        let backend = Backend::Store(Arc::new(store));
        let id = format!("client-{number}");
        Client::on(backend, "memory:".to_owned(), Arc::new(clock.clone()), Some(&id))
    }

    /// The clock of all its clients.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.0.clock
    }

    /// Lets so much time pass, with everything that falls into it in its order: renewals, deadlines
    /// and what other tasks do because of them.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the clock where it is.
    pub async fn pass(&self, time: Duration) {
        self.pass_until(self.0.clock.now().after(time)).await;
    }

    async fn pass_until(&self, end: Time) {
        let clock = &self.0.clock;
        loop {
            self.settle().await;
            let left = end.since(clock.now());
            if left.is_zero() {
                return;
            }
            clock.advance(clock.next_alarm().unwrap_or(left).min(left));
        }
    }

    /// Lets the other tasks run until none of them asks anything of the store or the clock any
    /// more. No time passes.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn settle(&self) {
        let activity = || (self.0.faults.requests(), self.0.clock.changes());
        let (mut quiet, mut seen) = (0, activity());
        while quiet < QUIET {
            tokio::task::yield_now().await;
            let now = activity();
            quiet = if now == seen { quiet + 1 } else { 0 };
            seen = now;
        }
    }

    /// The next `n` requests fail, whoever makes them, as if the store could not be reached.
    /// Nothing of them is done. A client tries again by itself: a hold is lost only if the store
    /// fails until its deadline. What is under way as a watch goes on.
    pub fn fail_next(&self, n: u64) {
        self.0.faults.fail_next(n);
    }

    /// Lets the hold of the lock called `name` run out: its holder does not reach the store any
    /// more, and so much time passes that it has lost its hold ([`Lost::Deadline`]) and the lock is
    /// free. Everybody else goes on as usual; who waits for the lock has it afterwards. About four
    /// fifths of a ttl go by before its work is told to stop: give that more to do.
    ///
    /// # Panics
    /// If nobody holds the lock.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the holder cut off.
    pub async fn expire(&self, name: &str) {
        let (name, stored, holder) = self.holder(name).await;
        let Term::Ttl(ttl) = holder.term else {
            panic!("tenure: the hold of lock {name:?} does not end by time");
        };
        self.0.faults.cut_off(&name, holder.token);
        // Longer than the ttl by the difference of clocks that is allowed for: then it is over for
        // whoever has seen the last renewal.
        self.pass_until(holder.stamp.after(ttl + ttl / 50)).await;
        drop(stored);
        if let Some((stored, holder)) =
            self.standing(&name).await.filter(|(_, h)| h.token == holder.token)
        {
            self.write(&name, stored, self.release(&holder, End::Expired)).await;
        }
        self.settle().await;
    }

    /// Takes the lock called `name` away from its holder, as `cause` says: another holder stands in
    /// the record ([`Lost::Replaced`]), none ([`Lost::Freed`]), the record is deleted
    /// ([`Lost::Deleted`]), or its hold expires ([`Lost::Deadline`]: as [`expire`](Self::expire)).
    /// The other holder never renews, so the lock is free again after one more ttl. But for that last
    /// cause no time passes.
    ///
    /// # Panics
    /// If nobody holds the lock, and for a cause that lies in the holder's own program.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the record as it is then.
    pub async fn lose(&self, name: &str, cause: Lost) {
        if cause == Lost::Deadline {
            return self.expire(name).await;
        }
        let (name, stored, holder) = self.holder(name).await;
        match cause {
            Lost::Replaced { by } => {
                let now = self.0.clock.tick();
                let mark = Mark::from_u128(identity::random_u128().unwrap_or_default());
                let holder = Holder {
                    id: by.into(),
                    mark,
                    session: Session::NONE,
                    ticket: holder.ticket + 1,
                    since: now.wall,
                    renewed: now.wall,
                    stamp: now.now,
                    ..holder
                };
                let ended = Some(End::Stolen);
                let (strike, tags) = (Vec::new(), Vec::new());
                self.write(&name, stored, Change::Take { holder, ended, strike, tags }).await;
            }
            Lost::Freed => self.write(&name, stored, self.release(&holder, End::Stolen)).await,
            Lost::Deleted => {
                let deleted = self.0.memory.delete_if(&name, stored.version).await;
                assert!(deleted.is_ok(), "the store in memory does not fail");
            }
            cause => panic!("tenure: a store cannot bring about that {cause}"),
        }
        self.settle().await;
    }

    /// Who holds the lock.
    async fn holder(&self, name: &str) -> (Name, Stored, Holder) {
        let name = Name::new(name).unwrap_or_else(|error| panic!("tenure: {error}"));
        match self.standing(&name).await {
            Some((stored, holder)) => (name, stored, holder),
            None => panic!("tenure: nobody holds lock {name:?}"),
        }
    }

    async fn standing(&self, name: &Name) -> Option<(Stored, Holder)> {
        // Let who is about to take it or to give it back do so.
        self.settle().await;
        let stored = self.0.memory.read(name).await.ok()?.stored().cloned()?;
        let holder = stored.record.holder.clone()?;
        Some((stored, holder))
    }

    fn release(&self, holder: &Holder, end: End) -> Change {
        let now = self.0.clock.tick();
        Change::Release {
            of: holder.mark,
            end,
            reason: None,
            mark: holder.mark,
            next: None,
            strike: Vec::new(),
            at: now.wall,
            stamp: now.now,
            tags: Vec::new(),
        }
    }

    /// Writes what was judged on what stands there: nobody else ran in between.
    async fn write(&self, name: &Name, judged: Stored, change: Change) {
        let written = self.0.memory.write_if(name, Some(&judged), &change).await;
        assert!(written.is_ok(), "the store in memory does not fail");
    }
}

impl fmt::Debug for TestStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestStore").field("clock", &self.0.clock).finish_non_exhaustive()
    }
}
