//! The `tenure` command: run a command under a lock, and see who holds what.
//!
//! `main` calls and picks the exit code; everything else stands in a file of its own. What the
//! user typed becomes plain structs (`args`), those become resolved options (`options`), and the
//! verbs work on these alone. Protocol decisions are the library's.

use std::process::ExitCode;

mod args;
mod cli;
mod duration;
mod exit;
mod help;
mod options;
mod pages;

use args::{Args, Stop};
use exit::Failure;

fn main() -> ExitCode {
    let done = match args::parse(std::env::args_os()) {
        Ok(args) => dispatch(args),
        Err(Stop::Print(text)) => text.print().map_err(|e| printing(&e)).map(|()| 0),
        Err(Stop::Usage(failure)) => Err(failure),
    };
    done.map_or_else(Failure::report, ExitCode::from)
}

fn dispatch(args: Args) -> Result<u8, Failure> {
    let out = &mut std::io::stdout().lock();
    match args {
        Args::Run(args) => {
            let options = options::RunOptions::resolve(args, std::env::var_os("TENURE_STORE"))?;
            Err(Failure::new(format!("not connected yet: {options:?}")))
        }
        Args::Ls(args) => Err(Failure::new(format!("not connected yet: {args:?}"))),
        Args::Show(name, args) => {
            Err(Failure::new(format!("not connected yet: {name:?} {args:?}")))
        }
        Args::Completions(shell) => printed(pages::completions(&shell, out)),
        Args::Man(verb) => printed(pages::man(verb.as_deref(), out)),
    }
}

fn printed(result: std::io::Result<()>) -> Result<u8, Failure> {
    result.map(|()| 0).map_err(|e| printing(&e))
}

/// A reader that went away early, such as `head`, has what it wanted.
fn printing(error: &std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return Failure { code: 0, text: None };
    }
    Failure::new(format!("cannot print: {error}"))
}
