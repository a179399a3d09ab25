//! What goes wrong: who pauses, dies, is cut off, and what outsiders do; and when it all stops.
//!
//! Owns the faults and the change from storm to calm. How often each comes is the plan's.

use std::rc::Rc;

use super::agenda::Kind;
use super::bug::Bug;
use super::peer::Known;
use super::plan::{MILLI, SECOND, StoreKind};
use super::shelf::Meddling;
use super::world::World;

impl World {
    pub(super) fn again(&mut self, kind: Kind, every: u64) {
        if every > 0 {
            let at = self.now + self.dice.around(every);
            self.agenda.put(at, kind, 0, 0, 0);
        }
    }

    pub(super) fn anybody(&mut self) -> usize {
        self.dice.below(self.peers.len() as u64) as usize
    }

    pub(super) fn freeze(&mut self) {
        self.again(Kind::Freeze, self.plan.freeze_every);
        let n = self.anybody();
        let (length, suspended) = (self.dice.below(self.plan.freeze_max), self.dice.chance(500));
        if self.calm || self.peers[n].is_frozen(self.now) {
            return;
        }
        let ttl = self.ttl();
        let peer = &mut self.peers[n];
        peer.frozen_until = self.now + length;
        peer.suspended = suspended;
        match self.bug {
            Some(Bug::ClockStopsInSuspend) => peer.set_back(length),
            Some(Bug::ClockSetBack) => peer.set_back(2 * ttl),
            _ => {}
        }
        if suspended {
            self.loses_connection(n);
        }
        let thaw = self.now + length + self.dice.below(MILLI);
        self.wake[n] = self.wake[n].max(thaw);
        self.steps[n] = self.steps[n].max(thaw);
        self.trace.say(|| format!("{:>15} c{n} freezes until {thaw}", self.now));
    }

    /// A process ends without a word, and another takes its place.
    pub(super) fn die(&mut self) {
        self.again(Kind::Die, self.plan.die_every);
        let n = self.anybody();
        if self.calm {
            return;
        }
        self.trace.say(|| format!("{:>15} c{n} dies", self.now));
        self.peers[n] = self.new_peer(n, self.peers[n].life + 1);
        self.wake[n] = u64::MAX;
        self.judges.dropped.wants(n, 0);
        self.grant(n);
        let rest = self.dice.around(self.plan.rest + SECOND);
        self.step_at(n, self.now + rest);
        if self.plan.store == StoreKind::Line {
            // Who waits for it notices.
            self.tell_all();
        }
    }

    /// The network between a peer and the store is cut: one way, or both.
    pub(super) fn cut(&mut self) {
        self.again(Kind::Cut, self.plan.cut_every);
        let (n, way, longest) = (self.anybody(), self.dice.below(3), 2 * self.ttl());
        let until = self.now + self.dice.below(longest);
        if self.calm {
            return;
        }
        self.trace.say(|| format!("{:>15} c{n} is cut off until {until}: {way}", self.now));
        for side in 0..2 {
            if way == 2 || way == side {
                self.peers[n].cut[side as usize] = until;
            }
        }
        // A watch notices, too, and is opened anew.
        self.put(until - self.now, Kind::Rewatch, n, 0);
    }

    /// Whether what the peer sends does not arrive.
    pub(super) fn is_lost(&mut self, n: usize) -> bool {
        let lose = self.net().lose;
        self.is_cut(n, 0) || self.dice.chance(lose)
    }

    /// Whether what the peer is sent does not arrive.
    pub(super) fn is_mute(&mut self, n: usize) -> bool {
        let mute = self.net().mute;
        self.is_cut(n, 1) || self.dice.chance(mute)
    }

    pub(super) fn is_cut(&self, n: usize, side: usize) -> bool {
        !self.calm && self.now < self.peers[n].cut[side]
    }

    pub(super) fn deafen(&mut self) {
        self.again(Kind::Deafen, self.plan.deafen_every);
        let n = self.anybody();
        if self.peers[n].deaf {
            return;
        }
        self.peers[n].deaf = true;
        if self.bug == Some(Bug::WatchNotReopened) {
            return;
        }
        // A watch may end at any time; in a calm it is noticed at once.
        let longest = if self.calm { 0 } else { 2 * self.plan.deafen_every };
        let silence = self.way() + self.dice.below(longest);
        self.put(silence, Kind::Rewatch, n, 0);
    }

    /// A watch is opened anew and begins with what stands there.
    pub(super) fn rewatch(&mut self, n: usize) {
        self.peers[n].deaf &= self.bug == Some(Bug::WatchNotReopened);
        if matches!(self.bug, Some(Bug::WatchNotReopened | Bug::WatchResumesLate)) {
            return;
        }
        let known = Known { snap: Rc::clone(&self.shelf.now), unordered: false };
        let slot = self.news.put((known, 0));
        self.told(n, slot);
    }

    pub(super) fn meddle(&mut self) {
        self.again(Kind::Meddle, self.plan.meddle_every);
        let how = self.dice.pick(&[
            Meddling::Label,
            Meddling::Blank,
            Meddling::Take,
            Meddling::Delete,
            Meddling::Delete,
            Meddling::Delete,
            Meddling::Recreate,
        ]);
        if self.calm || !self.outsider(how) || how == Meddling::Label {
            return;
        }
        self.judges.outsiders.revision = self.shelf.revision();
        self.judges.outsiders.deleted |= matches!(how, Meddling::Delete | Meddling::Recreate);
    }

    /// Somebody who is no contender changes the record; whether there was one.
    pub(super) fn outsider(&mut self, how: Meddling) -> bool {
        let wall = self.wall(0);
        if !self.shelf.meddle(how, self.plan.term(), wall) {
            return false;
        }
        self.trace.say(|| format!("{:>15} an outsider: {how:?}", self.now));
        self.tell_all();
        true
    }

    /// From storm to calm (1), or from calm to storm.
    pub(super) fn phase(&mut self, step: u32) {
        match step {
            1 => {
                self.calm = true;
                let over = self.now + self.plan.freeze_max + self.plan.storm_net.late_max;
                // What is dead there ends by itself, a ttl after it was heard of last.
                let server = self.plan.store == StoreKind::Server;
                let over = over + if server { self.ttl() + self.ttl() / 10 + SECOND } else { 0 };
                self.judges.liveness.calm(Some(over));
                self.agenda.put(self.now + self.plan.calm, Kind::Phase, 0, 0, 0);
                for n in 0..self.peers.len() {
                    self.rewatch_if_awake(n);
                    let soon = self.now + self.ttl();
                    self.peers[n].hold_until = self.peers[n].hold_until.min(soon);
                }
            }
            _ => {
                self.calm = false;
                self.judges.liveness.calm(None);
                self.judges.idle.look(self.now, &self.peers, false);
                self.agenda.put(self.now + self.plan.storm, Kind::Phase, 0, 0, 1);
            }
        }
        self.trace.say(|| format!("{:>15} phase {step}", self.now));
    }

    pub(super) fn rewatch_if_awake(&mut self, n: usize) {
        let until = self.peers[n].frozen_until.saturating_sub(self.now);
        self.put(until, Kind::Rewatch, n, 0);
    }
}
