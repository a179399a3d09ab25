//! True time, what is still to happen, and each process's side of the store.
//!
//! Owns the order of events and the faults of a storm, which end in one calm. Equal times go in the
//! order in which they were put in.

use std::collections::BTreeMap;
use std::task::Waker;

use tenure_core::{Mark, Session, Token};
use tenure_store::Snapshot;

#[cfg(feature = "kube")]
use super::cluster::{self, Cluster, Piece};
use super::format::Format;
use super::net::{Call, Reply, Watcher};
use super::server::Lease;
use super::{Finished, Setting};
use crate::sim::internals::{Dice, Fence, Meddling, Plan, SECOND, Shelf, Tokens, Trace};
use crate::sim::{Broken, StoreKind, Telling};

/// What happens.
#[derive(Debug)]
pub(super) enum Event {
    /// A request reaches the store; whether it will be answered.
    Land(usize, bool),
    /// Its answer reaches the process.
    Back(usize, Reply),
    /// The keep-alive before it was answered.
    Beaten(usize, bool),
    /// A watch tells, or ends.
    News(usize, Option<Snapshot>),
    BeatDue(usize, Session),
    BeatLands(usize, Session),
    SessionGone(usize, Session),
    Revoke,
    Fenced {
        process: usize,
        life: u32,
        token: Token,
        number: u64,
    },
    Fault(Fault),
    Calm,
    /// Something comes on a watch of an API server.
    #[cfg(feature = "kube")]
    Piece(usize, Piece),
    /// Such a watch is told how far it has come.
    #[cfg(feature = "kube")]
    Mark(usize),
    /// Such a watch has lasted as long as it wanted to.
    #[cfg(feature = "kube")]
    CutOff(usize),
    /// Everybody looks at its timers.
    #[cfg(feature = "kube")]
    Tick,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Freeze,
    Die,
    Deafen,
    Cut,
    Meddle,
    Label,
    Leader,
}

/// What concerns whoever runs the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// This process stands still until then.
    Frozen(usize),
    /// This process is to end without a word.
    Died(usize),
}

/// Whether a message reaches a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frozen {
    /// At once.
    No,
    /// When it goes on.
    Until(u64),
    /// Never: its connections are gone.
    Loses,
}

/// One process, as the store and the network see it.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) life: u32,
    pub(super) rate: u64,
    pub(super) frozen_until: u64,
    suspended: bool,
    pub(super) cut: [u64; 2],
    /// The newest revision it was told.
    pub(super) newest: u64,
    /// How many onlookers of it have asked: what they are told, its holds are not.
    pub(super) looks: u32,
    pub(super) session: Option<Session>,
    pub(super) sessions: u32,
    /// Keys of holds that are known to be put, by token and mark.
    pub(super) confirmed: Vec<(Token, Mark)>,
    /// When the newest write that proves a hold was sent, by its own clock.
    pub(super) proved: u64,
    pub(super) woken: bool,
}

impl Side {
    /// Whether a message can be taken in at `now`.
    pub(super) fn reach(&self, now: u64) -> Frozen {
        match now < self.frozen_until {
            false => Frozen::No,
            true if self.suspended => Frozen::Loses,
            true => Frozen::Until(self.frozen_until),
        }
    }

