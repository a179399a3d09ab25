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

use super::{Schedule, Tick};
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
pub(super) struct System;

/// What the thread shares with those it wakes.
#[derive(Debug)]
struct Lookout {
    schedule: Mutex<Schedule>,
    bell: sys::Bell,
    /// The process whose thread it is. A forked child has the descriptors and not the thread: it
    /// would wait for ever, and what it asks of the timer its parent would not get.
    pid: u32,
    /// That of a child which was forked since.
    forked: Place,
}

/// Where a lookout is once it is needed.
type Place = OnceLock<Arc<Lookout>>;

static LOOKOUT: Place = Place::new();

/// How often the wall clock is read for [`System::tick`], in microseconds.
const WALL_EVERY: u64 = 100_000;
/// How far the wall clock is ahead of the boot-time clock, in microseconds, and when that was found
/// by the latter. Only shown and taken as a hint, so two threads may mix theirs.
static OFFSET: AtomicU64 = AtomicU64::new(0);
static READ_AT: AtomicU64 = AtomicU64::new(0);

/// The process's lookout; starts it if need be.
fn lookout() -> Result<&'static Arc<Lookout>, Error> {
    lookout_of(std::process::id(), &LOOKOUT)
}

/// The lookout at `place` if it is that of process `pid`, which is this one, else the one behind it.
fn lookout_of(pid: u32, mut place: &'static Place) -> Result<&'static Arc<Lookout>, Error> {
    static STARTING: Mutex<()> = Mutex::new(());
    let mut starting = None;
    loop {
        match place.get() {
            Some(lookout) if lookout.pid == pid => return Ok(lookout),
            Some(parents) => place = &parents.forked,
            // One at a time, and not if another one just did.
            None if starting.is_none() => {
                starting = Some(STARTING.lock().unwrap_or_else(PoisonError::into_inner));
            }
            None => {
                let lookout = Lookout::start(pid)?;
                return Ok(place.get_or_init(|| lookout));
            }
        }
    }
}

/// The lookout that was started last: this process's, once a wake-up was asked for in it.
fn started() -> Option<&'static Arc<Lookout>> {
    let mut last = LOOKOUT.get()?;
    while let Some(next) = last.forked.get() {
        last = next;
    }
    Some(last)
}

impl Lookout {
    fn start(pid: u32) -> Result<Arc<Self>, Error> {
        let fail = |e: std::io::Error| {
            Error::Unavailable(format!("cannot start the timer thread: {e}"), Some(Box::new(e)))
        };
        let (schedule, bell) = (Mutex::default(), sys::Bell::new().map_err(fail)?);
        let lookout = Arc::new(Self { schedule, bell, pid, forked: Place::new() });
        let theirs = Arc::clone(&lookout);
        let thread = std::thread::Builder::new().name("tenure-clock".into());
        thread.spawn(move || theirs.run()).map_err(fail)?;
        Ok(lookout)
    }

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

impl System {
    pub(super) fn start(&self) -> Result<(), Error> {
        // Whether it is this process's, which costs a system call, is asked by who needs waking.
        match LOOKOUT.get() {
            Some(_) => Ok(()),
            None => lookout().map(drop),
        }
    }

    pub(super) fn now(&self) -> Time {
        sys::now()
    }

    pub(super) fn wall(&self) -> Wall {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Wall::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    pub(super) fn tick(&self) -> Tick {
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

    pub(super) fn set(&self, at: Time, waker: Waker) -> u64 {
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

    pub(super) fn clear(&self, at: Time, number: u64) {
        if let Some(lookout) = started() {
            let waker = lookout.schedule().remove(at, number);
            drop(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_child_gets_a_thread_of_its_own() {
        // As after a fork: what the parent started is there, and its thread is not.
        let parents = Lookout {
            schedule: Mutex::default(),
            bell: sys::Bell::new().unwrap(),
            pid: std::process::id() + 1,
            forked: Place::new(),
        };
        let place: &'static Place = Box::leak(Box::new(Place::from(Arc::new(parents))));
        let own = lookout_of(std::process::id(), place).unwrap();
        assert_eq!(own.pid, std::process::id());
        assert!(Arc::ptr_eq(own, lookout_of(std::process::id(), place).unwrap()));
        // The thread runs: it takes out what is due.
        own.schedule().add(Time::ZERO, Waker::noop().clone());
        own.bell.ring_at(Some(Time::ZERO));
        let start = std::time::Instant::now();
        while own.schedule().next().is_some() {
            assert!(start.elapsed().as_secs() < 10, "nobody looks");
            std::thread::yield_now();
        }
        assert!(place.get().unwrap().schedule().next().is_none());
    }
}
