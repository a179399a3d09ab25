//! A lock that is free is not left idle while somebody wants it.
//!
//! Judged in the calm, when what the storm left has had time to end: from the instant nobody holds
//! and a living peer wants it, until somebody holds, a few times a message's way may pass, and no
//! ttl, no poll, no retry.

use super::belief::believes;
use crate::sim::peer::{Doing, Peer};
use crate::sim::plan::{MILLI, Plan};

#[derive(Debug)]
pub(crate) struct Idle {
    /// How long it may be free.
    bound: u64,
    /// Since when in true time the calm has lasted long enough; `None` in a storm.
    settled: Option<u64>,
    since: Option<u64>,
}

impl Idle {
    pub(crate) fn new(plan: &Plan) -> Self {
        let way = plan.calm_net.base + plan.calm_net.jitter;
        // Told, read, written, answered; and once more for who was told while it was under way.
        Self { bound: 10 * way + 4 * plan.timer_late + 10 * MILLI, settled: None, since: None }
    }

    pub(crate) fn settled(&mut self, at: Option<u64>) {
        self.settled = at;
        self.since = None;
    }

    pub(crate) fn is_settled(&self, now: u64) -> bool {
        self.settled.is_some_and(|at| now >= at)
    }

    /// Looks at the peers after something happened.
    pub(crate) fn look(&mut self, now: u64, peers: &[Peer]) -> Option<String> {
        if !self.is_settled(now) {
            return None;
        }
        let idle = !peers.iter().any(|p| believes(p, now)) && peers.iter().any(wants);
        if !idle {
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert(now);
        (now - since > self.bound)
            .then(|| format!("free and wanted for {} ms", (now - since) / MILLI))
    }
}

/// Whether it wants the lock and would take it now.
pub(crate) fn wants(peer: &Peer) -> bool {
    peer.doing == Doing::Wanting && peer.claim.state() == tenure_core::State::Contending
}
