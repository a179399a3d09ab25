//! A lock of this store by name, as a contender for it needs it.

use std::sync::{Arc, Mutex, PoisonError};

use tenure_core::{Text, Time, Timing};

use crate::guard::LockFile;
use crate::{LocalStore, LockName};

/// Settings of a contender.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its identity.
    pub id: Text,
    /// Lease timing; on this store only its grace has an effect.
    pub timing: Timing,
    /// Tags to add to the lock.
    pub tags: Vec<Text>,
    /// Whether every write is synced before it counts.
    pub durable: bool,
}

/// A lock by name. Any number of contenders may be made for it.
#[derive(Debug)]
pub struct LocalLock {
    pub(crate) store: Arc<LocalStore>,
    pub(crate) settings: Settings,
    name: LockName,
    /// The open file of a contender that has ended, for the next one.
    spare: Mutex<Option<Box<LockFile>>>,
}

impl LocalLock {
    /// The lock `name` in `store`.
    #[must_use]
    pub fn new(store: Arc<LocalStore>, name: LockName, settings: Settings) -> Self {
        Self { store, settings, name, spare: Mutex::new(None) }
    }

    /// The same lock with other settings.
    #[must_use]
    pub fn with(&self, settings: Settings) -> Self {
        Self::new(Arc::clone(&self.store), self.name.clone(), settings)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &LockName {
        &self.name
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The boot-time clock of its store.
    #[must_use]
    pub fn now(&self) -> Time {
        self.store.now()
    }

    pub(crate) fn file(&self) -> Box<LockFile> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        spare.unwrap_or_else(|| self.new_file())
    }

    /// The file, opened anew when it is needed.
    pub(crate) fn new_file(&self) -> Box<LockFile> {
        Box::new(LockFile::new(self.store.folder(), self.name.clone()))
    }

    pub(crate) fn give_back(&self, file: Box<LockFile>) {
        *self.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
    }
}
