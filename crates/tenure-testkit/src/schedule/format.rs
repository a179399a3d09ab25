//! In which format the cluster of a schedule keeps the lock.
//!
//! Owns the names: of a format, of the lock in it, of its object. What the object says is told in
//! [`outsiders`](super::outsiders).

/// How a cluster keeps a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A Lease, as client-go keeps it.
    Lease,
    /// An annotation on a ConfigMap that is there, as kubelock keeps it.
    Annotation,
    /// A ConfigMap, as lockheed keeps it.
    ConfigMap,
    /// A Lease of a transaction, as janus keeps it.
    Janus,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Lease, Self::Annotation, Self::ConfigMap, Self::Janus];

    /// That of a seed: of four seeds in a row each has another, so that a few seeds have all.
    #[must_use]
    pub const fn of(seed: u64) -> Self {
        Self::ALL[(seed.wrapping_sub(1) % 4) as usize]
    }

    /// Its name, as in the URL of a store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::Annotation => "annotation",
            Self::ConfigMap => "configmap",
            Self::Janus => "janus",
        }
    }

    /// The lock's name.
    #[must_use]
    pub const fn lock(self) -> &'static str {
        match self {
            Self::Lease | Self::Annotation | Self::ConfigMap => "x",
            Self::Janus => "default/pod/x",
        }
    }

    /// The name of the lock's object.
    #[must_use]
    pub const fn object(self) -> &'static str {
        match self {
            Self::Lease | Self::Annotation => "x",
            Self::ConfigMap => "lockheed-x",
            Self::Janus => "janus-lock-default-pod-x",
        }
    }

    /// Whether programs of others end holds by their wall clocks.
    #[must_use]
    pub const fn wall_clocks(self) -> bool {
        !matches!(self, Self::Lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_seeds_in_a_row_have_all_formats() {
        for from in [0, 1, 2, u64::MAX - 3] {
            let of = |seed| Format::of(seed).name();
            let mut formats: Vec<_> = (from..=from + 3).map(of).collect();
            formats.sort_unstable();
            assert_eq!(formats, ["annotation", "configmap", "janus", "lease"], "from {from}");
        }
    }
}
