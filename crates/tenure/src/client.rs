//! A store, this program's identity in it, and everything taken through it.
//!
//! Owns what all handles of a client share: the clock, the keeper, the lines, the events. Knows
//! which kind of store it is and nothing of how one works.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use tenure_core::{Marks, Text};
use tenure_store::{Name, Store};
use tokio::sync::Notify;

use crate::clock::{Clock, within};
use crate::driver::{Keeper, Line};
use crate::event::{About, EventKind, Teller};
use crate::identity;
#[cfg(feature = "testing")]
use crate::testing::ManualClock;
use crate::url::check_id;
use crate::{Error, Events, Lock, LockInfo};

/// How long an answer to a question is waited for.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A connection to a store. Cheap to clone; all clones are one client.
///
/// Within one client, whatever its identities, at most one contender or holder of a lock deals with
/// the store at a time; further ones wait in the program, in their order.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    id: Text,
}

/// What a client works on.
#[derive(Debug)]
pub(crate) enum Backend {
    /// Any store.
    Store(Arc<dyn Store>),
    /// The embedded store, by its own driver.
    #[cfg(all(feature = "local", target_os = "linux"))]
    Local(Arc<tenure_local::LocalStore>),
}

/// What all handles of a client share.
pub(crate) struct Shared {
    pub(crate) backend: Backend,
    pub(crate) url: String,
    pub(crate) clock: Clock,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) teller: Teller,
    lines: Mutex<HashMap<Name, Weak<Line>>>,
    /// Where this client's marks start.
    marks: Result<u128, String>,
    /// How many acquisitions there were.
    acquisitions: AtomicU64,
    /// Whether the store has ever answered.
    pub(crate) contact: AtomicBool,
    closed: AtomicBool,
    closing: Notify,
}

