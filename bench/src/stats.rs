//! What a set of samples says: quantiles, bootstrap intervals, verdicts.
//!
//! Owns the arithmetic of every figure that is printed. Knows nothing of locks, processes or
//! units. **The same samples always give the same interval**: resampling is seeded.

/// Resamples per interval.
const RESAMPLES: usize = 2_000;

/// The bounds that the interval of a peer against itself must lie within; outside of them the
/// machine was too noisy to say anything of the ratio beside it.
pub const SELF_RATIO: (f64, f64) = (0.97, 1.03);

/// The statistic of a sample that an interval is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stat {
    /// The middle value: what one run usually costs.
    Median,
    /// The average, where sums matter.
    Mean,
    /// The value that one in a hundred exceeds.
    P99,
}

impl Stat {
    /// This statistic of `values`; not a number if there are none. Reorders them.
    #[must_use]
    pub fn of(self, values: &mut [f64]) -> f64 {
        match self {
            Self::Median => quantile(values, 0.5),
            Self::Mean => values.iter().sum::<f64>() / values.len() as f64,
            Self::P99 => quantile(values, 0.99),
        }
    }

    /// Its name in a table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Median => "p50",
            Self::Mean => "mean",
            Self::P99 => "p99",
        }
    }
}

/// The value below which the fraction `q` of `values` lies, interpolated between neighbours; not a
/// number if there are none. Reorders them.
#[must_use]
pub fn quantile(values: &mut [f64], q: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let at = q.clamp(0.0, 1.0) * (values.len() - 1) as f64;
    let below = at.floor() as usize;
    let (_, low, rest) = values.select_nth_unstable_by(below, f64::total_cmp);
    let low = *low;
    match rest.iter().copied().min_by(f64::total_cmp) {
        Some(next) => low + (next - low) * at.fract(),
        None => low,
    }
}

/// How a sample is spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// How many values.
    pub n: usize,
    /// The middle one.
    pub p50: f64,
    /// A quarter lies below.
    pub p25: f64,
    /// A quarter lies above.
    pub p75: f64,
    /// One in a hundred lies above.
    pub p99: f64,
    /// The largest.
    pub worst: f64,
}

impl Spread {
    /// The spread of `values`.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let mut v = values.to_vec();
        let mut q = |at| quantile(&mut v, at);
        Self {
            n: values.len(),
            p50: q(0.5),
            p25: q(0.25),
            p75: q(0.75),
            p99: q(0.99),
            worst: q(1.0),
        }
    }
}

/// An estimate and the bounds that hold it with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The estimate from all samples.
    pub point: f64,
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

impl Interval {
    /// Whether all of it lies within `bounds`, both included.
    #[must_use]
    pub fn within(&self, bounds: (f64, f64)) -> bool {
        self.low >= bounds.0 && self.high <= bounds.1
    }
}

/// The interval of a statistic of `values`, by the bootstrap's percentiles.
#[must_use]
pub fn interval(values: &[f64], stat: Stat) -> Interval {
    bootstrap(values.len(), |draw| stat.of(&mut pick(values, draw)))
}

/// The interval of the ratio of a statistic of `subject` to that of `peer`, resampled in pairs:
/// the two values at one index come from one round and share its noise.
///
/// # Panics
/// If the two differ in length.
#[must_use]
pub fn ratio(subject: &[f64], peer: &[f64], stat: Stat) -> Interval {
    assert_eq!(subject.len(), peer.len(), "a ratio needs pairs");
    bootstrap(subject.len(), |draw| {
        stat.of(&mut pick(subject, draw)) / stat.of(&mut pick(peer, draw))
    })
}

fn pick(values: &[f64], draw: &[usize]) -> Vec<f64> {
    draw.iter().map(|&i| values[i]).collect()
}

fn bootstrap(n: usize, mut estimate: impl FnMut(&[usize]) -> f64) -> Interval {
    let mut draw: Vec<usize> = (0..n).collect();
    let point = estimate(&draw);
    let mut rng = Rng::new(n as u64);
    let mut found: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            draw.fill_with(|| rng.below(n));
            estimate(&draw)
        })
        .collect();
    Interval { point, low: quantile(&mut found, 0.025), high: quantile(&mut found, 0.975) }
}

/// What a figure must reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
    /// It is reported only.
    None,
}

/// What a measurement says of its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The whole interval reaches the goal.
    Reached,
    /// The whole interval misses it.
    Missed,
    /// The goal lies inside the interval.
    Inconclusive,
    /// The peer against itself left its bounds, so the ratio says nothing.
    Void,
    /// There is no goal.
    Reported,
}

impl Verdict {
    /// Its name in a table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Missed => "MISSED",
            Self::Inconclusive => "inconclusive",
            Self::Void => "void",
            Self::Reported => "reported",
        }
    }
}

/// Judges `found` against `goal`; `itself` is the interval of the peer against itself.
#[must_use]
pub fn judge(found: Interval, goal: Goal, itself: Option<Interval>) -> Verdict {
    let (reached, missed) = match goal {
        Goal::None => return Verdict::Reported,
        Goal::AtMost(goal) => (found.high <= goal, found.low > goal),
        Goal::AtLeast(goal) => (found.low >= goal, found.high < goal),
    };
    match (itself, reached, missed) {
        (Some(aa), ..) if !aa.within(SELF_RATIO) => Verdict::Void,
        (_, true, _) => Verdict::Reached,
        (_, _, true) => Verdict::Missed,
        _ => Verdict::Inconclusive,
    }
}

