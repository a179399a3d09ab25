//! Reading under the guard: all of the record, or of a long line its head.
//!
//! **Who is not in the record that is given out is not lost**: every write under the same guard puts
//! the waiters behind it there again, byte by byte, or is refused.

use rustix::io::Errno;

use super::{Guard, State, Stored, place};
use crate::codec::Rest;
use crate::image::Place;
use crate::{Error, Result, image};

impl Guard<'_> {
    /// Reads the record, of a long line at least the first `front` waiters. Those that are missing
    /// stand behind those that are there, and [`complete`](Self::complete) adds them.
    pub(crate) fn read_front(&mut self, front: usize) -> Result<Stored> {
        let place = place(self.folder, self.name);
        let file = &self.opened.file;
        // If it fails, who stands behind what was read before is not kept: no write follows on that.
        *self.state = None;
        let loaded = image::load(file, place, self.buffers, self.known, front)?;
        *self.state = Some(State::of(&loaded));
        self.rest = loaded.rest;
        Ok(loaded.stored)
    }

    /// Whether the record that was given out has all of its waiters.
    pub(crate) fn is_whole(&self) -> bool {
        self.rest.is_none()
    }

    /// Adds the waiters that are missing in `stored`, which is what was read or written last.
    pub(crate) fn complete(&mut self, stored: &mut Stored) -> Result<()> {
        if self.is_whole() {
            return Ok(());
        }
        let Some(waiters) = self.rest.waiters(&self.buffers.long) else {
            return Err(not_kept(place(self.folder, self.name)));
        };
        self.rest = Rest::default();
        stored.record.queue.extend(waiters);
        Ok(())
    }

    /// Brings back what was read or written last, unchanged, for the next reader of the same bytes.
    pub(crate) fn bring_back(&mut self, stored: Stored) {
        if self.is_whole() {
            self.known.bring_back(stored.version, stored.record);
        }
    }

    /// Reads anew what a failed write may have changed, before another one. A record that lacks
    /// waiters cannot be written then: they are not known to be those of this reading.
    pub(super) fn read_again(&mut self) -> Result<()> {
        if !self.is_whole() {
            return Err(place(self.folder, self.name).fail("write")(Errno::STALE));
        }
        self.read().map(drop)
    }
}

/// The waiters behind those that were looked at are not where they were found.
pub(super) fn not_kept(place: Place<'_>) -> Error {
    place.damaged("the rest of its line was not kept")
}

#[cfg(test)]
mod tests;
