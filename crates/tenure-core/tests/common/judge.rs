//! Watches a [`World`](super::world::World) and panics when a promise is broken.

use std::collections::{HashMap, HashSet};

use super::Register;
use super::peer::Peer;
use tenure_core::{
    Change, HISTORY_MAX, Liveness, Mark, Probed, Record, Report, State, Term, Token, Write,
};

const TTL: u64 = 15_000_000_000;

/// What was promised about one peer.
#[derive(Clone, Default)]
struct Promise {
    /// Marks of what it sent since it last began to want the lock.
    sent: HashSet<Mark>,
    /// Told that nothing of it is left: nothing of it may land any more.
    gone: bool,
    /// When it was told to end; what is left of it after a ttl may be left to its ttl.
    ended_at: Option<u64>,
    /// Its hold was to leave a remainder behind.
    detached: bool,
}

pub(crate) struct Judge {
    liveness: Liveness,
    promises: Vec<Promise>,
    last_token: Token,
    /// The token of the hold that each mark stands for.
    tokens: HashMap<Mark, Token>,
    acquired: HashSet<Token>,
    /// Revisions at which somebody changed the record who may not.
    meddled: Vec<u64>,
    deleted: bool,
    pub(crate) holds: u64,
}

impl Judge {
    pub(crate) fn new(liveness: Liveness, peers: usize) -> Self {
        Self {
            liveness,
            promises: vec![Promise::default(); peers],
            last_token: Token::default(),
            tokens: HashMap::new(),
            acquired: HashSet::new(),
            meddled: Vec::new(),
            deleted: false,
            holds: 0,
        }
    }

    /// Never two valid beliefs, save of one who has not yet heard what an outsider did.
    pub(crate) fn belief(&self, now: u64, peers: &[Peer]) {
        let believes = |p: &&Peer| p.claim.is_valid(p.local(now));
        let informed = |p: &&Peer| self.meddled.iter().all(|m| *m <= p.newest);
        let who: Vec<_> = peers.iter().filter(believes).filter(informed).map(|p| &p.name).collect();
        assert!(who.len() < 2, "at {now} all of {who:?} believe");
    }

    // ---- what happened to the record ----

    pub(crate) fn landed(
        &mut self,
        author: Option<usize>,
        write: &Write,
        before: Option<&Record>,
        reg: &Register,
    ) {
        let record = reg.record.as_ref().unwrap();
        let promise = author.map(|a| &self.promises[a]);
        if promise.is_some_and(|p| p.gone && p.sent.contains(&write.attempt)) {
            let ghost = self.deleted && write.expected.is_none();
            assert!(
                ghost || !leaves_something(&write.change),
                "of {author:?}, who was told that nothing is left: {write:?}"
            );
        }
        if write.change.begins_hold() {
            let holder = record.holder.as_ref();
            self.tokens.extend(holder.map(|h| (h.mark, h.token)));
            self.first_come_first_served(before, record, reg, &write.change);
        }
        if let Change::Renew { of, mark, .. } = &write.change
            && let Some(token) = self.tokens.get(of).copied()
        {
            self.tokens.insert(*mark, token);
        }
        let tickets: Vec<_> = record.queue.iter().map(|w| w.ticket).collect();
        assert!(tickets.is_sorted_by(|a, b| a < b), "{tickets:?}");
        assert!(tickets.last().is_none_or(|t| *t < record.next_ticket));
        assert!(record.history.len() <= HISTORY_MAX);
    }

    fn first_come_first_served(
        &self,
        before: Option<&Record>,
        record: &Record,
        reg: &Register,
        change: &Change,
    ) {
        if self.liveness != Liveness::Process {
            return;
        }
        let Some(holder) = &record.holder else { return };
        let passed = record
            .queue
            .iter()
            .find(|w| w.ticket < holder.ticket && reg.probe(w.session) == Probed::Alive);
        assert!(passed.is_none(), "{passed:?} was passed over for {holder:?}");
        let old = before.and_then(|r| r.holder.as_ref());
        if let (Change::Take { .. }, Some(old)) = (change, old)
            && old.term == Term::Session
        {
            assert_eq!(reg.probe(old.session), Probed::Dead, "taken from the living: {old:?}");
        }
    }

