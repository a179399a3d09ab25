//! The verbs for scripts and operators: `wait`, `acquire`, `renew`, `release`, `steal`, `repair`,
//! `rbac`, `doctor`.

use clap::{Arg, ArgAction, Command};

use super::{ADD_TAG, condition, name, output, store, value};
use crate::manual;

pub(super) fn all() -> [Command; 8] {
    [
        Command::new("wait").about(manual::WAIT_ABOUT).defer(wait),
        Command::new("acquire").about(manual::ACQUIRE_ABOUT).defer(acquire),
        Command::new("renew").about(manual::RENEW_ABOUT).defer(renew),
        Command::new("release").about(manual::RELEASE_ABOUT).defer(release),
        Command::new("steal").about(manual::STEAL_ABOUT).defer(steal),
        Command::new("repair").about(manual::REPAIR_ABOUT).defer(repair),
        Command::new("rbac").about(manual::RBAC_ABOUT).defer(rbac),
        Command::new("doctor").about(manual::DOCTOR_ABOUT).defer(doctor),
    ]
}

fn wait(command: Command) -> Command {
    let command = command.long_about(manual::WAIT_LONG).after_long_help(manual::WAIT_AFTER);
    command.arg(no_wait("Do not wait: exit 124 when the lock is held")).args([
        limit(),
        code(),
        quiet(),
        store(),
        name(),
    ])
}

fn acquire(command: Command) -> Command {
    let command = command.long_about(manual::ACQUIRE_LONG).after_long_help(manual::ACQUIRE_AFTER);
    command
        .override_usage("tenure acquire [OPTIONS] --ttl DUR --hold FILE NAME")
        .arg(value("ttl", "DUR").long("ttl").help(
            "How long the hold lives without a renewal, or `never`: until it is given back; \
             required",
        ))
        .arg(hold("The hold file to write; it must not exist [default: TENURE_HOLD]"))
        .arg(no_wait("Do not wait: exit 124 when the lock is busy"))
        .args([limit(), code()])
        .arg(value("connect-timeout", "DUR").long("connect-timeout").help(
            "How long the first contact with the store may take before tenure gives up \
             [default: 10s]",
        ))
        .args(tags("Label the lock, for show and JSON, until others do; may be repeated"))
        .arg(
            value("id", "TEXT")
                .long("id")
                .help("Who holds, for people [default: <hostname>_<uuid>]"),
        )
        .args([quiet(), store(), name()])
}

fn renew(command: Command) -> Command {
    let command = command.long_about(manual::RENEW_LONG).after_long_help(manual::RENEW_AFTER);
    let ttl = "How long the hold lives from now, or `never` [default: as long as last time]";
    command
        .arg(value("ttl", "DUR").long("ttl").help(ttl))
        .args([hold("The hold file [default: TENURE_HOLD]"), hold_store()])
}

fn release(command: Command) -> Command {
    let command = command.long_about(manual::RELEASE_LONG).after_long_help(manual::RELEASE_AFTER);
    command
        .args([hold("The hold file [default: TENURE_HOLD]"), hold_store()])
        .args(tags("Label the lock from now on, such as with what came of it; may be repeated"))
}

fn tags(help: &'static str) -> [Arg; 2] {
    let tag = |name| value(name, "TEXT").long(name).action(ArgAction::Append);
    [tag("tag").help(help), tag("add-tag").help(ADD_TAG)]
}

fn steal(command: Command) -> Command {
    let command = command.long_about(manual::STEAL_LONG).after_long_help(manual::STEAL_AFTER);
    command
        .override_usage("tenure steal [OPTIONS] --reason TEXT NAME")
        .arg(value("reason", "TEXT").long("reason").help("Why, for `tenure show`; required"))
        .arg(flag("after-expiry").help("Free it when its ttl has run out [the default]"))
        .arg(flag("now").help("Free it at once; kills the processes of a running command"))
        .arg(condition("Only if TEXT is true of the lock, as for `tenure ls`; else exit 124"))
        .args([yes(), store(), name()])
}

fn repair(command: Command) -> Command {
    let command = command.long_about(manual::REPAIR_LONG).after_long_help(manual::REPAIR_AFTER);
    let name = name().required(false).help("Only this lock [default: the whole store]");
    command.args([yes(), store(), name])
}

fn rbac(command: Command) -> Command {
    let command = command.long_about(manual::RBAC_LONG).after_long_help(manual::RBAC_AFTER);
    let verb = value("for", "VERB").long("for").action(ArgAction::Append);
    let account = "The service account to bind to [default: default]";
    let name = name().required(false).num_args(0..);
    command
        .arg(verb.help("A verb of tenure that is to work; may be repeated [default: run]"))
        .arg(value("account", "NAME").long("account").help(account))
        .args([store(), name.help("Only these locks [default: all of the namespace]")])
}

fn doctor(command: Command) -> Command {
    let command = command.long_about(manual::DOCTOR_LONG).after_long_help(manual::DOCTOR_AFTER);
    let verb = value("for", "VERB").long("for").action(ArgAction::Append);
    let name = name().required(false).num_args(0..);
    command
        .arg(verb.help("A verb of tenure that is to work; may be repeated [default: run]"))
        .arg(value("ttl", "DUR").long("ttl").help("The ttl that is to be used [default: run's]"))
        .arg(value("grace", "DUR").long("grace").help("The grace that is to be used"))
        .args([output(), store(), name.help("These locks [default: all that can be listed]")])
}

fn flag(id: &'static str) -> Arg {
    Arg::new(id).long(id).action(ArgAction::SetTrue)
}

fn yes() -> Arg {
    flag("yes").short('y').help("Do not ask")
}

fn quiet() -> Arg {
    flag("quiet").short('q').help("Say nothing while waiting, nor when busy or timed out")
}

fn no_wait(help: &'static str) -> Arg {
    flag("no-wait").short('n').help(help)
}

fn limit() -> Arg {
    let help = "Wait at most DUR, then exit 124; 0 is the same as -n [default: for ever]";
    value("wait", "DUR").long("wait").short('w').help(help)
}

fn code() -> Arg {
    let help = "Exit with N (0 to 255) instead of 124 when busy or timed out";
    value("conflict-exit-code", "N").long("conflict-exit-code").short('E').help(help)
}

fn hold(help: &'static str) -> Arg {
    value("hold", "FILE").long("hold").help(help)
}

fn hold_store() -> Arg {
    store().help(
        "Must be the store of the hold file, if given, also by TENURE_STORE [default: that one]",
    )
}
