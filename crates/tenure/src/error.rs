//! What can go wrong, by what the caller should do about it.

use std::error::Error as StdError;
use std::fmt;

type Source = Box<dyn StdError + Send + Sync>;

/// Why an operation failed. Contention is not among these: it is an answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// An input is wrong: change it. The text names it and says what would be right.
    Invalid(String),
    /// A right is missing: have it granted. The text names it.
    Denied(String),
    /// The store cannot be used now: try again.
    Unavailable(String, Option<Source>),
    /// A record cannot be read and was not guessed at: an operator must look.
    Damaged(String),
    /// This backend or platform cannot do it.
    Unsupported(String),
}

impl Error {
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }

    /// Whether the same call may succeed later without any change.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(..))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(text)
            | Self::Denied(text)
            | Self::Unavailable(text, _)
            | Self::Damaged(text)
            | Self::Unsupported(text) => f.write_str(text),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Unavailable(_, Some(source)) => Some(&**source),
            _ => None,
        }
    }
}
