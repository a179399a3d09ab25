//! Records that cannot be read, and freeing their locks.

use std::path::Path;

use tenure_core::Wall;
use tenure_local::{LocalStore, LockName};

use super::Client;
use super::client::Backend;
use crate::Error;

/// A record that cannot be read. Its lock counts as held until it is repaired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage(tenure_local::Damage);

/// What a damaged record seems to say: nothing of it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Salvage {
    /// The name of the lock it was written for.
    pub lock: String,
    /// Whether nobody held it; `None` where that cannot be read.
    pub free: Option<bool>,
    /// Identity of its holder, if it named one.
    pub holder: Option<String>,
    /// The holder's token.
    pub token: Option<u64>,
    /// Since when, by the holder's wall clock.
    pub since: Option<Wall>,
    /// The holder's process, if the hold was bound to one.
    pub pid: Option<u32>,
    /// Whether that process, or something that it started, still runs.
    pub running: bool,
}

impl Damage {
    /// The lock's name; that of its file where only a hash of the name is left.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The record's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// What is wrong with it.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.0.problem
    }

    /// What can still be read of it.
    #[must_use]
    pub fn salvage(&self) -> Option<Salvage> {
        let found = self.0.salvage.clone()?;
        Some(Salvage {
            lock: found.lock,
            free: found.free,
            holder: found.holder,
            token: found.token.map(tenure_core::Token::get),
            since: found.since,
            pid: found.pid,
            running: found.running,
        })
    }
}

impl Client {
    /// The records that cannot be read, sorted by name, each or why it cannot even be looked at (a
    /// newer format, a missing right); of the lock `name` alone if it is given.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for any but the embedded store; [`Error::Invalid`] for a name that no
    /// lock can have, [`Error::Denied`] or [`Error::Unavailable`] if the folder cannot be read.
    pub fn damages(&self, name: Option<&str>) -> Result<Vec<Result<Damage, Error>>, Error> {
        let name = name.map(LockName::new).transpose()?;
        let found = self.embedded()?.damages(name.as_ref())?;
        Ok(found.into_iter().map(|d| Ok(Damage(d?))).collect())
    }

    /// Frees the lock of a record that cannot be read. Its fencing tokens go on above all that were
    /// ever given. `false`: it can be read by now, and nothing was done.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a record of a newer version; [`Error::Denied`] or
    /// [`Error::Unavailable`] where the disk cannot be used.
    pub fn repair(&self, damage: &Damage) -> Result<bool, Error> {
        Ok(self.embedded()?.repair(&damage.0)?)
    }

    fn embedded(&self) -> Result<&LocalStore, Error> {
        match &self.backend {
            Backend::Local(store) => Ok(store),
            Backend::Remote(_) => {
                let what = "only records of a local: store are repaired: elsewhere the store's own \
                            tools show and delete what cannot be read";
                Err(Error::Unsupported(what.into()))
            }
        }
    }
}
