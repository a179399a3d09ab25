//! Standing in line, with real processes that are killed and stopped.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use common::Folder;
use rustix::process::{Pid, Signal, kill_process};
use tenure::blocking::{Attempt, Client, Step, connect};
use tenure::{Error, LockState, Released};

const STORE: &str = "TENURE_TEST_STORE";
/// Longer than anything here takes, so that only a hang reaches it.
const LONG: Duration = Duration::from_secs(20);

/// A process that waits for the lock, says so, holds it until told, and says so.
struct Contender {
    child: Child,
    said: Receiver<String>,
    tell: ChildStdin,
}

impl Contender {
    fn start(store: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_role_of_a_child", "--nocapture"])
            .env(STORE, store)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (say, said) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if let Some((_, word)) = line.split_once("child says ") {
                    let _ = say.send(word.to_owned());
                }
            }
        });
        let tell = child.stdin.take().unwrap();
        let mut contender = Self { child, said, tell };
        let word = contender.hear();
        assert!(word == "waiting" || word == "acquired", "{word}");
        contender
    }

    fn hear(&mut self) -> String {
        self.said.recv_timeout(LONG).unwrap()
    }

    fn is_silent(&self) -> bool {
        matches!(self.said.recv_timeout(Duration::from_millis(150)), Err(RecvTimeoutError::Timeout))
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn release(mut self) {
        writeln!(self.tell, "release").unwrap();
        assert_eq!(self.hear(), "released");
        assert!(self.child.wait().unwrap().success());
    }
}

/// Not a test of its own: what a child does.
#[test]
fn the_role_of_a_child() {
    let Ok(store) = std::env::var(STORE) else { return };
    let say = |word: &str| println!("\nchild says {word}");
    let lock = connect(&store).unwrap().lock("line");
    let mut pending = lock.start(tenure::blocking::Patience::Forever).unwrap();
    let mut waiting = false;
    let guard = loop {
        match pending.poll().unwrap() {
            Some(Step::Acquired(guard)) => break guard,
            Some(Step::Waiting(w)) if w.place.is_some() && !waiting => {
                waiting = true;
                say("waiting");
            }
            Some(_) => {}
            None => pending.wait().unwrap(),
        }
    };
    say("acquired");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let _ = guard.release().unwrap();
    say("released");
}

fn fresh(name: &str) -> (String, Client) {
    let dir: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    let store = format!("local:{}", dir.display());
    let client = connect(&store).unwrap();
    (store, client)
}

fn queued(client: &Client) -> usize {
    client.show("line").unwrap().queue.len()
}

#[test]
fn first_come_first_served() {
    let (store, client) = fresh("fifo");
    let guard = client.lock("line").acquire().unwrap();
    let waiters: Vec<_> = (0..4).map(|_| Contender::start(&store)).collect();
    assert_eq!(queued(&client), 4);
    let _ = guard.release().unwrap();
    for mut waiter in waiters {
        assert_eq!(waiter.hear(), "acquired");
        waiter.release();
    }
    assert_eq!(client.show("line").unwrap().state, LockState::Free);
}

#[test]
fn killed_holders_and_waiters_are_passed_over() {
    let (store, client) = fresh("killed");
    let holder = Contender::start(&store);
    let [a, b, mut c, d] = [(); 4].map(|()| Contender::start(&store));
    b.kill();
    a.kill();
    holder.kill();
    assert_eq!(c.hear(), "acquired");
    d.kill();
    c.release();
    let Attempt::Acquired(guard) = client.lock("line").try_acquire().unwrap() else {
        panic!("a dead waiter got the lock");
    };
    let _ = guard.release().unwrap();
    assert_eq!(queued(&client), 0);
}

#[test]
fn a_stopped_waiter_is_passed_over_and_keeps_its_place() {
    let (store, client) = fresh("stopped");
    let holder = Contender::start(&store);
    let mut stopped = Contender::start(&store);
    let mut other = Contender::start(&store);
    stopped.signal(Signal::STOP);
    while !is_stopped(&stopped.child) {
        std::thread::sleep(Duration::from_millis(1));
    }
    holder.release();
    assert_eq!(other.hear(), "acquired");
    assert_eq!(queued(&client), 1);
    stopped.signal(Signal::CONT);
    assert!(stopped.is_silent(), "the lock is held");
    other.release();
    assert_eq!(stopped.hear(), "acquired");
    stopped.release();
}

fn is_stopped(child: &Child) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    stat.rsplit(')').next().unwrap().trim_start().starts_with('T')
}

#[test]
fn busy_names_the_holder_and_a_limit_is_kept() {
    let (store, client) = fresh("busy");
    let holder = Contender::start(&store);
    let lock = client.lock("line");
    let Attempt::HeldBy(held) = lock.try_acquire().unwrap() else { panic!("two holders") };
    assert_eq!(held.pid, Some(holder.child.id()));
    let limit = Duration::from_millis(50);
    let timed_out = lock.acquire_timeout(limit).unwrap_err();
    assert!(matches!(timed_out, Error::TimedOut { .. }), "{timed_out}");
    assert_eq!(queued(&client), 0, "the line was left");
    holder.release();
}

