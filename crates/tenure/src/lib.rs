//! Distributed locks over one contract: on one machine, and in Kubernetes beside Go programs.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! use tenure::Attempt;
//!
//! let client = tenure::connect("memory:").await?; // "local:" for this machine
//! let lock = client.lock("nightly-backup");
//! let guard = lock.acquire().await?;
//! assert!(guard.token() > 0); // hand it to what you write to: it refuses older ones
//!
//! // Somebody else is told who holds it, at once.
//! let Attempt::HeldBy(held) = client.lock("nightly-backup").try_acquire().await? else {
//!     panic!("two holders");
//! };
//! assert_eq!(held.id, guard.id());
//! guard.release().await?;
//! # Ok::<(), tenure::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Lock::run`] is the shortest safe way to work under a lock: it acquires, works, stops the work
//! in time if the hold is lost, and releases.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! # let client = tenure::connect("memory:").await?;
//! let written = client.lock("nightly-backup").run(|hold| async move {
//!     tokio::select! {
//!         biased;
//!         () = hold.stopping() => false,             // the lock is about to be lost: clean up
//!         () = write_backup(hold.token()) => true,   // dropped at the deadline at the latest
//!     }
//! }).await?;
//! assert!(written);
//! # async fn write_backup(_token: u64) {}
//! # Ok::<(), tenure::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Read next: the [guide]**, which says [which call when](guide::calls),
//! [what a lock can promise](guide::promises), what to do with the [token](guide::fencing), how to
//! [embed](guide::embedding) and how to [test](guide::testing) it.
//!
//! # Stores
//!
//! | URL | what | a lock ends |
//! |---|---|---|
//! | `local:`, `local:/a/folder` | files of this machine and user, no daemon | with its process, never by time |
//! | `kube:NAMESPACE`, with `?format=` of `lease`, `annotation`, `configmap` or `janus` | objects of a cluster, as client-go, kubelock, lockheed and janus keep them | by its ttl |
//! | `memory:` | in this program, for nobody else | by its ttl |
//! | [`Client::new`] | any [`store::Store`] of your own | as the store can tell |
//!
//! `local:` alone is `$XDG_STATE_HOME/tenure` or `~/.local/state/tenure`, for root
//! `/var/lib/tenure`. A folder is named by its absolute path as it is, nothing in it is decoded, and it is
//! made if it is not there, for its owner alone. Keep it where nobody tidies up: a record that is deleted
//! is a hold that is lost.
//!
//! # Features
//!
//! | feature | brings |
//! |---|---|
//! | `local` (default) | the store of one machine; Linux only |
//! | `kube` | the stores of Kubernetes |
//! | `blocking` (default) | the module `blocking`: locks without async; Linux only |
//! | `testing` | the module `testing`: a store whose time only the test moves |
//! | `metrics` | `Client::record_metrics`: [metrics](guide::metrics) |
//! | `tracing` | [events and spans](guide::metrics#tracing) of `tracing` |
//!
//! Elsewhere than on Linux the default features bring nothing, and `local:` says so.

#[cfg(all(feature = "blocking", target_os = "linux"))]
pub mod blocking;
mod client;
mod clock;
mod connect;
mod driver;
mod error;
mod event;
mod gate;
mod guard;
pub mod guide;
mod hold;
mod identity;
mod info;
mod job;
#[cfg(all(feature = "local", target_os = "linux"))]
mod local;
mod lock;
#[cfg(feature = "metrics")]
mod meter;
mod outcome;
mod run;
mod steal;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "tracing")]
mod trace;
mod url;

pub use client::Client;
pub use connect::connect;
#[cfg(all(feature = "kube", feature = "blocking", target_os = "linux"))]
pub use connect::diagnosis;
pub use error::Error;
pub use event::{Event, EventKind, Events};
pub use gate::{StaleToken, TokenGate};
pub use guard::Guard;
pub use hold::{Deadline, Hold};
pub use info::{HoldEnd, HolderInfo, LockInfo, LockState, PastInfo, WaiterInfo};
pub use lock::{Lock, MAX_CLOCK_SKEW, WALL_CLOCK_TTL};
pub use outcome::{Attempt, HeldBy, Lost, Released};
pub use run::{Overrun, RunOptions};
pub use tenure_core::{Condition, ConditionError, Timing, TimingError, TimingSpec, Wall};
pub use url::{KubeObjects, StoreUrl};

/// What a store of the user's own implements, and the store in memory.
pub mod store {
    pub use tenure_core::{
        Change, End, Holder, Liveness, Mark, Past, Probed, Record, Session, Term, Text, Time,
        Token, Version, Waiter,
    };
    pub use tenure_store::*;
}
