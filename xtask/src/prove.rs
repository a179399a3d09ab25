//! `cargo xtask prove LAYER`: long searches for what the tests of a commit have no time for.
//!
//! Owns which program searches each layer, built with optimisation, and hands the arguments on.
//! Knows nothing of what is searched. Progress goes to stderr, one JSON object to stdout, and what
//! was found ends in the command that shows it again.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::steps::stream;
use crate::workspace::{cargo, shown};

pub(crate) const USAGE: &str = "\
Usage: cargo xtask prove LAYER [OPTIONS]

Searches for a run in which a promise is broken. Exits with 1 if there is one, and then prints the
command that shows it again. Progress goes to stderr, the result as one JSON object to stdout.

Layers:
  model      every order of messages, losses, late writes and clock ticks, with two contenders; and
             each wrong margin refuted
  simulate   seeded runs of the machine: clocks wrong by all that is promised, a network that loses,
             delays, doubles and reorders, pauses, deaths, a store with outsiders
  driver     seeded schedules of the async client in virtual time, over every kind of store: late,
             lost and doubtful answers, watches that stop, pauses, deaths; in each of them one
             operation is dropped at each of its polls
  museum     every known bug put back on purpose, and found again from scratch
  limit      how far clock rates may be apart, and the run that breaks just past it

Options:
  --seed N      simulate, driver, museum: this one run, twice, to compare the trace hashes
  --budget DUR  go on for this long: 30s, 5m (default: 1m), 2h; model: look a tick further while it
                lasts, a tick that was begun is searched to its end
  --cut N       driver: with --seed: drop what is polled the (N+1)/2-th time, before that poll, or
                after it if N is even
  --runs N      simulate, driver, museum: so many runs instead, however long they take
  --from N      simulate, driver, museum: the first seed (default: 1)
  --row NAME    museum: this bug alone; `--row list` names them
  --store NAME  simulate, driver: only runs over this store: register, line, lease or server; driver:
                over the store of Kubernetes, in all formats, and an API server in memory: kube
  --contenders N  simulate: only runs with exactly so many
  --trace       with --seed: print what happens";

/// Runs the layer that `args` name.
pub(crate) fn prove(args: &[String]) -> ExitCode {
    let Some((layer, rest)) = args.split_first() else {
        eprintln!("xtask: prove what?\n\n{USAGE}");
        return ExitCode::from(2);
    };
    let mut command = cargo();
    match layer.as_str() {
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        "model" => return model(rest),
        "simulate" => command.args(KIT).args(["--", "simulate"]),
        "driver" => command.args(DRIVER).arg("--"),
        "limit" => command.args(KIT).args(["--", "limit"]),
        "museum" => command.args(KIT).args(["--features=museum", "--", "museum"]),
        other => {
            eprintln!("xtask: no such layer: {other:?}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    run(command.args(rest))
}

/// The program of the test kit.
const KIT: [&str; 6] = ["run", "--quiet", "--release", "-p", "tenure-testkit", "--bin=prove"];

/// The program that runs the async client.
const DRIVER: [&str; 6] = ["run", "--quiet", "--release", "-p", "tenure", "--example=schedules"];

/// What CI runs of it: as many runs as take some seconds, always the same ones.
pub(crate) fn share() -> Result<(), String> {
    let mut simulate = cargo();
    simulate.args(KIT).args(["--", "simulate", "--runs", "4000"]);
    let mut museum = cargo();
    museum.args(KIT).args(["--features=museum", "--", "museum"]);
    let mut driver = cargo();
    driver.args(DRIVER).args(["--", "--runs", "20000"]);
    let mut kube = cargo();
    kube.args(DRIVER).args(["--", "--store", "kube", "--runs", "200"]);
    for command in [&mut simulate, &mut museum, &mut driver, &mut kube] {
        println!("\n$ {}", shown(command));
        let status = command.status().map_err(|e| format!("`{}`: {e}", shown(command)))?;
        if !status.success() {
            return Err(format!("failed: {}", shown(command)));
        }
    }
    Ok(())
}

/// Searches every model, one tick further each time, while the budget lasts.
fn model(args: &[String]) -> ExitCode {
    let budget = match args {
        [] => Ok(Duration::from_secs(60)),
        [option, value] if option == "--budget" => duration(value),
        _ => Err(format!("model takes --budget alone, not {:?}", args.join(" "))),
    };
    let budget = match budget {
        Ok(budget) => budget,
        Err(why) => {
            eprintln!("xtask: prove {why}");
            return ExitCode::from(2);
        }
    };
    let begun = Instant::now();
    let mut found = Vec::new();
    let mut ok = true;
    for further in 0.. {
        eprintln!("prove: model, {further} ticks further than in CI");
        ok = look(further, &mut found);
        // A tick more has some five times as many states.
        if !ok || begun.elapsed() * 5 > budget {
            break;
        }
    }
    let verdict = if ok { "ok" } else { "violated" };
    let list = found.join(",\n  ");
    println!("{{\"layer\":\"model\",\"verdict\":\"{verdict}\",\"searched\":[\n  {list}]}}");
    ExitCode::from(u8::from(!ok))
}

/// One search of all models; whether nothing was found. What was searched is added to `found`.
fn look(further: u32, found: &mut Vec<String>) -> bool {
    let mut command = cargo();
    command.args(["test", "--quiet", "--release", "-p", "tenure-core", "--test", "model", "--"]);
    command.args(["--nocapture", "--test-threads=1"]);
    command.env("TENURE_MODEL_FURTHER", further.to_string());
    let mut said = Vec::new();
    let ok = stream(&mut command, |line| {
        if let Some((_, result)) = line.split_once("prove: ") {
            eprintln!("prove: {result}");
            found.push(result.trim_end_matches('.').to_owned());
        }
        said.push(line.to_owned());
    });
    let ok = ok.unwrap_or_else(|why| {
        said.push(why);
        false
    });
    if !ok {
        said.iter().for_each(|line| eprintln!("{line}"));
        eprintln!("prove: see it again with: {}", shown(&command));
    }
    ok
}

/// A number and its unit.
fn duration(value: &str) -> Result<Duration, String> {
    let wrong = || format!("--budget {value}: give a number and s, m or h");
    let unit = value.chars().last().filter(|c| !c.is_ascii_digit());
    let number = value.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        None | Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some(_) => return Err(wrong()),
    };
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

fn run(command: &mut Command) -> ExitCode {
    match command.status() {
        Ok(status) => ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(2)),
        Err(e) => {
            eprintln!("xtask: `{}`: {e}", shown(command));
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_number_and_a_unit() {
        assert_eq!(duration("90").unwrap().as_secs(), 90);
        assert_eq!(duration("2m").unwrap().as_secs(), 120);
        assert_eq!(duration("1h").unwrap().as_secs(), 3_600);
        for wrong in ["", "m", "5y", "-1s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
