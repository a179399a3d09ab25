//! `tenure::blocking` over stores that are reached with async, in real time.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(target_os = "linux")]

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tenure::blocking::{
    Attempt, Client, Guard, HoldKey, Kept, News, Patience, Pending, Step, Theft,
};
use tenure::store::{BoxFuture, Liveness, Memory};
use tenure::{Error, LockState, Lost, Released, Timing, TimingSpec};
use tenure_testkit::{Fate, Faulty, World};

const LONG: Duration = Duration::from_secs(20);
const TTL: Duration = Duration::from_secs(1);

fn client(memory: &Memory) -> Client {
    Client::new(Arc::new(memory.open())).unwrap()
}

fn timing() -> Timing {
    Timing::new(TimingSpec::of(TTL)).unwrap()
}

fn acquire(client: &Client, name: &str) -> Guard {
    client.lock(name).timing(timing()).acquire().unwrap()
}

/// Waits until one of these is readable, or fails.
fn readable<'a>(fds: impl Iterator<Item = BorrowedFd<'a>>) {
    let mut fds: Vec<_> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    assert!(!fds.is_empty());
    let limit = Timespec::try_from(LONG).unwrap();
    assert!(poll(&mut fds, Some(&limit)).unwrap() > 0, "nothing to read");
}

fn next(pending: &mut Pending) -> Step {
    loop {
        if let Some(step) = pending.poll().unwrap() {
            return step;
        }
        readable(pending.fds());
    }
}

fn news(guard: &Guard) -> News {
    loop {
        if let Some(news) = guard.news() {
            return news;
        }
        readable(guard.fds());
    }
}

