//! What the command line may look like: one description for parsing, help, man page and
//! completions.
//!
//! Owns names, short texts and which options exclude each other syntactically. It checks no
//! value: values stay text until `options.rs`. A verb's options are built only when that verb is
//! used (`defer`), because the start of `run` is paid by every cron job.

use std::ffi::OsString;

use clap::builder::{OsStringValueParser, PossibleValuesParser};
use clap::{Arg, ArgAction, Command};

use crate::help;

mod holds;

/// The verbs, in the order of the help.
pub(crate) const VERBS: [&str; 13] = [
    "run",
    "ls",
    "show",
    "wait",
    "acquire",
    "renew",
    "release",
    "steal",
    "repair",
    "rbac",
    "doctor",
    "completions",
    "man",
];

/// The whole description.
pub(crate) fn command() -> Command {
    Command::new("tenure")
        .version(clap::crate_version!())
        .about(help::ABOUT)
        .after_help(help::AFTER)
        .subcommand_required(true)
        .max_term_width(100)
        .disable_help_subcommand(true)
        .subcommand(Command::new("run").about(help::RUN_ABOUT).defer(run))
        .subcommand(Command::new("ls").about("List the locks of a store").defer(ls))
        .subcommand(Command::new("show").about("Show one lock").defer(show))
        .subcommands(holds::all())
        .subcommand(
            Command::new("completions").about("Print completions for a shell").defer(completions),
        )
        .subcommand(Command::new("man").about("Print a manual page").defer(man))
}

/// The same with a name that help and usage print in full, for one verb's manual page.
pub(crate) fn verb(name: &str) -> Option<Command> {
    let mut whole = command();
    whole.build();
    whole.find_subcommand(name).cloned()
}

fn run(command: Command) -> Command {
    command
        .long_about(help::RUN_LONG)
        .after_long_help(help::RUN_AFTER)
        .override_usage(
            "tenure run [OPTIONS] NAME -- CMD [ARG]...\n       tenure run [OPTIONS] NAME -c STRING",
        )
        .args(RUN_OPTIONS.iter().map(RunOption::arg))
        .arg(name())
        .arg(
            Arg::new("cmd")
                .value_name("CMD")
                .help("The command and its arguments, behind `--`")
                .value_parser(OsStringValueParser::new())
                .num_args(1..)
                .last(true),
        )
}

/// An option of `run`, for clap and for `plain.rs`, which must agree.
pub(crate) struct RunOption {
    /// What it is called in matches, and its long name unless it has none.
    pub(crate) id: &'static str,
    pub(crate) has_long: bool,
    pub(crate) short: Option<char>,
    /// The placeholder of its value; a flag has none.
    pub(crate) value: Option<&'static str>,
    /// Whether it may be repeated.
    pub(crate) repeats: bool,
    help: &'static str,
}

impl RunOption {
    const fn flag(id: &'static str, short: Option<char>, help: &'static str) -> Self {
        Self { id, has_long: true, short, value: None, repeats: false, help }
    }

    const fn value(id: &'static str, value: &'static str, help: &'static str) -> Self {
        Self { id, has_long: true, short: None, value: Some(value), repeats: false, help }
    }

    const fn short(self, short: char) -> Self {
        Self { short: Some(short), ..self }
    }

    fn arg(&self) -> Arg {
        let arg = match self.value {
            Some(placeholder) => value(self.id, placeholder),
            None => Arg::new(self.id).action(ArgAction::SetTrue),
        };
        let arg = if self.has_long { arg.long(self.id) } else { arg };
        let arg = if self.repeats { arg.action(ArgAction::Append) } else { arg };
        let arg = self.short.into_iter().fold(arg, Arg::short);
        arg.help(self.help)
    }
}

