//! What is known of a lock, for people and for JSON.

use std::time::Duration;

use tenure_core::{Condition, End, Facts, Term, Text, Wall};
use tenure_store::{Name, Stored};

use crate::client::Shared;

/// Whether somebody has the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockState {
    /// Nobody.
    Free,
    /// Somebody.
    Held,
    /// The record names somebody whose hold has ended; the next one to come takes it.
    Expired,
}

/// A lock as its record shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockInfo {
    /// Its name.
    pub name: String,
    /// URL of the store it is in, without an identity.
    pub store: String,
    /// Whether somebody has it.
    pub state: LockState,
    /// Lifetime of the hold without renewal; `None` if it does not end by time.
    pub ttl: Option<Duration>,
    /// Who has it.
    pub holders: Vec<HolderInfo>,
    /// Who waits, first come first; empty where the store has no line ([`has_queue`](Self::has_queue)).
    pub queue: Vec<WaiterInfo>,
    /// Whether who waits is known to the store.
    pub has_queue: bool,
    /// Its tags, sorted.
    pub tags: Vec<String>,
    /// The last ended holds, newest first, as many as the record keeps.
    pub history: Vec<PastInfo>,
}

impl LockInfo {
    /// A lock that nobody has taken yet, in the store with this URL, which has a line.
    #[must_use]
    pub fn free(name: &str, store: &str) -> Self {
        Self {
            name: name.to_owned(),
            store: store.to_owned(),
            state: LockState::Free,
            ttl: None,
            holders: Vec::new(),
            queue: Vec::new(),
            has_queue: true,
            tags: Vec::new(),
            history: Vec::new(),
        }
    }

    /// Whether the lock is as `condition` says, by what was seen of it. A hold that has ended by
    /// time is not `acquired`, but its holder still has a name and an age.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use std::time::Duration;
    /// use tenure::Condition;
    ///
    /// # let client = tenure::connect("memory:").await?;
    /// let guard = client.lock("deploy").tags(["team-a"]).acquire().await?;
    /// let lock = client.show("deploy").await?;
    /// // Built, or read from a text.
    /// let stuck = Condition::tag("team-a").and(Condition::older_than(Duration::from_secs(3_600)));
    /// assert!(!lock.meets(&stuck));
    /// let taken: Condition = "acquired = true and not tags contains team-b".parse()?;
    /// assert!(lock.meets(&taken));
    /// # guard.release().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn meets(&self, condition: &Condition) -> bool {
        let tags: Vec<Text> = self.tags.iter().map(|tag| tag.as_str().into()).collect();
        let holder = self.holders.first();
        condition.holds(&Facts {
            tags: &tags,
            holder: holder.map(|holder| holder.id.as_str()),
            acquired: self.state == LockState::Held,
            mode: holder.map(|_| "exclusive"),
            age: holder.and_then(|holder| holder.age),
        })
    }
}

/// Who has a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HolderInfo {
    /// Identity.
    pub id: String,
    /// Machine, where the store knows it.
    pub host: Option<String>,
    /// Process, where the store knows it.
    pub pid: Option<u32>,
    /// Process that keeps the lock although the holder's own process is gone.
    pub orphan: Option<u32>,
    /// Fencing token; `None` for a hold of a program that knows none.
    pub token: Option<u64>,
    /// Since when, by the holder's wall clock; 1970 where the record does not say.
    pub since: Wall,
    /// How long ago the hold had begun when it was looked at, by the wall clocks of both.
    pub age: Option<Duration>,
    /// How long the hold still lives without renewal; `None` if it does not end by time.
    pub remaining: Option<Duration>,
}

/// Who waits for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaiterInfo {
    /// Identity.
    pub id: String,
    /// Process, where the store knows it.
    pub pid: Option<u32>,
    /// Order of arrival.
    pub ticket: u64,
    /// Since when, by its own wall clock.
    pub since: Wall,
}

