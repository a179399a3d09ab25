//! Every bug that was found in the claim, put as the shortest story that shows it. See `BUGS.md`.

mod common;

use common::{Register, acquired, at, config, local, observed, start, wake};
use std::time::Duration;
use tenure_core::{
    Action, Cause, Change, Claim, Config, HISTORY_MAX, Liveness, Outcome, Patience, Report, State,
    Term, Time, Timing, TimingSpec, Token, View, Wall, Write,
};

/// Polls at `now`, reading and probing as asked, until the claim wants to write.
fn next_write(claim: &mut Claim, now: f64, reg: &Register) -> Write {
    for _ in 0..20 {
        match claim.poll(at(now), Default::default(), &reg.view()) {
            Action::Read => claim.handle_read(at(now), &reg.view()),
            Action::Probe(s) => claim.handle_probe(s, reg.probe(s)),
            Action::Report(_) => {}
            Action::Write(w) => return w,
            other => panic!("{other:?}"),
        }
    }
    panic!("wants no write");
}

#[test]
fn a_take_after_a_win_that_came_too_late_has_a_token_of_its_own() {
    let (mut reg, mut a, mut b) = (Register::default(), observed(1), observed(2));
    a.acquire(Patience::Forever);
    let w = next_write(&mut a, 1.0, &reg);
    let done = reg.write(&w);
    // The answer comes so late that the win must be confirmed, and the confirmation too late.
    a.handle_written(at(2.0), w.attempt, Outcome::Unknown);
    a.handle_written(at(8.0), w.attempt, done);
    start(&mut b, Patience::Forever, at(0.0), &mut reg);
    assert!(acquired(&wake(&mut b, at(20.0), &mut reg).0).is_some(), "b takes over, token 2");
    assert_eq!(acquired(&wake(&mut a, at(20.0), &mut reg).0), None);
    b.release(at(21.0));
    wake(&mut b, at(21.0), &mut reg);
    let token = acquired(&wake(&mut a, at(21.0), &mut reg).0).expect("free");
    assert_eq!(token.get(), 3);
}

#[test]
fn a_late_unknown_of_an_old_write_leaves_the_new_one_under_way() {
    let (reg, mut a) = (Register::default(), observed(1));
    a.acquire(Patience::Forever);
    let first = next_write(&mut a, 1.0, &reg);
    a.handle_written(at(2.0), first.attempt, Outcome::Unknown);
    let second = next_write(&mut a, 8.0, &reg);
    a.handle_written(at(8.1), first.attempt, Outcome::Unknown);
    let wait = a.poll(at(8.2), Default::default(), &reg.view());
    assert_eq!(wait, Action::Wait { until: Some(second.give_up_at) }, "not a read, not a write");
}

#[test]
fn a_late_refusal_of_an_old_write_does_not_hold_up_the_release() {
    let (mut reg, mut a) = (Register::default(), observed(1));
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    let renewal = next_write(&mut a, 7.0, &reg);
    a.release(at(7.1));
    a.handle_written(at(7.2), renewal.attempt, Outcome::NotDone);
    let release = next_write(&mut a, 7.2, &reg);
    assert!(matches!(release.change, Change::Release { .. }), "{release:?}");
}

#[test]
fn a_refusal_does_not_hold_up_the_next_wish() {
    let (mut reg, mut a) = (Register::default(), observed(1));
    a.acquire(Patience::Now);
    let refused = next_write(&mut a, 1.0, &reg);
    a.handle_written(at(1.0), refused.attempt, Outcome::NotDone);
    a.cancel(at(1.0));
    wake(&mut a, at(1.0), &mut reg);
    assert_eq!(a.state(), State::Ended);
    assert!(acquired(&start(&mut a, Patience::Now, at(1.0), &mut reg)).is_some());
}

#[test]
fn a_refused_leave_is_repeated_after_a_pause_until_it_is_done() {
    let (mut reg, mut a, mut b) = (Register::default(), local(1), local(2));
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    start(&mut b, Patience::Forever, at(1.0), &mut reg);
    b.cancel(at(2.0));
    let leave = next_write(&mut b, 2.0, &reg);
    b.handle_written(at(2.0), leave.attempt, Outcome::NotDone);
    let Action::Wait { until: Some(again) } = b.poll(at(2.0), Default::default(), &reg.view())
    else {
        panic!("does not wait");
    };
    assert!(at(2.1) < again && again < at(4.0), "{again:?}");
    // A session's entry does not go away with time: there is no giving up.
    next_write(&mut b, 1e6, &reg);
    assert_eq!(b.state(), State::Contending);
}

