//! A long line under the guard: all of it or its head is read, and what of it is new is written.
//!
//! **Who is not in the record that is given out is not lost**: every write under the same guard leaves
//! the waiters behind it where they stand, or is refused.

use tenure_core::{Record, Waiter};

use super::{Guard, State, Stored, place};
use crate::codec::Frame;
use crate::line::{Line, Split};
use crate::slots::{HEADER, SLOT};
use crate::{Clock, Result, codec, image, line};

/// How many waiters may stand in a slot, as far as they fit.
const WAITERS: usize = 16;

impl Guard<'_> {
    /// Reads the record, of a long line at least the first `front` waiters. Those that are missing
    /// stand behind those that are there, and [`complete`](Self::complete) adds them.
    pub(crate) fn read_front(&mut self, front: usize) -> Result<Stored> {
        let place = place(self.folder, self.name);
        let file = &self.opened.file;
        // If it fails, where the others stand is not known: no write follows on that.
        *self.state = None;
        let loaded = image::load(file, place, self.buffers, self.known, front, self.image)?;
        *self.state = Some(State::of(&loaded));
        // What was synced is not there any more: an older copy is, or that slot is damaged.
        if self.image.header.sequence < self.opened.known {
            self.opened.known = 0;
        }
        self.line = loaded.line;
        Ok(loaded.stored)
    }

    /// Whether the record that was given out has all of its waiters.
    pub(crate) fn is_whole(&self) -> bool {
        self.line.is_seen()
    }

    /// Adds the waiters that are missing in `stored`, which is what was read or written last.
    pub(crate) fn complete(&mut self, stored: &mut Stored) -> Result<()> {
        if !self.is_whole() {
            *stored = self.read()?;
        }
        Ok(())
    }

    /// Brings back what was read or written last, unchanged, for the next reader of the same bytes.
    pub(crate) fn bring_back(&mut self, stored: Stored) {
        self.known.bring_back(stored.version, stored.record);
    }

    #[cfg(test)]
    pub(crate) fn line(&self) -> &Line {
        &self.line
    }

    /// Reads anew what a failed write may have changed, before another one. A record that lacks
    /// waiters cannot be written then: they are not known to be those of this reading.
    pub(super) fn read_again(&mut self) -> Result<()> {
        if !self.is_whole() {
            return Err(line::not_seen(place(self.folder, self.name)));
        }
        self.read().map(drop)
    }

    /// Puts the body of `record` where it is written from, behind room for a header; returns where
    /// those waiters stand that are not in it.
    pub(super) fn encode(
        &mut self,
        incarnation: u64,
        clock: Clock,
        record: &Record,
        sequence: u64,
    ) -> Result<Line> {
        let queue = &record.queue;
        if self.line.is_seen() && queue.len() <= WAITERS {
            let line = Line::cleared(self.line.log());
            let len = self.encode_front(incarnation, clock, record, queue.len(), &line);
            if len <= SLOT || queue.is_empty() {
                return Ok(line);
            }
        }
        let Split { front, line } = self.write_line(record, incarnation.wrapping_add(sequence))?;
        self.encode_front(incarnation, clock, record, front, &line);
        Ok(line)
    }

    #[cold]
    fn write_line(&self, record: &Record, fresh: u64) -> Result<Split> {
        let queue: Vec<&Waiter> = record.queue.iter().collect();
        self.line.write(&self.opened.file, place(self.folder, self.name), &queue, fresh)
    }

    /// Encodes `record` with its first `front` waiters in the body; how long it is with a header.
    fn encode_front(
        &mut self,
        incarnation: u64,
        clock: Clock,
        record: &Record,
        front: usize,
        line: &Line,
    ) -> usize {
        let bytes = self.known.forget();
        bytes.clear();
        bytes.resize(HEADER, 0);
        let frame = Frame { incarnation, name: self.name.as_str(), clock, front, log: line.log() };
        codec::encode_in(&frame, &mut self.buffers.past, record, bytes);
        bytes.len()
    }
}

#[cfg(test)]
mod tests;
