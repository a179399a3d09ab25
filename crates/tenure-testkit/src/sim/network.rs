//! The network between the peers and the store, and what the store does with what arrives.
//!
//! Owns what happens to a message: how long it is on its way, whether it arrives, arrives twice, or
//! is answered. What a peer makes of it is its driver's business.

use std::rc::Rc;

use tenure_core::{Change, Mark, Outcome, Write};

use super::agenda::{Entry, Kind};
use super::bug::Bug;
use super::judge::order;
use super::peer::{Known, Snapshot};
use super::plan::{Net, StoreKind};
use super::shelf::Shelf;
use super::world::World;

/// A write on its way.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    write: Write,
    turn: u32,
    /// Whether its author gets an answer.
    answered: bool,
}

/// An answer on its way.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) attempt: Mark,
    pub(super) outcome: Outcome,
    /// The record as it was right after the write: what a driver makes of the change.
    pub(super) made: Option<Rc<Snapshot>>,
}

impl World {
    pub(super) fn net(&self) -> &Net {
        if self.calm { &self.plan.calm_net } else { &self.plan.storm_net }
    }

    /// How long one message is on its way.
    pub(super) fn way(&mut self) -> u64 {
        let Net { base, jitter, late, late_max, .. } = *self.net();
        let late = if self.dice.chance(late) { self.dice.below(late_max) } else { 0 };
        base + self.dice.below(jitter) + late
    }

    pub(super) fn put(&mut self, delay: u64, kind: Kind, peer: usize, slot: u32) {
        let life = self.peers[peer].life;
        self.agenda.put(self.now + delay, kind, peer, life, slot);
    }

    /// Sends a write to a remote store.
    pub(super) fn dispatch(&mut self, peer: usize, write: Write) {
        let Net { double, refuse, doubt, .. } = *self.net();
        let turn = self.judges.dropped.turn(peer);
        let (way, attempt) = (self.way(), write.attempt);
        let lost = self.is_lost(peer);
        if self.dice.chance(refuse) && !lost {
            return self.reply(way, peer, attempt, Outcome::NotDone);
        }
        if lost {
            return;
        }
        if self.dice.chance(double) {
            let again = self.way();
            let slot = self.sent.put(Sent { write: write.clone(), turn, answered: false });
            self.put(again, Kind::Land, peer, slot);
        }
        let doubtful = self.dice.chance(doubt);
        if doubtful {
            let back = self.way();
            self.reply(back, peer, attempt, Outcome::Unknown);
        }
        let answered = !doubtful && !self.is_mute(peer);
        self.bugs_beside(peer, &write, turn);
        let slot = self.sent.put(Sent { write, turn, answered });
        self.put(way, Kind::Land, peer, slot);
    }

    /// What a bug sends beside a write.
    pub(super) fn bugs_beside(&mut self, peer: usize, write: &Write, turn: u32) {
        match (self.bug, &write.change) {
            (Some(Bug::ClearThenTake), Change::Take { ended: Some(_), .. }) => {
                let way = self.way();
                self.put(way, Kind::Clear, peer, 0);
            }
            (Some(Bug::DoubleRelease), Change::Release { .. }) => {
                let (write, answered) = (write.clone(), false);
                let way = self.way() + self.ttl() / 4;
                let slot = self.sent.put(Sent { write, turn, answered });
                self.put(way, Kind::Land, peer, slot);
            }
            _ => {}
        }
    }

    pub(super) fn reply(&mut self, way: u64, peer: usize, attempt: Mark, outcome: Outcome) {
        let slot = self.answers.put(Answer { attempt, outcome, made: None });
        self.put(way, Kind::Answer, peer, slot);
    }

    pub(super) fn land(&mut self, entry: Entry) {
        let Some(Sent { write, turn, answered }) = self.sent.take(entry.slot) else { return };
        let peer = usize::from(entry.peer);
        let alive = self.peers[peer].life == entry.life;
        let outcome = if self.may_put(&write) {
            self.carry_out(peer, alive.then_some(turn), &write)
        } else {
            Outcome::NotDone
        };
        if answered && alive {
            let made = matches!(outcome, Outcome::Done { .. }).then(|| Rc::clone(&self.shelf.now));
            let slot = self.answers.put(Answer { attempt: write.attempt, outcome, made });
            let back = self.way();
            self.put(back, Kind::Answer, peer, slot);
        }
    }

    /// Whether a server knows the session that this puts something under.
    pub(super) fn may_put(&self, write: &Write) -> bool {
        let session = match &write.change {
            Change::Take { holder, .. } => holder.session,
            Change::Join { waiter, .. } => waiter.session,
            Change::Renew { session, .. } => *session,
            Change::Leave { .. } | Change::Release { .. } => return true,
        };
        self.plan.store != StoreKind::Server || self.is_granted(session)
    }

    /// The store carries out a write, or refuses it. `turn`: of a peer that still lives.
    pub(super) fn carry_out(&mut self, peer: usize, turn: Option<u32>, write: &Write) -> Outcome {
        let before = Rc::clone(&self.shelf.now);
        let outcome = self.shelf.write(write);
        self.trace.mix(self.shelf.revision());
        if !matches!(outcome, Outcome::Done { .. }) {
            return outcome;
        }
        self.counts.writes += 1;
        self.trace.say(|| format!("{:>15} done {:?}", self.now, write.change));
        // Where a release deletes the record a creation may land late; the driver then sweeps it.
        let ghost = self.plan.store == StoreKind::Server && write.expected.is_none();
        let leaves = Shelf::leaves_something(&write.change) && !ghost;
        if let Some(turn) = turn.filter(|_| leaves) {
            let creates = write.expected.is_none();
            let late = self.judges.dropped.landed(peer, turn, creates, self.judges.outsiders);
            self.judged("dropped", late);
        }
        if self.plan.store == StoreKind::Line && write.change.begins_hold() {
            let after = Rc::clone(&self.shelf.now);
            let after = after.record.as_ref();
            let passed = after.and_then(|after| {
                order::served(&write.change, before.record.as_ref(), after, |s| self.probe(s))
            });
            self.judged("order", passed);
        }
        self.tell_all();
        outcome
    }

    /// Tells every watch of the record as it is now.
    pub(super) fn tell_all(&mut self) {
        let skip = self.net().skip;
        for peer in 0..self.peers.len() {
            if self.peers[peer].deaf || self.is_cut(peer, 1) || self.dice.chance(skip) {
                continue;
            }
            let known = Known { snap: Rc::clone(&self.shelf.now), unordered: false };
            let slot = self.news.put((known, 0));
            let way = self.way();
            self.put(way, Kind::News, peer, slot);
        }
    }

    pub(super) fn look(&mut self, entry: Entry) {
        let peer = usize::from(entry.peer);
        if self.peers[peer].life != entry.life || self.is_mute(peer) {
            return;
        }
        let snap = Rc::clone(&self.shelf.now);
        let unordered = snap.record.is_none() && self.plan.store != StoreKind::Server;
        let slot = self.news.put((Known { snap, unordered }, entry.slot));
        let back = self.way();
        self.put(back, Kind::Found, peer, slot);
    }
}
