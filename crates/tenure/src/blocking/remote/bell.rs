//! A box into which tasks post, and a descriptor that is readable while something is in it.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use crate::Error;

/// The box. Whoever takes out reads what was posted, in order.
pub(super) struct Post<T> {
    news: Mutex<VecDeque<T>>,
    bell: OwnedFd,
}

impl<T> Post<T> {
    pub(super) fn new() -> Result<Arc<Self>, Error> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| {
            let e = std::io::Error::from(e);
            Error::Unavailable(format!("no descriptor is left: {e}"), Some(Box::new(e)))
        })?;
        Ok(Arc::new(Self { news: Mutex::default(), bell }))
    }

    /// Posts and rings.
    pub(super) fn put(&self, news: T) {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).push_back(news);
        // It fails only when it has rung more often than anybody can count.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    /// The oldest news. The bell is silent once there are none.
    pub(super) fn take(&self) -> Option<T> {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        let first = news.pop_front();
        if news.is_empty() {
            // Under the lock, so that no ring is lost that came with news. Empty is no error.
            let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        }
        first
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Blocks until something is in it, or for so long.
    pub(super) fn wait(&self, limit: Option<Duration>) -> Result<(), Error> {
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let mut fds = [PollFd::from_borrowed_fd(self.fd(), PollFlags::IN)];
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(e) => {
                let e = std::io::Error::from(e);
                Err(Error::Unavailable(format!("cannot wait: {e}"), Some(Box::new(e))))
            }
        }
    }
}

impl<T> fmt::Debug for Post<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Post")
    }
}