#[test]
fn a_refused_confirmation_is_repeated_after_a_pause() {
    let (mut reg, mut a) = (Register::default(), observed(1));
    a.acquire(Patience::Until(at(11.0)));
    let w = next_write(&mut a, 1.0, &reg);
    let done = reg.write(&w);
    a.handle_written(at(8.0), w.attempt, done);
    let confirm = next_write(&mut a, 8.0, &reg);
    a.handle_written(at(8.0), confirm.attempt, Outcome::NotDone);
    let wait = a.poll(at(8.0), Default::default(), &reg.view());
    assert!(matches!(wait, Action::Wait { until: Some(t) } if t > at(8.5)), "{wait:?}");
    // Out of time: told so, and the win is given back by one write, not confirmed first.
    let confirm = next_write(&mut a, 10.5, &reg);
    a.handle_written(at(10.5), confirm.attempt, Outcome::NotDone);
    let told = a.poll(at(11.0), Default::default(), &reg.view());
    assert_eq!(told, Action::Report(Report::TimedOut(None)));
    assert_eq!(wake(&mut a, at(12.0), &mut reg).0, [Report::Cancelled]);
    assert_eq!((reg.holder(), reg.version.revision), (None, 2));
}

#[test]
fn a_limit_is_hard_when_the_store_does_not_answer_or_refuses() {
    let poll = |claim: &mut Claim, now: f64| {
        claim.poll(at(now), Default::default(), &Register::default().view())
    };
    let until = Patience::Until(at(3.0));
    // Reads fail.
    let mut a = observed(1);
    a.acquire(until);
    for (now, action) in [(1.0, Action::Read), (2.9, Action::Read), (3.0, Action::Read)] {
        assert_eq!(a.poll(at(now), Default::default(), &View::Unknown), action);
    }
    let told = a.poll(at(3.0), Default::default(), &View::Unknown);
    assert_eq!(told, Action::Report(Report::TimedOut(None)));
    let end = a.poll(at(3.0), Default::default(), &View::Unknown);
    assert_eq!(end, Action::Report(Report::Cancelled), "nothing was ever sent");
    // Writes are refused.
    let mut b = observed(2);
    b.acquire(until);
    let w = next_write(&mut b, 2.9, &Register::default());
    b.handle_written(at(2.9), w.attempt, Outcome::NotDone);
    assert_eq!(poll(&mut b, 2.9), Action::Wait { until: Some(at(3.0)) });
    assert_eq!(poll(&mut b, 3.0), Action::Report(Report::TimedOut(None)));
    assert_eq!(poll(&mut b, 3.0), Action::Report(Report::Cancelled));
}

#[test]
fn a_dead_looking_entry_that_is_renewed_makes_a_try_busy() {
    let (mut reg, mut a, mut b) = (Register::default(), observed(1), observed(2));
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    b.acquire(Patience::Now);
    let late = Wall::from_micros(3_600_000_000);
    let poll = |claim: &mut Claim, now: f64, reg: &Register| loop {
        match claim.poll(at(now), late, &reg.view()) {
            Action::Read => claim.handle_read(at(now), &reg.view()),
            Action::Report(Report::Waiting { .. }) => {}
            other => return other,
        }
    };
    assert!(matches!(poll(&mut b, 2.0, &reg), Action::Wait { .. }), "looks dead: watched");
    wake(&mut a, at(6.0), &mut reg);
    let answer = poll(&mut b, 7.0, &reg);
    assert!(matches!(answer, Action::Report(Report::Busy(_))), "renewed: {answer:?}");
}

#[test]
fn nothing_sent_is_cancelled_without_asking_the_store() {
    let mut a = observed(1);
    a.acquire(Patience::Forever);
    a.cancel(at(1.0));
    let end = a.poll(at(1.0), Default::default(), &View::Unknown);
    assert_eq!(end, Action::Report(Report::Cancelled));
}

