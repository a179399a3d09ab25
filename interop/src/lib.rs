//! Internal to tenure: Rust and Go contending for one lock, in each format that Go programs use.
//!
//! Owns the contenders as processes ([`Contender`]) and what both sides agree on ([`Format`]). A story
//! of a test knows two sides and not which of them is Go. The Go peers stand in `peers/`, written from
//! the formats' descriptions alone; for Leases it is client-go's own elector.

mod contender;
mod format;

pub use contender::Contender;
pub use format::{Arena, CONTROLLER, FURNISHER, Format, Side};
