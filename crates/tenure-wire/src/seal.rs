//! A mark in a place that other writers keep while they rewrite what it stands for.
//!
//! Go programs keep annotations when they rewrite the rest of an object, so a mark says for which
//! state it was written: **it counts only while the digest beside it is that of what stands there**.
//! The digest guards against writers that do not know us, not against forgers: who may write the
//! object may write anything.

use tenure_core::Mark;
use twox_hash::{XxHash3_64, XxHash3_128};

/// Writes a mark with the digest of what it was written for.
pub(crate) fn write(mark: Mark, sealed: &[u8]) -> String {
    format!("{:032x}-{:016x}", mark.as_u128(), XxHash3_64::oneshot(sealed))
}

/// The mark, if it was written for this.
pub(crate) fn read(text: &str, sealed: &[u8]) -> Option<Mark> {
    let (mark, digest) = text.split_once('-')?;
    let hex = |s: &str, len: usize| s.len() == len && s.bytes().all(|b| b.is_ascii_hexdigit());
    if !hex(mark, 32) || !hex(digest, 16) {
        return None;
    }
    let digest = u64::from_str_radix(digest, 16).ok()?;
    let mark = u128::from_str_radix(mark, 16).ok()?;
    (digest == XxHash3_64::oneshot(sealed)).then(|| Mark::from_u128(mark))
}

/// What stands for a mark in an entry of somebody who writes none: changes with the entry.
pub(crate) fn foreign(entry: &[u8]) -> Mark {
    Mark::from_u128(XxHash3_128::oneshot(entry))
}
