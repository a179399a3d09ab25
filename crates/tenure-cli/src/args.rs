//! From clap's matches to plain structs, and from clap's errors to one line.
//!
//! Knows clap; nothing behind this file does. Values are still what the user typed.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Error};

use crate::exit::Failure;

mod holds;

pub(crate) use holds::{
    AcquireArgs, DoctorArgs, HoldArgs, RbacArgs, RepairArgs, StealArgs, WaitArgs,
};

/// One call of the command, as typed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Args {
    Run(Box<RunArgs>),
    Ls(Option<OsString>, ListArgs),
    Show(OsString, ListArgs),
    Wait(WaitArgs),
    Acquire(Box<AcquireArgs>),
    Renew(HoldArgs),
    Release(HoldArgs),
    Steal(StealArgs),
    Repair(RepairArgs),
    Rbac(RbacArgs),
    Doctor(DoctorArgs),
    Completions(String),
    Man(Option<String>),
}

/// `tenure run`, as typed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RunArgs {
    pub(crate) name: OsString,
    pub(crate) command: Vec<OsString>,
    pub(crate) shell: Option<OsString>,
    pub(crate) no_wait: bool,
    pub(crate) wait: Option<OsString>,
    pub(crate) conflict_exit_code: Option<OsString>,
    pub(crate) connect_timeout: Option<OsString>,
    pub(crate) ttl: Option<OsString>,
    pub(crate) grace: Option<OsString>,
    pub(crate) at_least: Option<OsString>,
    pub(crate) tags: Vec<OsString>,
    pub(crate) add_tags: Vec<OsString>,
    pub(crate) durable: bool,
    pub(crate) id: Option<OsString>,
    pub(crate) status_fd: Option<OsString>,
    pub(crate) quiet: bool,
    pub(crate) store: Option<OsString>,
}

/// What `ls` and `show` share, as typed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ListArgs {
    pub(crate) output: Option<OsString>,
    pub(crate) store: Option<OsString>,
}

/// Reads a whole command line, the program's name included.
///
/// # Errors
/// [`Stop::Print`] for `--help` and `--version`, else [`Stop::Usage`].
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Args, Stop> {
    let args: Vec<_> = args.into_iter().collect();
    match crate::plain::run(&args) {
        Some(run) => Ok(Args::Run(Box::new(run))),
        None => parse_any(args),
    }
}

/// The same for every command line, and slower.
pub(crate) fn parse_any(args: Vec<OsString>) -> Result<Args, Stop> {
    let help = help_of(args.get(1));
    let matches = crate::cli::parse(args).map_err(|error| Stop::from_clap(error, &help))?;
    let (verb, mut given) = matches
        .subcommand()
        .map_or_else(|| ("", ArgMatches::default()), |(verb, given)| (verb, given.clone()));
    Ok(match verb {
        "run" => Args::Run(Box::new(run(&mut given))),
        "ls" => Args::Ls(take(&mut given, "where"), list(&mut given)),
        "show" => Args::Show(take(&mut given, "name").unwrap_or_default(), list(&mut given)),
        "wait" => Args::Wait(holds::wait(&mut given)),
        "acquire" => Args::Acquire(Box::new(holds::acquire(&mut given))),
        "renew" => Args::Renew(holds::renew(&mut given)),
        "release" => Args::Release(holds::release(&mut given)),
        "steal" => Args::Steal(holds::steal(&mut given)),
        "repair" => Args::Repair(holds::repair(&mut given)),
        "rbac" => Args::Rbac(holds::rbac(&mut given)),
        "doctor" => Args::Doctor(holds::doctor(&mut given)),
        "completions" => Args::Completions(given.remove_one("shell").unwrap_or_default()),
        _ => Args::Man(given.remove_one("verb")),
    })
}

fn run(given: &mut ArgMatches) -> RunArgs {
    RunArgs {
        name: take(given, "name").unwrap_or_default(),
        command: many(given, "cmd"),
        shell: take(given, "shell"),
        no_wait: given.get_flag("no-wait"),
        wait: take(given, "wait"),
        conflict_exit_code: take(given, "conflict-exit-code"),
        connect_timeout: take(given, "connect-timeout"),
        ttl: take(given, "ttl"),
        grace: take(given, "grace"),
        at_least: take(given, "at-least"),
        tags: many(given, "tag"),
        add_tags: many(given, "add-tag"),
        durable: given.get_flag("durable"),
        id: take(given, "id"),
        status_fd: take(given, "status-fd"),
        quiet: given.get_flag("quiet"),
        store: take(given, "store"),
    }
}

