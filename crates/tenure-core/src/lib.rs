//! Internal to tenure: the protocols of locks and leases as state machines.
//!
//! ```text
//!   verbs (acquire, release, ..) ─┐
//!   views of the record ──────────┤            ┌─> Action::Read / Probe / Write
//!   answers to writes ────────────┼─> Claim ───┼─> Action::Wait { until }
//!   answers to probes ────────────┤            └─> Action::Report(..)
//!   the local time ───────────────┘
//! ```
//!
//! Nothing in this crate does I/O, reads a clock, draws a random number, awaits or allocates more
//! than a record needs. Time and randomness are arguments, so one and the same object runs in the
//! command, in the model checker and in the simulator.
//!
//! **The one rule callers keep: one input, then drain every action, then the next input.**
#![no_std]

extern crate alloc;

mod claim;
mod condition;
mod history;
mod ids;
#[cfg(feature = "museum")]
pub mod museum;
#[cfg(not(feature = "museum"))]
#[expect(unreachable_pub, reason = "public where the museum is built in")]
mod museum;
mod record;
mod time;
mod timing;

pub use claim::{
    Action, Cause, Claim, Config, HeldBy, Liveness, Outcome, Patience, Probed, Report, State, View,
    Write,
};
pub use condition::{Condition, ConditionError, Facts};
pub use history::{HISTORY_MAX, History};
pub use ids::{Mark, Marks, Session, Text, Token, Version};
pub use record::{Change, End, Holder, Past, Record, Term, Waiter};
pub use time::{Time, Wall};
pub use timing::{Timing, TimingError, TimingSpec};
