//! Seeds one after the other, until the budget is used up or a promise is broken.
//!
//! One run in a hundred is made twice, to see the same trace hash again.

use std::time::{Duration, Instant};

use super::args::Args;
use super::progress::{Progress, cpu_time};
use crate::sim::{self, Finished, StoreKind, Telling};

const TOLD: usize = 80;
const HOUR: f64 = 3_600e9;

#[derive(Debug, Default)]
struct Sum {
    runs: u64,
    twice: u64,
    time: u128,
    events: u128,
    holds: u64,
    writes: u64,
    refused: u64,
    stores: [u64; 4],
    cpu: Duration,
}

/// Returns whether nothing was found.
pub(crate) fn main(args: Args) -> Result<bool, String> {
    match args.seed {
        Some(seed) => Ok(one(seed, args.trace)),
        None => Ok(many(&args)),
    }
}

/// One seed, twice.
fn one(seed: u64, trace: bool) -> bool {
    let told = if trace { Telling::Everything } else { Telling::Last(TOLD) };
    let (run, again) = (sim::run(seed, told), sim::run(seed, Telling::Nothing));
    let same = run.hash == again.hash;
    let mut sum = Sum::default();
    sum.add(&run);
    if run.broken.is_some() {
        run.lines.iter().for_each(|line| eprintln!("{line}"));
    }
    if !same {
        eprintln!("prove: seed {seed} gives two runs: {:016x} and {:016x}", run.hash, again.hash);
    }
    println!("{}", sum.json(Some(seed), Some(&run), same));
    tell(seed, &run);
    run.broken.is_none() && same
}

fn many(args: &Args) -> bool {
    let (began, mut sum, mut progress) = (Instant::now(), Sum::default(), Progress::new());
    let mut seed = args.from;
    let over = |sum: &Sum| match args.runs {
        Some(runs) => sum.runs >= runs,
        None => began.elapsed() >= args.budget,
    };
    while !over(&sum) {
        if wanted(args, seed) {
            let before = cpu_time();
            let run = sim::run(seed, Telling::Nothing);
            sum.cpu += cpu_time().saturating_sub(before);
            sum.add(&run);
            let same = !seed.is_multiple_of(100) || {
                sum.twice += 1;
                sim::run(seed, Telling::Nothing).hash == run.hash
            };
            if run.broken.is_some() || !same {
                progress.done();
                println!("{}", sum.json(Some(seed), Some(&run), same));
                tell(seed, &run);
                return false;
            }
            progress.show(|| sum.line(seed));
        }
        seed += 1;
    }
    progress.done();
    println!("{}", sum.json(None, None, true));
    true
}

/// Whether this seed's run is one of those that were asked for.
fn wanted(args: &Args, seed: u64) -> bool {
    if args.store.is_none() && args.contenders.is_none() {
        return true;
    }
    let (store, contenders) = sim::kind_of(seed);
    args.store.is_none_or(|s| s == store) && args.contenders.is_none_or(|n| n == contenders)
}

/// Names what was broken, and the command that shows it again.
fn tell(seed: u64, run: &Finished) {
    if let Some(broken) = &run.broken {
        let seconds = broken.at as f64 / 1e9;
        eprintln!("prove: {} broken at {seconds:.3} s: {}", broken.rule, broken.what);
        eprintln!("prove: see it again with: cargo xtask prove simulate --seed {seed}");
    }
}

impl Sum {
    fn add(&mut self, run: &Finished) {
        self.runs += 1;
        self.time += u128::from(run.counts.time);
        self.events += u128::from(run.counts.events);
        self.holds += run.counts.holds;
        self.writes += run.counts.writes;
        self.refused += run.counts.refused;
        let store = StoreKind::ALL.iter().position(|s| *s == run.store).unwrap_or(0);
        self.stores[store] += 1;
    }

    fn hours(&self) -> f64 {
        self.time as f64 / HOUR
    }

    fn speed(&self) -> f64 {
        self.hours() / self.cpu.as_secs_f64().max(1e-9)
    }

    fn line(&self, seed: u64) -> String {
        format!(
            "seed {seed}: {:.0} lock-hours ({:.2} lock-years), {} holds, {:.0} lock-hours per CPU-s",
            self.hours(),
            self.hours() / 8_766.0,
            self.holds,
            self.speed()
        )
    }

    fn json(&self, seed: Option<u64>, run: Option<&Finished>, same: bool) -> String {
        let broken = run.and_then(|r| r.broken.as_ref());
        let verdict = if broken.is_some() || !same { "violated" } else { "ok" };
        let stores = StoreKind::ALL.iter().zip(self.stores);
        let stores: Vec<_> = stores.map(|(s, n)| format!("\"{}\":{n}", s.name())).collect();
        let hash = run.map_or("null".to_owned(), |r| format!("\"{:016x}\"", r.hash));
        let seed = seed.map_or("null".to_owned(), |s| s.to_string());
        let rule = broken.map_or("null".to_owned(), |b| format!("\"{}\"", b.rule));
        let speed =
            if self.cpu.is_zero() { "null".to_owned() } else { format!("{:.0}", self.speed()) };
        format!(
            "{{\"layer\":\"simulate\",\"verdict\":\"{verdict}\",\"runs\":{},\"run_twice\":{},\
             \"lock_hours\":{:.1},\"lock_hours_per_cpu_second\":{speed},\"cpu_ms\":{},\"events\":{},\
             \"holds\":{},\"writes\":{},\"fenced_off\":{},\"stores\":{{{}}},\"seed\":{seed},\
             \"rule\":{rule},\"trace_hash\":{hash},\"same_again\":{same}}}",
            self.runs,
            self.twice,
            self.hours(),
            self.cpu.as_millis(),
            self.events,
            self.holds,
            self.writes,
            self.refused,
            stores.join(",")
        )
    }
}