fn list(given: &mut ArgMatches) -> ListArgs {
    ListArgs { output: take(given, "output"), store: take(given, "store") }
}

fn take(given: &mut ArgMatches, name: &str) -> Option<OsString> {
    given.remove_one(name)
}

fn many(given: &mut ArgMatches, name: &str) -> Vec<OsString> {
    given.remove_many(name).map(Iterator::collect).unwrap_or_default()
}

/// Why there are no arguments to work with.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Help or version was asked for.
    Print(Error),
    /// The command line is wrong.
    Usage(Failure),
}

impl Stop {
    fn from_clap(error: Error, help: &str) -> Self {
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Self::Print(error),
            _ => Self::Usage(Failure::new(one_line(&error, help))),
        }
    }
}

/// clap's own message spans lines and does not always say what would be right.
fn one_line(error: &Error, help: &str) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" or "),
        _ => String::new(),
    };
    let input = crate::duration::shorten(&match error.kind() {
        ErrorKind::InvalidSubcommand => context(ContextKind::InvalidSubcommand),
        ErrorKind::InvalidValue => context(ContextKind::InvalidValue),
        _ => context(ContextKind::InvalidArg),
    });
    match error.kind() {
        ErrorKind::InvalidSubcommand if input == "help" => {
            "unknown verb `help`; see `tenure --help`, or `tenure VERB --help`".to_owned()
        }
        ErrorKind::InvalidSubcommand => {
            format!("unknown verb `{input}`; verbs: {}", crate::cli::VERBS.join(", "))
        }
        ErrorKind::MissingSubcommand => {
            format!("missing verb; verbs: {}; see `tenure --help`", crate::cli::VERBS.join(", "))
        }
        ErrorKind::MissingRequiredArgument => {
            format!("missing {}; see `{help}`", input.trim_matches(['<', '>']))
        }
        ErrorKind::InvalidValue if input.is_empty() => {
            format!("{} needs a value; see `{help}`", context(ContextKind::InvalidArg))
        }
        ErrorKind::InvalidValue => format!(
            "{}: unknown value `{input}`; known: {}",
            context(ContextKind::InvalidArg),
            context(ContextKind::ValidValue).replace(" or ", ", ")
        ),
        ErrorKind::TooManyValues => format!("option `{input}` takes no value; see `{help}`"),
        ErrorKind::UnknownArgument => unknown(error, &input, help),
        ErrorKind::ArgumentConflict => {
            format!("{input} is given twice; give it once")
        }
        _ => first_line(error),
    }
}

fn unknown(error: &Error, input: &str, help: &str) -> String {
    if let Some(hint) = of_flock(input).filter(|_| help.contains(" run ")) {
        return format!("unknown option `{input}`; {hint}");
    }
    if input.starts_with('-') {
        return match error.get(ContextKind::SuggestedArg) {
            Some(ContextValue::String(known)) => {
                format!("unknown option `{input}`; did you mean `{known}`?")
            }
            _ => format!("unknown option `{input}`; see `{help}`"),
        };
    }
    if help.contains(" run ") {
        return format!(
            "unexpected `{input}` behind the lock's name; the command goes behind `--`"
        );
    }
    format!("unexpected `{input}`; see `{help}`")
}

/// What an option of flock(1) is here, for those who come from there.
fn of_flock(option: &str) -> Option<&'static str> {
    Some(match option {
        "--nb" | "--nonblock" => "write -n",
        "--timeout" => "write -w",
        "--command" => "write -c",
        "-x" | "-e" | "--exclusive" => "leave it out: every lock is exclusive",
        "-s" | "--shared" => "every lock is exclusive",
        "-o" | "--close" => "leave it out: what runs in the background does not keep the lock",
        "-u" | "--unlock" => "the lock is released when the command ends",
        _ => return None,
    })
}

/// The help to read: that of the verb, if the first argument is one.
fn help_of(first: Option<&OsString>) -> String {
    let verb = crate::cli::VERBS.iter().find(|verb| first.is_some_and(|first| first == **verb));
    verb.map_or_else(|| "tenure --help".to_owned(), |verb| format!("tenure {verb} --help"))
}

fn first_line(error: &Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}
