//! Names that an API server accepts, told before it is asked.

/// Whether this can be the name of an object: a DNS subdomain of at most 253 characters.
pub(crate) fn is_subdomain(name: &str) -> bool {
    !name.is_empty() && name.len() <= 253 && name.split('.').all(is_part)
}

/// Whether this can be the name of a namespace: a DNS label.
pub(crate) fn is_label(name: &str) -> bool {
    name.len() <= 63 && is_part(name)
}

fn is_part(part: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    bytes.first().is_some_and(|b| plain(*b))
        && bytes.last().is_some_and(|b| plain(*b))
        && bytes.iter().all(|b| plain(*b) || *b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_accepts_and_what_not() {
        let longest = "x".repeat(253);
        for name in ["a", "a.b", "a-b.c-9", "0", &longest] {
            assert!(is_subdomain(name), "{name}");
        }
        let long = "x".repeat(254);
        for name in ["", "A", "a b", "-a", "a-", "a..b", ".a", "a.", "a/b", "é", "a_b", &long] {
            assert!(!is_subdomain(name), "{name}");
        }
        assert!(is_label("default") && !is_label("a.b") && !is_label(&"x".repeat(64)));
    }
}
