//! The model of an order to end somebody else's hold: its holder, who may give it back or renew it, a
//! contender in line, and an operator who has seen the hold and ends it, over a network that loses
//! answers and carries out late.
//!
//! Time only passes so far that what was refused is tried again; no hold runs out.

use std::sync::Arc;
use std::time::Duration;

use stateright::{Model, Property};
use tenure_core::{
    Action, Claim, Config, End, Liveness, Mark, Marks, Outcome, Patience, Record, Report, Session,
    State, Term, Time, Timing, TimingSpec, Token, Version, View, Wall, Write,
};

const HOLDER: usize = 0;
const WAITER: usize = 1;
const OPERATOR: usize = 2;
/// A tick: as long as a refused write is not tried again, and as the holder takes to renew.
const TICK: Duration = Duration::from_secs(5);

/// How many answers are given up.
const GIVEN_UP_MAX: u8 = 1;

/// What is wrong with the program around the claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Ends whatever hold is there when the order arrives.
    EndsByName,
    /// Says that what was carried out was refused.
    DoneIsConflict,
}

pub(crate) struct Orders {
    pub(crate) horizon: u8,
    pub(crate) fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Known {
    record: Option<Arc<Record>>,
    version: Version,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Message {
    /// And whether its author has given up waiting for the answer.
    Request(Write, bool),
    Answer(Mark, Outcome, Option<Known>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Peer {
    claim: Claim,
    known: Option<Known>,
    reading: bool,
    network: Vec<Message>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    tick: u8,
    store: Known,
    token: u64,
    peers: [Peer; 3],
    /// The mark of the hold that the operator ends.
    ordered: Option<Mark>,
    /// What it was told: ended, or not there any more.
    told: Option<bool>,
    /// A hold was ended by the operator that it had not seen.
    strangers: bool,
    fell: bool,
    given_up: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Tick,
    Poll(usize),
    Read(usize),
    /// A watch tells of the latest record.
    Watch(usize),
    /// The message of this number is carried out, or handed in.
    Deliver(usize, usize),
    /// The author of the request gives up; it may still be carried out.
    GiveUp(usize, usize),
    Order,
    GiveBack,
}

impl Model for Orders {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let peers = [HOLDER, WAITER, OPERATOR].map(|n| {
            let mut claim = Claim::new(config(n));
            if n != OPERATOR {
                claim.acquire(Patience::Forever);
            }
            Peer { claim, known: None, reading: false, network: Vec::new() }
        });
        let store = Known { record: None, version: Version::default() };
        let (ordered, told) = (None, None);
        let mut world = World {
            tick: 0,
            store,
            token: 0,
            peers,
            ordered,
            told,
            strangers: false,
            fell: false,
            given_up: 0,
        };
        // The search begins where one holds and one stands in line.
        let is_there = |w: &World| {
            w.peers[HOLDER].claim.state() == State::Held && w.peers[WAITER].claim.queued().is_some()
        };
        while !is_there(&world) {
            for n in [HOLDER, WAITER] {
                for step in [Step::Poll(n), Step::Read(n), Step::Deliver(n, 0)] {
                    world = self.next_state(&world, step).unwrap_or(world);
                }
            }
        }
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Step>) {
        if world.tick < self.horizon {
            actions.push(Step::Tick);
        }
        for (n, peer) in world.peers.iter().enumerate() {
            actions.push(Step::Poll(n));
            if peer.reading {
                actions.push(Step::Read(n));
            } else if n == WAITER && peer.known.as_ref() != Some(&world.store) {
                actions.push(Step::Watch(n));
            }
            for (k, message) in peer.network.iter().enumerate() {
                actions.push(Step::Deliver(n, k));
                if matches!(message, Message::Request(_, false)) && world.given_up < GIVEN_UP_MAX {
                    actions.push(Step::GiveUp(n, k));
                }
            }
        }
        if world.ordered.is_none() {
            actions.push(Step::Order);
        }
        if world.peers[HOLDER].claim.state() == State::Held {
            actions.push(Step::GiveBack);
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        let now = Time::ZERO.after(TICK * u32::from(world.tick));
        match step {
            Step::Tick => world.tick += 1,
            Step::Poll(n) => world.poll(n, now),
            Step::Read(n) => world.read(n, now),
            Step::Watch(n) => world.peers[n].known = Some(world.store.clone()),
            Step::Deliver(n, k) => world.deliver(n, k, now, self.fault)?,
            Step::GiveUp(n, k) => {
                let Message::Request(write, given_up) = world.peers[n].network.get_mut(k)? else {
                    return None;
                };
                *given_up = true;
                world.given_up += 1;
                let attempt = write.attempt;
                world.peers[n].claim.handle_written(now, attempt, Outcome::Unknown);
            }
            Step::Order => {
                let seen = world.store.record.as_ref()?.holder.as_ref()?.mark;
                world.ordered = Some(seen);
                world.peers[OPERATOR].claim.end_other(seen, End::Stolen, Some("why".into()));
            }
            Step::GiveBack => world.peers[HOLDER].claim.release(now),
        }
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("only what was seen is ended", |_, w: &World| !w.strangers),
            Property::always("what is told is so", |_, w: &World| match w.told {
                None => true,
                Some(true) => w.holder_mark() != w.ordered,
                Some(false) => w.stolen() == 0,
            }),
            Property::always("it is ended once", |_, w: &World| w.stolen() <= 1),
            Property::always("tokens grow", |_, w: &World| !w.fell),
            Property::sometimes("stolen, and handed to the next", |_, w: &World| {
                w.stolen() == 1 && w.peers[WAITER].claim.state() == State::Held
            }),
            Property::sometimes("given back before it came to it", |_, w: &World| {
                w.told == Some(false)
            }),
            Property::sometimes("renewed before it came to it", |_, w: &World| {
                w.told == Some(false) && w.peers[HOLDER].claim.state() == State::Held
            }),
        ]
    }
}

impl World {
    fn holder_mark(&self) -> Option<Mark> {
        Some(self.store.record.as_ref()?.holder.as_ref()?.mark)
    }

    fn stolen(&self) -> usize {
        let record = self.store.record.as_ref();
        record.map_or(0, |r| r.history.iter().filter(|past| past.end == End::Stolen).count())
    }

    fn poll(&mut self, n: usize, now: Time) {
        let peer = &mut self.peers[n];
        let view = view(peer.known.as_ref());
        match peer.claim.poll(now, Wall::default(), &view) {
            Action::Read => peer.reading = true,
            Action::Probe(session) => {
                peer.claim.handle_probe(session, tenure_core::Probed::Alive);
                self.poll(n, now);
            }
            Action::Write(write) => peer.network.push(Message::Request(write, false)),
            Action::Report(report) if n == OPERATOR => match report {
                Report::Released { .. } => self.told = Some(true),
                Report::Lost(_) => self.told = Some(false),
                _ => {}
            },
            Action::Report(_) | Action::Wait { .. } | Action::Idle => {}
        }
    }

    fn read(&mut self, n: usize, now: Time) {
        let known = self.store.clone();
        let peer = &mut self.peers[n];
        peer.reading = false;
        peer.claim.handle_read(now, &view(Some(&known)));
        peer.known = Some(known);
    }

    fn deliver(&mut self, n: usize, k: usize, now: Time, fault: Fault) -> Option<()> {
        self.peers[n].network.get(k)?;
        match self.peers[n].network.remove(k) {
            Message::Request(write, given_up) => {
                let attempt = write.attempt;
                let mut outcome = self.carry_out(n, write, fault);
                let made = matches!(outcome, Outcome::Done { .. }).then(|| self.store.clone());
                if fault == Fault::DoneIsConflict && n == OPERATOR {
                    outcome = Outcome::Conflict;
                }
                if !given_up {
                    self.peers[n].network.push(Message::Answer(attempt, outcome, made));
                }
            }
            Message::Answer(attempt, outcome, made) => {
                let peer = &mut self.peers[n];
                let newer = |known: &Known| {
                    peer.known
                        .as_ref()
                        .is_none_or(|old| old.version.revision < known.version.revision)
                };
                if let Some(made) = made.filter(newer) {
                    peer.known = Some(made);
                }
                peer.claim.handle_written(now, attempt, outcome);
            }
        }
        Some(())
    }

    fn carry_out(&mut self, n: usize, write: Write, fault: Fault) -> Outcome {
        let by_name = fault == Fault::EndsByName && n == OPERATOR;
        let current = self.store.record.is_some().then_some(self.store.version);
        if current != write.expected && !by_name {
            return Outcome::Conflict;
        }
        let mut change = write.change;
        let mark = self.holder_mark();
        if let (true, tenure_core::Change::Release { of, .. }) = (by_name, &mut change) {
            *of = mark.unwrap_or_default();
        }
        let token = if change.begins_hold() { self.token + 1 } else { 0 };
        self.token += u64::from(change.begins_hold());
        let mut record = self.store.record.as_deref().cloned().unwrap_or_default();
        let last = record.last_token;
        record.apply(&change, Token::new(token));
        self.fell |= record.last_token < last;
        self.strangers |= n == OPERATOR && mark.is_some() && mark != self.ordered;
        let revision = self.store.version.revision + 1;
        self.store = Known {
            record: Some(Arc::new(record)),
            version: Version { revision, ..self.store.version },
        };
        Outcome::Done { version: self.store.version, token: Token::new(token) }
    }
}

fn view(known: Option<&Known>) -> View<'_> {
    match known {
        None => View::Unknown,
        Some(Known { record: None, version }) => View::Absent { revision: version.revision },
        Some(Known { record: Some(record), version }) => {
            View::Is { record, version: *version, age: None }
        }
    }
}

fn config(n: usize) -> Config {
    // Renewed at the first tick, never run out.
    let spec = TimingSpec { renew_every: Some(TICK), ..TimingSpec::of(Duration::from_secs(3_600)) };
    let timing = Timing::new(spec).expect("these numbers fit");
    Config {
        id: format!("c{n}").into(),
        session: Session::from_bytes([u8::try_from(n).unwrap_or(u8::MAX) + 1; 32]),
        term: Term::Ttl(timing.ttl()),
        timing,
        liveness: Liveness::Observed,
        queue: true,
        adopt: false,
        max_clock_skew: Duration::ZERO,
        add_tags: false,
        tags: Vec::new(),
        marks: Marks::new((n as u128) << 64),
    }
}
