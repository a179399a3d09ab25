//! The embedded store as the drivers use it: a folder, and this process's session in it.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tenure_core::{Mark, Marks, Session, Time, Token, Wall};

use crate::process::StatFile;
use crate::session::{self, About, OwnSession, Verdict};
use crate::wait::{self, WaitPipe, Way, Woken};
use crate::{Clock, Folder, LockName, Result, group, process};

/// How long the killed members of a group are waited for in one look. They end in microseconds
/// unless they have much memory to give back or wait for a disk; nobody takes over meanwhile.
const ORPHANS_WAIT: Duration = Duration::from_secs(2);

/// Of how many processes what says whether they are stopped stays open: a descriptor each.
const STATS: usize = 8;

/// Where a store is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Its folder; `None` is the default one of this user.
    pub path: Option<PathBuf>,
}

/// An open store. Its session ends when it and everything taken through it is dropped.
#[derive(Debug)]
pub struct LocalStore {
    folder: Arc<Folder>,
    session: Mutex<Option<Arc<OwnSession>>>,
    /// Where this store's marks start, and how many contenders have drawn a share of them.
    marks: (u128, AtomicU64),
    /// The pipe of a waiter that waits no more, or one made in advance, for the next one.
    spare: Mutex<Option<WaitPipe>>,
    /// What says whether a process is stopped, of those it was asked of last. In a forked child the
    /// mutex may be that of a thread which is not there.
    pub(crate) stats: Mutex<Vec<(Session, StatFile)>>,
    /// The process that opened it.
    pid: u32,
}

impl LocalStore {
    /// Opens the store, and creates its folder if it is missing.
    ///
    /// # Errors
    /// A folder that locks cannot be kept in, missing rights, a full disk.
    pub fn open(options: &Options) -> Result<Self> {
        Self::in_folder(Folder::open(options.path.as_deref())?)
    }

