//! The rows: what is measured, against whom, with which goal.
//!
//! Owns the list of rows and the places they work in. Each file below is one kind of row.
//! **A row leaves nothing behind**, neither processes nor files.

mod commands;
pub mod counts;
mod crowd;
mod death;
mod driver;
pub(crate) mod kills;
mod kube;
mod kube_pass;
mod library;
mod machine;
mod queue;
mod rest;
mod wake;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::machine::Share;
use crate::pairs::Rounds;
use crate::report::Line;

/// A row: its name, what it is in a few words, and how it is measured.
pub type Row = (&'static str, &'static str, fn(&Place<'_>) -> Result<Vec<Line>>);

/// All rows, in the order of the report.
pub const ROWS: &[Row] = &[
    ("run", "`tenure run L -- true` beside `flock L true`", commands::run),
    ("run-durable", "the same with `--durable`", commands::run_durable),
    ("hand-over", "from one queued command's end to the next one's start", queue::hand_over),
    (
        "thousand",
        "1,000 queued commands, from the gate's opening to the last exit",
        queue::thousand,
    ),
    ("five-hundred", "500 processes and a counter that loses counts", queue::five_hundred),
    ("library", "acquire and release in one process", library::uncontended),
    ("library-async", "the same through the async library", library::uncontended_async),
    ("durable", "durable acquire beside one write and fdatasync", library::durable),
    ("parallel", "durable, 8-64 processes on locks of their own", crowd::parallel),
    ("wake-up", "from release in one process to acquired in another", wake::wake_up),
    ("death", "from `kill -9` of the holder to the next command running", death::death),
    ("crowd", "64 writers on one lock for 1 s", crowd::one_lock),
    ("kills", "10,000 processes killed while they work on eight locks", kills::kills),
    ("idle", "processor time of a waiter", rest::idle),
    ("resident", "memory of `tenure run` while its command runs", rest::resident),
    ("listing", "`tenure ls` of 10,000 held locks", rest::listing),
    ("driver", "acquire and release through driver and memory store", driver::driver),
    ("machine", "the bare state machine", machine::machine),
    ("kube", "a known free Lease: acquire and release beside a PUT", kube::known),
    ("kube-renew", "renewals, beside a PUT", kube::renew),
    ("kube-run", "`tenure run` on a cluster: requests", kube::command),
    ("kube-pass", "a lock given from one process to another, beside a PUT", kube_pass::hand_over),
    ("kube-peers", "the same with Go programs and other Rust libraries", kube_pass::peers),
    ("kube-death", "a lock taken from a killed process", kube_pass::death),
    ("counts", "system calls, writes and syncs", counts::counts),
];

/// What all rows need.
#[derive(Debug)]
pub struct Bench {
    /// The `tenure` command: a copy, as an installation makes one. What a linker has just written
    /// lies in the page cache in single pages, and starting it costs up to a fifth more.
    pub tenure: PathBuf,
    /// What notes when a command ran: a copy, too.
    pub stamp: PathBuf,
    /// This program.
    pub me: PathBuf,
    /// The number of rounds, if the user fixed it.
    pub rounds: Option<usize>,
    root: TempDir,
}

impl Bench {
    /// Rows measure a copy of the command in the folder `built`, and work in a new folder there,
    /// which must be on a disk for the durable ones.
    ///
    /// # Errors
    /// If the folder or the copy cannot be made.
    pub fn new(built: &Path, me: PathBuf, rounds: Option<usize>) -> Result<Self> {
        let root = tempfile::Builder::new().prefix("tenure-bench-").tempdir_in(built);
        let root = root.with_context(|| format!("make a folder in {}", built.display()))?;
        let copy = |name: &str| -> Result<PathBuf> {
            let (from, to) = (built.join(name), root.path().join(name));
            fs::copy(&from, &to).with_context(|| format!("copy {}", from.display()))?;
            fs::File::open(&to)?.sync_all().context("sync the copy")?;
            Ok(to)
        };
        let (tenure, stamp) = (copy("tenure")?, copy("tenure-bench-stamp")?);
        Ok(Self { tenure, stamp, me, rounds, root })
    }

    /// Where the rows work.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Measures one row.
    ///
    /// # Errors
    /// If something that is measured does not work.
    pub fn measure(&self, (name, _, row): &Row) -> Result<Vec<Line>> {
        let dir = self.root.path().join(name);
        fs::create_dir(&dir)?;
        let place =
            Place { bench: self, row: name, url: format!("local:{}/store", dir.display()), dir };
        let share = Share::now()?;
        let lines = row(&place).with_context(|| format!("row {name}"));
        let others = share.of_others()?;
        fs::remove_dir_all(&place.dir).context("clean up")?;
        Ok(lines?.into_iter().map(|line| line.among(others)).collect())
    }
}

/// Where one row works: a store of its own, and a folder for the peer's files.
#[derive(Debug)]
pub struct Place<'a> {
    bench: &'a Bench,
    row: &'static str,
    url: String,
    dir: PathBuf,
}

impl Place<'_> {
    fn rounds(&self, least: usize, most: usize) -> Rounds {
        Rounds::new(least, most, self.bench.rounds)
    }

    /// A path in the row's own folder.
    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// `tenure run OPTIONS NAME -- COMMAND`.
    fn tenure(&self, options: &[&str], name: &str, command: &[&str]) -> Command {
        let mut run = self.quiet(&self.bench.tenure);
        run.arg("run").args(options).arg(name).arg("--").args(command);
        run
    }

    /// `flock FILE COMMAND`.
    fn flock(&self, options: &[&str], name: &str, command: &[&str]) -> Command {
        let mut flock = self.quiet(Path::new("flock"));
        flock.args(options).arg(self.path(name)).args(command);
        flock
    }

    /// This program as a measured process.
    fn child(&self, args: &[&str]) -> Command {
        let mut child = self.quiet(&self.bench.me);
        child.arg("child").args(args);
        child
    }

    /// The same surroundings for every command: no terminal, the row's store.
    fn quiet(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        // cargo run sets it, and every dynamic program then looks through some 90 folders first.
        command.env_remove("LD_LIBRARY_PATH").env("TENURE_STORE", &self.url);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}
