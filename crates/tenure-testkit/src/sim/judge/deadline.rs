//! No action starts after the deadline, and no deadline is later than what the promise allows:
//! the *send* of the newest write that is proved, plus `ttl x (1 - drift) - margin`.
//!
//! The judge notes itself when each write was sent, and does its own arithmetic.

use tenure_core::{Mark, Term, Time};

use super::Each;
use crate::sim::peer::Peer;
use crate::sim::plan::Plan;

const DRIFT_PPM: u64 = 10_000;
/// So many writes of a peer are remembered.
const NOTED: usize = 64;

#[derive(Debug)]
pub(crate) struct Deadlines {
    valid_for: Option<u64>,
    sent: Box<Each<[(Mark, Time); NOTED]>>,
}

impl Deadlines {
    pub(crate) fn new(plan: &Plan) -> Self {
        let ttl = u64::try_from(plan.timing.ttl().as_nanos()).unwrap_or(u64::MAX);
        let valid_for = ttl - ttl / 1_000_000 * DRIFT_PPM - plan.margin;
        let valid_for = matches!(plan.term(), Term::Ttl(_)).then_some(valid_for);
        Self { valid_for, sent: Box::new([[(Mark::default(), Time::ZERO); NOTED]; 5]) }
    }

    /// A write with this mark left at `local`.
    pub(crate) fn sent(&mut self, peer: usize, mark: Mark, local: Time) {
        self.sent[peer][slot(mark)] = (mark, local);
    }

    /// The hold that `peer` reports is not believed for too long.
    pub(crate) fn proved(&self, who: usize, peer: &Peer) -> Option<String> {
        let latest = self.latest(who, peer)?;
        match peer.claim.deadline() {
            Some(deadline) if deadline <= latest => None,
            deadline => Some(format!("c{who} believes until {deadline:?}, allowed is {latest:?}")),
        }
    }

    /// An action of `who` starts at `now`.
    pub(crate) fn action(&self, who: usize, peer: &Peer, now: u64) -> Option<String> {
        if peer.claim.mark().is_none() {
            return Some(format!("c{who} acts and holds nothing"));
        }
        let (latest, now) = (self.latest(who, peer)?, peer.local(now));
        (now >= latest).then(|| format!("c{who} acts at {now:?}, its deadline was {latest:?}"))
    }

    fn latest(&self, who: usize, peer: &Peer) -> Option<Time> {
        let (valid_for, mark) = (self.valid_for?, peer.claim.mark()?);
        let (noted, sent) = self.sent[who][slot(mark)];
        let sent = if noted == mark { sent } else { Time::ZERO };
        Some(Time::from_nanos(sent.as_nanos() + valid_for))
    }
}

fn slot(mark: Mark) -> usize {
    mark.as_u128() as usize % NOTED
}
