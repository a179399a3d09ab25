//! The rules of a claim that no story shows by the way, each at its edge.

mod common;

use common::{
    Register, acquired, at, config, drive, local, mark_of, observed, session, start, wake,
};
use std::time::Duration;
use tenure_core::{
    Action, Cause, Change, Claim, Config, End, Liveness, Mark, Outcome, Patience, Probed, Report,
    Session, State, Term, Time, Timing, TimingSpec, Token, View, Wall, Write,
};

fn poll(claim: &mut Claim, now: f64, view: &View<'_>) -> Action {
    claim.poll(at(now), Wall::default(), view)
}

/// Polls at `now`, reading and probing as asked, until the claim wants to write.
fn next_write(claim: &mut Claim, now: f64, reg: &Register) -> Write {
    for _ in 0..20 {
        match poll(claim, now, &reg.view()) {
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
fn the_getters_say_how_things_stand() {
    let (mut reg, mut a, mut b) = (Register::default(), observed(1), local(2));
    assert_eq!((a.state(), a.token(), a.mark(), a.deadline()), (State::Idle, None, None, None));
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    assert_eq!((a.state(), a.token(), a.mark()), (State::Held, Some(Token::new(1)), mark_of(&reg)));
    assert_eq!((a.deadline(), a.stop_at()), (Some(at(15.1)), Some(at(12.1))));
    assert!(a.is_valid(at(15.099)) && !a.is_valid(at(15.1)), "the deadline itself is too late");
    assert_eq!(a.queued(), None);
    assert!(matches!(start(&mut b, Patience::Forever, at(1.0), &mut reg)[..], [_]));
    let place = reg.record.as_ref().unwrap().queue[0].mark;
    assert_eq!((b.state(), b.queued(), b.token()), (State::Contending, Some(place), None));
    assert!(!b.is_impatient());
    let mut c = local(3);
    c.acquire(Patience::Now);
    assert!(c.is_impatient());
    assert_eq!((&*b.config().id, b.config().session), ("c2", session(2)));
}

#[test]
fn small_values_show_themselves() {
    assert_eq!(Token::new(12).to_string(), "12");
    assert_eq!(Mark::from_u128(7).as_u128(), 7);
    assert_eq!((Wall::from_micros(9).as_micros(), Time::from_nanos(8).as_nanos()), (9, 8));
    assert_eq!(session(3).as_bytes(), &[3; 32]);
    assert!(Session::NONE.is_none() && !session(1).is_none());
    assert_eq!(Wall::from_micros(5).since(Wall::from_micros(3)), Duration::from_micros(2));
}

#[test]
fn defaults_follow_from_the_ttl_and_ten_years_are_the_longest() {
    let timing = Timing::new(TimingSpec::of(Duration::from_secs(6))).unwrap();
    assert_eq!(timing.renew_every(), Duration::from_secs(2));
    assert_eq!(timing.grace(), Duration::from_millis(1_200));
    let longest = Duration::from_secs(3_660 * 86_400);
    assert!(Timing::new(TimingSpec::of(longest)).is_ok());
    assert!(Timing::new(TimingSpec::of(longest + Duration::from_nanos(1))).is_err());
}

#[test]
fn a_second_cancel_does_not_prolong_the_first() {
    let (reg, mut a) = (Register::default(), observed(1));
    a.acquire(Patience::Forever);
    let w = next_write(&mut a, 1.0, &reg);
    a.handle_written(at(1.0), w.attempt, Outcome::Unknown);
    a.cancel(at(2.0));
    a.cancel(at(10.0));
    assert_eq!(poll(&mut a, 2.0 + 15.16, &reg.view()), Action::Report(Report::Cancelled));
}

#[test]
fn a_hand_over_to_one_who_is_gone_is_handed_on() {
    let mut reg = Register::default();
    let [mut a, mut b, mut c] = [1, 2, 3].map(local);
    for claim in [&mut a, &mut b, &mut c] {
        start(claim, Patience::Forever, at(1.0), &mut reg);
    }
    a.hand_on(mark_of(&reg).unwrap());
    assert_eq!(a.state(), State::Held, "only one that wants nothing hands on");
    a.release(at(2.0));
    wake(&mut a, at(2.0), &mut reg);
    reg.dead.insert(session(2));
    let of = mark_of(&reg).unwrap();
    a.hand_on(of);
    assert_eq!(wake(&mut a, at(2.0), &mut reg).0, [Report::Released { confirmed: true }]);
    assert_eq!(reg.holder(), Some("c3"));
    // The mark is another's by now: there is nothing to hand on.
    let revision = reg.version.revision;
    a.hand_on(of);
    assert_eq!(wake(&mut a, at(2.0), &mut reg).0, [Report::Released { confirmed: true }]);
    assert_eq!((reg.holder(), reg.version.revision), (Some("c3"), revision));
}

#[test]
fn a_hold_of_somebody_else_is_ended_by_its_mark_and_only_that_one() {
    let mut reg = Register::default();
    let [mut a, mut b, mut operator] = [1, 2, 3].map(local);
    for claim in [&mut a, &mut b] {
        start(claim, Patience::Forever, at(1.0), &mut reg);
    }
    let stolen = mark_of(&reg).unwrap();
    operator.end_other(stolen, End::Stolen, Some("INC-7".into()));
    let released = Report::Released { confirmed: true };
    assert_eq!(wake(&mut operator, at(2.0), &mut reg).0, [released]);
    assert_eq!(reg.holder(), Some("c2"), "the next in line has it");
    let past = reg.record.as_ref().unwrap().history.iter().next_back().unwrap().clone();
    assert_eq!((&*past.id, past.end, past.reason.as_deref()), ("c1", End::Stolen, Some("INC-7")));
    // Its holder learns of it, and the same order again finds nothing to do.
    let (reports, _) = wake(&mut a, at(3.0), &mut reg);
    assert_eq!(reports, [Report::Lost(Cause::Replaced { by: "c2".into() })]);
    let revision = reg.version.revision;
    operator.end_other(stolen, End::Stolen, Some("INC-8".into()));
    let lost = Report::Lost(Cause::Replaced { by: "c2".into() });
    assert_eq!(wake(&mut operator, at(4.0), &mut reg).0, [lost]);
    assert_eq!(reg.version.revision, revision);
    // What it then holds itself ends as its own.
    wake(&mut b, at(5.0), &mut reg);
    b.release(at(5.0));
    wake(&mut b, at(5.0), &mut reg);
    start(&mut operator, Patience::Forever, at(6.0), &mut reg);
    operator.release(at(6.0));
    wake(&mut operator, at(6.0), &mut reg);
    let past = reg.record.as_ref().unwrap().history.iter().next_back().unwrap().clone();
    assert_eq!((&*past.id, past.end, past.reason), ("c3", End::Released, None));
}

#[test]
fn an_acknowledged_end_needs_no_look_at_the_record() {
    let (mut reg, mut a, mut b) = (Register::default(), local(1), local(2));
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    start(&mut b, Patience::Forever, at(1.0), &mut reg);
    b.cancel(at(2.0));
    let w = next_write(&mut b, 2.0, &reg);
    b.handle_written(at(2.0), w.attempt, reg.write(&w));
    assert_eq!(poll(&mut b, 2.0, &View::Unknown), Action::Report(Report::Cancelled));
    a.release(at(2.0));
    let w = next_write(&mut a, 2.0, &reg);
    a.handle_written(at(2.0), w.attempt, reg.write(&w));
    let released = Report::Released { confirmed: true };
    assert_eq!(poll(&mut a, 2.0, &View::Unknown), Action::Report(released));
}

#[test]
fn a_doubt_is_settled_when_the_version_moved_on_and_not_before() {
    let (mut reg, mut a, mut b) = (Register::default(), observed(1), observed(2));
    // A record that is free, so that a take is conditional on it.
    start(&mut b, Patience::Forever, at(0.0), &mut reg);
    b.release(at(0.0));
    wake(&mut b, at(0.0), &mut reg);
    a.acquire(Patience::Forever);
    let w = next_write(&mut a, 1.0, &reg);
    a.handle_written(at(1.0), w.attempt, Outcome::Unknown);
    a.cancel(at(1.0));
    let (reports, until) = drive(&mut a, at(1.0), &mut reg);
    assert_eq!(reports, [], "it may still land");
    assert!(until.unwrap() <= at(4.0));
    assert_eq!(poll(&mut a, 1.5, &reg.view()), Action::Read, "so it looks again");
    reg.version.revision += 1;
    assert_eq!(wake(&mut a, at(2.0), &mut reg).0, [Report::Cancelled]);
}

#[test]
fn a_record_read_as_gone_settles_what_was_conditional_on_it() {
    let in_doubt = |expected_some: bool| {
        let (mut reg, mut a) = (Register::default(), observed(1));
        if expected_some {
            start(&mut a, Patience::Forever, at(0.0), &mut reg);
            a.release(at(0.0));
            wake(&mut a, at(0.0), &mut reg);
        }
        a.acquire(Patience::Forever);
        let w = next_write(&mut a, 1.0, &reg);
        assert_eq!(w.expected.is_some(), expected_some);
        a.handle_written(at(1.0), w.attempt, Outcome::Unknown);
        a.cancel(at(1.0));
        a
    };
    let gone = View::Absent { revision: 0 };
    let mut taker = in_doubt(true);
    assert_eq!(poll(&mut taker, 1.0, &gone), Action::Read, "an old view settles nothing");
    taker.handle_read(at(1.0), &gone);
    assert_eq!(poll(&mut taker, 1.0, &gone), Action::Report(Report::Cancelled));
    // A creation may still land where there is nothing.
    let mut creator = in_doubt(false);
    creator.handle_read(at(1.0), &gone);
    assert!(matches!(poll(&mut creator, 1.0, &gone), Action::Wait { .. }));
}

#[test]
fn a_renewal_that_lands_after_the_loss_does_not_bring_the_old_token_back() {
    let (mut reg, mut a) = (Register::default(), observed(1));
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    let renewal = next_write(&mut a, 6.0, &reg);
    let stale = reg.clone();
    assert!(matches!(poll(&mut a, 15.1, &stale.view()), Action::Report(Report::Lost(_))));
    a.acquire(Patience::Forever);
    let done = reg.write(&renewal);
    a.handle_written(at(15.2), renewal.attempt, done);
    assert_eq!(acquired(&drive(&mut a, at(15.2), &mut reg).0), None);
    let late = at(15.2 + 15.151);
    assert_eq!(acquired(&drive(&mut a, late, &mut reg).0).map(Token::get), Some(2));
}

#[test]
fn a_confirmed_win_keeps_the_token_of_its_take() {
    let (mut reg, mut a) = (Register::default(), observed(1));
    a.acquire(Patience::Forever);
    let w = next_write(&mut a, 1.0, &reg);
    let done = reg.write(&w);
    a.handle_written(at(8.0), w.attempt, done);
    let (reports, _) = drive(&mut a, at(8.0), &mut reg);
    assert_eq!((acquired(&reports), reg.version.revision), (Some(Token::new(1)), 2));
    assert_eq!(a.deadline(), Some(at(8.0 + 14.1)));
}

#[test]
fn a_unique_identity_adopts_its_own_record_at_once() {
    let adopting = |id: &str| Claim::new(Config { adopt: true, id: id.into(), ..config(9) });
    let (mut reg, mut a) = (Register::default(), observed(1));
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    let mut other = adopting("other");
    assert_eq!(acquired(&start(&mut other, Patience::Forever, at(1.0), &mut reg)), None);
    let mut same_without = Claim::new(Config { id: "c1".into(), ..config(8) });
    assert_eq!(acquired(&start(&mut same_without, Patience::Forever, at(1.0), &mut reg)), None);
    let mut same = adopting("c1");
    let token = acquired(&start(&mut same, Patience::Forever, at(1.0), &mut reg));
    assert_eq!(token.map(Token::get), Some(2));
    assert_eq!(reg.record.as_ref().unwrap().history.iter().next().unwrap().end, End::Released);
    assert_eq!(
        wake(&mut a, at(2.0), &mut reg).0,
        [Report::Lost(Cause::Replaced { by: "c1".into() })]
    );
}

#[test]
fn only_what_time_decides_looks_abandoned_and_only_past_the_skew() {
    let looks = |liveness: Liveness, seconds: u64| {
        let (mut reg, mut a) = (Register::default(), observed(1));
        start(&mut a, Patience::Forever, at(0.0), &mut reg);
        let mut b = Claim::new(Config { liveness, ..config(2) });
        b.acquire(Patience::Forever);
        b.handle_read(at(100.0), &reg.view());
        let wall = Wall::from_micros(seconds * 1_000_000);
        match b.poll(at(100.0), wall, &reg.view()) {
            Action::Report(Report::Waiting { by, .. }) => by.looks_abandoned,
            other => panic!("{other:?}"),
        }
    };
    assert!(!looks(Liveness::Observed, 20), "ttl and skew are over only after 20 s");
    assert!(looks(Liveness::Observed, 21));
    assert!(!looks(Liveness::Server, 21));
}

#[test]
fn how_a_hold_ended_is_remembered() {
    let mut reg = Register::default();
    let [mut a, mut b] = [1, 2].map(local);
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    reg.dead.insert(session(1));
    start(&mut b, Patience::Forever, at(2.0), &mut reg);
    let past = &reg.record.as_ref().unwrap().history.iter().next().unwrap();
    assert_eq!((&*past.id, past.end, past.token.get()), ("c1", End::Died, 1));
    let mut reg = Register::default();
    let [mut a, mut b] = [1, 2].map(observed);
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    start(&mut b, Patience::Forever, at(2.0), &mut reg);
    wake(&mut b, at(20.0), &mut reg);
    assert_eq!(reg.record.as_ref().unwrap().history.iter().next().unwrap().end, End::Expired);
}

#[test]
fn a_hold_for_ever_is_never_taken_and_a_session_is_asked_about() {
    let (mut reg, mut a, mut b) = (Register::default(), local(1), local(2));
    let mut forever = Claim::new(Config { term: Term::Forever, ..a.config().clone() });
    start(&mut forever, Patience::Forever, at(1.0), &mut reg);
    assert_eq!((forever.deadline(), forever.is_valid(Time::MAX)), (None, true));
    reg.dead.insert(session(1));
    assert!(matches!(start(&mut b, Patience::Now, at(1e6), &mut reg)[..], [Report::Busy(_)]));
    forever.release(at(2.0));
    wake(&mut forever, at(2.0), &mut reg);
    start(&mut a, Patience::Forever, at(3.0), &mut reg);
    b.acquire(Patience::Now);
    assert_eq!(poll(&mut b, 3.0, &reg.view()), Action::Probe(session(1)));
    b.handle_probe(session(1), Probed::Dead);
    let taken = poll(&mut b, 3.0, &reg.view());
    assert!(
        matches!(&taken, Action::Write(w) if matches!(w.change, Change::Take { .. })),
        "{taken:?}"
    );
}

#[test]
fn an_older_view_takes_no_hold_away() {
    let (mut reg, mut a) = (Register::default(), observed(1));
    reg.version.revision = 4;
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    let old = reg.version;
    // A label changes; then what was before comes late.
    reg.version.revision = 9;
    assert!(matches!(poll(&mut a, 2.0, &reg.view()), Action::Wait { .. }));
    let free = Default::default();
    let late = View::Is { record: &free, version: old, age: None };
    for view in [late, View::Absent { revision: 8 }, View::Absent { revision: 9 }] {
        assert!(matches!(poll(&mut a, 2.0, &view), Action::Wait { .. }), "{view:?}");
    }
    let mut b = a.clone();
    for (claim, revision) in [(&mut a, 10), (&mut b, 0)] {
        let gone = poll(claim, 2.0, &View::Absent { revision });
        assert_eq!(gone, Action::Report(Report::Lost(Cause::Deleted)), "{revision}");
    }
}

#[test]
fn whatever_a_holder_changes_of_its_entry_shows_that_it_lives() {
    type Change = fn(&mut tenure_core::Holder);
    let changes: [Change; 5] = [
        |h| h.mark = Mark::from_u128(1),
        |h| h.renewed = Wall::from_micros(1),
        |h| h.since = Wall::from_micros(1),
        |h| h.term = Term::Ttl(Duration::from_secs(14)),
        |h| h.id = "another".into(),
    ];
    for (number, change) in changes.iter().enumerate() {
        let (mut reg, mut a, mut b) = (Register::default(), observed(1), observed(2));
        start(&mut a, Patience::Forever, at(1.0), &mut reg);
        let holder = |reg: &mut Register, change: Change| {
            change(reg.record.as_mut().unwrap().holder.as_mut().unwrap());
        };
        holder(&mut reg, |h| h.renewed = Wall::from_micros(7));
        holder(&mut reg, |h| h.since = Wall::from_micros(7));
        start(&mut b, Patience::Forever, at(1.0), &mut reg);
        holder(&mut reg, *change);
        reg.version.revision += 1;
        wake(&mut b, at(10.0), &mut reg);
        assert_eq!(acquired(&wake(&mut b, at(17.0), &mut reg).0), None, "change {number}");
        assert!(acquired(&wake(&mut b, at(25.2), &mut reg).0).is_some(), "change {number}");
    }
}

#[test]
fn an_end_by_wall_clocks_is_believed_when_they_cannot_be_that_far_apart() {
    let (mut reg, mut a, mut b) = (Register::default(), observed(1), observed(2));
    start(&mut a, Patience::Forever, at(1.0), &mut reg);
    let holder = reg.record.as_mut().unwrap().holder.as_mut().unwrap();
    // As a program that is not ours leaves it: an end, and no length.
    (holder.term, holder.mark) = (Term::Until(Wall::from_micros(20_000_000)), Mark::from_u128(9));
    b.acquire(Patience::Forever);
    let (reports, until) = drive(&mut b, at(2.0), &mut reg);
    assert!(matches!(reports[..], [Report::Waiting { .. }]), "{reports:?}");
    assert_eq!(until, Some(at(25.0)), "the clocks' difference is added");
    let (reports, until) = drive(&mut b, at(24.999), &mut reg);
    assert_eq!((reports, until), (Vec::new(), Some(at(25.0))));
    let (reports, _) = drive(&mut b, at(25.0), &mut reg);
    assert!(matches!(reports[..], [Report::Acquired { .. }]), "{reports:?}");
    // Who has no patience is told at once, and takes at once what has ended.
    for (now, ended) in [(3.0, false), (25.0, true)] {
        let holder = reg.record.as_mut().unwrap().holder.as_mut().unwrap();
        (holder.term, holder.mark) =
            (Term::Until(Wall::from_micros(20_000_000)), Mark::from_u128(8));
        let mut c = observed(3);
        c.acquire(Patience::Now);
        let (reports, _) = drive(&mut c, at(now), &mut reg);
        assert_eq!(matches!(reports[..], [Report::Acquired { .. }]), ended, "{reports:?}");
        assert_eq!(matches!(reports[..], [Report::Busy(_)]), !ended, "{reports:?}");
    }
}
