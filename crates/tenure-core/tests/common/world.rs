//! Some claims, a register and a network between them, run in true time from a tape of choices.
//!
//! Every choice is a number from the tape, and 0 is always the harmless one: no delay, no loss, no
//! verb, go on. An exhausted tape gives zeros, so that a shortened tape is a calmer run.
#![allow(dead_code, reason = "each test file uses its own part")]

mod fate;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::judge::Judge;
use super::peer::{DRIFT_PPM, Known, Peer, SECOND, Tape};
use super::{Register, session};
use tenure_core::{
    Action, Claim, Config, Liveness, Mark, Marks, Outcome, State, Term, Time, Timing, TimingSpec,
    Wall, Write,
};

#[derive(Debug)]
enum Event {
    Poll { peer: usize, timer: u64 },
    Land { peer: usize, life: u32, write: Box<Write>, answer: Option<u64> },
    Answer { peer: usize, life: u32, attempt: Mark, outcome: Outcome, made: Option<Known> },
    ReadAt { peer: usize, life: u32, id: u64, back: u64 },
    ReadBack { peer: usize, life: u32, id: u64, found: Option<Known> },
    Watch { peer: usize, known: Known },
    Thaw { peer: usize },
}

pub(crate) struct World<'a> {
    pub(crate) tape: Tape<'a>,
    pub(crate) now: u64,
    pub(crate) reg: Register,
    pub(crate) peers: Vec<Peer>,
    pub(crate) judge: Judge,
    liveness: Liveness,
    /// Whether waiters stand in the record.
    queue: bool,
    events: BTreeMap<(u64, u64), Event>,
    serial: u64,
    /// Whether others may delete and rewrite the record.
    meddling: bool,
    timing: Timing,
    /// Whether to tell what happens, for whoever looks into a failure: `TENURE_TRACE=1`.
    trace: bool,
}

impl<'a> World<'a> {
    pub(crate) fn new(choices: &'a [u16], liveness: Liveness, peers: u8, meddling: bool) -> Self {
        let spec = TimingSpec { margin: Some(Duration::ZERO), ..TimingSpec::default() };
        let mut world = Self {
            tape: Tape(choices),
            now: 0,
            reg: Register::default(),
            peers: Vec::new(),
            judge: Judge::new(liveness, usize::from(peers)),
            liveness,
            queue: liveness == Liveness::Process,
            events: BTreeMap::new(),
            serial: 0,
            meddling,
            timing: Timing::new(spec).unwrap(),
            trace: std::env::var_os("TENURE_TRACE").is_some(),
        };
        for n in 0..peers {
            let peer = world.new_peer(n, 0);
            world.peers.push(peer);
        }
        world
    }

    /// The same with waiters in line where time decides. An entry that nobody stands for any more
    /// is never struck out there, so only safety is judged.
    pub(crate) fn in_line(choices: &'a [u16], peers: u8) -> Self {
        let mut world = Self::new(&[], Liveness::Observed, 0, false);
        world.tape = Tape(choices);
        world.queue = true;
        world.judge = Judge::new(Liveness::Observed, usize::from(peers));
        for n in 0..peers {
            let peer = world.new_peer(n, 0);
            world.peers.push(peer);
        }
        world
    }

    fn new_peer(&mut self, n: u8, life: u32) -> Peer {
        let local = self.liveness == Liveness::Process;
        // On one machine there is one clock; elsewhere every clock is wrong in its own way.
        let rate_ppm = match self.tape.draw(3) {
            _ if local => 0,
            0 => 0,
            1 => -i64::from(DRIFT_PPM),
            _ => i64::from(DRIFT_PPM),
        };
        let number = u8::try_from(u32::from(n) + 10 * life).unwrap();
        let (name, session) = (format!("c{n}.{life}"), session(number + 1));
        let config = Config {
            id: name.as_str().into(),
            session,
            term: if local { Term::Session } else { Term::Ttl(self.timing.ttl()) },
            timing: self.timing,
            liveness: self.liveness,
            queue: self.queue,
            adopt: false,
            max_clock_skew: Duration::from_secs(5),
            add_tags: false,
            tags: Vec::new(),
            marks: Marks::new((u128::from(n) << 96) | (u128::from(life) << 64)),
        };
        Peer {
            claim: Claim::new(config),
            name,
            session,
            known: Known::Unknown,
            life,
            rate_ppm,
            offset: if local { 0 } else { u64::from(n) * 1_000 * SECOND },
            read: None,
            changes: 0,
            newest: 0,
            timer: 0,
            frozen: false,
        }
    }

