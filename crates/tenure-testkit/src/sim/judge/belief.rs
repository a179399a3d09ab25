//! At most one peer believes that it holds the lock, at any instant of true time.
//!
//! Belief only ever begins when a hold is reported or renewed, or shows when an action starts: it
//! is looked at there. Excused is who has not heard yet that an outsider overwrote the record.

use super::Outsiders;
use crate::sim::peer::Peer;

/// Whether anybody but `who` believes at `now`.
pub(crate) fn alone(now: u64, peers: &[Peer], who: usize, outsiders: Outsiders) -> Option<String> {
    if !believes(&peers[who], now) || !outsiders.known_to(&peers[who]) {
        return None;
    }
    let other = |p: &Peer| believes(p, now) && outsiders.known_to(p);
    let other = peers.iter().enumerate().find(|(n, p)| *n != who && other(p))?.0;
    Some(format!("c{who} and c{other} both believe that they hold the lock"))
}

pub(crate) fn believes(peer: &Peer, now: u64) -> bool {
    peer.claim.is_valid(peer.local(now))
}
