//! The watch of the sloppy store, with its own mistakes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tenure_store::{Name, Result, Snapshot, Stream};

use crate::bug::Bug;
use crate::state::{Shared, State};

/// A watch that looks at the store whenever it is polled.
pub(crate) struct SloppyWatch {
    shared: Arc<Shared>,
    key: String,
    number: u64,
    /// What was told last.
    seen: Option<Snapshot>,
    /// What stood when the watch was made.
    at_call: Option<Snapshot>,
    registered: bool,
    went_back: bool,
}

impl SloppyWatch {
    pub(crate) fn new(shared: Arc<Shared>, name: &Name) -> Self {
        let key = shared.key(name);
        let mut state = shared.state();
        state.watches += 1;
        let number = state.watches;
        let at_call = state.snapshot(&key, shared.bug);
        let seen = (shared.bug == Bug::WatchBeginsLate).then(|| at_call.clone());
        let at_call = (shared.bug == Bug::WatchBeginsEarly).then_some(at_call);
        drop(state);
        Self { shared, key, number, seen, at_call, registered: false, went_back: false }
    }

    /// The next thing to tell, if there is one.
    fn news(&mut self, state: &State) -> Option<Snapshot> {
        if let Some(early) = self.at_call.take() {
            return Some(early);
        }
        let bug = self.shared.bug;
        let now = state.snapshot(&self.key, bug);
        let seen = self.seen.as_ref();
        let same = seen.is_some_and(|seen| {
            let both = (seen.stored(), now.stored());
            let creation = matches!(both, (Some(a), Some(b))
                if a.version.incarnation != b.version.incarnation);
            seen.stored().map(|s| s.version) == now.stored().map(|s| s.version)
                || bug == Bug::WatchMissesDeletion && now.stored().is_none()
                || bug == Bug::WatchMissesCreation && creation
        });
        if !same {
            self.seen = Some(now.clone());
            self.went_back = false;
            return Some(now);
        }
        let goes_back = bug == Bug::WatchGoesBack && !std::mem::replace(&mut self.went_back, true);
        let before = state.names.get(&self.key).filter(|_| goes_back)?.before.clone();
        before.map(Snapshot::Is)
    }
}

impl Stream for SloppyWatch {
    type Item = Result<Snapshot>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let bug = this.shared.bug;
        if bug == Bug::WatchEnds && this.seen.is_some() {
            return Poll::Ready(None);
        }
        let shared = Arc::clone(&this.shared);
        let mut state = shared.state();
        if let Some(news) = this.news(&state) {
            this.registered = false;
            return Poll::Ready(Some(Ok(news)));
        }
        let keeps = bug == Bug::WatchKeepsWaker && this.registered;
        if bug != Bug::WatchForgetsWaker && !keeps {
            state.watching.retain(|(_, number, _)| *number != this.number);
            state.watching.push((this.key.clone(), this.number, cx.waker().clone()));
        }
        this.registered = true;
        Poll::Pending
    }
}

impl Drop for SloppyWatch {
    fn drop(&mut self) {
        let all = self.shared.bug == Bug::WatchDropsAll;
        let (key, number) = (&self.key, self.number);
        self.shared.state().watching.retain(|(k, n, _)| *n != number && !(all && k == key));
    }
}
