//! A watch on one name of the store in memory.
//!
//! Delivers the state that stands whenever it is polled and has moved since: states in between are
//! left out, the last one never.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::stream::Stream;

use super::Shared;
use crate::{Name, Result, Snapshot};

pub(super) struct MemoryWatch {
    shared: Arc<Shared>,
    name: Name,
    /// Names this watcher on the shelf; `None` before the first poll.
    number: Option<u64>,
    /// Revision delivered last.
    seen: Option<u64>,
}

impl MemoryWatch {
    pub(super) const fn new(shared: Arc<Shared>, name: Name) -> Self {
        Self { shared, name, number: None, seen: None }
    }
}

impl Stream for MemoryWatch {
    type Item = Result<Snapshot>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let mut shelf = this.shared.shelf();
        let number = *this.number.get_or_insert_with(|| shelf.join_watch(&this.name));
        let (news, old) = shelf.poll_watch(&this.name, number, this.seen, cx.waker());
        drop(shelf);
        drop(old);
        match news {
            Some(snapshot) => {
                this.seen = Some(snapshot.revision());
                Poll::Ready(Some(Ok(snapshot)))
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let mut shelf = self.shared.shelf();
            let waker = shelf.leave_watch(&self.name, number);
            drop(shelf);
            drop(waker);
        }
    }
}
