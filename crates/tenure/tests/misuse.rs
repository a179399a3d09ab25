//! What programs and stores do wrong: each has its own documented outcome.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/sim.rs"]
mod sim;

use std::io::{BufRead as _, BufReader};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sim::Sim;
use tenure::store::{
    BoxFuture, Capabilities, Conditional, Listed, Liveness, Memory, Name, Result as Answer,
    Snapshot, Store, Stored, Watch,
};
use tenure::testing::ManualClock;
use tenure::{Attempt, Client, Error, Lost, Overrun, Released, RunOptions};
use tenure_core::{Change, Probed, Session, Version};

const TTL: Duration = Duration::from_secs(16);

/// Polls once, without a runtime.
fn poll_bare<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn outside_a_runtime_it_is_an_error() {
    let client = Client::new(Arc::new(Memory::new(Liveness::Observed)));
    let lock = client.lock("x");
    let Poll::Ready(Err(Error::Invalid(text))) = poll_bare(lock.acquire()) else { panic!() };
    assert!(text.contains("tokio runtime") && text.contains("tenure::blocking"), "{text}");
    // A guard that leaves the runtime it was taken in.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let guard = runtime.block_on(lock.acquire()).unwrap();
    assert!(matches!(poll_bare(guard.release()), Poll::Ready(Err(Error::Invalid(_)))));
    // It was dropped there, and the runtime gives it back.
    runtime.block_on(client.close());
    assert!(runtime.block_on(client.show("x")).unwrap().holders.is_empty());
}

#[test]
fn wrong_inputs_are_told_by_the_acquisition() {
    sim::run(async {
        let client = tenure::connect("memory:").await.unwrap();
        let long = "x".repeat(1_025);
        for (lock, says) in [
            (client.lock(""), "lock name is empty"),
            (client.lock(&long), "1025 bytes"),
            (client.lock("a\nb"), "control character"),
            (client.lock("x").ttl(Duration::from_millis(3)), "smallest ttl"),
            (client.lock("x").ttl(Duration::ZERO), "ttl is zero"),
            (client.lock("x").tags(["a\tb"]), "tag \"a\\tb\""),
            (client.lock("x").tags(vec!["a"; 65]), "65 tags"),
            (client.lock("x").tags([""]).ttl(Duration::ZERO), "tag \"\""),
        ] {
            for told in [lock.acquire().await.err(), lock.try_acquire().await.err()] {
                let Some(Error::Invalid(text)) = told else { panic!("{says}: {told:?}") };
                assert!(text.contains(says), "{says}: {text}");
            }
        }
        assert!(client.with_id("a\0").is_err());
        assert!(matches!(client.show("").await, Err(Error::Invalid(_))));
        for url in ["memory:/x", "memory", "nowhere:", "memory:?ttl=3"] {
            assert!(matches!(tenure::connect(url).await, Err(Error::Invalid(_))), "{url}");
        }
    });
}

#[test]
fn a_closed_client_takes_nothing_and_sends_waiters_away() {
    sim::run(async {
        let sim = Sim::new(Liveness::Observed);
        let (client, other) = (sim.other(), sim.other());
        let theirs = other.lock("y").acquire().await.unwrap();
        let ours = client.lock("x").acquire().await.unwrap();
        let wait = |name: &str| {
            let lock = client.lock(name);
            tokio::spawn(async move { lock.acquire().await.map(drop) })
        };
        let waiters = [wait("x"), wait("y"), wait("y")];
        sim.settle().await;
        client.close().await;
        for waiter in waiters {
            let told = sim.within(Duration::ZERO, waiter).await.unwrap().unwrap();
            assert!(matches!(told, Err(Error::Closed)), "{told:?}");
        }
        for name in ["x", "z"] {
            assert!(matches!(client.lock(name).try_acquire().await, Err(Error::Closed)));
        }
        // What is held goes on to be held.
        sim.pass(TTL).await;
        assert!(!ours.deadline().unwrap().is_past());
        assert_eq!(ours.release().await.unwrap(), Released::Released);
        drop(theirs);
    });
}

