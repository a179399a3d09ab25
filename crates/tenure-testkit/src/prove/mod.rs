//! Long searches over seeds: `cargo xtask prove simulate` and `museum`.
//!
//! Owns the arguments, the progress line, the JSON object at the end and the command that shows a
//! finding again. Progress goes to stderr and only to a terminal; the result goes to stdout.

mod args;
#[cfg(feature = "museum")]
mod museum;
mod progress;
mod simulate;

use std::process::ExitCode;

use args::Args;

/// Runs what the arguments say: `simulate [OPTIONS]`.
#[must_use]
pub fn main(args: &[String]) -> ExitCode {
    let done = match args.split_first() {
        Some((layer, rest)) if layer == "simulate" => Args::parse(rest).and_then(simulate::main),
        #[cfg(feature = "museum")]
        Some((layer, rest)) if layer == "museum" => Args::parse(rest).and_then(museum::main),
        #[cfg(not(feature = "museum"))]
        Some((layer, _)) if layer == "museum" => {
            Err("built without its bugs: build with --features museum".to_owned())
        }
        _ => Err("no such layer; give simulate or museum".to_owned()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("prove: {why}");
            ExitCode::from(2)
        }
    }
}
