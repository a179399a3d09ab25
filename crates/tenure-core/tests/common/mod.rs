//! A register with compare-and-swap and claims that share it, driven by hand in virtual time.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

pub(crate) mod front;
pub(crate) mod judge;
pub(crate) mod peer;
pub(crate) mod world;

use std::collections::HashSet;
use std::time::Duration;

use tenure_core::{
    Action, Claim, Config, Liveness, Mark, Marks, Outcome, Patience, Probed, Record, Report,
    Session, Term, Time, Timing, Token, Version, View, Wall, Write,
};

/// One record, as a store keeps it.
#[derive(Clone, Default)]
pub(crate) struct Register {
    pub(crate) record: Option<Record>,
    pub(crate) version: Version,
    pub(crate) token: u64,
    pub(crate) dead: HashSet<Session>,
    pub(crate) stopped: HashSet<Session>,
}

impl Register {
    pub(crate) fn view(&self) -> View<'_> {
        match &self.record {
            None => View::Absent { revision: self.version.revision },
            Some(record) => View::Is { record, version: self.version, age: None },
        }
    }

    pub(crate) fn write(&mut self, w: &Write) -> Outcome {
        let current = self.record.is_some().then_some(self.version);
        if current != w.expected {
            return Outcome::Conflict;
        }
        if w.change.begins_hold() {
            self.token += 1;
        }
        let token = Token::new(if w.change.begins_hold() { self.token } else { 0 });
        if self.record.is_none() {
            self.version.incarnation += 1;
        }
        self.record.get_or_insert_default().apply(&w.change, token);
        self.version.revision += 1;
        Outcome::Done { version: self.version, token }
    }

    pub(crate) fn delete(&mut self) {
        self.record = None;
        self.version.revision += 1;
    }

    pub(crate) fn probe(&self, session: Session) -> Probed {
        match session {
            s if self.dead.contains(&s) => Probed::Dead,
            s if self.stopped.contains(&s) => Probed::Stopped,
            _ => Probed::Alive,
        }
    }

    pub(crate) fn holder(&self) -> Option<&str> {
        Some(&*self.record.as_ref()?.holder.as_ref()?.id)
    }
}

pub(crate) fn session(n: u8) -> Session {
    Session::from_bytes([n; 32])
}

/// A claim on a store of the embedded kind: sessions decide, waiters stand in line.
pub(crate) fn local(n: u8) -> Claim {
    Claim::new(Config {
        term: Term::Session,
        liveness: Liveness::Process,
        queue: true,
        ..config(n)
    })
}

/// A claim on a store of the Kubernetes kind: time decides, nobody stands in line.
pub(crate) fn observed(n: u8) -> Claim {
    Claim::new(config(n))
}

pub(crate) fn config(n: u8) -> Config {
    Config {
        id: format!("c{n}").into(),
        session: session(n),
        term: Term::Ttl(Timing::default().ttl()),
        timing: Timing::default(),
        liveness: Liveness::Observed,
        queue: false,
        adopt: false,
        max_clock_skew: Duration::from_secs(5),
        add_tags: false,
        tags: Vec::new(),
        marks: Marks::new(u128::from(n) << 64),
    }
}

pub(crate) fn at(seconds: f64) -> Time {
    Time::from_nanos((seconds * 1e9) as u64)
}

/// Drives `claim` at `now` until it waits; returns what it reported and until when it waits.
pub(crate) fn drive(
    claim: &mut Claim,
    now: Time,
    reg: &mut Register,
) -> (Vec<Report>, Option<Time>) {
    let mut reports = Vec::new();
    let mut known: Option<Register> = None;
    for _ in 0..1_000 {
        let seen = known.as_ref().map_or(View::Unknown, Register::view);
        match front::poll(claim, now, Wall::from_micros(now.as_nanos() / 1_000), &seen) {
            Action::Read => {
                known = Some(reg.clone());
                claim.handle_read(now, &reg.view());
            }
            Action::Probe(s) => claim.handle_probe(s, reg.probe(s)),
            Action::Write(w) => {
                let outcome = reg.write(&w);
                if matches!(outcome, Outcome::Done { .. }) {
                    known = Some(reg.clone());
                }
                claim.handle_written(now, w.attempt, outcome);
            }
            Action::Report(r) => reports.push(r),
            Action::Wait { until } => return (reports, until),
            Action::Idle => return (reports, None),
        }
    }
    panic!("never came to rest: {claim:?}");
}

/// The same, with the register seen before anything is asked: what a watch gives.
pub(crate) fn wake(
    claim: &mut Claim,
    now: Time,
    reg: &mut Register,
) -> (Vec<Report>, Option<Time>) {
    claim.handle_read(now, &reg.clone().view());
    drive_seen(claim, now, reg)
}

fn drive_seen(claim: &mut Claim, now: Time, reg: &mut Register) -> (Vec<Report>, Option<Time>) {
    let mut reports = Vec::new();
    for _ in 0..1_000 {
        let seen = reg.clone();
        match front::poll(claim, now, Wall::from_micros(now.as_nanos() / 1_000), &seen.view()) {
            Action::Read => claim.handle_read(now, &reg.view()),
            Action::Probe(s) => claim.handle_probe(s, reg.probe(s)),
            Action::Write(w) => {
                let outcome = reg.write(&w);
                claim.handle_written(now, w.attempt, outcome);
            }
            Action::Report(r) => reports.push(r),
            Action::Wait { until } => return (reports, until),
            Action::Idle => return (reports, None),
        }
    }
    panic!("never came to rest: {claim:?}");
}

pub(crate) fn acquired(reports: &[Report]) -> Option<Token> {
    reports.iter().find_map(|r| match r {
        Report::Acquired { token } => Some(*token),
        _ => None,
    })
}

pub(crate) fn mark_of(reg: &Register) -> Option<Mark> {
    Some(reg.record.as_ref()?.holder.as_ref()?.mark)
}

pub(crate) fn start(
    claim: &mut Claim,
    patience: Patience,
    now: Time,
    reg: &mut Register,
) -> Vec<Report> {
    claim.acquire(patience);
    drive(claim, now, reg).0
}
