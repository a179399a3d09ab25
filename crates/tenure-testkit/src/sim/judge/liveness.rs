//! Once the faults have stopped, somebody holds the lock within a ttl and two retries; and a hold
//! is not lost when nothing goes wrong any more.

use tenure_core::Report;

use super::belief::believes;
use super::deadline::attempt;
use super::idle::wants;
use crate::sim::peer::Peer;
use crate::sim::plan::Plan;

/// How long after the last fault, and the last message of a storm, a new holder must be there: the
/// slowest clock counts the expiry, and then two attempts with their pauses may fail.
fn bound(plan: &Plan) -> u64 {
    let ttl = u64::try_from(plan.timing.ttl().as_nanos()).unwrap_or(u64::MAX);
    let local = ttl + ttl / 100 + 4 * attempt(&plan.timing, plan.margin);
    local + local / 50
}

/// Whether the lock has come to life in a calm.
#[derive(Debug)]
pub(crate) struct Liveness {
    bound: u64,
    /// When in true time what the storm left is over; in a storm never.
    from: u64,
    held: bool,
}

impl Liveness {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self { bound: bound(plan), from: u64::MAX, held: false }
    }

    /// A calm begins, what the storm left is over at `from`; or a storm does.
    pub(crate) fn calm(&mut self, from: Option<u64>) {
        self.from = from.unwrap_or(u64::MAX);
        self.held = false;
    }

    /// Whether somebody has held since the storm was over: from then on no hold is a dead one's.
    pub(crate) const fn is_alive(&self) -> bool {
        self.held
    }

    /// Whether no fault of the storm can be the cause of anything any more.
    pub(crate) const fn is_settled(&self, now: u64) -> bool {
        now >= self.from.saturating_add(self.bound)
    }

    /// Looks at the peers after something happened.
    pub(crate) fn look(&mut self, now: u64, peers: &[Peer]) -> Option<String> {
        if self.held || now < self.from {
            return None;
        }
        self.held = peers.iter().any(|p| believes(p, now));
        let since = |p: &Peer| p.wants_since.max(self.from);
        let too_long = |p: &Peer| wants(p) && now > since(p) + self.bound;
        let waiting = peers.iter().position(too_long).filter(|_| !self.held)?;
        Some(format!("c{waiting} waits and nobody holds, long after the last fault"))
    }
}

/// Somebody is told of a loss in the settled calm.
pub(crate) fn lost(who: usize, report: &Report) -> Option<String> {
    let Report::Lost(cause) = report else { return None };
    Some(format!("c{who} lost its hold without any fault: {cause:?}"))
}