    /// Runs the tape to its end, then calmly for a while, and has the end judged.
    pub(crate) fn run(mut self) {
        for peer in 0..self.peers.len() {
            let patience = self.patience(peer);
            self.peers[peer].claim.acquire(patience);
            self.drain(peer);
        }
        while !self.tape.0.is_empty() {
            match self.tape.draw(5) {
                0..4 => self.next_event(u64::MAX),
                _ => self.interfere(),
            }
        }
        self.calm();
    }

    fn calm(&mut self) {
        for peer in 0..self.peers.len() {
            self.peers[peer].frozen = false;
            self.reg.stopped.clear();
            let known = self.known_now();
            self.learn(peer, known);
            self.drain(peer);
        }
        let end = self.now + 200 * SECOND;
        while self.events.first_key_value().is_some_and(|((t, _), _)| *t < end) {
            self.next_event(end);
        }
        let waiting = |p: &Peer| p.claim.state() == State::Contending && !self.dead(p);
        let orphans = self.queue && self.liveness == Liveness::Observed;
        if self.peers.iter().any(waiting) && !orphans {
            let held = self.peers.iter().any(|p| p.claim.state() == State::Held);
            assert!(held, "a live waiter and nobody holds: {:?}", self.reg.record);
        }
    }

    fn dead(&self, peer: &Peer) -> bool {
        self.reg.dead.contains(&peer.session)
    }

    fn at(&mut self, delay: u64, event: Event) {
        self.serial += 1;
        self.events.insert((self.now.saturating_add(delay), self.serial), event);
    }

    fn next_event(&mut self, end: u64) {
        let Some(((time, _), event)) = self.events.pop_first() else {
            self.now = (self.now + SECOND).min(end);
            return;
        };
        self.now = time;
        if self.trace {
            println!("{:>12} {event:?}", self.now / 1_000);
        }
        match event {
            Event::Poll { peer, timer } if self.peers[peer].timer == timer => self.drain(peer),
            Event::Poll { .. } => {}
            Event::Land { peer, life, write, answer } => self.land(peer, life, &write, answer),
            Event::Answer { peer, life, attempt, outcome, made } => {
                let later = Event::Answer { peer, life, attempt, outcome, made: made.clone() };
                if self.awake(peer, life, later) {
                    self.answered(peer, attempt, outcome, made);
                    self.drain(peer);
                }
            }
            Event::ReadAt { peer, life, id, back } => {
                let found = Some(self.known_now());
                self.at(back, Event::ReadBack { peer, life, id, found });
            }
            Event::ReadBack { peer, life, id, found } => {
                if self.awake(peer, life, Event::ReadBack { peer, life, id, found: found.clone() })
                {
                    self.read_back(peer, id, found);
                }
            }
            Event::Watch { peer, known } => {
                let life = self.peers[peer].life;
                if self.awake(peer, life, Event::Watch { peer, known: known.clone() }) {
                    self.learn(peer, known);
                    self.drain(peer);
                }
            }
            Event::Thaw { peer } => {
                self.peers[peer].frozen = false;
                self.reg.stopped.remove(&self.peers[peer].session);
                self.drain(peer);
            }
        }
    }

