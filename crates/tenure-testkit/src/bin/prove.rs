//! `cargo xtask prove simulate` and `museum`: runs seeds, tells how it goes, and what was found.
//!
//! Owns the command line, the progress and the result. Judges nothing.
//! Exit codes: 0 nothing found, 1 a promise was broken (or a planted bug not found), 2 usage.

use std::process::ExitCode;

use tenure_testkit::prove;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    prove::main(&args)
}
