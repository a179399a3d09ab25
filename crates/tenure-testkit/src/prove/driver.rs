//! Schedules of the async client, until the budget is used up or a promise is broken.
//!
//! Owns which runs are made of a seed: one as it comes, then one operation of it, chosen by the
//! seed, is dropped at each of its polls. One run in a hundred is made twice. What a run is, whoever
//! calls says.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::args::Args;
use super::progress::{Progress, cpu_time};
use crate::rng::Rng;
use crate::schedule::{Finished, Format};
use crate::sim::{StoreKind, Telling};

const TOLD: usize = 120;
/// So many polls of an operation are cut at most.
const CUTS_MAX: usize = 64;

/// What one schedule came to.
#[derive(Clone, Debug)]
pub struct Ran {
    /// How it ended; `None`: there was no world.
    pub finished: Option<Finished>,
    /// Which operation each poll was of.
    pub polls: Vec<u32>,
}

/// A schedule to run.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// What everything in it is drawn from.
    pub seed: u64,
    /// Which future is dropped at which poll; 0: none.
    pub cut: u64,
    /// Whether the store is one of Kubernetes, over an API server in memory.
    pub kube: bool,
    /// How much is told.
    pub telling: Telling,
}

/// Runs a schedule.
pub type Runner<'a> = &'a mut dyn FnMut(Job) -> Ran;

#[derive(Debug, Default)]
struct Sum {
    schedules: u64,
    cut: u64,
    twice: u64,
    time: u128,
    requests: u64,
    holds: u64,
    polls: u64,
    stores: [u64; 4],
    formats: [u64; 4],
    cpu: Duration,
    kube: bool,
}

