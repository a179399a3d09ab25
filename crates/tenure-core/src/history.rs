//! The last ended holds of a lock, shared by all copies of its record.
//!
//! Most changes of a record leave its past as it is, and a release adds one hold to it, while others
//! still have the record as it was. So a copy shares everything, and adding to one copies nothing:
//! what is new is chained in front of what is shared. Only every [`HISTORY_MAX`]th time the last
//! ones are put together anew, which lets go of what is too old.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::iter::successors;

use crate::Past;

/// How many ended holds a record remembers.
pub const HISTORY_MAX: usize = 8;

/// The last ended holds of a lock: at most [`HISTORY_MAX`]. Cloning it copies none of them.
#[derive(Clone, Default)]
pub struct History {
    /// What was added since, the newest first; fewer than [`HISTORY_MAX`].
    newer: Option<Arc<Node>>,
    /// What was put together, the oldest first. What `newer` pushes out is hidden, not gone.
    older: Arc<VecDeque<Past>>,
}

struct Node {
    past: Past,
    /// How many there are from here on.
    count: usize,
    before: Option<Arc<Self>>,
}

impl History {
    /// Adds a hold that has ended just now.
    pub fn push(&mut self, past: Past) {
        if let (None, Some(alone)) = (&self.newer, Arc::get_mut(&mut self.older)) {
            let too_many = (alone.len() + 1).saturating_sub(HISTORY_MAX);
            alone.drain(..too_many);
            alone.push_back(past);
            return;
        }
        let before = self.newer.take();
        let count = before.as_ref().map_or(1, |node| node.count + 1);
        self.newer = Some(Arc::new(Node { past, count, before }));
        if count == HISTORY_MAX {
            *self = self.iter().cloned().collect();
        }
    }

    /// All of them, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Past> + use<'_> {
        let newer = successors(self.newer.as_deref(), |node| node.before.as_deref());
        let newest_first = newer.map(|node| &node.past).chain(self.older.iter().rev());
        let mut all = [None; HISTORY_MAX];
        for (place, past) in all.iter_mut().rev().zip(newest_first) {
            *place = Some(past);
        }
        all.into_iter().flatten()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let newer = self.newer.as_ref().map_or(0, |node| node.count);
        HISTORY_MAX.min(newer + self.older.len())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The last of those given, the oldest first.
impl FromIterator<Past> for History {
    fn from_iter<I: IntoIterator<Item = Past>>(all: I) -> Self {
        let mut older = VecDeque::from_iter(all);
        older.drain(..older.len().saturating_sub(HISTORY_MAX));
        Self { newer: None, older: Arc::new(older) }
    }
}

impl PartialEq for History {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for History {}

impl Hash for History {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len().hash(state);
        self.iter().for_each(|past| past.hash(state));
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::{End, Token, Wall};

    fn past(token: u64) -> Past {
        let (since, until) = (Wall::default(), Wall::default());
        let (id, token, end) = ("a".into(), Token::new(token), End::Released);
        Past { id, token, ticket: 0, since, until, end, reason: None }
    }

    fn tokens(history: &History) -> Vec<u64> {
        history.iter().map(|past| past.token.get()).collect()
    }

    #[test]
    fn it_shows_the_last_ones_whoever_has_the_earlier_states() {
        let (mut shared, mut alone) = (History::default(), History::default());
        let mut earlier = Vec::new();
        for n in 1..=40 {
            earlier.push(shared.clone());
            shared.push(past(n));
            alone.push(past(n));
            let last: Vec<_> = (1..=n).collect();
            let last = &last[last.len().saturating_sub(HISTORY_MAX)..];
            assert_eq!(tokens(&shared), last);
            assert_eq!(shared, alone);
            assert_eq!((shared.len(), shared.is_empty()), (last.len(), false));
            let newest_first: Vec<_> = shared.iter().rev().map(|past| past.token.get()).collect();
            assert!(newest_first.iter().eq(last.iter().rev()));
        }
        for (n, earlier) in earlier.iter().enumerate() {
            assert_eq!(earlier.len(), n.min(HISTORY_MAX));
            assert_eq!(earlier.iter().next_back().map_or(0, |past| past.token.get()), n as u64);
        }
    }

    #[test]
    fn of_too_many_the_last_ones_are_kept() {
        let history: History = (1..=20).map(past).collect();
        assert_eq!(tokens(&history), [13, 14, 15, 16, 17, 18, 19, 20]);
    }
}
