//! `ls` and `show`: what the store says, as text for people or JSON for scripts.
//!
//! Reads only; takes no lock and writes nothing.

use std::io::{self, Write};

use tenure::blocking::{Client, connect_existing};
use tenure::{Condition, HoldEnd, HolderInfo, LockInfo, LockState, PastInfo, WaiterInfo};
use unicode_width::UnicodeWidthStr as _;

use crate::display::local_time;
use crate::exit::{FAILED, Failure, complain};
use crate::json;
use crate::options::Output;

/// Prints every lock of which the condition is true. Records that cannot be read are named on
/// stderr, and the code is 125.
pub(crate) fn ls(
    store: &str,
    condition: Option<&Condition>,
    output: Output,
    out: &mut impl Write,
) -> Result<u8, Failure> {
    let client = open(store, output)?;
    let mut locks = Vec::new();
    let mut code = 0;
    for listed in client.map_or(Ok(Vec::new()), |client| client.list()).map_err(Failure::new)? {
        match listed {
            Ok(lock) if condition.is_some_and(|condition| !lock.meets(condition)) => {}
            Ok(lock) => locks.push(lock),
            Err(error) => {
                complain(&error.to_string());
                code = FAILED;
            }
        }
    }
    let printed = match output {
        Output::Json => print_json(&locks.iter().map(shape).collect::<Vec<_>>(), out),
        Output::Text => table(&locks, out),
    };
    printed.map_err(|e| crate::printing(&e))?;
    Ok(code)
}

/// Prints one lock, held or free.
pub(crate) fn show(
    store: &str,
    name: &str,
    output: Output,
    out: &mut impl Write,
) -> Result<u8, Failure> {
    let lock = match open(store, output)? {
        Some(client) => client.show(name).map_err(Failure::new)?,
        None => LockInfo::free(name, store),
    };
    let printed = match output {
        Output::Json => print_json(&shape(&lock), out),
        Output::Text => print_lock(&lock, out),
    };
    printed.map_err(|e| crate::printing(&e))?;
    Ok(0)
}

/// The store, if there is one. A mistyped path makes no folder, but is not passed over, either.
fn open(store: &str, output: Output) -> Result<Option<Client>, Failure> {
    let client = connect_existing(store).map_err(Failure::new)?;
    if client.is_none() && output == Output::Text {
        complain(&format!("there is no store at `{store}` yet: nothing was ever locked there"));
    }
    Ok(client)
}

fn print_json(value: &impl serde::Serialize, out: &mut impl Write) -> io::Result<()> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    out.write_all(&text)
}

fn shape(lock: &LockInfo) -> json::Lock<'_> {
    json::Lock {
        lock: &lock.name,
        store: &lock.store,
        state: state(lock.state),
        mode: "exclusive",
        ttl_ms: lock.ttl.map(json::millis),
        holders: lock.holders.iter().map(holder).collect(),
        queue: lock.has_queue.then(|| lock.queue.iter().map(waiter).collect()),
        tags: &lock.tags,
        history: lock.history.iter().map(past).collect(),
    }
}

fn waiter(w: &WaiterInfo) -> json::Waiter<'_> {
    json::Waiter { id: &w.id, pid: w.pid, since: json::time(w.since.as_micros()) }
}

fn past(past: &PastInfo) -> json::Past<'_> {
    json::Past {
        id: &past.id,
        token: past.token,
        since: json::time(past.since.as_micros()),
        until: json::time(past.until.as_micros()),
        end: end(past.end),
        reason: past.reason.as_deref(),
    }
}

const fn end(end: HoldEnd) -> &'static str {
    match end {
        HoldEnd::Released => "released",
        HoldEnd::Died => "died",
        HoldEnd::Expired => "expired",
        _ => "stolen",
    }
}

fn holder(h: &HolderInfo) -> json::Holder<'_> {
    json::Holder {
        id: &h.id,
        host: h.host.as_deref(),
        pid: h.pid,
        token: h.token,
        since: json::known(h.since.as_micros()),
        remaining_ms: h.remaining.map(json::millis),
        orphan: h.orphan,
    }
}

