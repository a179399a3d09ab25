//! From what was typed to what is meant: every value checked once, every contradiction refused.
//!
//! Runs before anything is opened or written. Knows neither clap nor the store; the lock's name
//! and the store's URL are text here, and the library judges them.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use tenure::blocking::{Lock, Patience};
use tenure::{Condition, Timing, TimingSpec};

use crate::args::{ListArgs, RunArgs};
use crate::duration;
use crate::exit::{BUSY, Failure};

mod holds;

pub(crate) use holds::{
    AcquireOptions, DoctorOptions, HoldOptions, RbacOptions, RepairOptions, StealOptions,
};

/// The longest lock name, in bytes.
const NAME_MAX: usize = 1024;
/// The longest tag or identity, in bytes.
const LABEL_MAX: usize = 255;

/// Wanting a lock, or its freedom: what every verb that waits has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Want {
    pub(crate) name: String,
    pub(crate) patience: Patience,
    /// The exit code when busy or timed out.
    pub(crate) busy_code: u8,
    pub(crate) connect_timeout: Duration,
    pub(crate) id: Option<String>,
    pub(crate) quiet: bool,
    pub(crate) store: String,
}

impl Want {
    /// Whether the store is another one than that of this machine.
    pub(crate) fn is_elsewhere(&self) -> bool {
        is_elsewhere(&self.store)
    }
}

/// Whether this store is another one than that of this machine.
pub(crate) fn is_elsewhere(store: &str) -> bool {
    tenure::StoreUrl::parse(store).is_ok_and(|url| !url.is_local())
}

/// `tenure run`, as meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RunOptions {
    pub(crate) want: Want,
    /// The program and its arguments, never empty.
    pub(crate) command: Vec<OsString>,
    /// If it was asked for; checked: the numbers fit together.
    pub(crate) timing: Option<Timing>,
    pub(crate) at_least: Option<Duration>,
    pub(crate) tags: Tags,
    pub(crate) durable: bool,
    pub(crate) status_fd: Option<i32>,
}

/// How `ls` and `show` print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Text,
    Json,
}

impl RunOptions {
    /// Checks and resolves `args`; `store_env` is `TENURE_STORE`.
    ///
    /// # Errors
    /// One line that names the input and what would be right; exit code 125.
    pub(crate) fn resolve(args: RunArgs, store_env: Option<OsString>) -> Result<Self, Failure> {
        Ok(Self {
            want: Want {
                patience: patience(args.no_wait, args.wait.as_deref())?,
                busy_code: busy_code(args.conflict_exit_code.as_deref())?,
                connect_timeout: positive("--connect-timeout", args.connect_timeout.as_deref())?
                    .unwrap_or(Duration::from_secs(10)),
                id: args.id.as_deref().map(|id| label("--id", id, LABEL_MAX)).transpose()?,
                quiet: args.quiet,
                store: store(args.store, store_env)?,
                name: name(&args.name)?,
            },
            timing: timing(args.ttl.as_deref(), args.grace.as_deref())?,
            at_least: positive("--at-least", args.at_least.as_deref())?,
            tags: Tags::resolve(&args.tags, &args.add_tags)?,
            durable: args.durable,
            status_fd: status_fd(args.status_fd.as_deref())?,
            command: command(args.command, args.shell)?,
        })
    }
}

impl Output {
    /// Resolves `--output`.
    ///
    /// # Errors
    /// An unknown format is named.
    pub(crate) fn resolve(args: &ListArgs) -> Result<Self, Failure> {
        match args.output.as_deref().map(|text| utf8("--output", text)).transpose()? {
            None | Some("text") => Ok(Self::Text),
            Some("json") => Ok(Self::Json),
            Some(other) => {
                let shown = duration::shorten(other);
                Err(Failure::new(format!("--output `{shown}`: give text or json")))
            }
        }
    }
}

/// The store's URL: the option, else the environment, else `local:`. An empty variable counts as
/// unset, as in shells it often is.
pub(crate) fn store(given: Option<OsString>, env: Option<OsString>) -> Result<String, Failure> {
    let (from, url) = match (given, env.filter(|url| !url.is_empty())) {
        (Some(url), _) => ("--store", url),
        (None, Some(url)) => ("TENURE_STORE", url),
        (None, None) => return Ok("local:".to_owned()),
    };
    let url = utf8(from, &url)?;
    if url.starts_with("memory:") {
        return Err(Failure::new(format!(
            "{from} `{}`: a store in memory would end with this command; give local: or \
             kube:NAMESPACE",
            duration::shorten(url)
        )));
    }
    Ok(url.to_owned())
}

/// The lock's name. The library checks it as well; here nothing is open yet.
///
/// # Errors
/// Unless it is 1 to 1,024 bytes of text without control characters.
pub(crate) fn name(name: &OsStr) -> Result<String, Failure> {
    label("lock name", name, NAME_MAX)
}

/// What a lock is labelled with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tags {
    of: Vec<String>,
    /// Beside those that it has.
    add: bool,
}

