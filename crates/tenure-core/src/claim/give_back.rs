//! Giving the lock back, to the next in line where there is one, or leaving a remainder.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::contend::joined;
use super::{
    Action, Cause, Claim, Ending, Goal, Kind, News, Parting, Phase, Probed, Report, View, Write,
};
use crate::museum::{Bug, planted};
use crate::{Change, End, Holder, Mark, Record, Session, Text, Time, Version, Wall};

impl Claim {
    /// The numbered steps of a releaser.
    pub(super) fn give_back(
        &mut self,
        now: Time,
        wall: Wall,
        view: &View<'_>,
        ending: Ending,
    ) -> Action {
        // 1. An answer is awaited.
        if let Some(wait) = self.await_answer(now) {
            return wait;
        }
        // 2. Nothing of ours can be left: its ttl has run out.
        if now >= ending.until {
            return self.finish(ending.given_back(false));
        }
        if self.need_read || matches!(view, View::Unknown) {
            return Action::Read;
        }
        // 3. The hold is no longer in the record. If a write of ours may have ended it that is
        //    what we wanted; else somebody else did. A remainder would be there.
        let (record, version, of) = match view {
            View::Is { record, version, .. } => match self.ours(record, ending) {
                Some(of) => (*record, *version, of),
                None => return self.finish(ending.not_there(view)),
            },
            _ => return self.finish(ending.not_there(view)),
        };
        if now < self.retry_at {
            return Action::Wait { until: Some(self.retry_at) };
        }
        // 4. Hand over, or leave the remainder.
        self.write_end(now, wall, record, version, Ending { mark: of, ..ending })
    }

    fn write_end(
        &mut self,
        now: Time,
        wall: Wall,
        record: &Record,
        version: Version,
        ending: Ending,
    ) -> Action {
        let Ending { mark: of, token, .. } = ending;
        if let Goal::Remainder(term) = ending.goal {
            let mark = self.config.marks.draw();
            // The session stays as the name of who wrote it; the term says that it decides nothing.
            let change = self.renewal(now, wall, of, mark, token, term);
            self.note_sent();
            return self.write(now, mark, Some(version), change);
        }
        let (next, strike) = match self.next_in_line(record) {
            Err(session) => return Action::Probe(session),
            Ok(next) => next,
        };
        let mark = self.config.marks.draw();
        let said = self.said(ending.goal);
        let end = said.map_or(End::Released, |said| said.end);
        let reason = said.and_then(|said| said.reason.clone());
        let tags = said.map_or_else(Box::default, |said| said.tags(record)).into_vec();
        self.note_sent();
        let give_up_at = self.send(now, mark, Kind::Release, Some(version));
        let (at, stamp) = (wall, now);
        let change = Change::Release { of, end, reason, mark, next, strike, at, stamp, tags };
        Action::Write(Write { attempt: mark, expected: Some(version), change, give_up_at })
    }

    fn note_sent(&mut self) {
        if let Phase::Ending(ending) = &mut self.phase {
            ending.sent = true;
        }
    }

    /// What is said at this end, if anything: of what is only undone nothing.
    fn said(&self, goal: Goal) -> Option<&Parting> {
        self.parting.as_deref().filter(|_| matches!(goal, Goal::Free | Goal::EndOther))
    }

    /// The mark under which the record shows the hold that is to end, if it does.
    pub(super) fn ours(&self, record: &Record, ending: Ending) -> Option<Mark> {
        let holder = record.holder.as_ref()?;
        let own = self.is_own(holder, ending.mark, ending.token);
        (own || planted(Bug::ReleaseByName)).then_some(holder.mark)
    }

    /// The first live waiter that is not stopped, and the dead ones before it.
    fn next_in_line(&self, record: &Record) -> Result<(Option<Mark>, Vec<Mark>), Session> {
        let mut strike = Vec::new();
        for waiter in &record.queue {
            match self.waiter_probed(waiter.session).ok_or(waiter.session)? {
                Probed::Alive => return Ok((Some(waiter.mark), strike)),
                Probed::Stopped => {}
                Probed::Dead => strike.push(waiter.mark),
            }
        }
        Ok((None, strike))
    }

    /// The store acknowledged what ends the hold.
    pub(super) fn finish_ending(&mut self) {
        if let Phase::Ending(ending) = self.phase {
            self.phase = Phase::Ended;
            self.parting = None;
            let undone = ending.goal == Goal::Undo;
            self.news = Some(if undone { News::Cancelled } else { News::Released });
        }
    }
}

impl Parting {
    #[cold]
    fn tags(&self, record: &Record) -> Box<[Text]> {
        joined(self.tags.clone(), self.add.then_some(record)).into_boxed_slice()
    }
}

impl Ending {
    fn given_back(&self, confirmed: bool) -> Report {
        if self.goal == Goal::Undo { Report::Cancelled } else { Report::Released { confirmed } }
    }

    /// What to tell when the record no longer shows the hold.
    fn not_there(&self, view: &View<'_>) -> Report {
        match self.goal {
            Goal::Undo => Report::Cancelled,
            Goal::HandOn => Report::Released { confirmed: true },
            Goal::Free | Goal::EndOther if self.sent => Report::Released { confirmed: true },
            Goal::Free | Goal::EndOther | Goal::Remainder(_) => Report::Lost(match view {
                View::Is { record, .. } => cause_of(record.holder.as_ref()),
                View::Absent { .. } | View::Unknown => Cause::Deleted,
            }),
        }
    }
}

fn cause_of(holder: Option<&Holder>) -> Cause {
    holder.map_or(Cause::Freed, |h| Cause::Replaced { by: h.id.clone() })
}
