//! Names of locks, and the file names they become.
//!
//! Owns what a valid name is and how it is escaped; knows nothing of folders. Two names never share
//! a file name unless a 128-bit hash collides, and then the full name in the record tells them
//! apart.

use std::ffi::{CStr, CString};
use std::fmt;
use std::fmt::Write as _;

use tenure_core::Text;
use twox_hash::XxHash3_128;

use crate::{Error, Result};

/// The longest name, in bytes.
pub const NAME_MAX: usize = 1024;
/// The longest escaped name that is used as it is; file systems allow 255 bytes.
const FILE_NAME_MAX: usize = 200;
/// How much of a longer one is kept before its hash.
const PREFIX_MAX: usize = 160;

/// The name of a lock: 1 to 1,024 bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LockName {
    text: Text,
    file: CString,
}

impl LockName {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`Error::Invalid`] says which rule it breaks.
    pub fn new(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::Invalid("the lock name is empty; give 1 to 1024 bytes".into()));
        }
        if text.len() > NAME_MAX {
            let len = text.len();
            let message = format!("the lock name is {len} bytes long; the longest is {NAME_MAX}");
            return Err(Error::Invalid(message));
        }
        if let Some((at, c)) = text.char_indices().find(|(_, c)| c.is_control()) {
            let message = format!(
                "lock name {text:?} has the control character {c:?} at byte {at}; use text without"
            );
            return Err(Error::Invalid(message));
        }
        let file = format!("locks/{}", escape(text));
        let file = CString::new(file).map_err(|e| Error::Invalid(e.to_string()))?;
        Ok(Self { text: text.into(), file })
    }

    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name as shared text.
    #[must_use]
    pub fn text(&self) -> &Text {
        &self.text
    }

    /// The name of its file in `locks/`.
    pub(crate) fn file_name(&self) -> &[u8] {
        &self.file.as_bytes()["locks/".len()..]
    }

    /// Its file, relative to the store folder.
    pub(crate) fn file(&self) -> &CStr {
        &self.file
    }
}

impl fmt::Debug for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

/// A file name for `text`: percent-encoded, or a prefix of that with a hash of the whole.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for (i, byte) in text.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if plain && !(i == 0 && byte == b'.') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    if out.len() > FILE_NAME_MAX {
        out.truncate(PREFIX_MAX);
        // `~` is always percent-encoded above, so no short name looks like this.
        let _ = write!(out, "~{:032x}", XxHash3_128::oneshot(text.as_bytes()));
    }
    out
}

/// The name that a file of [`escape`]'s making stands for; `None` if only a hash of it is left, or
/// the file is not of its making.
pub(crate) fn unescape(file: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(file.len());
    let mut rest = file.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().filter(|name| escape(name) == file)
}

/// What is named by bytes, behind `prefix`: two digits each.
pub(crate) fn hex(prefix: &str, bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let mut text = String::with_capacity(prefix.len() + 2 * bytes.len());
    text.push_str(prefix);
    text.extend(digits.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(text: &str) -> String {
        LockName::new(text).unwrap().file().to_str().unwrap().to_owned()
    }

    #[test]
    fn plain_names_stay_readable_and_others_are_escaped() {
        assert_eq!(file_of("nightly-backup_2.x"), "locks/nightly-backup_2.x");
        assert_eq!(file_of("a/../b"), "locks/a%2F..%2Fb");
        assert_eq!(file_of(".."), "locks/%2E.");
        assert_eq!(file_of("ä b~%"), "locks/%C3%A4%20b%7E%25");
    }

    #[test]
    fn file_names_turn_back_into_names() {
        for name in ["nightly", "a/../b", "..", "ä b~%", ".x"] {
            assert_eq!(unescape(&escape(name)).as_deref(), Some(name));
        }
        let hashed = escape(&"x".repeat(300));
        for file in [hashed.as_str(), ".x", "a%2", "a%zz", "%FF", "a b", "%61"] {
            assert_eq!(unescape(file), None, "{file}");
        }
    }

    #[test]
    fn long_names_get_a_hash_and_stay_apart() {
        let (a, b) = ("ü".repeat(400), format!("{}x", "ü".repeat(399)));
        assert!(file_of(&a).len() < 255 && file_of(&a) != file_of(&b));
        assert!(file_of(&"x".repeat(200)).ends_with('x'));
        assert!(file_of(&"x".repeat(201)).contains('~'));
        assert_eq!(file_of(&"x".repeat(1024)).len(), "locks/".len() + PREFIX_MAX + 33);
    }

    #[test]
    fn bad_names_are_refused_with_the_reason() {
        let refuse = |text: &str| LockName::new(text).unwrap_err().to_string();
        assert!(refuse("").contains("empty"));
        assert!(refuse(&"x".repeat(1025)).contains("1025 bytes"));
        assert!(refuse("a\nb").contains(r"'\n' at byte 1"));
        assert!(refuse("a\u{85}").contains("control character"));
        assert!(LockName::new(&"x".repeat(1024)).is_ok());
    }
}