/// Runs what the arguments say.
pub fn driver(args: &[String], run: Runner<'_>) -> ExitCode {
    let ok = match Args::parse(args) {
        Err(why) => {
            eprintln!("prove: {why}");
            return ExitCode::from(2);
        }
        Ok(args) => match args.seed {
            Some(seed) => one(seed, &args, run),
            None => many(&args, run),
        },
    };
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One schedule, twice.
fn one(seed: u64, args: &Args, run: Runner<'_>) -> bool {
    let (cut, kube) = (args.cut, args.kube);
    let telling = if args.trace { Telling::Everything } else { Telling::Last(TOLD) };
    let mut sum = Sum { kube, ..Sum::default() };
    let job = Job { seed, cut, kube, telling };
    let ran = run(job).finished;
    let again = run(Job { telling: Telling::Nothing, ..job }).finished;
    let (Some(ran), Some(again)) = (ran, again) else { return false };
    sum.add(&ran, cut);
    let same = ran.hash == again.hash;
    if ran.broken.is_some() {
        ran.lines.iter().for_each(|line| eprintln!("{line}"));
    }
    sum.tell(seed, cut, &ran, same);
    ran.broken.is_none() && same
}

fn many(args: &Args, run: Runner<'_>) -> bool {
    let kube = args.kube;
    let mut sum = Sum { kube, ..Sum::default() };
    let (began, mut progress) = (Instant::now(), Progress::new());
    let mut seed = args.from;
    let over = |sum: &Sum| match args.runs {
        Some(runs) => sum.schedules >= runs,
        None => began.elapsed() >= args.budget,
    };
    while !over(&sum) {
        let mut cuts = vec![0];
        let mut place = 0;
        while place < cuts.len() && !over(&sum) {
            let cut = cuts[place];
            let before = cpu_time();
            let job = Job { seed, cut, kube, telling: Telling::Nothing };
            let ran = run(job);
            sum.cpu += cpu_time().saturating_sub(before);
            let Some(finished) = ran.finished else { return false };
            if args.store.is_some_and(|store| store != finished.store) {
                break;
            }
            sum.add(&finished, cut);
            let same = !sum.schedules.is_multiple_of(100) || {
                sum.twice += 1;
                let again = run(job).finished;
                again.is_some_and(|again| again.hash == finished.hash)
            };
            if finished.broken.is_some() || !same {
                progress.done();
                sum.tell(seed, cut, &finished, same);
                return false;
            }
            if cut == 0 {
                cuts.extend(cuts_of(seed, &ran.polls));
            }
            place += 1;
            progress.show(|| {
                let Sum { schedules, holds, requests, .. } = sum;
                format!("seed {seed}: {schedules} schedules, {holds} holds, {requests} requests")
            });
        }
        seed += 1;
    }
    progress.done();
    println!("{}", sum.json("ok", "null", "null", "null", "null", true));
    true
}

/// Where one operation of this run is dropped: before and after each of its polls.
fn cuts_of(seed: u64, polls: &[u32]) -> Vec<u64> {
    let Some(last) = polls.iter().max() else { return Vec::new() };
    let operation = Rng::new(seed).below(u64::from(*last)) as u32 + 1;
    let its = (1..).zip(polls).filter(|(_, of)| **of == operation).take(CUTS_MAX);
    its.flat_map(|(n, _)| [2 * n - 1, 2 * n]).collect()
}

impl Sum {
    fn add(&mut self, run: &Finished, cut: u64) {
        self.schedules += 1;
        self.cut += u64::from(cut > 0);
        self.time += u128::from(run.time);
        self.requests += run.requests;
        self.holds += run.holds;
        self.polls += run.polls;
        let store = StoreKind::ALL.iter().position(|s| *s == run.store).unwrap_or(0);
        self.stores[store] += 1;
        let format = Format::ALL.iter().position(|f| Some(*f) == run.format);
        format.into_iter().for_each(|format| self.formats[format] += 1);
    }

    /// Names what was broken, and the command that shows it again.
    fn tell(&self, seed: u64, cut: u64, run: &Finished, same: bool) {
        let broken = run.broken.as_ref();
        let verdict = if broken.is_some() || !same { "violated" } else { "ok" };
        let rule = broken.map_or("null".to_owned(), |b| format!("\"{}\"", b.rule));
        let hash = format!("\"{:016x}\"", run.hash);
        let (seed, cut) = (seed.to_string(), cut.to_string());
        println!("{}", self.json(verdict, &seed, &cut, &rule, &hash, same));
        if let Some(broken) = broken {
            let seconds = broken.at as f64 / 1e9;
            eprintln!("prove: {} broken at {seconds:.3} s: {}", broken.rule, broken.what);
        }
        if !same {
            eprintln!("prove: seed {seed}, cut {cut} gives two runs");
        }
        if verdict != "ok" {
            eprintln!(
                "prove: see it again with: cargo xtask prove driver{} --seed {seed} --cut {cut}",
                if self.kube { " --store kube" } else { "" }
            );
        }
    }

    fn json(
        &self,
        verdict: &str,
        seed: &str,
        cut: &str,
        rule: &str,
        hash: &str,
        same: bool,
    ) -> String {
        let stores = StoreKind::ALL.iter().zip(self.stores);
        let stores: Vec<_> = stores.map(|(s, n)| format!("\"{}\":{n}", s.name())).collect();
        let formats = Format::ALL.iter().zip(self.formats);
        let formats: Vec<_> = formats.map(|(f, n)| format!("\"{}\":{n}", f.name())).collect();
        let formats = match self.kube {
            true => format!("\"formats\":{{{}}},", formats.join(",")),
            false => String::new(),
        };
        format!(
            "{{\"layer\":\"driver\",\"verdict\":\"{verdict}\",\"schedules\":{},\"with_a_drop\":{},\
             \"run_twice\":{},\"lock_hours\":{:.1},\"cpu_ms\":{},\"requests\":{},\"holds\":{},\
             \"polls\":{},\"stores\":{{{}}},{formats}\"seed\":{seed},\"cut\":{cut},\"rule\":{rule},\
             \"trace_hash\":{hash},\"same_again\":{same}}}",
            self.schedules,
            self.cut,
            self.twice,
            self.time as f64 / 3_600e9,
            self.cpu.as_millis(),
            self.requests,
            self.holds,
            self.polls,
            stores.join(",")
        )
    }
}
