//! What is promised, one file each. A judge sees everything: the store, every claim, true time.
//!
//! Owns the verdicts. Judges tell what is broken and change nothing; what they know they are told
//! by the engine, never by the core that they judge.

pub(crate) mod belief;
pub(crate) mod deadline;
pub(crate) mod dropped;
pub(crate) mod fence;
pub(crate) mod idle;
pub(crate) mod liveness;
pub(crate) mod order;
pub(crate) mod tokens;

use super::peer::Peer;
use super::plan::{PEERS_MAX, Plan};

/// A promise that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which one: the name of its file.
    pub rule: &'static str,
    /// When, in nanoseconds of true time.
    pub at: u64,
    /// What was seen.
    pub what: String,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Judges {
    pub(crate) deadline: deadline::Deadlines,
    pub(crate) dropped: dropped::Dropped,
    pub(crate) fence: fence::Fence,
    pub(crate) idle: idle::Idle,
    pub(crate) liveness: liveness::Liveness,
    pub(crate) tokens: tokens::Tokens,
    pub(crate) outsiders: Outsiders,
}

/// What outsiders did that no protocol allows. It excuses who has not heard of it yet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outsiders {
    /// The last revision at which one took, blanked or deleted the record; 0: never.
    pub(crate) revision: u64,
    /// Whether the record was ever deleted: a creation may land afterwards.
    pub(crate) deleted: bool,
}

impl Judges {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            deadline: deadline::Deadlines::new(plan),
            dropped: dropped::Dropped::new(plan),
            fence: fence::Fence::default(),
            idle: idle::Idle::new(plan),
            liveness: liveness::Liveness::new(plan),
            tokens: tokens::Tokens::default(),
            outsiders: Outsiders::default(),
        }
    }
}

impl Outsiders {
    /// Whether this peer has heard of all that outsiders did.
    pub(crate) const fn known_to(self, peer: &Peer) -> bool {
        self.revision <= peer.newest
    }
}

/// A value for each peer.
pub(crate) type Each<T> = [T; PEERS_MAX];