#[test]
fn a_waiter_struck_out_joins_again_and_tells_its_new_ticket() {
    let mut reg = Register::default();
    let [mut a, mut b] = [1, 2].map(local);
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    start(&mut b, Patience::Forever, at(1.0), &mut reg);
    reg.record.as_mut().unwrap().queue.clear();
    reg.version.revision += 1;
    let told = wake(&mut b, at(2.0), &mut reg).0;
    assert!(
        matches!(told[..], [Report::Waiting { place: Some(0), ticket: Some(2), .. }]),
        "{told:?}"
    );
}

#[test]
fn a_hold_has_the_one_ttl_its_timing_was_checked_for() {
    let timing = Timing::default();
    let term = Term::Ttl(Duration::from_secs(600));
    let mut a = Claim::new(Config { term, ..config(1) });
    let mut reg = Register::default();
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    assert_eq!(reg.record.unwrap().holder.unwrap().term, Term::Ttl(timing.ttl()));
    assert_eq!(a.deadline(), Some(timing.deadline(at(1.0))));
}

#[test]
fn a_store_set_back_is_asked_with_pauses_until_the_deadline() {
    let (mut reg, mut a) = (Register::default(), observed(1));
    reg.version.revision = 7;
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    reg.version.revision = 3;
    let mut reads = 0;
    let mut now = 6.0;
    while now < 15.0 {
        match a.poll(at(now), Default::default(), &reg.view()) {
            Action::Read => {
                reads += 1;
                a.handle_read(at(now), &reg.view());
            }
            Action::Wait { until } => now = until.unwrap().as_nanos() as f64 / 1e9,
            Action::Report(_) => {}
            other => panic!("{other:?}"),
        }
        assert!(reads < 20, "a read loop");
    }
    assert!(reads > 1);
}

#[test]
fn a_remainder_that_was_not_left_is_not_reported_as_left() {
    let (mut reg, mut a) = (Register::default(), observed(1));
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    let seen = reg.clone();
    a.detach(at(2.0), Duration::from_secs(60));
    reg.delete();
    let w = next_write(&mut a, 2.0, &seen);
    a.handle_written(at(2.0), w.attempt, reg.write(&w));
    assert_eq!(wake(&mut a, at(2.0), &mut reg).0, [Report::Lost(Cause::Deleted)]);
}

#[test]
fn a_hold_taken_away_before_the_release_is_not_reported_as_released() {
    let (mut reg, mut a) = (Register::default(), observed(1));
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    let seen = reg.clone();
    reg.record.as_mut().unwrap().holder = None;
    reg.version.revision += 1;
    a.release(at(2.0));
    let w = next_write(&mut a, 2.0, &seen);
    a.handle_written(at(2.0), w.attempt, reg.write(&w));
    assert_eq!(wake(&mut a, at(2.0), &mut reg).0, [Report::Lost(Cause::Freed)]);
}

#[test]
fn the_order_to_stop_is_given_once() {
    let (mut reg, mut a) = (Register::default(), observed(1));
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    let renewal = next_write(&mut a, 6.0, &reg);
    a.handle_written(at(10.0), renewal.attempt, Outcome::Unknown);
    let stop = a.poll(at(12.5), Default::default(), &reg.view());
    assert_eq!(stop, Action::Report(Report::Stopping));
    let done = reg.write(&renewal);
    a.handle_written(at(12.6), renewal.attempt, done);
    let renewed = a.poll(at(12.6), Default::default(), &reg.view());
    assert_eq!(renewed, Action::Report(Report::Renewed));
    let again = a.poll(at(19.0), Default::default(), &reg.view());
    assert!(!matches!(again, Action::Report(_)), "{again:?}");
}

#[test]
fn an_age_as_old_as_its_view_still_ends_a_remainder() {
    let mut reg = Register::default();
    let [mut a, mut b] = [1, 2].map(local);
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    a.detach(at(2.0), Duration::from_secs(10));
    wake(&mut a, at(2.0), &mut reg);
    b.acquire(Patience::Forever);
    // One view, taken at 3 s, that no event makes newer.
    let record = reg.record.clone().unwrap();
    let age = Some(Duration::from_secs(1));
    let view = View::Is { record: &record, version: reg.version, age };
    let poll = |claim: &mut Claim, now: f64| loop {
        match claim.poll(at(now), Default::default(), &view) {
            Action::Write(w) if matches!(w.change, Change::Join { .. }) => {
                claim.handle_written(at(now), w.attempt, Outcome::NotDone);
            }
            Action::Report(_) => {}
            other => return other,
        }
    };
    poll(&mut b, 3.0);
    let end = poll(&mut b, 12.0);
    assert!(matches!(&end, Action::Write(w) if matches!(w.change, Change::Take { .. })), "{end:?}");
}

