//! A contender that has ended, for the next acquisition of the same lock by this process.
//!
//! Owns which ones may be used again, and what of them is forgotten. **Nothing of the last hold
//! stays**: its marks go on from the last ones, and whose process it is the next step asks anew.

use tenure_core::{Patience, State};

use super::{Ahead, EndedBy, LocalClaim};

impl LocalClaim {
    /// Leaves it to the next contender for its lock, which saves making one, if it has ended with
    /// nothing of it left or to come. Else it is dropped.
    pub fn leave(mut self: Box<Self>) {
        let home = self.home.upgrade();
        if let Some(home) = home.filter(|_| self.is_done()) {
            self.forget();
            home.keep(self);
        }
    }

    /// Whether it has ended as one does that gives the lock back. Whatever else became of it ends with
    /// it: its marks may be those of a hold that lives on, or a write of it may be in doubt.
    fn is_done(&self) -> bool {
        let told = self.claim.state() == State::Ended && self.claim.rests();
        let by_caller = self.ending == EndedBy::Caller && self.kill.is_none();
        let nothing_left = self.reports.is_empty() && self.dead.is_empty() && self.pipe.is_none();
        told && by_caller && nothing_left && !self.once && !self.unsynced
    }

    /// Forgets what was wanted and where it stood. What is kept belongs to the lock and to the process,
    /// or is what [`is_done`](Self::is_done) says. Names every field, so that none is forgotten.
    fn forget(&mut self) {
        let Self {
            lock: _,
            home: _,
            session: _,
            claim: _,
            file: _,
            reports: _,
            pipe: _,
            unsynced: _,
            dead: _,
            kill: _,
            ending: _,
            once: _,
            patience,
            told,
            ahead,
            next_look,
            until,
            seen,
            slots,
            quiet,
            busy,
            orphans,
            quick,
        } = self;
        (*patience, *ahead, *slots) = (Patience::Forever, Ahead::default(), None);
        (*next_look, *until, *busy, *orphans) = (None, None, None, None);
        (*seen, *quiet, *quick, *told) = (0, 0, false, None);
    }
}
