//! An exhaustive search over the exclusive lease with two contenders: no order of messages, losses,
//! late writes and clock ticks makes two of them believe, and each of nine wrong programs or
//! timings is found out. And over an order to end somebody else's hold.
//!
//! `TENURE_MODEL_FURTHER` looks so many ticks further than `cargo test` does, which is to take a few
//! seconds: CI one, `cargo xtask prove model` as many as its budget lasts.

mod lease;
mod order;

use std::fmt::Debug;

use lease::{Fault, Lease};
use order::Orders;
use stateright::{Checker, Expectation, HasDiscoveries, Model};

const TWO: &str = "never two beliefs";

/// A bound on states, so that a surprise ends as one and does not fill the machine's memory.
const STATES_MAX: usize = 100_000_000;

/// How many ticks beyond a model's own horizon are searched.
fn further() -> u8 {
    let further = std::env::var("TENURE_MODEL_FURTHER").ok();
    further.map_or(0, |ticks| ticks.parse().expect("a number of ticks"))
}

/// Searches `model` to its horizon, and [`further`].
fn searched(name: &str, mut model: Lease) {
    model.horizon += further();
    let ticks = model.horizon;
    let checker = model
        .checker()
        .threads(2)
        .target_state_count(STATES_MAX)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_dfs()
        .join();
    let states = checker.unique_state_count();
    println!("prove: {{\"model\":\"{name}\",\"ticks\":{ticks},\"states\":{states}}}");
    holds(&checker);
}

/// Asserts what is always so, and beyond the shortest horizon that the search has met what it is about.
fn holds<M: Model>(checker: &impl Checker<M>)
where
    M::State: Clone + Debug + PartialEq,
    M::Action: Clone + Debug + PartialEq,
{
    assert!(checker.state_count() < STATES_MAX, "not searched to the end");
    if further() > 0 {
        return checker.assert_properties();
    }
    let all = checker.model().properties();
    for property in all.iter().filter(|property| property.expectation == Expectation::Always) {
        checker.assert_no_discovery(property.name);
    }
}

#[test]
fn the_lease_never_has_two_believers() {
    searched("lease", Lease::right(6));
}

#[test]
fn nor_when_it_is_given_back_late() {
    searched("given back", Lease::given_back(3, false));
}

#[test]
fn nor_when_it_is_handed_to_who_stands_in_line() {
    searched("handed over", Lease::given_back(2, true));
}

#[test]
fn an_order_ends_the_hold_that_was_seen_and_no_other() {
    let model = Orders { horizon: further().min(1), fault: order::Fault::None };
    let checker = model.checker().threads(2).target_state_count(STATES_MAX).spawn_dfs().join();
    println!("{} unique states", checker.unique_state_count());
    holds(&checker);
}

#[test]
fn an_order_that_ends_whatever_is_there_is_refuted() {
    let model = Orders { horizon: 1, fault: order::Fault::EndsByName };
    let found = HasDiscoveries::AllOf(["only what was seen is ended"].into());
    let checker = model.checker().threads(2).finish_when(found).spawn_bfs().join();
    assert!(checker.discovery("only what was seen is ended").is_some());
}

#[test]
fn an_order_that_denies_what_it_did_is_refuted() {
    let model = Orders { horizon: 1, fault: order::Fault::DoneIsConflict };
    let found = HasDiscoveries::AllOf(["what is told is so"].into());
    let checker = model.checker().threads(2).finish_when(found).spawn_bfs().join();
    assert!(checker.discovery("what is told is so").is_some());
}

/// Asserts that the search finds two believers in what is wrong.
fn refuted(model: Lease) {
    let two = HasDiscoveries::AllOf([TWO].into());
    let checker = model.checker().threads(2).target_state_count(STATES_MAX).finish_when(two);
    let checker = checker.spawn_bfs().join();
    let steps = checker.discovery(TWO).expect("two believers are found").into_actions();
    println!("{} states, then {steps:?}", checker.unique_state_count());
}

#[test]
fn a_holder_that_forgets_its_own_clocks_error_is_refuted() {
    let mut model = Lease::right(5);
    model.specs[0].drift_ppm = 0;
    refuted(model);
}

#[test]
fn a_contender_that_forgets_its_own_clocks_error_is_refuted() {
    let mut model = Lease::right(5);
    model.specs[1].drift_ppm = 0;
    refuted(model);
}

#[test]
fn a_clock_just_slower_than_promised_is_refuted() {
    let mut model = Lease::right(5);
    model.rates[0] -= 101;
    refuted(model);
}

#[test]
fn a_clock_just_faster_than_promised_is_refuted() {
    let mut model = Lease::right(5);
    model.rates[1] += 501;
    refuted(model);
}

#[test]
fn a_deadline_counted_from_the_reply_is_refuted() {
    refuted(Lease { fault: Fault::SentIsReply, ..Lease::right(6) });
}

#[test]
fn a_holder_that_does_not_look_at_its_deadline_is_refuted() {
    refuted(Lease { fault: Fault::DeadlineIgnored, ..Lease::right(5) });
}

#[test]
fn a_store_without_conditions_is_refuted() {
    refuted(Lease { fault: Fault::Unconditional, ..Lease::right(5) });
}

#[test]
fn a_refusal_taken_for_success_is_refuted() {
    refuted(Lease { fault: Fault::ConflictIsDone, ..Lease::right(5) });
}

#[test]
fn an_age_by_somebody_elses_clock_is_refuted() {
    refuted(Lease { fault: Fault::ForeignClock, ..Lease::right(5) });
}
