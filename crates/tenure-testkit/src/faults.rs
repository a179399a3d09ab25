//! A store whose answers are late, lost or never come, and whose requests go on when nobody waits.
//!
//! ```text
//! request ─> fate ─┬─> a task of its own: waits, carries it out ──> answer, if there is to be one
//!                  └─> the caller: waits for the answer; it may stop waiting at any time
//! ```
//!
//! Owns what becomes of requests; carries them out on another store and never changes what they do.
//! Time and tasks are the test's. **A request is its own task from its first poll**, as it is on a
//! network: to drop its future ends nothing.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tenure_core::{Change, Probed, Session, Version};
use tenure_store::{
    BoxFuture, Capabilities, Conditional, Detail, Error, Listed, Name, Result, Snapshot, Store,
    Stored, Stream, Watch,
};

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// To ask for the own session.
    Session,
    /// To ask for another session.
    Probe,
    /// To read one record.
    Read,
    /// To change or delete one.
    Write,
    /// To watch one.
    Watch,
    /// To list all.
    List,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is done after the first duration and answered after the second.
    Answered(Duration, Duration),
    /// It is done after the first duration, but what comes after the second is that nobody knows;
    /// for what changes nothing, that the store is not available.
    Lost(Duration, Duration),
    /// It is not done, and the store says so after this long.
    Refused(Duration),
    /// It is done after this long, and no answer ever comes.
    Silent(Duration),
    /// It is not done, and no answer ever comes.
    Stalled,
}

impl Fate {
    /// What becomes of a request where nothing is wrong.
    pub const FINE: Self = Self::Answered(Duration::ZERO, Duration::ZERO);
}

/// Time and tasks of a test.
pub trait World: fmt::Debug + Send + Sync {
    /// Resolves once so much time has passed.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()>;
    /// Runs a task.
    fn spawn(&self, task: BoxFuture<'static, ()>);
}

type Fates = Arc<dyn Fn(Request) -> Fate + Send + Sync>;

/// A store with faults. See the module's documentation.
#[derive(Clone)]
pub struct Faulty {
    inner: Arc<dyn Store>,
    world: Arc<dyn World>,
    fates: Fates,
}

impl Faulty {
    /// Faults before `inner`, as `fates` says for each request.
    pub fn new(
        inner: Arc<dyn Store>,
        world: Arc<dyn World>,
        fates: impl Fn(Request) -> Fate + Send + Sync + 'static,
    ) -> Self {
        Self { inner, world, fates: Arc::new(fates) }
    }

    /// Carries out `job` by its fate.
    async fn request<T: Send + 'static>(
        &self,
        request: Request,
        job: BoxFuture<'static, Result<T>>,
    ) -> Result<T> {
        let fate = (self.fates)(request);
        let (done_after, answered_after) = match fate {
            Fate::Answered(done, answered) | Fate::Lost(done, answered) => (done, answered),
            Fate::Silent(done) => (done, Duration::ZERO),
            Fate::Refused(answered) => {
                self.pause(answered).await;
                return Err(Error::Unavailable(Detail::new("faulty:", "refused")));
            }
            Fate::Stalled => return std::future::pending().await,
        };
        let answer = Arc::new(Slot::default());
        let (theirs, world) = (Arc::clone(&answer), Arc::clone(&self.world));
        self.world.spawn(Box::pin(async move {
            if !done_after.is_zero() {
                world.sleep(done_after).await;
            }
            theirs.fill(job.await);
        }));
        let answer = Taken(answer).await;
        self.pause(answered_after).await;
        match fate {
            Fate::Silent(_) => std::future::pending().await,
            Fate::Lost(..) if request == Request::Write => {
                Err(Error::OutcomeUnknown(Detail::new("faulty:", "the answer was lost")))
            }
            Fate::Lost(..) => Err(Error::Unavailable(Detail::new("faulty:", "no answer came"))),
            _ => answer,
        }
    }

