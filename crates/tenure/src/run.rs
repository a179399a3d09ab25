//! Work under a lock: acquire, work, stop in time, release.
//!
//! ```text
//! acquire ─> poll the work ──┬─> it ends ──────────────────────> release, or leave a remainder
//!   (in the caller's task)   ├─> deadline, or lost: drop it ───> error
//!                            └─> it blocks past the deadline: the watchdog thread acts
//! ```
//!
//! Owns the order of these: renewing goes on until the work has ended, and a release comes only
//! afterwards, also when the work panics or the caller drops everything.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tenure_core::Time;

use crate::clock::Alarm;
use crate::hold::{Hold, Status};
use crate::{Error, Guard, Lock, Lost, Released};

/// What happens when work blocks its thread past the deadline, so that it cannot be stopped.
///
/// A process that stood still past the end of its hold, by a suspend or SIGSTOP, cannot be told from
/// blocked work at first: its tasks have a tenth of a second to drop theirs.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Overrun {
    /// The process is aborted: nothing that ran in it can do harm beside the next holder.
    #[default]
    AbortProcess,
    /// This is called, in a thread of its own. It must see to it that the work does no harm.
    Call(Arc<dyn Fn(&Hold) + Send + Sync>),
}

impl Overrun {
    /// Calls `act` instead of aborting the process.
    pub fn call(act: impl Fn(&Hold) + Send + Sync + 'static) -> Self {
        Self::Call(Arc::new(act))
    }
}

impl fmt::Debug for Overrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AbortProcess => "AbortProcess",
            Self::Call(_) => "Call",
        })
    }
}

/// How [`Lock::run_with`] works.
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing by themselves"]
pub struct RunOptions {
    wait_max: Option<Duration>,
    at_least: Option<Duration>,
    overrun: Overrun,
}

impl RunOptions {
    /// Waits for the lock for ever, releases it when the work has ended, aborts on overrun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for the lock for at most this long; zero: not at all. Then [`Error::TimedOut`].
    pub fn wait_max(mut self, limit: Duration) -> Self {
        self.wait_max = Some(limit);
        self
    }

    /// Keeps the lock busy for at least this long from when it was acquired: after shorter work
    /// the hold is left in the record for the rest, with nobody behind it, so that the same job on
    /// another machine, whose clock is a little behind, does not run as well. Work that panics or
    /// is dropped leaves nothing.
    pub fn at_least(mut self, time: Duration) -> Self {
        self.at_least = Some(time);
        self
    }

    /// What happens when work blocks its thread past the deadline. Default: the process is aborted.
    pub fn overrun(mut self, overrun: Overrun) -> Self {
        self.overrun = overrun;
        self
    }
}

