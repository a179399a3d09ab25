//! What a lock's record says, with what is known of the processes it names, for people.

use std::collections::HashMap;
use std::time::Duration;

use tenure_core::{Record, Session, Term, Token, Version};

use crate::guard::{LockFile, Stored};
use crate::list::{Listed, list};
use crate::session::{self, Identity, Verdict};
use crate::{LocalStore, LockName, Result, group};

/// A lock as its record shows it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Shown {
    /// Its name.
    pub name: String,
    /// Its record, without waiters that are dead; empty if the lock was never taken.
    pub record: Record,
    /// What is known of the holder, if the record names one.
    pub holder: Option<ShownHolder>,
    /// Whether the holder has a ttl that counts by a clock which is not ours.
    pub(crate) foreign_stamp: bool,
}

/// What is known of a holder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShownHolder {
    /// Its host.
    pub host: Option<String>,
    /// Its process; `None` for a hold that no process stands behind.
    pub pid: Option<u32>,
    /// A process that keeps the lock although the holder's own is gone.
    pub orphan: Option<u32>,
    /// How long the hold still lives; `None` if it does not end by time.
    pub remaining: Option<Duration>,
    /// Whether the hold has ended, and the next one to come takes the lock.
    pub expired: bool,
}

/// How often a record that moves on is looked at again.
const LOOKS: usize = 8;

/// What was already found in this listing: many locks may name one session.
type Known = HashMap<Session, ShownHolder>;

impl LocalStore {
    /// What is known of the lock `name`; a lock that was never taken is free.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn show(&self, name: &LockName) -> Result<Shown> {
        let stored = LockFile::new(self.folder(), name.clone()).peek()?;
        self.settled(name.as_str().to_owned(), stored, &mut Known::new())
    }

    /// Every lock, sorted by name. A record that cannot be read is an error in its place.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn list(&self) -> Result<Vec<Result<Shown>>> {
        let mut known = Known::new();
        let mut all = Vec::new();
        for Listed { name, stored } in list(self.folder())? {
            all.push(stored.and_then(|stored| self.settled(name, Some(stored), &mut known)));
        }
        Ok(all)
    }

    /// The token of the hold of the lock `name` that an ancestor of this process has: whoever waited
    /// for that would wait for itself.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn held_above(&self, name: &LockName) -> Result<Option<Token>> {
        let stored = LockFile::new(self.folder(), name.clone()).peek()?;
        let holder = stored.and_then(|stored| stored.record.holder);
        let Some(h) = holder.filter(|h| h.term == Term::Session) else { return Ok(None) };
        let above = Identity::of(h.session).is_above(self.folder())?;
        Ok(above.then_some(h.token))
    }

    /// As [`shown`](Self::shown), but what is found of a process that has just been served, or has
    /// just ended, is not said of a record that has moved on meanwhile.
    fn settled(
        &self,
        name: String,
        mut stored: Option<Stored>,
        known: &mut Known,
    ) -> Result<Shown> {
        for _ in 0..LOOKS {
            let (before, waiters) = (version(&stored), waiters(&stored));
            let shown = self.shown(name.clone(), stored, known);
            let gone = |s: &Shown| s.record.queue.len() < waiters || s.is_over();
            if shown.as_ref().is_ok_and(|shown| !gone(shown)) {
                return shown;
            }
            let Ok(lock) = LockName::new(&name) else { return shown };
            stored = LockFile::new(self.folder(), lock).peek()?;
            if version(&stored) == before {
                return shown;
            }
            known.clear();
        }
        self.shown(name, stored, known)
    }

    fn shown(&self, name: String, stored: Option<Stored>, known: &mut Known) -> Result<Shown> {
        let Some(stored) = stored else {
            let record = Record::default();
            return Ok(Shown { name, record, holder: None, foreign_stamp: false });
        };
        let timed = |h: &tenure_core::Holder| matches!(h.term, Term::Ttl(_));
        let foreign_stamp =
            stored.record.holder.as_ref().is_some_and(timed) && stored.clock != self.clock();
        let holder = match &stored.record.holder {
            None => None,
            Some(h) if h.term == Term::Session => Some(self.bound(h.session, known)?),
            Some(h) => Some(self.detached(h, &stored)),
        };
        let mut record = *stored.record;
        // Those who were killed while they waited stand there until somebody comes to their place.
        record.queue.retain(|w| !matches!(self.probe(w.session), Ok(Verdict::Dead)));
        Ok(Shown { name, record, holder, foreign_stamp })
    }

    /// A hold that lives as long as its session.
    fn bound(&self, session: Session, known: &mut Known) -> Result<ShownHolder> {
        if let Some(holder) = known.get(&session) {
            return Ok(holder.clone());
        }
        let verdict = self.probe(session)?;
        let about = session::about(self.folder(), session);
        let holder = ShownHolder {
            host: about.map(|about| about.host),
            pid: Some(Identity::of(session).pid),
            orphan: match verdict {
                Verdict::Orphaned { .. } => self.keeper(session),
                _ => None,
            },
            remaining: None,
            expired: verdict == Verdict::Dead,
        };
        known.insert(session, holder.clone());
        Ok(holder)
    }

    /// A hold that nobody stands behind.
    fn detached(&self, h: &tenure_core::Holder, stored: &Stored) -> ShownHolder {
        let remaining = match h.term {
            Term::Ttl(ttl) if stored.clock == self.clock() => {
                Some(ttl.saturating_sub(self.now().since(h.stamp)))
            }
            Term::Ttl(ttl) => Some(ttl),
            Term::Session | Term::Until(_) | Term::Forever => None,
        };
        let expired = remaining == Some(Duration::ZERO);
        ShownHolder { host: None, pid: None, orphan: None, remaining, expired }
    }

    /// A process that keeps this session although its own is gone.
    #[must_use]
    pub fn orphan_of(&self, session: Session) -> Option<u32> {
        match self.probe(session) {
            Ok(Verdict::Orphaned { .. }) => self.keeper(session),
            _ => None,
        }
    }

    fn keeper(&self, session: Session) -> Option<u32> {
        group::keeper(self.folder(), session)
    }
}

impl Shown {
    /// Whether the holder's process has ended.
    fn is_over(&self) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.expired)
    }
}

fn version(stored: &Option<Stored>) -> Option<Version> {
    stored.as_ref().map(|stored| stored.version)
}

fn waiters(stored: &Option<Stored>) -> usize {
    stored.as_ref().map_or(0, |stored| stored.record.queue.len())
}

/// The process of a session, for messages.
#[must_use]
pub fn pid_of(session: Session) -> Option<u32> {
    Some(Identity::of(session).pid).filter(|pid| *pid != 0)
}

#[cfg(test)]
mod tests;
