//! What goes into a [`Claim`](super::Claim) and what comes out of it.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use crate::{
    Change, Holder, Mark, Marks, Record, Session, Term, Text, Time, Timing, Token, Version, Wall,
};

/// How a store knows whether a holder lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Liveness {
    /// The store can tell whether a session is there: ask with a probe. A write is carried out by
    /// this process before it is answered, so that a later read settles it. The embedded store.
    Process,
    /// The store ends the entries of a dead session itself. etcd's leases.
    Server,
    /// Only by seeing that an entry stays unchanged. Kubernetes.
    Observed,
}

/// Everything a claim is told once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// Identity, for people and for formats that store one.
    pub id: Text,
    /// What the store knows about whether this process lives; [`Session::NONE`] if nothing.
    pub session: Session,
    /// How a hold ends when nobody releases it.
    pub term: Term,
    /// The durations.
    pub timing: Timing,
    /// How the store knows whether a holder lives.
    pub liveness: Liveness,
    /// Whether waiters stand in the record. Only where the store knows who lives: time alone would
    /// never end the place of a waiter that is gone.
    pub queue: bool,
    /// Whether a record that names our own identity is ours to take at once. Only for identities
    /// that the user guarantees to be unique.
    pub adopt: bool,
    /// How far wall clocks may be apart before a record that looks dead is believed to look so.
    pub max_clock_skew: Duration,
    /// Tags of the lock from when it is taken; none: it keeps those it has.
    pub tags: Vec<Text>,
    /// Whether they are added to those that the lock has, where waiters do not stand in the record.
    pub add_tags: bool,
    /// Where marks come from: a source of this claim's own. Two claims with one source would take
    /// each other's holds for theirs, so a configuration that is cloned needs a new one.
    pub marks: Marks,
}

/// How long to want the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Patience {
    /// Not at all: busy is an answer.
    Now,
    /// Until this instant.
    Until(Time),
    /// For ever.
    Forever,
}

/// The latest the driver knows of the record.
#[derive(Clone, Copy, Debug)]
pub enum View<'a> {
    /// Nothing yet.
    Unknown,
    /// There is no record.
    Absent {
        /// Revision at which there was none; 0 if a plain read found nothing.
        revision: u64,
    },
    /// There is this record.
    Is {
        /// The record.
        record: &'a Record,
        /// Its version.
        version: Version,
        /// How long ago its holder renewed, where the store itself knows; else `None`. It may be
        /// as old as the view is; it must not be too large.
        age: Option<Duration>,
    },
}

/// Answer to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Probed {
    /// The session is there.
    Alive,
    /// The session is there, but its process is stopped: not one to hand a lock to.
    Stopped,
    /// The session is gone, and all that carried it.
    Dead,
}

/// Answer to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It happened.
    Done {
        /// The version it made.
        version: Version,
        /// The token of the hold that began with it, if one did.
        token: Token,
    },
    /// It did not happen: the record is not at the expected version.
    Conflict,
    /// It did not happen, for a reason that may pass.
    NotDone,
    /// It may have happened.
    Unknown,
}

/// What the driver must do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "a write allocates nothing in the machine")]
pub enum Action {
    /// Read the record, call [`Claim::handle_read`](super::Claim::handle_read), poll again. It is
    /// asked for again by every poll until it succeeds: pause after one that failed, and poll at
    /// the limit, at [`Claim::stop_at`](super::Claim::stop_at) and at the deadline in the meantime.
    Read,
    /// Find out whether this session is there, call
    /// [`Claim::handle_probe`](super::Claim::handle_probe), poll again.
    Probe(Session),
    /// Carry out this conditional write, call
    /// [`Claim::handle_written`](super::Claim::handle_written), poll again.
    Write(Write),
    /// Tell the user, poll again.
    Report(Report),
    /// Nothing until an input comes, or until this instant.
    Wait {
        /// The latest instant for the next poll.
        until: Option<Time>,
    },
    /// Nothing at all: nothing is wanted.
    Idle,
}

/// A conditional write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    /// Names this attempt in the answer.
    pub attempt: Mark,
    /// The version the record must have; `None`: there must be none.
    pub expected: Option<Version>,
    /// What to change.
    pub change: Change,
    /// When to give up waiting for the answer; it then counts as unknown.
    pub give_up_at: Time,
}

/// What a claim tells its user. What a report is rarely made of is boxed: those of every hold are
/// handed on from one to the next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Report {
    /// It has to wait.
    Waiting {
        /// How many stand in line before it, where the store has a line.
        place: Option<usize>,
        /// Its ticket in that line.
        ticket: Option<u64>,
        /// Who is in the way.
        by: Box<HeldBy>,
    },
    /// The lock is held from now on.
    Acquired {
        /// Its fencing token.
        token: Token,
    },
    /// Patience was [`Patience::Now`] and somebody is in the way. A claim that is still
    /// [`State::Contending`] then has something left to undo: poll it until it has ended.
    Busy(Box<HeldBy>),
    /// Patience ended; the same holds. `None`: nobody is known to be in the way, the store did not
    /// answer or refused.
    TimedOut(Option<Box<HeldBy>>),
    /// The claim was cancelled and nothing of it is left that outlives its ttl.
    Cancelled,
    /// The hold was renewed.
    Renewed,
    /// The order to stop the work is due.
    Stopping,
    /// The hold has ended against the holder's will.
    Lost(Cause),
    /// The hold was given back.
    Released {
        /// Whether the store acknowledged it, or nothing of the hold is left in the record.
        confirmed: bool,
    },
}

/// Why a hold was lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No renewal was acknowledged in time.
    Deadline,
    /// The record names another holder.
    Replaced {
        /// Whom it names.
        by: Text,
    },
    /// The record names no holder any more.
    Freed,
    /// The record is gone.
    Deleted,
}

/// Who is in the way, and for how long at most.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeldBy {
    /// Identity.
    pub id: Text,
    /// Session, for stores that can say more about it.
    pub session: Session,
    /// Fencing token; zero for one who waits ahead of us while nobody holds.
    pub token: Token,
    /// Since when, by its own wall clock.
    pub since: Wall,
    /// How the hold ends by itself.
    pub term: Term,
    /// Whether the record looks dead by its own times. A hint.
    pub looks_abandoned: bool,
    /// How long until it may be taken over if nothing is heard of it; `None` if never by time.
    pub takeover_in: Option<Duration>,
}

/// Where a claim stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Wants nothing.
    Idle,
    /// Wants the lock.
    Contending,
    /// Has it.
    Held,
    /// Gives it back.
    Ending,
    /// Has given it back, lost it, or not got it.
    Ended,
}

/// A holder's entry as first seen, and when.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Seen {
    id: Text,
    mark: Mark,
    term: Term,
    since: Wall,
    renewed: Wall,
    pub(super) at: Time,
    /// When it was renewed on our clock, where the store knows how long ago that was.
    pub(super) renewed_at: Option<Time>,
}

impl Seen {
    pub(super) fn of(h: &Holder, at: Time) -> Self {
        Self {
            id: h.id.clone(),
            mark: h.mark,
            term: h.term,
            since: h.since,
            renewed: h.renewed,
            at,
            renewed_at: None,
        }
    }

    pub(super) fn same(&self, h: &Holder) -> bool {
        self.mark == h.mark
            && self.renewed == h.renewed
            && self.since == h.since
            && self.term == h.term
            && self.id == h.id
    }
}