impl Lock {
    /// Waits for the lock, does `work`, and gives the lock back.
    ///
    /// The work runs in the caller's task. It should end soon after [`Hold::stopping`] has
    /// resolved; at the deadline it is dropped, before anybody else can have the lock. Work that
    /// blocks its thread cannot be dropped: if it does so past the deadline, the process is
    /// aborted (see [`Overrun`]). The hold is renewed as long as the work runs.
    ///
    /// A hold that is taken away, or whose record is deleted, has no deadline any more: the work is told
    /// when that is noticed, on `local:` within a second, and dropped after the grace, at most two
    /// seconds later. Until then somebody else may work beside it, and only the token tells them apart.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let client = tenure::connect("memory:").await?;
    /// let work = |hold: tenure::Hold| async move {
    ///     tokio::select! {
    ///         () = hold.stopping() => Err("stopped in time"),
    ///         () = async { /* write, with hold.token() */ } => Ok(()),
    ///     }
    /// };
    /// assert_eq!(client.lock("nightly").run(work).await?, Ok(()));
    /// # Ok::<(), tenure::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Lost`] if the hold was lost before the work had ended, whether or not it was
    /// dropped for it; else as [`acquire`](Self::acquire). A release that fails is not an error of
    /// the work: it stands in [`Client::events`](crate::Client::events).
    ///
    /// # Panics
    /// If the work does. The lock is given back.
    ///
    /// # Cancel safety
    /// Dropping the future drops the work first and then gives the lock back, as dropping a
    /// [`Guard`] does.
    pub fn run<F, W>(&self, work: F) -> impl Future<Output = Result<W::Output, Error>> + use<F, W>
    where
        F: FnOnce(Hold) -> W,
        W: Future,
    {
        self.run_with(RunOptions::new(), work)
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`run`](Self::run), and [`Error::TimedOut`] where a limit was given.
    ///
    /// # Panics
    /// If the work does. The lock is given back.
    ///
    /// # Cancel safety
    /// As [`run`](Self::run).
    pub fn run_with<F, W>(
        &self,
        options: RunOptions,
        work: F,
    ) -> impl Future<Output = Result<W::Output, Error>> + use<F, W>
    where
        F: FnOnce(Hold) -> W,
        W: Future,
    {
        let handle = self.handle();
        async move {
            let guard = handle.wait(handle.patience(options.wait_max)).await?;
            let output = supervise(&guard, options.overrun, work).await?;
            finish(guard, options.at_least).await?;
            Ok(output)
        }
    }
}

/// Polls the work until it ends or must not go on.
async fn supervise<F, W>(guard: &Guard, overrun: Overrun, work: F) -> Result<W::Output, Error>
where
    F: FnOnce(Hold) -> W,
    W: Future,
{
    let hold = guard.hold();
    let status = Arc::clone(&hold.0);
    let _watchdog = Watchdog::watch(&status, overrun);
    let mut alarm = Alarm::new(Arc::clone(&status.clock));
    let mut lost = pin!(Arc::clone(&status).lost());
    let mut known: Option<Lost> = None;
    // Dropped before the watchdog is, and before the lock is released.
    let mut work = pin!(work(hold));
    std::future::poll_fn(|cx| {
        if known.is_none()
            && let Poll::Ready(cause) = lost.as_mut().poll(cx)
        {
            known = Some(cause);
        }
        // Past this instant the work must not be polled.
        if let Some(end_by) = status.end_by()
            && alarm.poll_until(end_by, cx).is_ready()
        {
            let cause = known.take().or_else(|| status.look()).unwrap_or(Lost::Deadline);
            return Poll::Ready(Err(Error::Lost(cause)));
        }
        poll_work(work.as_mut(), &status, cx)
    })
    .await
}

/// What the work comes to, unless the hold was lost before it did.
fn poll_work<W: Future>(
    work: Pin<&mut W>,
    status: &Status,
    cx: &mut Context<'_>,
) -> Poll<Result<W::Output, Error>> {
    work.poll(cx).map(|output| match status.look() {
        None => Ok(output),
        Some(cause) => Err(Error::Lost(cause)),
    })
}

/// Gives the lock back, or leaves what is left of the time it is to be busy.
async fn finish(guard: Guard, at_least: Option<Duration>) -> Result<(), Error> {
    let age = guard.hold().0.age();
    let left = at_least.and_then(|time| time.checked_sub(age)).filter(|left| !left.is_zero());
    let released = match left {
        None => guard.release().await,
        Some(left) => guard.release_after(left).await,
    };
    match released {
        Ok(Released::Lost(cause)) => Err(Error::Lost(cause)),
        // The work has ended, and the hold ends by itself.
        Ok(Released::Released) | Err(_) => Ok(()),
    }
}

/// Sees to it from another thread that work which blocks its own ends with the hold.
///
/// It acts half the margin after the deadline: late enough for a task that is not blocked to have
/// dropped its work, and before anybody else can have the lock. If it wakes up only when the whole
/// margin is over, the process stood still and so did every task: they have their [`TURN`] first.
struct Watchdog {
    hold: Hold,
    overrun: Overrun,
    watch: Mutex<Watch>,
    /// The tasks are having their turn.
    late: AtomicBool,
}

