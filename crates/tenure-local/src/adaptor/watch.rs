//! A watch on one lock's file: it looks whenever it is polled, and the [`Hub`] has it polled.
//!
//! **It asks to be woken before it looks**, so no change falls between the two.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tenure_store::{Name, Result as Answer, Snapshot, Stream};

use super::hub::{Hub, Ticket};
use super::{Result, about, snapshot};
use crate::{Folder, LockName};

pub(super) struct LocalWatch {
    folder: Arc<Folder>,
    hub: Arc<Hub>,
    name: Name,
    ticket: Option<Ticket>,
    /// What was told last.
    seen: Option<Snapshot>,
    /// It has told an error.
    over: bool,
}

impl LocalWatch {
    pub(super) fn new(folder: Arc<Folder>, hub: Arc<Hub>, name: Name) -> Self {
        Self { folder, hub, name, ticket: None, seen: None, over: false }
    }

    /// What there is to tell, if anything; `cx` is woken if that may have changed.
    fn look(&mut self, cx: &Context<'_>) -> Result<Option<Snapshot>> {
        if self.ticket.is_none() {
            let lock = LockName::new(self.name.as_str())?;
            self.ticket = Some(Hub::join(&self.hub, &lock)?);
        }
        if let Some(ticket) = &self.ticket {
            ticket.keep(cx.waker());
        }
        let now = snapshot(&self.folder, &self.name)?;
        if self.seen.as_ref().is_some_and(|seen| !is_news(seen, &now)) {
            return Ok(None);
        }
        self.seen = Some(now.clone());
        Ok(Some(now))
    }
}

/// Whether `now` is another state than `seen`. A reader without the guard may still find the state
/// before the last while the last is being written over; that is no news.
fn is_news(seen: &Snapshot, now: &Snapshot) -> bool {
    match (seen.stored(), now.stored()) {
        (Some(seen), Some(now)) if seen.version.incarnation == now.version.incarnation => {
            now.version.revision > seen.version.revision
        }
        (None, None) => false,
        _ => true,
    }
}

impl Stream for LocalWatch {
    type Item = Answer<Snapshot>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        match this.look(cx) {
            Ok(Some(news)) => Poll::Ready(Some(Ok(news))),
            Ok(None) => Poll::Pending,
            Err(e) => {
                this.over = true;
                this.ticket = None;
                Poll::Ready(Some(Err(about(&this.name)(e))))
            }
        }
    }
}
