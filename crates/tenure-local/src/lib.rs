//! Internal to tenure: the embedded store of one machine.
//!
//! ```text
//!   folder ──> tokens                   where the store is; the floor of all fencing tokens
//!     └─> guard ──> image ──> slots     one lock's file under its flock; its bytes
//!     │                ├────> codec
//!     │                └────> line      waiters who do not fit into a slot
//!     ├─> session, wait                 who lives; waking waiters
//!     ├─> list, freedom                 all locks at once; looking on at one
//!     ├─> detached, steal, repair       holds of other processes; records that cannot be read
//!     └─> process, group                what /proc says; ending what a dead holder left
//! ```
//!
//! Everything here is synchronous. `FORMAT.md` describes the stored bytes.
//!
//! **No lock is free because a file cannot be read, and no token is given twice**, whatever was
//! killed, lost its power, was deleted or damaged in between.

mod adaptor;
mod codec;
mod detached;
mod driver;
mod error;
mod facts;
mod folder;
mod freedom;
mod group;
mod guard;
mod image;
mod known;
mod line;
mod list;
mod lock;
mod lockwait;
mod name;
mod process;
mod repair;
mod session;
mod show;
mod slots;
mod steal;
mod store;
mod sys;
mod tokens;
mod turn;
mod wait;

#[cfg(test)]
mod crash;
#[cfg(test)]
mod testing;

pub use adaptor::Adaptor;
pub use detached::{HoldKey, Kept};
pub use driver::{LocalClaim, Quick};
pub use error::{Error, Result};
pub use facts::{Clock, Facts};
pub use folder::Folder;
pub use freedom::Onlooker;
pub use group::{GroupEnd, end_group};
pub use guard::{Guard, LockFile, Stored};
pub use list::{Listed, list};
pub use lock::{LocalLock, Settings};
pub use name::{LockName, NAME_MAX};
pub use process::pidfd_of;
pub use repair::{Damage, Salvage};
pub use session::{About, GROUP_OFFSET, Identity, OwnSession, Verdict, about, probe, sweep};
pub use show::{Shown, ShownHolder, pid_of};
pub use steal::{Target, Theft};
pub use store::{LocalStore, Options, default_id};
pub use wait::{Told, WaitPipe, Woken, wake};