    /// Opens the store if there is one; creates nothing.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_existing(options: &Options) -> Result<Option<Self>> {
        Folder::open_existing(options.path.as_deref())?.map(Self::in_folder).transpose()
    }

    /// A store in an open folder.
    ///
    /// # Errors
    /// What the system says when it has no random numbers.
    pub fn in_folder(folder: Arc<Folder>) -> Result<Self> {
        let marks = (random_mark()?, AtomicU64::new(0));
        let (session, spare, stats) = (Mutex::new(None), Mutex::new(None), Mutex::default());
        Ok(Self { folder, session, marks, spare, stats, pid: std::process::id() })
    }

    /// Marks for one contender: a share of 2^40 of this store's own.
    pub(crate) fn marks(&self) -> Marks {
        let share = u128::from(self.marks.1.fetch_add(1, Ordering::Relaxed)) << 40;
        Marks::new(self.marks.0.wrapping_add(share))
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Arc<Folder> {
        &self.folder
    }

    /// The boot-time clock.
    #[must_use]
    pub fn now(&self) -> Time {
        self.folder.now()
    }

    /// The wall clock.
    #[must_use]
    pub fn wall(&self) -> Wall {
        self.folder.wall()
    }

    pub(crate) fn clock(&self) -> Clock {
        self.folder.clock()
    }

    /// This process's session, created when it is first needed.
    ///
    /// # Errors
    /// What the system says; [`Error::Invalid`](crate::Error::Invalid) in a forked child.
    pub(crate) fn session(&self, id: &str) -> Result<Arc<OwnSession>> {
        if std::process::id() != self.pid {
            return Err(session::forked(self.pid));
        }
        let mut slot = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = &*slot {
            return Ok(Arc::clone(session));
        }
        let about = About { id: id.to_owned(), host: host(), command: command() };
        let session = Arc::new(OwnSession::create(&self.folder, &about)?);
        *slot = Some(Arc::clone(&session));
        Ok(session)
    }

    /// A pipe for the waiter with this mark.
    pub(crate) fn pipe(&self, mark: Mark) -> Result<WaitPipe> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        match spare.and_then(|pipe| pipe.again(mark).ok()) {
            Some(pipe) => Ok(pipe),
            None => WaitPipe::create(&self.folder, mark),
        }
    }

    /// Sees to it that [`pipe`](Self::pipe) has one to give. What goes wrong is said there.
    pub(crate) fn prepare_pipe(&self) {
        let none = self.spare.lock().unwrap_or_else(PoisonError::into_inner).is_none();
        let made = || WaitPipe::create(&self.folder, Mark::from_u128(random_mark().ok()?)).ok();
        if let Some(pipe) = none.then(made).flatten() {
            self.keep(pipe);
        }
    }

    /// Keeps the pipe of one that waits no more.
    pub(crate) fn keep(&self, pipe: WaitPipe) {
        pipe.drain();
        if pipe.is_own() {
            *self.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(pipe);
        }
    }

    /// Wakes the waiter with this mark; whether it was there to be woken.
    pub(crate) fn wake(&self, mark: Mark) -> Result<bool> {
        Ok(wait::wake(&self.folder, mark)? == Woken::Yes)
    }

    /// The way to the waiter with this mark, if it is there.
    pub(crate) fn way_to(&self, mark: Mark) -> Option<Way> {
        Way::to(&self.folder, mark)
    }

    /// Wakes the waiter that this way leads to; whether it was there to be woken.
    pub(crate) fn wake_by(&self, way: Way) -> Result<bool> {
        Ok(way.wake(&self.folder)? == Woken::Yes)
    }

    /// Whether the session's process is stopped, if it can be seen from here that it runs.
    pub(crate) fn is_stopped(&self, session: Session) -> Result<Option<bool>> {
        let known = || {
            let mut stats = self.stats.try_lock().ok()?;
            let known = stats.iter().position(|(of, _)| *of == session)?;
            Some(stats.remove(known).1)
        };
        let mut stat = known();
        let stopped = session::is_stopped(&self.folder, session, &mut stat)?;
        // Two that take turns ask about each other again and again.
        let kept = stat.filter(|_| stopped.is_some());
        if let (Some(stat), Ok(mut stats)) = (kept, self.stats.try_lock()) {
            stats.retain(|(of, _)| *of != session);
            if stats.len() == STATS {
                stats.remove(0);
            }
            stats.push((session, stat));
        }
        Ok(stopped)
    }

    pub(crate) fn probe(&self, session: Session) -> Result<Verdict> {
        session::probe(&self.folder, session)
    }

    pub(crate) fn is_kept(&self, session: Session) -> Result<bool> {
        session::is_kept(&self.folder, session)
    }

    /// A descriptor that becomes readable when the session's process ends; `None` where it cannot
    /// be seen from here or has ended already.
    pub(crate) fn watch_process(&self, session: Session) -> Option<OwnedFd> {
        if session.is_none() { None } else { process::pidfd_of(&self.folder, session) }
    }

    /// Waits for the end of the command of a holder whose own process is gone; whether it has come.
    pub(crate) fn await_command(&self, session: Session, at_most: Duration) -> bool {
        // Its number is its group's. Nothing is done to whoever has that number by now.
        let command = session::group(&self.folder, session);
        command.is_some_and(|pid| process::await_end(pid, at_most))
    }

    /// Ends what is left of the process group of a holder whose own process is gone. Who cannot be
    /// ended and keeps the session keeps the lock, and is named by `show`.
    pub(crate) fn end_orphans(&self, session: Session, token: Token, lock: &LockName) {
        if let Some(group) = session::group(&self.folder, session) {
            let _ = group::end_group(&self.folder, session, group, (lock, token), ORPHANS_WAIT);
        }
    }

    /// Removes what a dead contender left behind.
    pub(crate) fn sweep(&self, session: Session, mark: Option<Mark>) {
        session::sweep(&self.folder, session, mark);
    }
}

/// The name of this host.
pub(crate) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn command() -> String {
    let args: Vec<_> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    args.join(" ")
}

/// An identity nobody else has: `<hostname>_<uuid>`.
///
/// # Errors
/// What the system says when it has no random numbers.
pub fn default_id() -> Result<String> {
    let bits = random_mark()?;
    // Version 4, variant 1, as the uuid's specification has it.
    let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (4 << 76) | (2 << 62);
    let hex = format!("{bits:032x}");
    let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    Ok(format!("{}_{a}-{b}-{c}-{d}-{e}", host()))
}

/// 128 random bits.
pub(crate) fn random_mark() -> Result<u128> {
    let (high, low) = (crate::facts::random_u64()?, crate::facts::random_u64()?);
    Ok(u128::from(high) << 64 | u128::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn a_forked_child_gets_no_session_of_an_inherited_store() {
        let scratch = Scratch::new();
        let mut store = LocalStore::in_folder(scratch.open()).unwrap();
        assert!(store.session("a").is_ok());
        store.pid += 1;
        let error = store.session("a").unwrap_err().to_string();
        assert!(error.contains("connect again"), "{error}");
    }
}
