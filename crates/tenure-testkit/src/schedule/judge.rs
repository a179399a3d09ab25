//! What is promised, looked at from outside of the program: what its guards say, what stands in the
//! record, and when what proves a hold was sent.
//!
//! Owns the verdicts. Where a promise can be told from a token or a change alone, it is the judge of
//! [`sim`](crate::sim) that tells.

use tenure_core::Token;

use super::world::{Event, World};
use crate::sim::StoreKind;
use crate::sim::internals::{MILLI, attempt, valid_for};

/// A hold as its guard shows it.
#[derive(Clone, Copy, Debug)]
pub struct Holding {
    /// Whose it is.
    pub process: usize,
    /// Until when it is believed, in nanoseconds of that process's clock since its beginning;
    /// `None`: without an end by time.
    pub until: Option<u64>,
    /// A number of its own.
    pub number: u64,
}

impl World {
    /// Somebody was told that it holds.
    pub(super) fn acquired(&mut self, process: usize, token: Token) {
        self.holds += 1;
        self.trace.mix(token.get());
        let falls = self.tokens.acquired(token, self.is_informed(process));
        self.judged("tokens", falls);
    }

    /// Whether the process has heard of all that outsiders did.
    fn is_informed(&self, process: usize) -> bool {
        self.outsiders <= self.sides[process].newest
    }

    pub(super) fn lost(&mut self, process: usize, why: &str) {
        let settled = self.now >= self.alive_by().saturating_add(self.ttl());
        let what = format!("p{process} lost its hold without any fault: {why}");
        self.judged("liveness", settled.then_some(what));
    }

    /// When what the storm left is over, and somebody must hold.
    fn alive_by(&self) -> u64 {
        let ttl = self.ttl();
        let local = ttl + ttl / 100 + 4 * attempt(&self.plan.timing, self.plan.margin);
        self.over.saturating_add(local + local / 50)
    }

    pub(super) fn look(&mut self, holdings: &[Holding], wants: Option<u64>) {
        self.believed.clear();
        for holding in holdings {
            let now = self.local(holding.process, self.now);
            if holding.until.is_some_and(|until| now >= until) {
                continue;
            }
            self.not_too_long(holding);
            if self.is_informed(holding.process) {
                self.believed.push((holding.process, holding.number));
            }
        }
        if let [(a, n), (b, m), ..] = self.believed[..] {
            let what = format!("p{a} (hold {n}) and p{b} (hold {m}) both believe that they hold");
            self.judged("belief", Some(what));
        }
        self.is_alive(wants);
    }

    /// No deadline is later than the send of what proves it allows, nor than a server keeps the
    /// session.
    fn not_too_long(&mut self, holding: &Holding) {
        let Some(until) = holding.until else { return };
        let process = holding.process;
        let server = self.plan.store == StoreKind::Server;
        let ttl = self.ttl();
        let error = if server { ttl / 1_000_000 * 10_000 } else { 0 };
        let allowed = valid_for(&self.plan.timing, self.plan.margin) - error;
        let latest = self.sides[process].proved + allowed;
        let late = (until > latest)
            .then(|| format!("p{process} believes until {until}, allowed is {latest}"));
        self.judged("deadline", late);
        if server {
            let session = self.sides[process].session;
            let kept = session.and_then(|s| self.lease_of(s)).unwrap_or(0);
            let until = self.true_time(process, until);
            let outlives = (until > kept.max(self.now))
                .then(|| format!("p{process} believes until {until}, its session ends at {kept}"));
            self.judged("belief", outlives);
        }
    }

    /// In a calm: somebody holds in time, and a lock that is free and wanted is taken at once.
    fn is_alive(&mut self, wants: Option<u64>) {
        if !self.calm || self.now < self.over {
            return;
        }
        let held = !self.believed.is_empty();
        self.held |= held;
        let Some(wants) = wants.filter(|_| !held) else {
            self.idle_since = None;
            return;
        };
        let from = wants.max(self.over);
        let since = *self.idle_since.get_or_insert(self.now);
        let way = self.plan.calm_net.base + self.plan.calm_net.jitter;
        let ways = if self.plan.store == StoreKind::Server { 30 } else { 15 };
        // A driver pauses after what led nowhere, and that may just have begun.
        let pause = attempt(&self.plan.timing, self.plan.margin);
        let at_once = ways * way + 10 * MILLI + if self.held { 0 } else { pause };
        let bound = self.alive_by() - self.over;
        if !self.held && self.now > from + bound {
            let what = "somebody waits and nobody holds, long after the last fault".to_owned();
            self.judged("liveness", Some(what));
        } else if self.held && self.now - since > at_once {
            let what = format!("free and wanted for {} ms", (self.now - since) / MILLI);
            self.judged("idle", Some(what));
        }
    }

    /// Nothing stands in the record that nobody wants any more, where it does not end by time.
    pub(super) fn look_at_record(&mut self, is_wanted: impl Fn(&str) -> Option<u64>) {
        if !self.calm || !self.plan.store.queue() {
            return;
        }
        let Some(record) = self.shelf.record() else { return };
        let holder = record.holder.iter().map(|h| (&h.id, h.session));
        let queue = record.queue.iter().map(|w| (&w.id, w.session));
        // Undone as soon as the store answers; over a server, what landed late, after a look.
        let patience = if self.plan.store == StoreKind::Server { self.ttl() } else { 0 };
        let patience = patience + 3 * attempt(&self.plan.timing, self.plan.margin);
        let left = holder.chain(queue).find_map(|(id, session)| {
            let since = is_wanted(id)?.max(self.over);
            let lives = self.sides.iter().any(|s| s.session == Some(session));
            (lives && self.now > since + patience).then(|| format!("{id} is left in the record"))
        });
        self.judged("dropped", left);
    }

    // ---- the resource ----

    /// A guarded write leaves; it may be long on its way.
    pub(super) fn guarded(&mut self, process: usize, token: Token, number: u64) {
        self.works(process);
        let stalled = self.dice.chance(10) && !self.calm;
        let stall = if stalled { self.dice.below(3 * self.ttl()) } else { 0 };
        let way = stall + self.way();
        let life = self.sides[process].life;
        self.at(way, Event::Fenced { process, life, token, number });
    }

    /// Work goes on: not after the deadline, by the clock of its process.
    pub(super) fn works(&mut self, process: usize) {
        let now = self.local(process, self.now);
        let error = if self.plan.store == StoreKind::Server { self.ttl() / 100 } else { 0 };
        let ends = self.plan.store != StoreKind::Line;
        let latest =
            self.sides[process].proved + valid_for(&self.plan.timing, self.plan.margin) - error;
        let late = (ends && now >= latest)
            .then(|| format!("p{process} works at {now}, its deadline was {latest} at most"));
        self.judged("deadline", late);
    }

    pub(super) fn fenced(&mut self, process: usize, life: u32, token: Token, number: u64) {
        let believes = self.believed.contains(&(process, number));
        let what = self.fence.write(token, (process, life), believes);
        self.judged("fence", what);
    }
}
