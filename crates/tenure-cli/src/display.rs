//! What a waiter shows to people: a live line on a terminal, one line in a pipe.
//!
//! Owns wording and the cursor; writes only when something changed, so an idle waiter sleeps.

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

/// In the user's time zone, to the second: that of `TZ`, else the machine's.
pub(crate) fn local_time(micros: u64) -> String {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    let time = json::timestamp(micros).to_zoned(ZONE.get_or_init(zone).clone());
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// The machine's zone is a file; asked for it by name, the library lists every zone there is.
fn zone() -> TimeZone {
    // An empty one is UTC, as for date(1).
    let is_chosen = std::env::var_os("TZ").is_some();
    let machine = || TimeZone::tzif("localtime", &std::fs::read("/etc/localtime").ok()?).ok();
    if is_chosen { None } else { machine() }.unwrap_or_else(TimeZone::system)
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
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    #[test]
    fn the_zone_of_the_machine_s_file_is_that_of_its_name() {
        // Winter and summer of many years, on both sides of what a file lists one by one.
        for month in 0..1_200 {
            let time = Timestamp::from_second(month * 2_629_800).unwrap();
            let offset = |zone: TimeZone| zone.to_offset(time);
            assert_eq!(offset(super::zone()), offset(TimeZone::system()), "{time}");
        }
    }
}
