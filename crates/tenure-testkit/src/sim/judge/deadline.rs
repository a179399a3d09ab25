//! No action starts after the deadline, and no deadline is later than what the promise allows:
//! the *send* of the newest write that is proved, plus `ttl x (1 - drift) - margin`.
//!
//! And no single attempt takes so long that a lost message costs the hold: three fit between a
//! renewal that is due and the order to stop.
//!
//! The judge notes itself when each write was sent, and does its own arithmetic.

use std::time::Duration;

use tenure_core::{Mark, Term, Time, Timing, Write};

use super::Each;
use crate::sim::peer::Peer;
use crate::sim::plan::{Plan, StoreKind};

const DRIFT_PPM: u64 = 10_000;
/// So many writes of a peer are remembered.
const NOTED: usize = 64;

#[derive(Debug)]
pub(crate) struct Deadlines {
    valid_for: Option<u64>,
    attempt: u64,
    sent: Box<Each<[(Mark, Time); NOTED]>>,
}

impl Deadlines {
    pub(crate) fn new(plan: &Plan) -> Self {
        let valid_for = valid_for(&plan.timing, plan.margin);
        let attempt = attempt(&plan.timing, plan.margin);
        // Where a server counts the ttl, its clock may be fast, too.
        let server = plan.store == StoreKind::Server;
        let ttl = nanos(plan.timing.ttl());
        let error = if server { ttl / 1_000_000 * DRIFT_PPM } else { 0 };
        let valid_for = valid_for - error;
        let valid_for = matches!(plan.term(), Term::Ttl(_)).then_some(valid_for);
        Self { valid_for, attempt, sent: Box::new([[(Mark::default(), Time::ZERO); NOTED]; 5]) }
    }

    /// A write left at `local`.
    pub(crate) fn sent(&mut self, who: usize, write: &Write, local: Time) -> Option<String> {
        self.sent[who][slot(write.attempt)] = (write.attempt, local);
        let wait = u64::try_from(write.give_up_at.since(local).as_nanos()).unwrap_or(u64::MAX);
        let (limit, ms) = (self.attempt, 1_000_000);
        (wait > limit).then(|| {
            format!("c{who} waits {} ms for an answer, allowed are {} ms", wait / ms, limit / ms)
        })
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

/// How long a hold lasts after the send of what proves it.
pub(crate) fn valid_for(timing: &Timing, margin: u64) -> u64 {
    let ttl = nanos(timing.ttl());
    ttl - ttl / 1_000_000 * DRIFT_PPM - margin
}

/// How long one attempt may take.
pub(crate) fn attempt(timing: &Timing, margin: u64) -> u64 {
    let spent = nanos(timing.grace()) + nanos(timing.renew_every());
    ((valid_for(timing, margin) - spent) / 3 + 1).min(5_000_000_000)
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

fn slot(mark: Mark) -> usize {
    mark.as_u128() as usize % NOTED
}
