//! What the contract suite does not ask of every store: sessions ended by hand, what is kept.

use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll, Wake, Waker};

use tenure_core::{Holder, Mark, Term, Text, Time, Token, Waiter, Wall};

use super::*;

/// Every future of this store is ready at its first poll.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the store in memory waited"),
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn take(mark: u128, session: Session) -> Change {
    let holder = Holder {
        id: Text::from("me"),
        mark: Mark::from_u128(mark),
        session,
        token: Token::default(),
        term: Term::Session,
        ticket: 0,
        since: Wall::default(),
        renewed: Wall::default(),
        stamp: Time::ZERO,
    };
    Change::Take { holder, ended: None, strike: Vec::new(), tags: Vec::new() }
}

fn join(mark: u128, session: Session) -> Change {
    let waiter = Waiter {
        id: Text::from("next"),
        mark: Mark::from_u128(mark),
        session,
        ticket: 0,
        term: Term::Session,
        since: Wall::default(),
        tags: Vec::new(),
    };
    Change::Join { waiter, strike: Vec::new() }
}

fn done<T>(answer: Result<Conditional<T>>) -> T {
    match answer {
        Ok(Conditional::Done(value)) => value,
        Ok(Conditional::Conflict) => panic!("conflict"),
        Err(error) => panic!("{error}"),
    }
}

fn write(store: &Memory, at: &str, judged: Option<&Stored>, change: &Change) -> Stored {
    done(now(store.write_if(&name(at), judged, change)))
}

#[test]
fn a_session_lives_until_it_is_ended_or_its_last_handle_dropped() {
    let (a, b) = (Memory::new(Liveness::Process), Memory::new(Liveness::Process).open());
    let other = a.open();
    let (mine, theirs) = (now(a.session()).unwrap(), now(other.session()).unwrap());
    assert_ne!(mine, theirs);
    assert_eq!(now(a.session()).unwrap(), mine);
    let clone = other.clone();
    drop(other);
    assert_eq!(now(a.probe(theirs)).unwrap(), Probed::Alive);
    drop(clone);
    assert_eq!(now(a.probe(theirs)).unwrap(), Probed::Dead);
    a.end(mine);
    assert_eq!(now(a.probe(mine)).unwrap(), Probed::Dead);
    assert_ne!(now(a.session()).unwrap(), mine);
    // Sessions are a store's own.
    assert_eq!(now(b.probe(theirs)).unwrap(), Probed::Dead);
    assert!(matches!(now(b.probe(Session::NONE)), Err(Error::Invalid(_))));
}

#[test]
fn a_stopped_session_is_told_until_it_goes_on_or_ends() {
    let store = Memory::new(Liveness::Process);
    let session = now(store.session()).unwrap();
    store.stop(session, true);
    assert_eq!(now(store.probe(session)).unwrap(), Probed::Stopped);
    store.stop(session, false);
    assert_eq!(now(store.probe(session)).unwrap(), Probed::Alive);
    store.end(session);
    store.stop(session, true);
    assert_eq!(now(store.probe(session)).unwrap(), Probed::Dead);
}

#[test]
fn a_server_takes_out_what_a_dead_session_left_and_nothing_else() {
    let store = Memory::new(Liveness::Server);
    let (dead, alive) = (store.open(), store.open());
    let (d, a) = (now(dead.session()).unwrap(), now(alive.session()).unwrap());
    let held = write(&store, "x", None, &take(1, d));
    let held = write(&store, "x", Some(&held), &join(2, a));
    let held = write(&store, "x", Some(&held), &join(3, d));
    let other = write(&store, "y", None, &take(4, a));
    drop(dead);
    let Snapshot::Is(x) = now(store.read(&name("x"))).unwrap() else { panic!("gone") };
    assert!(x.version.revision > held.version.revision);
    assert_eq!(x.record.holder, None);
    assert_eq!(x.record.queue.iter().map(|w| w.mark.as_u128()).collect::<Vec<_>>(), [2]);
    assert_eq!(now(store.read(&name("y"))).unwrap(), Snapshot::Is(other));
}

#[test]
fn nothing_is_kept_of_a_deleted_name() {
    let store = Memory::new(Liveness::Observed);
    let mut watch = store.watch(&name("x"));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(watch.as_mut().poll_next(&mut cx).is_ready());
    let stored = write(&store, "x", None, &take(1, Session::NONE));
    done(now(store.delete_if(&name("x"), stored.version)));
    assert_eq!(store.shared().shelf().names(), 1);
    drop(watch);
    assert_eq!(store.shared().shelf().names(), 0);
}

/// A waker of an executor that owns a handle: to drop or wake it comes back into the store.
struct Nested(Memory, AtomicUsize);

impl Wake for Nested {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(now(self.0.list()).unwrap().len(), Ordering::Relaxed);
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        now(self.0.list()).unwrap();
    }
}

#[test]
fn a_waker_may_come_back_into_the_store() {
    let store = Memory::new(Liveness::Process);
    let waker = || Waker::from(Arc::new(Nested(store.open(), AtomicUsize::new(0))));
    let nested = Arc::new(Nested(store.open(), AtomicUsize::new(0)));
    let mut watch = store.watch(&name("x"));
    assert!(watch.as_mut().poll_next(&mut Context::from_waker(&waker())).is_ready());
    assert!(watch.as_mut().poll_next(&mut Context::from_waker(&waker())).is_pending());
    let last = Waker::from(Arc::clone(&nested));
    assert!(watch.as_mut().poll_next(&mut Context::from_waker(&last)).is_pending());
    write(&store, "x", None, &take(1, now(store.session()).unwrap()));
    assert_eq!(nested.1.load(Ordering::Relaxed), 1);
    assert!(watch.as_mut().poll_next(&mut Context::from_waker(&last)).is_ready());
    assert!(watch.as_mut().poll_next(&mut Context::from_waker(&waker())).is_pending());
    drop(watch);
}

#[test]
fn where_nobody_can_tell_a_dead_waiter_none_can_stand_in_line() {
    let store = Memory::new(Liveness::Observed);
    let stored = write(&store, "x", None, &take(1, Session::NONE));
    let answer = now(store.write_if(&name("x"), Some(&stored), &join(2, Session::NONE)));
    assert!(matches!(answer, Err(Error::Unsupported(_))));
    assert_eq!(now(store.read(&name("x"))).unwrap(), Snapshot::Is(stored));
}