#[test]
fn a_history_that_came_too_long_is_cut() {
    let mut reg = Register::default();
    let mut a = local(1);
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    a.release(at(1.0));
    wake(&mut a, at(1.0), &mut reg);
    let record = reg.record.as_mut().unwrap();
    let past = record.history.iter().next().unwrap().clone();
    record.history = std::iter::repeat_n(past, 2 * HISTORY_MAX).collect();
    a.acquire(Patience::Forever);
    wake(&mut a, at(2.0), &mut reg);
    a.release(at(2.0));
    wake(&mut a, at(2.0), &mut reg);
    assert_eq!(reg.record.unwrap().history.len(), HISTORY_MAX);
}

#[test]
fn a_longer_margin_holds_for_every_ttl() {
    let spec = TimingSpec {
        margin: Some(Duration::from_secs(6)),
        ..TimingSpec::of(Duration::from_secs(60))
    };
    let timing = Timing::new(spec).unwrap();
    let deadline = timing.deadline_of(Time::ZERO, Duration::from_secs(10));
    assert_eq!(deadline, at(9.9 - 6.0));
}

#[test]
fn a_doubt_in_a_store_that_writes_in_place_is_settled_by_a_read() {
    let (mut reg, mut a, mut b) = (Register::default(), local(1), local(2));
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    b.acquire(Patience::Forever);
    let join = next_write(&mut b, 1.0, &reg);
    // The disk is full: it did not happen, and nothing else happens to the record.
    b.handle_written(at(1.0), join.attempt, Outcome::Unknown);
    b.cancel(at(2.0));
    assert_eq!(wake(&mut b, at(2.0), &mut reg).0, [Report::Cancelled]);
}

#[test]
fn an_answer_older_than_the_view_makes_no_holder() {
    let (mut reg, mut a, mut b) = (Register::default(), observed(1), observed(2));
    a.acquire(Patience::Forever);
    let w = next_write(&mut a, 1.0, &reg);
    let done = reg.write(&w);
    // Somebody clears the record and another takes the lock; the watch tells before the answer.
    reg.record.as_mut().unwrap().holder = None;
    reg.version.revision += 1;
    start(&mut b, Patience::Forever, at(1.0), &mut reg);
    let wait = a.poll(at(1.5), Default::default(), &reg.view());
    assert!(matches!(wait, Action::Wait { .. }), "{wait:?}");
    a.handle_written(at(1.6), w.attempt, done);
    assert_eq!(acquired(&wake(&mut a, at(1.6), &mut reg).0), None);
}

/// A claim on a store of the etcd kind: the server ends what is not kept alive.
fn server(n: u8) -> Claim {
    Claim::new(Config { liveness: Liveness::Server, queue: true, ..config(n) })
}

#[test]
fn a_request_sent_twice_is_not_lost_by_its_second_copy() {
    let (mut reg, mut a) = (Register::default(), observed(1));
    a.acquire(Patience::Forever);
    let take = next_write(&mut a, 1.0, &reg);
    // Something on the way sends it twice, and only the second copy is answered.
    assert!(matches!(reg.write(&take), Outcome::Done { .. }));
    let second = reg.write(&take);
    assert_eq!(second, Outcome::Conflict);
    a.handle_written(at(1.1), take.attempt, second);
    let reports = wake(&mut a, at(1.2), &mut reg).0;
    assert!(acquired(&reports).is_some(), "waits for itself: {reports:?}");
}

#[test]
fn a_late_answer_ends_the_wait_for_a_read() {
    let (mut reg, mut a) = (Register::default(), observed(1));
    start(&mut a, Patience::Forever, at(0.0), &mut reg);
    let renewal = next_write(&mut a, 5.0, &reg);
    a.handle_written(at(7.1), renewal.attempt, Outcome::Unknown);
    assert_eq!(a.poll(at(7.1), Wall::default(), &reg.view()), Action::Read);
    // The read never comes back; the answer does.
    let done = reg.write(&renewal);
    a.handle_written(at(7.2), renewal.attempt, done);
    assert_eq!(a.poll(at(7.2), Wall::default(), &reg.view()), Action::Report(Report::Renewed));
    assert!(matches!(a.poll(at(7.2), Wall::default(), &reg.view()), Action::Wait { .. }));
    assert!(matches!(a.poll(at(10.0), Wall::default(), &reg.view()), Action::Write(_)));
}

