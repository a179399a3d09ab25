//! Store URLs: what a user writes for `--store`, `TENURE_STORE` and `connect`.
//!
//! Parsing knows the shapes, not the backends; [`crate::connect`] picks the backend.

use std::path::PathBuf;

use crate::Error;

/// A parsed store URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUrl {
    /// A store in this program's memory, rather than an embedded one.
    memory: bool,
    /// Folder of an embedded store; `None` is the default folder.
    path: Option<PathBuf>,
    /// Identity, if the URL gives one.
    id: Option<String>,
}

/// What the errors call known.
const KNOWN: &str = "known: local:, local:/absolute/path and, in a program, memory:";

impl StoreUrl {
    /// Parses `url`.
    ///
    /// # Errors
    /// [`Error::Invalid`] names what is unknown and says what is known.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let (scheme, rest) = url
            .split_once(':')
            .ok_or_else(|| Error::invalid(format!("store `{url}` has no scheme; {KNOWN}")))?;
        if scheme != "local" && scheme != "memory" {
            return Err(Error::invalid(format!(
                "store `{url}`: unknown scheme `{scheme}:`; {KNOWN}"
            )));
        }
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let memory = scheme == "memory";
        if memory && !path.is_empty() {
            return Err(Error::invalid(format!(
                "store `{url}`: memory: takes no path; every connection is a store of its own"
            )));
        }
        if !(path.is_empty() || path.starts_with('/')) {
            return Err(Error::invalid(format!(
                "store `{url}`: the folder must be an absolute path, such as local:/var/lib/tenure"
            )));
        }
        let mut parsed = Self { memory, path: (!path.is_empty()).then(|| path.into()), id: None };
        for option in query.into_iter().flat_map(|q| q.split('&')) {
            parsed.option(url, option)?;
        }
        Ok(parsed)
    }

    fn option(&mut self, url: &str, option: &str) -> Result<(), Error> {
        match option.split_once('=') {
            Some(("id", id)) => {
                check_id(id)?;
                self.id = Some(id.to_owned());
                Ok(())
            }
            _ => {
                let name = option.split('=').next().unwrap_or(option);
                Err(Error::invalid(format!(
                    "store `{url}`: unknown option `{name}`; {}: knows id=",
                    url.split(':').next().unwrap_or_default()
                )))
            }
        }
    }

    /// Whether it names a store in this program's memory.
    #[must_use]
    pub const fn is_memory(&self) -> bool {
        self.memory
    }

    /// The folder of an embedded store; `None` is the default folder.
    #[must_use]
    pub fn path(&self) -> Option<&std::path::Path> {
        self.path.as_deref()
    }

    /// The identity the URL gives.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The URL without an identity, as a child process should see it.
    #[must_use]
    pub fn without_id(&self) -> String {
        match &self.path {
            _ if self.memory => "memory:".to_owned(),
            Some(path) => format!("local:{}", path.display()),
            None => "local:".to_owned(),
        }
    }
}

/// Checks an identity: 1 to 255 bytes of text without control characters.
pub(crate) fn check_id(id: &str) -> Result<(), Error> {
    if id.is_empty() || id.len() > 255 || id.chars().any(char::is_control) {
        let shown: String = id.chars().take(40).collect();
        return Err(Error::invalid(format!(
            "identity {shown:?}: give 1 to 255 bytes of text without control characters"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_shapes_parse() {
        assert_eq!(StoreUrl::parse("local:").unwrap().path(), None);
        let url = StoreUrl::parse("local:/a b/c?id=me").unwrap();
        assert_eq!((url.path().unwrap().to_str(), url.id()), (Some("/a b/c"), Some("me")));
        assert_eq!(url.without_id(), "local:/a b/c");
    }

    #[test]
    fn unknown_shapes_are_named() {
        for (url, says) in [
            ("", "no scheme"),
            ("locale:", "unknown scheme `locale:`"),
            ("local:relative", "absolute path"),
            ("local:?ttl=3", "unknown option `ttl`"),
            ("local:?id=", "identity"),
            ("/var/lib", "no scheme"),
        ] {
            let error = StoreUrl::parse(url).unwrap_err().to_string();
            assert!(error.contains(says), "{url}: {error}");
        }
    }
}
