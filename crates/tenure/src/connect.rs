//! From a store URL to a client: the only place that names backends.

use std::sync::Arc;

use tenure_local::{LocalStore, Options};

use crate::{Error, StoreUrl, blocking::Client};

/// Opens the store that `url` names.
pub(crate) fn connect(url: &str) -> Result<Client, Error> {
    let url = StoreUrl::parse(url)?;
    let store = LocalStore::open(&Options { path: url.path().map(Into::into) })?;
    Client::new(Arc::new(store), &url)
}

/// Opens the store that `url` names if there is one.
pub(crate) fn connect_existing(url: &str) -> Result<Option<Client>, Error> {
    let url = StoreUrl::parse(url)?;
    let store = LocalStore::open_existing(&Options { path: url.path().map(Into::into) })?;
    store.map(|store| Client::new(Arc::new(store), &url)).transpose()
}

impl From<tenure_local::Error> for Error {
    fn from(error: tenure_local::Error) -> Self {
        use tenure_local::Error as Local;
        let text = error.to_string();
        match error {
            Local::Invalid(_) | Local::Unsuitable { .. } => Self::Invalid(text),
            Local::Denied { .. } => Self::Denied(text),
            Local::Damaged { .. } => Self::Damaged(text),
            Local::NewerFormat { .. } => Self::Unsupported(text),
            _ => Self::Unavailable(text, Some(Box::new(error))),
        }
    }
}
