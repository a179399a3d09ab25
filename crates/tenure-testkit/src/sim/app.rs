//! What the application of a peer does: wants the lock, acts under it, gives it back.
//!
//! Owns the users' part of a run. An application checks its hold right before each action, as the
//! library asks it to; what it then writes carries the token and may be long on its way.

use tenure_core::{Mark, Patience, State};

use super::agenda::Kind;
use super::bug::Bug;
use super::judge::belief;
use super::peer::Doing;
use super::world::World;
use std::time::Duration;

impl World {
    /// The application's next step is due.
    pub(super) fn app(&mut self, n: usize) {
        match self.peers[n].doing {
            Doing::Resting => self.wants(n),
            Doing::Wanting => {
                let now = self.peers[n].local(self.now);
                self.peers[n].claim.cancel(now);
                self.leaves(n);
            }
            Doing::Holding if self.now < self.peers[n].hold_until => {
                self.acts(n);
                let next = self.now + self.dice.around(self.plan.act);
                self.step_at(n, next.min(self.peers[n].hold_until));
            }
            Doing::Holding => self.gives_back(n),
            Doing::Leaving => {}
        }
    }

    fn wants(&mut self, n: usize) {
        if self.lines[n].dead {
            self.reborn(n);
        }
        let ttl = self.ttl();
        let peer = &mut self.peers[n];
        let now = peer.local(self.now);
        peer.limit = None;
        let patience = match self.dice.below(8) {
            0 if !self.calm => Patience::Now,
            1 if !self.calm => {
                let limit = now.after(Duration::from_nanos(self.dice.around(ttl)));
                peer.limit = Some(limit);
                Patience::Until(limit)
            }
            _ => Patience::Forever,
        };
        let next = peer.claim.config().marks.clone().draw();
        peer.claim.acquire(patience);
        peer.doing = Doing::Wanting;
        peer.wants_since = self.now;
        self.judges.dropped.wants(n, Mark::as_u128(next));
        let bored = self.dice.chance(self.plan.give_up) && !self.calm;
        let at = if bored { self.now + self.dice.around(ttl) } else { u64::MAX };
        self.step_at(n, at);
        self.drain(n);
    }

    pub(super) fn begins_holding(&mut self, n: usize) {
        let mut hold = self.dice.around(self.plan.hold);
        if self.calm {
            hold = hold.min(self.ttl() / 2);
        }
        let peer = &mut self.peers[n];
        peer.doing = Doing::Holding;
        peer.hold_until = self.now + hold;
        let first = self.dice.below(self.plan.act);
        self.step_at(n, self.now + first.min(hold));
    }

    /// Told to stop: most do so in time.
    pub(super) fn stops_soon(&mut self, n: usize) {
        let grace = u64::try_from(self.plan.timing.grace().as_nanos()).unwrap_or(u64::MAX);
        let in_time = self.dice.below(grace + grace / 5);
        let peer = &mut self.peers[n];
        peer.hold_until = peer.hold_until.min(self.now + in_time);
    }

    /// Starts an action if the hold is still good, and sends what it writes.
    fn acts(&mut self, n: usize) {
        let peer = &self.peers[n];
        if !peer.claim.is_valid(peer.local(self.now)) {
            return;
        }
        self.starts(n);
        let (peer, ttl) = (&self.peers[n], self.ttl());
        if let (Some(token), Some(mark)) = (peer.claim.token(), peer.claim.mark()) {
            let slot = self.guarded.put((token, mark));
            // Frozen between the last check and the write: what the token is for.
            let stalled = self.dice.chance(10) && !self.calm;
            let stall = if stalled { self.dice.below(3 * ttl) } else { 0 };
            let way = self.way();
            self.put(stall + way, Kind::Fenced, n, slot);
        }
    }

    /// An action starts.
    fn starts(&mut self, n: usize) {
        let peer = &self.peers[n];
        let late = self.judges.deadline.action(n, peer, self.now);
        self.judged("deadline", late);
        let two = belief::alone(self.now, &self.peers, n, self.judges.outsiders);
        self.judged("belief", two);
    }

    fn gives_back(&mut self, n: usize) {
        let ttl = self.ttl();
        let (detach, undo) = (self.dice.chance(self.plan.detach), self.dice.chance(50));
        let remainder = Duration::from_nanos(self.dice.around(ttl / 2));
        let peer = &mut self.peers[n];
        let now = peer.local(self.now);
        if detach && !self.calm {
            peer.claim.detach(now, remainder);
            // A remainder is there on purpose.
            peer.doing = Doing::Leaving;
            self.judges.dropped.detached(n);
            return self.drain(n);
        }
        if undo {
            peer.claim.cancel(now)
        } else {
            peer.claim.release(now)
        }
        if self.bug == Some(Bug::WorkAfterRelease) {
            self.starts(n);
        }
        self.leaves(n);
    }

    fn leaves(&mut self, n: usize) {
        self.peers[n].doing = Doing::Leaving;
        self.judges.dropped.ends(n, self.now);
        self.drain(n);
    }

    pub(super) fn nothing_left(&mut self, n: usize) {
        let (record, outsiders) = (self.shelf.record(), self.judges.outsiders);
        let left = self.judges.dropped.nothing_left(self.now, n, record, outsiders);
        self.judged("dropped", left);
    }

    /// The claim wants nothing any more.
    pub(super) fn has_ended(&mut self, n: usize) {
        debug_assert_eq!(self.peers[n].claim.state(), State::Ended);
        self.peers[n].doing = Doing::Resting;
        let mut rest = self.dice.around(self.plan.rest);
        if self.calm {
            rest = rest.min(self.ttl() / 4);
        }
        self.step_at(n, self.now + rest);
    }

    pub(super) fn ttl(&self) -> u64 {
        u64::try_from(self.plan.timing.ttl().as_nanos()).unwrap_or(u64::MAX)
    }
}