impl Client {
    /// A client on a store of the user's own. Its identity is `<hostname>_<uuid>`, new for each.
    ///
    /// Nothing is asked of the store yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self::on(Backend::Store(store), "store:".into(), Clock::System, None)
    }

    /// A client whose time is moved by hand, for tests of a store of one's own; else
    /// [`TestStore::client`](crate::testing::TestStore::client) is nearer.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn with_clock(store: Arc<dyn Store>, clock: &ManualClock) -> Self {
        Self::on(Backend::Store(store), "store:".into(), Clock::Manual(clock.clone()), None)
    }

    pub(crate) fn on(backend: Backend, url: String, clock: Clock, id: Option<&str>) -> Self {
        let id = id.map_or_else(identity::default_id, str::to_owned).into();
        let shared = Shared {
            backend,
            url,
            clock,
            keeper: Arc::default(),
            teller: Teller::default(),
            lines: Mutex::default(),
            marks: identity::random_u128(),
            acquisitions: AtomicU64::new(0),
            contact: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            closing: Notify::new(),
        };
        Self { shared: Arc::new(shared), id }
    }

    #[cfg(all(feature = "blocking", target_os = "linux"))]
    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The same client under another identity.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless it is 1 to 255 bytes of text without control characters.
    pub fn with_id(&self, id: &str) -> Result<Self, Error> {
        check_id(id)?;
        Ok(Self { shared: Arc::clone(&self.shared), id: id.into() })
    }

    /// This client's identity.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The store's URL without an identity; `store:` for one that was given as an object.
    #[must_use]
    pub fn store(&self) -> &str {
        &self.shared.url
    }

    /// A handle on the lock called `name`: 1 to 1,024 bytes of text without control characters, in
    /// which `/` and `..` are plain text. Nothing is read or written yet; what is wrong with the
    /// name is said by the acquisition.
    pub fn lock(&self, name: &str) -> Lock {
        let line = Name::new(name).map(|name| self.shared.line(name));
        Lock::new(&self.shared, self.id.clone(), line.map_err(|e| e.to_string()))
    }

    /// What the record of the lock called `name` says; a lock that was never taken is free.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no name; [`Error::Damaged`] and [`Error::Unsupported`] for a
    /// record that cannot be read; [`Error::Denied`] and [`Error::Unavailable`] from the store.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn show(&self, name: &str) -> Result<LockInfo, Error> {
        let name = Name::new(name).map_err(|e| Error::Invalid(e.to_string()))?;
        match &self.shared.backend {
            Backend::Store(store) => {
                let snapshot = self.shared.asked(store.read(&name)).await?;
                let stored = snapshot.stored();
                Ok(crate::info::of_stored(&name, stored, &self.shared, self.shared.clock.wall()))
            }
            #[cfg(all(feature = "local", target_os = "linux"))]
            Backend::Local(store) => crate::local::show(store, &name, self.shared.url.clone()),
        }
    }

    /// Every lock of the store, sorted by name. A record that cannot be read is an error in its
    /// place; the others are listed all the same.
    ///
    /// # Errors
    /// [`Error::Denied`] or [`Error::Unavailable`] from the store.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn list(&self) -> Result<Vec<Result<LockInfo, Error>>, Error> {
        match &self.shared.backend {
            Backend::Store(store) => {
                let mut listed = self.shared.asked(store.list()).await?;
                listed.sort_by(|a, b| a.name.cmp(&b.name));
                let wall = self.shared.clock.wall();
                let info = |l: tenure_store::Listed| {
                    Ok(crate::info::of_stored(&l.name, Some(&l.stored?), &self.shared, wall))
                };
                Ok(listed.into_iter().map(info).collect())
            }
            #[cfg(all(feature = "local", target_os = "linux"))]
            Backend::Local(store) => crate::local::list(&self.shared, store).await,
        }
    }

    /// What happens from now on to the locks taken through this client, under any of its
    /// identities.
    #[must_use]
    pub fn events(&self) -> Events {
        self.shared.teller.listen()
    }

    /// From now on what happens to the locks taken through this client is reported to the recorder
    /// of the crate [`metrics`](https://docs.rs/metrics); see [`guide::metrics`](crate::guide::metrics)
    /// for the names. Install a recorder first: what is described before there is one is not
    /// described. A second call changes nothing.
    #[cfg(feature = "metrics")]
    pub fn record_metrics(&self) {
        self.shared.teller.measure();
    }

    /// Closes the client: who waits for a lock, or asks for one later, gets [`Error::Closed`].
    /// Waits until everything that was dropped is undone, which takes a ttl at most, as long as the
    /// runtime runs in which the client acquired first. Guards that are still there go on to hold.
    ///
    /// # Cancel safety
    /// The client is closed once the future was polled; dropping it only ends the wait.
    pub async fn close(&self) {
        self.shared.close();
        self.shared.keeper.settled().await;
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("store", &self.shared.url)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Whether the store has a line for those who wait.
    pub(crate) fn has_queue(&self) -> bool {
        match &self.backend {
            Backend::Store(store) => store.capabilities().queue,
            #[cfg(all(feature = "local", target_os = "linux"))]
            Backend::Local(_) => true,
        }
    }

    /// Whether its records have a place for tags.
    pub(crate) fn has_tags(&self) -> bool {
        match &self.backend {
            Backend::Store(store) => store.capabilities().tags,
            #[cfg(all(feature = "local", target_os = "linux"))]
            Backend::Local(_) => true,
        }
    }

    /// The number of one more acquisition.
    pub(crate) fn number(&self) -> u64 {
        self.acquisitions.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Marks for the acquisition of this number: a share of 2^40 of this client's own.
    pub(crate) fn marks(&self, acquisition: u64) -> Result<Marks, Error> {
        let start = self.marks.as_ref().map_err(|e| Error::unavailable(e.clone()))?;
        Ok(Marks::new(start.wrapping_add(u128::from(acquisition) << 40)))
    }

    fn line(self: &Arc<Self>, name: Name) -> Arc<Line> {
        let mut lines = self.lines();
        if let Some(line) = lines.get(&name).and_then(Weak::upgrade) {
            return line;
        }
        let line = Line::new(name.clone(), self);
        if self.is_closed() {
            line.close();
        }
        lines.insert(name, Arc::downgrade(&line));
        line
    }

    pub(crate) fn forget_line(&self, name: &Name) {
        let mut lines = self.lines();
        if lines.get(name).is_some_and(|line| line.strong_count() == 0) {
            lines.remove(name);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Resolves once the client is closed.
    pub(crate) async fn closed(&self) {
        loop {
            let closing = self.closing.notified();
            if self.is_closed() {
                return;
            }
            closing.await;
        }
    }

    /// What `future` comes to, unless the client is closed first.
    pub(crate) async fn unless_closed<F: Future>(
        &self,
        mut future: Pin<&mut F>,
    ) -> Result<F::Output, Error> {
        let mut closed = pin!(self.closed());
        poll_fn(|cx| {
            if self.is_closed() {
                return Poll::Ready(Err(Error::Closed));
            }
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            closed.as_mut().poll(cx).map(|()| Err(Error::Closed))
        })
        .await
    }

    /// What the store answers to a question, unless it is silent for too long: a connection that is
    /// half open never says so.
    async fn asked<T>(
        &self,
        question: impl Future<Output = tenure_store::Result<T>>,
    ) -> Result<T, Error> {
        self.clock.start()?;
        let limit = self.clock.now().after(SILENCE_MAX);
        let silent = || Error::unavailable(format!("no answer within {SILENCE_MAX:?}"));
        Ok(within(&self.clock, Some(limit), question).await.ok_or_else(silent)??)
    }

    fn close(&self) {
        let lines: Vec<_> = {
            let lines = self.lines();
            self.closed.store(true, Ordering::Release);
            lines.values().filter_map(Weak::upgrade).collect()
        };
        for line in lines {
            line.close();
        }
        self.closing.notify_waiters();
    }

    /// Tells what happened; it is made only if anybody listens.
    pub(crate) fn tell(&self, about: About<'_>, kind: impl FnOnce() -> EventKind) {
        if self.teller.is_heard() {
            self.teller.tell(self.clock.wall(), about, kind());
        }
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Name, Weak<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.keeper.end();
    }
}
