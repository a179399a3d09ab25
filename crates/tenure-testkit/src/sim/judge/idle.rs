//! A lock that is free is not left idle while somebody wants it.
//!
//! Judged in the calm, when what the storm left has had time to end: from the instant nobody holds
//! and a living peer wants it, until somebody holds, a few times a message's way may pass, and no
//! ttl, no poll, no retry.

use super::belief::believes;
use crate::sim::peer::{Doing, Peer};
use crate::sim::plan::{MILLI, Plan, StoreKind};

#[derive(Debug)]
pub(crate) struct Idle {
    /// How long it may be free.
    bound: u64,
    since: Option<u64>,
}

impl Idle {
    pub(crate) fn new(plan: &Plan) -> Self {
        let way = plan.calm_net.base + plan.calm_net.jitter;
        // Told, read, written, answered; and once more for who was told while it was under way.
        // Over a server a keep-alive goes before each write.
        let ways = if plan.store == StoreKind::Server { 20 } else { 10 };
        Self { bound: ways * way + 4 * plan.timer_late + 10 * MILLI, since: None }
    }

    /// Looks at the peers after something happened. `alive`: in a calm that has seen a hold.
    pub(crate) fn look(&mut self, now: u64, peers: &[Peer], alive: bool) -> Option<String> {
        if !alive {
            self.since = None;
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
