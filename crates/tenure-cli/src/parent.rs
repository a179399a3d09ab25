//! Recognising that this process already runs under the lock it asks for.
//!
//! A lock is not reentrant: asking again would wait for oneself for ever. The variables only say
//! that there is a hold to look for; the record decides, so a stale environment (a daemon started
//! under a lock that was released long ago) refuses nothing. They name the innermost hold; one
//! further out the store finds by the processes that this one descends from.

use std::env::var;

use tenure::LockInfo;
use tenure::blocking::Client;

use crate::exit::Failure;

/// Refuses a lock that a parent process holds.
///
/// # Errors
/// 125 "already held by a parent" while the record shows the hold named by the environment, or one
/// of an ancestor.
pub(crate) fn refuse_own(client: &Client, lock: &str) -> Result<(), Failure> {
    let Ok(innermost) = var("TENURE_LOCK") else { return Ok(()) };
    let held = match innermost == lock {
        true => named(&client.show(lock).map_err(Failure::new)?),
        false => None,
    };
    let held = held.map_or_else(|| client.held_above(lock).map_err(Failure::new), |t| Ok(Some(t)));
    let Some(token) = held? else { return Ok(()) };
    let shown = crate::duration::shorten(lock);
    Err(Failure::new(format!(
        "lock `{shown}` is already held by a parent of this process (token {token}); \
         run the inner command without it"
    )))
}

/// The token of the very hold that the environment speaks of.
fn named(info: &LockInfo) -> Option<u64> {
    let (token, holder) = (var("TENURE_TOKEN").ok()?, var("TENURE_HOLDER").ok()?);
    let mut tokens = info.holders.iter().filter(|h| h.id == holder).filter_map(|h| h.token);
    tokens.find(|found| found.to_string() == token)
}
