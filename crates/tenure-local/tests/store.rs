//! The embedded store keeps the `Store` contract, between handles and between processes.
//!
//! A test that needs another process starts itself there: the test binary, this one test, and an
//! environment variable that says what the other process is to do and in which folder.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::future::poll_fn;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tenure_core::{
    Change, Holder, Mark, Patience, Report, Session, Term, Time, Timing, Token, Wall,
};
use tenure_local::{Adaptor, LocalClaim, LocalLock, LocalStore, LockName, Options, Settings};
use tenure_store::{Conditional, Name, Store, Stored, Watch};
use tenure_testkit::contract::{self, Elsewhere, Subject, Verdict, count_up};
use tenure_testkit::{Contender, block_on_for, random_u128};

const FOLDER: &str = "TENURE_TEST_FOLDER";
const LIMIT: Duration = Duration::from_secs(60);

/// A folder of its own for one store, on the disk that the build is on.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("store-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// This test binary, doing the same test as this thread in another process.
    fn elsewhere(&self, test: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture"]).env(FOLDER, &self.0);
        command
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// The folder of the process that started this one; `None` in the process that the user started.
fn folder_from_elsewhere() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

fn local(folder: &Path) -> Arc<LocalStore> {
    let path = Some(folder.join("store"));
    Arc::new(LocalStore::open(&Options { path }).unwrap())
}

fn open(folder: &Path) -> Arc<dyn Store> {
    Arc::new(Adaptor::new(local(folder), "test".into()))
}

#[test]
fn the_contract_holds() {
    if let Some(folder) = folder_from_elsewhere() {
        return be_a_session(&folder);
    }
    contract::run(subject);
}

fn subject() -> Subject {
    let scratch = Arc::new(Scratch::new());
    let also = Arc::clone(&scratch);
    Subject::new(move || open(&scratch.0)).with_elsewhere(move || session_elsewhere(&also))
}

/// Opens a session, tells it, and lives until it is killed.
fn be_a_session(folder: &Path) {
    let store = open(folder);
    let session = block_on_for(LIMIT, store.session()).unwrap().unwrap();
    let hex: String = session.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    println!("\nsession {hex}");
    // Ends with the process that started it, if that one fails to end it.
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

fn session_elsewhere(scratch: &Scratch) -> Elsewhere {
    let mut command = scratch.elsewhere("the_contract_holds");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map(Killed).unwrap();
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let told = lines.map_while(Result::ok).find_map(|l| l.strip_prefix("session ").map(decode));
    Elsewhere { session: told.unwrap(), end: Box::new(move || drop(child)) }
}

fn decode(hex: &str) -> Session {
    let byte = |i: usize| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap();
    Session::from_bytes(std::array::from_fn(byte))
}

/// A child that has ended, by being killed if need be, when this is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_watch_is_woken_by_the_kernel_and_not_by_the_backstop() {
    let scratch = Scratch::new();
    let mut writer = Writer::new(&scratch.0, "watched");
    let mut watch = open(&scratch.0).watch(&writer.name);
    let acts: [fn(&mut Writer); 3] = [Writer::take, Writer::take, Writer::delete];
    let mut waited = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for (act, waited) in acts.iter().zip(&mut waited) {
            waited.push(until_told(&mut watch, &mut writer, *act));
        }
    }
    // Left to the backstop, each of them would take a second every time. On a busy machine some do.
    waited.iter_mut().for_each(|waited| waited.sort_unstable());
    let usual = waited.each_ref().map(|waited| waited[ROUNDS / 2]);
    let bound = Duration::from_millis(500);
    assert!(usual.iter().all(|waited| *waited < bound), "created, written, deleted: {waited:?}");
}

const ROUNDS: usize = 12;

/// Does `act` while the watch rests; how long it then took until the watch told it.
fn until_told(watch: &mut Watch, writer: &mut Writer, act: fn(&mut Writer)) -> Duration {
    let mut began = None;
    let told = poll_fn(|cx| {
        loop {
            match watch.as_mut().poll_next(cx) {
                Poll::Ready(news) => {
                    let news = news.unwrap().unwrap();
                    let is = news.stored().map(|s| s.version);
                    if began.is_some() && is == writer.stored.as_ref().map(|s| s.version) {
                        return Poll::Ready(());
                    }
                }
                Poll::Pending if began.is_some() => return Poll::Pending,
                Poll::Pending => {
                    began = Some(Instant::now());
                    act(writer);
                    return Poll::Pending;
                }
            }
        }
    });
    block_on_for(LIMIT, told).unwrap();
    began.unwrap().elapsed()
}