    async fn pause(&self, time: Duration) {
        if !time.is_zero() {
            self.world.sleep(time).await;
        }
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Store for Faulty {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn session(&self) -> BoxFuture<'_, Result<Session>> {
        let inner = Arc::clone(&self.inner);
        let job = Box::pin(async move { inner.session().await });
        Box::pin(self.request(Request::Session, job))
    }

    fn probe(&self, session: Session) -> BoxFuture<'_, Result<Probed>> {
        let inner = Arc::clone(&self.inner);
        let job = Box::pin(async move { inner.probe(session).await });
        Box::pin(self.request(Request::Probe, job))
    }

    fn read<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<Snapshot>> {
        let (inner, name) = (Arc::clone(&self.inner), name.clone());
        let job = Box::pin(async move { inner.read(&name).await });
        Box::pin(self.request(Request::Read, job))
    }

    fn write_if<'a>(
        &'a self,
        name: &'a Name,
        judged: Option<&'a Stored>,
        change: &'a Change,
    ) -> BoxFuture<'a, Result<Conditional<Stored>>> {
        let (inner, name) = (Arc::clone(&self.inner), name.clone());
        let (judged, change) = (judged.cloned(), change.clone());
        let job = Box::pin(async move { inner.write_if(&name, judged.as_ref(), &change).await });
        Box::pin(self.request(Request::Write, job))
    }

    fn delete_if<'a>(
        &'a self,
        name: &'a Name,
        expected: Version,
    ) -> BoxFuture<'a, Result<Conditional<()>>> {
        let (inner, name) = (Arc::clone(&self.inner), name.clone());
        let job = Box::pin(async move { inner.delete_if(&name, expected).await });
        Box::pin(self.request(Request::Write, job))
    }

    /// A watch is fine, or ends with an error after the durations of its fate, or is silent.
    fn watch(&self, name: &Name) -> Watch {
        let end = match (self.fates)(Request::Watch) {
            Fate::Answered(..) => None,
            Fate::Lost(a, b) => Some(self.world.sleep(a + b)),
            Fate::Refused(after) => Some(self.world.sleep(after)),
            Fate::Silent(_) | Fate::Stalled => return Box::pin(Mute),
        };
        Box::pin(FaultyWatch { inner: self.inner.watch(name), end, ended: false })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>>> {
        let inner = Arc::clone(&self.inner);
        let job = Box::pin(async move { inner.list().await });
        Box::pin(self.request(Request::List, job))
    }
}

/// A watch that ends with an error.
struct FaultyWatch {
    inner: Watch,
    end: Option<BoxFuture<'static, ()>>,
    ended: bool,
}

impl Stream for FaultyWatch {
    type Item = Result<Snapshot>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        if let Some(end) = &mut this.end
            && end.as_mut().poll(cx).is_ready()
        {
            this.ended = true;
            let error = Error::Unavailable(Detail::new("faulty:", "the watch ended"));
            return Poll::Ready(Some(Err(error)));
        }
        this.inner.as_mut().poll_next(cx)
    }
}

/// A watch that never tells anything.
struct Mute;

impl Stream for Mute {
    type Item = Result<Snapshot>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Pending
    }
}

/// Where a request's task leaves the answer.
#[derive(Debug)]
struct Slot<T>(Mutex<(Option<T>, Option<Waker>)>);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Mutex::new((None, None)))
    }
}

impl<T> Slot<T> {
    fn fill(&self, answer: T) {
        let mut slot = self.slot();
        slot.0 = Some(answer);
        let waker = slot.1.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn slot(&self) -> MutexGuard<'_, (Option<T>, Option<Waker>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resolves to what a slot is filled with.
struct Taken<T>(Arc<Slot<T>>);

impl<T> Future for Taken<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut slot = self.0.slot();
        if let Some(answer) = slot.0.take() {
            return Poll::Ready(answer);
        }
        slot.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}
