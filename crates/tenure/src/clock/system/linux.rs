//! A boot-time timer and any number of other descriptors, waited for in one call.

use std::collections::HashMap;
use std::io;
#[cfg(feature = "local")]
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tenure_core::Time;

const NANOS: u64 = 1_000_000_000;
/// The timer's own number among the descriptors.
const TIMER: u64 = 0;

/// The boot-time clock.
pub(super) fn now() -> Time {
    let t = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(t.tv_nsec).unwrap_or(0);
    Time::from_nanos(seconds.saturating_mul(NANOS).saturating_add(nanos))
}

/// What the thread waits on.
#[derive(Debug)]
pub(super) struct Bell {
    timer: OwnedFd,
    epoll: OwnedFd,
    readers: Mutex<Readers>,
}

/// Who waits for a descriptor to become readable.
#[derive(Debug, Default)]
struct Readers {
    #[cfg(feature = "local")]
    last: u64,
    wakers: HashMap<u64, Waker>,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        let timer = timerfd_create(
            TimerfdClockId::Boottime,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        Ok(Self { timer, epoll, readers: Mutex::default() })
    }

    /// Rings at `at`; `None`: not by time.
    pub(super) fn ring_at(&self, at: Option<Time>) {
        // All zeros would disarm the timer; a time past rings at once.
        let nanos = at.map_or(0, |at| at.as_nanos().max(1));
        let seconds = i64::try_from(nanos / NANOS).unwrap_or(i64::MAX);
        let it_value = Timespec { tv_sec: seconds, tv_nsec: (nanos % NANOS).cast_signed() };
        let spec = Itimerspec { it_interval: Timespec::default(), it_value };
        // It fails only for a descriptor that is no timer.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &spec);
    }

    /// Waits for a ring; wakes those whose descriptors have become readable.
    pub(super) fn wait(&self) {
        let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 32];
        let ready = match epoll::wait(&self.epoll, &mut events[..], None) {
            Ok(ready) => ready,
            Err(Errno::INTR) => 0,
            // Cannot be: both descriptors are ours. Not to spin all the same.
            Err(_) => {
                std::thread::sleep(std::time::Duration::from_millis(1));
                0
            }
        };
        for event in events.into_iter().take(ready) {
            match event.data.u64() {
                TIMER => drop(rustix::io::read(&self.timer, &mut [0; 8])),
                reader => {
                    let waker = self.readers().wakers.remove(&reader);
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                }
            }
        }
    }

    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits once for a descriptor to become readable. Dropping it gives up.
#[cfg(feature = "local")]
#[derive(Debug)]
pub(crate) struct Descriptor<'f> {
    fd: BorrowedFd<'f>,
    number: u64,
}

#[cfg(feature = "local")]
impl<'f> Descriptor<'f> {
    /// Wakes `waker` once `fd` is readable, or at once if it is.
    pub(crate) fn watch(fd: BorrowedFd<'f>, waker: &Waker) -> Result<Self, crate::Error> {
        let bell = &super::lookout()?.bell;
        let mut readers = bell.readers();
        readers.last += 1;
        let number = readers.last;
        readers.wakers.insert(number, waker.clone());
        drop(readers);
        let flags = EventFlags::IN | EventFlags::ONESHOT;
        let watched = Self { fd, number };
        epoll::add(&bell.epoll, fd, EventData::new_u64(number), flags).map_err(|e| {
            crate::Error::Unavailable(format!("cannot wait for a wake-up: {e}"), Some(Box::new(e)))
        })?;
        Ok(watched)
    }
}

#[cfg(feature = "local")]
impl Drop for Descriptor<'_> {
    fn drop(&mut self) {
        // A forked child that drops what its parent waits with must not take that out.
        if let Some(lookout) = super::started().filter(|lookout| lookout.pid == std::process::id())
        {
            // One that was never added is not there to be taken out.
            let _ = epoll::delete(&lookout.bell.epoll, self.fd);
            let waker = lookout.bell.readers().wakers.remove(&self.number);
            drop(waker);
        }
    }
}
