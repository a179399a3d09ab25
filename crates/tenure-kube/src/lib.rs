//! Internal to tenure: locks in Kubernetes, in the formats that Go programs keep there.
//!
//! A program that has a `kube::Client` of its own adds this crate, too, and makes the store itself:
//! ```no_run
//! # async fn f(mut config: kube::Config) -> Result<(), Box<dyn std::error::Error>> {
//! use tenure_kube::{Format, KubeStore};
//!
//! config.default_retry = false; // a write that is repeated is told of a conflict with itself
//! let client = kube::Client::try_from(config)?;
//! let store = KubeStore::with_format(client, "default", Format::ConfigMap)?;
//! // tenure::Client::new(Arc::new(store)): its locks are those of lockheed.
//! # drop(store);
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//! Store ──> store: when ──> format: which request ──> tenure-wire: which object
//!      │                └──> http: one request, one answer
//!      └──> watch: one request, many answers, resumed
//! ```
//!
//! Owns the requests to an API server and what their answers mean. Decides nothing about locks.
//! **Every write names the object's `uid` and `resourceVersion`**: with the version alone, a PUT on
//! an object that was deleted creates it again. No write is repeated behind the caller's back.

mod clock;
mod config;
mod diagnosis;
mod error;
mod feeds;
mod format;
mod http;
mod store;
mod stream;
mod transport;
mod watch;

pub use clock::Ahead;
pub use config::{Access, client, server};
pub use diagnosis::{Diagnosis, LockDiagnosis, Right, Writer};
pub use format::{Format, Object};
pub use store::KubeStore;
pub use tenure_store::Error;
