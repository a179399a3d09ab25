//! The event engine: true time, what is still to happen, and who is there.
//!
//! Owns the order of events, the network and the faults. One seed decides everything: the same seed
//! gives the same events, in the same order, with the same trace hash.
//!
//! A run is a row of storms, with the faults that were drawn, each followed by a calm without any,
//! in which the lock has to come to life again.

use std::rc::Rc;

use tenure_core::{Change, Claim, Config, Mark, Marks, Outcome, Session, Token, Write};

use super::agenda::{Agenda, Entry, Kind, Slab};
use super::bug::Bug;
use super::dice::Dice;
use super::judge::{Broken, Each, Judges, order};
use super::lease::{Lease, Line};
use super::peer::{Doing, Known, Peer, Snapshot};
use super::plan::{MILLI, Net, Plan, SECOND, StoreKind};
use super::shelf::{Meddling, Shelf};
use super::trace::Trace;

/// A write on its way.
#[derive(Clone, Debug)]
struct Sent {
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

/// What was counted in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Nanoseconds of true time.
    pub time: u64,
    /// Events that happened.
    pub events: u64,
    /// Holds that were reported.
    pub holds: u64,
    /// Writes that were done.
    pub writes: u64,
    /// Guarded writes that the resource refused.
    pub refused: u64,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(super) now: u64,
    pub(super) dice: Dice,
    pub(super) plan: Plan,
    pub(super) bug: Option<Bug>,
    pub(super) agenda: Agenda,
    pub(super) peers: Vec<Peer>,
    /// When each peer wants to be polled.
    pub(super) wake: Each<u64>,
    /// When each application takes its next step.
    steps: Each<u64>,
    pub(super) shelf: Shelf,
    pub(super) judges: Judges,
    /// Over a server: each client's connection, and the sessions the server knows.
    pub(super) lines: Each<Line>,
    pub(super) leases: Vec<Lease>,
    sent: Slab<Sent>,
    pub(super) answers: Slab<Answer>,
    pub(super) news: Slab<(Known, u32)>,
    pub(super) guarded: Slab<(Token, Mark)>,
    pub(super) calm: bool,
    pub(super) reads: u32,
    pub(super) trace: Trace,
    pub(super) counts: Counts,
    pub(super) broken: Option<Broken>,
}

impl World {
    pub(crate) fn new(seed: u64, trace: Trace, bug: Option<Bug>) -> Self {
        let mut dice = Dice::new(seed);
        let plan = Plan::draw(&mut dice);
        let mut world = Self {
            now: 0,
            dice,
            agenda: Agenda::default(),
            peers: Vec::new(),
            wake: [u64::MAX; 5],
            steps: [u64::MAX; 5],
            shelf: Shelf::new(plan.store, bug),
            bug,
            judges: Judges::new(&plan),
            lines: Each::default(),
            leases: Vec::new(),
            sent: Slab::default(),
            answers: Slab::default(),
            news: Slab::default(),
            guarded: Slab::default(),
            calm: false,
            reads: 0,
            trace,
            counts: Counts::default(),
            broken: None,
            plan,
        };
        world.trace.say(|| format!("{:?}", world.plan));
        for n in 0..world.plan.contenders {
            let peer = world.new_peer(n, 0);
            world.peers.push(peer);
        }
        world
    }

    pub(super) fn new_peer(&self, n: usize, life: u32) -> Peer {
        let plan = &self.plan;
        let mut name = [0; 32];
        name[0] = n as u8 + 1;
        name[1..5].copy_from_slice(&life.to_le_bytes());
        let local = plan.store == StoreKind::Line;
        let config = Config {
            id: self.identity(n, life).into(),
            session: if plan.store.queue() { Session::from_bytes(name) } else { Session::NONE },
            term: plan.term(),
            timing: plan.timing,
            liveness: plan.store.liveness(),
            queue: plan.store.queue(),
            adopt: self.bug == Some(Bug::SharedIdentity),
            max_clock_skew: std::time::Duration::from_secs(5),
            tags: Vec::new(),
            marks: Marks::new(((n as u128 + 1) << 96) | (u128::from(life) << 64)),
        };
        let clock = if local { 0 } else { n };
        Peer::new(Claim::new(config), life, clock, plan.rates_ppm[n])
    }

    fn identity(&self, n: usize, life: u32) -> String {
        match self.bug {
            Some(Bug::SharedIdentity) => "c".to_owned(),
            Some(Bug::NestedIdentities) => "c".repeat(n + 1),
            _ => format!("c{n}.{life}"),
        }
    }

