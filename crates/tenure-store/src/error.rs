//! Why a store could not answer, by what the caller should do about it.
//!
//! A condition that does not hold is an answer ([`Conditional::Conflict`](crate::Conditional)), not
//! an error. A backend keeps its own errors to itself and converts each exactly once, where it
//! arrives.

use std::fmt;
use std::sync::Arc;

use tenure_core::Text;

use crate::Name;

/// Result of asking a store.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a store could not answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// Try again later. **Nothing was written.**
    Unavailable(Box<Detail>),
    /// The store refused: the detail names the permission that is missing. Nothing was written.
    Denied(Box<Detail>),
    /// Ask for something else: the detail names the input. Nothing was written.
    Invalid(Box<Detail>),
    /// This store cannot do that at all. Nothing was written.
    Unsupported(Box<Detail>),
    /// Read back: the write may have happened, may still happen, or not. Only from writes.
    OutcomeUnknown(Box<Detail>),
    /// Somebody must repair it: what is stored cannot be read. It is not free.
    Damaged(Box<Detail>),
}

/// Where it happened and what.
#[derive(Clone, Debug)]
pub struct Detail {
    /// The store, as its URL begins: `memory:`.
    pub store: Text,
    /// The lock it was about, if it was about one.
    pub name: Option<Name>,
    /// What was wrong and what would be right, in one line.
    pub what: Text,
    /// The error below, if there is one.
    pub cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Detail {
    /// Says what happened in `store`.
    #[must_use]
    pub fn new(store: impl Into<Text>, what: impl Into<Text>) -> Box<Self> {
        Box::new(Self { store: store.into(), name: None, what: what.into(), cause: None })
    }

    /// And to which lock.
    #[must_use]
    pub fn on(mut self: Box<Self>, name: &Name) -> Box<Self> {
        self.name = Some(name.clone());
        self
    }

    /// And because of what.
    #[must_use]
    pub fn because(
        mut self: Box<Self>,
        cause: impl std::error::Error + Send + Sync + 'static,
    ) -> Box<Self> {
        self.cause = Some(Arc::new(cause));
        self
    }
}

impl Error {
    /// Whether the same request may succeed later, without anybody having done anything, and may
    /// be repeated as it is. Not so for [`Error::OutcomeUnknown`]: read back first.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// Whether the write that was answered with this may have happened.
    #[must_use]
    pub const fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::OutcomeUnknown(_))
    }

    /// Where it happened and what.
    #[must_use]
    pub const fn detail(&self) -> &Detail {
        match self {
            Self::Unavailable(d)
            | Self::Denied(d)
            | Self::Invalid(d)
            | Self::Unsupported(d)
            | Self::OutcomeUnknown(d)
            | Self::Damaged(d) => d,
        }
    }

    const fn label(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Denied(_) => "denied",
            Self::Invalid(_) => "invalid",
            Self::Unsupported(_) => "unsupported",
            Self::OutcomeUnknown(_) => "outcome unknown",
            Self::Damaged(_) => "damaged",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Detail { store, name, what, .. } = self.detail();
        write!(f, "{store} ")?;
        if let Some(name) = name {
            write!(f, "lock {name:?}: ")?;
        }
        write!(f, "{}: {what}", self.label())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.detail().cause.as_deref().map(|cause| cause as _)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn an_error_reads_as_one_line_with_its_place() {
        let name = Name::new("nightly").unwrap();
        let detail = Detail::new("etcd:", "no leader; start a member").on(&name);
        let shown = Error::Unavailable(detail).to_string();
        assert_eq!(shown, r#"etcd: lock "nightly": unavailable: no leader; start a member"#);
        let shown = Error::Denied(Detail::new("kube:", "needs list on leases")).to_string();
        assert_eq!(shown, "kube: denied: needs list on leases");
    }

    #[test]
    fn only_what_did_not_happen_and_may_pass_is_retryable() {
        let detail = || Detail::new("memory:", "x").because(fmt::Error);
        assert!(Error::Unavailable(detail()).is_retryable());
        let others: [fn(Box<Detail>) -> Error; 5] = [
            Error::Denied,
            Error::Invalid,
            Error::Unsupported,
            Error::OutcomeUnknown,
            Error::Damaged,
        ];
        for other in others {
            let error = other(detail());
            assert!(!error.is_retryable(), "{error}");
            assert_eq!(error.is_outcome_unknown(), error.label() == "outcome unknown");
            assert!(error.source().is_some_and(|cause| cause.is::<fmt::Error>()));
        }
    }
}
