//! What a waiter shows to people: a live line on a terminal, one line in a pipe.
//!
//! Owns wording and the cursor; writes only when something changed, so an idle waiter sleeps.

use std::ffi::OsStr;
use std::io::{Write as _, stderr};
use std::sync::OnceLock;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::contend::{By, Waiting};
use crate::duration::shorten;
use crate::exit::complain;
use crate::json;

/// How waiting is shown.
#[derive(Debug)]
pub(crate) struct Display {
    quiet: bool,
    /// What the live line says; empty when there is none.
    shown: String,
    /// Whether the one line was printed that stands for a live one.
    said: bool,
}

impl Display {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, shown: String::new(), said: false }
    }

    /// Shows the latest news.
    pub(crate) fn show(&mut self, lock: &str, waiting: &Waiting) {
        let place = match waiting.place {
            None => String::new(),
            Some(0) => ", next in line".to_owned(),
            Some(ahead) => format!(", {ahead} ahead in line"),
        };
        let by = held_by(&waiting.by);
        self.tell(format!("waiting for `{}`{place}: {by}", shorten(lock)));
    }

    /// Shows `text` in place of what was shown before, or as the one line of a pipe.
    pub(crate) fn tell(&mut self, text: String) {
        // A job in the background must not draw over its shell's prompt.
        let live = !self.quiet && foreground();
        if self.quiet || (self.said && !live) {
            return;
        }
        if live {
            self.redraw(text);
        } else {
            complain(&text);
            self.said = true;
        }
    }

    /// Takes the live line away.
    pub(crate) fn clear(&mut self) {
        if !self.shown.is_empty() {
            self.shown.clear();
            let _ = stderr().write_all(b"\r\x1b[K");
        }
    }

    fn redraw(&mut self, text: String) {
        if text != self.shown {
            // A line that wraps cannot be taken away again.
            let line = fit(&format!("tenure: {text}"), width() - 1);
            let _ = stderr().write_all(format!("\r\x1b[K{line}").as_bytes());
            self.shown = text;
        }
    }
}

/// Whether stderr is a terminal whose foreground is ours.
fn foreground() -> bool {
    let stderr = rustix::stdio::stderr();
    rustix::termios::tcgetpgrp(stderr).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Of the terminal on stderr, in cells; never zero.
fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stderr());
    size.ok().map(|size| usize::from(size.ws_col)).filter(|width| *width > 0).unwrap_or(80)
}

/// Who is in the way, since when; the identity last, as it is long and may be cut off.
pub(crate) fn held_by(by: &By) -> String {
    let id = shorten_id(&by.id);
    let since = match by.since {
        0 => String::new(),
        since => format!("since {} ", local_time(since)),
    };
    let pid = by.pid.map(|pid| format!("by pid {pid} ")).unwrap_or_default();
    // A hold that nobody renews ends at a known time; a live one only if its holder falls silent.
    let until = by.ends_in.filter(|_| by.pid.is_none()).map(|left| {
        if left.is_zero() {
            return "and expired ".to_owned();
        }
        let left = u64::try_from(left.as_micros()).unwrap_or(u64::MAX);
        let now = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0);
        format!("until {} ", local_time(now.saturating_add(left)))
    });
    let until = until.unwrap_or_default();
    match by.orphan {
        Some(orphan) => format!("kept by orphan pid {orphan} {since}({id})"),
        None if by.is_next => format!("next in line {pid}{since}({id})"),
        None => format!("held {pid}{since}{until}({id})"),
    }
}

/// The same to one who waited in vain. An orphan may live for ever, and knows of no holder's end.
pub(crate) fn still_held_by(by: &By) -> String {
    let held = held_by(by);
    match by.orphan {
        Some(pid) => format!("{held}; end process {pid}, or its hold by `tenure steal --now`"),
        None => held,
    }
}

/// In the user's time zone, to the second: that of `TZ`, else the machine's.
pub(crate) fn local_time(micros: u64) -> String {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    let time = json::timestamp(micros).to_zoned(ZONE.get_or_init(zone).clone());
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn zone() -> TimeZone {
    let file = || std::fs::read("/etc/localtime").ok();
    of_machine(std::env::var_os("TZ").as_deref(), file).unwrap_or_else(TimeZone::system)
}

/// The machine's zone is a file; asked for it by name, the library lists every zone there is. `None`
/// where `TZ` says which, be it the empty one, which is UTC, or where the file is none.
fn of_machine(tz: Option<&OsStr>, file: impl FnOnce() -> Option<Vec<u8>>) -> Option<TimeZone> {
    match tz {
        Some(_) => None,
        None => TimeZone::tzif("localtime", &file()?).ok(),
    }
}

fn shorten_id(id: &str) -> String {
    id.chars().take(80).flat_map(char::escape_debug).collect()
}

/// The beginning of `text` that fills at most `width` cells.
fn fit(text: &str, width: usize) -> String {
    use unicode_width::UnicodeWidthChar as _;
    let mut used = 0;
    text.chars()
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= width
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of nine hours east all year, as tzfile(5) has it.
    fn file() -> Vec<u8> {
        let mut block = b"TZif2".to_vec();
        block.extend([0; 15]);
        // No leap seconds and no changes; one kind of time, whose name takes four bytes.
        [0_u32, 0, 0, 0, 1, 4].iter().for_each(|count| block.extend(count.to_be_bytes()));
        block.extend(32_400_i32.to_be_bytes());
        block.extend(b"\0\0JST\0");
        [&block[..], &block[..], b"\nJST-9\n"].concat()
    }

    #[test]
    fn the_zone_is_that_of_the_machine_unless_one_is_chosen() {
        let zone = |tz: Option<&str>, file| of_machine(tz.map(OsStr::new), || file);
        let hours = |zone: TimeZone| zone.to_offset(Timestamp::UNIX_EPOCH).seconds() / 3_600;
        assert_eq!(zone(None, Some(file())).map(hours), Some(9));
        for chosen in ["", "Asia/Kolkata", ":"] {
            assert!(zone(Some(chosen), Some(file())).is_none(), "{chosen:?}");
        }
        assert!(zone(None, None).is_none() && zone(None, Some(b"garbage".to_vec())).is_none());
    }
}
