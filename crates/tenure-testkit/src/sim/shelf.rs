//! The record as a store keeps it: one conditional write at a time, versions that only rise.
//!
//! Owns compare-and-swap and tokens. Each state is a [`Snapshot`] of its own, shared by everybody
//! who learnt of it.

use std::rc::Rc;

use tenure_core::{Change, Holder, Mark, Outcome, Record, Session, Term, Time, Token, Wall, Write};

use super::peer::Snapshot;
use super::plan::StoreKind;

/// One record of a store.
#[derive(Debug)]
pub(crate) struct Shelf {
    kind: StoreKind,
    pub(crate) now: Rc<Snapshot>,
    token: u64,
    foreign: u64,
}

/// What an outsider does to a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meddling {
    /// Another controller changes a label: the version moves, the holder's entry does not.
    Label,
    /// A Go leader that was stopped and told to end blanks whatever stands there.
    Blank,
    /// A Go candidate takes it over and is never heard of again.
    Take,
    /// Somebody deletes the object.
    Delete,
}

impl Shelf {
    pub(crate) fn new(kind: StoreKind) -> Self {
        Self { kind, now: Rc::default(), token: 0, foreign: 0 }
    }

    pub(crate) fn record(&self) -> Option<&Record> {
        self.now.record.as_ref()
    }

    pub(crate) fn holder(&self) -> Option<&Holder> {
        self.record()?.holder.as_ref()
    }

    pub(crate) fn revision(&self) -> u64 {
        self.now.version.revision
    }

    /// Carries out a conditional write, or refuses it.
    pub(crate) fn write(&mut self, write: &Write) -> Outcome {
        let current = self.record().map(|_| self.now.version);
        if current != write.expected {
            return Outcome::Conflict;
        }
        self.token = match self.kind {
            // The revision of the write that began the hold, as on Kubernetes.
            StoreKind::Lease => self.revision() + 1,
            _ => self.token + u64::from(write.change.begins_hold()),
        };
        let begins = write.change.begins_hold();
        let token = if begins { Token::new(self.token) } else { Token::default() };
        let mut record = self.record().cloned().unwrap_or_default();
        record.apply(&write.change, token);
        self.keep_what_the_format_has(&mut record);
        self.put(Some(record));
        Outcome::Done { version: self.now.version, token }
    }

    /// What a write of this kind does not leave in a store of this kind.
    fn keep_what_the_format_has(&self, record: &mut Record) {
        if self.kind != StoreKind::Line {
            record.history.clear();
        }
        if self.kind == StoreKind::Lease
            && let Some(holder) = &mut record.holder
        {
            // Boot-time stamps have no place there.
            holder.stamp = Time::ZERO;
        }
    }

    pub(crate) fn put(&mut self, record: Option<Record>) {
        let mut version = self.now.version;
        version.revision += 1;
        if self.now.record.is_none() && record.is_some() {
            version.incarnation += 1;
        }
        self.now = Rc::new(Snapshot { record, version });
    }

    /// Lets an outsider change the record; whether there was one.
    pub(crate) fn meddle(&mut self, how: Meddling, ttl: Term, at: Wall) -> bool {
        let Some(mut record) = self.record().cloned() else { return false };
        match how {
            Meddling::Label => {}
            Meddling::Blank => record.holder = None,
            Meddling::Delete => {
                self.put(None);
                return true;
            }
            Meddling::Take => {
                self.foreign += 1;
                record.holder = Some(Holder {
                    id: "go".into(),
                    mark: Mark::from_u128((1 << 120) | u128::from(self.foreign)),
                    session: Session::NONE,
                    token: Token::new(self.revision() + 1),
                    term: ttl,
                    ticket: record.next_ticket,
                    since: at,
                    renewed: at,
                    stamp: Time::ZERO,
                });
            }
        }
        self.put(Some(record));
        true
    }

    /// Whether this write puts something of its author into the record.
    pub(crate) fn leaves_something(change: &Change) -> bool {
        matches!(change, Change::Take { .. } | Change::Join { .. } | Change::Renew { .. })
    }
}
