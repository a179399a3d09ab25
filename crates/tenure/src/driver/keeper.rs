//! The one task of a client: renews what is held, and undoes what was dropped.
//!
//! Owns who is to be polled. Knows nothing of claims: a seat is polled when something of its own
//! woke it. The task is spawned on the runtime of the first who needs it. **When that runtime is
//! shut down every hold kept there is lost at once**, since nobody would renew it; the next who
//! needs a keeper brings its own runtime.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use slab::Slab;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::Seat;

/// How many seats are polled before other tasks get their turn.
const TURNS: usize = 64;

/// The place of one who is not kept; nobody is given it, as no memory holds so many.
pub(super) const NOWHERE: u32 = u32::MAX;

/// Who is kept, and who is to be polled.
#[derive(Default)]
pub(crate) struct Keeper {
    state: Mutex<State>,
    /// Something was undone.
    settled: Notify,
}

#[derive(Default)]
struct State {
    seats: Slab<Arc<Seat>>,
    /// Places of those who are to be polled. One who has left meanwhile may stand here, and its place
    /// be another's, who is polled once more than it asked for.
    ready: VecDeque<u32>,
    task: Task,
    /// How many are being undone.
    undoing: usize,
}

#[derive(Default)]
enum Task {
    /// To be spawned.
    #[default]
    None,
    /// At work, or about to be.
    Runs,
    /// Waits for somebody to poll.
    Sleeps(Waker),
    /// Not needed any more.
    Over,
}

/// Something that nobody waits for and that is not undone yet.
pub(crate) struct Undoing(Arc<Keeper>);

impl std::fmt::Debug for Undoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Undoing")
    }
}

/// Whether the caller is inside a runtime, which a keeper may need. That it is a task says nothing: a
/// `LocalSet` may be polled by anybody.
pub(crate) fn has_runtime() -> bool {
    Handle::try_current().is_ok()
}

impl Keeper {
    /// Keeps a seat from now on, and polls it soon. `None`: there is no runtime to do so, or no
    /// place for a number of seats that no memory holds.
    pub(super) fn keep(self: &Arc<Self>, seat: &Arc<Seat>) -> Option<u32> {
        let mut state = self.state();
        if matches!(state.task, Task::None) {
            let runtime = Handle::try_current().ok()?;
            state.task = Task::Runs;
            drop(state);
            // Before the seat is there: a runtime that is being shut down drops the task at once,
            // and that would abandon a seat whose lock our caller has.
            drop(runtime.spawn(Run(Arc::clone(self))));
            state = self.state();
            if matches!(state.task, Task::None) {
                return None;
            }
        }
        let place = u32::try_from(state.seats.vacant_key()).ok().filter(|p| *p != NOWHERE)?;
        state.seats.insert(Arc::clone(seat));
        seat.kept_at.store(place, Ordering::Relaxed);
        seat.queued.store(true, Ordering::Release);
        state.ready.push_back(place);
        state.wake();
        Some(place)
    }

    /// Has a seat polled.
    pub(super) fn poll_soon(&self, seat: &Arc<Seat>) {
        if seat.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut state = self.state();
        let place = seat.kept_at.load(Ordering::Relaxed);
        if matches!(state.task, Task::None | Task::Over) || place == NOWHERE {
            seat.queued.store(false, Ordering::Release);
            return;
        }
        state.ready.push_back(place);
        state.wake();
    }

    /// Keeps a seat no longer. The place may be another's by now, of a later task.
    pub(super) fn forget(&self, seat: &Seat, place: u32) {
        let Ok(key) = usize::try_from(place) else { return };
        let is_it = |kept: &Arc<Seat>| std::ptr::eq(&raw const **kept, seat);
        let mut state = self.state();
        if !state.seats.get(key).is_some_and(is_it) {
            return;
        }
        let kept = state.seats.remove(key);
        seat.kept_at.store(NOWHERE, Ordering::Relaxed);
        if state.ready.back() == Some(&place) {
            // One that was given back before its first turn.
            state.ready.pop_back();
        }
        drop(state);
        drop(kept);
    }

    /// Counts one more to be undone.
    pub(crate) fn undoing(self: &Arc<Self>) -> Undoing {
        self.state().undoing += 1;
        Undoing(Arc::clone(self))
    }

    /// Waits until nothing is left to be undone.
    pub(crate) async fn settled(&self) {
        loop {
            let settled = self.settled.notified();
            if self.state().undoing == 0 {
                return;
            }
            settled.await;
        }
    }

    /// Ends the task: the last handle on the client is gone.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        if let Task::Sleeps(waker) = std::mem::replace(&mut state.task, Task::Over) {
            drop(state);
            waker.wake();
        }
    }

    fn next(&self, cx: &Context<'_>) -> Next {
        let mut state = self.state();
        while let Some(place) = state.ready.pop_front() {
            let place = usize::try_from(place).ok();
            if let Some(seat) = place.and_then(|place| state.seats.get(place)) {
                return Next::Poll(Arc::clone(seat));
            }
        }
        if matches!(state.task, Task::Over) {
            return Next::End;
        }
        state.task = Task::Sleeps(cx.waker().clone());
        Next::Sleep
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake(&mut self) {
        if let Task::Sleeps(_) = self.task
            && let Task::Sleeps(waker) = std::mem::replace(&mut self.task, Task::Runs)
        {
            waker.wake();
        }
    }
}

impl Drop for Undoing {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.undoing -= 1;
        let all = state.undoing == 0;
        drop(state);
        if all {
            self.0.settled.notify_waiters();
        }
    }
}

enum Next {
    Poll(Arc<Seat>),
    Sleep,
    End,
}

/// The task.
struct Run(Arc<Keeper>);

impl Future for Run {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..TURNS {
            match self.0.next(cx) {
                Next::Poll(seat) => poll(&seat),
                Next::Sleep => return Poll::Pending,
                Next::End => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Polls one seat. A store that panics ends this one alone.
fn poll(seat: &Arc<Seat>) {
    // What asked for this is seen by the poll; what asks from here on is not lost.
    seat.queued.swap(false, Ordering::AcqRel);
    let waker = Waker::from(Arc::clone(seat));
    let mut cx = Context::from_waker(&waker);
    if catch_unwind(AssertUnwindSafe(|| seat.poll_kept(&mut cx))).is_err() {
        seat.abandon();
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if !matches!(state.task, Task::Over) {
            state.task = Task::None;
        }
        let seats = std::mem::take(&mut state.seats);
        state.ready.clear();
        for (_, seat) in &seats {
            seat.kept_at.store(NOWHERE, Ordering::Relaxed);
            seat.queued.store(false, Ordering::Release);
        }
        drop(state);
        for (_, seat) in seats {
            seat.abandon();
        }
    }
}
