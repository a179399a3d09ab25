//! SIGKILL of `tenure run` itself, at any instant: its work is ended before the next one starts.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const FOLDER: &str = "TENURE_TEST_FOLDER";
/// Longer than anything here takes, so that only a hang reaches it.
const LONG: Duration = Duration::from_secs(20);

/// A folder of this run's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl std::ops::Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

fn tenure(folder: &Path, lock: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenure"));
    let store = format!("local:{}/store", folder.display());
    command.args(["run", "--quiet", "--store", &store, lock, "--"]).stdin(Stdio::null());
    command
}

/// A command that fails if work of an earlier holder of its lock still runs.
fn checked(folder: &Path, lock: &str) -> Child {
    let mut command = tenure(folder, lock);
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", "the_role_of_a_child"]).env(FOLDER, folder);
    command.stdout(Stdio::null()).spawn().unwrap()
}

/// Not a test of its own: what a checked command does.
#[test]
fn the_role_of_a_child() {
    if std::env::var(FOLDER).is_err() {
        return;
    }
    let lock = std::env::var("TENURE_LOCK").unwrap();
    let token: u64 = std::env::var("TENURE_TOKEN").unwrap().parse().unwrap();
    let others: Vec<_> = work_of(&lock).into_iter().filter(|(_, t)| *t != token).collect();
    assert!(others.is_empty(), "still running, with their tokens: {others:?}");
}

/// Every running process that works under this lock, with its token.
fn work_of(lock: &str) -> Vec<(u32, u64)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let bytes = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let of =
            |name: &str| text.split('\0').find_map(|e| e.strip_prefix(name)?.strip_prefix('='));
        (of("TENURE_LOCK")? == lock).then_some((pid, of("TENURE_TOKEN")?.parse().ok()?))
    })
    .collect()
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn succeeds(mut child: Child) {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < LONG, "never got the lock");
        sleep(Duration::from_millis(1));
    }
    assert!(child.wait().unwrap().success());
}

fn await_file(file: &Path) {
    let start = Instant::now();
    while !file.exists() {
        assert!(start.elapsed() < LONG, "{} never came", file.display());
        sleep(Duration::from_millis(1));
    }
}

/// Starts `script` under the lock, lets another wait, kills the first, and checks the second.
fn killed_while(name: &str, script: &str) {
    let folder = Folder::new(name);
    let ready = folder.join("ready");
    let script = script.replace("READY", &format!("touch '{}'", ready.display()));
    let first = tenure(&folder, name).args(["sh", "-c", &script]).spawn().unwrap();
    await_file(&ready);
    // Of a process that is just at its exec the kernel shows no environment.
    let start = Instant::now();
    while work_of(name).is_empty() {
        assert!(start.elapsed() < LONG, "no work under {name}");
        sleep(Duration::from_millis(1));
    }
    let second = checked(&folder, name);
    sleep(Duration::from_millis(50));
    kill(first);
    succeeds(second);
    assert_eq!(work_of(name), [], "work was left behind");
}

#[test]
fn a_single_process_is_ended() {
    killed_while("killed-single", "READY; exec sleep 300");
}

#[test]
fn a_script_with_children_is_ended() {
    killed_while("killed-script", "(sleep 300 & sleep 301 & wait) & sleep 302 & READY; wait");
}

#[test]
fn children_that_closed_the_session_are_ended() {
    let close = "for fd in 3 4 5 6 7 8 9; do eval \"exec $fd>&-\"; done";
    killed_while("killed-closed", &format!("({close}; exec sleep 300) & READY; wait"));
}

#[test]
fn the_next_to_come_ends_the_work_where_nobody_waited() {
    let folder = Folder::new("killed-alone");
    let ready = folder.join("ready");
    let script = format!("sleep 300 & touch '{}'; wait", ready.display());
    let first = tenure(&folder, "killed-alone").args(["sh", "-c", &script]).spawn().unwrap();
    await_file(&ready);
    kill(first);
    succeeds(checked(&folder, "killed-alone"));
    assert_eq!(work_of("killed-alone"), []);
}

/// Sixty kills, each a little later in the life of `tenure run` than the one before.
#[test]
fn at_any_instant() {
    let folder = Folder::new("killed-any");
    for round in 0..60u64 {
        let script = "sleep 300 & (sleep 301 & wait) & wait";
        let first = tenure(&folder, "killed-any").args(["sh", "-c", script]).spawn().unwrap();
        sleep(Duration::from_micros(round * 150));
        kill(first);
        succeeds(checked(&folder, "killed-any"));
    }
    assert_eq!(work_of("killed-any"), []);
}
