//! What the tests of the command share: a store of their own, the real binary, patience.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a test waits for what must happen before it calls it a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder for one test: a store in it, and room for the files of the scripts.
pub struct Bench {
    dir: PathBuf,
}

impl Bench {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cli-{}-{number}", std::process::id());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&dir).unwrap();
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn url(&self) -> String {
        format!("local:{}", self.path("store").display())
    }

    /// `tenure` with these arguments on this test's store, outside any hold, stdin empty.
    pub fn tenure(&self, args: &[&str]) -> Command {
        let mut command = tenure();
        command.env("TENURE_STORE", self.url()).args(args).current_dir(&self.dir);
        command
    }

    /// A shell line that finds the binary as `$TENURE`.
    pub fn sh(&self, line: &str) -> Command {
        let mut command = with_default_signals("/bin/sh");
        command
            .args(["-c", line])
            .env("TENURE", env!("CARGO_BIN_EXE_tenure"))
            .env("TENURE_STORE", self.url())
            .current_dir(&self.dir)
            .stdin(Stdio::null());
        command
    }

    /// Runs to the end.
    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&self.tenure(args).output().unwrap())
    }

    /// Starts in the background with piped output.
    pub fn start(&self, args: &[&str]) -> Running {
        Running::of(&mut self.tenure(args))
    }

    /// Starts `tenure run LOCK -c 'echo up; exec sleep 1000'` and waits until it holds the lock.
    pub fn hold(&self, lock: &str) -> Running {
        let mut running = self.start(&["run", lock, "-c", "echo up; exec sleep 1000"]);
        assert_eq!(running.line(), "up");
        running
    }

    /// What `show --output json` says.
    pub fn show(&self, lock: &str) -> serde_json::Value {
        let ran = self.run(&["show", lock, "--output", "json"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// Waits until `length` stand in line.
    pub fn wait_for_queue(&self, lock: &str, length: usize) {
        until("the queue has its length", || {
            self.show(lock)["queue"].as_array().map(Vec::len) == Some(length)
        });
    }

    /// Waits until somebody holds it.
    pub fn wait_for_hold(&self, lock: &str) {
        until("the lock is held", || self.show(lock)["state"] == "held");
    }

    /// What a file of this test says once it is there.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Waits until the file has a whole line.
    pub fn wait_for_file(&self, name: &str) -> String {
        until(name, || self.read(name).ends_with('\n'));
        self.read(name).trim().to_owned()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A program whose signals have their defaults, even where the tests were started with some ignored,
/// as by `nohup` or in the background of a script.
pub fn with_default_signals(program: &str) -> Command {
    let mut command = Command::new("/usr/bin/env");
    command.args(["--default-signal", program]);
    command
}

/// The binary, without a store, outside any hold.
pub fn tenure() -> Command {
    let mut command = with_default_signals(env!("CARGO_BIN_EXE_tenure"));
    for name in ["TENURE_STORE", "TENURE_LOCK", "TENURE_TOKEN", "TENURE_HOLDER", "COLUMNS"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Waits until `done`, or fails.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether process `pid` still runs its program: not gone, no zombie, and not on its way out. Whose
/// lock was seen to be free may still be on that way; who is on it may still have files open.
pub fn runs(pid: i32) -> bool {
    const PF_EXITING: u32 = 0x4;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, rest)) = stat.rsplit_once(") ") else { return false };
    let mut fields = rest.split(' ');
    let ended = fields.next().is_none_or(|state| matches!(state, "Z" | "X"));
    let flags: u32 = fields.nth(5).and_then(|flags| flags.parse().ok()).unwrap();
    !ended && flags & PF_EXITING == 0
}

/// Whether all that process `pid` had open is closed: it is gone, or a zombie.
pub fn has_ended(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// Whether process `pid` is stopped, as by Ctrl-Z.
pub fn is_stopped(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
}

pub fn kill(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// What a finished process left.
#[derive(Debug)]
pub struct Ran {
    /// `None`: killed by a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A process in the background; killed if the test forgets it.
pub struct Running {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Running {
    pub fn of(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// The next line of its output.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ran {
        until("the process ends", || self.child.try_wait().unwrap().is_some());
        let status = self.child.wait().unwrap();
        let (mut stdout, mut stderr) = (String::new(), String::new());
        // Processes left in the background may keep the pipes open: only those that inherit them.
        self.stdout.read_to_string(&mut stdout).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Ran { code: status.code(), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `text` with the values of these JSON fields replaced by their names.
pub fn mask(text: &str, fields: &[&str]) -> String {
    let mut masked = text.to_owned();
    for field in fields {
        let key = format!("\"{field}\":");
        let mut done = String::new();
        let mut rest = masked.as_str();
        while let Some(at) = rest.find(&key) {
            let (before, after) = rest.split_at(at + key.len());
            let end = after.find([',', '}', ']']).unwrap_or(after.len());
            done += before;
            let value = &after[..end];
            done += &if value == "null" { value.into() } else { format!("<{field}>") };
            rest = &after[end..];
        }
        done += rest;
        masked = done;
    }
    masked
}
