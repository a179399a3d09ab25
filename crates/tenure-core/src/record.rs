//! What a lock's record says, and every change a protocol may make to it.
//!
//! A [`Record`] is the union of what the formats can store; each backend keeps the part its format
//! has. A [`Change`] says what to do rather than what to write, so that a backend with something
//! better than a whole-object write (an own key, a patch of one annotation) can use it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use crate::{History, Mark, Session, Text, Time, Token, Wall};

/// How a hold ends when nobody releases it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Term {
    /// When its session is gone; never by time.
    Session,
    /// When it was not renewed for this long.
    Ttl(Duration),
    /// At this moment of wall clocks, and no earlier than they may be apart after it: for formats of
    /// others that store an end and no length. No hold of a claim has it.
    Until(Wall),
    /// Never: only a release or an operator ends it.
    Forever,
}

impl Term {
    /// The end of a hold that nobody stands behind: after `ttl`, or never if that is
    /// [`Duration::MAX`].
    #[must_use]
    pub const fn after(ttl: Duration) -> Self {
        match ttl {
            Duration::MAX => Self::Forever,
            ttl => Self::Ttl(ttl),
        }
    }
}

/// Who has the lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    /// Identity, for people. Never proof of ownership.
    pub id: Text,
    /// Mark of the write that made or last renewed this hold: the proof of ownership.
    pub mark: Mark,
    /// What knows whether the holder lives.
    pub session: Session,
    /// Fencing token of this hold.
    pub token: Token,
    /// How the hold ends by itself.
    pub term: Term,
    /// Place it had in the order of waiters; equal to its own order of arrival.
    pub ticket: u64,
    /// When the hold began, by the holder's wall clock.
    pub since: Wall,
    /// When it was last renewed, by the holder's wall clock.
    pub renewed: Wall,
    /// When it was last renewed, by the boot clock of the machine that wrote it.
    pub stamp: Time,
}

/// Who stands in line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Waiter {
    /// Identity, for people.
    pub id: Text,
    /// Mark of the write that put it in line; becomes the hold's mark at a hand-over.
    pub mark: Mark,
    /// What knows whether the waiter lives.
    pub session: Session,
    /// Order of arrival; unique in the record and only growing.
    pub ticket: u64,
    /// How its hold will end by itself.
    pub term: Term,
    /// When it began to wait, by its own wall clock.
    pub since: Wall,
    /// What its hold does to the lock's tags: as [`Change::Take`].
    pub tags: Vec<Text>,
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Its holder gave it back.
    Released,
    /// Its session was gone when the next one came.
    Died,
    /// Its ttl had run out when the next one came.
    Expired,
    /// An operator took it away.
    Stolen,
}

/// A hold that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Past {
    /// Who held it.
    pub id: Text,
    /// Its fencing token.
    pub token: Token,
    /// Its place in the order of arrival.
    pub ticket: u64,
    /// When it began, by the holder's wall clock.
    pub since: Wall,
    /// When it ended, by the wall clock of whoever ended it.
    pub until: Wall,
    /// How it ended.
    pub end: End,
    /// Why it was taken away, in the words of whoever did.
    pub reason: Option<Text>,
}

/// The whole record of one lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// Who has it, if anyone.
    pub holder: Option<Holder>,
    /// Who waits, first come first.
    pub queue: VecDeque<Waiter>,
    /// The ticket the next newcomer draws.
    pub next_ticket: u64,
    /// The largest token this record ever gave out; zero where the store keeps tokens elsewhere.
    pub last_token: Token,
    /// Labels of the lock, sorted, each once.
    pub tags: Vec<Text>,
    /// The last ended holds.
    pub history: History,
}

/// One change of a record. It is proposed against a version and applied all or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Become the holder: the lock is free, or what stood in it has ended as `ended` says.
    Take {
        /// The new holder. Its token is given by the store.
        holder: Holder,
        /// How the hold found in the record ended, if one was found.
        ended: Option<End>,
        /// Waiters to strike out: our own entry, and those found dead.
        strike: Vec<Mark>,
        /// Tags of the lock from now on; none: it keeps those it has.
        tags: Vec<Text>,
    },
    /// Stand in line.
    Join {
        /// The new entry; its ticket is the record's next.
        waiter: Waiter,
        /// Waiters found dead, to strike out.
        strike: Vec<Mark>,
    },
    /// Leave the line.
    Leave {
        /// Entries to strike out.
        strike: Vec<Mark>,
    },
    /// Prove that the holder lives: a new mark and new times on the hold with mark `of`.
    Renew {
        /// The mark the hold has now.
        of: Mark,
        /// The mark it has afterwards.
        mark: Mark,
        /// Its fencing token, which stays: for formats that know it only once the hold began.
        token: Token,
        /// How the hold ends from now on.
        term: Term,
        /// What knows whether the holder lives from now on.
        session: Session,
        /// Renewal time by the wall clock.
        renewed: Wall,
        /// Renewal time by the boot clock.
        stamp: Time,
    },
    /// End the hold with mark `of` and hand the lock to `next` if it is given.
    Release {
        /// The mark the hold has now.
        of: Mark,
        /// How it ends: released, unless somebody else than its holder ends it.
        end: End,
        /// Why it is taken away, where it is.
        reason: Option<Text>,
        /// The mark this attempt leaves where the format has a place for it on a free lock.
        mark: Mark,
        /// The waiter that becomes the holder, by its mark.
        next: Option<Mark>,
        /// Waiters found dead, to strike out.
        strike: Vec<Mark>,
        /// When, by the releaser's wall clock.
        at: Wall,
        /// When, by the releaser's boot clock.
        stamp: Time,
        /// Tags of the lock from now on; none: it keeps those it has.
        tags: Vec<Text>,
    },
}

