//! The machine's own clocks, and one thread per process that wakes.
//!
//! The thread waits on a boot-time timer descriptor, so that a wake-up that fell into a suspend
//! comes right after it, and in the same call on the descriptors of those who wait for a lock of
//! the embedded store. It is a thread and not a task because it must go on while a runtime's
//! threads are blocked by somebody's work, and needs no driver that a runtime may lack. It starts
//! when it is first needed and never ends; asleep it costs nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::SystemTime;

use tenure_core::{Time, Wall};

use super::{Clock, Schedule, Tick};
use crate::Error;
#[cfg(target_os = "linux")]
use linux as sys;
#[cfg(not(target_os = "linux"))]
use portable as sys;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod portable;

#[cfg(all(feature = "local", target_os = "linux"))]
pub(crate) use linux::Descriptor;

/// The machine's clocks.
#[derive(Debug)]
pub(crate) struct System;

/// What the thread shares with those it wakes.
#[derive(Debug)]
struct Lookout {
    schedule: Mutex<Schedule>,
    bell: sys::Bell,
}

static LOOKOUT: OnceLock<Arc<Lookout>> = OnceLock::new();

/// How often the wall clock is read for [`Clock::tick`], in microseconds.
const WALL_EVERY: u64 = 100_000;
/// How far the wall clock is ahead of the boot-time clock, in microseconds, and when that was found
/// by the latter. Only shown and taken as a hint, so two threads may mix theirs.
static OFFSET: AtomicU64 = AtomicU64::new(0);
static READ_AT: AtomicU64 = AtomicU64::new(0);

/// The process's lookout; starts it if need be.
fn lookout() -> Result<&'static Arc<Lookout>, Error> {
    static STARTING: Mutex<()> = Mutex::new(());
    if let Some(lookout) = LOOKOUT.get() {
        return Ok(lookout);
    }
    let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(lookout) = LOOKOUT.get() {
        return Ok(lookout);
    }
    let fail = |e: std::io::Error| {
        Error::Unavailable(format!("cannot start the timer thread: {e}"), Some(Box::new(e)))
    };
    let bell = sys::Bell::new().map_err(fail)?;
    let lookout = Arc::new(Lookout { schedule: Mutex::default(), bell });
    let theirs = Arc::clone(&lookout);
    let thread = std::thread::Builder::new().name("tenure-clock".into());
    thread.spawn(move || theirs.run()).map_err(fail)?;
    Ok(LOOKOUT.get_or_init(|| lookout))
}

impl Lookout {
    fn run(&self) {
        loop {
            self.bell.wait();
            loop {
                let mut schedule = self.schedule();
                let Some(waker) = schedule.pop_due(sys::now()) else {
                    self.bell.ring_at(schedule.next());
                    break;
                };
                drop(schedule);
                waker.wake();
            }
        }
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for System {
    fn start(&self) -> Result<(), Error> {
        lookout().map(drop)
    }

    fn now(&self) -> Time {
        sys::now()
    }

    fn wall(&self) -> Wall {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Wall::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    fn tick(&self) -> Tick {
        let now = sys::now();
        let (micros, read) = (now.as_nanos() / 1_000, READ_AT.load(Ordering::Relaxed));
        if read != 0 && micros.saturating_sub(read) < WALL_EVERY {
            let wall = OFFSET.load(Ordering::Relaxed).saturating_add(micros);
            return Tick { now, wall: Wall::from_micros(wall) };
        }
        let wall = self.wall();
        OFFSET.store(wall.as_micros().saturating_sub(micros), Ordering::Relaxed);
        READ_AT.store(micros, Ordering::Relaxed);
        Tick { now, wall }
    }

    fn set(&self, at: Time, waker: Waker) -> u64 {
        // Whoever is woken at once looks, and waits again: where no thread can be started any more
        // that is a busy wait, but no missed deadline.
        let Ok(lookout) = lookout() else {
            waker.wake();
            return 0;
        };
        let mut schedule = lookout.schedule();
        let first = schedule.next().is_none_or(|next| at < next);
        let number = schedule.add(at, waker);
        if first {
            lookout.bell.ring_at(Some(at));
        }
        number
    }

    fn clear(&self, at: Time, number: u64) {
        if let Some(lookout) = LOOKOUT.get() {
            let waker = lookout.schedule().remove(at, number);
            drop(waker);
        }
    }
}
