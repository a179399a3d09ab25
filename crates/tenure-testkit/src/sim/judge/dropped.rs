//! What was dropped leaves nothing that outlives its ttl: once a claim says that nothing of it is
//! left, neither the record nor a write still on its way puts it back.

use tenure_core::{Liveness, Mark, Record};

use super::{Each, Outsiders};
use crate::sim::plan::Plan;

#[derive(Clone, Copy, Debug, Default)]
struct Promise {
    /// Which attempt to get the lock this is, and the number of the first mark drawn for it.
    turn: u32,
    first: u128,
    /// When it was told to end, in true time.
    ended_at: Option<u64>,
    /// Of which of the last 64 turns nothing is left.
    gone: u64,
    /// A remainder of it is left on purpose.
    detached: bool,
}

#[derive(Debug)]
pub(crate) struct Dropped {
    observed: bool,
    server: bool,
    /// What is left after a ttl may be left to its ttl.
    ttl: u64,
    promises: Each<Promise>,
}

impl Dropped {
    pub(crate) fn new(plan: &Plan) -> Self {
        let ttl = u64::try_from(plan.timing.ttl().as_nanos()).unwrap_or(u64::MAX);
        let observed = plan.store.liveness() != Liveness::Process;
        let server = plan.store.liveness() == Liveness::Server;
        Self { observed, server, ttl: ttl - ttl / 50, promises: Each::default() }
    }

    /// Which turn `peer` is at.
    pub(crate) fn turn(&self, peer: usize) -> u32 {
        self.promises[peer].turn
    }

    /// `peer` begins to want the lock; `next` is the mark it draws next.
    pub(crate) fn wants(&mut self, peer: usize, next: u128) {
        let p = &mut self.promises[peer];
        let turn = p.turn + 1;
        let gone = p.gone & !bit(turn);
        *p = Promise { turn, first: next, ended_at: None, gone, detached: false };
    }

    pub(crate) fn ends(&mut self, peer: usize, now: u64) {
        self.promises[peer].ended_at.get_or_insert(now);
    }

    pub(crate) fn detached(&mut self, peer: usize) {
        self.promises[peer].detached = true;
    }

    /// `peer` says that nothing is left of its turn.
    pub(crate) fn nothing_left(
        &mut self,
        now: u64,
        peer: usize,
        record: Option<&Record>,
        outsiders: Outsiders,
    ) -> Option<String> {
        let p = &mut self.promises[peer];
        let overdue = now >= p.ended_at.unwrap_or(now) + self.ttl;
        if p.detached || self.observed && overdue {
            return None;
        }
        p.gone |= bit(p.turn);
        // A creation may land after somebody else's deletion: nobody can know.
        if self.observed && outsiders.deleted {
            return None;
        }
        let first = p.first;
        let of_turn = |mark: Mark| (first..first + (1 << 32)).contains(&mark.as_u128());
        let record = record?;
        // Where a release deletes the record, too, a creation may land late: it is swept when it is
        // seen, and the judges of idleness watch that.
        if !self.server && record.holder.as_ref().is_some_and(|h| of_turn(h.mark)) {
            return Some(format!("c{peer} says that nothing is left, and is the holder"));
        }
        let waits = record.queue.iter().any(|w| of_turn(w.mark));
        waits.then(|| format!("c{peer} says that nothing is left, and stands in line"))
    }

    /// A write that leaves something of `peer` was done. One that creates the record may come after
    /// somebody else's deletion: nobody can know.
    pub(crate) fn landed(
        &self,
        peer: usize,
        turn: u32,
        creates: bool,
        outsiders: Outsiders,
    ) -> Option<String> {
        let excused = creates && outsiders.deleted;
        let gone = self.promises[peer].gone & bit(turn) != 0 && !excused;
        gone.then(|| format!("a write of c{peer} is done after it said that nothing is left"))
    }
}

const fn bit(turn: u32) -> u64 {
    1 << (turn % 64)
}