impl Change {
    /// Whether a new hold begins with this change, so that a new token is due.
    #[must_use]
    pub fn begins_hold(&self) -> bool {
        matches!(self, Self::Take { .. } | Self::Release { next: Some(_), .. })
    }

    /// The mark by which the author finds this attempt in the record afterwards.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        match self {
            Self::Take { holder, .. } => Some(holder.mark),
            Self::Join { waiter, .. } => Some(waiter.mark),
            Self::Renew { mark, .. } | Self::Release { mark, .. } => Some(*mark),
            Self::Leave { .. } => None,
        }
    }
}

impl Record {
    /// Carries out `change`. `token` is the token of the hold that begins with it, where the store
    /// knows it beforehand; others fill it in when they read the record.
    #[inline]
    pub fn apply(&mut self, change: &Change, token: Token) {
        match change {
            Change::Take { holder, ended, strike, tags } => {
                self.strike(strike);
                if self.holder.is_some() {
                    self.end_hold(ended.unwrap_or(End::Released), holder.since, None);
                }
                self.next_ticket = self.next_ticket.max(holder.ticket.saturating_add(1));
                self.begin_hold(Holder { token, ..holder.clone() });
                self.label(tags);
            }
            Change::Join { waiter, strike } => {
                self.strike(strike);
                let ticket = self.next_ticket;
                self.next_ticket = ticket.saturating_add(1);
                self.queue.push_back(Waiter { ticket, ..waiter.clone() });
            }
            Change::Leave { strike } => self.strike(strike),
            Change::Renew { of, mark, token: _, term, session, renewed, stamp } => {
                if let Some(holder) = self.holder.as_mut().filter(|h| h.mark == *of) {
                    holder.mark = *mark;
                    holder.term = *term;
                    holder.session = *session;
                    holder.renewed = *renewed;
                    holder.stamp = *stamp;
                }
            }
            Change::Release { of, end, reason, mark: _, next, strike, at, stamp, tags } => {
                self.strike(strike);
                if self.holder.as_ref().is_some_and(|h| h.mark == *of) {
                    self.end_hold(*end, *at, reason.clone());
                    self.label(tags);
                    self.promote(*next, *at, *stamp, token);
                }
            }
        }
    }

    /// Whether anybody has the lock or waits for it.
    pub(crate) fn is_wanted(&self) -> bool {
        self.holder.is_some() || !self.queue.is_empty()
    }

    /// Where the waiter with this mark stands, counted from 0.
    #[must_use]
    pub fn place_of(&self, mark: Mark) -> Option<usize> {
        self.queue.iter().position(|w| w.mark == mark)
    }

    #[inline]
    fn strike(&mut self, marks: &[Mark]) {
        if !marks.is_empty() {
            self.strike_out(marks);
        }
    }

    #[cold]
    fn strike_out(&mut self, marks: &[Mark]) {
        self.queue.retain(|w| !marks.contains(&w.mark));
    }

    fn begin_hold(&mut self, holder: Holder) {
        self.last_token = self.last_token.max(holder.token);
        self.holder = Some(holder);
    }

    fn end_hold(&mut self, end: End, until: Wall, reason: Option<Text>) {
        let Some(h) = self.holder.take() else { return };
        let Holder { id, token, ticket, since, .. } = h;
        self.history.push(Past { id, token, ticket, since, until, end, reason });
    }

    fn promote(&mut self, next: Option<Mark>, at: Wall, stamp: Time, token: Token) {
        let Some(place) = next.and_then(|mark| self.place_of(mark)) else {
            return;
        };
        let Some(w) = self.queue.remove(place) else {
            return;
        };
        self.begin_hold(Holder {
            id: w.id,
            mark: w.mark,
            session: w.session,
            token,
            term: w.term,
            ticket: w.ticket,
            since: at,
            renewed: at,
            stamp,
        });
        self.label(&w.tags);
    }

    /// What a hold says of its lock stands in place of what earlier ones said: tags that are only
    /// ever added would be those of no hold, and grow without an end.
    #[inline]
    fn label(&mut self, tags: &[Text]) {
        if !tags.is_empty() {
            self.relabel(tags);
        }
    }

    #[cold]
    fn relabel(&mut self, tags: &[Text]) {
        self.tags = tags.to_vec();
        self.tags.sort_unstable();
        self.tags.dedup();
    }
}
