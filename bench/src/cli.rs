//! The command line of the benchmarks: which rows, how often, where the report goes.
//!
//! Owns arguments, the build of the command that is measured, and printing. Measures nothing.
//! **The exit code is 1 if a goal was missed**, 0 otherwise, also for rows that said nothing.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::proc::cargo_build;
use crate::rows::{Bench, ROWS, Row};
use crate::stats::Verdict;
use crate::{child, machine, report};
use anyhow::{Context as _, Result, bail, ensure};

const USAGE: &str = "\
Usage: tenure-bench [ROW...] [--rounds N] [--json FILE] [--thin]

Measures each ROW (default: all) beside its peer and prints a report in Markdown.
  --rounds N   exactly N rounds instead of as many as the noise asks for
  --json FILE  also write the figures to FILE
  --thin       measure the command as it is, without all backends linked

Rows:";

/// Does what the arguments of this process say.
#[must_use]
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.split_first() {
        Some((first, rest)) if first == "child" => child::main(rest).map(|()| true),
        _ => measure(&args),
    };
    match done {
        Ok(reached) => ExitCode::from(u8::from(!reached)),
        Err(error) => {
            eprintln!("tenure-bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

#[derive(Default)]
struct Options {
    rows: Vec<&'static Row>,
    rounds: Option<usize>,
    json: Option<PathBuf>,
    thin: bool,
}

fn parse(args: &[String]) -> Result<Option<Options>> {
    let mut options = Options::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg}: give a value"));
        match arg.as_str() {
            "--help" | "-h" => return Ok(None),
            "--rounds" => {
                let n = value()?;
                let n: usize = n.parse().with_context(|| format!("--rounds {n}: give a number"))?;
                ensure!(n > 0, "--rounds 0: give at least 1");
                options.rounds = Some(n);
            }
            "--json" => options.json = Some(value()?.into()),
            "--thin" => options.thin = true,
            name => match ROWS.iter().find(|row| row.0 == name) {
                Some(row) => options.rows.push(row),
                None => bail!("{name}: no such row or option; --help lists them"),
            },
        }
    }
    if options.rows.is_empty() {
        options.rows = ROWS.iter().collect();
    }
    Ok(Some(options))
}

fn measure(args: &[String]) -> Result<bool> {
    let Some(options) = parse(args)? else {
        println!("{USAGE}");
        ROWS.iter().for_each(|(name, what, _)| println!("  {name:<12} {what}"));
        return Ok(true);
    };
    let me = std::env::current_exe().context("this program's own path")?;
    // target/release: beside it is the command, above it a folder that git ignores, on a disk.
    let built = me.parent().context("this program's folder")?;
    build(built, options.thin)?;
    let bench = Bench::new(built, me.clone(), options.rounds)?;
    heading(args, &bench, options.thin)?;
    let standstill = machine::Standstill::watched();
    let mut lines = Vec::new();
    for row in &options.rows {
        eprintln!("tenure-bench: {} ({})", row.0, row.1);
        for line in bench.measure(row)? {
            println!("{}", line.markdown());
            lines.push(line);
        }
        std::io::stdout().flush()?;
    }
    let (load, stood) = (machine::load(), standstill.longest());
    println!("\nLoad after: {load}. The longest that a thread slept too long: {stood} ms.");
    if let Some(file) = options.json {
        let all: Vec<_> = lines.iter().map(report::Line::json).collect();
        let text = serde_json::to_string_pretty(&all)? + "\n";
        std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(lines.iter().all(|line| line.verdict() != Verdict::Missed))
}

/// Builds the command that is measured and the one that it runs, in the profile of this program.
fn build(built: &Path, thin: bool) -> Result<()> {
    let features = if thin { &[][..] } else { &["--features", "bench-link"] };
    let profile = if built.ends_with("release") { &["--release"][..] } else { &[] };
    let stamp = "tenure-bench-stamp";
    for (package, program, features) in [("tenure-cli", "tenure", features), (stamp, stamp, &[])] {
        let what = ["--package", package, "--bin", program];
        cargo_build(&[&what, features, profile].concat())?;
    }
    Ok(())
}

fn heading(args: &[String], bench: &Bench, thin: bool) -> Result<()> {
    let size = std::fs::metadata(&bench.tenure)?.len() as f64 / 1e6;
    let linked = if thin { "as it is" } else { "with kube, tonic and rustls linked" };
    println!("# Measured\n");
    println!("Printed by `cargo run --release -p tenure-bench -- {}`.", args.join(" "));
    println!("\n{}", machine::describe(bench.root()));
    println!("- `tenure`: {linked}, {size:.1} MB\n");
    println!("{METHOD}\n");
    println!("{}", report::HEADING);
    Ok(())
}

const METHOD: &str = "\
Method: in every round the subject runs once and its peer twice, in an order that changes from round
to round; the first round does not count. Intervals are 95 % by bootstrap, 2,000 resamples of whole
rounds. A goal is reached if the whole interval is within it, missed if none of it is, else
inconclusive. A ratio whose peer differs from itself by more than 3 % either way, by the same kind
of interval, is void. Rounds are added until the peer is quiet or a limit is reached, whatever the
subject does. `others` is the share of the machine's processor time that went to other programs
meanwhile; above 5 % a time of its own (no ratio) that is too long counts as inconclusive. `us` are
microseconds; `max` is the largest value of all rounds.";

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Option<Options>> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&args)
    }

    fn refused(line: &str) -> String {
        parsed(line).err().map(|e| format!("{e:#}")).unwrap_or_default()
    }

    #[test]
    fn rows_and_options_in_any_order() {
        let o = parsed("run --rounds 7 idle --json x.json --thin").unwrap().unwrap();
        let names: Vec<_> = o.rows.iter().map(|row| row.0).collect();
        assert_eq!(names, ["run", "idle"]);
        assert_eq!((o.rounds, o.json, o.thin), (Some(7), Some("x.json".into()), true));
        assert!(parsed("run --help").unwrap().is_none());
    }

    #[test]
    fn without_rows_it_is_all_of_them() {
        let o = parsed("").unwrap().unwrap();
        assert_eq!((o.rows.len(), o.rounds, o.thin), (ROWS.len(), None, false));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(refused("runn"), "runn: no such row or option; --help lists them");
        assert_eq!(refused("--rounds"), "--rounds: give a value");
        assert_eq!(refused("--rounds 0"), "--rounds 0: give at least 1");
        assert!(refused("--rounds x").starts_with("--rounds x: give a number"));
    }
}
