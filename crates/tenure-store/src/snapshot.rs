//! What comes out of a store: a record as it stands, or that there is none.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tenure_core::{Outcome, Record, Token, Version, View};

use crate::{Name, Result};

/// A record as it stands in the store. Cloning it never copies the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The record. Its holder carries the fencing token.
    pub record: Arc<Record>,
    /// Which state of which incarnation this is.
    pub version: Version,
    /// How long ago, by the store's own clock, the last write of its holder's entry was sent;
    /// `None` where the store cannot tell. Never more than the truth.
    pub age: Option<Duration>,
    /// What the backend needs to write on this state, if it is more than the record.
    pub origin: Origin,
}

/// What a record was read from, for the backend that read it. Nobody else can look into it, and it
/// is part of no comparison.
#[derive(Clone, Default)]
pub struct Origin(Option<Arc<Box<dyn Any + Send + Sync>>>);

impl Origin {
    /// Keeps `origin`.
    pub fn new<T: Any + Send + Sync>(origin: T) -> Self {
        // One thin pointer: every hold keeps one.
        Self(Some(Arc::new(Box::new(origin))))
    }

    /// What was kept, if it was a `T`.
    #[must_use]
    pub fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.0.as_ref()?.downcast_ref()
    }
}

/// Nothing is left to be written on.
struct Gone;

impl Stored {
    /// What a write leaves that takes the record away: nobody holds, and a read finds nothing.
    #[must_use]
    pub fn gone(version: Version) -> Self {
        Self { record: Arc::default(), version, age: None, origin: Origin::new(Gone) }
    }

    /// Whether the write that gave this took the record away.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.origin.get::<Gone>().is_some()
    }
}

impl From<Stored> for Snapshot {
    fn from(stored: Stored) -> Self {
        if stored.is_gone() {
            Self::Absent { revision: stored.version.revision }
        } else {
            Self::Is(stored)
        }
    }
}

impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Origin {}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Origin")
    }
}

/// What stands under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// There is no record.
    Absent {
        /// Revision of the deletion, where a watch saw it; else 0.
        revision: u64,
    },
    /// There is this record.
    Is(Stored),
}

impl Snapshot {
    /// The record, if there is one.
    #[must_use]
    pub const fn stored(&self) -> Option<&Stored> {
        match self {
            Self::Absent { .. } => None,
            Self::Is(stored) => Some(stored),
        }
    }

    /// Where this state stands in the order of the name's writes; 0 if that is not known.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        match self {
            Self::Absent { revision } => *revision,
            Self::Is(stored) => stored.version.revision,
        }
    }

    /// The same as a claim sees it.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        match self {
            Self::Absent { revision } => View::Absent { revision: *revision },
            Self::Is(s) => View::Is { record: &s.record, version: s.version, age: s.age },
        }
    }
}

/// Answer to a conditional request that the store decided.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a conditional request may not have happened"]
pub enum Conditional<T> {
    /// The condition held and it was done.
    Done(T),
    /// The condition did not hold and nothing was done.
    Conflict,
}

impl Conditional<Stored> {
    /// The same as a claim is told it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Conflict => Outcome::Conflict,
            Self::Done(Stored { record, version, .. }) => {
                let token = record.holder.as_ref().map_or(Token::default(), |h| h.token);
                Outcome::Done { version: *version, token }
            }
        }
    }
}

/// One lock in a listing.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub name: Name,
    /// Its record; an error where this one cannot be read though the others can.
    pub stored: Result<Stored>,
}