    /// Whether the peer can take this event now; a frozen one gets it later.
    fn awake(&mut self, peer: usize, life: u32, event: Event) -> bool {
        let p = &self.peers[peer];
        if p.life != life || self.dead(p) {
            return false;
        }
        if p.frozen {
            self.at(SECOND / 2, event);
            return false;
        }
        true
    }

    // ---- the driver ----

    /// Polls until the claim rests, and carries out what it asks for.
    pub(crate) fn drain(&mut self, peer: usize) {
        if self.peers[peer].frozen || self.dead(&self.peers[peer]) {
            return;
        }
        for _ in 0..60 {
            let p = &mut self.peers[peer];
            let now = p.local(self.now);
            // Everybody's wall clock is right here; it decides nothing.
            let wall = Wall::from_micros(self.now / 1_000);
            let action = super::front::poll(&mut p.claim, now, wall, &p.known.view());
            if self.trace {
                println!("{:>12} {} {action:?}", self.now / 1_000, self.peers[peer].name);
            }
            self.judge.belief(self.now, &self.peers);
            match action {
                Action::Read => {
                    if self.ask(peer) {
                        return;
                    }
                }
                Action::Probe(s) => {
                    let probed = self.reg.probe(s);
                    self.peers[peer].claim.handle_probe(s, probed);
                }
                Action::Write(write) => self.send(peer, write),
                Action::Report(report) => {
                    self.judge.report(self.now, peer, &report, &self.peers, &self.reg);
                }
                Action::Wait { until } => {
                    assert!(until.is_none_or(|t| t > now), "waits for the past: {until:?}");
                    return self.set_timer(peer, until);
                }
                Action::Idle => return,
            }
        }
        panic!("never comes to rest: {:?}", self.peers[peer].claim);
    }

    fn set_timer(&mut self, peer: usize, until: Option<Time>) {
        let p = &mut self.peers[peer];
        p.timer += 1;
        let timer = p.timer;
        let ends = [until, p.claim.stop_at(), p.claim.deadline()];
        let now = p.local(self.now);
        for end in ends.into_iter().flatten().filter(|t| *t > now || Some(*t) == until) {
            let delay = self.peers[peer].true_time(end).saturating_sub(self.now);
            self.at(delay, Event::Poll { peer, timer });
        }
    }

    /// Sends a read, or has it answered at once; whether the claim has to wait for it.
    fn ask(&mut self, peer: usize) -> bool {
        if self.peers[peer].read.is_some() {
            self.set_timer(peer, None);
            return true;
        }
        if self.liveness == Liveness::Process {
            let known = self.known_now();
            self.learn(peer, known);
            let p = &mut self.peers[peer];
            p.claim.handle_read(p.local(self.now), &p.known.view());
            return false;
        }
        self.serial += 1;
        let (id, p) = (self.serial, &mut self.peers[peer]);
        p.read = Some((id, p.changes));
        let life = p.life;
        let (there, back) = (self.tape.delay(), self.tape.delay());
        if self.tape.draw(8) < 6 {
            self.at(there, Event::ReadAt { peer, life, id, back });
        }
        // The driver's own limit for a read, and the pause after it.
        self.at(5 * SECOND, Event::ReadBack { peer, life, id, found: None });
        self.set_timer(peer, None);
        true
    }

    fn read_back(&mut self, peer: usize, id: u64, found: Option<Known>) {
        let p = &mut self.peers[peer];
        let Some((_, changes)) = p.read.filter(|(asked, _)| *asked == id) else { return };
        p.read = None;
        // "Not there" has no revision: it says nothing if something was learnt in the meantime.
        let unordered = matches!(found, Some(Known::Absent(0))) && changes != p.changes;
        if let Some(known) = found.filter(|_| !unordered) {
            self.learn(peer, known);
            let p = &mut self.peers[peer];
            p.claim.handle_read(p.local(self.now), &p.known.view());
        }
        self.drain(peer);
    }

