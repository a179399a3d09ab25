//! Internal to tenure: the contract every store keeps, and the store in memory.
//!
//! A store is a compare-and-swap register with a watch, one register for every lock name. This
//! crate says what that means ([`Store`]), names what goes in and comes out, and holds the
//! simplest store that keeps the contract ([`Memory`]).
//!
//! It knows no lock semantics: it carries out a [`Change`](tenure_core::Change) without asking
//! whether it is wise. It needs no async runtime: futures and streams are plain and boxed.

mod error;
mod memory;
mod name;
mod snapshot;
mod store;

pub use error::{Detail, Error, Result};
pub use futures_core::future::BoxFuture;
pub use futures_core::stream::{BoxStream, Stream};
pub use memory::Memory;
pub use name::{Name, NameError};
pub use snapshot::{Conditional, Listed, Origin, Snapshot, Stored};
pub use store::{Capabilities, Store, Watch};
