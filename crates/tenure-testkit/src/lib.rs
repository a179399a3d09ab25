//! Internal to tenure: the contract suite that every store passes, and what it needs.
//!
//! Owns the checks of the [`Store`](tenure_store::Store) contract ([`contract`]), a driver that
//! runs a claim over any store on the caller's thread ([`Contender`]), an executor that gives up
//! ([`block_on_for`]), a store whose answers are late, lost or never come ([`Faulty`]), and the
//! simulator of the machine under faults ([`sim`]) with the command that searches with it
//! ([`prove`]), and with the feature `kube` an API server in memory (`api`). Nothing here is a production code path. The checks know no particular
//! store: what a store may differ in, they read from its capabilities.

#[cfg(feature = "kube")]
pub mod api;
pub mod contract;
pub mod prove;
pub mod schedule;
pub mod sim;

mod clock;
mod contender;
mod exec;
mod faults;
mod rng;

pub use contender::{Contender, random_u128};
pub use exec::block_on_for;
pub use faults::{Fate, Faulty, Request, World};
pub use rng::Rng;
