//! What of a store folder is trouble, and what to do about it.
//!
//! The folder is opened as `run` opens one that is there, for reading and writing, so that what would
//! keep `run` from its lock is told in the same words.

use tenure::blocking::{Client, connect_existing};
use tenure::{Error, LockState};

use super::{Finding, State};

/// Everything that was looked at.
pub(super) fn findings(store: &str) -> Vec<Finding> {
    match connect_existing(store) {
        Ok(Some(client)) => inside(&client),
        Ok(None) => {
            let what = "there is no store yet: nothing was ever locked there";
            vec![Finding::new("store", State::Note, what)]
        }
        Err(error) => vec![bad("store", &error)],
    }
}

fn inside(client: &Client) -> Vec<Finding> {
    let locks = match client.list() {
        Ok(locks) => locks,
        Err(error) => return vec![bad("store", &error)],
    };
    let read: Vec<_> = locks.iter().flatten().collect();
    let held = read.iter().filter(|lock| lock.state == LockState::Held).count();
    let what = format!("locks can be kept here: {} locks, {held} held", read.len());
    let mut findings = vec![Finding::new("store", State::Ok, what)];
    let unreadable = locks.iter().filter_map(|lock| lock.as_ref().err());
    findings.extend(unreadable.map(|error| bad("record", error)));
    findings
}

/// It says itself what to do.
fn bad(check: &'static str, error: &Error) -> Finding {
    Finding::new(check, State::Bad, error.to_string())
}
