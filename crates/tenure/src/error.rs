//! What can go wrong, by what the caller should do about it.

use std::error::Error as StdError;
use std::fmt;

use crate::{HeldBy, Lost};

type Source = Box<dyn StdError + Send + Sync>;

/// Why an operation failed. That a lock is busy is none of these: it is an answer. Only where a
/// limit was given and ended first, or work ran under a hold that was lost, it becomes one.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// An input is wrong: change it. The text names it and says what would be right.
    Invalid(String),
    /// A right is missing: have it granted. The text names it.
    Denied(String),
    /// The store cannot be used now: try again.
    Unavailable(String, Option<Source>),
    /// A request was sent and its answer was lost: it may have happened. What was written ends
    /// with its ttl.
    OutcomeUnknown(String, Option<Source>),
    /// A record cannot be read and was not guessed at: an operator must look.
    Damaged(String),
    /// This backend or platform cannot do it.
    Unsupported(String),
    /// The limit passed first. Nothing is held.
    TimedOut {
        /// Who was in the way, and for how long at most.
        held_by: Box<HeldBy>,
    },
    /// The hold was lost before the work under it had ended.
    Lost(Lost),
    /// The client was closed: use a new one.
    Closed,
}

impl Error {
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }

    pub(crate) fn unavailable(text: impl Into<String>) -> Self {
        Self::Unavailable(text.into(), None)
    }

    /// Whether the same call may succeed later without any change.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(..) | Self::TimedOut { .. } | Self::Lost(_))
    }
}

impl From<tenure_store::Error> for Error {
    fn from(error: tenure_store::Error) -> Self {
        use tenure_store::Error as Store;
        let text = error.to_string();
        match error {
            Store::Invalid(_) => Self::Invalid(text),
            Store::Denied(_) => Self::Denied(text),
            Store::Damaged(_) => Self::Damaged(text),
            Store::Unsupported(_) => Self::Unsupported(text),
            Store::OutcomeUnknown(_) => Self::OutcomeUnknown(text, Some(Box::new(error))),
            _ => Self::Unavailable(text, Some(Box::new(error))),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(text)
            | Self::Denied(text)
            | Self::Unavailable(text, _)
            | Self::OutcomeUnknown(text, _)
            | Self::Damaged(text)
            | Self::Unsupported(text) => f.write_str(text),
            Self::TimedOut { held_by } => write!(f, "timed out: the lock is held by {held_by}"),
            Self::Lost(cause) => write!(f, "the lock was lost: {cause}"),
            Self::Closed => f.write_str("the client was closed; connect again"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Unavailable(_, Some(source)) | Self::OutcomeUnknown(_, Some(source)) => {
                Some(&**source)
            }
            _ => None,
        }
    }
}
