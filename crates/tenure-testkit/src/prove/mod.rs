//! Long searches over seeds: `cargo xtask prove simulate` and `museum`.
//!
//! Owns the arguments, the progress line, the JSON object at the end and the command that shows a
//! finding again. Progress goes to stderr and only to a terminal; the result goes to stdout.

mod args;
mod driver;
#[cfg(feature = "museum")]
mod museum;
mod progress;
mod simulate;

use std::process::ExitCode;

pub use driver::{Job, Ran, Runner, driver};

use crate::sim::limit;
use args::Args;

/// Runs what the arguments say: `simulate [OPTIONS]`.
#[must_use]
pub fn main(args: &[String]) -> ExitCode {
    let done = match args.split_first() {
        Some((layer, rest)) if layer == "simulate" => Args::parse(rest).and_then(simulate::main),
        Some((layer, [])) if layer == "limit" => Ok(limit()),
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

/// Every preset at its limit and just past it.
fn limit() -> bool {
    let mut ok = true;
    let rows = limit::presets().map(|(name, timing)| {
        let (seen, server) = (timing.rate_limit_ppm(), timing.server_rate_limit_ppm());
        let at = limit::breaks(timing, seen) || limit::server_breaks(timing, server);
        let past = limit::breaks(timing, seen + 1) && limit::server_breaks(timing, server + 1);
        ok &= !at && past;
        format!(
            "{{\"timing\":\"{name}\",\"ttl_ms\":{},\"limit_ppm\":{seen},\
             \"limit_by_server_ppm\":{server},\"breaks_at_limit\":{at},\"breaks_past_it\":{past}}}",
            timing.ttl().as_millis()
        )
    });
    let verdict = if ok { "ok" } else { "violated" };
    let rows = rows.join(",\n  ");
    println!("{{\"layer\":\"limit\",\"verdict\":\"{verdict}\",\"presets\":[\n  {rows}]}}");
    ok
}
