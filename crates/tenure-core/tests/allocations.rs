//! A renewal allocates nothing in the machine: what a holder does for as long as it holds costs a
//! long-running program no memory traffic.

mod common;

use allocation_counter::measure;
use common::{Register, at, local, observed, start, wake};
use tenure_core::{Action, Claim, Outcome, Patience, Record, Report, Version, View, Wall};

/// A record with our hold, and the view of it that a driver keeps.
struct Known {
    record: Record,
    version: Version,
}

impl Known {
    fn of(reg: &Register) -> Self {
        Self { record: reg.record.clone().expect("a record"), version: reg.version }
    }

    fn poll(&self, claim: &mut Claim, now: f64) -> Action {
        let view = View::Is { record: &self.record, version: self.version, age: None };
        claim.poll(at(now), Wall::default(), &view)
    }
}

/// Poll, write, answer, report, wait.
fn renew(claim: &mut Claim, known: &mut Known, now: f64) {
    let Action::Write(write) = known.poll(claim, now) else { panic!("no renewal is due") };
    known.record.apply(&write.change, Default::default());
    known.version.revision += 1;
    let done = Outcome::Done { version: known.version, token: Default::default() };
    claim.handle_written(at(now), write.attempt, done);
    assert_eq!(known.poll(claim, now), Action::Report(Report::Renewed));
    assert!(matches!(known.poll(claim, now), Action::Wait { .. }));
}

#[test]
fn a_renewal_allocates_nothing() {
    let (mut reg, mut claim) = (Register::default(), observed(1));
    start(&mut claim, Patience::Forever, at(0.0), &mut reg);
    let mut known = Known::of(&reg);
    let counted = measure(|| {
        for n in 1..=100 {
            renew(&mut claim, &mut known, f64::from(n) * 5.0);
        }
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
    // The counter counts.
    assert!(measure(|| drop(std::hint::black_box(vec![0_u8]))).count_total > 0);
}

#[test]
fn a_renewal_in_doubt_that_is_read_back_allocates_nothing() {
    let (mut reg, mut claim) = (Register::default(), observed(1));
    start(&mut claim, Patience::Forever, at(0.0), &mut reg);
    let mut known = Known::of(&reg);
    // Room for doubts is made with the first one, and kept.
    renew_in_doubt(&mut claim, &mut known, 5.0);
    let counted = measure(|| renew_in_doubt(&mut claim, &mut known, 11.0));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

/// Poll, write, no answer, read back, report.
fn renew_in_doubt(claim: &mut Claim, known: &mut Known, now: f64) {
    let Action::Write(write) = known.poll(claim, now) else { panic!("not due") };
    claim.handle_written(at(now + 1.0), write.attempt, Outcome::Unknown);
    assert_eq!(known.poll(claim, now + 1.0), Action::Read);
    known.record.apply(&write.change, Default::default());
    known.version.revision += 1;
    let view = View::Is { record: &known.record, version: known.version, age: None };
    claim.handle_read(at(now + 1.5), &view);
    assert_eq!(known.poll(claim, now + 1.5), Action::Report(Report::Renewed));
}

#[test]
fn waiting_allocates_nothing_once_it_was_told() {
    let mut reg = Register::default();
    let (mut a, mut b) = (observed(1), observed(2));
    start(&mut a, Patience::Forever, at(0.0), &mut reg);
    start(&mut b, Patience::Forever, at(0.0), &mut reg);
    wake(&mut a, at(5.0), &mut reg);
    let known = Known::of(&reg);
    let counted = measure(|| {
        for n in 50_u8..100 {
            let action = known.poll(&mut b, f64::from(n) / 10.0);
            assert!(matches!(action, Action::Wait { .. }), "{action:?}");
        }
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

#[test]
fn an_uncontended_acquire_and_release_allocate_nothing() {
    let (mut reg, mut claim) = (Register::default(), local(1));
    start(&mut claim, Patience::Forever, at(0.0), &mut reg);
    claim.release(at(1.0));
    wake(&mut claim, at(1.0), &mut reg);
    let mut known = Known::of(&reg);
    // Nobody else has this record, and its past has room for more.
    known.record.history = known.record.history.iter().cloned().collect();
    let counted = measure(|| {
        claim.acquire(Patience::Forever);
        step(&mut claim, &mut known);
        claim.release(at(2.0));
        step(&mut claim, &mut known);
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

/// One write and the report of it.
fn step(claim: &mut Claim, known: &mut Known) {
    let Action::Write(write) = known.poll(claim, 2.0) else { panic!("no write") };
    known.record.apply(&write.change, Default::default());
    known.version.revision += 1;
    let done = Outcome::Done { version: known.version, token: Default::default() };
    claim.handle_written(at(2.0), write.attempt, done);
    let told = known.poll(claim, 2.0);
    assert!(matches!(told, Action::Report(_)), "{told:?}");
}
