//! The `tenure` command: run a command under a lock, and see who holds what.
//!
//! `tenure` calls and picks the exit code; everything else stands in a file of its own. What the
//! user typed becomes plain structs (`args`), those become resolved options (`options`), and the
//! verbs work on these alone. Protocol decisions are the library's.
#![cfg_attr(all(not(test), target_env = "gnu"), no_main)]

#[cfg(not(target_os = "linux"))]
compile_error!("unsupported: Linux only for now; the library compiles without `local:`");

mod acquire;
mod args;
mod ask;
#[cfg(feature = "bench-link")]
mod bench_link;
mod child;
mod cli;
mod clock;
mod contend;
mod display;
mod doctor;
mod duration;
mod exit;
mod free;
mod help;
mod hold_file;
mod hook;
mod json;
mod keeper;
mod list;
mod local;
mod lost;
mod manual;
mod options;
mod pages;
mod parent;
mod plain;
mod rbac;
mod release;
mod renew;
mod repair;
mod run;
mod signals;
mod spawn;
mod status;
mod steal;
mod supervise;
mod terminal;
mod wait;
#[cfg(feature = "kube")]
mod warnings;

use args::{Args, Stop};
use exit::Failure;
use options::{
    AcquireOptions, DoctorOptions, HoldOptions, RbacOptions, RepairOptions, StealOptions,
};

/// The entry where it is not [`hook`]'s.
#[cfg(any(test, not(target_env = "gnu")))]
fn main() -> std::process::ExitCode {
    tenure().into()
}

/// Does what the arguments say, and gives the exit code.
fn tenure() -> u8 {
    #[cfg(feature = "bench-link")]
    if bench_link::is_wanted() {
        return u8::from(bench_link::reach().is_err());
    }
    #[cfg(feature = "kube")]
    warnings::pass_on();
    let done = match args::parse(std::env::args_os()) {
        Ok(args) => dispatch(args),
        Err(Stop::Print(text)) => text.print().map_err(|e| printing(&e)).map(|()| 0),
        Err(Stop::Usage(failure)) => Err(failure),
    };
    done.unwrap_or_else(Failure::report)
}

fn dispatch(args: Args) -> Result<u8, Failure> {
    let out = &mut std::io::stdout();
    let store_env = || std::env::var_os("TENURE_STORE");
    let hold_env = || std::env::var_os("TENURE_HOLD");
    match args {
        Args::Run(args) => run::run(*args, store_env()),
        Args::Ls(condition, args) => {
            let output = options::Output::resolve(&args)?;
            let condition = options::condition(condition.as_deref())?;
            list::ls(&options::store(args.store, store_env())?, condition.as_ref(), output, out)
        }
        Args::Show(name, args) => {
            let (name, output) = (options::name(&name)?, options::Output::resolve(&args)?);
            list::show(&options::store(args.store, store_env())?, &name, output, out)
        }
        Args::Wait(args) => free::wait(&options::Want::resolve(args, store_env())?),
        Args::Acquire(args) => {
            acquire::acquire(&AcquireOptions::resolve(*args, store_env(), hold_env())?)
        }
        Args::Renew(args) => renew::renew(&HoldOptions::resolve(args, store_env(), hold_env())?),
        Args::Release(args) => {
            release::release(&HoldOptions::resolve(args, store_env(), hold_env())?)
        }
        Args::Steal(args) => steal::steal(&StealOptions::resolve(args, store_env())?),
        Args::Repair(args) => repair::repair(&RepairOptions::resolve(args, store_env())?, out),
        Args::Rbac(args) => printed(rbac::rbac(&RbacOptions::resolve(args, store_env())?, out)),
        Args::Doctor(args) => doctor::doctor(&DoctorOptions::resolve(args, store_env())?, out),
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
        return Failure::silent(0);
    }
    Failure::new(format!("cannot print: {error}"))
}
