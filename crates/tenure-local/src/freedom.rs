//! Seeing a lock become free, without a place in its line.
//!
//! Owns what wakes whoever only looks on: writes to the lock's file (inotify), the end of the
//! holder's process, the end of a ttl, and once a second in any case. **It asks to be woken before
//! it looks**, so no change falls between the two.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tenure_core::{Mark, Session, Term, Time};

use crate::{LocalStore, LockName, Result, Shown};

/// How long nobody is believed to have been woken for nothing.
const BACKSTOP: Duration = Duration::from_secs(1);
/// The same while something keeps the lock whose end nobody reports.
const ORPHAN: Duration = Duration::from_millis(50);

/// Looks on at one lock.
#[derive(Debug)]
pub struct Onlooker {
    store: Arc<LocalStore>,
    name: LockName,
    /// Tells of writes; `None` where the kernel has no more of these.
    changes: Option<OwnedFd>,
    /// The holder's process, whose end makes it readable.
    end: Option<(Session, OwnedFd)>,
    wake_after: Duration,
    /// When a hold was first seen whose stamp is of another clock.
    foreign: Option<(Mark, Time)>,
}

impl Onlooker {
    /// Looks on at the lock `name`.
    #[must_use]
    pub fn new(store: Arc<LocalStore>, name: LockName) -> Self {
        let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
        Self { store, name, changes, end: None, wake_after: Duration::ZERO, foreign: None }
    }

    /// How the lock stands now. Call it again once one of [`fds`](Self::fds) is readable or
    /// [`wake_after`](Self::wake_after) has passed.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn look(&mut self) -> Result<Shown> {
        self.ask();
        let mut shown = self.store.show(&self.name)?;
        self.count_anew(&mut shown);
        self.wake_after = BACKSTOP;
        let holder = shown.record.holder.as_ref().zip(shown.holder.as_ref());
        let bound = holder.filter(|(h, _)| h.term == Term::Session).map(|(h, _)| h.session);
        if self.end.as_ref().map(|(session, _)| *session) != bound || self.has_fired() {
            let watch = |session| Some((session, self.store.watch_process(session)?));
            self.end = bound.and_then(watch);
        }
        if bound.is_some() && self.end.is_none() {
            self.wake_after = ORPHAN;
        }
        if let Some(left) = holder.and_then(|(_, known)| known.remaining) {
            // Past the end by a little: at the very nanosecond it still stands.
            self.wake_after = self.wake_after.min(left + Duration::from_micros(1));
        }
        Ok(shown)
    }

    /// A hold with a ttl whose stamp is of another boot or time namespace: its ttl counts from when
    /// it was first seen, as for a contender.
    fn count_anew(&mut self, shown: &mut Shown) {
        let foreign = shown.record.holder.as_ref().filter(|_| shown.foreign_stamp).map(|h| h.mark);
        let now = self.store.now();
        let first = self.foreign.filter(|(mark, _)| Some(*mark) == foreign).map(|(_, at)| at);
        self.foreign = foreign.map(|mark| (mark, first.unwrap_or(now)));
        let (Some((_, at)), Some(known)) = (self.foreign, &mut shown.holder) else { return };
        known.remaining = known.remaining.map(|ttl| ttl.saturating_sub(now.since(at)));
        known.expired = known.remaining == Some(Duration::ZERO);
    }

    /// Asks to be woken by the next write, and takes in what woke us last.
    fn ask(&mut self) {
        let Some(changes) = &self.changes else { return };
        let mut buffer = [MaybeUninit::uninit(); 1_024];
        let mut reader = Reader::new(changes, &mut buffer);
        while matches!(reader.next(), Ok(_) | Err(Errno::INTR)) {}
        let path = self.store.folder().path().join(self.name.file().to_string_lossy().as_ref());
        // Asked again each time: a file that was deleted and made anew is another one. One that is
        // not there is free, and needs no watch.
        let flags = WatchFlags::MODIFY | WatchFlags::DELETE_SELF | WatchFlags::ATTRIB;
        let _ = inotify::add_watch(changes, path, flags);
    }

    fn has_fired(&self) -> bool {
        self.end.as_ref().is_some_and(|(_, fd)| crate::wait::is_readable(fd))
    }

    /// Descriptors that become readable when there is something to see.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let changes = self.changes.as_ref().map(AsFd::as_fd);
        changes.into_iter().chain(self.end.as_ref().map(|(_, fd)| fd.as_fd()))
    }

    /// Look again after this long at the latest.
    #[must_use]
    pub const fn wake_after(&self) -> Duration {
        self.wake_after
    }
}