/// One who writes to a lock, and keeps every file open that it deletes: as long as somebody does,
/// the kernel does not say that the file is gone.
struct Writer {
    folder: PathBuf,
    store: Adaptor,
    name: Name,
    stored: Option<Stored>,
    deleted: Vec<fs::File>,
}

impl Writer {
    fn new(folder: &Path, name: &str) -> Self {
        Self {
            folder: folder.join("store/locks"),
            store: Adaptor::new(local(folder), "writer".into()),
            name: Name::new(name).unwrap(),
            stored: None,
            deleted: Vec::new(),
        }
    }

    fn take(&mut self) {
        let holder = Holder {
            id: "writer".into(),
            mark: Mark::from_u128(random_u128()),
            session: block_on_for(LIMIT, self.store.session()).unwrap().unwrap(),
            token: Token::default(),
            term: Term::Session,
            ticket: 0,
            since: Wall::default(),
            renewed: Wall::default(),
            stamp: Time::ZERO,
        };
        let take = Change::Take { holder, ended: None, strike: Vec::new(), tags: Vec::new() };
        let request = self.store.write_if(&self.name, self.stored.as_ref(), &take);
        match block_on_for(LIMIT, request).unwrap().unwrap() {
            Conditional::Done(stored) => self.stored = Some(stored),
            Conditional::Conflict => panic!("nobody else writes"),
        }
    }

    fn delete(&mut self) {
        self.deleted.push(fs::File::open(self.folder.join(self.name.as_str())).unwrap());
        let version = self.stored.take().unwrap().version;
        let answer = block_on_for(LIMIT, self.store.delete_if(&self.name, version));
        assert_eq!(answer.unwrap().unwrap(), Conditional::Done(()));
    }
}

#[test]
fn a_hand_over_wakes_one_who_waits_with_the_driver_of_this_crate() {
    let scratch = Scratch::new();
    let mut holder = contender(&scratch.0, "handed");
    holder.acquire(LIMIT).unwrap();
    let lock = own_lock(&scratch.0, "handed");
    let mut waiter = LocalClaim::new(&lock, Patience::Forever).unwrap();
    while let Some(report) = waiter.step().unwrap() {
        assert!(matches!(report, Report::Waiting { .. }), "{report:?}");
    }
    let is_woken = |waiter: &LocalClaim| {
        let mut fds: Vec<_> =
            waiter.wake_fds().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
    };
    assert!(!is_woken(&waiter));
    holder.release().unwrap();
    assert!(is_woken(&waiter));
    assert!(matches!(waiter.step().unwrap(), Some(Report::Acquired { .. })));
}

const PROCESSES: u64 = 4;
const TIMES: u64 = 25;

#[test]
fn processes_count_exactly() {
    if let Some(folder) = folder_from_elsewhere() {
        return count_up(open(&folder), "counter", TIMES, LIMIT, |token| count(&folder, token))
            .unwrap();
    }
    let scratch = Scratch::new();
    fs::write(scratch.0.join("count"), "0").unwrap();
    let start = |_| {
        let mut command = scratch.elsewhere("processes_count_exactly");
        command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().map(Killed).unwrap()
    };
    let children: Vec<Killed> = (0..PROCESSES).map(start).collect();
    for mut child in children {
        assert!(child.0.wait().unwrap().success());
    }
    let counted = fs::read_to_string(scratch.0.join("count")).unwrap();
    assert_eq!(counted, (PROCESSES * TIMES).to_string());
    let tokens = fs::read_to_string(scratch.0.join("tokens-given")).unwrap();
    let tokens: Vec<u64> = tokens.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(tokens.len() as u64, PROCESSES * TIMES);
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
}

/// Reads a number from a file, lets others run, and writes the next: two at once lose a count.
fn count(folder: &Path, token: Token) -> Verdict {
    let (path, log) = (folder.join("count"), folder.join("tokens-given"));
    let number: u64 = fs::read_to_string(&path).unwrap().parse().unwrap();
    thread::sleep(Duration::from_micros(100));
    fs::write(&path, (number + 1).to_string()).unwrap();
    let mut log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    writeln!(log, "{token}").unwrap();
    Ok(())
}

