//! How a hold was lost, in words.

use tenure::Lost;
use tenure::blocking::Client;
use tenure::{HoldEnd, PastInfo};

/// Why, as far as the record tells the holder.
pub(crate) fn why(lost: &Lost) -> String {
    match lost {
        Lost::Replaced { by } => format!("the record names another holder, {by}"),
        Lost::Freed => "it was freed by somebody else".to_owned(),
        Lost::Deleted => "its record was deleted".to_owned(),
        Lost::Deadline => "it was not renewed in time".to_owned(),
        Lost::Restarted => "the machine was restarted since".to_owned(),
        Lost::RuntimeGone => "the thread that renewed it has ended".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Why, with what the lock's last holds say of the one with this token.
pub(crate) fn why_in_full(client: &Client, lock: &str, token: Option<u64>, lost: &Lost) -> String {
    if !matches!(lost, Lost::Freed | Lost::Replaced { .. }) {
        return why(lost);
    }
    let is_it = |past: &PastInfo| Some(past.token) == token;
    let past = client.show(lock).ok().and_then(|info| info.history.into_iter().find(is_it));
    match past.map(|past| (past.end, past.reason)) {
        Some((HoldEnd::Stolen, Some(reason))) => format!("it was stolen: {reason}"),
        Some((HoldEnd::Stolen, None)) => "it was stolen".to_owned(),
        Some((HoldEnd::Expired, _)) => why(&Lost::Deadline),
        Some((HoldEnd::Released, _)) => "it was released already".to_owned(),
        _ => why(lost),
    }
}
