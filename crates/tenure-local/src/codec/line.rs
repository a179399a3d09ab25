//! A long line of waiters as bytes: the entries of a log, and what a body says of it.
//!
//! Owns the bytes alone; [`line`](crate::line) reads and writes them.

use tenure_core::Waiter;
use twox_hash::XxHash3_64;

use super::{Reader, Writer};
use crate::slots::{Area, BODY_MAX, FILE};

/// Waiters that stand in the log: where, and what proves that they are those.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Logged {
    /// How many.
    pub(crate) count: usize,
    /// Where the first entry begins, from the beginning of the file.
    pub(crate) at: u64,
    /// Length of all entries.
    pub(crate) len: usize,
    /// The sum ahead of the first entry, which its own continues.
    pub(crate) before: u64,
    /// The sum of the last entry.
    pub(crate) last: u64,
}

/// A file's log: who stands in it, and its region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) line: Logged,
    /// Where there is room for lines. Without capacity there is none.
    pub(crate) region: Area,
}

impl Logged {
    /// Where the last entry ends.
    pub(crate) fn end(&self) -> u64 {
        self.at + self.len as u64
    }
}

impl Log {
    /// Whether there is none, and never was.
    pub(crate) fn is_none(&self) -> bool {
        self.region.capacity == 0
    }

    fn is_sane(&self) -> bool {
        let Self { line, region } = self;
        let behind = line.at.checked_add(line.len as u64);
        let within = line.at >= region.offset && behind.is_some_and(|end| end <= region.end());
        let one_each = line.count <= line.len && line.len <= BODY_MAX;
        !self.is_none()
            && region.offset >= FILE as u64
            && region.offset.checked_add(region.capacity.into()).is_some()
            && (line.count == 0 || within && one_each)
    }
}

/// The sum of an entry that stands behind one with the sum `before`.
fn sum(before: u64, entry: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(before, entry)
}

impl Writer<'_> {
    pub(super) fn log(&mut self, log: &Log) {
        self.number(log.region.offset);
        self.number(log.region.capacity.into());
        self.number(log.line.count as u64);
        if log.line.count > 0 {
            self.number(log.line.at);
            self.number(log.line.len as u64);
            self.fixed(&log.line.before.to_le_bytes());
            self.fixed(&log.line.last.to_le_bytes());
        }
    }

    /// An entry behind one with the sum `before`; returns its own.
    pub(crate) fn entry(&mut self, waiter: &Waiter, before: u64) -> u64 {
        let start = self.0.len();
        self.waiter(waiter);
        let sum = sum(before, &self.0[start..]);
        self.fixed(&sum.to_le_bytes());
        sum
    }
}

impl Reader<'_> {
    pub(super) fn log(&mut self) -> Option<Log> {
        let (offset, capacity) = (self.number()?, u32::try_from(self.number()?).ok()?);
        let mut log = Log { line: Logged::default(), region: Area { offset, capacity } };
        let line = &mut log.line;
        line.count = usize::try_from(self.number()?).ok()?;
        if line.count > 0 {
            line.at = self.number()?;
            line.len = usize::try_from(self.number()?).ok()?;
            line.before = u64::from_le_bytes(self.fixed()?);
            line.last = u64::from_le_bytes(self.fixed()?);
        }
        Some(log).filter(Log::is_sane)
    }

    /// The entry behind one with the sum `before`, and its own sum.
    pub(crate) fn entry(&mut self, before: u64) -> Option<(Waiter, u64)> {
        let all = self.rest;
        let waiter = self.waiter()?;
        let sum = sum(before, &all[..all.len() - self.rest.len()]);
        (u64::from_le_bytes(self.fixed()?) == sum).then_some((waiter, sum))
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }
}
