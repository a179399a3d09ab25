//! The driver of one peer: polls its claim until it rests, and carries out what it asks for.
//!
//! Keeps the rules of [`Claim`](tenure_core::Claim): one input, then every action; a read that was
//! asked for is handed in before the next write; views never go back. Over a line everything is
//! done in place, as the embedded store does; elsewhere by messages.

use std::rc::Rc;

use tenure_core::{Action, Outcome, Report, State, Time, Write};

use super::agenda::Kind;
use super::bug::Bug;
use super::judge::{belief, liveness};
use super::network::Answer;
use super::peer::{Doing, Known};
use super::plan::{SECOND, StoreKind};
use super::world::World;

/// More actions than this in a row, and the claim never rests.
const ACTIONS_MAX: usize = 60;

impl World {
    /// Polls until the claim rests.
    pub(super) fn drain(&mut self, n: usize) {
        if self.peers[n].ended {
            return;
        }
        if self.plan.store == StoreKind::Line {
            self.read_in_place(n);
        }
        for _ in 0..ACTIONS_MAX {
            match self.poll(n) {
                Action::Read if self.ask(n) => return self.rests(n, None),
                Action::Read => {}
                Action::Probe(session) => {
                    let probed = self.probe(session);
                    self.peers[n].claim.handle_probe(session, probed);
                }
                Action::Write(write) => self.send(n, write),
                Action::Report(report) => self.reported(n, &report),
                Action::Wait { until } => return self.rests(n, until),
                Action::Idle => return self.rests(n, None),
            }
        }
        let restless = format!("c{n} never comes to rest: {:?}", self.peers[n].claim);
        self.judged("rest", Some(restless));
    }

    fn poll(&mut self, n: usize) -> Action {
        let wall = self.wall(n);
        let in_place = self.plan.store == StoreKind::Line;
        let peer = &mut self.peers[n];
        let now = peer.local(self.now);
        let view = peer
            .known
            .as_ref()
            .map_or(tenure_core::View::Unknown, |known| known.view(in_place.then_some(now)));
        let action = peer.claim.poll(now, wall, &view);
        self.trace.mix(match &action {
            Action::Read => 1,
            Action::Probe(_) => 2,
            Action::Write(write) => write.attempt.as_u128() as u64 ^ 3 << 32,
            Action::Report(_) => 4,
            Action::Wait { until } => until.map_or(5, Time::as_nanos),
            Action::Idle => 6,
        });
        self.trace.say(|| format!("{:>15} c{n} {action:?}", self.now));
        action
    }

    /// Sets the peer's timer.
    fn rests(&mut self, n: usize, until: Option<Time>) {
        let late = self.dice.below(self.plan.timer_late);
        let peer = &mut self.peers[n];
        let now = peer.local(self.now);
        if until.is_some_and(|t| t <= now) {
            let what = format!("c{n} waits for the past: {:?}", peer.claim);
            return self.judged("rest", Some(what));
        }
        let limit = peer.limit.filter(|_| peer.doing == Doing::Wanting);
        let ends = [until, peer.claim.stop_at(), peer.claim.deadline(), limit];
        let first = ends.into_iter().flatten().filter(|t| *t > now).min();
        let mut wake = first.map_or(u64::MAX, |t| peer.true_time(t).saturating_add(late));
        if self.plan.store == StoreKind::Line && peer.doing == Doing::Wanting {
            // The safety net of the embedded store.
            wake = wake.min(self.now + SECOND);
        }
        self.wake[n] = wake;
        if peer.claim.state() == State::Ended && peer.doing != Doing::Resting {
            self.has_ended(n);
        }
    }

    // ---- reads ----

