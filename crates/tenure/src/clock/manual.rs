//! A clock that stands still until it is moved by hand, for tests.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tenure_core::{Time, Wall};

use super::{Alarm, Clock, Schedule, Tick};

/// A clock that stands still until it is moved by hand. Clones are the same clock.
#[derive(Clone, Default)]
pub struct ManualClock(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    now: Time,
    schedule: Schedule,
    /// How often a wake-up was asked for or taken back.
    changes: u64,
}

/// Where time begins: far enough from zero that nothing saturates.
const START: Time = Time::from_nanos(1_000_000_000_000);

impl Default for State {
    fn default() -> Self {
        Self { now: START, schedule: Schedule::default(), changes: 0 }
    }
}

impl ManualClock {
    /// A clock of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How far it was moved.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.state().now.since(START)
    }

    /// How long it is until somebody wants to be woken; `None` if nobody does.
    #[must_use]
    pub fn next_alarm(&self) -> Option<Duration> {
        let state = self.state();
        state.schedule.next().map(|at| at.since(state.now))
    }

    /// Moves it by `by` at once and wakes whose time has come. Who sleeps through several of its
    /// own times sees only the last: to let every timer run, move by
    /// [`next_alarm`](Self::next_alarm) and let the tasks run in between.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state();
        state.now = state.now.after(by);
        while let Some(waker) = {
            let now = state.now;
            state.schedule.pop_due(now)
        } {
            drop(state);
            waker.wake();
            state = self.state();
        }
    }

    /// Resolves once this much time has passed.
    ///
    /// # Cancel safety
    /// Dropping it leaves nothing behind.
    pub fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send + use<> {
        let clock = Clock::Manual(self.clone());
        let until = clock.now().after(time);
        let mut alarm = Alarm::new(clock);
        std::future::poll_fn(move |cx| alarm.poll_until(until, cx))
    }

    /// A number that changes when anybody asks for a wake-up or takes one back.
    pub(crate) fn changes(&self) -> u64 {
        self.state().changes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.elapsed()).finish()
    }
}

/// What every clock can do.
impl ManualClock {
    pub(super) fn start(&self) -> Result<(), crate::Error> {
        Ok(())
    }

    pub(crate) fn now(&self) -> Time {
        self.state().now
    }

    pub(super) fn wall(&self) -> Wall {
        // 2026-01-01, for no reason but that it is a plausible time.
        let since = self.elapsed().as_micros();
        Wall::from_micros(1_767_225_600_000_000 + u64::try_from(since).unwrap_or(u64::MAX / 2))
    }

    pub(crate) fn tick(&self) -> Tick {
        Tick { now: self.now(), wall: self.wall() }
    }

    pub(super) fn set(&self, at: Time, waker: Waker) -> u64 {
        let mut state = self.state();
        state.changes += 1;
        if at > state.now {
            return state.schedule.add(at, waker);
        }
        drop(state);
        waker.wake();
        0
    }

    pub(super) fn clear(&self, at: Time, number: u64) {
        let mut state = self.state();
        state.changes += 1;
        let waker = state.schedule.remove(at, number);
        drop(state);
        drop(waker);
    }
}
