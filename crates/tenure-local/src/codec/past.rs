//! The ended holds of a record as bytes, which most writes leave as they are.
//!
//! They are half of a short body, and the half that changes least: a lock that is taken has the same
//! ones as before, and one that is given back has one more. So the bytes are kept beside the history
//! that they are of. **They are used for that very history alone**: the one in memory whose bytes
//! they are, which nothing changes while it is kept here, or the one that was made by adding to it.

use tenure_core::{HISTORY_MAX, History};

use super::{Reader, Writer};

/// The bytes of the history that was read or written last.
#[derive(Debug, Default)]
pub(crate) struct PastBytes {
    of: History,
    bytes: Vec<u8>,
}

impl PastBytes {
    /// These bytes were read, and are that history's.
    pub(crate) fn note(&mut self, history: &History, bytes: &[u8]) {
        self.of = history.clone();
        self.bytes.clear();
        // Of more than a history has only the last are its own. Nobody writes more.
        if Reader::new(bytes).count().is_some_and(|n| n <= HISTORY_MAX) {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// The bytes of `history`.
    pub(super) fn of(&mut self, history: &History) -> &[u8] {
        if self.bytes.is_empty() || !self.follow(history) {
            self.bytes.clear();
            Writer(&mut self.bytes).history(history);
        }
        self.of = history.clone();
        debug_assert_eq!(self.bytes, anew(history), "the bytes of another history");
        &self.bytes
    }

    /// Makes the bytes those of `history`, where that takes little.
    fn follow(&mut self, history: &History) -> bool {
        let Some(added) = history.added_to(&self.of) else { return false };
        let Some(newest) = added else { return true };
        let mut r = Reader::new(&self.bytes);
        let Some(count) = r.count().filter(|n| *n <= HISTORY_MAX) else { return false };
        if count == HISTORY_MAX && r.past().is_none() {
            return false;
        }
        let kept = self.bytes.len() - r.rest.len();
        let mut number = Vec::with_capacity(1);
        Writer(&mut number).number((count + 1).min(HISTORY_MAX) as u64);
        self.bytes.splice(..kept, number);
        Writer(&mut self.bytes).past(newest);
        true
    }
}

fn anew(history: &History) -> Vec<u8> {
    let mut bytes = Vec::new();
    Writer(&mut bytes).history(history);
    bytes
}
