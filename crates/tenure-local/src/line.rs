//! A long line of waiters: a log in the lock's file, read from its front and written at its end.
//!
//! With a thousand waiters a line is a hundred kilobytes. Whoever gets the lock, hands it on or joins
//! changes one of them, so those who do not fit into a slot stand in a region of the file, once, and
//! each slot says where its line begins and ends there.
//!
//! ```text
//! slot: ... who stands in the body, then the line from here to there, ...
//! region:  │ gone │ entry │ entry │ entry │ room for newcomers │
//!                 └ a hand-over moves it   └ a newcomer moves it
//! ```
//!
//! **An entry that a slot refers to is never changed**, as long as that slot is the newest: newcomers
//! are written behind the end, and when that is the end of the region, all who are left are written
//! to where it has room, or to a larger one. Slots that are older may refer to what is gone. Every
//! entry has a checksum that continues the one ahead of it, so that what is read is the line that was
//! written, from the first to the last.
//!
//! **No promise hangs on a line.** It names none who holds, and who finds itself missing joins again.
//! So one that is not what was written, by damage or after a power cut, which no waiter outlives, is
//! an empty one, and counts as damage.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use tenure_core::{Mark, Waiter};

use crate::codec::{ENTRY_MIN, Log, Logged, Reader, Writer};
use crate::image::{self, Place};
use crate::{Error, Result, sys};

/// How much is read for one waiter; mostly that is enough.
const ONE: usize = 512;
/// How many waiters may stand in a body while others stand in the log: those who are passed over.
const FRONT: usize = 4;
/// The smallest region.
const REGION: usize = 16 << 10;
/// How many times as long as its line a region is. So there is room beside the line, wherever it is,
/// for all of it and for those in the body: on a full disk nobody can join, but who is served or
/// leaves finds room.
const ROOM: usize = 4;

/// What is known of the waiters in the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    log: Log,
    /// The first of them, which were read.
    seen: Vec<Seen>,
}

/// An entry that was read or written.
#[derive(Clone, Copy, Debug)]
struct Seen {
    mark: Mark,
    /// Where it ends.
    end: u64,
    sum: u64,
}

/// How a record's waiters are written.
#[derive(Debug)]
pub(crate) struct Split {
    /// How many of them stand in the body.
    pub(crate) front: usize,
    /// Those behind.
    pub(crate) line: Line,
}

impl Line {
    /// Nobody stands in this log any more, whoever did.
    pub(crate) fn cleared(log: &Log) -> Self {
        Self { log: Log { line: Logged::default(), ..*log }, seen: Vec::new() }
    }

    /// What a slot says of it.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Whether all who stand in it were read.
    pub(crate) fn is_seen(&self) -> bool {
        self.seen.len() == self.log.line.count
    }

    /// Reads the first `front` waiters; `None` if they are not those who were written.
    pub(crate) fn read(
        file: &OwnedFd,
        log: Log,
        front: usize,
        bytes: &mut Vec<u8>,
    ) -> rustix::io::Result<Option<(Vec<Waiter>, Self)>> {
        let Logged { count, at, len, .. } = log.line;
        let front = front.min(count);
        if front == 0 {
            return Ok(Some((Vec::new(), Self { log, seen: Vec::new() })));
        }
        let guess = if front < count { len.min(front.saturating_mul(ONE)) } else { len };
        for len in [guess, len] {
            bytes.resize(len, 0);
            let n = sys::read_at(file, bytes, at)?;
            let read = Self::decode(log, front, &bytes[..n]);
            if read.is_some() || len == log.line.len {
                return Ok(read);
            }
        }
        Ok(None)
    }

    fn decode(log: Log, front: usize, bytes: &[u8]) -> Option<(Vec<Waiter>, Self)> {
        // No more than there are bytes for, whatever is said of their number.
        let room = front.min(bytes.len() / ENTRY_MIN);
        let seen = Vec::with_capacity(room);
        let (mut waiters, mut line) = (Vec::with_capacity(room), Self { log, seen });
        let mut r = Reader::new(bytes);
        for _ in 0..front {
            let (waiter, sum) = r.entry(line.sum())?;
            let end = log.line.at + (bytes.len() - r.left()) as u64;
            line.seen.push(Seen { mark: waiter.mark, end, sum });
            waiters.push(waiter);
        }
        let ends = line.end() == log.line.end() && line.sum() == log.line.last;
        (ends || front < log.line.count).then_some((waiters, line))
    }

    /// The sum of the last one that was read.
    fn sum(&self) -> u64 {
        self.seen.last().map_or(self.log.line.before, |seen| seen.sum)
    }

    /// Where the last one that was read ends.
    fn end(&self) -> u64 {
        self.seen.last().map_or(self.log.line.at, |seen| seen.end)
    }

