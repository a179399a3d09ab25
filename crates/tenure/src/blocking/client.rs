//! A store and this process's identity in it.

use std::sync::Arc;

use tenure_local::LocalStore;

use super::Lock;
use crate::{Error, LockInfo, StoreUrl, url::check_id};

/// A connection to a store. Cheap to clone; all clones are one client.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) store: Arc<LocalStore>,
    id: Arc<str>,
}

impl Client {
    pub(crate) fn new(store: Arc<LocalStore>, url: &StoreUrl) -> Result<Self, Error> {
        let id = match url.id() {
            Some(id) => id.into(),
            None => tenure_local::default_id()?.into(),
        };
        Ok(Self { store, id })
    }

    /// The same store under another identity. The default is `<hostname>_<uuid>`, new at every
    /// [`connect`](super::connect).
    ///
    /// # Errors
    /// [`Error::Invalid`] unless it is 1 to 255 bytes of text without control characters.
    pub fn with_id(&self, id: &str) -> Result<Self, Error> {
        check_id(id)?;
        Ok(Self { id: id.into(), ..self.clone() })
    }

    /// This client's identity.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The store's URL, with its folder and without an identity.
    #[must_use]
    pub fn store(&self) -> String {
        format!("local:{}", self.store.folder().path().display())
    }

    /// A handle on the lock called `name`: 1 to 1,024 bytes of text without control characters, in
    /// which `/` and `..` are plain text. Nothing is read or written yet; what is wrong with the
    /// name is said by the acquisition, and by [`Lock::check`].
    pub fn lock(&self, name: &str) -> Lock {
        Lock::new(self.store.clone(), self.id.clone(), name)
    }

    /// What the record of the lock called `name` says; a lock that was never taken is free.
    ///
    /// # Errors
    /// [`Error::Damaged`] and [`Error::Unsupported`] for a record that cannot be read.
    pub fn show(&self, name: &str) -> Result<LockInfo, Error> {
        let name = tenure_local::LockName::new(name)?;
        let shown = self.store.show(&name)?;
        Ok(self.info(shown))
    }

    /// The token of the hold of the lock called `name` that an ancestor of this process has. A lock
    /// is not reentrant: whoever waited for that would wait for itself.
    ///
    /// # Errors
    /// As [`show`](Self::show).
    pub fn held_above(&self, name: &str) -> Result<Option<u64>, Error> {
        let name = tenure_local::LockName::new(name)?;
        Ok(self.store.held_above(&name)?.map(tenure_core::Token::get))
    }

    /// Every lock of the store, sorted by name. A record that cannot be read is an error in its
    /// place; the others are listed all the same.
    ///
    /// # Errors
    /// [`Error::Denied`] or [`Error::Unavailable`] if the folder cannot be read.
    pub fn list(&self) -> Result<Vec<Result<LockInfo, Error>>, Error> {
        let listed = self.store.list()?;
        Ok(listed.into_iter().map(|l| Ok(self.info(l?))).collect())
    }

    fn info(&self, shown: tenure_local::Shown) -> LockInfo {
        crate::info::of_local(shown, self.store())
    }
}
