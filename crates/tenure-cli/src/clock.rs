//! The boot-time clock, and waiting on descriptors until one of its instants.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};

/// Time since boot, suspends included.
pub(crate) fn now() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    // Neither part is ever negative on this clock.
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Waits until one of `readable` is, `writable` can be written to, or `limit` has passed.
pub(crate) fn wait<'a>(
    readable: impl Iterator<Item = BorrowedFd<'a>>,
    writable: Option<BorrowedFd<'a>>,
    limit: Option<Duration>,
) {
    let mut fds: Vec<PollFd<'_>> = readable
        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
        .chain(writable.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::OUT)))
        .collect();
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    // An interrupted or refused poll is a wake-up like any other: the caller looks again.
    let _ = poll(&mut fds, limit.as_ref());
}