#[test]
fn a_runtime_that_is_shut_down_loses_its_holds_at_once() {
    let sim = Sim::new(Liveness::Observed);
    let client = sim.other();
    let first = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (guard, dropped) = first.block_on(async {
        let guard = client.lock("x").acquire().await.unwrap();
        (guard, client.lock("y").acquire().await.unwrap())
    });
    drop(first);
    drop(dropped);
    assert_eq!(poll_bare(guard.lost()), Poll::Ready(Lost::RuntimeGone));
    assert!(guard.deadline().unwrap().is_past());
    sim::run(async {
        let released = guard.release().await.unwrap();
        assert_eq!(released, Released::Lost(Lost::RuntimeGone));
        // The client works on in another runtime, and others wait for a ttl at most.
        let z = client.lock("z").acquire().await.unwrap();
        for name in ["x", "y"] {
            let lock = sim.other().lock(name);
            assert!(sim.within(TTL, lock.acquire()).await.unwrap().is_ok());
        }
        sim.pass(TTL).await;
        assert!(!z.deadline().unwrap().is_past());
        assert_eq!(z.release().await.unwrap(), Released::Released);
    });
}

#[test]
fn a_panic_of_the_work_releases_and_goes_on() {
    sim::run(async {
        let sim = Sim::new(Liveness::Observed);
        let (client, other) = (sim.other(), sim.other());
        let lock = client.lock("x");
        for in_call in [true, false] {
            let work = |_| {
                assert!(!in_call, "in the call");
                async { panic!("in the work") }
            };
            let mut run = Box::pin(lock.run::<_, _>(work));
            let caught = std::panic::catch_unwind(AssertUnwindSafe(|| {
                let waker = Waker::noop();
                let _: Poll<Result<(), Error>> = run.as_mut().poll(&mut Context::from_waker(waker));
            }));
            assert!(caught.is_err());
            drop(run);
            assert!(sim.within(Duration::ZERO, other.lock("x").acquire()).await.unwrap().is_ok());
            sim.settle().await;
        }
    });
}

#[test]
fn work_that_ignores_the_order_to_stop_is_dropped_at_the_deadline() {
    sim::run(async {
        let sim = Sim::new(Liveness::Observed);
        let (client, other) = (sim.faulty(), sim.other());
        let (stopped, dropped) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let at = |cell: &Arc<AtomicU32>| Duration::from_millis(cell.load(Ordering::Relaxed).into());
        let (s, d, clock) = (Arc::clone(&stopped), Arc::clone(&dropped), sim.clock.clone());
        let millis = |t: Duration| u32::try_from(t.as_millis()).unwrap();
        struct OnDrop<F: Fn()>(F);
        impl<F: Fn()> Drop for OnDrop<F> {
            fn drop(&mut self) {
                (self.0)();
            }
        }
        let lock = client.lock("x");
        let run = lock.run(|hold| {
            let ended = clock.clone();
            let _on_drop = OnDrop(move || d.store(millis(ended.elapsed()), Ordering::Relaxed));
            async move {
                let _on_drop = _on_drop;
                hold.stopping().await;
                s.store(millis(clock.elapsed()), Ordering::Relaxed);
                std::future::pending::<()>().await;
            }
        });
        let mut run = pin!(run);
        assert!(sim.within(Duration::from_secs(7), run.as_mut()).await.is_none());
        sim.fates(|_| tenure_testkit::Fate::Stalled);
        let next = other.lock("x");
        let mut next = pin!(next.acquire());
        let lost = sim.within(Duration::from_secs(14), async {
            tokio::select! {
                lost = run => lost,
                _ = &mut next => panic!("two holders"),
            }
        });
        let lost = lost.await.unwrap();
        assert!(matches!(lost, Err(Error::Lost(Lost::Deadline))), "{lost:?}");
        // Renewed at 5 s: the deadline is 14.1 s later, the order 3 s before it.
        assert_eq!(at(&stopped), Duration::from_millis(16_100));
        assert_eq!(at(&dropped), Duration::from_millis(19_100));
    });
}

/// Work that blocks its thread while the clock goes on by the first time, after which it is not yet
/// overrun, and by the second, after which it is. Renewals come too, but that thread runs none of them.
fn overrun_after(not_yet: Duration, then: Duration) {
    let sim = Sim::new(Liveness::Observed);
    let (client, clock) = (sim.faulty(), sim.clock.clone());
    let (called, calls) = std::sync::mpsc::channel();
    let overrun = Overrun::call(move |hold| called.send(hold.token()).unwrap());
    let lost = sim::run(async {
        let lock = client.lock("x");
        lock.run_with(RunOptions::new().overrun(overrun), |hold| async move {
            clock.advance(not_yet);
            assert!(calls.try_recv().is_err(), "called after {not_yet:?}");
            clock.advance(then);
            assert_eq!(calls.recv_timeout(Duration::from_secs(20)), Ok(hold.token()));
        })
        .await
    });
    assert!(matches!(lost, Err(Error::Lost(Lost::Deadline))), "{lost:?}");
}

