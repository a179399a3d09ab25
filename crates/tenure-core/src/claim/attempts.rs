//! Writes that were sent and whose outcome is not known yet.
//!
//! At most one is under way; those whose answer was lost are in doubt until the record tells. Only
//! the last few are kept: an older one that lands after all is somebody else's hold to us, which
//! costs a ttl but never makes two holders.

use alloc::vec::Vec;

use crate::{Change, Mark, Term, Time};

const DOUBTS: usize = 8;

/// What a write was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Take,
    Join,
    Leave,
    Renew(Term),
    Release,
}

impl Kind {
    pub(super) fn of(change: &Change) -> Self {
        match change {
            Change::Take { .. } => Self::Take,
            Change::Join { .. } => Self::Join,
            Change::Leave { .. } => Self::Leave,
            Change::Renew { term, .. } => Self::Renew(*term),
            Change::Release { .. } => Self::Release,
        }
    }
}

/// One write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Attempt {
    pub(super) mark: Mark,
    pub(super) kind: Kind,
    pub(super) sent: Time,
    /// Revision it was conditional on; 0: that there is no record.
    pub(super) expected: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Attempts {
    flight: Option<Attempt>,
    /// The newest first. Nearly always none, and then it has no room either: a process may have
    /// thousands of claims.
    doubts: Vec<Attempt>,
}

impl Attempts {
    pub(super) const fn new() -> Self {
        Self { flight: None, doubts: Vec::new() }
    }

    pub(super) fn forget(&mut self) {
        self.flight = None;
        self.doubts.clear();
    }

    pub(super) fn start(&mut self, attempt: Attempt) {
        self.flight = Some(attempt);
    }

    pub(super) const fn flight(&self) -> Option<&Attempt> {
        self.flight.as_ref()
    }

    /// The answer to the write under way will not come, or not in time.
    pub(super) fn doubt_flight(&mut self) {
        let Some(attempt) = self.flight.take() else { return };
        self.doubts.truncate(DOUBTS - 1);
        self.doubts.insert(0, attempt);
    }

    /// Removes and returns the attempt with this mark.
    pub(super) fn take(&mut self, mark: Mark) -> Option<Attempt> {
        if self.flight.is_some_and(|a| a.mark == mark) {
            return self.flight.take();
        }
        let place = self.doubts.iter().position(|a| a.mark == mark)?;
        Some(self.doubts.remove(place))
    }

    pub(super) fn no_doubts(&self) -> bool {
        self.doubts.is_empty()
    }

    /// Neither under way nor in doubt.
    pub(super) fn none_pending(&self) -> bool {
        self.flight.is_none() && self.no_doubts()
    }

    /// The record was seen at `revision`: what was conditional on an earlier one cannot land.
    pub(super) fn moved_past(&mut self, revision: u64) {
        self.settle(|a| revision > a.expected);
    }

    /// The store was read and cannot have a write still under way: what it does not show did not
    /// happen.
    pub(super) fn no_late_ones(&mut self) {
        self.settle(|_| true);
    }

    /// There is no record at `revision` (0: now): what was conditional on one cannot land. What was
    /// conditional on there being none still can.
    pub(super) fn object_gone(&mut self, revision: u64) {
        self.settle(|a| a.expected > 0 && (revision == 0 || revision > a.expected));
    }

    fn settle(&mut self, settled: impl Fn(&Attempt) -> bool) {
        self.doubts.retain(|doubt| !settled(doubt));
    }
}
