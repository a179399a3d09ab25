//! Wakes watches when a lock's file changes: one inotify descriptor and one thread for all watches
//! of a handle.
//!
//! Owns who waits for which file; looks at no record. The folder is watched for files that come and
//! go, and each file somebody waits for is watched for writes, so that a busy lock disturbs only
//! those who watch it. **A wake-up is a hint**: whoever gets one looks, and all get one every
//! second, so that nothing the kernel forgets to tell is missed for long. The thread ends by itself
//! within that second when nobody watches any more.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::aside::no_thread;
use crate::{Error, Folder, LockName, Result, wait};

/// How long a watch that nobody wakes waits until it looks again.
const BACKSTOP: Duration = Duration::from_secs(1);

/// Who watches what.
#[derive(Debug)]
pub(super) struct Hub {
    locks: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<Box<[u8]>, Watched>,
    by_number: HashMap<i32, Box<[u8]>>,
    last: u64,
    /// What tells of changes; there is one as long as the thread runs.
    changes: Option<Arc<OwnedFd>>,
}

/// One lock's file.
#[derive(Debug, Default)]
struct Watched {
    /// The kernel's number for the file that has the name now, if there is one.
    number: Option<i32>,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    waker: Option<Waker>,
}

/// One watch's place in a hub. Dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Ticket {
    hub: Arc<Hub>,
    file: Box<[u8]>,
    path: PathBuf,
    number: u64,
}

impl Hub {
    pub(super) fn new(folder: &Folder) -> Self {
        Self { locks: folder.path().join("locks"), state: Mutex::default() }
    }

    /// A place for a watch on `lock`; starts the thread if it does not run.
    pub(super) fn join(hub: &Arc<Self>, lock: &LockName) -> Result<Ticket> {
        let mut state = hub.state();
        if state.changes.is_none() {
            let changes = Arc::new(hub.changes()?);
            let (theirs, fd) = (Arc::clone(hub), Arc::clone(&changes));
            thread::Builder::new()
                .name("tenure-watch".into())
                .spawn(move || theirs.run(&fd))
                .map_err(|e| no_thread(&e))?;
            state.changes = Some(changes);
        }
        state.last += 1;
        let ticket = state.last;
        let path = lock.file().to_string_lossy();
        let name = path.rsplit('/').next().unwrap_or(&path);
        let (file, path) = (Box::from(name.as_bytes()), hub.locks.join(name));
        let watched = state.files.entry(Box::clone(&file)).or_default();
        watched.waiting.push(Waiting { ticket, waker: None });
        drop(state);
        Ok(Ticket { hub: Arc::clone(hub), file, path, number: ticket })
    }

    /// A descriptor that tells which files come into the folder and leave it.
    fn changes(&self) -> Result<OwnedFd> {
        let fail = |e| Error::system("watch", &self.locks, e);
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(fail)?;
        let flags = WatchFlags::MOVED_TO | WatchFlags::DELETE | WatchFlags::ONLYDIR;
        inotify::add_watch(&fd, &self.locks, flags).map_err(fail)?;
        Ok(fd)
    }

    fn run(&self, changes: &OwnedFd) {
        let mut all_woken = Instant::now();
        loop {
            // Whatever fails here, the watches look for themselves once a second.
            if wait::block([changes.as_fd()].into_iter(), Some(BACKSTOP)).is_err() {
                thread::sleep(BACKSTOP);
            }
            let all_told = self.wake_changed(changes);
            let mut state = self.state();
            if state.files.is_empty() {
                state.by_number.clear();
                state.changes = None;
                return;
            }
            if all_told && all_woken.elapsed() < BACKSTOP {
                continue;
            }
            all_woken = Instant::now();
            let wakers = state.wakers_of_all();
            drop(state);
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// Wakes the watches of files that have changed; `false` if some may not have been told.
    fn wake_changed(&self, changes: &OwnedFd) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4_096];
        let mut reader = Reader::new(changes, &mut buffer);
        loop {
            let wakers = match reader.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => return false,
                Ok(event) => {
                    let mut state = self.state();
                    match event.file_name() {
                        Some(file) => state.replaced(file.to_bytes(), changes),
                        None => state.written(event.wd()),
                    }
                }
                Err(Errno::INTR) => continue,
                Err(e) => return e == Errno::AGAIN,
            };
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The file with this name is another one now, or none. The next look watches it.
    fn replaced(&mut self, file: &[u8], changes: &OwnedFd) -> Vec<Waker> {
        let Some(watched) = self.files.get_mut(file) else { return Vec::new() };
        if let Some(number) = watched.number.take() {
            self.by_number.remove(&number);
            // One who unlinks a file and closes it last has the kernel do the same.
            let _ = inotify::remove_watch(changes, number);
        }
        watched.wakers().collect()
    }

    fn written(&mut self, number: i32) -> Vec<Waker> {
        let file = self.by_number.get(&number);
        let watched = file.and_then(|file| self.files.get_mut(file));
        watched.map(|watched| watched.wakers().collect()).unwrap_or_default()
    }

    fn wakers_of_all(&mut self) -> Vec<Waker> {
        self.files.values_mut().flat_map(Watched::wakers).collect()
    }
}

impl Watched {
    fn wakers(&mut self) -> impl Iterator<Item = Waker> {
        self.waiting.iter_mut().filter_map(|waiting| waiting.waker.take())
    }
}

impl Ticket {
    /// Wakes `waker` at the next change, instead of the one before.
    ///
    /// Not being able to watch the file is no error: the folder and the backstop remain.
    pub(super) fn keep(&self, waker: &Waker) {
        let mut guard = self.hub.state();
        let state = &mut *guard;
        let Some(watched) = state.files.get_mut(&self.file) else { return };
        if let (None, Some(changes)) = (watched.number, &state.changes)
            && let Ok(number) = inotify::add_watch(changes, &self.path, WatchFlags::MODIFY)
        {
            watched.number = Some(number);
            state.by_number.insert(number, self.file.clone());
        }
        let own = watched.waiting.iter_mut().find(|waiting| waiting.ticket == self.number);
        let old = own.and_then(|waiting| waiting.waker.replace(waker.clone()));
        drop(guard);
        // Outside the lock: to drop a waker may run anything.
        drop(old);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut guard = self.hub.state();
        let state = &mut *guard;
        let Some(watched) = state.files.get_mut(&self.file) else { return };
        let place = watched.waiting.iter().position(|waiting| waiting.ticket == self.number);
        let own = place.map(|place| watched.waiting.swap_remove(place));
        if watched.waiting.is_empty() {
            if let (Some(number), Some(changes)) = (watched.number, &state.changes) {
                state.by_number.remove(&number);
                let _ = inotify::remove_watch(changes, number);
            }
            state.files.remove(&self.file);
        }
        drop(guard);
        drop(own);
    }
}