/// What any store knows of a lock. How long a hold still lives is told by its own times, which are
/// a hint.
pub(crate) fn of_stored(
    name: &Name,
    stored: Option<&Stored>,
    shared: &Shared,
    wall: Wall,
) -> LockInfo {
    let record = stored.map(|stored| &stored.record);
    let holder = record.and_then(|record| record.holder.as_ref());
    let ttl = holder.and_then(|h| match h.term {
        Term::Ttl(ttl) => Some(ttl),
        Term::Session | Term::Until(_) | Term::Forever => None,
    });
    let age = stored.and_then(|stored| stored.age);
    let holders = holder.map(|h| HolderInfo {
        id: h.id.to_string(),
        host: None,
        pid: None,
        orphan: None,
        token: Some(h.token.get()).filter(|token| *token > 0),
        since: h.since,
        age: age_of(h.since, wall),
        remaining: match h.term {
            Term::Ttl(ttl) => {
                Some(ttl.saturating_sub(age.unwrap_or_else(|| wall.since(h.renewed))))
            }
            // Some Go programs write when a hold ends, and not how long it is.
            Term::Until(end) => Some(end.since(wall)),
            Term::Session | Term::Forever => None,
        },
    });
    let queue = record.into_iter().flat_map(|record| &record.queue).map(|w| WaiterInfo {
        id: w.id.to_string(),
        pid: None,
        ticket: w.ticket,
        since: w.since,
    });
    let expired = holders.as_ref().is_some_and(|h| h.remaining == Some(Duration::ZERO));
    LockInfo {
        name: name.to_string(),
        store: shared.url.clone(),
        state: match &holders {
            None => LockState::Free,
            Some(_) if expired => LockState::Expired,
            Some(_) => LockState::Held,
        },
        ttl,
        holders: holders.into_iter().collect(),
        queue: queue.collect(),
        has_queue: shared.has_queue(),
        tags: record.map_or_else(Vec::new, |r| r.tags.iter().map(ToString::to_string).collect()),
        history: record.map_or_else(Vec::new, |r| r.history.iter().rev().map(past).collect()),
    }
}

/// Some records do not say since when.
fn age_of(since: Wall, now: Wall) -> Option<Duration> {
    (since > Wall::default()).then(|| now.since(since))
}

/// A hold that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PastInfo {
    /// Identity of who held.
    pub id: String,
    /// Fencing token.
    pub token: u64,
    /// Since when, by the holder's wall clock.
    pub since: Wall,
    /// Until when, by the wall clock of whoever ended it.
    pub until: Wall,
    /// How it ended.
    pub end: HoldEnd,
    /// Why it was taken away, if somebody gave a reason.
    pub reason: Option<String>,
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HoldEnd {
    /// Its holder gave it back.
    Released,
    /// Its holder's processes were gone when the next one came.
    Died,
    /// Its ttl had run out when the next one came.
    Expired,
    /// An operator took it away.
    Stolen,
}

fn past(past: &tenure_core::Past) -> PastInfo {
    PastInfo {
        id: past.id.to_string(),
        token: past.token.get(),
        since: past.since,
        until: past.until,
        end: match past.end {
            End::Released => HoldEnd::Released,
            End::Died => HoldEnd::Died,
            End::Expired => HoldEnd::Expired,
            End::Stolen => HoldEnd::Stolen,
        },
        reason: past.reason.as_ref().map(ToString::to_string),
    }
}

/// What the embedded store knows of a lock.
#[cfg(all(feature = "local", target_os = "linux"))]
pub(crate) fn of_local(shown: tenure_local::Shown, store: String) -> LockInfo {
    use crate::clock::{Clock as _, System};
    let (record, wall) = (shown.record, System.wall());
    let state = match &shown.holder {
        None => LockState::Free,
        Some(holder) if holder.expired => LockState::Expired,
        Some(_) => LockState::Held,
    };
    let ttl = record.holder.as_ref().and_then(|h| match h.term {
        Term::Ttl(ttl) => Some(ttl),
        Term::Session | Term::Until(_) | Term::Forever => None,
    });
    let holders = record.holder.iter().zip(shown.holder).map(|(h, known)| HolderInfo {
        id: h.id.to_string(),
        host: known.host,
        pid: known.pid,
        orphan: known.orphan,
        token: Some(h.token.get()),
        since: h.since,
        age: age_of(h.since, wall),
        remaining: known.remaining,
    });
    let queue = record.queue.iter().map(|w| WaiterInfo {
        id: w.id.to_string(),
        pid: tenure_local::pid_of(w.session),
        ticket: w.ticket,
        since: w.since,
    });
    LockInfo {
        name: shown.name,
        store,
        state,
        ttl,
        holders: holders.collect(),
        queue: queue.collect(),
        has_queue: true,
        tags: record.tags.iter().map(ToString::to_string).collect(),
        history: record.history.iter().rev().map(past).collect(),
    }
}