    /// Runs to the end, or to the first promise that is broken.
    pub(crate) fn run(&mut self) {
        self.begin();
        while self.broken.is_none() {
            let (timer, peer) = earliest(&self.wake);
            let (step, user) = earliest(&self.steps);
            let next = self.agenda.next_at().unwrap_or(u64::MAX);
            let time = timer.min(step).min(next);
            if time >= self.plan.run {
                break;
            }
            self.now = time;
            self.counts.events += 1;
            if next == time {
                let Some(entry) = self.agenda.take() else { break };
                self.trace.mix(time ^ u64::from(entry.slot) << 40 ^ u64::from(entry.peer) << 36);
                self.happens(entry);
            } else if timer == time {
                self.wake[peer] = u64::MAX;
                self.trace.mix(time ^ peer as u64);
                self.drain(peer);
            } else {
                self.steps[user] = u64::MAX;
                self.trace.mix(time ^ user as u64 ^ 1 << 63);
                self.app(user);
            }
            if self.calm {
                let dead = self.judges.liveness.look(self.now, &self.peers);
                self.judged("liveness", dead);
                let alive = self.judges.liveness.is_alive();
                let idle = self.judges.idle.look(self.now, &self.peers, alive);
                self.judged("idle", idle);
            }
        }
        self.counts.time = self.now.min(self.plan.run);
        self.counts.refused = self.judges.fence.refused;
    }

    fn begin(&mut self) {
        for peer in 0..self.peers.len() {
            let at = self.dice.below(SECOND);
            self.step_at(peer, at);
            self.grant(peer);
        }
        let plan = &self.plan;
        let faults = [
            (plan.freeze_every, Kind::Freeze),
            (plan.die_every, Kind::Die),
            (plan.deafen_every, Kind::Deafen),
            (plan.cut_every, Kind::Cut),
            (plan.meddle_every, Kind::Meddle),
            (plan.label_every, Kind::Label),
            (plan.leader_every, Kind::Leader),
        ];
        self.agenda.put(plan.storm, Kind::Phase, 0, 0, 1);
        if plan.store == StoreKind::Server {
            self.agenda.put(SECOND, Kind::Revoke, 0, 0, 0);
        }
        for (every, kind) in faults {
            self.again(kind, every);
        }
    }

    fn happens(&mut self, entry: Entry) {
        let peer = usize::from(entry.peer);
        match entry.kind {
            Kind::Land => self.land(entry),
            Kind::Look => self.look(entry),
            Kind::Fenced => self.fenced(entry),
            Kind::Phase => self.phase(entry.slot),
            Kind::Freeze => self.freeze(),
            Kind::Die => self.die(),
            Kind::Deafen => self.deafen(),
            Kind::Cut => self.cut(),
            Kind::Meddle => self.meddle(),
            Kind::Label => {
                self.again(Kind::Label, self.plan.label_every);
                let _ = self.outsider(Meddling::Label);
            }
            Kind::Clear => drop(self.outsider(Meddling::Blank)),
            Kind::Beat => self.beat_lands(entry),
            Kind::Revoke => self.revoke(),
            Kind::Leader => {
                self.again(Kind::Leader, self.plan.leader_every);
                if !self.calm {
                    self.new_leader();
                }
            }
            _ if !self.awake(entry) => {}
            Kind::BeatDue => self.beat_due(peer),
            Kind::Beaten => self.beaten(peer, entry),
            Kind::Answer => {
                if let Some(answer) = self.answers.take(entry.slot) {
                    self.answered(peer, answer);
                    self.drain(peer);
                }
            }
            Kind::Found => {
                if let Some((known, id)) = self.news.take(entry.slot) {
                    self.read_back(peer, id, Some(known));
                }
            }
            Kind::ReadLimit => self.read_back(peer, entry.slot, None),
            Kind::News => self.told(peer, entry.slot),
            Kind::Rewatch => self.rewatch(peer),
        }
    }

    /// Whether the peer can take this in now; a frozen one gets it later, or never.
    fn awake(&mut self, entry: Entry) -> bool {
        let peer = &self.peers[usize::from(entry.peer)];
        let network = matches!(entry.kind, Kind::Answer | Kind::Found | Kind::News | Kind::Beaten);
        let frozen = peer.is_frozen(self.now);
        if peer.life != entry.life || (frozen && network && peer.suspended) {
            match entry.kind {
                Kind::Answer => drop(self.answers.take(entry.slot)),
                Kind::Found | Kind::News => drop(self.news.take(entry.slot)),
                _ => {}
            }
            return false;
        }
        if frozen {
            let thaw = peer.frozen_until + self.dice.below(MILLI);
            self.agenda.put_off(entry, thaw);
        }
        !frozen
    }

    pub(super) fn judged(&mut self, rule: &'static str, what: Option<String>) {
        if let Some(what) = what
            && self.broken.is_none()
        {
            self.trace.say(|| format!("{:>15} BROKEN {rule}: {what}", self.now));
            self.broken = Some(Broken { rule, at: self.now, what });
        }
    }

