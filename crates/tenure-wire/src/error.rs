//! What is wrong with an object, and with what should be written to it.

use std::fmt;

/// An object that is not a record of its format. It is not free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Unreadable {}

/// Why a change cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The hold it is about is not the one in the record.
    Conflict,
    /// The object cannot be read.
    Unreadable(Unreadable),
    /// Somebody else is in the middle of writing: who, and until when. It may pass.
    Reserved(String),
    /// The format has no place for it: what, and what would do.
    Unsupported(String),
    /// What is to be written is not valid in this format: what, and what would be right.
    Invalid(String),
}

impl From<Unreadable> for Refusal {
    fn from(error: Unreadable) -> Self {
        Self::Unreadable(error)
    }
}
