//! Internal to tenure: bytes and records of the formats that other programs read and write too.
//!
//! ```text
//! object of the API server ──read──> Record          (decides nothing: a mark, a holder, a ttl)
//! the same object + Change ──write─> object to send  (all that is not the lock's stays as found)
//! ```
//!
//! Each format has one file, which gives its source. Nothing here knows when or why to write, and
//! nothing does I/O. **What cannot be read is an error, never a free lock**; what others keep on
//! the same object is carried over untouched.

pub mod annotation;
pub mod configmap;
mod error;
mod go;
pub mod janus;
pub mod lease;
pub mod meta;
mod seal;
mod spec;
pub mod time;

pub use error::{Refusal, Unreadable};
