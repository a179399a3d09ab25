//! The guide: what to call when, and what to expect of it.
//!
//! Every example here is run by the tests of this crate.

#[doc = include_str!("metrics.md")]
///
/// [`Client::events`]: crate::Client::events
/// [`Client::record_metrics`]: crate::Client::record_metrics
pub mod metrics {}
