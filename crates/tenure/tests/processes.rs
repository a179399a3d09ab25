//! Many processes of this machine on one lock. Each is this test binary, started again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tenure::blocking::{Attempt, connect};

const ROLE: &str = "TENURE_TEST_ROLE";
const FOLDER: &str = "TENURE_TEST_FOLDER";

fn fresh(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn child(role: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_role_of_a_child", "--nocapture"])
        .env(ROLE, role)
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn store(folder: &Path) -> String {
    format!("local:{}/store", folder.display())
}

/// Reads and writes the counter without any care of its own.
fn increment(folder: &Path) -> u64 {
    let file = folder.join("counter");
    let n: u64 = std::fs::read_to_string(&file).map_or(0, |s| s.trim().parse().unwrap());
    std::fs::write(&file, format!("{}", n + 1)).unwrap();
    n + 1
}

/// One line a hold, in one write, so that a kill leaves whole lines.
fn note_token(folder: &Path, token: u64) {
    let mut log = OpenOptions::new().append(true).create(true).open(folder.join("log")).unwrap();
    log.write_all(format!("{token}\n").as_bytes()).unwrap();
}

fn tokens(folder: &Path) -> Vec<u64> {
    let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    log.lines().map(|line| line.parse().unwrap()).collect()
}

/// Not a test of its own: what a child does. Without a role it checks that it has none.
#[test]
fn the_role_of_a_child() {
    let Ok(role) = std::env::var(ROLE) else {
        assert!(std::env::var(FOLDER).is_err());
        return;
    };
    let folder = PathBuf::from(std::env::var(FOLDER).unwrap());
    let lock = connect(&store(&folder)).unwrap().lock("race");
    loop {
        let guard = lock.acquire().unwrap();
        if role == "tokens" {
            note_token(&folder, guard.token());
        } else if increment(&folder) >= role.parse().unwrap() {
            break;
        }
        let _ = guard.release().unwrap();
    }
}

#[test]
fn no_increment_is_lost() {
    let folder = fresh("race");
    let children: Vec<_> = (0..8).map(|_| child("1600", &folder)).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    // Each stops at the first count that is at least 1,600: seven of them overshoot by one each.
    assert_eq!(std::fs::read_to_string(folder.join("counter")).unwrap(), "1607");
    // Nobody is left behind.
    let info = connect(&store(&folder)).unwrap().show("race").unwrap();
    assert!(info.holders.is_empty() && info.queue.is_empty(), "{info:?}");
    for kind in ["sessions", "wait"] {
        let left: Vec<_> = std::fs::read_dir(folder.join("store").join(kind)).unwrap().collect();
        assert!(left.is_empty(), "{kind}: {left:?}");
    }
}

#[test]
fn killed_processes_lose_no_increment_and_block_nobody() {
    let folder = fresh("kills");
    for round in 0..30 {
        let mut victims: Vec<_> = (0..3).map(|_| child("tokens", &folder)).collect();
        let before = tokens(&folder).len();
        while tokens(&folder).len() < before + 20 + round {
            std::thread::sleep(std::time::Duration::from_micros(300));
        }
        for victim in &mut victims {
            victim.kill().unwrap();
            victim.wait().unwrap();
        }
        let lock = connect(&store(&folder)).unwrap().lock("race");
        let Attempt::Acquired(guard) = lock.try_acquire().unwrap() else {
            panic!("round {round}: a dead holder keeps the lock");
        };
        note_token(&folder, guard.token());
    }
    let tokens = tokens(&folder);
    assert!(tokens.windows(2).all(|w| w[0] < w[1]), "tokens go back");
}
