//! The museum: known bugs, put back one at a time, each to be found from scratch.
//!
//! Owns the rows: which bug stands for which entry of the list of known bugs. A row that is not
//! found is a hole in the judges, and fails the search. Needs the feature `museum`.

use std::time::Duration;

use super::args::Args;
use super::progress::{Progress, cpu_time};
use crate::sim::{self, Bug, Finished, Telling};

/// Where a bug is put.
#[derive(Clone, Copy, Debug)]
enum Where {
    /// Into the driver, the application or the store.
    Around(Bug),
    /// Into the core itself.
    Core(tenure_core::museum::Bug),
    /// Into the core, with identities that begin with one another.
    Nested(tenure_core::museum::Bug),
}

/// A row: its name, what it is, where it is put.
type Row = (&'static str, &'static str, Where);

/// A row that is not found in so many seeds, or in so much CPU time, is not found.
const SEEDS_MAX: u64 = 1_000;
const CPU_MAX: Duration = Duration::from_secs(60);

fn rows() -> Vec<Row> {
    use Where::{Around, Core, Nested};
    use tenure_core::museum::Bug as C;
    vec![
        ("dead-session", "a waiter wins with a dying session", Around(Bug::StaleSession)),
        ("reply-of-newest", "a reply taken for another's answer", Around(Bug::ReplyOfNewest)),
        ("late-holder", "acts after its deadline, having been paused", Core(C::LateHolder)),
        ("late-suspend", "its clock stops in suspend", Around(Bug::ClockStopsInSuspend)),
        ("clock-jump", "the holder's clock jumps back", Around(Bug::ClockSetBack)),
        ("work-after-release", "released before the work ended", Around(Bug::WorkAfterRelease)),
        ("flag-left-true", "still believes after the release", Core(C::FlagLeftTrue)),
        ("own-entry-not-seen", "a waiter never looks at its own entry", Core(C::OwnEntryNotSeen)),
        ("release-by-name", "a release frees the next holder's hold", Core(C::ReleaseByName)),
        ("late-release", "expiry while the releasing write is in flight", Around(Bug::LateRelease)),
        ("double-release", "released twice", Around(Bug::DoubleRelease)),
        ("refused-is-lost", "a retried conditional write misread as lost", Core(C::RefusedIsLost)),
        ("refused-is-won", "a refused conditional write misread as won", Core(C::RefusedIsWon)),
        ("unconditional-take", "a take-over without a condition", Around(Bug::UnconditionalTake)),
        ("clear-then-take", "a take-over in two steps", Around(Bug::ClearThenTake)),
        ("renew-unchecked", "a renewal without a look at the holder", Around(Bug::RenewUnchecked)),
        ("wall-clock", "expiry by wall clocks", Core(C::WallClockExpiry)),
        ("any-write-is-life", "observed time restarted by any write", Around(Bug::AnyWriteIsLife)),
        ("margin-holder", "margin too small by the holder's error", Core(C::NoMarginHolder)),
        (
            "margin-contender",
            "margin too small by the contender's error",
            Core(C::NoMarginContender),
        ),
        ("from-reply", "deadline counted from the reply", Core(C::CountedFromReply)),
        ("one-long-attempt", "one attempt may take the whole deadline", Core(C::OneLongAttempt)),
        ("no-timeout", "no timeout at all", Core(C::NoTimeout)),
        ("token-reset", "tokens begin anew after deletion", Around(Bug::TokenReset)),
        ("token-wrap", "tokens wrap", Around(Bug::TokenWrap)),
        ("first-error-ends", "the task ends on the first error", Around(Bug::FirstErrorEnds)),
        ("dropped-keeps", "a dropped future keeps the lock", Core(C::DroppedKeeps)),
        ("shared-identity", "two processes share an identity", Around(Bug::SharedIdentity)),
        ("prefix-identity", "identities compared by prefix", Nested(C::PrefixIdentity)),
        ("dead-head", "the queue's head is dead and never skipped", Core(C::DeadHead)),
        ("left-in-line", "handed over to a waiter that left", Core(C::LeftInLine)),
        ("silent-watch", "a watch that silently stopped", Around(Bug::WatchNotReopened)),
        ("resumes-late", "a watch resumed after a gap", Around(Bug::WatchResumesLate)),
        ("same-second", "a renewal that moves no whole second", Around(Bug::SameSecond)),
        ("uid-not-compared", "a write makes a deleted object anew", Around(Bug::UidNotCompared)),
        ("ttl-zero", "a ttl of zero after rounding", Around(Bug::TtlRounded)),
    ]
}

