//! A store and this process's identity in it.

use std::sync::Arc;

use tenure_local::LocalStore;
use tenure_store::Store;

use super::Lock;
use super::remote::Remote;
use crate::{Error, LockInfo, StoreUrl, url::check_id};

/// A connection to a store. Cheap to clone; all clones are one client.
///
/// The embedded store is worked on in place. Any other store is dealt with by one thread, which
/// lives as long as anything that was made through the client; the last of it to be dropped waits
/// up to two seconds for releases that are under way.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) backend: Backend,
    id: Arc<str>,
}

/// What a client works on.
#[derive(Clone, Debug)]
pub(super) enum Backend {
    Local(Arc<LocalStore>),
    Remote(Arc<Remote>),
}

impl Client {
    /// A client on a store of the user's own. Its identity is `<hostname>_<uuid>`, new for each.
    ///
    /// Nothing is asked of the store yet.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if no thread can be started.
    pub fn new(store: Arc<dyn Store>) -> Result<Self, Error> {
        Ok(Self::remote(Remote::start(|| async { Ok(crate::Client::new(store)) })?))
    }

    pub(crate) fn local(store: Arc<LocalStore>, url: &StoreUrl) -> Result<Self, Error> {
        let id = match url.id() {
            Some(id) => id.into(),
            None => tenure_local::default_id()?.into(),
        };
        Ok(Self { backend: Backend::Local(store), id })
    }

    /// The client of any other store that this URL names.
    pub(crate) fn elsewhere(url: &str) -> Result<Self, Error> {
        let url = url.to_owned();
        Ok(Self::remote(Remote::start(|| async move { crate::connect(&url).await })?))
    }

    fn remote(remote: Arc<Remote>) -> Self {
        let id = remote.client().id().into();
        Self { backend: Backend::Remote(remote), id }
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

    /// The store's URL without an identity; the embedded store's with its folder.
    #[must_use]
    pub fn store(&self) -> String {
        match &self.backend {
            Backend::Local(store) => format!("local:{}", store.folder().path().display()),
            Backend::Remote(remote) => remote.client().store().to_owned(),
        }
    }

    /// A handle on the lock called `name`: 1 to 1,024 bytes of text without control characters, in
    /// which `/` and `..` are plain text. Nothing is read or written yet; what is wrong with the
    /// name is said by the acquisition, and by [`Lock::check`].
    pub fn lock(&self, name: &str) -> Lock {
        match &self.backend {
            Backend::Local(store) => Lock::local(store.clone(), self.id.clone(), name),
            Backend::Remote(remote) => Lock::remote(remote.lock(name, &self.id)),
        }
    }

    /// What the record of the lock called `name` says; a lock that was never taken is free.
    ///
    /// # Errors
    /// [`Error::Damaged`] and [`Error::Unsupported`] for a record that cannot be read; where the
    /// store is elsewhere, [`Error::Unavailable`] and [`Error::Denied`] as well.
    pub fn show(&self, name: &str) -> Result<LockInfo, Error> {
        match &self.backend {
            Backend::Local(store) => {
                let shown = store.show(&tenure_local::LockName::new(name)?)?;
                Ok(crate::info::of_local(shown, self.store()))
            }
            Backend::Remote(remote) => {
                let (client, name) = (remote.client().clone(), name.to_owned());
                remote.wait(async move { client.show(&name).await })?
            }
        }
    }

    /// The token of the hold of the lock called `name` that an ancestor of this process has, where
    /// the store knows processes. A lock is not reentrant: whoever waited for that would wait for
    /// itself.
    ///
    /// # Errors
    /// As [`show`](Self::show).
    pub fn held_above(&self, name: &str) -> Result<Option<u64>, Error> {
        let Backend::Local(store) = &self.backend else { return Ok(None) };
        let name = tenure_local::LockName::new(name)?;
        Ok(store.held_above(&name)?.map(tenure_core::Token::get))
    }

    /// Every lock of the store, sorted by name. A record that cannot be read is an error in its
    /// place; the others are listed all the same.
    ///
    /// # Errors
    /// [`Error::Denied`] or [`Error::Unavailable`] if the store cannot be read.
    pub fn list(&self) -> Result<Vec<Result<LockInfo, Error>>, Error> {
        match &self.backend {
            Backend::Local(store) => {
                let info = |shown| crate::info::of_local(shown, self.store());
                Ok(store.list()?.into_iter().map(|l| Ok(info(l?))).collect())
            }
            Backend::Remote(remote) => {
                let client = remote.client().clone();
                remote.wait(async move { client.list().await })?
            }
        }
    }
}
