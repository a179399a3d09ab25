//! Who is to be woken when. Knows no clock and wakes nobody itself.

use std::collections::BTreeMap;
use std::task::Waker;

use tenure_core::Time;

/// Wake-ups in the order of their time.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    wakers: BTreeMap<(Time, u64), Waker>,
    last: u64,
}

impl Schedule {
    /// Adds a wake-up; the number names it, and it comes first if there was none before it.
    pub(super) fn add(&mut self, at: Time, waker: Waker) -> u64 {
        self.last += 1;
        self.wakers.insert((at, self.last), waker);
        self.last
    }

    /// Takes one back. What is returned may run anything when dropped: drop it without a lock.
    pub(super) fn remove(&mut self, at: Time, number: u64) -> Option<Waker> {
        self.wakers.remove(&(at, number))
    }

    /// The first wake-up's time.
    pub(super) fn next(&self) -> Option<Time> {
        self.wakers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes out the first wake-up if it is due.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<Waker> {
        let first = self.wakers.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }
}
