//! Locks for programs without async: the embedded store in place, any other by a thread.
//!
//! [`connect`] gives a [`Client`], which gives a [`Lock`], which gives a [`Guard`]. A program with
//! an event loop of its own, as the command is, drives a [`Pending`] instead of blocking. What is
//! the same with and without async has one type: [`HeldBy`](crate::HeldBy), [`Lost`](crate::Lost),
//! [`Released`](crate::Released), [`Error`].
//!
//! ```
//! # let folder = tenure_doc_folder();
//! # let url = format!("local:{folder}");
//! use tenure::blocking::{connect, Attempt};
//!
//! let client = connect(&url)?; // "local:" for the default folder
//! let lock = client.lock("nightly-backup");
//! let guard = lock.acquire()?;
//! assert!(guard.token() > 0); // hand it to what you write to: it refuses older ones
//!
//! // Somebody else is told who holds it, at once.
//! let Attempt::HeldBy(held) = connect(&url)?.lock("nightly-backup").try_acquire()? else {
//!     panic!("two holders");
//! };
//! assert_eq!(held.id, guard.id());
//! guard.release()?;
//! # std::fs::remove_dir_all(folder).unwrap();
//! # fn tenure_doc_folder() -> String {
//! #     let dir = std::env::current_dir().unwrap().join("target");
//! #     format!("{}/doc-{}", dir.display(), std::process::id())
//! # }
//! # Ok::<(), tenure::Error>(())
//! ```

mod client;
mod detached;
mod guard;
mod lock;
mod onlooker;
mod pending;
mod remote;
mod repair;

pub use client::Client;
pub use detached::{HoldKey, Kept};
pub use guard::{Guard, News};
pub use lock::{Attempt, Lock};
pub use onlooker::{Onlooker, Seen, Theft};
pub use pending::{Patience, Pending, Step, Waiting};
pub use repair::{Damage, Salvage};

use crate::Error;

/// Opens the store that `url` names, as [`tenure::connect`](crate::connect) does; for the stores that are
/// not on this machine's disk, `kube:` and `memory:`, a thread does the waiting.
///
/// # Errors
/// [`Error::Invalid`] for an unknown URL and for a folder that locks cannot be kept in,
/// [`Error::Denied`] for missing rights, [`Error::Unavailable`] where the disk cannot be used.
pub fn connect(url: &str) -> Result<Client, Error> {
    crate::connect::connect_blocking(url)
}

/// Asks the Kubernetes cluster of this store what could go wrong: how it answers, whether the verbs of
/// its API in `verbs` are allowed, and what stands in the locks `names`, or in all that can be listed.
/// Takes a second and a half; changes nothing.
///
/// # Errors
/// [`Error::Unavailable`] for a server that does not answer within ten seconds, [`Error::Denied`] for
/// one that does not know who asks, [`Error::Invalid`] for names that no lock can have,
/// [`Error::Unsupported`] for a store elsewhere.
#[cfg(feature = "kube")]
pub fn diagnose(
    url: &str,
    names: &[String],
    verbs: &[String],
) -> Result<crate::diagnosis::Diagnosis, Error> {
    wait_for(crate::connect::diagnose(url, names, verbs))
}

/// The address of the Kubernetes cluster that this store is in, as it is found now; `None` for a store
/// that is in none. Nothing is asked of it.
///
/// # Errors
/// [`Error::Invalid`] for a configuration that is missing or cannot be read.
#[cfg(feature = "kube")]
pub fn cluster(url: &str) -> Result<Option<String>, Error> {
    let parsed = crate::StoreUrl::parse(url)?;
    // What is in none needs no runtime to say so.
    parsed.kube_objects().map(|_| wait_for(crate::connect::cluster(&parsed))).transpose()
}

#[cfg(feature = "kube")]
fn wait_for<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| {
        Error::Unavailable(format!("cannot start a runtime: {e}"), Some(Box::new(e)))
    })?;
    let found = runtime.block_on(work);
    // A name that is still being looked up must not hold up the end.
    runtime.shutdown_background();
    found
}

/// Opens the store that `url` names, for looking at it: where there is none yet, none is made, and
/// the answer is `None`.
///
/// # Errors
/// As [`connect`].
pub fn connect_existing(url: &str) -> Result<Option<Client>, Error> {
    crate::connect::connect_existing(url)
}