impl Tags {
    fn resolve(tags: &[OsString], add: &[OsString]) -> Result<Self, Failure> {
        if !tags.is_empty() && !add.is_empty() {
            return Err(Failure::new(
                "--tag and --add-tag contradict each other: give one of them",
            ));
        }
        let checked = |option: &str, tags: &[OsString]| {
            tags.iter().map(|tag| label(option, tag, LABEL_MAX)).collect::<Result<_, _>>()
        };
        match add {
            [] => Ok(Self { of: checked("--tag", tags)?, add: false }),
            add => Ok(Self { of: checked("--add-tag", add)?, add: true }),
        }
    }

    /// The lock with them.
    pub(crate) fn on(&self, lock: Lock) -> Lock {
        if self.add { lock.add_tags(&self.of) } else { lock.tags(&self.of) }
    }
}

fn patience(no_wait: bool, wait: Option<&OsStr>) -> Result<Patience, Failure> {
    let wait = parsed("-w", wait, duration::parse)?;
    match (no_wait, wait) {
        (true, Some(d)) if !d.is_zero() => {
            Err(Failure::new("-n and -w contradict each other: give one of them"))
        }
        (true, _) | (false, Some(Duration::ZERO)) => Ok(Patience::Now),
        (false, Some(d)) => Ok(Patience::For(d)),
        (false, None) => Ok(Patience::Forever),
    }
}

fn busy_code(text: Option<&OsStr>) -> Result<u8, Failure> {
    let Some(text) = text else { return Ok(BUSY) };
    let text = utf8("-E", text)?;
    // `u8::from_str` takes a plus sign.
    text.parse().ok().filter(|_| !text.starts_with('+')).ok_or_else(|| {
        Failure::new(format!("-E `{}`: give an exit code from 0 to 255", duration::shorten(text)))
    })
}

/// The descriptor of `--status-fd`; what goes wrong with the other options is told there.
///
/// # Errors
/// Unless it is a number.
pub(crate) fn status_fd(text: Option<&OsStr>) -> Result<Option<i32>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let text = utf8("--status-fd", text)?;
    let number = text.parse().ok().filter(|n| *n >= 0 && !text.starts_with('+'));
    number.map(Some).ok_or_else(|| {
        let shown = duration::shorten(text);
        Failure::new(format!("--status-fd `{shown}`: give the number of an open descriptor"))
    })
}

fn command(words: Vec<OsString>, shell: Option<OsString>) -> Result<Vec<OsString>, Failure> {
    match (shell, words.first()) {
        (Some(_), Some(_)) => {
            Err(Failure::new("-c and a command behind `--` contradict each other: give one"))
        }
        (Some(line), None) => Ok(vec!["/bin/sh".into(), "-c".into(), line]),
        (None, Some(program)) if program.is_empty() => {
            Err(Failure::new("the command is empty; give a program behind `--`"))
        }
        (None, Some(_)) => Ok(words),
        (None, None) => {
            Err(Failure::new("missing command; give it behind `--`, or a shell line with -c"))
        }
    }
}

fn timing(ttl: Option<&OsStr>, grace: Option<&OsStr>) -> Result<Option<Timing>, Failure> {
    if ttl.is_none() && grace.is_none() {
        return Ok(None);
    }
    let spec = TimingSpec {
        grace: positive("--grace", grace)?,
        ..positive("--ttl", ttl)?.map_or_else(TimingSpec::default, TimingSpec::of)
    };
    Timing::new(spec).map(Some).map_err(Failure::new)
}

/// What is asked of a lock, behind `--where`.
pub(crate) fn condition(text: Option<&OsStr>) -> Result<Option<Condition>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let text = utf8("--where", text)?;
    let read = Condition::parse(text);
    read.map(Some)
        .map_err(|why| Failure::new(format!("--where `{}`: {why}", duration::shorten(text))))
}

fn positive(option: &str, text: Option<&OsStr>) -> Result<Option<Duration>, Failure> {
    parsed(option, text, duration::parse_positive)
}

fn parsed(
    option: &str,
    text: Option<&OsStr>,
    parse: impl Fn(&str) -> Result<Duration, String>,
) -> Result<Option<Duration>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let parsed = parse(utf8(option, text)?);
    parsed.map(Some).map_err(|why| Failure::new(format!("{option} {why}")))
}

/// Text in one line, at most `longest` bytes.
fn label(what: &str, text: &OsStr, longest: usize) -> Result<String, Failure> {
    let text = utf8(what, text)?;
    let why = match text.len() {
        0 => "is empty".to_owned(),
        n if n > longest => format!("has {n} bytes"),
        _ if text.chars().any(char::is_control) => "has a control character".to_owned(),
        _ => return Ok(text.to_owned()),
    };
    let shown = duration::shorten(text);
    Err(Failure::new(format!(
        "{what} `{shown}` {why}; give 1 to {longest} bytes of text without control characters"
    )))
}

fn utf8<'a>(what: &str, text: &'a OsStr) -> Result<&'a str, Failure> {
    text.to_str().ok_or_else(|| {
        let shown = duration::shorten(&text.to_string_lossy());
        Failure::new(format!("{what} `{shown}` is not UTF-8 text; give UTF-8"))
    })
}
