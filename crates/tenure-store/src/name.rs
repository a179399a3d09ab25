//! The name of a lock, checked once.
//!
//! Knows the rule that holds for every store. A backend whose own names are narrower (an object of
//! Kubernetes) refuses the rest with [`Error::Invalid`](crate::Error::Invalid).

use std::fmt;

use tenure_core::Text;

/// Name of a lock: 1 to 1,024 bytes of text without control characters.
///
/// `/`, `..` and blanks are plain text. Cloning never allocates.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Text);

impl Name {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 1_024;

    /// Checks `name`.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong with it.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > Self::BYTES_MAX {
            return Err(NameError::TooLong { bytes: name.len() });
        }
        if let Some((at, found)) = name.char_indices().find(|(_, c)| c.is_control()) {
            return Err(NameError::Control { found, at });
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, to be shared.
    #[must_use]
    pub const fn text(&self) -> &Text {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl TryFrom<&str> for Name {
    type Error = NameError;

    fn try_from(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

/// Why a text is not the name of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// There is nothing in it.
    Empty,
    /// It is longer than [`Name::BYTES_MAX`].
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// It has a control character in it.
    Control {
        /// The first such character.
        found: char,
        /// Its place, in bytes.
        at: usize,
    },
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max = Name::BYTES_MAX;
        match self {
            Self::Empty => write!(f, "lock name is empty: give 1 to {max} bytes of text"),
            Self::TooLong { bytes } => {
                write!(f, "lock name has {bytes} bytes: give at most {max}")
            }
            Self::Control { found, at } => {
                write!(
                    f,
                    "lock name has the control character {found:?} at byte {at}: leave it out"
                )
            }
        }
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_every_kind_is_a_name() {
        let longest = "x".repeat(1_024);
        for name in ["a", "..", "/", "../../etc/passwd", "a b", ".hidden", "é✓", &*longest] {
            assert_eq!(Name::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn what_is_no_name_is_refused_by_what_is_wrong_with_it() {
        let refusal = |name: &str| Name::new(name).unwrap_err().to_string();
        assert_eq!(refusal(""), "lock name is empty: give 1 to 1024 bytes of text");
        assert_eq!(refusal(&"é".repeat(513)), "lock name has 1026 bytes: give at most 1024");
        assert_eq!(
            refusal("a\nb"),
            r"lock name has the control character '\n' at byte 1: leave it out"
        );
        for control in ["\0", "\u{7f}", "a\u{85}"] {
            assert!(matches!(Name::new(control), Err(NameError::Control { .. })), "{control:?}");
        }
    }
}
