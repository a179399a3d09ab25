//! A hold that must be renewed, kept by a process of its own.
//!
//! ```text
//! front: what the shell started ──messages──> back: the keeper's process
//!   signals, terminal, the command              the store: waits, renews, releases
//!   ends the command before the deadline        ends the command's group if the front cannot
//! ```
//!
//! Two processes that watch each other, for three reasons. A front that is killed leaves nobody who
//! could end what the command had started: the back does. A front that is stopped by Ctrl-Z cannot
//! renew: the back goes on. And a back that is killed or hangs renews nothing: the front knows the
//! deadline, and ends the command before it.
//!
//! | killed | who ends the work | when |
//! |---|---|---|
//! | the front | the kernel the command, the back the rest of its group | at once; then the lock is released |
//! | the back | the front | at once, and before the deadline in any case |
//! | both at once | the kernel the command | what the command had started is not ended |
//!
//! **The command's group is known to the back before the command's first instruction**: the child
//! writes its number into memory that the two share. The front takes it out again before it reaps
//! the child, so that while it stands there the number cannot be another group's; and where the
//! front was killed, a process of that number that began later than the command tells the back that
//! it is another's by now. The deadline stands in that memory as well, so that a front that was stopped for an hour finds it right.
//!
//! The embedded store needs none of this.

mod back;
mod board;
mod front;
mod link;
mod outbox;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::contend::{By, Waiting};

pub(crate) use front::Keeper;

/// How long before the deadline the front sends KILL: what is killed needs a moment to end.
const LEAD_MAX: Duration = Duration::from_millis(200);
/// How long the work has, at most, after a loss: somebody else may hold the lock already.
pub(crate) const AFTER_LOSS: Duration = Duration::from_secs(2);

/// What the front asks for.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// To want the lock: `None`, for ever; zero, not at all.
    Want(Option<Duration>),
    /// To want it no more.
    Leave,
    /// To give it back, or to leave it busy for so long.
    Release(Option<Duration>),
}

/// What the back tells.
#[derive(Debug, Serialize, Deserialize)]
enum News {
    Waiting(Waiting),
    Acquired {
        token: u64,
        id: String,
        store: String,
        grace: Duration,
    },
    Busy(By),
    TimedOut(By),
    Failed {
        text: String,
        may_pass: bool,
    },
    Left,
    Renewed,
    Lost {
        why: String,
    },
    Released,
    NotReleased {
        text: String,
    },
    /// For people.
    Warning {
        text: String,
    },
}

/// How long before its deadline a hold with this grace is over for its work.
fn lead(grace: Duration) -> Duration {
    (grace / 5).min(LEAD_MAX)
}