/// How long a task takes to drop its work, at most, once its process goes on.
const TURN: Duration = Duration::from_millis(100);

enum Watch {
    /// Until it rings.
    Sleeps { _until: Alarm },
    /// About to sleep, or to act.
    Awake,
    /// The work has ended, or was acted on.
    Off,
}

/// Calls the watchdog off when dropped.
pub(crate) struct CalledOff(Arc<Watchdog>);

impl CalledOff {
    /// From now on work that goes on past the deadline of `hold` ends with the process. A hold that
    /// does not end by time needs no watchdog.
    #[cfg(all(feature = "blocking", target_os = "linux"))]
    pub(crate) fn unless_in_time(hold: &Hold) -> Option<Self> {
        Watchdog::watch(&hold.0, Overrun::default())
    }
}

impl Watchdog {
    /// Watches until the returned value is dropped. A hold that does not end by time needs none.
    fn watch(status: &Arc<Status>, overrun: Overrun) -> Option<CalledOff> {
        let at = Self::acts_at(status)?;
        let watch = Mutex::new(Watch::Awake);
        let (hold, late) = (Hold(Arc::clone(status)), AtomicBool::new(false));
        let dog = Arc::new(Self { hold, overrun, watch, late });
        dog.sleep_until(at);
        Some(CalledOff(dog))
    }

    fn acts_at(status: &Status) -> Option<Time> {
        Some(status.end_by()?.after(status.margin / 2))
    }

    fn sleep_until(self: &Arc<Self>, at: Time) {
        // A wake-up that is due may come before this returns: not under the lock.
        let mut alarm = Alarm::new(Arc::clone(&self.hold.0.clock));
        alarm.set(Some(at), &Waker::from(Arc::clone(self)));
        let mut watch = self.state();
        if matches!(*watch, Watch::Awake) {
            *watch = Watch::Sleeps { _until: alarm };
        }
    }

    /// Changes to `next` unless it is off; whether it did.
    fn change(&self, next: Watch) -> bool {
        let mut watch = self.state();
        if matches!(*watch, Watch::Off) {
            return false;
        }
        let old = std::mem::replace(&mut *watch, next);
        drop(watch);
        drop(old);
        true
    }

    fn state(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn act(&self) {
        match &self.overrun {
            Overrun::AbortProcess => {
                let name = self.hold.name();
                eprintln!(
                    "tenure: work under lock {name:?} blocked its thread past the deadline of its \
                     hold: aborting the process before somebody else works beside it"
                );
                std::process::abort();
            }
            Overrun::Call(act) => {
                let (act, hold) = (Arc::clone(act), self.hold.clone());
                let thread = std::thread::Builder::new().name("tenure-overrun".into());
                if thread.spawn(move || act(&hold)).is_err() {
                    // Without a thread of its own it holds up the timers, but is called.
                    if let Overrun::Call(act) = &self.overrun {
                        act(&self.hold);
                    }
                }
            }
        }
    }
}

impl Wake for Watchdog {
    /// Called by the clock's thread.
    fn wake(self: Arc<Self>) {
        let status = &self.hold.0;
        let Some(at) = Self::acts_at(status) else { return };
        let now = status.clock.now();
        let stood_still = now >= at.after(status.margin / 2);
        let again = if now < at {
            self.late.store(false, Relaxed);
            Some(at)
        } else {
            (stood_still && !self.late.swap(true, Relaxed)).then(|| now.after(TURN))
        };
        match again {
            Some(at) if self.change(Watch::Awake) => self.sleep_until(at),
            None if self.change(Watch::Off) => self.act(),
            Some(_) | None => {}
        }
    }
}

impl Drop for CalledOff {
    fn drop(&mut self) {
        self.0.change(Watch::Off);
    }
}
