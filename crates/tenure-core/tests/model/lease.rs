//! The model: two real claims, one register, a network, and a clock that ticks.
//!
//! One tick is a second of true time. Both clocks are wrong by the whole of the promised bound, which
//! is made large (a half) so that a ttl has few ticks: the first claim's clock is as slow as it may
//! be, so that it holds long; the second one's as fast, so that it takes over early. Everything in
//! between is up to the checker: when a message is carried out, answered or lost, when a view
//! arrives, when a driver gets round to polling, when a holder gives back.

use std::sync::Arc;
use std::time::Duration;

use stateright::{Model, Property};
use tenure_core::{
    Action, Change, Claim, Config, History, Liveness, Mark, Marks, Outcome, Patience, Record,
    Report, Session, State, Term, Time, Timing, TimingSpec, Token, Version, View, Wall, Write,
};

const DRIFT_PPM: u32 = 500_000;
const MILLI: u64 = 1_000_000;

/// What is wrong with the program that drives the claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Hands an answer in as if its request had been sent when the answer came.
    SentIsReply,
    /// Believes in a hold as long as nothing was reported, and never looks at the deadline.
    DeadlineIgnored,
    /// Writes without the condition.
    Unconditional,
    /// Takes a refused condition for success.
    ConflictIsDone,
    /// Tells the age of an entry by the writer's clock.
    ForeignClock,
}

pub(crate) struct Lease {
    /// How fast each clock is, in milliseconds a tick.
    pub(crate) rates: [u64; 2],
    pub(crate) specs: [TimingSpec; 2],
    pub(crate) fault: Fault,
    /// How many ticks are looked at.
    pub(crate) horizon: u8,
    /// Whether waiters stand in the record, so that a release hands the lock over.
    pub(crate) queue: bool,
    /// Whether the first one gives the lock back, at any time while it holds.
    pub(crate) gives_back: bool,
}

impl Lease {
    pub(crate) fn right(horizon: u8) -> Self {
        let spec = TimingSpec {
            renew_every: Some(Duration::from_millis(1_000)),
            grace: Some(Duration::from_millis(250)),
            margin: Some(Duration::ZERO),
            drift_ppm: DRIFT_PPM,
            ..TimingSpec::of(Duration::from_secs(4))
        };
        let (queue, gives_back) = (false, false);
        let rates = [500, 1_500];
        Self { rates, specs: [spec; 2], fault: Fault::None, horizon, queue, gives_back }
    }

    /// The same, and the first one gives the lock back: to whom stands in line, or to nobody.
    pub(crate) fn given_back(horizon: u8, queue: bool) -> Self {
        Self { queue, gives_back: true, ..Self::right(horizon) }
    }