    /// Those of this line who are still in `queue`, which has its first waiters and, if all were read,
    /// newcomers: how many of `queue` stand ahead of them, how many of them are in it, and the line
    /// of them and of all who were not read.
    fn rest(&self, queue: &[&Waiter]) -> (usize, usize, Self) {
        let last = self.seen.last().and_then(|s| queue.iter().rposition(|w| w.mark == s.mark));
        let behind = last.map_or(0, |last| {
            let both = self.seen.iter().rev().zip(queue[..=last].iter().rev());
            both.take_while(|(seen, waiter)| seen.mark == waiter.mark).count()
        });
        let ahead = match last {
            Some(last) => last + 1 - behind,
            // Those who were not read stand behind all others.
            None => queue.len(),
        };
        let gone = self.seen.len() - behind;
        let (at, before) = match gone.checked_sub(1).map(|i| self.seen[i]) {
            Some(seen) => (seen.end, seen.sum),
            None => (self.log.line.at, self.log.line.before),
        };
        let Logged { count, last, .. } = self.log.line;
        let len = usize::try_from(self.log.line.end() - at).unwrap_or_default();
        let line = Logged { count: count - gone, at, len, before, last };
        let log = Log { line, ..self.log };
        (ahead, behind, Self { log, seen: self.seen[gone..].to_vec() })
    }

    /// Where the waiters in `queue`, too many for a body, are to stand; writes those who stand
    /// nowhere yet. `fresh` is a sum that no line of this file has begun with.
    pub(crate) fn write(
        &self,
        file: &OwnedFd,
        place: Place<'_>,
        queue: &[&Waiter],
        fresh: u64,
    ) -> Result<Split> {
        let (front, behind, mut line) = self.rest(queue);
        if !self.is_seen() {
            // Who joins must have seen all whom it stands behind.
            let known = front + behind == queue.len();
            return known.then_some(Split { front, line }).ok_or_else(|| not_seen(place));
        }
        if behind > 0 && front <= FRONT && line.append(file, place, &queue[front + behind..])? {
            return Ok(Split { front, line });
        }
        let joins = front + behind < queue.len();
        Ok(Split { front: 0, line: self.anew(file, place, queue, fresh, joins)? })
    }

    /// Writes newcomers behind the others; `false`: there is no room.
    fn append(&mut self, file: &OwnedFd, place: Place<'_>, new: &[&Waiter]) -> Result<bool> {
        if new.is_empty() {
            return Ok(true);
        }
        let at = self.end();
        let bytes = self.extend(new);
        // A longer one would never be read back.
        image::check_length(self.log.line.len)?;
        if self.end() > self.log.region.end() || !self.is_roomy(self.log.line.len) {
            return Ok(false);
        }
        sys::write_at(file, &bytes, at).map_err(place.fail("write"))?;
        Ok(true)
    }

    /// Adds entries at the end; their bytes.
    fn extend(&mut self, new: &[&Waiter]) -> Vec<u8> {
        let (mut bytes, start) = (Vec::new(), self.end());
        for waiter in new {
            let sum = Writer(&mut bytes).entry(waiter, self.sum());
            let end = start + bytes.len() as u64;
            self.seen.push(Seen { mark: waiter.mark, end, sum });
        }
        let last = self.sum();
        let line = &mut self.log.line;
        let (count, len) = (line.count + new.len(), line.len + bytes.len());
        *line = Logged { count, len, last, ..*line };
        bytes
    }

    /// Writes all of `queue` where the newest slot refers to nothing. If somebody `joins`, the room
    /// that the others may need is not used up.
    fn anew(
        &self,
        file: &OwnedFd,
        place: Place<'_>,
        queue: &[&Waiter],
        fresh: u64,
        joins: bool,
    ) -> Result<Self> {
        let mut line = Self::cleared(&self.log);
        line.log.line = Logged { before: fresh, last: fresh, ..Logged::default() };
        let bytes = line.extend(queue);
        image::check_length(bytes.len())?;
        let room = self.room_for(bytes.len() as u64);
        if let Some(offset) = room.filter(|_| !joins || self.is_roomy(bytes.len())) {
            sys::write_at(file, &bytes, offset).map_err(place.fail("write"))?;
            line.moved_to(offset);
        } else {
            let capacity = (ROOM * bytes.len()).next_power_of_two().max(REGION);
            line.log.region = image::grow(file, place, &bytes, capacity)?;
            line.moved_to(line.log.region.offset);
        }
        Ok(line)
    }

    /// Whether the region is as long as one for a line of this length is to be.
    fn is_roomy(&self, len: usize) -> bool {
        ROOM * len <= self.log.region.capacity as usize
    }

    /// Where the region has room for a whole line beside the one in it, before it or behind.
    fn room_for(&self, len: u64) -> Option<u64> {
        let Log { line, region } = &self.log;
        let (start, end) = match line.count {
            0 => (region.end(), region.end()),
            _ => (line.at, line.end()),
        };
        let fits = |from: u64, to: u64| (len <= to - from && !self.log.is_none()).then_some(from);
        fits(region.offset, start).or_else(|| fits(end, region.end()))
    }

    /// Entries that were put together as if at 0 stand at `offset`.
    fn moved_to(&mut self, offset: u64) {
        self.log.line.at = offset;
        self.seen.iter_mut().for_each(|seen| seen.end += offset);
    }
}

/// A line was to be written of which not all is known.
pub(crate) fn not_seen(place: Place<'_>) -> Error {
    place.fail("write")(Errno::STALE)
}

#[cfg(test)]
mod tests;
