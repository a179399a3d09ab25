//! The formats beside the Lease of client-go, against the records that the Go programs really wrote
//! and against anything else.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod annotation;
mod anything;
mod configmap;
mod janus;

use std::time::Duration;

use serde_json::Value;
use tenure_core::{Change, End, Holder, Mark, Record, Session, Term, Time, Token, Wall};
use tenure_wire::time::{Fraction, parse};

fn golden(name: &str) -> Value {
    let path = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn at(text: &str) -> Wall {
    parse(text, Fraction::Any).unwrap()
}

fn ttl(seconds: u64) -> Term {
    Term::Ttl(Duration::from_secs(seconds))
}

fn taking(id: &str, term: Term, mark: u128, since: &str) -> Change {
    let holder = Holder {
        id: id.into(),
        mark: Mark::from_u128(mark),
        session: Session::NONE,
        token: Token::default(),
        term,
        ticket: 0,
        since: at(since),
        renewed: at(since),
        stamp: Time::ZERO,
    };
    Change::Take { holder, ended: None, strike: Vec::new(), tags: Vec::new() }
}

fn tagged(change: Change, with: &[&str]) -> Change {
    match change {
        Change::Take { holder, ended, strike, .. } => {
            Change::Take { holder, ended, strike, tags: with.iter().map(|t| (*t).into()).collect() }
        }
        other => other,
    }
}

fn renewing(of: Mark, mark: u128, token: u64, term: Term, renewed: &str) -> Change {
    Change::Renew {
        of,
        mark: Mark::from_u128(mark),
        token: Token::new(token),
        term,
        session: Session::NONE,
        renewed: at(renewed),
        stamp: Time::ZERO,
    }
}

fn releasing(of: Mark, end: End, when: &str) -> Change {
    let (mark, reason, next, strike) = (Mark::from_u128(99), None, None, Vec::new());
    Change::Release {
        of,
        end,
        reason,
        mark,
        next,
        strike,
        at: at(when),
        stamp: Time::ZERO,
        tags: vec![],
    }
}

fn holder(record: &Record) -> &Holder {
    record.holder.as_ref().unwrap()
}
