//! The JSON shapes of `ls`, `show` and `--status-fd`, and the times in them.
//!
//! Owns names and forms only: RFC 3339 in UTC, `_ms` as whole milliseconds, unknown as null.
//! Fields are only ever added.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

/// A lock, as `show --output json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Lock<'a> {
    pub(crate) lock: &'a str,
    pub(crate) store: &'a str,
    pub(crate) state: &'static str,
    pub(crate) mode: &'static str,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) holders: Vec<Holder<'a>>,
    pub(crate) queue: Option<Vec<Waiter<'a>>>,
    pub(crate) tags: &'a [String],
    pub(crate) history: Vec<Past<'a>>,
}

/// One who holds.
#[derive(Debug, Serialize)]
pub(crate) struct Holder<'a> {
    pub(crate) id: &'a str,
    pub(crate) host: Option<&'a str>,
    pub(crate) pid: Option<u32>,
    pub(crate) token: Option<u64>,
    pub(crate) since: Option<String>,
    pub(crate) remaining_ms: Option<u64>,
    /// The process that keeps the lock although the holder's own is gone.
    pub(crate) orphan: Option<u32>,
}

/// One who waits.
#[derive(Debug, Serialize)]
pub(crate) struct Waiter<'a> {
    pub(crate) id: &'a str,
    pub(crate) pid: Option<u32>,
    pub(crate) since: String,
}

/// A hold that has ended.
#[derive(Debug, Serialize)]
pub(crate) struct Past<'a> {
    pub(crate) id: &'a str,
    pub(crate) token: u64,
    pub(crate) since: String,
    pub(crate) until: String,
    pub(crate) end: &'static str,
    pub(crate) reason: Option<&'a str>,
}

/// Who is in a waiter's way.
#[derive(Debug, Serialize)]
pub(crate) struct HeldBy<'a> {
    pub(crate) id: &'a str,
    pub(crate) pid: Option<u32>,
    pub(crate) token: Option<u64>,
    pub(crate) since: Option<String>,
}

impl<'a> HeldBy<'a> {
    pub(crate) fn of(by: &'a crate::contend::By) -> Self {
        Self { id: &by.id, pid: by.pid, token: by.token, since: known(by.since) }
    }
}

/// Now, by the wall clock.
pub(crate) fn now() -> String {
    utc(Timestamp::now())
}

/// Microseconds since 1970 as RFC 3339 in UTC.
pub(crate) fn time(micros: u64) -> String {
    utc(timestamp(micros))
}

/// The same where it may not be known.
pub(crate) fn known(micros: u64) -> Option<String> {
    (micros > 0).then(|| time(micros))
}

/// The same as a value; the end of time for what no calendar has.
pub(crate) fn timestamp(micros: u64) -> Timestamp {
    i64::try_from(micros)
        .ok()
        .and_then(|m| Timestamp::from_microsecond(m).ok())
        .unwrap_or(Timestamp::MAX)
}

/// Whole milliseconds.
pub(crate) fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

/// Always six digits behind the second, so that the text sorts as the time does.
fn utc(time: Timestamp) -> String {
    format!("{time:.6}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_rfc_3339_and_sort() {
        assert_eq!(super::time(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(super::time(1_700_000_000_000_001), "2023-11-14T22:13:20.000001Z");
        assert!(super::time(u64::MAX).starts_with("9999-12-"));
    }
}