    /// Reads, or sends a read; whether it has to be waited for.
    fn ask(&mut self, n: usize) -> bool {
        if self.plan.store == StoreKind::Line {
            self.read_in_place(n);
            self.hand_in(n);
            return false;
        }
        if self.peers[n].reading.is_some() {
            return true;
        }
        self.reads += 1;
        let id = self.reads;
        let peer = &mut self.peers[n];
        peer.reading = Some((id, peer.changes));
        if !self.is_lost(n) {
            let way = self.way();
            self.put(way, Kind::Look, n, id);
        }
        let limit = self.plan.timing.attempt();
        self.put(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX), Kind::ReadLimit, n, id);
        true
    }

    fn read_in_place(&mut self, n: usize) {
        let known = Known { snap: Rc::clone(&self.shelf.now), unordered: false };
        self.peers[n].learn(known);
    }

    fn hand_in(&mut self, n: usize) {
        let in_place = self.plan.store == StoreKind::Line;
        let peer = &mut self.peers[n];
        let now = peer.local(self.now);
        if let Some(known) = &peer.known {
            peer.claim.handle_read(now, &known.view(in_place.then_some(now)));
        }
    }

    /// A read came back, or did not come back in time.
    pub(super) fn read_back(&mut self, n: usize, id: u32, found: Option<Known>) {
        let peer = &mut self.peers[n];
        let Some((_, changes)) = peer.reading.filter(|(asked, _)| *asked == id) else { return };
        peer.reading = None;
        // "Not there" has no revision: it says nothing if something was learnt in the meantime.
        let stale = |known: &Known| known.unordered && changes != peer.changes;
        if let Some(known) = found.filter(|known| !stale(known)) {
            peer.learn(known);
            self.hand_in(n);
        }
        self.drain(n);
    }

    /// The watch tells.
    pub(super) fn told(&mut self, n: usize, slot: u32) {
        let Some((known, _)) = self.news.take(slot) else { return };
        if self.plan.store == StoreKind::Line || self.peers[n].learn(known) {
            self.drain(n);
            self.sweep(n);
        }
    }

    // ---- writes ----

    fn send(&mut self, n: usize, write: Write) {
        let now = self.peers[n].local(self.now);
        let too_long = self.judges.deadline.sent(n, &write, now);
        self.judged("deadline", too_long);
        if self.plan.store == StoreKind::Line {
            return self.write_in_place(n, &write);
        }
        if self.plan.store == StoreKind::Server {
            return self.send_to_server(n, write);
        }
        self.dispatch(n, write);
    }

    fn write_in_place(&mut self, n: usize, write: &Write) {
        let net = self.net();
        let (refuse, doubt) = (net.refuse, net.doubt);
        let turn = self.judges.dropped.turn(n);
        // A disk that fails says so before or after it has written.
        let outcome = if self.dice.chance(refuse) {
            Outcome::NotDone
        } else if self.dice.chance(doubt) {
            if self.dice.chance(500) {
                self.carry_out(n, Some(turn), write);
            }
            Outcome::Unknown
        } else {
            self.carry_out(n, Some(turn), write)
        };
        let done = matches!(outcome, Outcome::Done { .. });
        let made = done.then(|| Rc::clone(&self.shelf.now));
        self.answered(n, Answer { attempt: write.attempt, outcome, made });
    }

    pub(super) fn answered(&mut self, n: usize, answer: Answer) {
        let failed = matches!(answer.outcome, Outcome::NotDone | Outcome::Unknown);
        let made = answer.made.map(|snap| Known { snap, unordered: false });
        let peer = &mut self.peers[n];
        peer.ended |= failed && self.bug == Some(Bug::FirstErrorEnds);
        if let Some(known) = made {
            peer.learn(known);
        }
        peer.claim.handle_written(peer.local(self.now), answer.attempt, answer.outcome);
    }

    // ---- reports ----

    fn reported(&mut self, n: usize, report: &Report) {
        let ended = self.peers[n].claim.state() == State::Ended;
        match report {
            Report::Acquired { token } => {
                self.counts.holds += 1;
                self.trace.mix(token.get());
                let informed = self.judges.outsiders.known_to(&self.peers[n]);
                let falls = self.judges.tokens.acquired(*token, informed);
                self.judged("tokens", falls);
                self.proved(n);
                self.begins_holding(n);
            }
            Report::Renewed => self.proved(n),
            Report::Stopping => self.stops_soon(n),
            Report::Waiting { .. } => {}
            Report::Busy(_) | Report::TimedOut(_) if !ended => {
                self.judges.dropped.ends(n, self.now);
                self.peers[n].doing = Doing::Leaving;
            }
            Report::Released { confirmed: false } => {}
            Report::Lost(_) => {
                let lost = liveness::lost(n, report);
                let settled = self.judges.liveness.is_settled(self.now);
                self.judged("liveness", lost.filter(|_| settled));
            }
            Report::Busy(_)
            | Report::TimedOut(_)
            | Report::Cancelled
            | Report::Released { confirmed: true } => self.nothing_left(n),
        }
    }

    /// A hold begins or goes on: by the newest write that is proved.
    fn proved(&mut self, n: usize) {
        let late = self.judges.deadline.proved(n, &self.peers[n]);
        self.judged("deadline", late);
        let two = belief::alone(self.now, &self.peers, n, self.judges.outsiders);
        self.judged("belief", two);
        if self.plan.store == StoreKind::Server {
            let outlives = self.kept_long_enough(n);
            self.judged("belief", outlives);
        }
    }
}
