//! Holds that no process stands behind: taken by one process, renewed and released by later ones.
//!
//! The first draws a [`HoldKey`] and writes it down, takes the lock with
//! [`Lock::start_with_key`], and leaves it behind with
//! [`Guard::release_after`](super::Guard::release_after). Whoever has the key then renews with
//! [`Lock::renew_hold`] and ends it with [`Lock::release_hold`]. **Nothing renews it in between**; it
//! ends by its ttl.
//!
//! ```
//! # let folder = tenure_doc_folder();
//! # let url = format!("local:{folder}");
//! use std::time::Duration;
//! use tenure::blocking::{HoldKey, Kept, Patience, Step, connect};
//!
//! let client = connect(&url)?;
//! let key = client.hold_key()?;
//! let written_down = key.to_string(); // before the lock is asked for
//! let mut pending = client.lock("deploy").start_with_key(&key, Patience::Now)?;
//! let Some(Step::Acquired(guard)) = pending.poll()? else { panic!("it is free") };
//! let token = guard.token();
//! let _ = guard.release_after(Duration::from_secs(600))?;
//!
//! // A later process, which knows what was written down.
//! let (client, key) = (connect(&url)?, HoldKey::parse(&written_down)?);
//! let lock = client.lock("deploy");
//! assert_eq!(lock.renew_hold(&key, None)?, Kept::Done { token });
//! assert_eq!(lock.release_hold(&key)?, Kept::Done { token });
//! assert!(matches!(lock.release_hold(&key)?, Kept::Lost(_)));
//! # std::fs::remove_dir_all(folder).unwrap();
//! # fn tenure_doc_folder() -> String {
//! #     let dir = std::env::current_dir().unwrap().join("target");
//! #     format!("{}/doc-detached-{}", dir.display(), std::process::id())
//! # }
//! # Ok::<(), tenure::Error>(())
//! ```

use std::fmt;
use std::time::Duration;

use super::client::Backend;
use super::lock::Kind;
use super::{Client, Lock, Patience, Pending};
use crate::{Error, Lost};

/// What proves a hold to later processes. Whoever has it can renew and release.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HoldKey(pub(super) tenure_local::HoldKey);

impl HoldKey {
    /// Reads what [`Display`](fmt::Display) wrote.
    ///
    /// # Errors
    /// [`Error::Invalid`] for anything else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Ok(Self(text.parse()?))
    }
}

impl fmt::Display for HoldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Without the key: who reads a log must not be able to release.
impl fmt::Debug for HoldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What became of a hold that was to be renewed or released.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a hold may have been lost"]
pub enum Kept {
    /// It was renewed, or given back, in time.
    Done {
        /// Its fencing token.
        token: u64,
    },
    /// There was none: the process that asked for the lock ended before it had it.
    Never,
    /// It is over for its holder. A release has left nothing of it.
    Lost(Lost),
}

impl Client {
    /// A new key, to be written down before the lock is asked for.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the system has no random numbers.
    pub fn hold_key(&self) -> Result<HoldKey, Error> {
        Ok(HoldKey(match &self.backend {
            Backend::Local(store) => store.hold_key()?,
            Backend::Remote(_) => tenure_local::HoldKey::anywhere()?,
        }))
    }
}

impl Lock {
    /// As [`start`](Self::start), for a hold that this key proves to later processes.
    ///
    /// # Errors
    /// As [`Pending::poll`].
    pub fn start_with_key(&self, key: &HoldKey, want: Patience) -> Result<Pending, Error> {
        self.begin(want, Some(key))
    }

    /// Renews the hold with this key: it lives for `ttl` from now, or for as long as it was last
    /// meant to; for ever with [`Duration::MAX`], where the store can say so. A hold that has ended is not taken again, even if nobody else has it.
    ///
    /// # Errors
    /// As [`Pending::poll`].
    pub fn renew_hold(&self, key: &HoldKey, ttl: Option<Duration>) -> Result<Kept, Error> {
        match &self.kind {
            Kind::Local(_) => Ok(kept(self.embedded()?.renew_detached(&key.0, ttl)?)),
            Kind::Remote(lock) => lock.renew_hold(key, ttl),
        }
    }

    /// Gives back the hold with this key, to the next in line where there is one. It cannot free
    /// anybody else's hold, and leaves nothing of this one. Tags of this handle become those of the
    /// lock.
    ///
    /// # Errors
    /// As [`Pending::poll`]; [`Error::Invalid`] while the process that takes the lock still runs.
    pub fn release_hold(&self, key: &HoldKey) -> Result<Kept, Error> {
        match &self.kind {
            Kind::Local(_) => Ok(kept(self.embedded()?.release_detached(&key.0)?)),
            Kind::Remote(lock) => lock.release_hold(key),
        }
    }
}

fn kept(kept: tenure_local::Kept) -> Kept {
    use tenure_local::Kept as Local;
    match kept {
        Local::Done { token } => Kept::Done { token: token.get() },
        Local::Never => Kept::Never,
        Local::Lost(cause) => Kept::Lost(cause.into()),
        Local::Restarted => Kept::Lost(Lost::Restarted),
        // What is added there is over here until it is known.
        _ => Kept::Lost(Lost::Freed),
    }
}
