//! Two and three claims on one register, read as stories.

mod common;

use common::{Register, acquired, at, drive, local, observed, session, start, wake};
use std::time::Duration;
use tenure_core::{Action, Cause, Claim, Outcome, Patience, Probed, Report, State};

#[test]
fn a_free_lock_is_taken_and_given_back_with_one_write_each() {
    let (mut reg, mut a) = (Register::default(), local(1));
    let reports = start(&mut a, Patience::Forever, at(1.0), &mut reg);
    assert_eq!(acquired(&reports).map(|t| t.get()), Some(1));
    assert_eq!((reg.version.revision, reg.holder()), (1, Some("c1")));
    a.release(at(2.0));
    assert_eq!(wake(&mut a, at(2.0), &mut reg).0, [Report::Released { confirmed: true }]);
    assert_eq!((reg.version.revision, reg.holder()), (2, None));
    assert_eq!(reg.record.unwrap().history.len(), 1);
}

#[test]
fn waiters_are_served_in_order_by_the_releasing_write() {
    let mut reg = Register::default();
    let [mut a, mut b, mut c] = [1, 2, 3].map(local);
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    assert!(matches!(
        start(&mut b, Patience::Forever, at(1.0), &mut reg)[..],
        [Report::Waiting { place: Some(0), ticket: Some(1), .. }]
    ));
    start(&mut c, Patience::Forever, at(1.0), &mut reg);
    let mut hand_over = |from: &mut Claim, to: &mut Claim| {
        from.release(at(2.0));
        wake(from, at(2.0), &mut reg);
        let handed = reg.holder().map(str::to_owned);
        assert!(acquired(&wake(to, at(2.0), &mut reg).0).is_some());
        handed
    };
    assert_eq!(hand_over(&mut a, &mut b).as_deref(), Some("c2"));
    assert_eq!(hand_over(&mut b, &mut c).as_deref(), Some("c3"));
    assert_eq!(reg.token, 3);
}

#[test]
fn the_dead_are_struck_out_and_the_stopped_keep_their_place() {
    let mut reg = Register::default();
    let [mut a, mut b, mut c, mut d] = [1, 2, 3, 4].map(local);
    for claim in [&mut a, &mut b, &mut c, &mut d] {
        start(claim, Patience::Forever, at(1.0), &mut reg);
    }
    reg.dead.insert(session(2));
    reg.stopped.insert(session(3));
    a.release(at(2.0));
    wake(&mut a, at(2.0), &mut reg);
    assert_eq!(reg.holder(), Some("c4"));
    assert_eq!(reg.record.as_ref().unwrap().queue.len(), 1, "c3 keeps its place");
    // The holder dies; the next one that looks takes the lock.
    reg.dead.insert(session(4));
    reg.stopped.clear();
    assert!(acquired(&wake(&mut c, at(3.0), &mut reg).0).is_some());
}

#[test]
fn busy_is_an_answer_and_patience_ends() {
    let mut reg = Register::default();
    let [mut a, mut b, mut c] = [1, 2, 3].map(local);
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    assert!(matches!(start(&mut b, Patience::Now, at(1.0), &mut reg)[..], [Report::Busy(_)]));
    let until = Patience::Until(at(3.0));
    assert!(matches!(start(&mut c, until, at(1.0), &mut reg)[..], [Report::Waiting { .. }]));
    assert!(matches!(wake(&mut c, at(3.0), &mut reg).0[..], [Report::TimedOut(_)]));
    assert!(reg.record.unwrap().queue.is_empty(), "the line is left");
}

#[test]
fn an_expired_entry_is_taken_only_after_it_was_watched_for_its_whole_ttl() {
    let mut reg = Register::default();
    let [mut a, mut b] = [1, 2].map(observed);
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    b.acquire(Patience::Forever);
    let (_, until) = drive(&mut b, at(100.0), &mut reg);
    assert!(until.unwrap() > at(115.15));
    assert_eq!(acquired(&wake(&mut b, at(115.15), &mut reg).0), None);
    assert!(acquired(&wake(&mut b, until.unwrap(), &mut reg).0).is_some());
    assert_eq!(
        wake(&mut a, at(2.0), &mut reg).0,
        [Report::Lost(Cause::Replaced { by: "c2".into() })]
    );
}

#[test]
fn a_holder_that_hears_nothing_stops_at_its_deadline() {
    let (mut reg, mut a) = (Register::default(), observed(1));
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    let seen = reg.clone();
    let mut poll = |now: f64| a.poll(at(now), Default::default(), &seen.view());
    let mut reports = Vec::new();
    for tenth in 60..200 {
        if let Action::Report(r) = poll(f64::from(tenth) / 10.0) {
            reports.push((tenth, r));
        }
    }
    // 1 s + 14.1 s, told 3 s before; its renewals were never answered.
    assert_eq!(reports, [(121, Report::Stopping), (151, Report::Lost(Cause::Deadline))]);
    assert_eq!(a.state(), State::Ended);
}

