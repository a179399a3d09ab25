//! Random schedules: some claims over one register, with delay, loss, late writes, drifting clocks,
//! pauses, deaths and outsiders. `common/judge.rs` says what must hold.

mod common;

use common::world::World;
use proptest::collection::vec;
use proptest::prelude::*;
use tenure_core::Liveness;

fn tape() -> impl Strategy<Value = Vec<u16>> {
    vec(any::<u16>(), 0..500)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn time_decides(tape in tape(), peers in 2_u8..5) {
        World::new(&tape, Liveness::Observed, peers, false).run();
    }

    #[test]
    fn time_decides_and_outsiders_meddle(tape in tape(), peers in 2_u8..5) {
        World::new(&tape, Liveness::Observed, peers, true).run();
    }

    #[test]
    fn time_decides_and_waiters_stand_in_line(tape in tape(), peers in 2_u8..5) {
        World::in_line(&tape, peers).run();
    }

    #[test]
    fn sessions_decide(tape in tape(), peers in 2_u8..5) {
        World::new(&tape, Liveness::Process, peers, false).run();
    }

    #[test]
    fn sessions_decide_and_outsiders_meddle(tape in tape(), peers in 2_u8..5) {
        World::new(&tape, Liveness::Process, peers, true).run();
    }
}
