//! Every check of the contract suite catches the mistakes it is there for.
//!
//! A check is trusted once it has caught a bug put back on purpose. The table says which check must
//! catch which [`Bug`]; a check that catches none is not in use.

mod bug;
mod sloppy;
mod state;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use bug::Bug;
use sloppy::Sloppy;
use state::Shared;
use tenure_core::Liveness::{self, Observed, Process, Server};
use tenure_testkit::contract::{self, CHECKS, Subject};

/// A store that makes this mistake is caught by these checks.
const MUST_CATCH: &[(Bug, Liveness, &[&str])] = &[
    (Bug::ReadsOld, Observed, &["a_read_gives_the_last_acknowledged_write"]),
    (Bug::ReadsOldAtTimes, Observed, &["reads_of_all_handles_go_forward"]),
    (Bug::ReadsDeleted, Observed, &["a_read_gives_the_last_acknowledged_write"]),
    (Bug::RevisionRestarts, Observed, &["revisions_rise_with_every_write_also_across_deletion"]),
    (Bug::RevisionStays, Observed, &["revisions_rise_with_every_write_also_across_deletion"]),
    (Bug::OneIncarnation, Observed, &["every_creation_is_an_incarnation_of_its_own"]),
    (Bug::IncarnationMoves, Observed, &["every_creation_is_an_incarnation_of_its_own"]),
    (Bug::CountsPerIncarnation, Observed, &["a_condition_on_an_earlier_incarnation_conflicts"]),
    (
        Bug::IgnoresVersion,
        Observed,
        &[
            "a_condition_on_an_earlier_state_conflicts",
            "of_several_writes_on_one_condition_one_is_done",
            "claims_count_exactly",
        ],
    ),
    (Bug::WritesOnConflict, Observed, &["a_condition_on_an_earlier_state_conflicts"]),
    (Bug::CreatesOver, Observed, &["expecting_nothing_conflicts_with_a_record"]),
    (Bug::UpdatesNothing, Observed, &["expecting_a_record_conflicts_with_nothing"]),
    (Bug::DeletesAnyState, Observed, &["a_deletion_is_conditional_too"]),
    (Bug::DeletesNothing, Observed, &["a_deletion_is_conditional_too"]),
    (Bug::KeepsDeleted, Observed, &["a_deletion_is_conditional_too"]),
    (Bug::ForgetsStrike, Process, &["a_done_write_is_the_whole_change_and_what_is_read_next"]),
    (Bug::ForgetsLastTags, Process, &["tags_stand_there_until_others_are_brought"]),
    (Bug::ForgetsTags, Process, &["tags_stand_there_until_others_are_brought"]),
    (Bug::ForgetsRenewal, Observed, &["a_done_write_is_the_whole_change_and_what_is_read_next"]),
    (Bug::GivesJudged, Observed, &["a_done_write_is_the_whole_change_and_what_is_read_next"]),
    (
        Bug::LooksFirst,
        Process,
        &["of_several_writes_on_one_condition_one_is_done", "claims_count_exactly"],
    ),
    (Bug::LooksFirst, Observed, &["claims_count_exactly"]),
    (Bug::LooksFirstToDelete, Observed, &["of_several_writes_on_one_condition_one_is_done"]),
    (Bug::LastComesFirst, Process, &["waiters_stand_in_line_where_the_store_has_one"]),
    (Bug::ForgetsHandOver, Server, &["waiters_stand_in_line_where_the_store_has_one"]),
    (Bug::JoinsWithoutLine, Observed, &["waiters_stand_in_line_where_the_store_has_one"]),
    (Bug::ConflictWithoutLine, Observed, &["waiters_stand_in_line_where_the_store_has_one"]),
    (Bug::TokenHandedOver, Process, &["every_hold_gets_a_larger_token_and_keeps_it"]),
    (Bug::TokenTakenOver, Observed, &["every_hold_gets_a_larger_token_and_keeps_it"]),
    (Bug::TokenRenewed, Observed, &["every_hold_gets_a_larger_token_and_keeps_it"]),
    (Bug::TokenRestarts, Observed, &["tokens_rise_across_deletion"]),
    (Bug::ProbesAlive, Process, &["a_session_lives_as_long_as_its_process"]),
    (Bug::ProbesDead, Process, &["a_session_lives_as_long_as_its_process"]),
    (Bug::OneSession, Process, &["a_session_lives_as_long_as_its_process"]),
    (Bug::OneSession, Server, &["a_session_lives_as_long_as_its_process"]),
    (Bug::ManySessions, Process, &["a_session_lives_as_long_as_its_process"]),
    (Bug::KeepsDead, Server, &["a_session_lives_as_long_as_its_process"]),
    (Bug::ClearsLine, Server, &["a_session_lives_as_long_as_its_process"]),
    (
        Bug::ProbesAnyway,
        Observed,
        &["a_session_lives_as_long_as_its_process", "what_is_no_session_is_refused"],
    ),
    (Bug::ProbesAnyway, Server, &["what_is_no_session_is_refused"]),
    (Bug::ProbesNothing, Process, &["what_is_no_session_is_refused"]),
    (Bug::AgeOfAnHour, Observed, &["an_age_is_never_more_than_the_truth"]),
    (Bug::AgeOfHold, Observed, &["an_age_is_never_more_than_the_truth"]),
    (Bug::FoldsCase, Observed, &["names_have_nothing_to_do_with_each_other"]),
    (Bug::CutsNames, Observed, &["names_have_nothing_to_do_with_each_other"]),
    (Bug::DeletesAllNames, Observed, &["names_have_nothing_to_do_with_each_other"]),
    (Bug::ListsHeldOnly, Observed, &["a_listing_names_exactly_what_has_a_record"]),
    (Bug::ListsDeleted, Observed, &["a_listing_names_exactly_what_has_a_record"]),
    (Bug::ListsOld, Observed, &["a_listing_names_exactly_what_has_a_record"]),
    (Bug::ListsTwice, Observed, &["a_listing_names_exactly_what_has_a_record"]),
    (Bug::WatchBeginsLate, Observed, &["a_watch_begins_with_what_stands"]),
    (Bug::WatchBeginsEarly, Observed, &["a_watch_begins_with_what_stands"]),
    (Bug::WatchForgetsWaker, Observed, &["a_watch_delivers_every_state_that_stays"]),
    (Bug::WatchMissesDeletion, Observed, &["a_watch_delivers_every_state_that_stays"]),
    (Bug::WatchMissesCreation, Observed, &["a_watch_delivers_every_state_that_stays"]),
    (Bug::WatchEnds, Observed, &["a_watch_delivers_every_state_that_stays"]),
    (Bug::WatchGoesBack, Observed, &["a_watch_never_goes_back"]),
    (Bug::WatchKeepsWaker, Observed, &["a_watch_wakes_who_polled_it_last"]),
    (Bug::WatchWakesOne, Observed, &["watches_do_not_disturb_each_other"]),
    (Bug::WatchDropsAll, Observed, &["watches_do_not_disturb_each_other"]),
    (Bug::WatchMixesNames, Observed, &["watches_do_not_disturb_each_other"]),
    (Bug::WritesAtCall, Observed, &["a_future_does_nothing_before_it_is_polled"]),
    (Bug::DeletesAtCall, Observed, &["a_future_does_nothing_before_it_is_polled"]),
    (Bug::StaysLocked, Observed, &["a_dropped_request_is_whole_and_blocks_nobody"]),
    (Bug::WritesHalf, Observed, &["a_dropped_request_is_whole_and_blocks_nobody"]),
];

