//! The simulator: the machine that ships, under everything that may go wrong, from one seed.
//!
//! ```text
//!  seed ─> plan ─> world: agenda ─> driver ─> Claim (tenure-core) ─> driver ─> network ─> store
//!                    └──────────────── judges look at every step ───────────────────────────┘
//! ```
//!
//! Owns true time, clocks, the network, the faults, the stores' side of a conditional write and the
//! promises that are judged. Nothing of the protocol is built again here: what decides is the
//! [`Claim`](tenure_core::Claim).

mod agenda;
mod app;
mod bug;
mod dice;
mod driver;
mod faults;
mod go;
mod judge;
mod lease;
pub mod limit;
mod network;
mod peer;
mod plan;
mod shelf;
mod trace;
mod world;

pub use bug::Bug;
pub use judge::Broken;
pub use plan::StoreKind;
pub use trace::Telling;
pub use world::Counts;

/// What schedules share with it.
pub(crate) mod internals {
    pub(crate) use super::dice::Dice;
    pub(crate) use super::judge::deadline::{attempt, valid_for};
    pub(crate) use super::judge::fence::Fence;
    pub(crate) use super::judge::order;
    pub(crate) use super::judge::tokens::Tokens;
    pub(crate) use super::plan::{MILLI, Net, Plan, SECOND};
    pub(crate) use super::shelf::{Meddling, Shelf};
    pub(crate) use super::trace::Trace;
}

use std::panic::{AssertUnwindSafe, catch_unwind};

use trace::Trace;
use world::World;

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The store it was over.
    pub store: StoreKind,
    /// How many contended.
    pub contenders: usize,
    /// What was counted.
    pub counts: Counts,
    /// The hash of everything that happened, in order.
    pub hash: u64,
    /// The first promise that was broken, if one was.
    pub broken: Option<Broken>,
    /// What was kept of the trace.
    pub lines: Vec<String>,
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, telling: Telling) -> Finished {
    run_with(seed, telling, None)
}

/// Runs one seed with a bug around the core put in.
#[must_use]
pub fn run_with(seed: u64, telling: Telling, bug: Option<Bug>) -> Finished {
    let mut world = World::new(seed, Trace::new(telling), bug);
    // A panic of the machine is a finding like any other, with its seed.
    if catch_unwind(AssertUnwindSafe(|| world.run())).is_err() {
        world.judged("panic", Some("the machine panicked; the message stands above".to_owned()));
    }
    Finished {
        store: world.plan.store,
        contenders: world.plan.contenders,
        counts: world.counts,
        hash: world.trace.hash(),
        broken: world.broken,
        lines: world.trace.into_lines(),
    }
}

/// The store that this seed's run is over, and how many contend.
#[must_use]
pub fn kind_of(seed: u64) -> (StoreKind, u64) {
    let plan = plan::Plan::draw(&mut dice::Dice::new(seed));
    (plan.store, plan.contenders as u64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tenure_core::{Config, Liveness, Marks, Session, Term, Timing};

    use super::*;

    pub(super) fn config() -> Config {
        Config {
            id: "c".into(),
            session: Session::NONE,
            term: Term::Ttl(Timing::default().ttl()),
            timing: Timing::default(),
            liveness: Liveness::Observed,
            queue: false,
            adopt: false,
            max_clock_skew: Duration::ZERO,
            add_tags: false,
            tags: Vec::new(),
            marks: Marks::new(0),
        }
    }

    #[test]
    fn a_seed_gives_the_same_run_with_and_without_a_trace() {
        for seed in 0..6 {
            let (a, b) = (run(seed, Telling::Nothing), run(seed, Telling::Last(5)));
            assert_eq!((a.hash, a.counts, a.broken), (b.hash, b.counts, b.broken));
            assert_eq!(b.lines.len(), 5);
        }
    }

    #[test]
    fn other_seeds_give_other_runs() {
        assert_ne!(run(1, Telling::Nothing).hash, run(2, Telling::Nothing).hash);
    }
}
