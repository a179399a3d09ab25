//! The options of the verbs for scripts and operators, as meant.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use tenure::{Condition, KubeObjects, StoreUrl, Timing};

use super::{
    LABEL_MAX, Output, Tags, Want, busy_code, condition, label, name, patience, positive, store,
    timing,
};
use crate::args::{AcquireArgs, DoctorArgs, HoldArgs, RbacArgs, RepairArgs, StealArgs, WaitArgs};
use crate::duration::shorten;
use crate::exit::Failure;

const NO_TTL: &str =
    "missing --ttl; say how long the hold may live without a renewal, such as --ttl 30m";

/// `tenure acquire`, as meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AcquireOptions {
    pub(crate) want: Want,
    pub(crate) ttl: Duration,
    pub(crate) hold: PathBuf,
    pub(crate) tags: Tags,
}

/// `tenure renew` and `tenure release`, as meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HoldOptions {
    pub(crate) hold: PathBuf,
    pub(crate) ttl: Option<Duration>,
    pub(crate) tags: Tags,
    /// The store that was given, and where.
    pub(crate) store: Option<(&'static str, String)>,
}

/// `tenure steal`, as meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StealOptions {
    pub(crate) name: String,
    pub(crate) reason: String,
    pub(crate) now: bool,
    pub(crate) condition: Option<Condition>,
    pub(crate) yes: bool,
    pub(crate) store: String,
}

/// `tenure repair`, as meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RepairOptions {
    pub(crate) name: Option<String>,
    pub(crate) yes: bool,
    pub(crate) store: String,
}

impl Want {
    /// Checks and resolves what was typed behind `tenure wait`; `store_env` is `TENURE_STORE`.
    ///
    /// # Errors
    /// One line that names the input and what would be right; exit code 125.
    pub(crate) fn resolve(args: WaitArgs, store_env: Option<OsString>) -> Result<Self, Failure> {
        Ok(Self {
            patience: patience(args.no_wait, args.wait.as_deref())?,
            busy_code: busy_code(args.conflict_exit_code.as_deref())?,
            connect_timeout: Duration::from_secs(10),
            id: None,
            quiet: args.quiet,
            store: store(args.store, store_env)?,
            name: name(&args.name)?,
        })
    }
}

impl AcquireOptions {
    /// Checks and resolves; the variables are `TENURE_STORE` and `TENURE_HOLD`.
    ///
    /// # Errors
    /// As [`Want::resolve`].
    pub(crate) fn resolve(
        args: AcquireArgs,
        store_env: Option<OsString>,
        hold_env: Option<OsString>,
    ) -> Result<Self, Failure> {
        let connect_timeout = positive("--connect-timeout", args.connect_timeout.as_deref())?;
        let ttl = lifetime(args.ttl.as_deref())?;
        let id = args.id.as_deref().map(|id| label("--id", id, LABEL_MAX)).transpose()?;
        let want = Want::resolve(args.want, store_env)?;
        let connect_timeout = connect_timeout.unwrap_or(want.connect_timeout);
        Ok(Self {
            want: Want { connect_timeout, id, ..want },
            ttl: ttl.ok_or_else(|| Failure::new(NO_TTL))?,
            hold: hold(args.hold, hold_env)?,
            tags: Tags::resolve(&args.tags, &args.add_tags)?,
        })
    }
}

impl HoldOptions {
    /// Checks and resolves; the variables are `TENURE_STORE` and `TENURE_HOLD`.
    ///
    /// # Errors
    /// As [`Want::resolve`].
    pub(crate) fn resolve(
        args: HoldArgs,
        store_env: Option<OsString>,
        hold_env: Option<OsString>,
    ) -> Result<Self, Failure> {
        let env = store_env.filter(|url| !url.is_empty());
        let from = match (&args.store, &env) {
            (Some(_), _) => Some("--store"),
            (None, Some(_)) => Some("TENURE_STORE"),
            (None, None) => None,
        };
        let url = store(args.store, env)?;
        Ok(Self {
            hold: hold(args.hold, hold_env)?,
            ttl: lifetime(args.ttl.as_deref())?,
            tags: Tags::resolve(&args.tags, &args.add_tags)?,
            store: from.map(|from| (from, url)),
        })
    }
}

impl StealOptions {
    /// Checks and resolves; `store_env` is `TENURE_STORE`.
    ///
    /// # Errors
    /// As [`Want::resolve`].
    pub(crate) fn resolve(args: StealArgs, store_env: Option<OsString>) -> Result<Self, Failure> {
        if args.now && args.after_expiry {
            return Err(Failure::new("--now and --after-expiry contradict each other: give one"));
        }
        let why = "missing --reason; say why, in one line, for those who ask `tenure show`";
        let reason = args.reason.as_deref().ok_or_else(|| Failure::new(why))?;
        Ok(Self {
            reason: label("--reason", reason, LABEL_MAX)?,
            now: args.now,
            condition: condition(args.condition.as_deref())?,
            yes: args.yes,
            store: store(args.store, store_env)?,
            name: name(&args.name)?,
        })
    }
}

