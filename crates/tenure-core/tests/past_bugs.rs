//! Every bug that was found in the claim, put as the shortest story that shows it. See `BUGS.md`.

mod common;

use common::{Register, acquired, at, observed, start, wake};
use tenure_core::{Action, Claim, Outcome, Patience, Write};

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
