//! Time as everything above it sees it: an instant to read, and a wake-up to ask for.
//!
//! ```text
//! Alarm (one per waiting thing) ──> Clock ──> Schedule ──> wakes what is due
//!                                     ├─ System: boot-time clock, one thread per process
//!                                     └─ Manual: moved by hand, for tests
//! ```
//!
//! Knows no locks. **A wake-up is a hint: whoever is woken reads the clock again**, and no wake-up
//! comes before its instant by the clock that is read.

#[cfg(feature = "testing")]
mod manual;
mod schedule;
mod system;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tenure_core::{Time, Wall};

#[cfg(feature = "testing")]
pub use manual::ManualClock;
use schedule::Schedule;
#[cfg(all(feature = "local", target_os = "linux"))]
pub(crate) use system::Descriptor;
use system::System;

/// Where time comes from. Each has the same methods; a clone is the same clock.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    /// The machine's clocks.
    System,
    #[cfg(feature = "testing")]
    Manual(ManualClock),
}

/// Calls a method of whichever clock it is.
macro_rules! of {
    ($clock:expr, $method:ident($($argument:expr),*)) => {
        match $clock {
            Clock::System => System.$method($($argument),*),
            #[cfg(feature = "testing")]
            Clock::Manual(clock) => clock.$method($($argument),*),
        }
    };
}

impl Clock {
    /// Gets ready to wake. Comes before the first wake-up that is asked for.
    pub(crate) fn start(&self) -> Result<(), crate::Error> {
        of!(self, start())
    }

    /// The boot-time clock: it advances while the machine is suspended.
    pub(crate) fn now(&self) -> Time {
        of!(self, now())
    }

    /// The wall clock, for times that people read.
    pub(crate) fn wall(&self) -> Wall {
        of!(self, wall())
    }

    /// Both at once. The wall clock may be a tenth of a second behind a step that was made to it.
    pub(crate) fn tick(&self) -> Tick {
        of!(self, tick())
    }

    /// Wakes `waker` once `at` has come; the number names this wake-up.
    fn set(&self, at: Time, waker: Waker) -> u64 {
        of!(self, set(at, waker))
    }

    /// Takes a wake-up back, if it has not come yet.
    fn clear(&self, at: Time, number: u64) {
        of!(self, clear(at, number));
    }
}

/// What the clocks say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    pub(crate) now: Time,
    pub(crate) wall: Wall,
}

/// At most one wake-up at a time. Dropping it takes it back.
#[derive(Debug)]
pub(crate) struct Alarm {
    clock: Clock,
    set: Option<(Time, u64, Waker)>,
}

impl Alarm {
    pub(crate) const fn new(clock: Clock) -> Self {
        Self { clock, set: None }
    }

    /// Asks to be woken at `at` instead of what was asked for before. A wake-up that is asked for
    /// once more stands as it is, also when it has come.
    pub(crate) fn set(&mut self, at: Option<Time>, waker: &Waker) {
        let same = |(t, _, w): &(Time, u64, Waker)| Some(*t) == at && w.will_wake(waker);
        if self.set.as_ref().is_some_and(same) {
            return;
        }
        self.clear();
        if let Some(at) = at {
            let number = self.clock.set(at, waker.clone());
            self.set = Some((at, number, waker.clone()));
        }
    }

    pub(crate) fn clear(&mut self) {
        if let Some((at, number, _)) = self.set.take() {
            self.clock.clear(at, number);
        }
    }

    /// Whether `at` has come; if not, wakes the task once it has.
    pub(crate) fn poll_until(&mut self, at: Time, cx: &Context<'_>) -> Poll<()> {
        if self.clock.now() >= at {
            return Poll::Ready(());
        }
        self.set(Some(at), cx.waker());
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The output of `future`, or `None` if `limit` comes first. No limit is for ever.
pub(crate) async fn within<F: Future>(
    clock: &Clock,
    limit: Option<Time>,
    future: F,
) -> Option<F::Output> {
    let mut alarm = None;
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        let Some(limit) = limit else { return Poll::Pending };
        let alarm = alarm.get_or_insert_with(|| Alarm::new(clock.clone()));
        alarm.poll_until(limit, cx).map(|()| None)
    })
    .await
}
