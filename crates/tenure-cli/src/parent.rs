//! Recognising that this process already runs under the lock it asks for.
//!
//! A lock is not reentrant: asking again would wait for oneself for ever. The variables only say
//! that there is a hold to look for; the record decides, so a stale environment (a daemon started
//! under a lock that was released long ago) refuses nothing. They name the innermost hold; one
//! further out is known by its process, which is an ancestor of this one.

use std::env::var;

use rustix::process::{Pid, getppid};
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
    let info = client.show(lock).map_err(Failure::new)?;
    let named = innermost == lock && is_named(&info);
    if named || info.holders.iter().filter_map(|h| h.pid).any(is_ancestor) {
        let shown = crate::duration::shorten(lock);
        let token = info.holders.first().map_or(0, |h| h.token);
        return Err(Failure::new(format!(
            "lock `{shown}` is already held by a parent of this process (token {token}); \
             run the inner command without it"
        )));
    }
    Ok(())
}

/// Whether the environment speaks of this very hold.
fn is_named(info: &LockInfo) -> bool {
    let (Ok(token), Ok(holder)) = (var("TENURE_TOKEN"), var("TENURE_HOLDER")) else {
        return false;
    };
    info.holders.iter().any(|h| h.token.to_string() == token && h.id == holder)
}

/// Whether process `pid` waits, directly or not, for this one.
fn is_ancestor(pid: u32) -> bool {
    let wanted = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let mut next = getppid();
    while let Some(ancestor) = next {
        if next == wanted {
            return true;
        }
        next = parent_of(ancestor);
    }
    false
}

/// The fourth field of `/proc/PID/stat`, counted after the name, which may hold anything.
fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    Pid::from_raw(fields.split(' ').nth(1)?.parse().ok()?)
}
