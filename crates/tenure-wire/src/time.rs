//! Times as these formats write them, which is as Go reads and writes them.
//!
//! RFC 3339 with `T` and `Z` in upper case; hours to 23, minutes and seconds to 59 (no leap second);
//! an offset has a colon. Times before 1970 read as 1970: they are hints, and as old as can be.

use tenure_core::Wall;

/// How many digits may stand after the seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fraction {
    /// None to nine, as in annotations and ConfigMaps.
    Any,
    /// Exactly six, as in the times of a Lease.
    Six,
}

const DAY: i64 = 86_400;

/// Reads a time; what is finer than a microsecond is cut off. `None`: it is none.
#[must_use]
pub fn parse(text: &str, fraction: Fraction) -> Option<Wall> {
    let bytes = text.as_bytes();
    let number = |at: usize, len: usize| -> Option<i64> {
        let digits = bytes.get(at..at + len)?;
        digits.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
    };
    let is = |at: usize, wanted: u8| bytes.get(at) == Some(&wanted);
    let punctuated = is(4, b'-') && is(7, b'-') && is(10, b'T') && is(13, b':') && is(16, b':');
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    let valid = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !punctuated || !valid || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (micros, end) = match bytes.get(19) {
        Some(b'.') => {
            let digits = bytes[20..].iter().take_while(|b| b.is_ascii_digit()).count();
            if !(1..=9).contains(&digits) || (fraction == Fraction::Six && digits != 6) {
                return None;
            }
            let kept = digits.min(6);
            (number(20, kept)? * 10_i64.pow(6 - kept as u32), 20 + digits)
        }
        _ if fraction == Fraction::Six => return None,
        _ => (0, 19),
    };
    let offset = match &bytes[end..] {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (number(end + 1, 2)?, number(end + 4, 2)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 3600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset;
    let since = seconds.checked_mul(1_000_000)?.checked_add(micros)?;
    Some(Wall::from_micros(u64::try_from(since).unwrap_or(0)))
}

/// Writes a time in UTC with six digits after the seconds, as a Lease has it.
#[must_use]
pub fn micro(at: Wall) -> String {
    let (date, seconds) = split(at);
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{date}T{h:02}:{m:02}:{s:02}.{:06}Z", at.as_micros() % 1_000_000)
}

/// Writes a time in UTC with as many digits after the seconds as it needs, as Go does.
#[must_use]
pub fn shortest(at: Wall) -> String {
    let text = micro(at);
    let digits = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    format!("{digits}Z")
}

/// The date, and the seconds of the day. The years end with 9999.
fn split(at: Wall) -> (String, i64) {
    const LAST: i64 = 253_402_300_799;
    let seconds = i64::try_from(at.as_micros() / 1_000_000).unwrap_or(LAST).min(LAST);
    let (year, month, day) = date(seconds.div_euclid(DAY));
    (format!("{year:04}-{month:02}-{day:02}"), seconds.rem_euclid(DAY))
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to this date. Years are counted from March, so that the day that leap
/// years add is the last of theirs.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year
        - 719_468
}

/// The date that many days after 1970-01-01.
fn date(days_since: i64) -> (i64, i64, i64) {
    let guess = 1970 + days_since.div_euclid(366);
    let year = (guess..).find(|y| days(y + 1, 1, 1) > days_since).unwrap_or(guess);
    let month = (1..12).find(|m| days(year, m + 1, 1) > days_since).unwrap_or(12);
    (year, month, days_since - days(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any(text: &str) -> Option<u64> {
        parse(text, Fraction::Any).map(Wall::as_micros)
    }

    #[test]
    fn known_instants() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-21T00:15:44.617922Z", 1_795_220_144_617_922),
            ("2026-11-21T02:15:44.617922999+02:00", 1_795_220_144_617_922),
            ("2000-02-29T23:59:59.5-00:30", 951_870_599_500_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000_000),
            ("0001-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(any(text), Some(micros), "{text}");
        }
    }

    #[test]
    fn what_go_rejects_is_rejected() {
        for text in [
            "",
            "now",
            "2026-11-21",
            "2026-11-21T00:15:44",
            "2026-11-21t00:15:44Z",
            "2026-11-21T00:15:44z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T00:15:60Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-21T00:15:44.Z",
            "2026-11-21T00:15:44.1234567890Z",
            "2026-11-21T00:15:44+0200",
            "2026-11-21T00:15:44Z ",
            "2026-11-21T00:15:44,5Z",
            "+026-11-21T00:15:44Z",
        ] {
            assert_eq!(any(text), None, "{text}");
        }
        for text in ["2026-11-21T00:15:44Z", "2026-11-21T00:15:44.123Z"] {
            assert_eq!(parse(text, Fraction::Six), None, "{text}");
        }
    }

    #[test]
    fn trailing_zeros_are_left_out_where_go_leaves_them_out() {
        assert_eq!(shortest(Wall::from_micros(1_500_000)), "1970-01-01T00:00:01.5Z");
        assert_eq!(shortest(Wall::from_micros(10_000_000)), "1970-01-01T00:00:10Z");
        assert_eq!(micro(Wall::from_micros(10_000_000)), "1970-01-01T00:00:10.000000Z");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(micros in 0..253_402_300_799_999_999_u64) {
            let at = Wall::from_micros(micros);
            prop_assert_eq!(parse(&micro(at), Fraction::Six), Some(at));
            prop_assert_eq!(parse(&shortest(at), Fraction::Any), Some(at));
        }

        #[test]
        fn no_text_panics(text in "[-0-9TZ:.+é]{0,40}") {
            let _ = (parse(&text, Fraction::Any), parse(&text, Fraction::Six));
        }
    }
}
