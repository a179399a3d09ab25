//! A Go program that contends for the same Lease: what it sees of the record, and when it takes it.
//!
//! Owns what `client-go` does with a Lease, as far as its neighbours feel it. It looks every few
//! seconds, sees times in whole seconds alone, and takes what has stood unchanged for a ttl of its
//! own clock: without any allowance for what clocks do, and on condition of the version it read. It
//! knows no marks. Sometimes it is stopped for long, and then its hold ends as any other's.
//!
//! **It never finds a believing holder silent for a ttl.** That is what the margin is for, so there
//! is one only in runs that have a margin.

use std::rc::Rc;

use tenure_core::{Holder, Mark, Session, Text, Time, Token, Wall};

use super::agenda::{Entry, Kind};
use super::judge::belief::believes;
use super::peer::{Known, Snapshot};
use super::world::World;

/// Its name in the record.
const NAME: &str = "go-elector";
const MICROS: u64 = 1_000_000;

/// What it remembers.
#[derive(Debug, Default)]
pub(super) struct Go {
    observed: Option<(Text, Token, Wall)>,
    /// When it first saw that, by its own clock.
    since: u64,
    /// Stopped until then, in true time.
    quiet_until: u64,
}

impl World {
    /// Its next look is due.
    pub(super) fn go_due(&mut self) {
        self.again(Kind::GoDue, self.plan.go_every);
        let ttl = self.ttl();
        if self.calm || self.now < self.go.quiet_until {
            return;
        }
        if self.dice.chance(40) {
            self.go.quiet_until = self.now + self.dice.below(4 * ttl);
            return;
        }
        if !self.go_loses() {
            let way = self.way();
            self.agenda.put(self.now + way, Kind::GoLook, 0, 0, 0);
        }
    }

    fn go_loses(&mut self) -> bool {
        let lose = self.net().lose;
        self.dice.chance(lose)
    }

    /// Its read reaches the store.
    pub(super) fn go_looks(&mut self) {
        let snap = Rc::clone(&self.shelf.now);
        let slot = self.news.put((Known { snap, unordered: false }, 0));
        let way = self.way();
        self.agenda.put(self.now + way, Kind::GoFound, 0, 0, slot);
    }

    /// What it read arrives: it renews, takes, or goes on waiting.
    pub(super) fn go_found(&mut self, entry: Entry) {
        let Some((known, _)) = self.news.take(entry.slot) else { return };
        if self.calm || self.now < self.go.quiet_until {
            return;
        }
        let local = self.now / MICROS * self.plan.go_rate;
        let holder = known.snap.record.as_ref().and_then(|r| r.holder.as_ref());
        let tuple = holder.map(|h| (h.id.clone(), h.token, seconds(h.renewed)));
        if tuple != self.go.observed {
            self.go.observed = tuple;
            self.go.since = local;
        }
        let mine = holder.is_some_and(|h| &*h.id == NAME);
        let silent = local >= self.go.since + self.ttl();
        // Without an object it would have to create one: our own do that.
        let puts = known.snap.record.is_some() && (holder.is_none() || mine || silent);
        if puts && !self.go_loses() {
            let way = self.way();
            let slot = self.news.put((known, 0));
            self.agenda.put(self.now + way, Kind::GoLand, 0, 0, slot);
        }
    }

    /// What it wrote reaches the store, on condition of the version that it read.
    pub(super) fn go_lands(&mut self, entry: Entry) {
        let Some((read, _)) = self.news.take(entry.slot) else { return };
        let Some(record) = self.go_writes(&read.snap) else { return };
        if self.shelf.record().is_none() || read.snap.version != self.shelf.now.version {
            return;
        }
        let ours = |h: &&Holder| &*h.id != NAME;
        let takes = self.shelf.holder().filter(ours).is_some();
        self.trace.say(|| format!("{:>15} the Go program writes, takes: {takes}", self.now));
        self.shelf.put(Some(record));
        if takes {
            let outsiders = self.judges.outsiders;
            let informed = |p: &super::peer::Peer| outsiders.known_to(p);
            let two = self.peers.iter().position(|p| believes(p, self.now) && informed(p));
            let two = two.map(|n| format!("a Go program finds c{n} silent, which believes"));
            self.judged("belief", two);
        }
        self.tell_all();
    }

    /// The object as it puts it: a new holder, or a renewal of its own.
    fn go_writes(&self, read: &Snapshot) -> Option<tenure_core::Record> {
        let mut record = read.record.clone()?;
        let now = seconds(self.wall(0));
        match &mut record.holder {
            Some(h) if &*h.id == NAME => {
                let next = Wall::from_micros(h.renewed.as_micros() + MICROS);
                h.renewed = now.max(next);
            }
            other => {
                let token = Token::new(self.shelf.revision() + 1);
                let (mark, session) = (Mark::from_u128(1 << 121), Session::NONE);
                *other = Some(Holder {
                    id: NAME.into(),
                    mark,
                    session,
                    token,
                    term: self.plan.term(),
                    ticket: record.next_ticket,
                    since: now,
                    renewed: now,
                    stamp: Time::ZERO,
                });
            }
        }
        Some(record)
    }
}

/// A time as Go compares it.
fn seconds(wall: Wall) -> Wall {
    Wall::from_micros(wall.as_micros() / MICROS * MICROS)
}
