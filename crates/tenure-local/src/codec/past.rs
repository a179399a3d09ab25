//! The ended holds of a record as bytes, which most writes leave as they are.
//!
//! They are half of a short body, and the half that changes least: a lock that is taken has the same
//! ones as before, and one that is given back has one more. So the bytes are kept beside the history
//! that they are of, and where the next ones are the same, or only the newest is new, no more than
//! that is read or written. Where more is new all of them are, as when several others had the lock
//! meanwhile.
//!
//! **They are used for that very history alone**: the one in memory whose bytes they are, or the one
//! that was made by adding to it, which [`History`] tells. **And a history is given out for its bytes
//! alone**, each of them compared: what an entry means depends on nothing else, so those that are kept
//! need not be read again.

use tenure_core::{HISTORY_MAX, History, Past};

use super::{Reader, Writer};

/// The bytes of the history that was read or written last.
#[derive(Debug, Default)]
pub(crate) struct PastBytes {
    of: History,
    /// Begins with how many there are, in one byte. There are no bytes before the first history, and
    /// for one that was longer than any that is written.
    bytes: Vec<u8>,
    /// How long each of them is: together as long as the bytes behind the first.
    lens: Vec<usize>,
}

impl PastBytes {
    /// The history that all the rest of a body is.
    pub(super) fn read(&mut self, mut rest: Reader<'_>) -> Option<History> {
        let bytes = rest.rest;
        if let Some(newest) = self.behind(bytes) {
            rest.rest = newest;
            let past = rest.past().filter(|_| rest.rest.is_empty())?;
            self.of.push(past);
            self.make_room();
            self.bytes.extend_from_slice(newest);
            self.count(newest.len());
        } else if self.bytes != bytes || bytes.is_empty() {
            self.read_all(rest)?;
        }
        debug_assert_eq!(self.of, Self::of_bytes(bytes), "the history of other bytes");
        Some(self.of.clone())
    }

    /// The bytes of the newest one, if those of the others are known.
    fn behind<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let (count, bytes) = bytes.split_first()?;
        let others = self.bytes.get(1 + self.surplus()..)?;
        let newest = bytes.strip_prefix(others).filter(|newest| !newest.is_empty());
        newest.filter(|_| usize::from(*count) == HISTORY_MAX.min(self.lens.len() + 1))
    }

    #[cold]
    fn read_all(&mut self, mut rest: Reader<'_>) -> Option<()> {
        let bytes = rest.rest;
        let (mut all, mut lens) = (Vec::new(), Vec::new());
        for _ in 0..rest.count()? {
            let before = rest.rest.len();
            all.push(rest.past()?);
            lens.push(before - rest.rest.len());
        }
        rest.rest.is_empty().then_some(())?;
        self.of = all.into_iter().collect();
        self.bytes.clear();
        self.lens.clear();
        // Of more than a history has only the last are its own. Nobody writes more.
        if lens.len() <= HISTORY_MAX {
            self.bytes.extend_from_slice(bytes);
            self.lens = lens;
        }
        Some(())
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
        if let Some(newest) = added {
            self.make_room();
            self.add(newest);
        }
        true
    }

    fn add(&mut self, newest: &Past) {
        let before = self.bytes.len();
        Writer(&mut self.bytes).past(newest);
        self.count(self.bytes.len() - before);
    }

    /// Counts one more, whose `len` bytes stand behind the others.
    fn count(&mut self, len: usize) {
        self.lens.push(len);
        self.bytes[0] = self.lens.len() as u8;
    }

    /// How many bytes the next one pushes out.
    fn surplus(&self) -> usize {
        let oldest = self.lens.first().filter(|_| self.lens.len() == HISTORY_MAX);
        oldest.copied().unwrap_or(0)
    }

    fn make_room(&mut self) {
        let oldest = self.surplus();
        if oldest > 0 {
            self.lens.remove(0);
            self.bytes.drain(1..=oldest);
        }
    }

    fn of_bytes(bytes: &[u8]) -> History {
        let mut anew = Self::default();
        anew.read_all(Reader::new(bytes)).map_or_else(History::default, |()| anew.of)
    }
}

/// The bytes of `history`, by one who knows nothing.
pub(super) fn anew(history: &History) -> Vec<u8> {
    let mut bytes = Vec::new();
    Writer(&mut bytes).history(history);
    bytes
}
