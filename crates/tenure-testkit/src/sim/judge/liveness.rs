//! Once the faults have stopped, somebody holds the lock within a ttl and two retries; and a hold
//! is not lost when nothing goes wrong any more.

use tenure_core::{Report, Timing};

use super::belief::believes;
use super::idle::wants;
use crate::sim::peer::Peer;

/// How long after the last fault, and the last message of a storm, a new holder must be there.
pub(crate) fn bound(timing: &Timing) -> u64 {
    // The slowest clock counts the expiry, and then two attempts with their pauses may fail.
    let local = timing.expiry(timing.ttl()) + timing.attempt() * 4;
    let nanos = u64::try_from(local.as_nanos()).unwrap_or(u64::MAX);
    nanos + nanos / 50
}

/// The calm has lasted for the bound.
pub(crate) fn held(now: u64, peers: &[Peer]) -> Option<String> {
    let waiting = peers.iter().position(wants)?;
    let held = peers.iter().any(|p| believes(p, now));
    (!held).then(|| format!("c{waiting} waits and nobody holds, long after the last fault"))
}

/// Somebody is told of a loss in the settled calm.
pub(crate) fn lost(who: usize, report: &Report) -> Option<String> {
    let Report::Lost(cause) = report else { return None };
    Some(format!("c{who} lost its hold without any fault: {cause:?}"))
}
