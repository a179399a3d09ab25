//! Requests, watches, and what becomes of them on their way.
//!
//! Owns each request from when it leaves to when its answer wakes somebody. On the way it may be
//! late, lost, doubled or refused, and so may the answer; a request whose future was dropped goes
//! on. The embedded kind carries out in place and answers at once or in doubt.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use tenure_core::{Change, Outcome, Probed, Session, Time, Write};
use tenure_store::{Conditional, Origin, Snapshot, Stored};

use super::world::{Event, Frozen, World};
use crate::sim::StoreKind;
use crate::sim::internals::{Net, order};

/// What a process asks for.
#[derive(Clone, Debug)]
#[cfg_attr(
    not(feature = "kube"),
    expect(clippy::large_enum_variant, reason = "few at a time, each moved once")
)]
pub(super) enum Request {
    Session,
    Probe(Session),
    Read,
    Write {
        judged: Option<Stored>,
        change: Change,
    },
    /// To an API server.
    #[cfg(feature = "kube")]
    Api(crate::api::Request),
}

impl Request {
    fn writes(&self) -> bool {
        match self {
            Self::Write { .. } => true,
            Self::Session | Self::Probe(_) | Self::Read => false,
            #[cfg(feature = "kube")]
            Self::Api(request) => request.method != "GET",
        }
    }
}

/// What it is answered.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Session(Session),
    Probed(Probed),
    Found(Snapshot),
    Written(Conditional<Stored>),
    /// An API server's.
    #[cfg(feature = "kube")]
    Api {
        code: u16,
        body: String,
        revision: u64,
    },
    /// A watch of this number.
    #[cfg(feature = "kube")]
    Opened(usize),
    /// It was not done.
    Refused,
    /// It may have been done.
    Unknown,
}

/// A request from when it left.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) by: (usize, u32),
    pub(super) request: Request,
    /// When it left, by the clock of its process.
    pub(super) sent: u64,
    /// A keep-alive goes before it, and was not answered yet.
    pub(super) beats: bool,
    reply: Option<Reply>,
    waker: Option<Waker>,
    /// Nobody waits for it any more.
    pub(super) dropped: bool,
}

/// A watch from when it was opened.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) by: (usize, u32),
    pub(super) news: VecDeque<Option<Snapshot>>,
    waker: Option<Waker>,
    pub(super) open: bool,
    /// It tells nothing, until it ends.
    pub(super) deaf: bool,
    /// The newest it told.
    revision: u64,
}

impl World {
    pub(super) fn net(&self) -> &Net {
        if self.calm { &self.plan.calm_net } else { &self.plan.storm_net }
    }

    /// How long one message is on its way.
    pub(super) fn way(&mut self) -> u64 {
        let Net { base, jitter, late, late_max, .. } = *self.net();
        let late = if self.dice.chance(late) { self.dice.below(late_max) } else { 0 };
        base + self.dice.below(jitter) + late
    }

    pub(super) fn is_lost(&mut self, process: usize) -> bool {
        let lose = self.net().lose;
        self.is_cut(process, 0) || self.dice.chance(lose)
    }

    /// Whether nothing reaches a process now.
    #[cfg(feature = "kube")]
    pub(super) fn is_lost_to(&self, process: usize) -> bool {
        self.is_cut(process, 1)
    }

    fn is_mute(&mut self, process: usize) -> bool {
        let mute = self.net().mute;
        self.is_cut(process, 1) || self.dice.chance(mute)
    }

    fn is_cut(&self, process: usize, side: usize) -> bool {
        !self.calm && self.now < self.sides[process].cut[side]
    }

    // ---- requests ----

    /// A request leaves.
    pub(super) fn send(&mut self, by: (usize, u32), request: Request) -> usize {
        let number = self.calls.len();
        let sent = self.local(by.0, self.now);
        let beats = self.needs_beat(by.0, &request);
        let call = Call { by, request, sent, beats, reply: None, waker: None, dropped: false };
        self.requests += 1;
        self.trace.mix(number as u64 ^ 7 << 40);
        self.tell(|w| format!("p{} asks {number} {:?}", by.0, w.calls[number].request), call);
        let known = matches!(self.calls[number].request, Request::Session)
            && (self.sides[by.0].session.is_some() || !self.plan.store.queue());
        if known {
            self.calls[number].reply = Some(self.perform(number));
        } else if self.plan.store == StoreKind::Line {
            self.in_place(number);
        } else {
            self.leaves(number);
        }
        number
    }

    fn tell(&mut self, line: impl FnOnce(&Self) -> String, call: Call) {
        self.calls.push(call);
        if self.telling {
            let (now, line) = (self.now, line(self));
            self.trace.say(|| format!("{now:>15} {line}"));
        }
    }

