//! The bare state machine: no store, no clock, one record in memory.
//!
//! What a store does with a write, checking its condition and applying it, is part of the figure.

use std::time::Duration;

use anyhow::{Result, bail};
use rustix::time::{ClockId, clock_gettime};
use tenure_core::{
    Action, Claim, Config, Liveness, Marks, Outcome, Patience, Record, Report, Session, Term, Time,
    Timing, Token, Version, View, Wall,
};

use super::Place;
use crate::report::{Line, Unit};
use crate::stats::{Goal, Stat};

/// Acquisitions per value.
const BATCH: u32 = 200_000;

pub(super) fn machine(place: &Place<'_>) -> Result<Vec<Line>> {
    let mut bare = Bare::new();
    let mut rates = Vec::new();
    for _ in 0..place.rounds(30, 30).most {
        let start = cpu_seconds();
        for _ in 0..BATCH {
            bare.turn()?;
        }
        rates.push(f64::from(BATCH) / (cpu_seconds() - start));
    }
    let goal = Goal::AtLeast(5e6);
    let (what, unit) = ("acquire + release per CPU second", Unit::PerSecond);
    Ok(vec![Line::own(place.row, what, unit, &rates, None, Stat::Median, goal)])
}

fn cpu_seconds() -> f64 {
    let t = clock_gettime(ClockId::ThreadCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
}

/// A claim as the embedded store has it, and the least of a store.
struct Bare {
    claim: Claim,
    record: Record,
    version: Version,
    now: u64,
    token: u64,
}

impl Bare {
    fn new() -> Self {
        let claim = Claim::new(Config {
            id: "bench".into(),
            session: Session::from_bytes([7; 32]),
            term: Term::Session,
            timing: Timing::default(),
            liveness: Liveness::Process,
            queue: true,
            adopt: false,
            max_clock_skew: Duration::ZERO,
            add_tags: false,
            tags: Vec::new(),
            marks: Marks::new(1),
        });
        let version = Version { incarnation: 1, ..Version::default() };
        Self { claim, record: Record::default(), version, now: 0, token: 0 }
    }

    /// Acquires and releases once.
    fn turn(&mut self) -> Result<()> {
        self.claim.acquire(Patience::Forever);
        self.drive()?;
        if self.claim.token().is_none() {
            bail!("a free lock was not acquired");
        }
        self.claim.release(Time::from_nanos(self.now));
        self.drive()
    }

    /// Carries out what the machine wants until it has something to say.
    fn drive(&mut self) -> Result<()> {
        loop {
            self.now += 100;
            let now = Time::from_nanos(self.now);
            let view = View::Is { record: &self.record, version: self.version, age: None };
            match self.claim.poll(now, Wall::from_micros(self.now / 1_000), &view) {
                Action::Read => self.claim.handle_read(now, &view),
                Action::Write(ref write) => {
                    if write.expected != Some(self.version) {
                        bail!("a write of a version that never was: {:?}", write.expected);
                    }
                    self.token += u64::from(write.change.begins_hold());
                    let token = Token::new(self.token);
                    self.record.apply(&write.change, token);
                    self.version.revision += 1;
                    let done = Outcome::Done { version: self.version, token };
                    self.claim.handle_written(now, write.attempt, done);
                }
                Action::Report(Report::Acquired { .. } | Report::Released { .. }) => return Ok(()),
                other => bail!("unexpected of a lock that nobody else wants: {other:?}"),
            }
        }
    }
}
