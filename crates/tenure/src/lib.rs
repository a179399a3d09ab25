//! Distributed locks over one contract: on one machine today, over Kubernetes and etcd later.
//!
//! This version has the synchronous client, [`blocking`], over the embedded store of one machine,
//! which is what the `tenure` command uses.
//!
//! ```
//! # let folder = tenure_doc_folder();
//! # let url = format!("local:{folder}");
//! use tenure::blocking::{connect, Attempt};
//!
//! let client = connect(&url)?; // "local:" for the default folder
//! let lock = client.lock("nightly-backup")?;
//! let guard = lock.acquire()?;
//! assert!(guard.token() > 0); // hand it to what you write to: it refuses older ones
//!
//! // Somebody else is told who holds it, at once.
//! let Attempt::HeldBy(held) = connect(&url)?.lock("nightly-backup")?.try_acquire()? else {
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

#[cfg(feature = "blocking")]
pub mod blocking;
#[cfg(feature = "blocking")]
mod connect;
mod error;
mod info;
mod url;

pub use error::Error;
pub use info::{HoldEnd, HolderInfo, LockInfo, LockState, PastInfo, WaiterInfo};
pub use tenure_core::{Timing, TimingError, TimingSpec, Wall};
pub use url::StoreUrl;
