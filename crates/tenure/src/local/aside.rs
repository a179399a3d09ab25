//! What takes long, done in a thread of its own.
//!
//! Dropping the future leaves the thread to end by itself and drops there what it made: a claim
//! undoes itself so. A client that is closed waits for it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::Error;
use crate::client::Shared;

/// Does `work` in a thread.
pub(super) async fn aside<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let (answer, answered) = oneshot::channel();
    let undoing = shared.keeper.undoing();
    let spawned = std::thread::Builder::new().name("tenure-local".into()).spawn(move || {
        // A panic belongs to whoever asked. If nobody waits any more the output is dropped here.
        drop(answer.send(catch_unwind(AssertUnwindSafe(work))));
        drop(undoing);
    });
    let failed =
        |e| Error::Unavailable(format!("cannot start a thread: {e}"), Some(Box::new(e) as Box<_>));
    drop(spawned.map_err(failed)?);
    match answered.await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => Err(Error::unavailable("a thread ended without an answer")),
    }
}