const fn state(state: LockState) -> &'static str {
    match state {
        LockState::Free => "free",
        LockState::Held => "held",
        _ => "expired",
    }
}

fn print_lock(lock: &LockInfo, out: &mut impl Write) -> io::Result<()> {
    let mut text = format!("lock    {}\nstore   {}\n", lock.name, lock.store);
    text += &format!("state   {}\n", state(lock.state));
    for h in &lock.holders {
        text += &format!("holder  {}\n", describe(h, lock.state));
    }
    for (place, w) in lock.queue.iter().enumerate() {
        let since = local_time(w.since.as_micros());
        let pid = w.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
        text += &format!("queue   {}. {}{pid}, since {since}\n", place + 1, w.id);
    }
    if !lock.tags.is_empty() {
        text += &format!("tags    {}\n", lock.tags.join(", "));
    }
    for past in &lock.history {
        text += &format!("last    {}\n", describe_past(past));
    }
    out.write_all(text.as_bytes())
}

fn describe(h: &HolderInfo, state: LockState) -> String {
    let mut text = h.id.clone();
    if let Some(pid) = h.pid {
        text += &format!(", pid {pid}");
    }
    match h.token {
        Some(token) => text += &format!(", token {token}"),
        None => text += ", no token",
    }
    if let Some(since) = since(h) {
        text += &format!(", since {since}");
    }
    match (state, h.remaining) {
        (LockState::Expired, _) if h.pid.is_some() => text += ", its processes are gone",
        (LockState::Expired, _) => text += ", its ttl has run out",
        (_, Some(left)) => text += &format!(", ends in {:.1} s", left.as_secs_f64()),
        (_, None) if h.pid.is_none() => text += ", never ends by time",
        // A process is an end of its own.
        (_, None) => {}
    }
    if let Some(orphan) = h.orphan {
        text += &format!(", kept by orphan pid {orphan}");
    }
    text
}

/// In the user's time zone, where the record says it.
fn since(h: &HolderInfo) -> Option<String> {
    Some(h.since.as_micros()).filter(|micros| *micros > 0).map(local_time)
}

fn describe_past(past: &PastInfo) -> String {
    let times = [past.since, past.until].map(|time| local_time(time.as_micros()));
    let reason = past.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let [since, until] = times;
    format!("{}, token {}, {since} to {until}, {}{reason}", past.id, past.token, end(past.end))
}

fn table(locks: &[LockInfo], out: &mut impl Write) -> io::Result<()> {
    let mut rows =
        vec![["LOCK", "STATE", "HOLDER", "PID", "TOKEN", "SINCE", "WAITING"].map(String::from)];
    rows.extend(locks.iter().map(row));
    let width = |column: usize| rows.iter().map(|r| r[column].width()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.width() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    out.write_all(text.as_bytes())
}

/// The widest cell, in characters: one long name must not push every other column away.
const CELL_MAX: usize = 60;

/// The beginning of a long name; `show` and JSON have all of it.
fn cut(text: &str) -> String {
    match text.char_indices().nth(CELL_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

/// A default identity, `HOST_UUID`, without the end of its UUID; any other as it is.
fn short_id(id: &str) -> &str {
    let uuid = id.rsplit_once('_').map_or("", |(_, uuid)| uuid);
    let groups: Vec<usize> = uuid.split('-').map(str::len).collect();
    let hex = uuid.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
    if hex && groups == [8, 4, 4, 4, 12] { &id[..id.len() - 28] } else { id }
}

fn row(lock: &LockInfo) -> [String; 7] {
    let dash = || "-".to_owned();
    let first = lock.holders.first();
    let of = |f: &dyn Fn(&HolderInfo) -> Option<String>| first.and_then(f).unwrap_or_else(dash);
    [
        cut(&lock.name),
        state(lock.state).to_owned(),
        of(&|h| Some(cut(short_id(&h.id)))),
        of(&|h| h.orphan.map(|pid| format!("orphan {pid}")).or(h.pid.map(|pid| pid.to_string()))),
        of(&|h| h.token.map(|token| token.to_string())),
        of(&since),
        if lock.has_queue { lock.queue.len().to_string() } else { dash() },
    ]
}
