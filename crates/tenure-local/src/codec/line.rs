//! The line of waiters as bytes, of which a look mostly needs the head alone.
//!
//! With a thousand waiters the line is a hundred kilobytes, every one of them is an allocation, and
//! whoever gets the lock or gives it back asks only who is first. Those further back are checked, as
//! strictly as if they were wanted, and stay bytes, which the next write copies.

use std::collections::VecDeque;
use std::ops::Range;

use tenure_core::Waiter;

use super::Reader;

/// The waiters of a body behind the first ones: how many, and where their bytes are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rest {
    count: usize,
    place: Range<usize>,
}

/// Waiters behind those of a record, as bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Behind<'a> {
    pub(super) count: usize,
    pub(super) bytes: &'a [u8],
}

impl Rest {
    /// Whether there is nobody behind.
    pub(crate) fn is_none(&self) -> bool {
        self.count == 0
    }

    /// They themselves; `None` if this is not the body they were found in.
    pub(crate) fn waiters(&self, body: &[u8]) -> Option<Vec<Waiter>> {
        let mut r = Reader::new(body.get(self.place.clone())?);
        let all: Option<Vec<_>> = (0..self.count).map(|_| r.waiter()).collect();
        all.filter(|_| r.rest.is_empty())
    }

    /// Their bytes; `None` likewise.
    pub(crate) fn behind<'a>(&self, body: &'a [u8]) -> Option<Behind<'a>> {
        if self.is_none() {
            return Some(Behind::default());
        }
        let bytes = body.get(self.place.clone())?;
        Some(Behind { count: self.count, bytes })
    }
}

impl Reader<'_> {
    /// The list of waiters in a body of `len` bytes: the first `front`, and where the others are.
    pub(super) fn line(&mut self, len: usize, front: usize) -> Option<(VecDeque<Waiter>, Rest)> {
        let count = self.count()?;
        let front = count.min(front);
        let mut first = Vec::with_capacity(front.min(64));
        for _ in 0..front {
            first.push(self.waiter()?);
        }
        let start = len - self.rest.len();
        for _ in front..count {
            self.skip_waiter()?;
        }
        let place = start..len - self.rest.len();
        Some((first.into(), Rest { count: count - front, place }))
    }

    /// As [`waiter`](Reader::waiter), but nothing is made of it.
    fn skip_waiter(&mut self) -> Option<()> {
        self.str()?;
        self.mark()?;
        self.session()?;
        self.number()?;
        self.term()?;
        self.wall()?;
        for _ in 0..self.count()? {
            self.str()?;
        }
        Some(())
    }
}