#[test]
fn a_lost_answer_is_read_back_by_mark() {
    let (mut reg, mut a) = (Register::default(), observed(1));
    a.acquire(Patience::Forever);
    let unknown = |_: &mut Register| Outcome::Unknown;
    // The write happened, its answer was lost.
    let w = common_write(&mut a, &mut reg);
    assert!(matches!(reg.write(&w), Outcome::Done { .. }));
    a.handle_written(at(2.0), w.attempt, unknown(&mut reg));
    assert!(acquired(&drive(&mut a, at(3.0), &mut reg).0).is_some());
    assert_eq!(reg.version.revision, 1);
    // Validity counts from the send, at 1 s.
    assert_eq!(a.deadline(), Some(at(15.1)));
}

#[test]
fn a_write_in_doubt_that_lands_after_a_cancel_is_undone() {
    let (mut reg, mut a) = (Register::default(), observed(1));
    a.acquire(Patience::Forever);
    let w = common_write(&mut a, &mut reg);
    a.handle_written(at(2.0), w.attempt, Outcome::Unknown);
    a.cancel(at(2.0));
    let (reports, until) = drive(&mut a, at(2.0), &mut reg);
    assert_eq!((reports.len(), until.is_some()), (0, true), "not yet known");
    reg.write(&w);
    assert_eq!(wake(&mut a, at(4.0), &mut reg).0, [Report::Cancelled]);
    assert_eq!(reg.holder(), None);
}

#[test]
fn a_remainder_is_left_behind_and_nobody_renews_it() {
    let mut reg = Register::default();
    let [mut a, mut b] = [1, 2].map(local);
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    a.detach(at(2.0), Duration::from_secs(10));
    assert_eq!(wake(&mut a, at(2.0), &mut reg).0, [Report::Released { confirmed: true }]);
    reg.dead.insert(session(1));
    assert!(matches!(start(&mut b, Patience::Now, at(3.0), &mut reg)[..], [Report::Busy(_)]));
}

/// Polls until the claim wants to write.
fn common_write(claim: &mut Claim, reg: &mut Register) -> tenure_core::Write {
    for _ in 0..10 {
        match claim.poll(at(1.0), Default::default(), &reg.clone().view()) {
            Action::Read => claim.handle_read(at(1.0), &reg.view()),
            Action::Write(w) => return w,
            other => panic!("{other:?}"),
        }
    }
    panic!("wants no write");
}

#[test]
fn who_gives_the_lock_back_needs_the_line_up_to_the_first_who_can_have_it() {
    let mut reg = Register::default();
    let [mut a, mut b, mut c, mut d] = [1, 2, 3, 4].map(local);
    for claim in [&mut a, &mut b, &mut c, &mut d] {
        start(claim, Patience::Forever, at(1.0), &mut reg);
    }
    let head = |reg: &Register, front| {
        let mut record = reg.record.clone().unwrap();
        record.queue.truncate(front);
        record
    };
    // Who waits needs all of it; who holds the lock nothing of it.
    assert!(!c.sees_enough(&head(&reg, 2)) && a.sees_enough(&head(&reg, 0)));
    a.release(at(2.0));
    assert!(!a.sees_enough(&head(&reg, 0)) && a.sees_enough(&head(&reg, 1)));
    a.handle_probe(session(2), Probed::Dead);
    assert!(!a.sees_enough(&head(&reg, 1)) && a.sees_enough(&head(&reg, 2)));
    a.handle_probe(session(3), Probed::Stopped);
    assert!(!a.sees_enough(&head(&reg, 2)));
    reg.dead.insert(session(2));
    reg.stopped.insert(session(3));
    wake(&mut a, at(2.0), &mut reg);
    // The next holder needs nothing of it, unless it is to undo what it got.
    assert!(d.sees_enough(&head(&reg, 0)));
    d.cancel(at(2.0));
    assert!(!d.sees_enough(&head(&reg, 0)));
}

#[test]
fn a_claim_rests_once_all_is_told_of_a_hold_without_an_end_or_of_its_end() {
    let (mut reg, mut bound, mut timed) = (Register::default(), local(1), observed(2));
    assert!(bound.rests(), "it wants nothing");
    bound.acquire(Patience::Forever);
    assert!(!bound.rests());
    start(&mut bound, Patience::Forever, at(1.0), &mut reg);
    assert!(bound.token().is_some() && bound.rests());
    bound.release(at(2.0));
    assert!(!bound.rests());
    let write = match bound.poll(at(2.0), Default::default(), &reg.view()) {
        Action::Write(write) => write,
        other => panic!("{other:?}"),
    };
    let outcome = reg.write(&write);
    bound.handle_written(at(2.0), write.attempt, outcome);
    assert!(!bound.rests(), "that it is given back was not told");
    assert!(matches!(bound.poll(at(2.0), Default::default(), &reg.view()), Action::Report(_)));
    assert!(bound.rests());
    let mut reg = Register::default();
    start(&mut timed, Patience::Forever, at(1.0), &mut reg);
    assert!(timed.token().is_some() && !timed.rests(), "it must be renewed");
}