#[test]
fn a_creation_in_doubt_is_not_settled_by_a_view_of_nothing() {
    let mut a = observed(1);
    let mut reg = Register::default();
    // A record was there and was deleted: nothing is there, at a revision.
    start(&mut a, Patience::Forever, at(0.0), &mut reg);
    reg.delete();
    wake(&mut a, at(0.1), &mut reg);
    a.acquire(Patience::Forever);
    let take = next_write(&mut a, 1.0, &reg);
    a.handle_written(at(3.1), take.attempt, Outcome::Unknown);
    a.handle_read(at(3.2), &reg.view());
    let _ = a.poll(at(3.2), Wall::default(), &reg.view());
    // It lands after all.
    reg.write(&take);
    a.handle_read(at(3.3), &reg.view());
    let told = a.poll(at(3.3), Wall::default(), &reg.view());
    assert!(matches!(told, Action::Report(Report::Acquired { .. })), "not known again: {told:?}");
}

#[test]
fn a_server_ends_holds_and_time_does_not() {
    let (mut reg, mut a, mut b) = (Register::default(), server(1), server(2));
    start(&mut a, Patience::Forever, at(0.0), &mut reg);
    start(&mut b, Patience::Forever, at(0.0), &mut reg);
    // Kept alive by what changes no key.
    for now in [20.0, 200.0, 2_000.0] {
        let action = b.poll(at(now), Wall::default(), &reg.view());
        assert_eq!(action, Action::Wait { until: None }, "at {now}");
    }
}

#[test]
fn the_clock_of_a_server_that_ends_holds_may_be_fast() {
    let mut reg = Register::default();
    let (mut a, mut b) = (observed(1), server(2));
    start(&mut a, Patience::Forever, at(0.0), &mut reg);
    let deadline = a.deadline().unwrap();
    reg = Register::default();
    start(&mut b, Patience::Forever, at(0.0), &mut reg);
    assert_eq!(b.deadline(), Some(deadline.before(Duration::from_millis(150))));
}

#[test]
fn a_key_is_ours_under_whatever_mark_while_it_is_the_same_key() {
    let (mut reg, mut a) = (Register::default(), server(1));
    start(&mut a, Patience::Forever, at(0.0), &mut reg);
    let renewal = next_write(&mut a, 5.0, &reg);
    // A keep-alive: nothing is written, and the version stays.
    let (version, token) = (reg.version, Token::default());
    a.handle_written(at(5.1), renewal.attempt, Outcome::Done { version, token });
    assert_eq!(a.poll(at(5.1), Wall::default(), &reg.view()), Action::Report(Report::Renewed));
    reg.version.revision += 1;
    let rests = a.poll(at(5.2), Wall::default(), &reg.view());
    assert!(matches!(rests, Action::Wait { .. }), "lost its own key: {rests:?}");
    a.release(at(6.0));
    assert_eq!(wake(&mut a, at(6.0), &mut reg).0, [Report::Released { confirmed: true }]);
    assert_eq!(reg.holder(), None);
}

#[test]
fn what_landed_late_under_the_own_session_is_no_obstacle() {
    let (mut reg, mut a) = (Register::default(), server(1));
    start(&mut a, Patience::Forever, at(0.0), &mut reg);
    // The claim gives up; its key lives on with the session.
    let lost = a.poll(at(100.0), Wall::default(), &reg.view());
    assert_eq!(lost, Action::Report(Report::Lost(Cause::Deadline)));
    let reports = start(&mut a, Patience::Forever, at(101.0), &mut reg);
    assert_eq!(acquired(&reports), Some(Token::new(2)), "waits for itself: {reports:?}");
    // The same for a place in line that was given up.
    let mut b = server(2);
    b.acquire(Patience::Forever);
    let join = next_write(&mut b, 101.0, &reg);
    reg.write(&join);
    let mut again = server(2);
    again.acquire(Patience::Forever);
    wake(&mut again, at(102.0), &mut reg);
    assert_eq!(again.queued(), Some(join.attempt));
    assert_eq!(reg.record.as_ref().unwrap().queue.len(), 1);
}