/// The next of this kind, whatever comes before.
fn news_of(guard: &Guard, wanted: impl Fn(&News) -> bool) -> News {
    let start = Instant::now();
    loop {
        let news = news(guard);
        if wanted(&news) {
            return news;
        }
        assert!(start.elapsed() < LONG, "last: {news:?}");
    }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn a_lock_is_taken_held_and_given_on() {
    let memory = Memory::new(Liveness::Observed);
    let (first, second) = (client(&memory), client(&memory));
    let guard = acquire(&first, "x");
    let lock = second.lock("x");
    let Attempt::HeldBy(by) = lock.try_acquire().unwrap() else { panic!("two holders") };
    assert_eq!((by.id.as_str(), by.token), (guard.id(), Some(guard.token())));
    let waited = lock.acquire_timeout(Duration::from_millis(50));
    assert!(matches!(waited, Err(Error::TimedOut { .. })), "{waited:?}");
    let mut pending = lock.start(Patience::Forever).unwrap();
    let Step::Waiting(waiting) = next(&mut pending) else { panic!("it has to wait") };
    assert_eq!(waiting.held_by.id, guard.id());
    assert!(guard.session_fd().is_none() && guard.deadline().is_some());
    let token = guard.token();
    assert_eq!(guard.release().unwrap(), Released::Released);
    let Step::Acquired(guard) = next(&mut pending) else { panic!("it is free") };
    assert!(guard.token() > token);
    assert_eq!(second.show("x").unwrap().holders[0].token, Some(guard.token()));
    assert_eq!(first.list().unwrap().len(), 1);
    drop(guard);
    // Given back in the background.
    drop(acquire(&first, "x"));
}

#[test]
fn a_hold_is_renewed_and_says_so() {
    let memory = Memory::new(Liveness::Observed);
    let client = client(&memory);
    let mut guard = acquire(&client, "x");
    let start = Instant::now();
    while start.elapsed() < TTL * 2 {
        assert_eq!(news(&guard), News::Renewed);
        assert!(guard.deadline().unwrap().remaining() > TTL / 2);
    }
    assert_eq!(guard.check().unwrap(), None);
    assert_eq!(guard.release().unwrap(), Released::Released);
}

#[test]
fn dropping_everything_gives_back_before_the_thread_ends() {
    let memory = Memory::new(Liveness::Observed);
    let (before, other) = (threads(), client(&memory));
    for _ in 0..20 {
        let client = client(&memory);
        let guard = client.lock("x").acquire().unwrap();
        drop(client);
        drop(guard);
        assert_eq!(other.show("x").unwrap().state, LockState::Free);
    }
    // One of `other`, and the clock's; other tests have theirs.
    assert!(threads() < before + 20, "{} threads", threads());
}

#[test]
fn who_is_cancelled_leaves_nothing() {
    let memory = Memory::new(Liveness::Observed);
    let (first, second) = (client(&memory), client(&memory));
    for n in 0..50_u64 {
        let pending = first.lock("x").start(Patience::Forever).unwrap();
        std::thread::sleep(Duration::from_micros(n * 7));
        pending.cancel().unwrap();
        let Attempt::Acquired(guard) = second.lock("x").try_acquire().unwrap() else {
            panic!("round {n}: something was left")
        };
        drop(guard.release().unwrap());
    }
}

#[test]
fn a_stolen_hold_is_lost_at_once_and_no_other_is() {
    let memory = Memory::new(Liveness::Observed);
    let (first, second) = (client(&memory), client(&memory));
    let mut guard = acquire(&first, "x");
    let mut onlooker = second.look_on("x").unwrap();
    let seen = onlooker.look().unwrap();
    assert!(!seen.is_bound() && seen.ends_by_time());
    // Its renewals do not make it another hold.
    assert_eq!(news(&guard), News::Renewed);
    let lock = second.lock("x");
    assert_eq!(lock.steal(&seen, "why not").unwrap(), Theft::Freed { killed: vec![] });
    assert_eq!(news_of(&guard, |n| matches!(n, News::Lost(_))), News::Lost(Lost::Freed));
    assert_eq!(guard.check().unwrap(), Some(Lost::Freed));
    // The renewal may have woken it before.
    while onlooker.look().unwrap().lock.state != LockState::Free {
        readable(onlooker.fds());
    }
    let past = &second.show("x").unwrap().history[0];
    assert_eq!((past.id.as_str(), past.reason.as_deref()), (guard.id(), Some("why not")));
    let next = acquire(&second, "x");
    assert!(matches!(lock.steal(&seen, "again").unwrap(), Theft::Changed(_)));
    assert_eq!(next.release().unwrap(), Released::Released);
}

#[test]
fn a_dead_hold_expires_by_what_was_seen_and_is_then_stolen() {
    let memory = Memory::new(Liveness::Observed);
    let (first, second) = (client(&memory), client(&memory));
    assert_eq!(acquire(&first, "x").release_after(TTL).unwrap(), Released::Released);
    let mut onlooker = second.look_on("x").unwrap();
    let start = Instant::now();
    let seen = onlooker.look().unwrap();
    assert_eq!(seen.lock.state, LockState::Held);
    let expired = loop {
        let now = onlooker.look().unwrap();
        if now.lock.state == LockState::Expired {
            break now;
        }
        std::thread::sleep(onlooker.wake_after().min(Duration::from_millis(50)));
    };
    assert!(start.elapsed() >= TTL, "{:?}", start.elapsed());
    assert!(expired.is_same_hold(&seen));
    let lock = second.lock("x");
    assert_eq!(lock.steal(&expired, "dead").unwrap(), Theft::Freed { killed: vec![] });
}

#[test]
fn what_was_renewed_since_it_seemed_dead_is_left_alone() {
    let memory = Memory::new(Liveness::Observed);
    let (first, second) = (client(&memory), client(&memory));
    let (key, _) = detached(&first, Duration::from_millis(300));
    let mut onlooker = second.look_on("x").unwrap();
    let expired = loop {
        let now = onlooker.look().unwrap();
        if now.lock.state == LockState::Expired {
            break now;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    // As one whose clock ran behind would.
    drop(first.lock("x").release_hold(&key));
    let (_, token) = detached(&first, LONG);
    let lock = second.lock("x");
    assert!(matches!(lock.steal(&expired, "dead").unwrap(), Theft::Changed(_)));
    assert_eq!(second.show("x").unwrap().holders[0].token, Some(token));
}

/// Takes the lock `x` and leaves it behind.
fn detached(client: &Client, ttl: Duration) -> (HoldKey, u64) {
    let key = client.hold_key().unwrap();
    let lock = client.lock("x");
    let Step::Acquired(guard) = next(&mut lock.start_with_key(&key, Patience::Now).unwrap()) else {
        panic!("it is free")
    };
    let token = guard.token();
    assert_eq!(guard.release_after(ttl).unwrap(), Released::Released);
    (key, token)
}

#[test]
fn a_hold_is_renewed_and_released_by_whoever_has_its_key() {
    let memory = Memory::new(Liveness::Observed);
    let (key, token) = detached(&client(&memory), LONG);
    let client = client(&memory);
    let lock = client.lock("x");
    let other = client.hold_key().unwrap();
    assert!(matches!(lock.renew_hold(&other, None).unwrap(), Kept::Lost(Lost::Replaced { .. })));
    let key = HoldKey::parse(&key.to_string()).unwrap();
    assert_eq!(lock.renew_hold(&key, None).unwrap(), Kept::Done { token });
    assert_eq!(lock.renew_hold(&key, Some(LONG * 2)).unwrap(), Kept::Done { token });
    let info = client.show("x").unwrap();
    assert_eq!((info.ttl, info.holders[0].token), (Some(LONG * 2), Some(token)));
    assert_eq!(lock.release_hold(&key).unwrap(), Kept::Done { token });
    assert!(matches!(lock.release_hold(&key).unwrap(), Kept::Lost(Lost::Freed)));
    assert_eq!(client.show("x").unwrap().state, LockState::Free);
}

#[test]
fn a_hold_with_a_key_is_not_renewed_after_its_end() {
    let memory = Memory::new(Liveness::Observed);
    let client = client(&memory);
    let (key, _) = detached(&client, Duration::from_millis(50));
    std::thread::sleep(Duration::from_millis(60));
    let lock = client.lock("x");
    assert_eq!(lock.renew_hold(&key, None).unwrap(), Kept::Lost(Lost::Deadline));
    assert_eq!(lock.release_hold(&key).unwrap(), Kept::Lost(Lost::Deadline));
    assert_eq!(client.show("x").unwrap().state, LockState::Free, "nothing of it is left");
}

/// Tasks for a store with faults.
#[derive(Debug)]
struct Tasks;

impl World for Tasks {
    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
}

#[test]
fn a_silent_store_stops_the_work_in_time_and_then_the_hold_is_lost() {
    let memory = Memory::new(Liveness::Observed);
    let silent = Arc::new(AtomicBool::new(false));
    let fates = Arc::clone(&silent);
    let fate = move |_| if fates.load(Ordering::SeqCst) { Fate::Stalled } else { Fate::FINE };
    let store = Faulty::new(Arc::new(memory.open()), Arc::new(Tasks), fate);
    let client = Client::new(Arc::new(store)).unwrap();
    let mut guard = acquire(&client, "x");
    silent.store(true, Ordering::SeqCst);
    news_of(&guard, |news| *news == News::Stopping);
    let left = guard.deadline().unwrap().remaining();
    assert!(left > Duration::ZERO && left <= TTL / 5, "{left:?}");
    assert_eq!(guard.check().unwrap(), None);
    let lost = news_of(&guard, |news| matches!(news, News::Lost(_)));
    assert_eq!(lost, News::Lost(Lost::Deadline));
    assert!(guard.deadline().unwrap().is_past());
    assert_eq!(guard.check().unwrap(), Some(Lost::Deadline));
    // Nobody waits for what cannot be answered for long.
    let start = Instant::now();
    assert_eq!(guard.release().unwrap(), Released::Lost(Lost::Deadline));
    drop(client);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_store_that_never_answers_is_given_up_in_time() {
    let memory = Memory::new(Liveness::Observed);
    let store = Faulty::new(Arc::new(memory.open()), Arc::new(Tasks), |_| Fate::Stalled);
    let client = Client::new(Arc::new(store)).unwrap();
    let lock = client.lock("x").contact_within(Duration::from_millis(300));
    let start = Instant::now();
    let error = lock.acquire().unwrap_err();
    assert!(error.is_retryable(), "{error}");
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(300) && waited < LONG / 4, "{waited:?}");
}

/// What one without patience left in doubt stands in its own way for a while: nobody has the lock.
#[test]
fn who_got_no_answer_is_not_told_that_it_holds_the_lock_itself() {
    let memory = Memory::new(Liveness::Observed);
    let store = Faulty::new(Arc::new(memory.open()), Arc::new(Tasks), |_| Fate::Stalled);
    let client = Client::new(Arc::new(store)).unwrap();
    let lock = client.lock("x").timing(timing());
    for _ in 0..3 {
        let error = lock.try_acquire().unwrap_err();
        assert!(error.is_retryable(), "{error}");
    }
    let error = lock.acquire_timeout(Duration::from_millis(50)).unwrap_err();
    assert!(error.is_retryable(), "{error}");
}

#[test]
fn a_hold_of_the_embedded_store_has_no_news() {
    let folder = format!("{}/remote-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let client = tenure::blocking::connect(&format!("local:{folder}")).unwrap();
    let guard = client.lock("x").acquire().unwrap();
    assert!(guard.fds().next().is_none() && guard.news().is_none());
    assert!(guard.session_fd().is_some() && guard.deadline().is_none());
    drop(guard.release().unwrap());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn work_runs_under_a_hold_that_the_thread_renews() {
    let memory = Memory::new(Liveness::Observed);
    let (ours, other) = (client(&memory), client(&memory));
    let token = ours.lock("x").timing(timing()).run(|guard| {
        std::thread::sleep(TTL * 2);
        assert!(!guard.deadline().unwrap().is_past());
        assert!(matches!(other.lock("x").try_acquire().unwrap(), Attempt::HeldBy(_)));
        guard.token()
    });
    assert!(other.lock("x").acquire().unwrap().token() > token.unwrap());
}

#[test]
fn work_that_goes_on_past_the_deadline_ends_with_the_process() {
    const ROLE: &str = "TENURE_TEST_BLOCKING_OVERRUN";
    let name = "work_that_goes_on_past_the_deadline_ends_with_the_process";
    if std::env::var_os(ROLE).is_some() {
        let silent = Arc::new(AtomicBool::new(false));
        let cut = Arc::clone(&silent);
        let fate = move |_| if cut.load(Ordering::Relaxed) { Fate::Stalled } else { Fate::FINE };
        let memory = Memory::new(Liveness::Observed);
        let store = Arc::new(Faulty::new(Arc::new(memory), Arc::new(Tasks), fate));
        drop(Client::new(store).unwrap().lock("x").timing(timing()).run(|_| {
            silent.store(true, Ordering::Relaxed);
            std::thread::sleep(LONG);
            println!("went on");
        }));
        return;
    }
    let me = std::env::current_exe().unwrap();
    let mut again = std::process::Command::new(me);
    let out = again.args(["--exact", name, "--nocapture"]).env(ROLE, "1").output().unwrap();
    let (said, told) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(!out.status.success());
    assert!(!said.contains("went on") && told.contains("aborting the process"), "{said}{told}");
}

/// Tags that are said with a release, of a guard that is given back, dropped, and left behind.
#[test]
fn the_end_of_a_hold_says_the_tags_of_its_lock() {
    let folder = format!("{}/tags-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let embedded = tenure::blocking::connect(&format!("local:{folder}")).unwrap();
    for client in [client(&Memory::new(Liveness::Observed)), embedded] {
        let tags = || client.show("x").unwrap().tags;
        let lock = client.lock("x").tags(["begun"]);
        let mut guard = lock.acquire().unwrap();
        guard.tags_on_release(["done"]).unwrap();
        let bad = guard.tags_on_release([""]);
        assert!(matches!(bad, Err(Error::Invalid(_))), "{bad:?}");
        assert_eq!(tags(), ["begun"], "not before");
        assert_eq!(guard.release().unwrap(), Released::Released);
        assert_eq!(tags(), ["done"]);
        let mut guard = lock.acquire().unwrap();
        guard.add_tags_on_release(["failed"]).unwrap();
        drop(guard);
        let start = Instant::now();
        while tags() != ["begun", "failed"] && start.elapsed() < LONG {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(tags(), ["begun", "failed"], "also where it is dropped");
        let key = client.hold_key().unwrap();
        let mut pending = client.lock("x").start_with_key(&key, Patience::Now).unwrap();
        let Step::Acquired(guard) = next(&mut pending) else { panic!("it is free") };
        let token = guard.token();
        drop(guard.release_after(Duration::from_secs(60)).unwrap());
        let kept = client.lock("x").tags(["last"]).release_hold(&key).unwrap();
        assert_eq!((kept, tags()), (Kept::Done { token }, vec!["last".to_owned()]));
        let key = client.hold_key().unwrap();
        let mut pending = client.lock("x").start_with_key(&key, Patience::Now).unwrap();
        let Step::Acquired(guard) = next(&mut pending) else { panic!("it is free") };
        drop(guard.release_after(Duration::from_millis(100)).unwrap());
        std::thread::sleep(Duration::from_millis(200));
        let kept = client.lock("x").tags(["late"]).release_hold(&key).unwrap();
        assert!(matches!(kept, Kept::Lost(_)), "{kept:?}");
        assert_eq!(tags(), ["last"], "a hold that is lost says nothing");
    }
    std::fs::remove_dir_all(folder).unwrap();
}
