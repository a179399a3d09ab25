//! Properties of the parts: timing whose relations always hold, records that stay in order, and the
//! number of writes that an uncontended lock costs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Register, acquired, at, config, drive, local, observed, start, wake};
use proptest::collection::vec;
use proptest::prelude::*;
use std::time::Duration;
use tenure_core::{
    Change, Claim, Config, End, HISTORY_MAX, Holder, Mark, Patience, Record, Report, Session, Term,
    Text, Time, Timing, TimingError, TimingSpec, Token, Waiter, Wall,
};

fn millis(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

fn spec() -> impl Strategy<Value = TimingSpec> {
    (
        prop_oneof![millis(1..3_000), millis(3_000..200_000)],
        proptest::option::of(millis(0..20_000)),
        proptest::option::of(millis(0..20_000)),
        proptest::option::of(millis(0..5_000)),
        prop_oneof![Just(0), Just(10_000), 0_u32..1_200_000],
    )
        .prop_map(|(ttl, renew_every, grace, margin, drift_ppm)| TimingSpec {
            ttl,
            renew_every,
            grace,
            margin,
            drift_ppm,
        })
}

/// How long `elapsed` of a clock takes in true time, if its rate is off by `ppm`.
fn true_nanos(elapsed: Duration, ppm: i128) -> i128 {
    i128::try_from(elapsed.as_nanos()).unwrap() * 1_000_000 / (1_000_000 + ppm)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_accepted_timing_keeps_every_relation(spec in spec()) {
        let Ok(t) = Timing::new(spec) else { return Ok(()) };
        let deadline = t.deadline(Time::ZERO).since(Time::ZERO);
        prop_assert!(!t.ttl().is_zero() && !t.renew_every().is_zero());
        prop_assert!(t.renew_every() + 3 * t.attempt() + t.grace() <= deadline);
        prop_assert!(Duration::from_millis(100) <= t.attempt());
        prop_assert!(t.attempt() <= Duration::from_secs(5));
        // The slowest clock that holds against the fastest that waits.
        let drift = i128::from(spec.drift_ppm);
        if drift < 1_000_000 {
            let held = true_nanos(deadline, -drift);
            prop_assert!(held <= true_nanos(t.expiry(t.ttl()), drift), "{t:?}");
        }
    }

    #[test]
    fn deadlines_of_other_ttls_come_before_their_expiry(spec in spec(), ttl in millis(0..300_000)) {
        let Ok(t) = Timing::new(spec) else { return Ok(()) };
        let deadline = t.deadline_of(Time::ZERO, ttl).since(Time::ZERO);
        let drift = i128::from(spec.drift_ppm);
        prop_assert!(deadline <= ttl);
        prop_assert!(true_nanos(deadline, -drift) <= true_nanos(t.expiry(ttl), drift));
        prop_assert_eq!(t.deadline_of(Time::ZERO, t.ttl()), t.deadline(Time::ZERO));
    }

    #[test]
    fn a_refusal_names_numbers_that_fit(spec in spec()) {
        let Err(error) = Timing::new(spec) else { return Ok(()) };
        let text = error.to_string();
        prop_assert!(!text.contains('\n') && !text.is_empty());
        let TimingError::DoesNotFit { largest_grace, smallest_ttl, .. } = error else {
            return Ok(());
        };
        let fits = |spec| Timing::new(spec).is_ok();
        if let Some(grace) = largest_grace {
            let with = |grace| TimingSpec { grace: Some(grace), ..spec };
            prop_assert!(fits(with(grace)));
            prop_assert!(!fits(with(grace + Duration::from_nanos(3))));
        }
        if let Some(ttl) = smallest_ttl {
            let with = |ttl| TimingSpec { ttl, ..spec };
            prop_assert!(fits(with(ttl)));
            prop_assert!(!fits(with(ttl - Duration::from_millis(1))));
        }
    }

    #[test]
    fn a_record_stays_in_order_whatever_is_done_to_it(
        steps in vec((0_u8..5, 0_u8..6, 0_u8..6, any::<bool>()), 0..60),
    ) {
        let mut record = Record::default();
        let mut drawn = 0;
        for (token, (kind, one, two, flag)) in (1..).zip(steps) {
            let before = record.clone();
            let change = change(&record, kind, one, two, flag);
            record.apply(&change, Token::new(token));
            prop_assert!(record.queue.iter().is_sorted_by(|a, b| a.ticket < b.ticket));
            prop_assert!(record.queue.iter().all(|w| w.ticket < record.next_ticket));
            prop_assert!(record.next_ticket >= before.next_ticket);
            prop_assert!(record.history.len() <= HISTORY_MAX);
            prop_assert!(record.tags.is_sorted_by(|a, b| a < b));
            prop_assert!(record.tags.len() <= 2, "those of one hold: {:?}", record.tags);
            prop_assert!(record.last_token >= before.last_token);
            let renewed = matches!(change, Change::Renew { .. });
            if let Some(h) = record.holder.as_ref().filter(|_| !renewed) {
                let same = before.holder.as_ref() == Some(h);
                prop_assert!(same || h.token == Token::new(token), "{h:?}");
                prop_assert!(record.place_of(h.mark).is_none(), "holds and waits");
            }
            if let Change::Join { .. } = change {
                prop_assert!(record.queue.back().unwrap().ticket >= drawn);
                drawn = record.next_ticket;
            }
        }
    }

    /// Whatever the record has become: the hold with that mark ends as ordered, its lock goes to the
    /// first live one in line, and an order for any other mark changes nothing.
    #[test]
    fn an_order_ends_one_hold_and_nothing_else(
        steps in vec((0_u8..5, 0_u8..6, 0_u8..6, any::<bool>()), 0..40),
        seen in any::<bool>(),
    ) {
        let mut reg = Register::default();
        let mut record = Record::default();
        for (token, (kind, one, two, flag)) in (1..).zip(steps) {
            record.apply(&change(&record.clone(), kind, one, two, flag), Token::new(token));
            reg.token = token;
        }
        let before = record.clone();
        reg.record = Some(record);
        reg.version.revision = 1;
        let held = before.holder.clone().filter(|_| seen);
        let of = held.as_ref().map_or(Mark::from_u128(u128::MAX), |h| h.mark);
        let mut claim = local(9);
        claim.end_other(of, End::Stolen, Some("why".into()));
        let (reports, _) = wake(&mut claim, at(1.0), &mut reg);
        let after = reg.record.clone().unwrap();
        let Some(held) = held else {
            prop_assert!(matches!(reports[..], [Report::Lost(_)]), "{reports:?}");
            prop_assert_eq!(after, before);
            return Ok(());
        };
        prop_assert_eq!(reports, [Report::Released { confirmed: true }]);
        let past = after.history.back().unwrap();
        prop_assert_eq!((past.token, past.end), (held.token, End::Stolen));
        prop_assert_eq!(past.reason.as_deref(), Some("why"));
        let next = before.queue.front().map(|w| w.mark);
        prop_assert_eq!(after.holder.as_ref().map(|h| h.mark), next);
        prop_assert!(after.holder.is_none_or(|h| h.token > before.last_token));
        prop_assert_eq!(after.queue.len(), before.queue.len().saturating_sub(1));
        prop_assert_eq!(reg.version.revision, 2);
    }

    /// What the end says of tags stands there afterwards, unless whoever is next says something; and
    /// an end that was not one's own, or that says nothing, changes none.
    #[test]
    fn tags_are_said_with_the_release(
        had in vec(0_u8..4, 0..3),
        said in vec(0_u8..4, 0..3),
        add in any::<bool>(),
        lost in any::<bool>(),
    ) {
        let texts = |tags: &[u8]| -> Vec<Text> { tags.iter().map(|n| format!("t{n}").into()).collect() };
        let sorted = |tags: &[u8]| {
            let mut tags = texts(tags);
            tags.sort_unstable();
            tags.dedup();
            tags
        };
        let mut reg = Register::default();
        let mut claim = Claim::new(Config { tags: texts(&had), ..config(1) });
        start(&mut claim, Patience::Forever, at(0.0), &mut reg);
        prop_assert_eq!(&reg.record.as_ref().unwrap().tags, &sorted(&had));
        if lost {
            reg.record.as_mut().unwrap().holder = None;
            reg.version.revision += 1;
        }
        claim.tag_end(texts(&said), add);
        claim.release(at(1.0));
        wake(&mut claim, at(1.0), &mut reg);
        let all: Vec<u8> = had.iter().chain(&said).copied().collect();
        let expected = match (lost || said.is_empty(), add) {
            (true, _) => sorted(&had),
            (false, true) => sorted(&all),
            (false, false) => sorted(&said),
        };
        prop_assert_eq!(&reg.record.as_ref().unwrap().tags, &expected);
        // The next release of the same claim says nothing.
        claim.acquire(Patience::Forever);
        drive(&mut claim, at(2.0), &mut reg);
        claim.release(at(3.0));
        wake(&mut claim, at(3.0), &mut reg);
        let kept = if had.is_empty() { expected } else { sorted(&had) };
        prop_assert_eq!(&reg.record.as_ref().unwrap().tags, &kept);
    }

    #[test]
    fn an_uncontended_lock_costs_one_write_each(renewals in 0_u32..20, by_session in any::<bool>()) {
        let mut reg = Register::default();
        let mut claim = if by_session { local(1) } else { observed(1) };
        start(&mut claim, Patience::Forever, at(0.0), &mut reg);
        prop_assert_eq!(reg.version.revision, 1);
        for n in 1..=renewals {
            let (reports, _) = wake(&mut claim, at(f64::from(n) * 5.0), &mut reg);
            prop_assert_eq!(reports.contains(&Report::Renewed), !by_session);
        }
        let renewals = if by_session { 0 } else { u64::from(renewals) };
        prop_assert_eq!(reg.version.revision, 1 + renewals);
        claim.release(at(200.0));
        wake(&mut claim, at(200.0), &mut reg);
        prop_assert_eq!(reg.version.revision, 2 + renewals);
    }
}

/// A lock that is told something new each time is still taken and given back, with what it had.
#[test]
fn added_tags_have_a_bound() {
    let mut reg = Register::default();
    let tags = |of: core::ops::Range<u32>| of.map(|n| Text::from(format!("t{n:03}"))).collect();
    for n in 0..10 {
        let from = u32::from(n) * 64;
        let own = Config { tags: tags(from..from + 32), add_tags: true, ..config(n) };
        let mut claim = Claim::new(own);
        start(&mut claim, Patience::Forever, at(0.0), &mut reg);
        claim.tag_end(tags(from + 32..from + 64), true);
        claim.release(at(0.0));
        wake(&mut claim, at(0.0), &mut reg);
        assert_eq!(reg.record.as_ref().unwrap().holder, None);
    }
    let had: Vec<Text> = tags(0..256);
    assert_eq!(reg.record.as_ref().unwrap().tags, had);
}

/// A change such as a protocol may make: takers have new marks, and tickets that are theirs.
fn change(record: &Record, kind: u8, one: u8, two: u8, flag: bool) -> Change {
    let waiting = |n: u8| record.queue.get(usize::from(n)).map(|w| w.mark);
    let new = Mark::from_u128(u128::from(record.next_ticket) + 1_000);
    let strike: Vec<Mark> = waiting(two).into_iter().collect();
    let of = record.holder.as_ref().map_or(new, |h| h.mark);
    let stamp = Time::from_nanos(u64::from(one));
    match kind {
        0 => Change::Take {
            holder: Holder {
                id: "taker".into(),
                mark: new,
                session: Session::NONE,
                token: Token::default(),
                term: Term::Session,
                ticket: record.next_ticket,
                since: Wall::default(),
                renewed: Wall::default(),
                stamp,
            },
            ended: record.holder.is_some().then_some(End::Died),
            strike,
            tags: vec![format!("tag{one}").into(), format!("tag{two}").into()],
        },
        1 => Change::Join {
            waiter: Waiter {
                id: "waiter".into(),
                mark: new,
                session: Session::NONE,
                ticket: 0,
                term: Term::Session,
                since: Wall::default(),
                tags: vec![format!("tag{two}").into(), format!("tag{one}").into()],
            },
            strike,
        },
        2 => Change::Leave { strike },
        3 => Change::Renew {
            of: if flag { of } else { new },
            mark: Mark::from_u128(u128::from(record.next_ticket) + 1_000_000),
            token: Token::default(),
            term: Term::Forever,
            session: Session::NONE,
            renewed: Wall::default(),
            stamp,
        },
        _ => Change::Release {
            of: if flag { of } else { new },
            end: if one.is_multiple_of(2) { End::Released } else { End::Stolen },
            reason: (one % 2 == 1).then(|| "why".into()),
            mark: new,
            next: waiting(one),
            strike,
            at: Wall::default(),
            stamp,
            tags: (two > 3).then(|| format!("tag{one}").into()).into_iter().collect(),
        },
    }
}

/// One claim that ends two holds of others, one after the other.
#[test]
fn what_was_said_at_one_end_is_not_said_at_the_next() {
    let (mut reg, mut other) = (Register::default(), observed(9));
    for (n, said) in [(1, Some("done")), (2, None)] {
        let tags = vec![format!("held by {n}").into()];
        start(&mut Claim::new(Config { tags, ..config(n) }), Patience::Forever, at(0.0), &mut reg);
        let of = reg.record.as_ref().unwrap().holder.as_ref().unwrap().mark;
        said.into_iter().for_each(|tag| other.tag_end(vec![tag.into()], false));
        other.end_other(of, End::Released, None);
        let (reports, _) = wake(&mut other, at(1.0), &mut reg);
        assert_eq!(reports, [Report::Released { confirmed: true }]);
        let tags: Vec<_> = reg.record.as_ref().unwrap().tags.iter().map(|tag| &**tag).collect();
        assert_eq!(tags, [said.unwrap_or("held by 2")]);
    }
}

#[test]
fn tags_are_kept_once_and_a_second_life_of_the_record_has_a_higher_token() {
    let tags = vec!["b".into(), "a".into(), "b".into()];
    let mut claim = Claim::new(Config { tags, ..config(1) });
    let mut reg = Register::default();
    start(&mut claim, Patience::Forever, at(0.0), &mut reg);
    let kept: Vec<_> = reg.record.as_ref().unwrap().tags.iter().map(|t| &**t).collect();
    assert_eq!(kept, ["a", "b"]);
    reg.delete();
    wake(&mut claim, at(1.0), &mut reg);
    claim.acquire(Patience::Forever);
    let (reports, _) = drive(&mut claim, at(1.0), &mut reg);
    assert_eq!(acquired(&reports).map(Token::get), Some(2));
}
