//! What a contender is told about itself.

use tenure_core::{Text, Timing};

/// Settings of one contender.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its identity.
    pub id: Text,
    /// Lease timing; on this store only its grace has an effect.
    pub timing: Timing,
    /// Tags to add to the lock.
    pub tags: Vec<Text>,
    /// Whether every write is synced before it counts.
    pub durable: bool,
}