    /// Sends a write, or carries it out at once.
    fn send(&mut self, peer: usize, write: Write) {
        let life = self.peers[peer].life;
        self.judge.sent(peer, &write);
        let fate = self.tape.draw(16);
        if self.liveness == Liveness::Process {
            let (outcome, made) = match fate {
                14 => (Outcome::NotDone, None),
                13 => (Outcome::Unknown, None),
                12 => {
                    self.carry_out(peer, life, &write);
                    (Outcome::Unknown, None)
                }
                _ => (self.carry_out(peer, life, &write), Some(self.known_now())),
            };
            return self.answered(peer, write.attempt, outcome, made);
        }
        let (there, back) = (self.tape.delay(), self.tape.delay());
        let attempt = write.attempt;
        let write = Box::new(write);
        match fate {
            // Refused; lost on the way; its answer lost; in doubt at once, yet it lands.
            15 => {
                let outcome = Outcome::NotDone;
                self.at(there, Event::Answer { peer, life, attempt, outcome, made: None });
            }
            14 => {}
            13 => self.at(there, Event::Land { peer, life, write, answer: None }),
            12 => {
                self.at(there, Event::Land { peer, life, write, answer: None });
                let outcome = Outcome::Unknown;
                self.at(back, Event::Answer { peer, life, attempt, outcome, made: None });
            }
            _ => self.at(there, Event::Land { peer, life, write, answer: Some(back) }),
        }
    }

    fn land(&mut self, peer: usize, life: u32, write: &Write, answer: Option<u64>) {
        let outcome = self.carry_out(peer, life, write);
        if let Some(back) = answer {
            let (attempt, made) = (write.attempt, Some(self.known_now()));
            self.at(back, Event::Answer { peer, life, attempt, outcome, made });
        }
    }

    fn carry_out(&mut self, peer: usize, life: u32, write: &Write) -> Outcome {
        let before = self.reg.record.clone();
        let outcome = self.reg.write(write);
        if matches!(outcome, Outcome::Done { .. }) {
            let same = self.peers[peer].life == life;
            self.judge.landed(same.then_some(peer), write, before.as_ref(), &self.reg);
            self.tell_all();
        }
        outcome
    }

    /// `made` is the record as it was right after the write: what a driver makes of the change.
    fn answered(&mut self, peer: usize, attempt: Mark, outcome: Outcome, made: Option<Known>) {
        if let (Outcome::Done { .. }, Some(known)) = (outcome, made) {
            self.learn(peer, known);
        }
        let p = &mut self.peers[peer];
        p.claim.handle_written(p.local(self.now), attempt, outcome);
    }

    fn learn(&mut self, peer: usize, known: Known) {
        let p = &mut self.peers[peer];
        let unordered = matches!(known, Known::Absent(0));
        if unordered || known.revision() >= p.newest {
            p.changes += 1;
            p.newest = p.newest.max(known.revision());
            p.known = known;
        }
    }

    fn known_now(&self) -> Known {
        let version = self.reg.version;
        match &self.reg.record {
            // A plain read of nothing says no revision; a watch says which.
            None if self.liveness == Liveness::Observed => Known::Absent(0),
            None => Known::Absent(version.revision),
            Some(record) => {
                let local = self.liveness == Liveness::Process;
                let stamp = record.holder.as_ref().map(|h| h.stamp);
                let age = stamp.map(|s| Time::from_nanos(self.now).since(s)).filter(|_| local);
                Known::Is(Rc::new(record.clone()), version, age)
            }
        }
    }

    /// The watch: everybody learns of the change, some late, some twice, some not at all.
    fn tell_all(&mut self) {
        let known = match self.known_now() {
            Known::Absent(_) => Known::Absent(self.reg.version.revision),
            known => known,
        };
        for peer in 0..self.peers.len() {
            for _ in 0..[1, 1, 1, 2, 0][usize::from(self.tape.draw(5))] {
                let delay = self.tape.delay();
                self.at(delay, Event::Watch { peer, known: known.clone() });
            }
        }
    }
}