impl RepairOptions {
    /// Checks and resolves; `store_env` is `TENURE_STORE`.
    ///
    /// # Errors
    /// As [`Want::resolve`].
    pub(crate) fn resolve(args: RepairArgs, store_env: Option<OsString>) -> Result<Self, Failure> {
        Ok(Self {
            name: args.name.as_deref().map(name).transpose()?,
            yes: args.yes,
            store: store(args.store, store_env)?,
        })
    }
}

/// `tenure rbac`, as meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RbacOptions {
    /// None: all locks.
    pub(crate) names: Vec<String>,
    /// The verbs of the command that are to work.
    pub(crate) verbs: Vec<String>,
    pub(crate) account: String,
    pub(crate) objects: KubeObjects,
}

/// The verbs that ask something of a store.
const ASKING: [&str; 8] = ["run", "ls", "show", "wait", "acquire", "renew", "release", "steal"];

impl RbacOptions {
    /// Checks and resolves; `store_env` is `TENURE_STORE`.
    ///
    /// # Errors
    /// As [`Want::resolve`].
    pub(crate) fn resolve(args: RbacArgs, store_env: Option<OsString>) -> Result<Self, Failure> {
        let url = store(args.store, store_env)?;
        let objects = StoreUrl::parse(&url).map_err(Failure::new)?.kube_objects();
        let objects = objects.ok_or_else(|| {
            let shown = shorten(&url);
            Failure::new(format!("store `{shown}` has no roles; give --store kube:NAMESPACE"))
        })?;
        let verbs = verbs(&args.verbs)?;
        let account = args.account.unwrap_or_else(|| "default".into());
        let account = label("--account", &account, 253)?;
        if !account
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
        {
            let shown = shorten(&account);
            return Err(Failure::new(format!(
                "--account `{shown}`: give the name of a service account: lower-case letters, \
                 digits, `-` and `.`"
            )));
        }
        let names = args.names.iter().map(|n| name(n)).collect::<Result<_, _>>()?;
        Ok(Self { names, verbs, account, objects })
    }
}

/// `tenure doctor`, as meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DoctorOptions {
    pub(crate) store: String,
    /// The identity that the store's URL gives.
    pub(crate) id: Option<String>,
    /// What the locks are kept in; `None`: not in a cluster.
    pub(crate) objects: Option<KubeObjects>,
    pub(crate) names: Vec<String>,
    pub(crate) verbs: Vec<String>,
    pub(crate) timing: Option<Timing>,
    pub(crate) output: Output,
}

impl DoctorOptions {
    /// Checks and resolves; `store_env` is `TENURE_STORE`.
    ///
    /// # Errors
    /// As [`Want::resolve`].
    pub(crate) fn resolve(args: DoctorArgs, store_env: Option<OsString>) -> Result<Self, Failure> {
        let output = Output::resolve(&args.list)?;
        let url = store(args.list.store, store_env)?;
        let parsed = StoreUrl::parse(&url).map_err(Failure::new)?;
        let objects = parsed.kube_objects();
        if objects.is_none() && !(args.names.is_empty() && args.verbs.is_empty()) {
            let shown = shorten(&url);
            return Err(Failure::new(format!(
                "store `{shown}` can be asked about no lock; give --store kube:NAMESPACE"
            )));
        }
        Ok(Self {
            id: parsed.id().map(str::to_owned),
            store: url,
            objects,
            names: args.names.iter().map(|n| name(n)).collect::<Result<_, _>>()?,
            verbs: verbs(&args.verbs)?,
            timing: timing(args.ttl.as_deref(), args.grace.as_deref())?,
            output,
        })
    }
}

/// How long a hold lives that nobody renews; `Duration::MAX`: until it is given back.
fn lifetime(ttl: Option<&OsStr>) -> Result<Option<Duration>, Failure> {
    match ttl.and_then(OsStr::to_str) {
        Some("never") => Ok(Some(Duration::MAX)),
        _ => positive("--ttl", ttl),
    }
}

/// Behind `--for`: `run`, if there are none.
fn verbs(given: &[OsString]) -> Result<Vec<String>, Failure> {
    let mut verbs = Vec::new();
    for verb in given {
        let verb = label("--for", verb, LABEL_MAX)?;
        if !ASKING.contains(&verb.as_str()) {
            let known = ASKING.join(", ");
            return Err(Failure::new(format!("--for `{}`: known: {known}", shorten(&verb))));
        }
        verbs.push(verb);
    }
    if verbs.is_empty() {
        verbs.push("run".to_owned());
    }
    Ok(verbs)
}

/// The hold file: the option, else the environment.
fn hold(given: Option<OsString>, env: Option<OsString>) -> Result<PathBuf, Failure> {
    let path = given.or(env.filter(|path| !path.is_empty())).ok_or_else(|| {
        Failure::new("missing --hold; give the hold file, or name it in TENURE_HOLD")
    })?;
    match OsStr::new(&path).as_encoded_bytes() {
        b"" => Err(Failure::new("--hold is empty; give the path of the hold file")),
        _ => Ok(path.into()),
    }
}