    // ---- the network ----

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
    fn bugs_beside(&mut self, peer: usize, write: &Write, turn: u32) {
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

    fn reply(&mut self, way: u64, peer: usize, attempt: Mark, outcome: Outcome) {
        let slot = self.answers.put(Answer { attempt, outcome, made: None });
        self.put(way, Kind::Answer, peer, slot);
    }

    fn land(&mut self, entry: Entry) {
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
    fn may_put(&self, write: &Write) -> bool {
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
            let late = self.judges.dropped.landed(peer, turn, self.judges.outsiders);
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

    fn look(&mut self, entry: Entry) {
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

    // ---- the faults ----

    fn again(&mut self, kind: Kind, every: u64) {
        if every > 0 {
            let at = self.now + self.dice.around(every);
            self.agenda.put(at, kind, 0, 0, 0);
        }
    }

    fn anybody(&mut self) -> usize {
        self.dice.below(self.peers.len() as u64) as usize
    }

    fn freeze(&mut self) {
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
    fn die(&mut self) {
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
    fn cut(&mut self) {
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

    fn is_cut(&self, n: usize, side: usize) -> bool {
        !self.calm && self.now < self.peers[n].cut[side]
    }

    fn deafen(&mut self) {
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
    fn rewatch(&mut self, n: usize) {
        self.peers[n].deaf &= self.bug == Some(Bug::WatchNotReopened);
        if matches!(self.bug, Some(Bug::WatchNotReopened | Bug::WatchResumesLate)) {
            return;
        }
        let known = Known { snap: Rc::clone(&self.shelf.now), unordered: false };
        let slot = self.news.put((known, 0));
        self.told(n, slot);
    }

    fn meddle(&mut self) {
        self.again(Kind::Meddle, self.plan.meddle_every);
        let how = self.dice.pick(&[
            Meddling::Label,
            Meddling::Label,
            Meddling::Blank,
            Meddling::Take,
            Meddling::Delete,
        ]);
        if self.calm || !self.outsider(how) || how == Meddling::Label {
            return;
        }
        self.judges.outsiders.revision = self.shelf.revision();
        self.judges.outsiders.deleted |= how == Meddling::Delete;
    }

    /// Somebody who is no contender changes the record; whether there was one.
    fn outsider(&mut self, how: Meddling) -> bool {
        let wall = self.wall(0);
        if !self.shelf.meddle(how, self.plan.term(), wall) {
            return false;
        }
        self.trace.say(|| format!("{:>15} an outsider: {how:?}", self.now));
        self.tell_all();
        true
    }

    /// From storm to calm (1), or from calm to storm.
    fn phase(&mut self, step: u32) {
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

    fn rewatch_if_awake(&mut self, n: usize) {
        let until = self.peers[n].frozen_until.saturating_sub(self.now);
        self.put(until, Kind::Rewatch, n, 0);
    }

    // ---- for peers ----

    /// What a probe of this session says.
    pub(super) fn probe(&self, session: Session) -> tenure_core::Probed {
        use tenure_core::Probed::{Alive, Dead, Stopped};
        match self.peers.iter().find(|p| p.session == session) {
            None => Dead,
            Some(p) if p.is_frozen(self.now) => Stopped,
            Some(_) => Alive,
        }
    }

    pub(super) fn wall(&self, peer: usize) -> tenure_core::Wall {
        let base = 1_000_000 * SECOND + self.now;
        let shown = base.saturating_add_signed(self.plan.wall_skew[peer]);
        tenure_core::Wall::from_micros(shown / 1_000)
    }

    /// Sets the application's next step; an earlier one is forgotten.
    pub(super) fn step_at(&mut self, peer: usize, at: u64) {
        self.steps[peer] = at.max(self.peers[peer].frozen_until);
    }

    fn fenced(&mut self, entry: Entry) {
        let Some((token, _)) = self.guarded.take(entry.slot) else { return };
        let n = usize::from(entry.peer);
        let peer = &self.peers[n];
        let believes = peer.life == entry.life
            && peer.doing == Doing::Holding
            && peer.claim.token() == Some(token)
            && peer.claim.is_valid(peer.local(self.now))
            && self.judges.outsiders.known_to(peer);
        let what = self.judges.fence.write(token, (n, entry.life), believes);
        self.judged("fence", what);
    }
}

/// The earliest of some instants, and whose it is.
fn earliest(of: &Each<u64>) -> (u64, usize) {
    let mut first = (of[0], 0);
    for (n, at) in of.iter().enumerate().skip(1) {
        if *at < first.0 {
            first = (*at, n);
        }
    }
    first
}