    pub(super) fn wake(&mut self, waker: Option<Waker>) {
        self.woken = true;
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Everything but the program.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now: u64,
    pub(super) dice: Dice,
    pub(super) plan: Plan,
    agenda: BTreeMap<(u64, u64), Event>,
    serial: u64,
    pub(super) sides: Vec<Side>,
    pub(super) shelf: Shelf,
    pub(super) calls: Vec<Call>,
    pub(super) watchers: Vec<Watcher>,
    pub(super) leases: Vec<Lease>,
    pub(super) calm: bool,
    quiet: bool,
    /// When what the storm left is over.
    pub(super) over: u64,
    /// The last revision at which an outsider took, blanked or deleted the record.
    pub(super) outsiders: u64,
    pub(super) tokens: Tokens,
    pub(super) fence: Fence,
    pub(super) believed: Vec<(usize, u64)>,
    pub(super) held: bool,
    pub(super) idle_since: Option<u64>,
    pub(super) requests: u64,
    pub(super) holds: u64,
    pub(super) trace: Trace,
    pub(super) telling: bool,
    pub(super) broken: Option<Broken>,
    notices: Vec<Notice>,
    pub(super) format: Option<Format>,
    /// In place of the shelf, the API server that a store of Kubernetes speaks to.
    #[cfg(feature = "kube")]
    pub(super) cluster: Option<Cluster>,
}

impl World {
    pub(super) fn new(seed: u64, telling: Telling) -> Self {
        let mut dice = Dice::new(seed ^ 0xd1e5);
        let plan = Plan::draw(&mut dice);
        Self::planned(dice, plan, telling)
    }

    pub(super) fn planned(mut dice: Dice, mut plan: Plan, telling: Telling) -> Self {
        let ttl = u64::try_from(plan.timing.ttl().as_nanos()).unwrap_or(u64::MAX);
        plan.contenders = plan.contenders.min(3);
        plan.hold = dice.pick(&[ttl / 20, ttl / 3, ttl / 3, 2 * ttl]);
        plan.rest = dice.pick(&[ttl / 20, ttl / 3]);
        plan.storm = dice.pick(&[ttl, 3 * ttl, 6 * ttl]);
        let side = |rate: &i64| Side {
            rate: 1_000_000_u64.saturating_add_signed(*rate),
            ..Side::default()
        };
        let mut world = Self {
            now: 0,
            agenda: BTreeMap::new(),
            serial: 0,
            sides: plan.rates_ppm[..plan.contenders].iter().map(side).collect(),
            shelf: Shelf::new(plan.store, None),
            calls: Vec::new(),
            watchers: Vec::new(),
            leases: Vec::new(),
            calm: false,
            quiet: dice.chance(300),
            over: u64::MAX,
            outsiders: 0,
            tokens: Tokens::default(),
            fence: Fence::default(),
            believed: Vec::new(),
            held: false,
            idle_since: None,
            requests: 0,
            holds: 0,
            trace: Trace::new(telling),
            telling: telling != Telling::Nothing,
            broken: None,
            notices: Vec::new(),
            format: None,
            #[cfg(feature = "kube")]
            cluster: None,
            dice,
            plan,
        };
        world.trace.say(|| format!("{:?}", world.plan));
        world.at(world.plan.storm, Event::Calm);
        if world.plan.store == StoreKind::Server {
            world.at(SECOND, Event::Revoke);
        }
        for fault in FAULTS {
            world.again(fault);
        }
        world
    }

    pub(super) fn setting(&self) -> Setting {
        let plan = &self.plan;
        let server = plan.store == StoreKind::Server;
        // What a dead process left ends first; then there is time to see that all goes well.
        let calm = if server { 4 } else { 3 } * self.ttl() + self.aftermath();
        Setting {
            store: plan.store,
            format: self.format,
            lock: self.format.map_or("x", Format::lock),
            processes: plan.contenders,
            timing: plan.asked,
            rates: self.sides.iter().map(|s| s.rate).collect(),
            hold: plan.hold,
            rest: plan.rest,
            act: plan.act,
            storm: plan.storm,
            end: plan.storm + calm,
            quiet: self.quiet,
            detach: plan.detach > 0,
        }
    }

    /// How long after a storm something of it may still happen.
    fn aftermath(&self) -> u64 {
        let server = self.plan.store == StoreKind::Server;
        let ends = if server { self.ttl() + self.ttl() / 10 + SECOND } else { 0 };
        #[cfg(feature = "kube")]
        let ends = ends + if self.cluster.is_some() { cluster::BLIND } else { 0 };
        self.plan.freeze_max + self.plan.storm_net.late_max + ends
    }

