//! A future whose work is done by a thread of its own.
//!
//! For what may block longer than a poll should. Dropping the future leaves the work to end by
//! itself: what it changes is then of unknown outcome, and it blocks nobody.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;

use rustix::io::Errno;

use super::Result;
use crate::Error;

/// Where the thread leaves the answer, or the future its waker.
struct Slot<T> {
    answer: Option<thread::Result<Result<T>>>,
    waker: Option<Waker>,
}

/// Does `work` in a thread.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let slot = Arc::new(Mutex::new(Slot { answer: None, waker: None }));
    let theirs = Arc::clone(&slot);
    let spawned = thread::Builder::new().name("tenure-local".into()).spawn(move || {
        // A panic belongs to whoever asked.
        let answer = catch_unwind(AssertUnwindSafe(work));
        let mut slot = lock(&theirs);
        slot.answer = Some(answer);
        let waker = slot.waker.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    });
    spawned.map_err(|e| no_thread(&e))?;
    let answer = std::future::poll_fn(|cx| {
        let mut slot = lock(&slot);
        if let Some(answer) = slot.answer.take() {
            return Poll::Ready(answer);
        }
        let old = slot.waker.replace(cx.waker().clone());
        drop(slot);
        drop(old);
        Poll::Pending
    })
    .await;
    answer.unwrap_or_else(|panic| resume_unwind(panic))
}

fn lock<T>(slot: &Mutex<Slot<T>>) -> MutexGuard<'_, Slot<T>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn no_thread(error: &io::Error) -> Error {
    let source = error.raw_os_error().map_or(Errno::AGAIN, Errno::from_raw_os_error);
    Error::Unavailable { doing: "start", path: PathBuf::from("a thread"), source }
}
