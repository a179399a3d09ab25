//! What was typed behind the verbs for scripts and operators.

use std::ffi::OsString;

use clap::ArgMatches;

use super::{ListArgs, many, take};

/// `tenure acquire`, as typed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct AcquireArgs {
    pub(crate) want: WaitArgs,
    pub(crate) connect_timeout: Option<OsString>,
    pub(crate) ttl: Option<OsString>,
    pub(crate) hold: Option<OsString>,
    pub(crate) tags: Vec<OsString>,
    pub(crate) add_tags: Vec<OsString>,
    pub(crate) id: Option<OsString>,
}

/// `tenure wait`, as typed, and what `acquire` shares with it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct WaitArgs {
    pub(crate) name: OsString,
    pub(crate) no_wait: bool,
    pub(crate) wait: Option<OsString>,
    pub(crate) conflict_exit_code: Option<OsString>,
    pub(crate) quiet: bool,
    pub(crate) store: Option<OsString>,
}

/// `tenure renew` and `tenure release`, as typed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct HoldArgs {
    pub(crate) hold: Option<OsString>,
    pub(crate) ttl: Option<OsString>,
    pub(crate) tags: Vec<OsString>,
    pub(crate) add_tags: Vec<OsString>,
    pub(crate) store: Option<OsString>,
}

/// `tenure steal`, as typed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct StealArgs {
    pub(crate) name: OsString,
    pub(crate) reason: Option<OsString>,
    pub(crate) after_expiry: bool,
    pub(crate) condition: Option<OsString>,
    pub(crate) now: bool,
    pub(crate) yes: bool,
    pub(crate) store: Option<OsString>,
}

/// `tenure repair`, as typed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RepairArgs {
    pub(crate) name: Option<OsString>,
    pub(crate) yes: bool,
    pub(crate) store: Option<OsString>,
}

/// `tenure doctor`, as typed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct DoctorArgs {
    pub(crate) names: Vec<OsString>,
    pub(crate) verbs: Vec<OsString>,
    pub(crate) ttl: Option<OsString>,
    pub(crate) grace: Option<OsString>,
    pub(crate) list: ListArgs,
}

/// `tenure rbac`, as typed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RbacArgs {
    pub(crate) names: Vec<OsString>,
    pub(crate) verbs: Vec<OsString>,
    pub(crate) account: Option<OsString>,
    pub(crate) store: Option<OsString>,
}

pub(super) fn acquire(given: &mut ArgMatches) -> AcquireArgs {
    AcquireArgs {
        want: wait(given),
        connect_timeout: take(given, "connect-timeout"),
        ttl: take(given, "ttl"),
        hold: take(given, "hold"),
        tags: many(given, "tag"),
        add_tags: many(given, "add-tag"),
        id: take(given, "id"),
    }
}

pub(super) fn wait(given: &mut ArgMatches) -> WaitArgs {
    WaitArgs {
        name: take(given, "name").unwrap_or_default(),
        no_wait: given.get_flag("no-wait"),
        wait: take(given, "wait"),
        conflict_exit_code: take(given, "conflict-exit-code"),
        quiet: given.get_flag("quiet"),
        store: take(given, "store"),
    }
}

pub(super) fn release(given: &mut ArgMatches) -> HoldArgs {
    HoldArgs { tags: many(given, "tag"), add_tags: many(given, "add-tag"), ..file(given) }
}

pub(super) fn renew(given: &mut ArgMatches) -> HoldArgs {
    HoldArgs { ttl: take(given, "ttl"), ..file(given) }
}

fn file(given: &mut ArgMatches) -> HoldArgs {
    HoldArgs { hold: take(given, "hold"), store: take(given, "store"), ..HoldArgs::default() }
}

pub(super) fn steal(given: &mut ArgMatches) -> StealArgs {
    StealArgs {
        name: take(given, "name").unwrap_or_default(),
        reason: take(given, "reason"),
        after_expiry: given.get_flag("after-expiry"),
        condition: take(given, "where"),
        now: given.get_flag("now"),
        yes: given.get_flag("yes"),
        store: take(given, "store"),
    }
}

pub(super) fn rbac(given: &mut ArgMatches) -> RbacArgs {
    RbacArgs {
        names: many(given, "name"),
        verbs: many(given, "for"),
        account: take(given, "account"),
        store: take(given, "store"),
    }
}

pub(super) fn doctor(given: &mut ArgMatches) -> DoctorArgs {
    DoctorArgs {
        names: many(given, "name"),
        verbs: many(given, "for"),
        ttl: take(given, "ttl"),
        grace: take(given, "grace"),
        list: super::list(given),
    }
}

pub(super) fn repair(given: &mut ArgMatches) -> RepairArgs {
    RepairArgs {
        name: take(given, "name"),
        yes: given.get_flag("yes"),
        store: take(given, "store"),
    }
}
