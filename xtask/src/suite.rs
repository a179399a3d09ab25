//! `cargo xtask test`: the whole test command, from the static checks to the share of the searches
//! that every run makes.
//!
//! Owns the order, the counting and what is shown. Each crate is tested by a cargo command of its
//! own, lower crates first: so a failure shows where it arises, and each crate is built with only
//! the features it asks for itself. An ignored test counts as a failure: nothing is skipped.

use std::time::Instant;

use crate::check::check;
use crate::prove;
use crate::servers::Servers;
use crate::steps::stream;
use crate::workspace::{Package, Workspace, cargo, shown};

/// The crate whose tests wait for leases to expire rather than work: all of them wait at once.
const WAITING: &str = "tenure-interop";
/// The crate with exhaustive searches: here they go a tick further than while somebody works on it.
const SEARCHED: (&str, &str, &str) = ("tenure-core", "TENURE_MODEL_FURTHER", "1");

/// What the test programs reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Checks, then tests; stops at the first crate that fails.
pub(crate) fn test(workspace: &Workspace) -> Result<(), String> {
    let begun = Instant::now();
    check(workspace).map_err(|why| format!("{why}; no test was run"))?;
    Servers::prepare().map_err(|why| format!("{why}; no test was run"))?;
    let mut servers = Servers::default();
    let mut all = Counts::default();
    let outcome =
        workspace.packages.iter().try_for_each(|package| one(package, &mut servers, &mut all));
    let outcome = outcome.and_then(|()| prove::share());
    let took = begun.elapsed().as_secs_f64();
    println!("\n{} passed, {} failed in {took:.0} s", all.passed, all.failed);
    match outcome {
        Ok(()) if all.passed == 0 => Err("no test was found".to_owned()),
        outcome => outcome,
    }
}

fn one(package: &Package, servers: &mut Servers, all: &mut Counts) -> Result<(), String> {
    let name = &package.name;
    let mut command = cargo();
    command.args(["test", "-p", name]);
    if name == WAITING {
        command.args(["--", "--test-threads=32"]);
    }
    if name == SEARCHED.0 {
        command.env(SEARCHED.1, SEARCHED.2);
    }
    servers.share(package, &mut command)?;
    println!("\n$ {}", shown(&command));
    let begun = Instant::now();
    let mut counts = Counts::default();
    // What was said since the last test program began: shown only if it fails.
    let mut quiet: Vec<String> = Vec::new();
    let ok = stream(&mut command, |line| {
        let begins = is_beginning(line);
        if begins {
            quiet.clear();
        }
        match result(line) {
            Some(found) => {
                counts.add(found);
                println!("{}", line.trim_end());
            }
            None if begins => println!("{}", line.trim_end()),
            None => quiet.push(line.to_owned()),
        }
    })?;
    all.add(counts);
    println!("{name}: {:.1} s", begun.elapsed().as_secs_f64());
    if !ok {
        quiet.iter().for_each(|line| println!("{line}"));
        return Err(format!("failed: {}", shown(&command)));
    }
    if counts.ignored > 0 {
        return Err(format!(
            "{name}: {} tests were ignored; nothing is skipped here",
            counts.ignored
        ));
    }
    Ok(())
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

fn is_beginning(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("Running ") || line.starts_with("Doc-tests ")
}

/// What a line such as `test result: ok. 3 passed; 0 failed; ..` says.
fn result(line: &str) -> Option<Counts> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = Counts::default();
    for part in numbers.split("; ") {
        let (number, what) = part.split_once(' ')?;
        let number = number.parse();
        match what {
            "passed" => counts.passed = number.ok()?,
            "failed" => counts.failed = number.ok()?,
            "ignored" => counts.ignored = number.ok()?,
            _ => {}
        }
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; \
                    finished in 0.01s";
        assert_eq!(result(line), Some(Counts { passed: 12, failed: 3, ignored: 1 }));
        assert_eq!(result("test result: nonsense"), None);
        assert_eq!(result("test a ... ok"), None);
    }

    #[test]
    fn the_beginning_of_a_test_program_is_known() {
        assert!(is_beginning("     Running unittests src/lib.rs (target/debug/deps/x)"));
        assert!(is_beginning("   Doc-tests tenure"));
        assert!(!is_beginning("running 3 tests"));
    }
}
