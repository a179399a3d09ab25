//! Sessions that a server keeps: each ends when nothing was heard of it for a ttl of the server's own
//! clock, a little late; a new leader of the servers counts every ttl anew.
//!
//! Owns the keep-alives of every peer. Their replies carry no number, so they are matched first in,
//! first out, to the sends of one connection. What is put under a session does not prolong it: a
//! write that makes or confirms an entry is therefore sent after a keep-alive that was sent no
//! earlier, and a hold is renewed by a keep-alive alone, which moves no revision.

use std::collections::VecDeque;

use tenure_core::{Change, End, Mark, Outcome, Session, State, Token, Write};

use super::agenda::{Entry, Kind};
use super::bug::Bug;
use super::network::Answer;
use super::peer::Doing;
use super::plan::StoreKind;
use super::world::World;

/// What a keep-alive is for.
#[derive(Clone, Debug)]
pub(crate) enum Beat {
    /// The session alone.
    Session,
    /// The renewal of a hold, by this attempt.
    Renewal(Mark),
    /// A write that counts on the session, to be sent when this was answered.
    Before(Box<Write>),
}

/// The client's side of a session's connection.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Which connection this is, and whether it is broken.
    number: u32,
    broken: bool,
    /// Keep-alives that were not answered, and when each was sent.
    unanswered: VecDeque<(Beat, u64)>,
    /// When the last message arrives, each way: a connection keeps the order.
    there: u64,
    back: u64,
    /// The server said that the session is gone.
    pub(crate) dead: bool,
}

/// The server's side.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lease {
    session: Session,
    until: u64,
}

impl World {
    /// A session begins, or none is needed.
    pub(super) fn grant(&mut self, n: usize) {
        if self.plan.store != StoreKind::Server {
            return;
        }
        let lease = Lease { session: self.peers[n].session, until: self.now + self.granted() };
        self.lines[n] = Line::default();
        self.leases.push(lease);
        let every = self.ttl() / 3;
        self.put(every, Kind::BeatDue, n, 0);
    }

    /// A peer whose session the server ended begins anew under another.
    pub(super) fn reborn(&mut self, n: usize) {
        self.peers[n] = self.new_peer(n, self.peers[n].life + 1);
        self.wake[n] = u64::MAX;
        self.judges.dropped.wants(n, 0);
        self.grant(n);
    }

    /// How long a session lives that was heard of now, in true time: the server is late by a bit.
    fn granted(&mut self) -> u64 {
        let ttl =
            self.ttl() * 1_000_000 / 1_000_000_u64.saturating_add_signed(self.plan.server_ppm);
        ttl + self.dice.below(self.plan.revoke_late)
    }

    // ---- the client ----

    pub(super) fn beat_due(&mut self, n: usize) {
        let every = self.ttl() / 3;
        self.put(every, Kind::BeatDue, n, 0);
        self.beat(n, Beat::Session);
    }

    /// Sends a keep-alive, on a new connection if the old one does not answer.
    pub(super) fn beat(&mut self, n: usize, beat: Beat) {
        let patience = u64::try_from(self.plan.timing.attempt().as_nanos()).unwrap_or(u64::MAX);
        let (way, now, lost) = (self.way(), self.now, self.is_lost(n));
        let life = self.peers[n].life;
        let line = &mut self.lines[n];
        if line.unanswered.front().is_some_and(|(_, sent)| now >= sent + patience) {
            line.unanswered.clear();
            line.number += 1;
            line.broken = false;
        }
        line.unanswered.push_back((beat, now));
        line.broken |= lost;
        if !line.broken {
            line.there = (line.there + 1).max(now + way);
            self.agenda.put(line.there, Kind::Beat, n, life, line.number);
        }
    }

    /// The reply to a keep-alive came, on this connection.
    pub(super) fn beaten(&mut self, n: usize, entry: Entry) {
        let (number, alive) = (entry.slot >> 1, entry.slot & 1 == 1);
        let newest = self.bug == Some(Bug::ReplyOfNewest);
        let line = &mut self.lines[n];
        if number != line.number || line.broken {
            return;
        }
        let beat = if newest { line.unanswered.pop_back() } else { line.unanswered.pop_front() };
        if !alive {
            line.dead = true;
            self.session_is_dead(n);
        }
        match beat {
            Some((Beat::Renewal(mark), _)) => self.renewal_answered(n, mark, alive),
            Some((Beat::Before(write), _)) if alive => self.dispatch(n, *write),
            Some((Beat::Before(write), _)) => {
                let answer =
                    Answer { attempt: write.attempt, outcome: Outcome::NotDone, made: None };
                self.answered(n, answer);
            }
            _ => {}
        }
        self.drain(n);
    }

    /// A new session is needed: what is wanted under the old one is given up.
    fn session_is_dead(&mut self, n: usize) {
        let peer = &mut self.peers[n];
        let now = peer.local(self.now);
        if peer.claim.state() == State::Contending {
            peer.claim.cancel(now);
            peer.doing = Doing::Leaving;
            self.judges.dropped.ends(n, self.now);
        }
    }

