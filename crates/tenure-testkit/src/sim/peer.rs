//! One contender: a claim, what its driver knows, its clock, and what its application is at.
//!
//! Owns local time. A clock's rate is wrong by a fixed part, and its offset has nothing to do with
//! any other's. It goes on while the peer is frozen, as the boot-time clock does in suspend.

use std::rc::Rc;

use tenure_core::{Claim, Record, Session, Time, Version, View};

use super::plan::SECOND;

const MILLION: u64 = 1_000_000;

/// The record as it stood at one revision.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) record: Option<Record>,
    pub(crate) version: Version,
}

/// What a driver knows of the record.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) snap: Rc<Snapshot>,
    /// A plain read found nothing: that has no revision.
    pub(crate) unordered: bool,
}

impl Known {
    pub(crate) fn revision(&self) -> u64 {
        if self.unordered { 0 } else { self.snap.version.revision }
    }

    /// `now`: the clock of the one machine, where there is one.
    pub(crate) fn view(&self, now: Option<Time>) -> View<'_> {
        match &self.snap.record {
            None => View::Absent { revision: self.revision() },
            Some(record) => {
                let stamp = record.holder.as_ref().map(|h| h.stamp);
                let age = now.zip(stamp).map(|(now, stamp)| now.since(stamp));
                View::Is { record, version: self.snap.version, age }
            }
        }
    }
}

/// What the application of a peer is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    Resting,
    Wanting,
    Holding,
    /// Gives back, or gives up.
    Leaving,
}

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) claim: Claim,
    pub(crate) known: Option<Known>,
    pub(crate) session: Session,
    /// How often it was started anew; what was meant for an earlier life is not for this one.
    pub(crate) life: u32,
    rate_ppm: u64,
    offset: u64,
    /// Its driver has ended, for a bug.
    pub(crate) ended: bool,
    /// The read under way: its number, and how often the view had changed when it left.
    pub(crate) reading: Option<(u32, u32)>,
    pub(crate) changes: u32,
    /// The newest revision it heard of; nothing older is news.
    pub(crate) newest: u64,
    /// Frozen until then, in true time; and whether messages are lost meanwhile.
    pub(crate) frozen_until: u64,
    pub(crate) suspended: bool,
    /// Cut off from the store until then, in true time: what it sends, and what it is sent.
    pub(crate) cut: [u64; 2],
    /// The watch is silent until it is opened anew.
    pub(crate) deaf: bool,
    pub(crate) doing: Doing,
    pub(crate) hold_until: u64,
    /// Since when it wants the lock, in true time.
    pub(crate) wants_since: u64,
    /// When the user's patience ends, by the local clock.
    pub(crate) limit: Option<Time>,
}

impl Peer {
    pub(crate) fn new(claim: Claim, life: u32, number: usize, rate_ppm: i64) -> Self {
        Self {
            session: claim.config().session,
            claim,
            known: None,
            life,
            rate_ppm: MILLION.saturating_add_signed(rate_ppm),
            offset: (number as u64 + 1) * 100_000 * SECOND,
            ended: false,
            reading: None,
            changes: 0,
            newest: 0,
            frozen_until: 0,
            suspended: false,
            cut: [0; 2],
            deaf: false,
            doing: Doing::Resting,
            hold_until: 0,
            wants_since: 0,
            limit: None,
        }
    }

    /// What its clock shows at `now` of true time. Right for some hours.
    pub(crate) fn local(&self, now: u64) -> Time {
        Time::from_nanos(self.offset + now * self.rate_ppm / MILLION)
    }

    /// The first instant of true time at which its clock shows `local`.
    pub(crate) fn true_time(&self, local: Time) -> u64 {
        let passed = local.as_nanos().saturating_sub(self.offset);
        passed.saturating_mul(MILLION).div_ceil(self.rate_ppm)
    }

    /// Its clock goes back, for a bug.
    pub(crate) fn set_back(&mut self, by: u64) {
        self.offset = self.offset.saturating_sub(by);
    }

    pub(crate) fn is_frozen(&self, now: u64) -> bool {
        now < self.frozen_until
    }

    /// Takes in what was learnt, unless it is older than what is known.
    pub(crate) fn learn(&mut self, known: Known) -> bool {
        let news = known.unordered || known.revision() >= self.newest;
        if news {
            self.changes += 1;
            self.newest = self.newest.max(known.revision());
            self.known = Some(known);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_shows_a_local_time_first_at_its_true_time() {
        let claim = || Claim::new(crate::sim::tests::config());
        for rate in [-10_000, 0, 1, 10_000] {
            let peer = Peer::new(claim(), 0, 2, rate);
            for local in [300_000 * SECOND, 300_003 * SECOND + 17, 305_600 * SECOND] {
                let local = Time::from_nanos(local);
                let at = peer.true_time(local);
                assert!(peer.local(at) >= local);
                assert!(at == 0 || peer.local(at - 1) < local, "{rate} {local:?}");
            }
        }
    }
}