#[test]
fn its_own_driver_and_this_one_take_turns() {
    let scratch = Scratch::new();
    let counter = AtomicU64::new(0);
    let work = || {
        let before = counter.load(Ordering::Relaxed);
        thread::sleep(Duration::from_micros(100));
        counter.store(before + 1, Ordering::Relaxed);
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut contender = contender(&scratch.0, "turns");
                for _ in 0..TIMES {
                    contender.acquire(LIMIT).unwrap();
                    work();
                    contender.release().unwrap();
                }
            });
            scope.spawn(|| own_driver(&scratch.0, work));
        }
    });
    assert_eq!(counter.into_inner(), 4 * TIMES);
}

fn contender(folder: &Path, name: &str) -> Contender {
    Contender::new(open(folder), Name::new(name).unwrap(), "adapted").unwrap()
}

fn own_lock(folder: &Path, name: &str) -> Arc<LocalLock> {
    let settings =
        Settings { id: "own".into(), timing: Timing::default(), tags: Vec::new(), durable: false };
    Arc::new(LocalLock::new(local(folder), LockName::new(name).unwrap(), settings))
}

fn own_driver(folder: &Path, work: impl Fn()) {
    let lock = own_lock(folder, "turns");
    for _ in 0..TIMES {
        let mut claim = LocalClaim::new(&lock, Patience::Forever).unwrap();
        loop {
            match claim.step().unwrap() {
                Some(Report::Acquired { .. }) => break,
                Some(_) => {}
                None => claim.block().unwrap(),
            }
        }
        work();
        drop(claim);
    }
}

const TURNS: usize = 20;

#[test]
fn who_held_before_reads_what_another_process_wrote_since() {
    if let Some(folder) = folder_from_elsewhere() {
        return be_a_holder(&folder);
    }
    let scratch = Scratch::new();
    let (one, two) = (own_lock(&scratch.0, "between"), own_lock(&scratch.0, "between"));
    let mut command = scratch.elsewhere("who_held_before_reads_what_another_process_wrote_since");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map(Killed).unwrap();
    let mut orders = child.0.stdin.take().unwrap();
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut told = lines.map_while(Result::ok).filter_map(|line| {
        line.strip_prefix("token ").map(|token| Token::new(token.parse().unwrap()))
    });
    let mut last = Token::default();
    for turn in 0..TURNS {
        // Both handles know the record that they left behind.
        for lock in [&one, &two, &one, &two] {
            let token = hold_for_a_moment(lock).unwrap();
            assert!(token > last, "turn {turn}: {token} after {last}");
            last = token;
        }
        writeln!(orders, "take").unwrap();
        let foreign = told.next().unwrap();
        assert!(foreign > last, "turn {turn}: {foreign} after {last}");
        last = foreign;
        for lock in [&one, &two] {
            assert_eq!(hold_for_a_moment(lock), Err(foreign), "turn {turn}");
        }
        writeln!(orders, "give back").unwrap();
        assert_eq!(told.next(), Some(foreign));
    }
}

/// Takes the lock and gives it back, whenever it is told to.
fn be_a_holder(folder: &Path) {
    println!();
    let lock = own_lock(folder, "between");
    let mut held: Option<(Box<LocalClaim>, Token)> = None;
    for _order in std::io::stdin().lines().map_while(Result::ok) {
        if let Some((mut claim, token)) = held.take() {
            claim.release().unwrap();
            println!("token {token}");
        } else {
            let mut claim = LocalClaim::new(&lock, Patience::Now).unwrap();
            let Some(Report::Acquired { token, .. }) = claim.step().unwrap() else {
                panic!("the lock is free");
            };
            println!("token {token}");
            held = Some((claim, token));
        }
    }
}

/// The token of a hold that is given back at once, or of the one who has the lock.
fn hold_for_a_moment(lock: &Arc<LocalLock>) -> Result<Token, Token> {
    let mut claim = LocalClaim::new(lock, Patience::Now).unwrap();
    let report = claim.step().unwrap();
    match report {
        Some(Report::Acquired { token, .. }) => Ok(token),
        Some(Report::Busy(by)) => Err(by.token),
        other => panic!("{other:?}"),
    }
}