#[test]
fn work_that_blocks_its_thread_past_the_deadline_is_overrun() {
    // Not within half the margin.
    overrun_after(Duration::from_millis(14_200), Duration::from_millis(300));
}

#[test]
fn work_that_blocks_its_thread_after_its_process_stood_still_is_overrun_a_moment_later() {
    // Its tasks have their turn first.
    overrun_after(Duration::from_secs(60), Duration::from_millis(100));
}

const ROLE: &str = "TENURE_TEST_OVERRUN";

#[test]
fn by_default_an_overrun_aborts_the_process() {
    if std::env::var_os(ROLE).is_some() {
        let (clock, memory) = (ManualClock::new(), Memory::new(Liveness::Observed));
        let client = Client::with_clock(Arc::new(memory), &clock);
        let work = |_| async move {
            // A clock that jumped further would be that of a process that stood still.
            clock.advance(Duration::from_millis(14_500));
            println!("went on");
        };
        drop(sim::run(client.lock("x").run(work)));
        return;
    }
    let me = std::env::current_exe().unwrap();
    let name = "by_default_an_overrun_aborts_the_process";
    let out = Command::new(me).args(["--exact", name, "--nocapture"]).env(ROLE, "1").output();
    let out = out.unwrap();
    let (said, told) =
        (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap());
    assert!(!out.status.success() && out.status.code().is_none(), "{:?}", out.status);
    assert!(!said.contains("went on") && told.contains("aborting the process"), "{said}{told}");
}

/// As a service is whose machine is suspended: its work blocks nothing, and only ends.
#[test]
fn a_process_that_stood_still_past_its_hold_drops_the_work_and_lives() {
    if std::env::var_os(ROLE).is_some() {
        let told = sim::run(async {
            let client = tenure::connect("memory:").await.unwrap();
            let lock = client.lock("x").ttl(Duration::from_secs(1));
            lock.run(|_| async {
                println!("works");
                std::future::pending::<()>().await;
            })
            .await
        });
        println!("told {told:?}");
        return;
    }
    let me = std::env::current_exe().unwrap();
    let name = "a_process_that_stood_still_past_its_hold_drops_the_work_and_lives";
    for _ in 0..3 {
        let mut child = Command::new(&me);
        child.args(["--exact", name, "--nocapture"]).env(ROLE, "1").stdout(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while !lines.next().unwrap().unwrap().contains("works") {}
        let pid = Pid::from_child(&child);
        for (signal, time) in [(Signal::STOP, 2_000), (Signal::CONT, 0)] {
            kill_process(pid, signal).unwrap();
            std::thread::sleep(Duration::from_millis(time));
        }
        let said: Vec<String> = lines.map_while(Result::ok).collect();
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}: {said:?}");
        assert!(said.iter().any(|line| line.contains("told Err(Lost(Deadline))")), "{said:?}");
    }
}

#[test]
fn two_clients_with_one_identity_are_two_contenders() {
    sim::run(async {
        let sim = Sim::new(Liveness::Observed);
        let (one, two) = (sim.other().with_id("me").unwrap(), sim.other().with_id("me").unwrap());
        let guard = one.lock("x").acquire().await.unwrap();
        let Attempt::HeldBy(by) = two.lock("x").try_acquire().await.unwrap() else { panic!() };
        assert_eq!((by.id.as_str(), by.token), ("me", Some(guard.token())));
        // Within one client, too.
        let Attempt::HeldBy(by) = one.lock("x").try_acquire().await.unwrap() else { panic!() };
        assert_eq!((by.id.as_str(), by.token), ("me", Some(guard.token())));
        assert_eq!(guard.release().await.unwrap(), Released::Released);
        assert!(matches!(two.lock("x").try_acquire().await.unwrap(), Attempt::Acquired(_)));
    });
}

/// A store that says what is not so.
#[derive(Debug)]
struct Liar {
    inner: Memory,
    lie: Lie,
}

