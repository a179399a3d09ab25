//! Sessions: who they are, and how a server keeps them.
//!
//! Owns what an etcd backend has to do for a claim: what puts a key goes after the reply to a
//! keep-alive that was sent no earlier; a hold whose key is known to be put is renewed by a
//! keep-alive alone, which moves no revision. The server ends a session a little late by its own
//! clock. Keep-alives carry a number here; matching them in order is judged in [`sim`](crate::sim).

use std::sync::Arc;

use tenure_core::{Change, Probed, Session, Token};
use tenure_store::{Capabilities, Conditional, Stored};

use super::net::{Reply, Request};
use super::world::{Event, Frozen, World};
use crate::sim::StoreKind;

/// A session that the server knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) session: Session,
    pub(super) until: u64,
}

impl World {
    pub(super) fn capabilities(&self) -> Capabilities {
        let (liveness, queue) = (self.plan.store.liveness(), self.plan.store.queue());
        Capabilities { liveness, queue, wall_clocks: false, adopts: false, tags: true }
    }

    /// The process's session, a new one if it has none.
    pub(super) fn open_session(&mut self, (process, life): (usize, u32)) -> Session {
        if !self.plan.store.queue() {
            return Session::NONE;
        }
        let granted = self.granted();
        let side = &mut self.sides[process];
        if let Some(session) = side.session {
            return session;
        }
        side.sessions += 1;
        let mut name = [0; 32];
        name[0] = process as u8 + 1;
        name[1..5].copy_from_slice(&life.to_le_bytes());
        name[5..9].copy_from_slice(&side.sessions.to_le_bytes());
        let session = Session::from_bytes(name);
        side.session = Some(session);
        side.confirmed.clear();
        if self.plan.store == StoreKind::Server {
            self.leases.push(Lease { session, until: self.now + granted });
            self.at(self.ttl() / 3, Event::BeatDue(process, session));
        }
        session
    }

    /// Only where processes can be asked for.
    pub(super) fn probe(&self, session: Session) -> Probed {
        match self.sides.iter().find(|s| s.session == Some(session)) {
            None => Probed::Dead,
            Some(side) if side.frozen_until > self.now => Probed::Stopped,
            Some(_) => Probed::Alive,
        }
    }

    /// How long a session lives that was heard of now, in true time: the server is late by a bit.
    fn granted(&mut self) -> u64 {
        let ttl =
            self.ttl() * 1_000_000 / 1_000_000_u64.saturating_add_signed(self.plan.server_ppm);
        ttl + self.dice.below(self.plan.revoke_late)
    }

    /// Whether the server still knows the session that this puts something under.
    pub(super) fn may_put(&self, change: &Change) -> bool {
        let session = match change {
            Change::Take { holder, .. } => holder.session,
            Change::Join { waiter, .. } => waiter.session,
            Change::Renew { session, .. } => *session,
            Change::Leave { .. } | Change::Release { .. } => return true,
        };
        self.plan.store != StoreKind::Server || self.lease_of(session).is_some()
    }

    pub(super) fn lease_of(&self, session: Session) -> Option<u64> {
        self.leases.iter().find(|l| l.session == session).map(|l| l.until)
    }

    // ---- keep-alives ----

    /// Whether a keep-alive goes before it.
    pub(super) fn needs_beat(&self, process: usize, request: &Request) -> bool {
        let Request::Write { change, .. } = request else { return false };
        self.plan.store == StoreKind::Server
            && !self.is_renewal(process, change)
            && !matches!(change, Change::Leave { .. } | Change::Release { .. })
    }

    /// Whether it renews a hold whose key this process knows to be put.
    pub(super) fn is_renewal(&self, process: usize, change: &Change) -> bool {
        let Change::Renew { of, .. } = change else { return false };
        let side = &self.sides[process];
        let own = side.confirmed.iter().any(|(_, mark)| mark == of);
        self.plan.store == StoreKind::Server && own
    }

