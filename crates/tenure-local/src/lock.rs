//! A lock of this store by name, as a contender for it needs it.

use std::sync::{Arc, Mutex, PoisonError};

use tenure_core::{Text, Time, Timing};

use crate::guard::LockFile;
use crate::{LocalClaim, LocalStore, LockName};

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
    pub(crate) base: Arc<Base>,
    /// A contender that has ended, for the next one. It knows its lock by what is weak, and else has
    /// the base only: the lock is dropped whatever it keeps.
    contender: Mutex<Option<Box<LocalClaim>>>,
}

/// What a contender needs of its lock.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) store: Arc<LocalStore>,
    pub(crate) settings: Settings,
    name: LockName,
    /// The open file of a contender that has ended, for the next one.
    file: Mutex<Option<Box<LockFile>>>,
}

impl LocalLock {
    /// The lock `name` in `store`.
    #[must_use]
    pub fn new(store: Arc<LocalStore>, name: LockName, settings: Settings) -> Self {
        let base = Base { store, settings, name, file: Mutex::new(None) };
        Self { base: Arc::new(base), contender: Mutex::new(None) }
    }

    /// The same lock with other settings.
    #[must_use]
    pub fn with(&self, settings: Settings) -> Self {
        Self::new(Arc::clone(self.store()), self.name().clone(), settings)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &LockName {
        &self.base.name
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.base.settings
    }

    /// The boot-time clock of its store.
    #[must_use]
    pub fn now(&self) -> Time {
        self.store().now()
    }

    pub(crate) fn store(&self) -> &Arc<LocalStore> {
        &self.base.store
    }

    /// One that has ended and wants nothing, if that can be had at once: in a forked child the mutex
    /// may be that of a thread which is not there.
    pub(crate) fn contender(&self) -> Option<Box<LocalClaim>> {
        self.contender.try_lock().ok()?.take()
    }

    pub(crate) fn keep(&self, contender: Box<LocalClaim>) {
        // Dropped, the earlier one gives back its file: not under the mutex.
        let _earlier = self.contender.try_lock().ok().and_then(|mut kept| kept.replace(contender));
    }

    pub(crate) fn file(&self) -> Box<LockFile> {
        self.base.file()
    }

    pub(crate) fn give_back(&self, file: Box<LockFile>) {
        self.base.give_back(file);
    }
}

impl Base {
    pub(crate) fn name(&self) -> &LockName {
        &self.name
    }

    pub(crate) fn file(&self) -> Box<LockFile> {
        let spare = self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
        spare.unwrap_or_else(|| self.new_file())
    }

    /// The file, opened anew when it is needed.
    pub(crate) fn new_file(&self) -> Box<LockFile> {
        Box::new(LockFile::new(self.store.folder(), self.name.clone()))
    }

    pub(crate) fn give_back(&self, file: Box<LockFile>) {
        if let Ok(mut spare) = self.file.try_lock() {
            *spare = Some(file);
        }
    }
}