#[derive(Clone, Copy, Debug)]
enum Lie {
    /// Every write is said to be done, with the record of another lock.
    OtherRecord,
    /// Every write is said to be done, at the version that was there before.
    OldVersion,
    /// Nothing is written, and what is read stays empty.
    NothingWritten,
    /// Every write conflicts, although nothing changes.
    AlwaysConflict,
    /// Every request panics.
    Panics,
}

impl Store for Liar {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn session(&self) -> BoxFuture<'_, Answer<Session>> {
        self.inner.session()
    }
    fn probe(&self, session: Session) -> BoxFuture<'_, Answer<Probed>> {
        self.inner.probe(session)
    }
    fn read<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Answer<Snapshot>> {
        Box::pin(async move {
            match self.lie {
                Lie::NothingWritten => Ok(Snapshot::Absent { revision: 0 }),
                Lie::Panics => panic!("a store that panics"),
                _ => self.inner.read(name).await,
            }
        })
    }
    fn write_if<'a>(
        &'a self,
        name: &'a Name,
        judged: Option<&'a Stored>,
        change: &'a Change,
    ) -> BoxFuture<'a, Answer<Conditional<Stored>>> {
        Box::pin(async move {
            let other = Name::new("other").unwrap();
            match self.lie {
                Lie::AlwaysConflict => Ok(Conditional::Conflict),
                Lie::Panics => panic!("a store that panics"),
                Lie::OtherRecord | Lie::NothingWritten => {
                    let Snapshot::Is(stored) = self.inner.read(&other).await? else {
                        return Ok(Conditional::Conflict);
                    };
                    Ok(Conditional::Done(stored))
                }
                _ => {
                    let Conditional::Done(stored) =
                        self.inner.write_if(name, judged, change).await?
                    else {
                        return Ok(Conditional::Conflict);
                    };
                    let version = judged.map_or(stored.version, |judged| judged.version);
                    Ok(Conditional::Done(Stored { version, ..stored }))
                }
            }
        })
    }
    fn delete_if<'a>(&'a self, _: &'a Name, _: Version) -> BoxFuture<'a, Answer<Conditional<()>>> {
        Box::pin(async { Ok(Conditional::Conflict) })
    }
    fn watch(&self, name: &Name) -> Watch {
        self.inner.watch(name)
    }
    fn list(&self) -> BoxFuture<'_, Answer<Vec<Listed>>> {
        self.inner.list()
    }
}

#[test]
fn a_store_that_answers_nonsense_is_not_believed() {
    for lie in [Lie::OtherRecord, Lie::NothingWritten, Lie::AlwaysConflict] {
        sim::run(async {
            let sim = Sim::new(Liveness::Observed);
            let other = sim.other().lock("other").acquire().await.unwrap();
            let store = Liar { inner: sim.memory.open(), lie };
            let client = Client::with_clock(Arc::new(store), &sim.clock);
            let lock = client.lock("x");
            let told = sim.within(TTL, lock.acquire_timeout(Duration::from_secs(5))).await;
            let told = told.unwrap();
            assert!(
                matches!(told, Err(Error::Unavailable(..) | Error::OutcomeUnknown(..))),
                "{told:?}"
            );
            drop(other);
        });
    }
}

#[test]
fn a_hold_whose_store_says_old_versions_is_given_up_in_time() {
    sim::run(async {
        let sim = Sim::new(Liveness::Observed);
        // The record must be there, so that there is an old version.
        drop(sim.other().lock("x").acquire().await.unwrap());
        sim.settle().await;
        let store = Liar { inner: sim.memory.open(), lie: Lie::OldVersion };
        let client = Client::with_clock(Arc::new(store), &sim.clock);
        let lock = client.lock("x");
        let guard = sim.within(TTL, lock.acquire()).await.unwrap().unwrap();
        // Its renewals are read back by their marks.
        sim.pass(3 * TTL).await;
        assert!(!guard.deadline().unwrap().is_past());
    });
}

#[test]
fn a_store_that_panics_harms_only_whoever_asks_it() {
    sim::run(async {
        let store = Liar { inner: Memory::new(Liveness::Observed), lie: Lie::Panics };
        let client = Client::new(Arc::new(store));
        let lock = client.lock("x");
        let asked = tokio::spawn(async move { lock.acquire().await.map(drop) });
        assert!(asked.await.unwrap_err().is_panic());
        client.close().await;
    });
}