/// SplitMix64: seeded, and good enough to draw indices.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator that repeats itself for the same seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `n`, or 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((u128::from(z) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values around `center`, uniform in ± `width`.
    fn noisy(seed: u64, n: usize, center: f64, width: f64) -> Vec<f64> {
        let mut rng = Rng::new(seed);
        (0..n).map(|_| center + width * (rng.below(2_001) as f64 / 1_000.0 - 1.0)).collect()
    }

    fn exactly(point: f64, low: f64, high: f64) -> Interval {
        Interval { point, low, high }
    }

    #[test]
    fn quantiles_interpolate_between_neighbours() {
        let mut v = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(quantile(&mut v, 0.0), 1.0);
        assert_eq!(quantile(&mut v, 0.5), 2.5);
        assert_eq!(quantile(&mut v, 1.0), 4.0);
        assert_eq!(quantile(&mut [7.0], 0.99), 7.0);
        assert!(quantile(&mut [], 0.5).is_nan());
    }

    #[test]
    fn spread_of_a_hundred_values() {
        let values: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        let s = Spread::of(&values);
        assert_eq!(
            (s.n, s.p25, s.p50, s.p75, s.p99, s.worst),
            (101, 25.0, 50.0, 75.0, 99.0, 100.0)
        );
    }

    #[test]
    fn mean_counts_every_value_and_median_does_not() {
        let mut v = [1.0, 1.0, 10.0];
        assert_eq!(Stat::Mean.of(&mut v), 4.0);
        assert_eq!(Stat::Median.of(&mut v), 1.0);
    }

    #[test]
    fn interval_of_constants_is_a_point() {
        assert_eq!(interval(&[3.0; 20], Stat::Median), exactly(3.0, 3.0, 3.0));
    }

    #[test]
    fn interval_holds_the_true_median_about_nineteen_times_in_twenty() {
        let held = (0..200)
            .filter(|&seed| {
                let i = interval(&noisy(seed, 101, 10.0, 5.0), Stat::Median);
                i.low <= 10.0 && 10.0 <= i.high
            })
            .count();
        assert!((180..=199).contains(&held), "{held} of 200");
    }

    #[test]
    fn ratio_of_pairs_cancels_the_noise_they_share() {
        let peer = noisy(1, 200, 10.0, 9.0);
        let subject: Vec<f64> = peer.iter().map(|v| v * 1.1).collect();
        let r = ratio(&subject, &peer, Stat::Median);
        assert!(r.within((1.099_999, 1.100_001)), "{r:?}");
    }

    #[test]
    fn same_samples_give_the_same_interval() {
        let (a, b) = (noisy(1, 50, 10.0, 2.0), noisy(2, 50, 10.0, 2.0));
        assert_eq!(ratio(&a, &b, Stat::Median), ratio(&a, &b, Stat::Median));
        assert_ne!(ratio(&a, &b, Stat::Median), ratio(&b, &a, Stat::Median));
    }

    #[test]
    fn verdict_asks_the_whole_interval() {
        let good = Some(exactly(1.0, 0.99, 1.01));
        let goal = Goal::AtMost(1.1);
        assert_eq!(judge(exactly(1.05, 1.0, 1.1), goal, good), Verdict::Reached);
        assert_eq!(judge(exactly(1.05, 1.0, 1.101), goal, good), Verdict::Inconclusive);
        assert_eq!(judge(exactly(1.2, 1.1, 1.3), goal, good), Verdict::Inconclusive);
        assert_eq!(judge(exactly(1.2, 1.101, 1.3), goal, good), Verdict::Missed);
        assert_eq!(judge(exactly(1.2, 1.101, 1.3), Goal::None, good), Verdict::Reported);
    }

    #[test]
    fn verdict_of_a_rate_looks_at_the_other_end() {
        let goal = Goal::AtLeast(0.8);
        assert_eq!(judge(exactly(0.9, 0.8, 1.0), goal, None), Verdict::Reached);
        assert_eq!(judge(exactly(0.9, 0.7, 1.0), goal, None), Verdict::Inconclusive);
        assert_eq!(judge(exactly(0.7, 0.6, 0.79), goal, None), Verdict::Missed);
    }

    #[test]
    fn a_noisy_machine_voids_even_a_good_ratio() {
        let found = exactly(0.5, 0.4, 0.6);
        let noisy = Some(exactly(1.0, 0.969, 1.0));
        assert_eq!(judge(found, Goal::AtMost(1.1), noisy), Verdict::Void);
        let quiet = Some(exactly(1.0, 0.97, 1.03));
        assert_eq!(judge(found, Goal::AtMost(1.1), quiet), Verdict::Reached);
    }

    #[test]
    fn draws_cover_the_range_evenly() {
        let mut rng = Rng::new(7);
        let mut seen = [0_u32; 10];
        (0..10_000).for_each(|_| seen[rng.below(10)] += 1);
        assert!(seen.iter().all(|n| (850..1_150).contains(n)), "{seen:?}");
    }
}