    fn local(&self, peer: usize, tick: u8) -> Time {
        // The clocks have nothing to do with each other.
        let offset = [1_000, 5_000_000][peer];
        Time::from_nanos((offset + u64::from(tick) * self.rates[peer]) * MILLI)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Known {
    record: Option<Arc<Record>>,
    version: Version,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Message {
    Request(Write),
    Answer { attempt: Mark, outcome: Outcome, made: Option<Known> },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Peer {
    claim: Claim,
    known: Option<Known>,
    reading: bool,
    /// When it wants to be polled.
    due: Option<Time>,
    network: Vec<Message>,
    /// For [`Fault::SentIsReply`]: the claim and its view before the write was asked for.
    before: Option<Box<(Claim, Option<Known>)>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    tick: u8,
    store: Known,
    token: u64,
    peers: [Peer; 2],
    /// The largest token reported, and whether a smaller one came after it.
    reported: Token,
    fell: bool,
    /// Which peers have been told that they hold.
    held: [bool; 2],
    /// Whether the first one renewed its hold, and whether it gave it back.
    renewed: bool,
    given_back: bool,
    /// Whether the second one holds what the first one handed to it.
    handed: bool,
    /// The mark of whom a release made the holder.
    handed_to: Option<Mark>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Tick,
    Poll(usize),
    /// The message of this number is carried out, or handed in.
    Deliver(usize, usize),
    /// The request of this number is carried out, and nobody hears of it.
    DeliverMute(usize, usize),
    Read(usize),
    Watch(usize),
    /// The first one gives the lock back.
    Release,
}

impl Model for Lease {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let peer = |n: u8| {
            let spec = self.specs[usize::from(n)];
            let timing = Timing::new(spec).expect("these numbers fit");
            let config = Config {
                id: format!("c{n}").into(),
                session: Session::NONE,
                term: Term::Ttl(timing.ttl()),
                timing,
                liveness: Liveness::Observed,
                queue: self.queue,
                adopt: false,
                max_clock_skew: Duration::ZERO,
                add_tags: false,
                tags: Vec::new(),
                marks: Marks::new(u128::from(n) << 64),
            };
            let mut claim = Claim::new(config);
            claim.acquire(Patience::Forever);
            let network = Vec::new();
            Peer { claim, known: None, reading: false, due: None, network, before: None }
        };
        let mut world = World {
            tick: 0,
            store: Known { record: None, version: Version::default() },
            token: 0,
            peers: [peer(0), peer(1)],
            reported: Token::default(),
            fell: false,
            held: [false; 2],
            renewed: false,
            given_back: false,
            handed: false,
            handed_to: None,
        };
        self.drain(&mut world, 0);
        self.drain(&mut world, 1);
        vec![world]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        steps.push(Step::Tick);
        if self.gives_back && !world.given_back && world.peers[0].claim.state() == State::Held {
            steps.push(Step::Release);
        }
        for (n, peer) in world.peers.iter().enumerate() {
            if peer.due.is_some_and(|t| t <= self.local(n, world.tick)) {
                steps.push(Step::Poll(n));
            }
            for (number, message) in peer.network.iter().enumerate() {
                steps.push(Step::Deliver(n, number));
                if matches!(message, Message::Request(_)) {
                    steps.push(Step::DeliverMute(n, number));
                }
            }
            // The challenger comes when there is something to challenge.
            if peer.reading && (n == 0 || world.store.record.is_some()) {
                steps.push(Step::Read(n));
            }
            if peer.known.as_ref().is_some_and(|k| *k != world.store) {
                steps.push(Step::Watch(n));
            }
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        let peer = match step {
            Step::Tick => {
                world.tick += 1;
                return Some(world);
            }
            Step::Poll(n) => n,
            Step::Deliver(n, message) => {
                match world.peers[n].network.remove(message) {
                    Message::Request(write) => {
                        let (outcome, made) = self.carry_out(&mut world, &write);
                        let attempt = write.attempt;
                        let answer = Message::Answer { attempt, outcome, made };
                        world.peers[n].network.push(answer);
                        self.tidy(&mut world);
                        return Some(world);
                    }
                    Message::Answer { attempt, outcome, made } => {
                        self.answered(&mut world, n, attempt, outcome, made);
                    }
                }
                n
            }
            Step::DeliverMute(n, message) => {
                if let Message::Request(write) = world.peers[n].network.remove(message) {
                    self.carry_out(&mut world, &write);
                }
                self.tidy(&mut world);
                return Some(world);
            }
            Step::Read(n) => {
                let now = self.local(n, world.tick);
                let found = world.store.clone();
                let peer = &mut world.peers[n];
                peer.reading = false;
                peer.learn(found);
                self.look(peer, now, |claim, view| claim.handle_read(now, view));
                n
            }
            Step::Release => {
                let now = self.local(0, world.tick);
                world.given_back = true;
                world.peers[0].claim.release(now);
                0
            }
            Step::Watch(n) => {
                let known = world.store.clone();
                world.peers[n].learn(known);
                n
            }
        };
        self.drain(&mut world, peer);
        self.tidy(&mut world);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("never two beliefs", |model: &Self, world: &World| {
                !(0..2).all(|n| model.believes(world, n))
            }),
            Property::always("tokens rise", |_, world: &World| !world.fell),
            // The search has seen what it is about.
            Property::sometimes("the other one takes over", |_, w: &World| w.held == [true; 2]),
            Property::sometimes("and does so after a renewal", |_, w: &World| {
                w.held == [true; 2] && w.renewed
            }),
        ];
        if self.gives_back {
            properties.push(Property::sometimes("and after it was given back", |_, w: &World| {
                w.held == [true; 2] && w.given_back
            }));
        }
        if self.gives_back && self.queue {
            let handed = |_: &Self, w: &World| w.handed;
            properties.push(Property::sometimes("the lock is handed over", handed));
        }
        properties
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.tick <= self.horizon && !self.is_over(world)
    }
}

impl Lease {
    fn believes(&self, world: &World, n: usize) -> bool {
        let claim = &world.peers[n].claim;
        match self.fault {
            Fault::DeadlineIgnored => claim.state() == State::Held,
            _ => claim.is_valid(self.local(n, world.tick)),
        }
    }

    /// Whether the first one cannot believe any more: its hold is lost, or past its deadline with
    /// nothing under way while another's is in the record.
    fn is_over(&self, world: &World) -> bool {
        let first = &world.peers[0];
        let holder = world.store.record.as_ref().and_then(|r| r.holder.as_ref());
        let replaced = holder.is_some_and(|h| &*h.id != "c0") && first.network.is_empty();
        match first.claim.state() {
            // A release on its way may still do harm.
            State::Ended => first.network.is_empty(),
            State::Held => replaced && !self.believes(world, 0),
            _ => false,
        }
    }

    /// Drops what makes more states but no other behaviour: when a request that cannot succeed any
    /// more is refused, and answers that are no news.
    fn tidy(&self, world: &mut World) {
        let revision = world.store.version.revision;
        for (n, peer) in world.peers.iter_mut().enumerate() {
            let now = self.local(n, world.tick);
            for message in &mut peer.network {
                let Message::Request(write) = message else { continue };
                let expected = write.expected.map_or(0, |v| v.revision);
                if expected != revision && self.fault != Fault::Unconditional {
                    let (attempt, outcome) = (write.attempt, Outcome::Conflict);
                    *message = Message::Answer { attempt, outcome, made: None };
                }
            }
            let newest = peer.known.as_ref().map_or(0, |k| k.version.revision);
            let claim = &peer.claim;
            peer.network.retain(|message| {
                let Message::Answer { attempt, outcome, made } = message else { return true };
                let mut told = claim.clone();
                told.handle_written(now, *attempt, *outcome);
                told != *claim || made.as_ref().is_some_and(|m| m.version.revision > newest)
            });
        }
    }

    /// Lets `f` have the claim and its view.
    fn look<T>(&self, peer: &mut Peer, now: Time, f: impl FnOnce(&mut Claim, &View<'_>) -> T) -> T {
        let view = match &peer.known {
            None => View::Unknown,
            Some(Known { record: None, version }) => View::Absent { revision: version.revision },
            Some(Known { record: Some(record), version }) => {
                let stamp = record.holder.as_ref().map(|h| h.stamp);
                let age = stamp.map(|s| now.since(s)).filter(|_| self.fault == Fault::ForeignClock);
                View::Is { record, version: *version, age }
            }
        };
        f(&mut peer.claim, &view)
    }

    fn drain(&self, world: &mut World, n: usize) {
        let now = self.local(n, world.tick);
        for _ in 0..20 {
            let peer = &mut world.peers[n];
            let before = || {
                (self.fault == Fault::SentIsReply).then(|| (peer.claim.clone(), peer.known.clone()))
            };
            let before = before().map(Box::new);
            let action = self.look(peer, now, |claim, view| claim.poll(now, Wall::default(), view));
            match action {
                Action::Read => {
                    peer.reading = true;
                    let ends = [peer.claim.stop_at(), peer.claim.deadline()];
                    peer.due = ends.into_iter().flatten().find(|t| *t > now);
                    return;
                }
                Action::Write(write) => {
                    peer.before = before;
                    // A third one on the way: the oldest was lost.
                    if peer.network.len() == 2 {
                        peer.network.remove(0);
                    }
                    peer.network.push(Message::Request(write));
                }
                Action::Report(Report::Acquired { token }) => {
                    world.fell |= token <= world.reported;
                    world.reported = world.reported.max(token);
                    world.held[n] = true;
                    let mark = world.peers[n].claim.mark();
                    world.handed |= mark.is_some() && mark == world.handed_to;
                }
                Action::Report(report) => {
                    world.renewed |= n == 0 && report == Report::Renewed;
                }
                Action::Wait { until } => {
                    peer.due = until;
                    return;
                }
                Action::Idle => return,
                Action::Probe(_) => panic!("time decides here"),
            }
        }
        panic!("never comes to rest: {:?}", world.peers[n].claim);
    }

    fn carry_out(&self, world: &mut World, write: &Write) -> (Outcome, Option<Known>) {
        let store = &mut world.store;
        let current = store.record.is_some().then_some(store.version);
        let outcome = if current == write.expected || self.fault == Fault::Unconditional {
            world.token += u64::from(write.change.begins_hold());
            let token = Token::new(if write.change.begins_hold() { world.token } else { 0 });
            let mut record = store.record.as_deref().cloned().unwrap_or_default();
            record.apply(&write.change, token);
            if let Change::Release { next: Some(next), .. } = &write.change {
                world.handed_to = Some(*next);
            }
            // What nobody reads here would only make more states.
            record.history = History::default();
            store.record = Some(Arc::new(record));
            store.version.revision += 1;
            Outcome::Done { version: store.version, token }
        } else {
            Outcome::Conflict
        };
        let made = matches!(outcome, Outcome::Done { .. }).then(|| store.clone());
        (outcome, made)
    }

    fn answered(
        &self,
        world: &mut World,
        n: usize,
        attempt: Mark,
        mut outcome: Outcome,
        mut made: Option<Known>,
    ) {
        let now = self.local(n, world.tick);
        let peer = &mut world.peers[n];
        if self.fault == Fault::SentIsReply
            && let Some(before) = peer.before.take()
        {
            (peer.claim, peer.known) = *before;
            self.look(peer, now, |claim, view| claim.poll(now, Wall::default(), view));
        }
        if self.fault == Fault::ConflictIsDone && outcome == Outcome::Conflict {
            let version = Version { revision: 100, ..Version::default() };
            let mine = peer.known.clone().and_then(|k| k.record);
            let mut record = mine.as_deref().cloned().unwrap_or_default();
            if let Some(holder) = &mut record.holder {
                holder.mark = attempt;
            }
            made = Some(Known { record: Some(Arc::new(record)), version });
            outcome = Outcome::Done { version, token: Token::new(world.token + 1) };
        }
        if let Some(made) = made {
            peer.learn(made);
        }
        peer.claim.handle_written(now, attempt, outcome);
    }
}

impl Peer {
    /// Views never go back.
    fn learn(&mut self, known: Known) {
        let newer = |k: &Known| k.version.revision <= known.version.revision;
        if self.known.as_ref().is_none_or(newer) {
            self.known = Some(known);
        }
    }
}
