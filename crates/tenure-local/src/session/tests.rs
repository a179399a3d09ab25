//! Sessions of living, stopped, dead and orphaned processes.
//!
//! The owner is this test binary, started again with one test and a role to play.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal};

use super::*;
use crate::testing::{Scratch, open_in, session_in, wait_until};
use crate::{Facts, pidfd_of};

const ROLE: &str = "TENURE_TEST_SESSION_IN";

/// Plays the owner if this process was started for that: makes a session in the folder named by
/// the environment, gives it to a child as `tenure run` does, and says so on its output.
fn play_owner() {
    let Some(path) = std::env::var_os(ROLE) else { return };
    let folder = Folder::open(Some(Path::new(&path))).unwrap();
    let own = OwnSession::create(&folder, &About::default()).unwrap();
    let inherited = own.as_fd().try_clone_to_owned().unwrap();
    let mut child = Command::new("/bin/sleep").arg("300").stdout(inherited).spawn().unwrap();
    sys::write_at(&own.file, &child.id().to_le_bytes(), GROUP_OFFSET).unwrap();
    println!("\nsession {} {}", hex(own.session()), child.id());
    child.wait().unwrap();
    loop {
        std::thread::park();
    }
}

/// Starts an owner for the test of this name; returns it with its session and its child.
fn start_owner(test: &str, store: &Path) -> (Child, Session, Pid) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(ROLE, store);
    let mut owner = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let line = lines.find(|l| l.as_ref().unwrap().starts_with("session ")).unwrap().unwrap();
    let (session, child) = line["session ".len()..].split_once(' ').unwrap();
    let bytes: Vec<_> =
        (0..32).map(|i| u8::from_str_radix(&session[2 * i..2 * i + 2], 16).unwrap()).collect();
    let session = Session::from_bytes(bytes.try_into().unwrap());
    (owner, session, Pid::from_raw(child.parse().unwrap()).unwrap())
}

fn signal(child: &Child, signal: Signal) {
    rustix::process::kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn an_owner_is_alive_then_stopped_then_an_orphan_remains_then_all_is_dead() {
    play_owner();
    let scratch = Scratch::new();
    let folder = scratch.open();
    let test = "session::tests::\
                an_owner_is_alive_then_stopped_then_an_orphan_remains_then_all_is_dead";
    let (mut owner, session, child) = start_owner(test, folder.path());
    let verdict = || probe(&folder, session).unwrap();
    assert_eq!(Identity::of(session).pid, owner.id());
    assert_eq!(verdict(), Verdict::Alive);
    assert!(pidfd_of(&folder, session).is_some());
    signal(&owner, Signal::STOP);
    wait_until(|| verdict() == Verdict::Stopped);
    signal(&owner, Signal::CONT);
    wait_until(|| verdict() == Verdict::Alive);
    sweep(&folder, session, None);
    assert_eq!(verdict(), Verdict::Alive);
    owner.kill().unwrap();
    // Not waited for yet: a process that has ended counts as gone before its parent has looked.
    let group = Some(u32::try_from(child.as_raw_nonzero().get()).unwrap());
    wait_until(|| verdict() == Verdict::Orphaned { pid: owner.id(), group });
    owner.wait().unwrap();
    assert!(pidfd_of(&folder, session).is_none());
    rustix::process::kill_process(child, Signal::KILL).unwrap();
    wait_until(|| verdict() == Verdict::Dead);
    assert!(path(&folder, session).exists());
    sweep(&folder, session, None);
    assert!(!path(&folder, session).exists());
    assert_eq!(verdict(), Verdict::Dead);
}

#[test]
fn a_session_is_kept_as_long_as_its_lock() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let own = session_in(&folder);
    let session = own.session();
    assert!(is_kept(&folder, session).unwrap());
    sys::unlock(&own.file);
    assert!(!is_kept(&folder, session).unwrap());
    assert!(sys::try_lock(&own.file, false).unwrap(), "who asked keeps nothing");
    own.end();
    assert!(!is_kept(&folder, session).unwrap(), "there is no file");
}

#[test]
fn a_session_that_ended_is_dead_unless_its_process_runs_on() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let own = session_in(&folder);
    let session = own.session();
    assert_eq!(probe(&folder, session).unwrap(), Verdict::Alive);
    own.end();
    assert!(!path(&folder, session).exists());
    let error = probe(&folder, session).unwrap_err().to_string();
    let pid = std::process::id().to_string();
    assert!(error.contains(&pid) && error.contains("end that process"), "{error}");
    let mut other = Identity::of(session);
    other.start += 1;
    assert_eq!(probe(&folder, other.session()).unwrap(), Verdict::Dead);
}

#[test]
fn a_foreign_boot_is_dead_only_if_its_lock_is_free() {
    let scratch = Scratch::new();
    let old = scratch.open();
    let own = session_in(&old);
    let boot = Facts::read().unwrap().clock.boot ^ 1;
    let folder = open_in(old.path(), Some(boot));
    assert_eq!(probe(&folder, own.session()).unwrap(), Verdict::Alive);
    sys::unlock(&own.file);
    assert_eq!(probe(&folder, own.session()).unwrap(), Verdict::Dead);
    drop(own);
}

