//! How many pairs of acquire and release the bare machine makes in a CPU-second.
//!
//! `cargo run --release -p tenure-core --example speed`
//!
//! One claim, and one record that each of its writes is applied to, with nothing around them: no
//! store, no clock, no queue. Two rows measure the same thing in turns; how far they are apart is
//! what this machine's noise makes, and no difference smaller than that means anything.
#![allow(clippy::disallowed_methods, reason = "a measurement reads a clock")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use tenure_core::{
    Action, Claim, Config, Liveness, Marks, Outcome, Patience, Record, Report, Session, Term, Time,
    Timing, Token, Version, View, Wall,
};

const PAIRS: u64 = 200_000;
const ROUNDS: usize = 25;

fn main() {
    let [mut a, mut b] = [Bench::new(Liveness::Process), Bench::new(Liveness::Process)];
    let mut timed = Bench::new(Liveness::Observed);
    let mut rows = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        rows[0].push(rate(|| a.pairs()));
        rows[1].push(rate(|| b.pairs()));
        rows[2].push(rate(|| timed.pairs()));
    }
    println!("machine: {}", machine());
    println!("method: {ROUNDS} interleaved rounds of {PAIRS} pairs, {}", clock().1);
    let names = ["session, A", "session, A again", "ttl"];
    for (name, row) in names.into_iter().zip(&mut rows) {
        row.sort_by(f64::total_cmp);
        let [low, middle, high] = [0, row.len() / 2, row.len() - 1].map(|n| row[n] / 1e6);
        println!("{name:>17}: {middle:.2} M pairs/s (from {low:.2} to {high:.2})");
    }
    println!("A/A: {:.3}", rows[0][ROUNDS / 2] / rows[1][ROUNDS / 2]);
}

/// One claim and the record it writes.
struct Bench {
    claim: Claim,
    record: Record,
    version: Version,
    token: u64,
    now: Time,
}

impl Bench {
    fn new(liveness: Liveness) -> Self {
        let timing = Timing::default();
        let term = match liveness {
            Liveness::Process => Term::Session,
            Liveness::Server | Liveness::Observed => Term::Ttl(timing.ttl()),
        };
        let claim = Claim::new(Config {
            id: "bench".into(),
            session: Session::NONE,
            term,
            timing,
            liveness,
            queue: liveness == Liveness::Process,
            adopt: false,
            max_clock_skew: Duration::from_secs(5),
            add_tags: false,
            tags: Vec::new(),
            marks: Marks::new(0),
        });
        let version = Version { incarnation: 1, revision: 1 };
        Self { claim, record: Record::default(), version, token: 0, now: Time::ZERO }
    }

    fn pairs(&mut self) {
        for _ in 0..PAIRS {
            self.claim.acquire(Patience::Forever);
            self.run();
            self.claim.release(self.now);
            self.run();
        }
    }

    /// Polls until the claim has told what became of it, and polls no more.
    fn run(&mut self) {
        loop {
            self.now = self.now.after(Duration::from_nanos(100));
            let view = View::Is { record: &self.record, version: self.version, age: None };
            match black_box(self.claim.poll(self.now, Wall::default(), &view)) {
                Action::Write(write) => {
                    self.token += 1;
                    let token = Token::new(self.token);
                    self.record.apply(&write.change, token);
                    self.version.revision += 1;
                    let outcome = Outcome::Done { version: self.version, token };
                    self.claim.handle_written(self.now, write.attempt, outcome);
                }
                Action::Report(Report::Acquired { .. } | Report::Released { .. }) => return,
                other => panic!("{other:?}"),
            }
        }
    }
}

fn rate(run: impl FnOnce()) -> f64 {
    let (began, _) = clock();
    run();
    let (ended, _) = clock();
    PAIRS as f64 / (ended - began).as_secs_f64()
}

/// Time this thread spent on a CPU, where the system tells; else the time that passed.
fn clock() -> (Duration, &'static str) {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let start = START.get_or_init(Instant::now);
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    match spent.as_deref().and_then(|s| s.split(' ').next()?.parse().ok()) {
        Some(nanos) => (Duration::from_nanos(nanos), "CPU time of the thread"),
        None => (start.elapsed(), "time passed"),
    }
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|l| l.strip_prefix("model name")?.split(": ").nth(1));
    let name = name.unwrap_or(std::env::consts::ARCH);
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{name}, {cpus} CPUs, {}", std::env::consts::OS)
}
