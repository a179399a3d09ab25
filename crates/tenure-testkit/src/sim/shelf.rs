//! The record as a store keeps it: one conditional write at a time, versions that only rise.
//!
//! Owns compare-and-swap and tokens. Each state is a [`Snapshot`] of its own, shared by everybody
//! who learnt of it.

use std::rc::Rc;

use tenure_core::{
    Change, History, Holder, Mark, Outcome, Record, Session, Term, Time, Token, Wall, Write,
};

use super::bug::Bug;
use super::peer::Snapshot;
use super::plan::StoreKind;

/// A second of a wall clock.
const SECOND_US: u64 = 1_000_000;

/// One record of a store.
#[derive(Debug)]
pub(crate) struct Shelf {
    kind: StoreKind,
    pub(crate) now: Rc<Snapshot>,
    token: u64,
    foreign: u64,
    no_history: History,
    /// The object as it was when it was deleted.
    deleted: Option<Record>,
    bug: Option<Bug>,
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
    /// Somebody deletes it and makes it anew as it was: it is another object.
    Recreate,
    /// A Go program is between its two writes, and never does the second.
    Reserve,
}

impl Shelf {
    pub(crate) fn new(kind: StoreKind, bug: Option<Bug>) -> Self {
        Self {
            kind,
            now: Rc::default(),
            token: 0,
            foreign: 0,
            no_history: History::default(),
            deleted: None,
            bug,
        }
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
        let anew = self.makes_anew(write);
        if current != write.expected && !anew && !self.unconditional(&write.change) {
            return Outcome::Conflict;
        }
        let token = self.next_token(&write.change);
        let before = if anew { self.deleted.as_ref() } else { self.record() };
        let mut record = before.cloned().unwrap_or_default();
        self.overwrite(&mut record, &write.change);
        record.apply(&write.change, token);
        self.keep_what_the_format_has(&mut record, matches!(write.change, Change::Renew { .. }));
        if self.kind == StoreKind::Server {
            self.number(&mut record, &write.change);
        }
        self.put_keys(record);
        Outcome::Done { version: self.now.version, token }
    }

    fn next_token(&mut self, change: &Change) -> Token {
        if !change.begins_hold() {
            return Token::default();
        }
        self.token = match (self.kind, self.bug) {
            (_, Some(Bug::TokenReset)) if self.record().is_none() => 1,
            (_, Some(Bug::TokenReset)) => self.token + 1,
            (_, Some(Bug::TokenWrap)) => (self.token + 1) % 256,
            // The revision of the write: the hold's on Kubernetes, the key's on etcd.
            (StoreKind::Lease | StoreKind::Server, _) => self.revision() + 1,
            _ => self.token + 1,
        };
        Token::new(self.token)
    }

    /// Whether a bug carries this out whatever stands there.
    fn unconditional(&self, change: &Change) -> bool {
        match self.bug {
            Some(Bug::UnconditionalTake) => matches!(change, Change::Take { .. }),
            Some(Bug::RenewUnchecked) => {
                matches!(change, Change::Renew { .. }) && self.holder().is_some()
            }
            Some(Bug::LateRelease | Bug::DoubleRelease) => {
                matches!(change, Change::Release { .. }) && self.record().is_some()
            }
            _ => false,
        }
    }

    /// Whether a bug makes a deleted object anew with what was to be put into it.
    fn makes_anew(&self, write: &Write) -> bool {
        self.bug == Some(Bug::UidNotCompared)
            && self.record().is_none()
            && self.deleted.is_some()
            && write.expected.is_some()
    }

    /// What an unconditional change takes away from whoever it belongs to.
    fn overwrite(&self, record: &mut Record, change: &Change) {
        let (Some(holder), true) = (&mut record.holder, self.unconditional(change)) else { return };
        if let Change::Renew { of, .. } | Change::Release { of, .. } = change {
            holder.mark = *of;
        }
    }

    /// Over a server each entry is a key, and its number the revision that created it.
    fn number(&self, record: &mut Record, change: &Change) {
        let created = self.revision() + 1;
        match change {
            Change::Take { .. } => record.holder.iter_mut().for_each(|h| h.ticket = created),
            Change::Join { .. } => {
                record.queue.back_mut().into_iter().for_each(|w| w.ticket = created)
            }
            _ => {}
        }
    }

    /// Over a server the oldest key is the holder's, and without any there is no record.
    fn put_keys(&mut self, mut record: Record) {
        if self.kind != StoreKind::Server {
            return self.put(Some(record));
        }
        if record.holder.is_none()
            && let Some(first) = record.queue.pop_front()
        {
            record.holder = Some(Holder {
                id: first.id,
                mark: first.mark,
                session: first.session,
                token: Token::default(),
                term: first.term,
                ticket: first.ticket,
                since: first.since,
                renewed: first.since,
                stamp: Time::ZERO,
            });
        }
        record.holder.iter_mut().for_each(|h| h.token = Token::new(h.ticket));
        let any = record.holder.is_some();
        self.put(any.then_some(record));
    }

    /// Takes out the keys of a session that has ended; whether there were any.
    pub(crate) fn end_session(&mut self, session: Session) -> bool {
        let Some(mut record) = self.record().cloned() else { return false };
        let holds = record.holder.as_ref().is_some_and(|h| h.session == session);
        let waiting = record.queue.len();
        record.queue.retain(|w| w.session != session);
        if !holds && waiting == record.queue.len() {
            return false;
        }
        if holds {
            record.holder = None;
        }
        self.put_keys(record);
        true
    }

    /// What a write of this kind does not leave in a store of this kind.
    fn keep_what_the_format_has(&self, record: &mut Record, renewal: bool) {
        if self.kind != StoreKind::Line {
            record.history = self.no_history.clone();
        }
        if self.kind == StoreKind::Lease
            && let Some(holder) = &mut record.holder
        {
            // Boot-time stamps have no place there, and Go compares whole seconds: a renewal within
            // one would be silence to it.
            holder.stamp = Time::ZERO;
            let shown = holder.renewed.as_micros() / SECOND_US * SECOND_US;
            let before = self.holder().filter(|_| renewal && self.bug != Some(Bug::SameSecond));
            let least = before.map_or(0, |h| h.renewed.as_micros() + SECOND_US);
            holder.renewed = Wall::from_micros(shown.max(least));
            if self.bug == Some(Bug::TtlRounded) {
                holder.term = Term::Ttl(std::time::Duration::ZERO);
            }
        }
    }

    pub(crate) fn put(&mut self, mut record: Option<Record>) {
        let last = self.revision() + 1;
        if let (Some(Bug::AnyWriteIsLife), Some(record)) = (self.bug, &mut record) {
            let holder = record.holder.as_mut();
            holder.into_iter().for_each(|h| h.renewed = Wall::from_micros(last));
        }
        let mut version = self.now.version;
        version.revision = last;
        if self.now.record.is_none() && record.is_some() {
            version.incarnation += 1;
        }
        self.now = Rc::new(Snapshot { record, version });
    }

    /// Lets an outsider change the record; whether there was one.
    pub(crate) fn meddle(&mut self, how: Meddling, ttl: Term, at: Wall) -> bool {
        let Some(mut record) = self.record().cloned() else { return false };
        match how {
            Meddling::Label | Meddling::Reserve => {}
            Meddling::Blank => record.holder = None,
            Meddling::Recreate => self.put(None),
            Meddling::Delete => {
                self.deleted = Some(record);
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