#[test]
fn a_sweep_takes_unfinished_files_and_the_pipe_and_nothing_else() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let (dead, living) = (of_one_gone(&folder), session_in(&folder));
    let mark = Mark::from_u128(5);
    let left = [dead.temp_name(), dead.temp_name(), format!("wait/{:032x}", mark.as_u128())];
    let kept = living.temp_name();
    for file in left.iter().chain([&kept]) {
        std::fs::write(folder.path().join(file), "").unwrap();
    }
    let session = dead.session();
    sys::unlock(&dead.file);
    sweep(&folder, session, Some(mark));
    assert!(left.iter().all(|file| !folder.path().join(file).exists()));
    assert!(!path(&folder, session).exists());
    assert!(folder.path().join(kept).exists() && path(&folder, living.session()).exists());
}

#[test]
fn what_a_session_says_about_itself_is_cut_to_size() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let mut said = About { id: "host_1".into(), host: "host".into(), command: "a b".into() };
    let own = OwnSession::create(&folder, &said).unwrap();
    assert_eq!(about(&folder, own.session()), Some(said.clone()));
    said.command = "ü".repeat(10_000);
    let own = OwnSession::create(&folder, &said).unwrap();
    let read = about(&folder, own.session()).unwrap();
    assert!(said.command.starts_with(&read.command) && read.command.len() > 1_000);
    sys::truncate(&own.file, 20).unwrap();
    assert_eq!(about(&folder, own.session()), None);
    assert_eq!(probe(&folder, own.session()).unwrap(), Verdict::Alive);
}

#[test]
fn the_bytes_of_a_session_name_its_process() {
    let scratch = Scratch::new();
    let (a, b) = (session_in(&scratch.open()), session_in(&scratch.open()));
    assert_ne!(a.session(), b.session());
    let identity = Identity::of(a.session());
    assert_eq!(identity.session(), a.session());
    assert_eq!(identity.pid, std::process::id());
    assert_eq!(identity.clock, Facts::read().unwrap().clock);
    assert_ne!((identity.start, identity.pid_namespace), (0, 0));
}

/// As a child that was forked without exec has it: the descriptor and the name, not the process.
pub(crate) fn copied_from(folder: &Arc<Folder>, owner: &Child) -> OwnSession {
    let pid = owner.id();
    let start = process::stat_of(pid).unwrap().unwrap().start;
    session_of(folder, Identity { pid, start, ..Identity::own(folder).unwrap() })
}

/// Of a process that had our number before us.
fn of_one_gone(folder: &Arc<Folder>) -> OwnSession {
    let own = Identity::own(folder).unwrap();
    session_of(folder, Identity { start: own.start - 1, ..own })
}

fn session_of(folder: &Arc<Folder>, identity: Identity) -> OwnSession {
    let session = identity.session();
    let file = sys::create(folder.dir(), file_name(session).as_str()).unwrap();
    assert!(sys::try_lock(&file, false).unwrap());
    OwnSession {
        folder: Arc::clone(folder),
        file,
        session,
        temps: AtomicU64::new(0),
        named: AtomicBool::new(false),
    }
}

#[test]
fn a_forked_copy_does_not_end_the_session_while_its_owner_runs() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let mut owner = Command::new("sleep").arg("300").spawn().unwrap();
    let copy = copied_from(&folder, &owner);
    let (session, kept) = (copy.session, copy.file.try_clone().unwrap());
    assert_eq!(copy.ownership(), Ownership::Copy);
    let error = copy.check_own().unwrap_err().to_string();
    assert!(error.contains(&format!("opened by process {}", owner.id())), "{error}");
    drop(copy);
    assert_eq!(probe(&folder, session).unwrap(), Verdict::Alive);
    // Who became a daemon inherits what its parent held, and ends it.
    let heir = OwnSession {
        folder,
        file: kept,
        session,
        temps: AtomicU64::new(0),
        named: AtomicBool::new(false),
    };
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert_eq!(heir.ownership(), Ownership::Heir);
    let folder = Arc::clone(&heir.folder);
    drop(heir);
    assert_eq!(probe(&folder, session).unwrap(), Verdict::Dead);
    assert!(!path(&folder, session).exists());
}

#[test]
fn what_a_process_left_that_no_record_names_is_tidied_away() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let living = session_in(&folder);
    let leave = |group: u32| {
        let name = file_name(of_one_gone(&folder).session);
        std::fs::write(folder.path().join(&name), vec![0; 8]).unwrap();
        let file = sys::open(folder.dir(), name.as_str()).unwrap();
        sys::write_at(&file, &group.to_le_bytes(), GROUP_OFFSET).unwrap();
        folder.path().join(name)
    };
    let left = leave(0);
    let temp = folder.path().join(format!("new/{}.3", left.file_name().unwrap().display()));
    std::fs::write(&temp, "").unwrap();
    let own = folder.path().join(living.temp_name());
    std::fs::write(&own, "").unwrap();
    drop(session_in(&folder));
    assert!(!left.exists() && !temp.exists() && own.exists());
    // Whoever takes over what this one held needs the number of its group.
    let mut work = Command::new("sleep").arg("300").process_group(0).spawn().unwrap();
    let working = leave(work.id());
    drop(session_in(&folder));
    assert!(working.exists() && path(&folder, living.session).exists());
    work.kill().unwrap();
    // Ended, and not yet waited for by its parent: that is nothing to end any more.
    wait_until(|| group::members_of(work.id()).unwrap().is_empty());
    drop(session_in(&folder));
    assert!(!working.exists());
    work.wait().unwrap();
}
