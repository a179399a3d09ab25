//! Internal to tenure: the real servers that tests run against, and the Go programs they meet.
//!
//! Owns where their programs come from ([`find`]: a folder named by `KUBEBUILDER_ASSETS`, `PATH`, a
//! per-user cache, else one build from the pinned modules under `interop/`), how an etcd and a
//! kube-apiserver are started with TLS and RBAC ([`kube`], [`Servers`]), and that they end with the
//! process that started them, whatever happens to it. Knows nothing of locks.
//!
//! Nothing is skipped: where a server cannot be had, the error says what to install.
//!
//! ```no_run
//! let kube = tenure_servers::kube();
//! let namespace = kube.namespace("nightly");
//! kube.apply(&namespace, "kind: Role\napiVersion: rbac.authorization.k8s.io/v1\nmetadata: {name: r}");
//! let kubeconfig = kube.service_account(&namespace, "locker");
//! ```

mod build;
mod certs;
mod kube;
mod programs;
mod supervisor;

use std::sync::OnceLock;

pub use kube::{Kube, Servers};
pub use programs::{Module, PEERS, SERVERS, find, prepare};

/// Names a folder of servers that run already, as [`Servers::folder`] tells it: `cargo xtask test`
/// starts them once for all test programs.
pub const SHARED: &str = "TENURE_TEST_SERVERS";

/// The API server of this test run: the one that [`SHARED`] names, else one of this process's own,
/// started by the first call.
///
/// # Panics
/// With what to install, or what a server said, if there is none.
#[must_use]
pub fn kube() -> &'static Kube {
    static KUBE: OnceLock<Result<Kube, String>> = OnceLock::new();
    static OWN: OnceLock<Servers> = OnceLock::new();
    let kube = KUBE.get_or_init(|| match std::env::var_os(SHARED) {
        Some(folder) => Kube::open(folder.as_ref()),
        None => Servers::start().map(|servers| OWN.get_or_init(|| servers).kube().clone()),
    });
    match kube {
        Ok(kube) => kube,
        Err(why) => panic!("no API server to test against: {why}"),
    }
}