    fn renewal_answered(&mut self, n: usize, attempt: Mark, alive: bool) {
        let Some(known) = self.peers[n].known.clone() else { return };
        let mut outcome = Outcome::Conflict;
        if alive {
            // It moved no revision: the version is the one that is known.
            outcome = Outcome::Done { version: known.snap.version, token: Token::default() };
        }
        self.answered(n, Answer { attempt, outcome, made: None });
    }

    /// What a claim asks to write, over a server: by keep-alive, after one, or as it is.
    pub(super) fn send_to_server(&mut self, n: usize, write: Write) {
        let held = self.peers[n].claim.state() == State::Held;
        match &write.change {
            Change::Renew { .. } if held => self.beat(n, Beat::Renewal(write.attempt)),
            Change::Leave { .. } | Change::Release { .. } => self.dispatch(n, write),
            _ if self.bug == Some(Bug::StaleSession) => self.dispatch(n, write),
            _ => self.beat(n, Beat::Before(Box::new(write))),
        }
    }

    /// What lands under the session after nobody wants the lock any more is taken out again.
    pub(super) fn sweep(&mut self, n: usize) {
        let peer = &self.peers[n];
        if self.plan.store != StoreKind::Server
            || !matches!(peer.claim.state(), State::Ended | State::Idle)
        {
            return;
        }
        let Some(known) = &peer.known else { return };
        let Some(record) = &known.snap.record else { return };
        let (at, stamp, session) = (self.wall(n), peer.local(self.now), peer.session);
        let holds = record.holder.as_ref().filter(|h| h.session == session);
        let waits = record.queue.iter().find(|w| w.session == session);
        let (mark, next, strike) = (Mark::default(), None, Vec::new());
        let change = match (holds, waits) {
            (Some(h), _) => {
                let (of, end, reason) = (h.mark, End::Released, None);
                let tags = Vec::new();
                Change::Release { of, mark, next, strike, end, reason, at, stamp, tags }
            }
            (None, Some(w)) => Change::Leave { strike: vec![w.mark] },
            (None, None) => return,
        };
        let (expected, give_up_at) = (Some(known.snap.version), stamp);
        self.dispatch(n, Write { attempt: mark, expected, change, give_up_at });
    }

    // ---- the server ----

    /// A keep-alive arrives.
    pub(super) fn beat_lands(&mut self, entry: Entry) {
        let n = usize::from(entry.peer);
        if self.peers[n].life != entry.life {
            return;
        }
        let session = self.peers[n].session;
        let until = self.now + self.granted();
        let lease = self.leases.iter_mut().find(|l| l.session == session);
        let alive = lease.is_some_and(|lease| {
            lease.until = lease.until.max(until);
            true
        });
        let (way, lost) = (self.way(), self.is_mute(n));
        let line = &mut self.lines[n];
        line.broken |= lost;
        if !line.broken {
            line.back = (line.back + 1).max(self.now + way);
            let slot = entry.slot << 1 | u32::from(alive);
            self.agenda.put(line.back, Kind::Beaten, n, entry.life, slot);
        }
    }

    /// Whether the server still knows this session.
    pub(super) fn is_granted(&self, session: Session) -> bool {
        self.leases.iter().any(|l| l.session == session)
    }

    /// Nobody believes for longer than the server keeps the session.
    pub(super) fn kept_long_enough(&self, n: usize) -> Option<String> {
        let peer = &self.peers[n];
        let believes_until = peer.true_time(peer.claim.deadline()?);
        let lease = self.leases.iter().find(|l| l.session == peer.session);
        let until = lease.map_or(0, |l| l.until);
        (believes_until > until.max(self.now))
            .then(|| format!("c{n} believes until {believes_until}, its session ends at {until}"))
    }

    /// Ends the sessions whose time is over: their entries go.
    pub(super) fn revoke(&mut self) {
        while let Some(at) = self.leases.iter().position(|l| l.until <= self.now) {
            let lease = self.leases.swap_remove(at);
            self.trace.say(|| format!("{:>15} the server ends a session", self.now));
            if self.shelf.end_session(lease.session) {
                self.tell_all();
            }
        }
        let next = self.leases.iter().map(|l| l.until).min().unwrap_or(u64::MAX);
        let at = next.min(self.now + self.ttl() / 4);
        self.agenda.put(at, Kind::Revoke, 0, 0, 0);
    }

    /// The servers have a new leader, which counts every ttl anew.
    pub(super) fn new_leader(&mut self) {
        for at in 0..self.leases.len() {
            let until = self.now + self.granted();
            self.leases[at].until = self.leases[at].until.max(until);
        }
        self.trace.say(|| format!("{:>15} a new leader of the servers", self.now));
    }

    /// A suspended process loses its connection.
    pub(super) fn loses_connection(&mut self, n: usize) {
        self.lines[n].broken = true;
    }
}
