//! Repeatable choices: everything a simulation does follows from one seed.

use std::time::Duration;

/// A small generator of evenly spread numbers (`SplitMix64`), for tests alone.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The generator with this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which must not be zero.
    ///
    /// # Panics
    /// If `limit` is zero.
    pub const fn below(&mut self, limit: u64) -> u64 {
        self.draw() % limit
    }

    /// A duration of whole microseconds up to `limit`.
    pub fn time(&mut self, limit: Duration) -> Duration {
        let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX - 1);
        Duration::from_micros(self.below(micros + 1))
    }
}
