//! What users, operators and fate do to a [`World`].

use std::time::Duration;

use super::{Event, World};
use tenure_core::{Holder, Liveness, Mark, Patience, Session, State, Term, Time, Token, Wall};

const FOREIGN: &str = "foreign";

impl World<'_> {
    pub(super) fn patience(&mut self, peer: usize) -> Patience {
        let now = self.peers[peer].local(self.now);
        match self.tape.draw(4) {
            0 | 1 => Patience::Forever,
            2 => Patience::Until(now.after(Duration::from_secs(u64::from(self.tape.draw(30))))),
            _ => Patience::Now,
        }
    }

    pub(super) fn interfere(&mut self) {
        let peer = usize::from(self.tape.draw(u16::try_from(self.peers.len()).unwrap()));
        let p = &mut self.peers[peer];
        let now = p.local(self.now);
        match self.tape.draw(9) {
            0 | 1 => {}
            2 => {
                p.claim.release(now);
                self.judge.ends(peer, self.now);
            }
            3 => {
                p.claim.cancel(now);
                self.judge.ends(peer, self.now);
            }
            4 => {
                let ttl = Duration::from_secs(1 + u64::from(self.tape.draw(40)));
                self.judge.detaches(peer, self.peers[peer].claim.state());
                self.peers[peer].claim.detach(now, ttl);
            }
            5 => {
                p.frozen = true;
                self.reg.stopped.insert(p.session);
                let nap = self.tape.delay() * 2;
                self.at(nap, Event::Thaw { peer });
            }
            6 if !self.queue || self.liveness == Liveness::Process => self.die(peer),
            7 if self.meddling => self.meddle(),
            _ => {}
        }
        self.begin_again(peer);
        self.drain(peer);
    }

    /// A claim that wants nothing wants the lock again.
    fn begin_again(&mut self, peer: usize) {
        let state = self.peers[peer].claim.state();
        if matches!(state, State::Ended | State::Idle) && !self.dead(&self.peers[peer]) {
            let patience = self.patience(peer);
            self.peers[peer].claim.acquire(patience);
            self.judge.wants(peer);
        }
    }

    /// Dies, and is there again under a new name; who waits for it hears of it.
    fn die(&mut self, peer: usize) {
        self.reg.dead.insert(self.peers[peer].session);
        let life = self.peers[peer].life + 1;
        if life < 20 {
            self.peers[peer] = self.new_peer(u8::try_from(peer).unwrap(), life);
            self.judge.wants(peer);
        }
        for other in 0..self.peers.len() {
            let timer = self.peers[other].timer;
            self.at(0, Event::Poll { peer: other, timer });
        }
    }

    /// What no protocol allows, but people do.
    fn meddle(&mut self) {
        let kind = self.tape.draw(5);
        let Some(record) = &mut self.reg.record else { return };
        match kind {
            // A label of the object changes.
            0 | 1 => {}
            2 => record.holder = None,
            3 => {
                self.serial += 1;
                record.holder = Some(Holder {
                    id: FOREIGN.into(),
                    mark: Mark::from_u128((1 << 120) | u128::from(self.serial)),
                    session: Session::NONE,
                    token: Token::new(self.reg.token),
                    term: Term::Ttl(Duration::from_secs(10)),
                    ticket: record.next_ticket,
                    since: Wall::default(),
                    renewed: Wall::default(),
                    stamp: Time::from_nanos(self.now),
                });
            }
            _ => {
                record.queue.pop_front();
            }
        }
        self.reg.version.revision += 1;
        if kind == 4 && self.liveness == Liveness::Observed {
            self.reg.record = None;
        }
        if self.trace {
            println!("{:>12} meddling {kind} {:?}", self.now / 1_000, self.reg.record);
        }
        self.judge.meddled(kind, &self.reg);
        self.tell_all();
    }
}
