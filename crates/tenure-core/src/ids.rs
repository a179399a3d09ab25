//! The small values that name things: tokens, marks, sessions, versions.

use alloc::sync::Arc;
use core::fmt;

/// Shared immutable text: cloning it never allocates.
pub type Text = Arc<str>;

/// A fencing token: grows with every new hold of one lock.
///
/// What it is made of is the store's business; that it only grows is the store's promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u64);

impl Token {
    /// A token of this value.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// Its value, as it is shown and compared by resources.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What one write attempt leaves in the record, so that its author can tell it from every other
/// write, its own earlier ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    // Two halves, because a number of 128 bits is aligned to 16 bytes and wastes room in everything
    // that has a mark in it.
    high: u64,
    low: u64,
}

impl Mark {
    /// The mark with these bits.
    #[must_use]
    pub const fn from_u128(bits: u128) -> Self {
        Self { high: (bits >> 64) as u64, low: bits as u64 }
    }

    /// Its bits.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }
}

/// A source of marks: 128 random bits given once, then a counter added to them.
///
/// Two sources meet only if their random starts are closer than the number of marks drawn.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Marks(u128);

impl Marks {
    /// Marks that start at `random`, which must be drawn anew for every source.
    #[must_use]
    pub const fn new(random: u128) -> Self {
        Self(random)
    }

    /// The next mark.
    #[must_use]
    pub fn draw(&mut self) -> Mark {
        self.0 = self.0.wrapping_add(1);
        Mark::from_u128(self.0)
    }
}

/// What knows whether a holder is alive, in the store's own encoding; opaque here.
///
/// The embedded store puts the process and the name of its session lock in it, etcd its lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session([u8; 32]);

impl Session {
    /// No session: liveness is known by time alone.
    pub const NONE: Self = Self([0; 32]);

    /// The session with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether there is one at all.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

/// Which state of which incarnation of an object a condition names.
///
/// `revision` rises with every write the store accepts for the name, also across deletion and
/// creation; `incarnation` differs for every creation. Kubernetes: `resourceVersion` and `uid`.
/// etcd: `mod_revision` and `create_revision`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Version {
    /// Which creation of the object this is.
    pub incarnation: u128,
    /// Where in the order of writes; 0 where a plain read found nothing.
    pub revision: u64,
}