#[test]
fn a_dropped_waiter_leaves_the_line_and_a_dropped_guard_releases() {
    let (_, client) = fresh("drop");
    let lock = client.lock("line");
    let guard = lock.acquire().unwrap();
    let mut pending = lock.start(tenure::blocking::Patience::Forever).unwrap();
    assert!(matches!(pending.poll().unwrap(), Some(Step::Waiting(_))));
    assert_eq!(queued(&client), 1);
    drop(pending);
    assert_eq!(queued(&client), 0);
    drop(guard);
    assert_eq!(client.show("line").unwrap().state, LockState::Free);
}

#[test]
fn a_deleted_record_is_a_lost_hold_and_the_token_grows_all_the_same() {
    let (store, client) = fresh("deleted");
    let lock = client.lock("line");
    let mut guard = lock.acquire().unwrap();
    assert_eq!(guard.check().unwrap(), None);
    let folder = store.strip_prefix("local:").unwrap();
    std::fs::remove_file(format!("{folder}/locks/line")).unwrap();
    assert_eq!(guard.check().unwrap(), Some(tenure::Lost::Deleted));
    let token = guard.token();
    let next = client.lock("line").acquire().unwrap();
    assert!(next.token() > token, "{} after {token}", next.token());
    // What is lost stays lost, and is nobody's to give back.
    assert_eq!(guard.check().unwrap(), Some(tenure::Lost::Deleted));
    assert_eq!(guard.release().unwrap(), Released::Lost(tenure::Lost::Deleted));
    assert_eq!(next.release().unwrap(), Released::Released);
}

#[test]
fn work_that_looked_and_saw_the_loss_is_told_of_it_all_the_same() {
    let (store, client) = fresh("looked");
    let file = format!("{}/locks/line", store.strip_prefix("local:").unwrap());
    let told = client.lock("line").run(|guard| {
        std::fs::remove_file(file).unwrap();
        assert_eq!(guard.check().unwrap(), Some(tenure::Lost::Deleted));
    });
    assert!(matches!(told, Err(Error::Lost(tenure::Lost::Deleted))), "{told:?}");
}

#[test]
fn a_deleted_store_does_not_set_tokens_back() {
    let (store, client) = fresh("deleted-store");
    let mut last = 0;
    for n in 0..50 {
        last = client.lock(&format!("n{n}")).acquire().unwrap().token();
    }
    drop(client);
    std::fs::remove_dir_all(store.strip_prefix("local:").unwrap()).unwrap();
    let next = connect(&store).unwrap().lock("n49").acquire().unwrap().token();
    assert!(next > last, "{next} after {last}");
}

#[test]
fn a_remainder_keeps_the_lock_busy_until_its_time_is_over() {
    let (_, client) = fresh("remainder");
    let lock = client.lock("line");
    let guard = lock.acquire().unwrap();
    let _ = guard.release_after(Duration::from_millis(400)).unwrap();
    let Attempt::HeldBy(held) = lock.try_acquire().unwrap() else { panic!("free too early") };
    assert!(held.takeover_in.unwrap() <= Duration::from_millis(400));
    let start = std::time::Instant::now();
    let guard = lock.acquire().unwrap();
    assert!(start.elapsed() > Duration::from_millis(100));
    let _ = guard.release().unwrap();
}

#[test]
fn a_guard_dropped_while_the_record_is_busy_is_released_by_a_thread() {
    let (store, client) = fresh("busy-drop");
    let guard = client.lock("line").acquire().unwrap();
    let folder = store.strip_prefix("local:").unwrap();
    let file = std::fs::File::open(format!("{folder}/locks/line")).unwrap();
    // A stopped process in the middle of a change looks like this.
    file.lock().unwrap();
    let start = std::time::Instant::now();
    drop(guard);
    assert!(start.elapsed() < Duration::from_secs(2), "drop waited for the busy record");
    assert_eq!(client.show("line").unwrap().state, LockState::Held);
    file.unlock().unwrap();
    while client.show("line").unwrap().state != LockState::Free {
        assert!(start.elapsed() < LONG, "never released");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn work_runs_under_the_lock_and_a_panic_of_it_gives_the_lock_back() {
    let folder = Folder::new();
    let client = connect(&folder.url()).unwrap();
    let lock = client.lock("x");
    let token = lock.run(|guard| {
        assert!(matches!(lock.try_acquire().unwrap(), Attempt::HeldBy(_)));
        guard.token()
    });
    assert!(token.unwrap() > 0);
    let panics = || lock.run(|_| panic!("of the work"));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"of the work"));
    assert!(matches!(lock.try_acquire().unwrap(), Attempt::Acquired(_)));
}

#[test]
fn what_is_wrong_with_a_lock_is_said_by_its_check_and_by_whatever_is_asked_of_it() {
    let folder = Folder::new();
    let client = connect(&folder.url()).unwrap();
    for (lock, says) in [
        (client.lock(""), "lock name is empty"),
        (client.lock("a\nb").tags(["fine"]), "control character"),
        (client.lock("x").tags(["a\tb"]).tags(["fine"]), "tag \"a\\tb\""),
        (client.lock("x").tags(vec!["a"; 65]), "65 tags"),
    ] {
        let errors = [
            lock.check().unwrap_err(),
            lock.acquire().unwrap_err(),
            lock.acquire_timeout(Duration::ZERO).unwrap_err(),
            lock.try_acquire().map(drop).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, Error::Invalid(_)), "{error:?}");
            assert!(error.to_string().contains(says), "{says}: {error}");
        }
    }
    assert!(client.lock("x").tags(["fine"]).check().is_ok());
}
