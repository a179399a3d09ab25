//! What is left under a session that lives on, although the claim that wrote it has ended.
//!
//! Where a server keeps sessions, an entry does not end by its ttl: other holds keep the session
//! alive. A write whose answer was lost may land after its claim has gone, and nobody else may take
//! the entry out. So after an end in doubt the record is looked at until a ttl after it, and what
//! carries a mark of that claim is taken out. **Marks decide, not the session**: the next contender
//! of this client is under the same one.
//!
//! A sweep is a task of its own, so that the client can go: then it keeps the store, and so the
//! session, for no longer than an answer may be expected. What is left is the server's to end.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tenure_core::{Change, End, Mark, Record, Time};
use tenure_store::{Conditional, Name, Snapshot, Store};

use super::keeper::Undoing;
use crate::client::Shared;
use crate::clock::{Clock, within};

/// How many marks one claim may draw.
const SHARE: u128 = 1 << 40;

/// Everything a sweep needs.
pub(super) struct Sweep {
    /// Gone or closed: nobody keeps the session alive any more.
    pub(super) client: Weak<Shared>,
    pub(super) store: Arc<dyn Store>,
    pub(super) name: Name,
    pub(super) clock: Clock,
    /// The first mark of the claim.
    pub(super) first: Mark,
    pub(super) attempt: Duration,
    /// How long what is late is looked for: a ttl after the last write was sent.
    pub(super) until: Time,
    /// Whoever closes the client waits for this, as long as the store may be expected to answer.
    pub(super) undoing: Option<Undoing>,
}

impl Sweep {
    /// Looks until nothing of the claim stands there and nothing can be late any more.
    pub(super) async fn run(mut self) {
        let patience = self.clock.now().max(self.until).after(self.attempt * 4);
        loop {
            let limit = Some(self.clock.now().after(self.attempt));
            let read = within(&self.clock, limit, self.store.read(&self.name)).await;
            let now = self.clock.now();
            let clean = match &read {
                Some(Ok(Snapshot::Is(stored))) => match self.undo(&stored.record, now) {
                    None => true,
                    Some(change) => {
                        let limit = Some(now.after(self.attempt));
                        let write = self.store.write_if(&self.name, Some(stored), &change);
                        let written = within(&self.clock, limit, write).await;
                        if matches!(written, Some(Ok(Conditional::Done(_)))) {
                            continue;
                        }
                        false
                    }
                },
                Some(Ok(Snapshot::Absent { .. })) => true,
                _ => false,
            };
            if clean && now >= self.until {
                return;
            }
            if now >= patience {
                // Who waits for what is undone waits no longer for a store that does not answer.
                self.undoing = None;
                if self.client.upgrade().is_none_or(|client| client.is_closed()) {
                    return;
                }
            }
            let pause = Some(self.clock.now().after(self.attempt / 2));
            within(&self.clock, pause, std::future::pending::<()>()).await;
        }
    }

    /// What takes out an entry of the claim, if there is one.
    fn undo(&self, record: &Record, now: Time) -> Option<Change> {
        let first = self.first.as_u128();
        let own = |mark: Mark| mark.as_u128().wrapping_sub(first) < SHARE;
        if let Some(holder) = record.holder.as_ref().filter(|h| own(h.mark)) {
            return Some(Change::Release {
                of: holder.mark,
                end: End::Released,
                reason: None,
                mark: self.first,
                next: record.queue.front().map(|w| w.mark),
                strike: Vec::new(),
                at: self.clock.wall(),
                stamp: now,
                tags: Vec::new(),
            });
        }
        let strike: Vec<_> = record.queue.iter().map(|w| w.mark).filter(|m| own(*m)).collect();
        (!strike.is_empty()).then_some(Change::Leave { strike })
    }
}
