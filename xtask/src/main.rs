//! Repository chores: `cargo xtask check`, `cargo xtask fix`, `cargo xtask test`,
//! `cargo xtask prove`.
//!
//! Owns what CI asks of the tree. Knows nothing of locks. `check` never writes a tracked file;
//! whatever it refuses names the command that mends it.

mod api;
mod arrows;
mod check;
mod components;
mod documents;
mod files;
mod packages;
mod prove;
mod purity;
mod servers;
mod steps;
mod suite;
mod workspace;

use std::process::ExitCode;

use workspace::Workspace;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  check   every static check of CI; writes nothing
  fix     writes what check can have mended: formatting, clippy's fixes, crates/*/api.txt
  test    check, then every test, crate by crate; what CI runs
  prove   long searches for a broken promise: model, simulate, museum; see prove --help";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("prove", rest)) = args.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return prove::prove(rest);
    }
    let command = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["check"] => check::check,
        ["fix"] => check::fix,
        ["test"] => suite::test,
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("xtask: no such command: {:?}\n\n{USAGE}", args.join(" "));
            return ExitCode::from(2);
        }
    };
    match Workspace::load().and_then(|workspace| command(&workspace)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("\nxtask: {why}");
            ExitCode::FAILURE
        }
    }
}