/// How a row went.
struct Found {
    seed: u64,
    runs: u64,
    cpu: Duration,
    rule: &'static str,
    store: &'static str,
}

/// Returns whether every row was found.
pub(crate) fn main(args: Args) -> Result<bool, String> {
    let mut rows = rows();
    if args.row.as_deref() == Some("list") {
        rows.iter().for_each(|(name, what, _)| println!("{name:<20} {what}"));
        return Ok(true);
    }
    if let Some(wanted) = &args.row {
        rows.retain(|(name, ..)| name == wanted);
        if rows.is_empty() {
            return Err(format!("--row {wanted}: no such row; --row list names them"));
        }
    }
    if let Some(seed) = args.seed {
        return one(&rows, seed, args.trace);
    }
    Ok(all(&rows, args.from, args.runs.unwrap_or(SEEDS_MAX)))
}

fn one(rows: &[Row], seed: u64, trace: bool) -> Result<bool, String> {
    let [(name, _, bug)] = rows else { return Err("--seed: give --row as well".to_owned()) };
    let told = if trace { Telling::Everything } else { Telling::Last(60) };
    let run = with(*bug, seed, told);
    run.lines.iter().for_each(|line| eprintln!("{line}"));
    let broken = run.broken.as_ref().map(|b| format!("{}: {}", b.rule, b.what));
    println!("{name}: seed {seed}: {}", broken.as_deref().unwrap_or("nothing found"));
    Ok(run.broken.is_some())
}

fn all(rows: &[Row], from: u64, seeds: u64) -> bool {
    let mut progress = Progress::new();
    let mut lines = Vec::new();
    let mut missed = Vec::new();
    for (name, what, bug) in rows {
        progress.show(|| format!("{}/{} {name}", lines.len() + 1, rows.len()));
        match search(*bug, from, seeds) {
            Some(found) => lines.push(line(name, what, &found)),
            None => missed.push(*name),
        }
    }
    progress.done();
    let verdict = if missed.is_empty() { "ok" } else { "violated" };
    let (rows, list) = (rows.len(), lines.join(",\n  "));
    let names: Vec<_> = missed.iter().map(|m| format!("\"{m}\"")).collect();
    println!(
        "{{\"layer\":\"museum\",\"verdict\":\"{verdict}\",\"rows\":{rows},\"missed\":[{}],\
         \"found\":[\n  {list}]}}",
        names.join(",")
    );
    for name in &missed {
        eprintln!("prove: not found: {name}; search with: cargo xtask prove museum --row {name}");
    }
    missed.is_empty()
}

fn search(bug: Where, from: u64, seeds: u64) -> Option<Found> {
    let began = cpu_time();
    for seed in from..from.saturating_add(seeds) {
        let run = with(bug, seed, Telling::Nothing);
        let cpu = cpu_time().saturating_sub(began);
        if let Some(broken) = run.broken {
            let (runs, store) = (seed - from + 1, run.store.name());
            return Some(Found { seed, runs, cpu, rule: broken.rule, store });
        }
        if cpu > CPU_MAX {
            break;
        }
    }
    None
}

fn line(name: &str, what: &str, found: &Found) -> String {
    let Found { seed, runs, cpu, rule, store } = found;
    format!(
        "{{\"row\":\"{name}\",\"what\":\"{what}\",\"layer\":\"simulate\",\"rule\":\"{rule}\",\
         \"store\":\"{store}\",\"seed\":{seed},\"runs\":{runs},\"cpu_ms\":{},\
         \"command\":\"cargo xtask prove museum --row {name} --seed {seed}\"}}",
        cpu.as_millis()
    )
}

/// Runs one seed with the bug in.
fn with(bug: Where, seed: u64, telling: Telling) -> Finished {
    match bug {
        Where::Around(bug) => sim::run_with(seed, telling, Some(bug)),
        Where::Core(bug) => planted(bug, || sim::run(seed, telling)),
        Where::Nested(bug) => {
            planted(bug, || sim::run_with(seed, telling, Some(Bug::NestedIdentities)))
        }
    }
}

fn planted(bug: tenure_core::museum::Bug, run: impl FnOnce() -> Finished) -> Finished {
    tenure_core::museum::plant(Some(bug));
    let run = run();
    tenure_core::museum::plant(None);
    run
}