    /// It goes to the store, for the first time or after its keep-alive.
    pub(super) fn leaves(&mut self, number: usize) {
        let process = self.calls[number].by.0;
        let Net { double, refuse, doubt, .. } = *self.net();
        let writes = self.calls[number].request.writes();
        let lost = self.is_lost(process);
        let way = self.way();
        if !lost && self.dice.chance(refuse) {
            return self.at(way, Event::Back(number, Reply::Refused));
        }
        if lost {
            return;
        }
        if writes && !self.calls[number].beats {
            if self.dice.chance(double) {
                let again = self.way();
                self.at(again, Event::Land(number, false));
            }
            if self.dice.chance(doubt) {
                let back = self.way();
                self.at(back, Event::Back(number, Reply::Unknown));
                return self.at(way, Event::Land(number, false));
            }
        }
        self.at(way, Event::Land(number, true));
    }

    /// It reaches the store.
    pub(super) fn lands(&mut self, number: usize, answered: bool) {
        if self.calls[number].beats {
            return self.beat_before(number);
        }
        let reply = self.perform(number);
        if answered && !self.is_mute(self.calls[number].by.0) {
            let back = self.way();
            self.at(back, Event::Back(number, reply));
        }
    }

    fn perform(&mut self, number: usize) -> Reply {
        let (by, request) = (self.calls[number].by, self.calls[number].request.clone());
        match request {
            Request::Session => Reply::Session(self.open_session(by)),
            Request::Probe(session) => Reply::Probed(self.probe(session)),
            Request::Read => Reply::Found(self.snapshot(true)),
            Request::Write { judged, change } if self.is_renewal(by.0, &change) => {
                self.kept_alive(number, judged, &change)
            }
            Request::Write { judged, change } => self.carry_out(number, judged, change),
            #[cfg(feature = "kube")]
            Request::Api(request) => self.serves(number, &request),
        }
    }

    /// The store carries out a write, or refuses it.
    fn carry_out(&mut self, number: usize, judged: Option<Stored>, change: Change) -> Reply {
        let (process, life) = self.calls[number].by;
        let sent = self.calls[number].sent;
        if !self.may_put(&change) {
            return Reply::Refused;
        }
        let before = Rc::clone(&self.shelf.now);
        let attempt = change.mark().unwrap_or_default();
        let expected = judged.map(|j| j.version);
        let write = Write { attempt, expected, change, give_up_at: Time::ZERO };
        let outcome = self.shelf.write(&write);
        self.trace.mix(self.shelf.revision());
        if !matches!(outcome, Outcome::Done { .. }) {
            return Reply::Written(Conditional::Conflict);
        }
        let change = &write.change;
        let proves =
            matches!(change, Change::Take { .. } | Change::Join { .. } | Change::Renew { .. });
        if proves && self.sides[process].life == life {
            self.proved(process, sent);
            self.confirmed(process, change);
        }
        let after = Rc::clone(&self.shelf.now);
        if self.plan.store == StoreKind::Line
            && change.begins_hold()
            && let Some(after) = &after.record
        {
            let passed = order::served(change, before.record.as_ref(), after, |s| self.probe(s));
            self.judged("order", passed);
        }
        self.tell_all();
        match self.snapshot(false) {
            Snapshot::Is(stored) => Reply::Written(Conditional::Done(stored)),
            // The last key is gone, and the record with it.
            Snapshot::Absent { revision } => {
                let version = tenure_core::Version { incarnation: 0, revision };
                let stored = Stored {
                    record: Arc::default(),
                    version,
                    age: None,
                    origin: Origin::default(),
                };
                Reply::Written(Conditional::Done(stored))
            }
        }
    }

    /// What stands there. `plain`: as a read finds it.
    pub(super) fn snapshot(&self, plain: bool) -> Snapshot {
        let now = &self.shelf.now;
        match &now.record {
            Some(record) => {
                let record = Arc::new(record.clone());
                Snapshot::Is(Stored {
                    record,
                    version: now.version,
                    age: None,
                    origin: Origin::default(),
                })
            }
            None if plain && self.plan.store != StoreKind::Server => {
                Snapshot::Absent { revision: 0 }
            }
            None => Snapshot::Absent { revision: now.version.revision },
        }
    }

    /// On the embedded kind: done where it is asked for; a disk fails before or after it has written.
    fn in_place(&mut self, number: usize) {
        let Net { refuse, doubt, late, late_max, .. } = *self.net();
        let writes = matches!(self.calls[number].request, Request::Write { .. });
        let reply = if self.dice.chance(refuse) {
            Reply::Refused
        } else if writes && self.dice.chance(doubt) {
            if self.dice.chance(500) {
                let _ = self.perform(number);
            }
            Reply::Unknown
        } else {
            self.perform(number)
        };
        // Who was found stopped may go on the next moment, so this is not answered late.
        let probes = matches!(self.calls[number].request, Request::Probe(_));
        if self.dice.chance(late) && !probes {
            let back = self.dice.below(late_max);
            self.at(back, Event::Back(number, reply));
        } else {
            self.calls[number].reply = Some(reply);
        }
    }

