//! Durations as users write them: `90`, `1.5h`, `250ms`.
//!
//! Owns the text form. Exact: no floating point, so `0.1s` is 100 ms and an overflow is seen, not
//! wrapped.

use std::time::Duration;

/// Nobody means more than ten years; a longer number is a slip of the unit.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);
const RIGHT: &str = "give a number with ms, s, m, h or d, such as 90s or 1.5h";

/// Parses a duration; zero is allowed.
///
/// # Errors
/// Says what is wrong with `text` and what would be right, without naming the option.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let shown = shorten(text);
    if text.starts_with('-') {
        return Err(format!("`{shown}` is negative; {RIGHT}"));
    }
    let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, unit) = text.split_at(digits);
    let unit = unit_nanos(unit)
        .filter(|_| is_number(number))
        .ok_or_else(|| format!("`{shown}` is not a duration; {RIGHT}"))?;
    let too_long = || format!("`{shown}` is too long; the longest is 3660d");
    let nanos = scaled(number, unit).ok_or_else(too_long)?;
    let parsed = Duration::from_nanos(u64::try_from(nanos).map_err(|_| too_long())?);
    if parsed > LONGEST {
        return Err(too_long());
    }
    if parsed.is_zero() && number.bytes().any(|b| b.is_ascii_digit() && b != b'0') {
        return Err(format!("`{shown}` is shorter than any clock can tell; {RIGHT}"));
    }
    Ok(parsed)
}

/// Parses a duration that must not be zero.
///
/// # Errors
/// As [`parse`].
pub(crate) fn parse_positive(text: &str) -> Result<Duration, String> {
    match parse(text) {
        Ok(Duration::ZERO) => Err(format!("`{}` is zero; {RIGHT}", shorten(text))),
        other => other,
    }
}

/// The first part of an input, for a message of one line.
pub(crate) fn shorten(text: &str) -> String {
    const MOST: usize = 40;
    let mut shown: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push_str("...");
    }
    shown
}

fn unit_nanos(unit: &str) -> Option<u128> {
    Some(match unit {
        "ms" => 1_000_000,
        "" | "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    })
}

/// Digits with at most one point, at least one digit, and none missing behind the point.
fn is_number(text: &str) -> bool {
    text.matches('.').count() <= 1 && text.ends_with(|c: char| c.is_ascii_digit())
}

/// `number` times `unit`; `None` when it does not fit.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digit = |b: u8| u128::from(b - b'0');
    let mut sum = whole
        .bytes()
        .try_fold(0_u128, |n, b| n.checked_mul(10)?.checked_add(digit(b)))?
        .checked_mul(unit)?;
    let mut place = unit;
    for b in fraction.bytes() {
        // Every unit is divisible by ten at least six times; what is finer than that and a
        // nanosecond is cut off.
        place /= 10;
        sum = sum.checked_add(digit(b) * place)?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_and_fractions() {
        for (text, millis) in [
            ("0", 0),
            ("2", 2_000),
            ("1.5", 1_500),
            (".5", 500),
            ("0.1s", 100),
            ("250ms", 250),
            ("90s", 90_000),
            ("1.5m", 90_000),
            ("2h", 7_200_000),
            ("3660d", 316_224_000_000),
            ("0.000", 0),
            ("007", 7_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse("0.0000015ms"), Ok(Duration::from_nanos(1)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, says) in [
            ("", "`` is not a duration"),
            ("s", "not a duration"),
            (".", "not a duration"),
            ("1.", "not a duration"),
            ("1..2", "not a duration"),
            ("1.2.3", "not a duration"),
            ("10x", "`10x` is not a duration"),
            ("10 s", "not a duration"),
            ("1e3", "not a duration"),
            ("+5", "not a duration"),
            ("٣", "not a duration"),
            ("inf", "not a duration"),
            ("-5", "`-5` is negative"),
            ("-n", "negative"),
            ("3661d", "too long"),
            ("99999999999999999999999999999999999999999999h", "too long"),
            ("0.0000000001", "shorter than any clock"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
            assert!(!error.contains('\n') && error.len() < 160, "{error}");
        }
        assert!(parse_positive("0").unwrap_err().contains("`0` is zero"));
        assert!(parse_positive("0.0h").is_err());
    }
}
