//! Internal to tenure: the embedded store of one machine.
//!
//! ```text
//!   folder ──> tokens                   where the store is; the floor of all fencing tokens
//!     └─> guard ──> image ──> slots     one lock's file under its flock; its bytes
//!     │                └────> codec
//!     └─> session, wait, process        who lives; waking waiters; what /proc says
//! ```
//!
//! Everything here is synchronous. `FORMAT.md` describes the stored bytes.
//!
//! **No lock is free because a file cannot be read, and no token is given twice**, whatever was
//! killed, lost its power, was deleted or damaged in between.

mod codec;
mod driver;
mod error;
mod facts;
mod folder;
mod guard;
mod image;
mod list;
mod lockwait;
mod name;
mod orphans;
mod process;
mod session;
mod settings;
mod show;
mod slots;
mod store;
mod sys;
mod tokens;
mod turn;
mod wait;

#[cfg(test)]
mod testing;

pub use driver::LocalClaim;
pub use error::{Error, Result};
pub use facts::{Clock, Facts};
pub use folder::Folder;
pub use guard::{Guard, LockFile, Stored};
pub use name::{LockName, NAME_MAX};
pub use session::{About, GROUP_OFFSET, Identity, OwnSession, Verdict, about, probe, sweep};
pub use settings::Settings;
pub use show::{Shown, ShownHolder, pid_of};
pub use store::{LocalStore, Options, default_id};
pub use wait::{WaitPipe, Woken, wake};