fn subject(bug: Bug, liveness: Liveness) -> Subject {
    let shared = Arc::new(Shared::new(bug, liveness));
    Subject::new(move || Arc::new(Sloppy::open(&shared)))
}

#[test]
fn a_store_without_a_mistake_passes() {
    for liveness in [Process, Server, Observed] {
        contract::run(|| subject(Bug::None, liveness));
    }
}

#[test]
fn every_mistake_is_caught_by_the_check_that_is_there_for_it() {
    let mut missed = Vec::new();
    for (bug, liveness, checks) in MUST_CATCH {
        for name in *checks {
            let check = CHECKS.iter().find(|check| check.name == *name).unwrap();
            let mut subject = subject(*bug, *liveness);
            // What is never answered costs this much time; what is wrong is wrong at once.
            subject.patience = Duration::from_millis(200);
            match (check.run)(&subject) {
                Err(what) => println!("{bug:?}: {name}: {what}"),
                Ok(()) => missed.push(format!("{bug:?} ({liveness:?}) by {name}")),
            }
        }
    }
    assert!(missed.is_empty(), "not caught:\n{}", missed.join("\n"));
}

#[test]
fn no_check_is_trusted_untried() {
    let tried = |name: &str| MUST_CATCH.iter().any(|(_, _, checks)| checks.contains(&name));
    let untried: Vec<_> = CHECKS.iter().map(|c| c.name).filter(|name| !tried(name)).collect();
    assert!(untried.is_empty(), "no mistake tries these checks: {untried:?}");
}