    pub(super) fn finished(self, polls: u64) -> Finished {
        Finished {
            store: self.plan.store,
            format: self.format,
            hash: self.trace.hash(),
            time: self.now,
            requests: self.requests,
            holds: self.holds,
            polls,
            broken: self.broken,
            lines: self.trace.into_lines(),
        }
    }

    pub(super) fn ttl(&self) -> u64 {
        u64::try_from(self.plan.timing.ttl().as_nanos()).unwrap_or(u64::MAX)
    }

    /// What the clock of a process shows at `now` of true time, since its beginning.
    pub(super) fn local(&self, process: usize, now: u64) -> u64 {
        now * self.sides[process].rate / 1_000_000
    }

    /// The first instant of true time at which it shows that.
    pub(super) fn true_time(&self, process: usize, local: u64) -> u64 {
        local.saturating_mul(1_000_000).div_ceil(self.sides[process].rate)
    }

    /// A write that proves a hold was done.
    pub(super) fn proved(&mut self, process: usize, sent: u64) {
        let side = &mut self.sides[process];
        side.proved = side.proved.max(sent);
    }

    // ---- events ----

    pub(super) fn at(&mut self, delay: u64, event: Event) {
        self.serial += 1;
        self.agenda.insert((self.now + delay, self.serial), event);
    }

    pub(super) fn next_at(&self) -> u64 {
        self.agenda.first_key_value().map_or(u64::MAX, |((time, _), _)| *time)
    }

    pub(super) fn step(&mut self, now: u64) -> Vec<Notice> {
        self.now = now;
        while let Some(entry) = self.agenda.first_entry().filter(|e| e.key().0 <= now) {
            let ((time, serial), event) = entry.remove_entry();
            self.trace.mix(time ^ serial << 40);
            self.happens(event);
        }
        std::mem::take(&mut self.notices)
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Land(number, answered) => self.lands(number, answered),
            Event::Back(number, reply) => self.back(number, reply),
            Event::Beaten(number, alive) => self.beaten(number, alive),
            Event::News(number, news) => self.news(number, news),
            Event::BeatDue(process, session) => self.beat_due(process, session),
            Event::BeatLands(process, session) => self.beat_lands(process, session),
            Event::SessionGone(process, session) => {
                let side = &mut self.sides[process];
                side.session.take_if(|s| *s == session);
            }
            Event::Revoke => self.revoke(),
            Event::Fenced { process, life, token, number } => {
                self.fenced(process, life, token, number);
            }
            Event::Fault(fault) => self.fault(fault),
            Event::Calm => self.calms(),
            #[cfg(feature = "kube")]
            Event::Piece(number, piece) => self.piece(number, piece),
            #[cfg(feature = "kube")]
            Event::Mark(number) => self.marks(number),
            #[cfg(feature = "kube")]
            Event::CutOff(number) => self.cuts_off(number),
            #[cfg(feature = "kube")]
            Event::Tick => self.ticks(),
        }
    }

    fn again(&mut self, fault: Fault) {
        let plan = &self.plan;
        let every = match fault {
            Fault::Freeze => plan.freeze_every,
            Fault::Die => plan.die_every,
            Fault::Deafen => plan.deafen_every,
            Fault::Cut => plan.cut_every,
            Fault::Meddle => plan.meddle_every,
            Fault::Label => plan.label_every,
            Fault::Leader => plan.leader_every,
        };
        if every > 0 {
            let delay = self.dice.around(every);
            self.at(delay, Event::Fault(fault));
        }
    }

