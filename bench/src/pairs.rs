//! Interleaving: the subject, the peer, and the peer again, in every round.
//!
//! Owns the order of measuring and when to stop. Knows nothing of what is measured. **How long it
//! goes on depends only on how the peer compares with itself**, never on how the subject does.

use anyhow::Result;

use crate::stats::{Interval, Rng, SELF_RATIO, Stat, ratio};

/// How many rounds to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounds {
    /// This many, and then as many again while the peer against itself is outside of its bounds.
    pub least: usize,
    /// Never more than this.
    pub most: usize,
}

impl Rounds {
    /// Between `least` and `most`, or exactly `forced` if the user says so.
    #[must_use]
    pub fn new(least: usize, most: usize, forced: Option<usize>) -> Self {
        match forced {
            Some(n) => Self { least: n, most: n },
            None => Self { least, most },
        }
    }
}

/// One measure of all rounds; the three have the same length, one value per round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trio {
    /// What is judged.
    pub subject: Vec<f64>,
    /// What it is compared with.
    pub peer: Vec<f64>,
    /// The peer a second time.
    pub again: Vec<f64>,
}

impl Trio {
    /// Subject to peer.
    #[must_use]
    pub fn ratio(&self, stat: Stat) -> Interval {
        ratio(&self.subject, &self.peer, stat)
    }

    /// The peer to itself.
    #[must_use]
    pub fn itself(&self, stat: Stat) -> Interval {
        ratio(&self.again, &self.peer, stat)
    }
}

/// The six orders of three, so that none always comes after the same other.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1], [2, 1, 0], [1, 0, 2]];

/// Measures `M` figures per run of `subject` and `peer`, in rounds whose inner order changes. The
/// first round warms up and does not count.
///
/// # Errors
/// The first error of either.
pub fn interleave<const M: usize>(
    rounds: Rounds,
    stat: Stat,
    mut subject: impl FnMut() -> Result<[f64; M]>,
    mut peer: impl FnMut() -> Result<[f64; M]>,
) -> Result<[Trio; M]> {
    let mut found: [Trio; M] = std::array::from_fn(|_| Trio::default());
    subject()?;
    peer()?;
    let mut rng = Rng::new(rounds.least as u64);
    let mut orders = ORDERS;
    for done in 1..=rounds.most {
        if done % orders.len() == 1 {
            shuffle(&mut orders, &mut rng);
        }
        for arm in orders[done % orders.len()] {
            let values = if arm == 0 { subject()? } else { peer()? };
            for (trio, value) in found.iter_mut().zip(values) {
                [&mut trio.subject, &mut trio.peer, &mut trio.again][arm].push(value);
            }
        }
        if done % rounds.least.max(1) == 0 && quiet(&found, stat) {
            break;
        }
    }
    Ok(found)
}

fn quiet(found: &[Trio], stat: Stat) -> bool {
    found.iter().all(|trio| trio.itself(stat).within(SELF_RATIO))
}

fn shuffle<T>(items: &mut [T], rng: &mut Rng) {
    for i in (1..items.len()).rev() {
        items.swap(i, rng.below(i + 1));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    fn rounds(least: usize, most: usize) -> Rounds {
        Rounds { least, most }
    }

    #[test]
    fn every_round_runs_the_subject_once_and_the_peer_twice() {
        let log = RefCell::new(String::new());
        let arm = |c, v| {
            let log = &log;
            move || {
                log.borrow_mut().push(c);
                Ok([v])
            }
        };
        let [trio] =
            interleave(rounds(12, 12), Stat::Median, arm('s', 2.0), arm('p', 1.0)).unwrap();
        assert_eq!((trio.subject.len(), trio.peer.len(), trio.again.len()), (12, 12, 12));
        assert_eq!(trio.ratio(Stat::Median).point, 2.0);
        let log = log.into_inner();
        let (warm, counted) = log.split_at(2);
        assert_eq!(warm, "sp");
        let mut places = [0; 3];
        for round in counted.as_bytes().chunks(3) {
            assert_eq!(round.iter().filter(|c| **c == b's').count(), 1, "{log}");
            places[round.iter().position(|c| *c == b's').unwrap()] += 1;
        }
        assert!(places.iter().all(|n| *n > 0), "{places:?}");
    }

    #[test]
    fn a_quiet_peer_ends_it_early_and_a_noisy_one_at_the_limit() {
        let steady = || Ok([1.0]);
        let [trio] = interleave(rounds(10, 100), Stat::Median, || Ok([9.0]), steady).unwrap();
        assert_eq!(trio.peer.len(), 10);
        let rng = RefCell::new(Rng::new(3));
        let wild = || Ok([1.0 + rng.borrow_mut().below(1_000) as f64]);
        let [trio] = interleave(rounds(10, 100), Stat::Median, || Ok([9.0]), wild).unwrap();
        assert_eq!(trio.peer.len(), 100);
    }

    #[test]
    fn the_user_can_fix_the_number_of_rounds() {
        assert_eq!(Rounds::new(10, 100, Some(7)), rounds(7, 7));
        assert_eq!(Rounds::new(10, 100, None), rounds(10, 100));
    }

    #[test]
    fn an_error_ends_it() {
        let left = Cell::new(5);
        let failing = || {
            left.set(left.get() - 1);
            if left.get() == 0 { anyhow::bail!("gone") } else { Ok([1.0]) }
        };
        let found = interleave(rounds(10, 10), Stat::Median, failing, || Ok([1.0]));
        assert_eq!(found.unwrap_err().to_string(), "gone");
    }
}