/// All of them, in the order of the help.
pub(crate) const RUN_OPTIONS: [RunOption; 15] = [
    RunOption::flag("no-wait", Some('n'), "Do not wait: exit 124 when the lock is busy"),
    RunOption::value(
        "wait",
        "DUR",
        "Wait at most DUR, then exit 124; 0 is the same as -n [default: for ever]",
    )
    .short('w'),
    RunOption::value(
        "conflict-exit-code",
        "N",
        "Exit with N (0 to 255) instead of 124 when busy or timed out",
    )
    .short('E'),
    RunOption::value(
        "connect-timeout",
        "DUR",
        "How long the first contact with the store may take before tenure gives up [default: 10s]",
    ),
    RunOption::value(
        "ttl",
        "DUR",
        "How long the lock outlives a holder that fell silent [default: 15s; 60s on kube: in \
         formats with wall clocks]. No effect on local:, where the lock ends with its processes",
    ),
    RunOption::value(
        "grace",
        "DUR",
        "Time between TERM and KILL when the lock is lost [default: a fifth of the ttl, at \
         most 10s; never more than 2s after a loss]",
    ),
    RunOption::value(
        "at-least",
        "DUR",
        "Keep the lock at least DUR from acquiring it, even if the command ends sooner; \
         tenure does not wait for that; a tenure that is killed keeps nothing",
    ),
    RunOption {
        repeats: true,
        ..RunOption::value(
            "tag",
            "TEXT",
            "Label the lock, for show and JSON; it keeps its tags until a run gives others; \
             may be repeated",
        )
    },
    RunOption { repeats: true, ..RunOption::value("add-tag", "TEXT", ADD_TAG) },
    RunOption::flag("durable", None, "Sync every write, so that a power cut forgets nothing"),
    RunOption::value("id", "TEXT", "Who holds, for people [default: <hostname>_<uuid>]"),
    RunOption::value(
        "status-fd",
        "N",
        "Write one JSON object per event to the open descriptor N: waiting, acquired, \
         renewed, stopping, lost, exited, released, ended",
    ),
    RunOption::flag("quiet", Some('q'), "Say nothing while waiting, nor when busy or timed out"),
    RunOption::value("store", "URL", STORE),
    RunOption {
        has_long: false,
        ..RunOption::value("shell", "STRING", "Run `/bin/sh -c STRING` instead of CMD").short('c')
    },
];

const ADD_TAG: &str = "Label the lock beside the tags it has; on kube: with format=configmap; may be \
                       repeated";

const STORE: &str = "The store: local:, local:/absolute/folder, or kube:NAMESPACE with options \
     [default: TENURE_STORE, else local:]";

fn ls(command: Command) -> Command {
    let command = command.long_about(help::LS_LONG).after_help(help::LS_AFTER);
    command.arg(condition("List only locks of which TEXT is true")).arg(output()).arg(store())
}

fn show(command: Command) -> Command {
    command
        .long_about(help::SHOW_LONG)
        .after_help(help::SHOW_AFTER)
        .arg(output())
        .arg(store())
        .arg(name())
}

fn completions(command: Command) -> Command {
    let shells = ["bash", "elvish", "fish", "powershell", "zsh"];
    command.after_help(help::COMPLETIONS_AFTER).arg(
        Arg::new("shell")
            .value_name("SHELL")
            .help("The shell to print them for")
            .value_parser(PossibleValuesParser::new(shells))
            .required(true),
    )
}

fn man(command: Command) -> Command {
    command.after_help(help::MAN_AFTER).arg(
        Arg::new("verb")
            .value_name("VERB")
            .help("The page of this verb [default: the page of tenure itself]")
            .value_parser(PossibleValuesParser::new(VERBS)),
    )
}

fn name() -> Arg {
    Arg::new("name")
        .value_name("NAME")
        .help("The lock's name")
        .value_parser(OsStringValueParser::new())
        .required(true)
}

fn store() -> Arg {
    value("store", "URL").long("store").help(STORE)
}

fn condition(help: &'static str) -> Arg {
    value("where", "TEXT").long("where").help(help)
}

fn output() -> Arg {
    value("output", "FORMAT").long("output").help("text or json [default: text]")
}

/// An option with a value. The value may begin with a hyphen, so that `-w -5` is told what is
/// wrong with `-5`.
fn value(name: &'static str, placeholder: &'static str) -> Arg {
    Arg::new(name)
        .value_name(placeholder)
        .value_parser(OsStringValueParser::new())
        .allow_hyphen_values(true)
}

/// Parses the process's arguments.
pub(crate) fn parse(
    args: impl IntoIterator<Item = OsString>,
) -> Result<clap::ArgMatches, clap::Error> {
    command().try_get_matches_from(args)
}
