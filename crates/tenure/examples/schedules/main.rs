//! `cargo xtask prove driver`: the async client that ships, under seeded faults in virtual time.
//!
//! ```text
//! seed ─> world (tenure-testkit) <── Store ── Client, Lock, Guard, run ── users (user.rs)
//!            └────── run.rs moves time, lets the processes run, shows the judges what is held
//! ```
//!
//! Each process is a runtime of its own, which stands still while the process does. One operation
//! of every run is dropped at each of its polls, once just before and once just after (cut.rs).

mod cut;
mod run;
mod user;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    tenure_testkit::prove::driver(&args, &mut run::run)
}
