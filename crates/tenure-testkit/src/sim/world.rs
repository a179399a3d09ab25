//! The event engine: true time, what is still to happen, and who is there.
//!
//! Owns the order of events; `network` and `faults` own what happens. One seed decides everything: the same seed
//! gives the same events, in the same order, with the same trace hash.
//!
//! A run is a row of storms, with the faults that were drawn, each followed by a calm without any,
//! in which the lock has to come to life again.

use tenure_core::{Claim, Config, Mark, Marks, Session, Token};

use super::agenda::{Agenda, Entry, Kind, Slab};
use super::bug::Bug;
use super::dice::Dice;
use super::go::Go;
use super::judge::{Broken, Each, Judges};
use super::lease::{Lease, Line};
use super::network::{Answer, Sent};
use super::peer::{Doing, Known, Peer};
use super::plan::{MILLI, Plan, SECOND, StoreKind};
use super::shelf::{Meddling, Shelf};
use super::trace::Trace;

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
    pub(super) steps: Each<u64>,
    pub(super) shelf: Shelf,
    pub(super) judges: Judges,
    /// Over a server: each client's connection, and the sessions the server knows.
    pub(super) lines: Each<Line>,
    pub(super) leases: Vec<Lease>,
    pub(super) go: Go,
    pub(super) sent: Slab<Sent>,
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
            go: Go::default(),
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
            add_tags: false,
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
            (plan.go_every, Kind::GoDue),
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
            Kind::GoDue => self.go_due(),
            Kind::GoLook => self.go_looks(),
            Kind::GoFound => self.go_found(entry),
            Kind::GoLand => self.go_lands(entry),
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
        let passed = if self.plan.wall_stuck[peer] { 0 } else { self.now };
        let base = 1_000_000 * SECOND + passed;
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
