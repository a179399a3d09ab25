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

use crate::Past;

/// How many ended holds a record remembers.
pub const HISTORY_MAX: usize = 8;

/// The last ended holds of a lock: at most [`HISTORY_MAX`]. Cloning it copies none of them.
#[derive(Clone, Default)]
pub struct History(Shared);

#[derive(Clone, Default)]
enum Shared {
    #[default]
    Nothing,
    /// What was put together, the oldest first.
    Together(Arc<VecDeque<Past>>),
    Added(Arc<Added>),
}

/// One that was added to those before it.
struct Added {
    past: Past,
    /// How many were added since some were put together: fewer than [`HISTORY_MAX`].
    count: usize,
    before: Shared,
}

impl History {
    /// Adds a hold that has ended just now.
    pub fn push(&mut self, past: Past) {
        if let Shared::Together(all) = &mut self.0
            && let Some(all) = Arc::get_mut(all)
        {
            if all.len() < HISTORY_MAX {
                all.push_back(past);
                return;
            }
            // In the place of the oldest, which is made the last; no other one is moved.
            all.rotate_left(1);
            if let Some(last) = all.back_mut() {
                *last = past;
            }
            return;
        }
        let before = core::mem::take(&mut self.0);
        let count = before.added() + 1;
        self.0 = Shared::Added(Arc::new(Added { past, count, before }));
        if count == HISTORY_MAX {
            let mut together = VecDeque::with_capacity(HISTORY_MAX);
            together.extend(self.iter().cloned());
            self.0 = Shared::Together(Arc::new(together));
        }
    }

    /// What was added to `earlier`, a clone, to make this one: nothing, or a single hold. `None` if
    /// it is more, or if the two do not share what they remember, whatever they say.
    #[must_use]
    pub fn added_to(&self, earlier: &Self) -> Option<Option<&Past>> {
        if self.0.is(&earlier.0) {
            return Some(None);
        }
        let Shared::Added(added) = &self.0 else { return None };
        added.before.is(&earlier.0).then_some(Some(&added.past))
    }

    /// All of them, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Past> + use<'_> {
        let mut all = [None; HISTORY_MAX];
        let mut places = all.iter_mut().rev();
        let mut rest = &self.0;
        while let Shared::Added(added) = rest {
            if let Some(place) = places.next() {
                *place = Some(&added.past);
            }
            rest = &added.before;
        }
        // What those that were added push out is hidden, not gone.
        if let Shared::Together(together) = rest {
            places.zip(together.iter().rev()).for_each(|(place, past)| *place = Some(past));
        }
        all.into_iter().flatten()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Shared {
    fn added(&self) -> usize {
        match self {
            Self::Added(added) => added.count,
            Self::Nothing | Self::Together(_) => 0,
        }
    }

    /// Whether both are one in memory, so that both say the same.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nothing, Self::Nothing) => true,
            (Self::Together(a), Self::Together(b)) => Arc::ptr_eq(a, b),
            (Self::Added(a), Self::Added(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// The last of those given, the oldest first.
impl FromIterator<Past> for History {
    fn from_iter<I: IntoIterator<Item = Past>>(all: I) -> Self {
        let mut all = VecDeque::from_iter(all);
        all.drain(..all.len().saturating_sub(HISTORY_MAX));
        Self(Shared::Together(Arc::new(all)))
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
        let (mut shared, mut alone) = (History::default(), History::from_iter([]));
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
    fn what_was_added_to_an_earlier_state_is_told_where_that_is_shared() {
        let mut history = History::default();
        for n in 1..=40 {
            let earlier = history.clone();
            assert_eq!(history.added_to(&earlier), Some(None));
            history.push(past(n));
            // Every eighth time the last ones are put together anew, and nothing is shared.
            let told = (n % HISTORY_MAX as u64 != 0).then(|| Some(past(n)));
            assert_eq!(history.added_to(&earlier).map(Option::<&Past>::cloned), told);
            let mut later = history.clone();
            later.push(past(n));
            assert_eq!(later.added_to(&earlier), None, "two were added");
            assert_eq!(earlier.added_to(&history), None);
            assert_eq!(history.iter().cloned().collect::<History>().added_to(&history), None);
        }
    }

    #[test]
    fn of_too_many_the_last_ones_are_kept() {
        let history: History = (1..=20).map(past).collect();
        assert_eq!(tokens(&history), [13, 14, 15, 16, 17, 18, 19, 20]);
    }
}