    fn fault(&mut self, fault: Fault) {
        self.again(fault);
        let process = self.dice.below(self.sides.len() as u64) as usize;
        match fault {
            // Another controller goes on writing its labels.
            Fault::Label => return self.meddles(Meddling::Label),
            _ if self.calm => return,
            Fault::Freeze => self.freezes(process),
            Fault::Die => self.notices.push(Notice::Died(process)),
            #[cfg(feature = "kube")]
            Fault::Deafen if self.cluster.is_some() => self.deafens(process),
            Fault::Deafen => {
                let open = |w: &Watcher| w.open && w.by.0 == process;
                for number in 0..self.watchers.len() {
                    if open(&self.watchers[number]) {
                        self.falls_silent(number);
                    }
                }
            }
            Fault::Cut => {
                let (way, longest) = (self.dice.below(3), 2 * self.ttl());
                let until = self.now + self.dice.below(longest);
                for side in 0..2 {
                    if way == 2 || way == side {
                        self.sides[process].cut[side as usize] = until;
                    }
                }
            }
            Fault::Meddle => {
                let how = match self.format {
                    Some(Format::ConfigMap) => self.dice.pick(&MEDDLINGS),
                    _ => self.dice.pick(&MEDDLINGS[1..]),
                };
                self.meddles(how);
            }
            Fault::Leader => self.new_leader(),
        }
        let now = self.now;
        self.trace.say(|| format!("{now:>15} {fault:?} p{process}"));
    }

    fn freezes(&mut self, process: usize) {
        let (length, suspended) = (self.dice.below(self.plan.freeze_max), self.dice.chance(500));
        // What is on the same machine has no connection to lose.
        let suspended = suspended && self.plan.store != StoreKind::Line;
        let side = &mut self.sides[process];
        if side.frozen_until <= self.now {
            side.frozen_until = self.now + length;
            side.suspended = suspended;
            self.notices.push(Notice::Frozen(process));
        }
    }

    fn meddles(&mut self, how: Meddling) {
        let wall = tenure_core::Wall::from_micros((1_000_000 * SECOND + self.now) / 1_000);
        if !self.meddled(how, wall) {
            return;
        }
        // Those two leave the holder what it has.
        if !matches!(how, Meddling::Label | Meddling::Reserve) {
            self.outsiders = self.revision();
        }
        self.tell_all();
    }

    fn meddled(&mut self, how: Meddling, wall: tenure_core::Wall) -> bool {
        #[cfg(feature = "kube")]
        if self.cluster.is_some() {
            return self.meddles_with_object(how);
        }
        self.shelf.meddle(how, self.plan.term(), wall)
    }

    fn revision(&self) -> u64 {
        #[cfg(feature = "kube")]
        if let Some(cluster) = &self.cluster {
            return cluster.revision();
        }
        self.shelf.revision()
    }

    /// The next life of a process that died.
    pub(super) fn reborn(&mut self, process: usize) {
        let Side { life, rate, sessions, newest, .. } = self.sides[process];
        self.sides[process] =
            Side { life: life + 1, rate, sessions, newest, woken: true, ..Side::default() };
        if self.plan.store == StoreKind::Line {
            // Who waits for it notices.
            self.tell_all();
        }
    }

    fn calms(&mut self) {
        self.calm = true;
        self.over = self.now + self.aftermath();
        for number in 0..self.watchers.len() {
            if self.watchers[number].deaf {
                self.watchers[number].deaf = false;
                self.falls_silent(number);
            }
        }
        #[cfg(feature = "kube")]
        if self.cluster.is_some() {
            self.undeafens();
        }
        let now = self.now;
        self.trace.say(|| format!("{now:>15} calm"));
    }

    pub(super) fn judged(&mut self, rule: &'static str, what: Option<String>) {
        if let Some(what) = what
            && self.broken.is_none()
        {
            let now = self.now;
            self.trace.say(|| format!("{now:>15} BROKEN {rule}: {what}"));
            self.broken = Some(Broken { rule, at: now, what });
        }
    }
}

/// Only lockheed's ConfigMaps can be reserved.
const MEDDLINGS: [Meddling; 5] =
    [Meddling::Reserve, Meddling::Blank, Meddling::Take, Meddling::Delete, Meddling::Recreate];

const FAULTS: [Fault; 7] = [
    Fault::Freeze,
    Fault::Die,
    Fault::Deafen,
    Fault::Cut,
    Fault::Meddle,
    Fault::Label,
    Fault::Leader,
];
