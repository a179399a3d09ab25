//! What the mutex protects: the records, who watches them, the sessions.
//!
//! Knows no mutex and wakes nobody: what must be woken is handed out. Keeps nothing of a name that
//! has neither a record nor a watcher.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::task::Waker;

use tenure_core::{Change, Probed, Record, Session, Token, Version};

use crate::{Listed, Name, Origin, Snapshot, Stored};

/// Whom to wake once the mutex is given back.
pub(super) type Wakers = Vec<Waker>;

#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// Number of the last write to any name.
    revision: u64,
    registers: BTreeMap<Name, Register>,
    last_session: u64,
    last_watcher: u64,
    /// What every record begins as.
    blank: Arc<Record>,
    pub(super) sessions: HashMap<Session, Probed>,
}

/// One name.
#[derive(Debug, Default)]
struct Register {
    stored: Option<(Arc<Record>, Version)>,
    /// Revision of the last deletion while somebody watched.
    deleted: u64,
    watchers: Vec<Watcher>,
}

#[derive(Debug)]
struct Watcher {
    number: u64,
    waker: Option<Waker>,
}

impl Shelf {
    pub(super) fn read(&self, name: &Name) -> Snapshot {
        match self.registers.get(name).and_then(Register::stored) {
            Some(stored) => Snapshot::Is(stored),
            None => Snapshot::Absent { revision: 0 },
        }
    }

    pub(super) fn list(&self) -> Vec<Listed> {
        let listed = |(name, register): (&Name, &Register)| {
            Some(Listed { name: name.clone(), stored: Ok(register.stored()?) })
        };
        self.registers.iter().filter_map(listed).collect()
    }

    /// `None`: the name is not at `judged`.
    pub(super) fn write(
        &mut self,
        name: &Name,
        judged: Option<Version>,
        change: &Change,
    ) -> Option<(Stored, Wakers)> {
        let revision = self.revision + 1;
        let Some(register) = self.registers.get_mut(name) else {
            // A name that nobody has written or watches.
            if judged.is_some() {
                return None;
            }
            let register = self.registers.entry(name.clone()).or_default();
            self.revision = revision;
            return Some(register.write(revision, None, change, &self.blank));
        };
        if register.stored.as_ref().map(|(_, version)| *version) != judged {
            return None;
        }
        self.revision = revision;
        Some(register.write(revision, judged, change, &self.blank))
    }

    /// `None`: the name is not at `expected`.
    pub(super) fn delete(&mut self, name: &Name, expected: Version) -> Option<Wakers> {
        let register = self.registers.get_mut(name)?;
        register.stored.take_if(|(_, version)| *version == expected)?;
        self.revision += 1;
        register.deleted = self.revision;
        let wakers = register.wakers();
        self.tidy(name);
        Some(wakers)
    }

    /// Takes the entries of a session that has ended out of every record.
    pub(super) fn take_out(&mut self, session: Session) -> Wakers {
        let mut wakers = Wakers::new();
        for register in self.registers.values_mut() {
            let Some((record, version)) = &mut register.stored else { continue };
            let holds = record.holder.as_ref().is_some_and(|h| h.session == session);
            if !holds && record.queue.iter().all(|w| w.session != session) {
                continue;
            }
            self.revision += 1;
            version.revision = self.revision;
            let record = Arc::make_mut(record);
            record.holder.take_if(|h| h.session == session);
            record.queue.retain(|w| w.session != session);
            wakers.extend(register.wakers());
        }
        wakers
    }

    pub(super) fn next_session(&mut self) -> u64 {
        self.last_session += 1;
        self.last_session
    }

    /// Begins to watch `name`; the number names the watcher.
    pub(super) fn join_watch(&mut self, name: &Name) -> u64 {
        self.last_watcher += 1;
        let watcher = Watcher { number: self.last_watcher, waker: None };
        let watchers = &mut self.registers.entry(name.clone()).or_default().watchers;
        // Most are watched by one holder alone.
        watchers.reserve_exact(1);
        watchers.push(watcher);
        self.last_watcher
    }

    /// What the watcher is to see; `None`, and its waker is kept, if it is still at `seen`. The
    /// waker kept before is handed out, because dropping one may run anything.
    pub(super) fn poll_watch(
        &mut self,
        name: &Name,
        number: u64,
        seen: Option<u64>,
        waker: &Waker,
    ) -> (Option<Snapshot>, Option<Waker>) {
        let Some(register) = self.registers.get_mut(name) else { return (None, None) };
        let now = match register.stored() {
            Some(stored) => Snapshot::Is(stored),
            None => Snapshot::Absent { revision: register.deleted },
        };
        if seen != Some(now.revision()) {
            return (Some(now), None);
        }
        let watcher = register.watchers.iter_mut().find(|w| w.number == number);
        (None, watcher.and_then(|w| w.waker.replace(waker.clone())))
    }

    /// Ends a watch. Its waker is handed out, because dropping one may run anything.
    pub(super) fn leave_watch(&mut self, name: &Name, number: u64) -> Option<Waker> {
        let watchers = &mut self.registers.get_mut(name)?.watchers;
        let place = watchers.iter().position(|w| w.number == number)?;
        let waker = watchers.swap_remove(place).waker;
        self.tidy(name);
        waker
    }

    fn tidy(&mut self, name: &Name) {
        if let Entry::Occupied(e) = self.registers.entry(name.clone())
            && e.get().stored.is_none()
            && e.get().watchers.is_empty()
        {
            e.remove();
        }
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> usize {
        self.registers.len()
    }
}

impl Register {
    fn write(
        &mut self,
        revision: u64,
        judged: Option<Version>,
        change: &Change,
        blank: &Arc<Record>,
    ) -> (Stored, Wakers) {
        let incarnation = judged.map_or(u128::from(revision), |v| v.incarnation);
        let version = Version { incarnation, revision };
        let (record, stands) = self.stored.get_or_insert_with(|| (Arc::clone(blank), version));
        // Copied only if somebody still looks at it as it was.
        Arc::make_mut(record).apply(change, Token::new(revision));
        *stands = version;
        let record = Arc::clone(record);
        (Stored { record, version, age: None, origin: Origin::default() }, self.wakers())
    }

    fn stored(&self) -> Option<Stored> {
        let (record, version) = self.stored.as_ref()?;
        Some(Stored {
            record: Arc::clone(record),
            version: *version,
            age: None,
            origin: Origin::default(),
        })
    }

    fn wakers(&mut self) -> Wakers {
        self.watchers.iter_mut().filter_map(|w| w.waker.take()).collect()
    }
}