    /// A write put the key of a hold, or confirmed it.
    pub(super) fn confirmed(&mut self, process: usize, change: &Change) {
        let mark = match change {
            Change::Take { holder, .. } => holder.mark,
            Change::Renew { mark, .. } => *mark,
            _ => return,
        };
        let token = self.shelf.holder().map_or(Token::default(), |h| h.token);
        self.sides[process].confirmed.push((token, mark));
    }

    /// The keep-alive before a write reaches the server.
    pub(super) fn beat_before(&mut self, number: usize) {
        let process = self.calls[number].by.0;
        let alive = self.beats(process);
        if !self.is_lost(process) {
            let way = self.way();
            self.at(way, Event::Beaten(number, alive));
        }
    }

    /// It is answered: the write itself may go.
    pub(super) fn beaten(&mut self, number: usize, alive: bool) {
        let (process, life) = self.calls[number].by;
        if self.sides[process].life != life || self.calls[number].dropped {
            return;
        }
        match self.sides[process].reach(self.now) {
            Frozen::No => {}
            Frozen::Loses => return,
            Frozen::Until(thaw) => {
                return self.at(thaw - self.now, Event::Beaten(number, alive));
            }
        }
        if alive {
            self.calls[number].beats = false;
            self.leaves(number);
        } else {
            self.sides[process].session = None;
            self.at(0, Event::Back(number, Reply::Refused));
        }
    }

    /// A renewal by keep-alive alone reaches the server.
    pub(super) fn kept_alive(
        &mut self,
        number: usize,
        judged: Option<Stored>,
        change: &Change,
    ) -> Reply {
        let (process, life) = self.calls[number].by;
        let sent = self.calls[number].sent;
        let alive = self.sides[process].life == life && self.beats(process);
        let (Some(judged), true) = (judged, alive) else {
            return Reply::Written(Conditional::Conflict);
        };
        self.proved(process, sent);
        self.confirmed(process, change);
        let mut record = (*judged.record).clone();
        record.apply(change, Token::default());
        let record = Arc::new(record);
        Reply::Written(Conditional::Done(Stored { record, ..judged }))
    }

    /// A keep-alive reaches the server; whether it knows the session.
    fn beats(&mut self, process: usize) -> bool {
        let until = self.now + self.granted();
        let Some(session) = self.sides[process].session else { return false };
        let lease = self.leases.iter_mut().find(|l| l.session == session);
        lease.is_some_and(|lease| {
            lease.until = lease.until.max(until);
            true
        })
    }

    /// The session is kept alive whatever is done under it.
    pub(super) fn beat_due(&mut self, process: usize, session: Session) {
        if self.sides[process].session != Some(session) {
            return;
        }
        match self.sides[process].reach(self.now) {
            Frozen::No => {}
            Frozen::Loses => {}
            Frozen::Until(thaw) => {
                return self.at(thaw - self.now, Event::BeatDue(process, session));
            }
        }
        self.at(self.ttl() / 3, Event::BeatDue(process, session));
        if !self.is_lost(process) {
            let way = self.way();
            self.at(way, Event::BeatLands(process, session));
        }
    }

    pub(super) fn beat_lands(&mut self, process: usize, session: Session) {
        if self.sides[process].session == Some(session) && !self.beats(process) {
            // The reply says so; it is learnt a little late.
            let way = self.way();
            self.at(way, Event::SessionGone(process, session));
        }
    }

    /// Ends the sessions whose time is over: their entries go.
    pub(super) fn revoke(&mut self) {
        while let Some(at) = self.leases.iter().position(|l| l.until <= self.now) {
            let lease = self.leases.swap_remove(at);
            if self.shelf.end_session(lease.session) {
                self.tell_all();
            }
        }
        let next = self.leases.iter().map(|l| l.until).min().unwrap_or(u64::MAX);
        let at = next.min(self.now + self.ttl() / 4) - self.now;
        self.at(at, Event::Revoke);
    }

    /// The servers have a new leader, which counts every ttl anew.
    pub(super) fn new_leader(&mut self) {
        for at in 0..self.leases.len() {
            let until = self.now + self.granted();
            self.leases[at].until = self.leases[at].until.max(until);
        }
    }
}
