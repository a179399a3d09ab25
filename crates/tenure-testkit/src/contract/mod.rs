//! The contract of [`Store`], one check for each of its sentences.
//!
//! ```text
//! run(fresh) ─> for each check: fresh() ─> Subject ─> open(), open(), .. ─> Verdict
//! ```
//!
//! A check gets a store of its own and opens as many handles as it needs. It branches on
//! capabilities and skips nothing: what a store cannot do, it must say. A check judges by what the
//! store answers, never by its own reading of a clock, but for one bound: an answer or a piece of
//! news that does not come within [`Subject::patience`] never comes.
//!
//! Every check is itself tested by stores that break its sentence (`tests/mutants.rs`).

mod cancel;
mod counter;
mod hand;
mod line;
mod liveness;
mod names;
mod order;
mod tags;
mod tokens;
mod versions;
mod watching;
mod writes;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tenure_core::Session;
use tenure_store::Store;

pub use counter::count_up;
use hand::Hand;

/// What a check found: `Err` says what the store did and what it should have done.
pub type Verdict = Result<(), String>;

/// A store that nobody has used before, to be opened by many.
pub struct Subject {
    open: Box<dyn Fn() -> Arc<dyn Store> + Send + Sync>,
    elsewhere: Option<Box<dyn Fn() -> Elsewhere>>,
    /// How long to wait for an answer or a piece of news before it counts as never coming.
    pub patience: Duration,
}

/// A session of another process.
pub struct Elsewhere {
    /// The session, which lives.
    pub session: Session,
    /// Ends the process, and returns once it has ended.
    pub end: Box<dyn FnOnce()>,
}

impl Subject {
    /// A store that `open` opens anew with each call: a handle with a session of its own, as
    /// another process would have it. Patience is 10 s.
    pub fn new(open: impl Fn() -> Arc<dyn Store> + Send + Sync + 'static) -> Self {
        Self { open: Box::new(open), elsewhere: None, patience: Duration::from_secs(10) }
    }

    /// For stores that look at processes: how to open a session in another one. Without it, to drop
    /// a handle has to be as good as to end its process.
    #[must_use]
    pub fn with_elsewhere(mut self, open: impl Fn() -> Elsewhere + 'static) -> Self {
        self.elsewhere = Some(Box::new(open));
        self
    }

    fn open(&self) -> Arc<dyn Store> {
        (self.open)()
    }

    fn elsewhere(&self) -> Result<Elsewhere, String> {
        if let Some(open) = &self.elsewhere {
            return Ok(open());
        }
        let hand = self.hand("elsewhere")?;
        Ok(Elsewhere { session: hand.session, end: Box::new(move || drop(hand)) })
    }

    /// A handle of its own, ready to write to the lock `name`.
    fn hand(&self, name: &str) -> Result<Hand, String> {
        Hand::new(self.open(), name, self.patience)
    }
}

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elsewhere").field("session", &self.session).finish_non_exhaustive()
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("patience", &self.patience).finish_non_exhaustive()
    }
}

/// One sentence of the contract as a function.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// The sentence in short.
    pub name: &'static str,
    /// Asks a store that nobody has used before.
    pub run: fn(&Subject) -> Verdict,
}

macro_rules! checks {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$(Check { name: stringify!($name), run: $module::$name }),*]
    };
}

/// All checks, the simple ones first.
pub const CHECKS: &[Check] = checks![
    order::a_read_gives_the_last_acknowledged_write,
    order::reads_of_all_handles_go_forward,
    versions::revisions_rise_with_every_write_also_across_deletion,
    versions::every_creation_is_an_incarnation_of_its_own,
    versions::a_condition_on_an_earlier_state_conflicts,
    versions::a_condition_on_an_earlier_incarnation_conflicts,
    versions::expecting_nothing_conflicts_with_a_record,
    versions::expecting_a_record_conflicts_with_nothing,
    versions::a_deletion_is_conditional_too,
    writes::a_done_write_is_the_whole_change_and_what_is_read_next,
    writes::of_several_writes_on_one_condition_one_is_done,
    line::waiters_stand_in_line_where_the_store_has_one,
    tags::tags_stand_there_until_others_are_brought,
    tokens::every_hold_gets_a_larger_token_and_keeps_it,
    tokens::tokens_rise_across_deletion,
    liveness::a_session_lives_as_long_as_its_process,
    liveness::what_is_no_session_is_refused,
    liveness::an_age_is_never_more_than_the_truth,
    names::names_have_nothing_to_do_with_each_other,
    names::a_listing_names_exactly_what_has_a_record,
    watching::a_watch_begins_with_what_stands,
    watching::a_watch_delivers_every_state_that_stays,
    watching::a_watch_never_goes_back,
    watching::watches_do_not_disturb_each_other,
    watching::a_watch_wakes_who_polled_it_last,
    cancel::a_future_does_nothing_before_it_is_polled,
    cancel::a_dropped_request_is_whole_and_blocks_nobody,
    counter::claims_count_exactly,
];

/// Runs every check on a store that `fresh` makes for it.
///
/// # Panics
/// If a check finds that the contract is broken. The message names every such check.
pub fn run(fresh: impl Fn() -> Subject) {
    let broken: Vec<String> = CHECKS
        .iter()
        .filter_map(|check| {
            let what = (check.run)(&fresh()).err()?;
            Some(format!("  {}: {what}", check.name))
        })
        .collect();
    assert!(broken.is_empty(), "the store breaks its contract:\n{}", broken.join("\n"));
}

/// Ends a check with what was found unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(format!($($what)+));
        }
    };
}
use ensure;
