//! The ended holds of a record as bytes, which most writes leave as they are.
//!
//! They are half of a short body, and the half that changes least: a lock that is taken has the same
//! ones as before, and one that is given back has one more. So the bytes are kept beside the history
//! that they are of. **They are used for that very history alone**: the one in memory whose bytes
//! they are, which nothing changes while it is kept here, or the one that was made by adding to it.

use tenure_core::{HISTORY_MAX, History, Past};

use super::{Reader, Writer};

/// The bytes of the history that was read or written last.
#[derive(Debug, Default)]
pub(crate) struct PastBytes {
    of: History,
    bytes: Vec<u8>,
    /// How long each of them is, in bytes that were put together here.
    lens: Vec<usize>,
}

impl PastBytes {
    /// These bytes were read, and are that history's.
    pub(crate) fn note(&mut self, history: &History, bytes: &[u8]) {
        self.of = history.clone();
        self.bytes.clear();
        self.lens.clear();
        // Of more than a history has only the last are its own. Nobody writes more.
        if Reader::new(bytes).count().is_some_and(|n| n <= HISTORY_MAX) {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// The bytes of `history`.
    pub(super) fn of(&mut self, history: &History) -> &[u8] {
        if self.bytes.is_empty() || !self.follow(history) {
            self.begin(history);
        }
        self.of = history.clone();
        debug_assert_eq!(self.bytes, anew(history), "the bytes of another history");
        &self.bytes
    }

    #[cold]
    fn begin(&mut self, history: &History) {
        self.lens.clear();
        self.bytes.clear();
        self.bytes.push(0);
        history.iter().for_each(|past| self.add(past));
    }

    /// Makes the bytes those of `history`, where that takes little.
    fn follow(&mut self, history: &History) -> bool {
        let Some(added) = history.added_to(&self.of) else { return false };
        let Some(newest) = added else { return true };
        // How many there are: a number of one byte.
        if self.bytes.first() != Some(&(self.lens.len() as u8)) {
            return false;
        }
        if self.lens.len() == HISTORY_MAX {
            let oldest = self.lens.remove(0);
            self.bytes.drain(1..=oldest);
        }
        self.add(newest);
        true
    }

    /// Adds one behind the others. Their number is a byte, the first one.
    fn add(&mut self, newest: &Past) {
        let before = self.bytes.len();
        Writer(&mut self.bytes).past(newest);
        self.lens.push(self.bytes.len() - before);
        self.bytes[0] = self.lens.len() as u8;
    }
}

fn anew(history: &History) -> Vec<u8> {
    let mut bytes = Vec::new();
    Writer(&mut bytes).history(history);
    bytes
}