    pub(crate) fn meddled(&mut self, kind: u16, reg: &Register) {
        self.deleted |= reg.record.is_none();
        if kind >= 2 {
            self.meddled.push(reg.version.revision);
        }
    }

    // ---- what users asked for ----

    pub(crate) fn wants(&mut self, peer: usize) {
        self.promises[peer] = Promise::default();
    }

    pub(crate) fn sent(&mut self, peer: usize, write: &Write) {
        self.promises[peer].sent.insert(write.attempt);
    }

    pub(crate) fn ends(&mut self, peer: usize, now: u64) {
        self.promises[peer].ended_at.get_or_insert(now);
    }

    pub(crate) fn detaches(&mut self, peer: usize, claim: State) {
        self.promises[peer].detached |= claim == State::Held;
    }

    // ---- what they were told ----

    pub(crate) fn report(
        &mut self,
        now: u64,
        peer: usize,
        report: &Report,
        peers: &[Peer],
        reg: &Register,
    ) {
        let p = &peers[peer];
        let ended = p.claim.state() == State::Ended;
        match report {
            Report::Acquired { token } => self.acquired(now, p, *token),
            Report::Waiting { .. } | Report::Renewed | Report::Stopping => {}
            Report::Busy(_) | Report::TimedOut(_) if !ended => self.ends(peer, now),
            Report::Busy(_) | Report::TimedOut(_) => self.nothing_left(now, peer, p, reg),
            Report::Cancelled => self.nothing_left(now, peer, p, reg),
            Report::Released { confirmed: true } if self.promises[peer].detached => {
                if self.liveness == Liveness::Process {
                    assert_eq!(reg.holder(), Some(&*p.name), "no remainder is left");
                }
            }
            Report::Released { confirmed: true } => self.nothing_left(now, peer, p, reg),
            Report::Released { confirmed: false } => {
                assert!(self.liveness != Liveness::Process, "a session's hold was given up");
            }
            Report::Lost(cause) => {
                let innocent = self.liveness == Liveness::Process && self.meddled.is_empty();
                assert!(!innocent, "{} lost what nobody took: {cause:?}", p.name);
            }
        }
    }

    fn acquired(&mut self, now: u64, p: &Peer, token: Token) {
        assert!(p.claim.is_valid(p.local(now)), "{} holds what is over", p.name);
        assert!(self.acquired.insert(token), "{token} twice");
        assert_eq!(p.claim.mark().and_then(|m| self.tokens.get(&m)), Some(&token), "{}", p.name);
        if self.meddled.is_empty() {
            assert!(token > self.last_token, "{token} after {}", self.last_token);
        }
        self.last_token = self.last_token.max(token);
        self.holds += 1;
    }

    /// Neither holder nor in line, now or later.
    fn nothing_left(&mut self, now: u64, peer: usize, p: &Peer, reg: &Register) {
        let observed = self.liveness == Liveness::Observed;
        let ended_at = self.promises[peer].ended_at.unwrap_or(now);
        // After a ttl it may be left to its ttl; so may a creation that lands after a deletion.
        if observed && (self.deleted || now >= ended_at + TTL - TTL / 50) {
            return;
        }
        let promise = &mut self.promises[peer];
        let holder = reg.record.as_ref().and_then(|r| r.holder.as_ref());
        let mut queue = reg.record.iter().flat_map(|r| &r.queue);
        assert!(holder.is_none_or(|h| !promise.sent.contains(&h.mark)), "{} holds", p.name);
        assert!(queue.all(|w| !promise.sent.contains(&w.mark)), "{} waits", p.name);
        promise.gone = true;
    }
}

/// Whether this write puts something of its author into the record.
fn leaves_something(change: &Change) -> bool {
    matches!(change, Change::Take { .. } | Change::Join { .. } | Change::Renew { .. })
}