    /// An answer reaches its process.
    pub(super) fn back(&mut self, number: usize, reply: Reply) {
        let (process, life) = self.calls[number].by;
        if self.sides[process].life != life {
            return;
        }
        match self.sides[process].reach(self.now) {
            Frozen::No => {}
            Frozen::Loses => return,
            Frozen::Until(thaw) => {
                let at = thaw - self.now;
                return self.at(at, Event::Back(number, reply));
            }
        }
        let revision = match &reply {
            Reply::Found(snapshot) => snapshot.revision(),
            Reply::Written(Conditional::Done(stored)) => stored.version.revision,
            #[cfg(feature = "kube")]
            Reply::Api { revision, .. } => *revision,
            _ => 0,
        };
        let call = &mut self.calls[number];
        let changes = call.request.writes();
        call.reply.get_or_insert(reply);
        let waker = call.waker.take();
        let side = &mut self.sides[process];
        let unheard = self.calls[number].dropped || side.looks > 0 && !changes;
        side.newest = side.newest.max(if unheard { 0 } else { revision });
        side.wake(waker);
    }

    /// Takes the reply, or keeps the waker.
    pub(super) fn reply_to(&mut self, number: usize, waker: &Waker) -> Option<Reply> {
        let call = &mut self.calls[number];
        if call.reply.is_none() {
            call.waker = Some(waker.clone());
        }
        call.reply.clone()
    }

    /// Nobody waits for it any more; it goes on.
    pub(super) fn forget(&mut self, number: usize) {
        if let Some(call) = self.calls.get_mut(number) {
            call.dropped = true;
            call.waker = None;
        }
    }

    // ---- watches ----

    pub(super) fn open_watch(&mut self, by: (usize, u32)) -> usize {
        let number = self.watchers.len();
        self.watchers.push(Watcher {
            by,
            news: VecDeque::new(),
            waker: None,
            open: true,
            deaf: false,
            revision: 0,
        });
        if self.plan.store == StoreKind::Line {
            let snapshot = self.snapshot(false);
            self.watchers[number].news.push_back(Some(snapshot));
        } else if self.is_lost(by.0) || self.is_mute(by.0) {
            self.falls_silent(number);
        } else {
            let way = self.way();
            let news = self.snapshot(false);
            self.at(way, Event::News(number, Some(news)));
        }
        number
    }

    /// What it would tell is missed, until it ends with an error: at once, in a calm.
    pub(super) fn falls_silent(&mut self, number: usize) {
        if !std::mem::replace(&mut self.watchers[number].deaf, true) {
            let longest = if self.calm { 0 } else { 2 * self.ttl() };
            let silence = self.way() + self.dice.below(longest);
            self.at(silence, Event::News(number, None));
        }
    }

    /// Tells every watch what stands there now.
    pub(super) fn tell_all(&mut self) {
        #[cfg(feature = "kube")]
        if self.cluster.is_some() {
            return self.tell_lines();
        }
        let skip = self.net().skip;
        for number in 0..self.watchers.len() {
            let Watcher { by, open, deaf, .. } = self.watchers[number];
            if !open || deaf || self.sides[by.0].life != by.1 {
                continue;
            }
            let misses = self.plan.store != StoreKind::Line && self.dice.chance(skip);
            if misses || self.is_cut(by.0, 1) {
                self.falls_silent(number);
                continue;
            }
            let way = if self.plan.store == StoreKind::Line { 0 } else { self.way() };
            let news = self.snapshot(false);
            self.at(way, Event::News(number, Some(news)));
        }
    }

    /// A watch tells, or ends.
    pub(super) fn news(&mut self, number: usize, news: Option<Snapshot>) {
        let Watcher { by: (process, life), open, revision, .. } = self.watchers[number];
        if !open || self.sides[process].life != life {
            return;
        }
        let news = match self.sides[process].reach(self.now) {
            Frozen::No => news,
            Frozen::Loses if news.is_some() => return self.falls_silent(number),
            // That it has ended is noticed when the process goes on.
            Frozen::Loses => {
                let at = self.sides[process].frozen_until - self.now;
                return self.at(at, Event::News(number, None));
            }
            Frozen::Until(thaw) => {
                let at = thaw - self.now;
                return self.at(at, Event::News(number, news));
            }
        };
        if let Some(snapshot) = &news {
            // A death moves no revision, and is told all the same.
            let line = self.plan.store == StoreKind::Line;
            if !line && snapshot.revision() <= revision && revision > 0 {
                return;
            }
            self.sides[process].newest = self.sides[process].newest.max(snapshot.revision());
            self.watchers[number].revision = snapshot.revision();
        }
        let watcher = &mut self.watchers[number];
        watcher.news.push_back(news);
        let waker = watcher.waker.take();
        self.sides[process].wake(waker);
    }

    pub(super) fn news_of(&mut self, number: usize, waker: &Waker) -> Option<Option<Snapshot>> {
        let watcher = &mut self.watchers[number];
        let news = watcher.news.pop_front();
        if news.is_none() {
            watcher.waker = Some(waker.clone());
        }
        news
    }

    pub(super) fn close_watch(&mut self, number: usize) {
        if let Some(watcher) = self.watchers.get_mut(number) {
            watcher.open = false;
            watcher.waker = None;
        }
    }
}
