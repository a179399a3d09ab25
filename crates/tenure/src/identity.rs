//! Who we are if nobody says, and randomness for marks.

/// An identity nobody else has: `<hostname>_<uuid>`.
pub(crate) fn default_id() -> String {
    // Without randomness nothing is acquired either, which says so.
    let bits = random_u128().unwrap_or_default();
    // Version 4, variant 1, as the uuid's specification has it.
    let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (4 << 76) | (2 << 62);
    let hex = format!("{bits:032x}");
    let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    format!("{}_{a}-{b}-{c}-{d}-{e}", host())
}

/// 128 random bits.
pub(crate) fn random_u128() -> Result<u128, String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| format!("the system has no random numbers: {e}"))?;
    Ok(u128::from_ne_bytes(bytes))
}

#[cfg(unix)]
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host() -> String {
    "host".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_uuids_on_this_host_and_differ() {
        let id = default_id();
        let (host_part, uuid) = id.rsplit_once('_').unwrap();
        assert_eq!(host_part, host());
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.as_bytes()[14], b'4');
        assert!(matches!(uuid.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        assert_ne!(id, default_id());
    }
}
