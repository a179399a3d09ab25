//! `cargo xtask prove LAYER`: long searches for what the tests of a commit have no time for.
//!
//! Owns which program searches each layer, built with optimisation, and hands the arguments on.
//! Knows nothing of what is searched. Progress goes to stderr, one JSON object to stdout, and what
//! was found ends in the command that shows it again.

use std::process::{Command, ExitCode};

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
  museum     every known bug put back on purpose, and found again from scratch
  driver     the async driver under virtual time, over stores with faults

Options:
  --seed N      this one run and no other. simulate, museum: twice, to compare the trace hashes
  --budget DUR  go on for this long: 30s, 5m (default: 1m), 2h. model: looks so far ahead as it can
  --runs N      so many runs, however long they take; model: so many states
  --from N      the first seed (default: 1)
  --row NAME    museum: this bug alone; `--row list` names them
  --store NAME  simulate: only runs over this store: register, line, lease or server
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
        "simulate" => command.args(KIT).args(["--", "simulate"]),
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

fn run(command: &mut Command) -> ExitCode {
    match command.status() {
        Ok(status) => ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(2)),
        Err(e) => {
            eprintln!("xtask: `{}`: {e}", shown(command));
            ExitCode::from(2)
        }
    }
}
