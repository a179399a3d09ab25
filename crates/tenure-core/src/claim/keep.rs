//! Having the lock: renewing it, and noticing that it is lost.

use super::{Action, Cause, Claim, Hold, Phase, Report, View};
use crate::{Time, Wall};

impl Claim {
    /// The numbered steps of a holder.
    pub(super) fn keep(&mut self, now: Time, wall: Wall, view: &View<'_>, hold: Hold) -> Action {
        let deadline = self.deadline_of(&hold);
        // 1. Past the deadline nothing is ours, whatever the record says.
        if deadline.is_some_and(|d| now >= d) {
            return self.finish(Report::Lost(Cause::Deadline));
        }
        // 2. A record newer than our last acknowledged write that does not carry our mark.
        if let Some(cause) = self.lost_by(view, &hold) {
            return self.finish(Report::Lost(cause));
        }
        self.note_revision(view, &hold);
        // 3. Work has to be told in time.
        let stop_at = deadline.map(|d| d.before(self.config.timing.grace()));
        if !hold.stopping && stop_at.is_some_and(|s| now >= s) {
            if let Phase::Held(hold) = &mut self.phase {
                hold.stopping = true;
            }
            return Action::Report(Report::Stopping);
        }
        // 4. Renew, when it is time and nothing is under way.
        let Some(deadline) = deadline else { return Action::Wait { until: None } };
        let next = if hold.stopping { deadline } else { deadline.min(stop_at.unwrap_or(deadline)) };
        if let Some(Action::Wait { until }) = self.await_answer(now) {
            return Action::Wait { until: until.map(|u| u.min(next)) };
        }
        if self.need_read {
            return Action::Read;
        }
        let renew_at = hold.based.after(self.config.timing.renew_every()).max(self.retry_at);
        if now < renew_at {
            return Action::Wait { until: Some(renew_at.min(next)) };
        }
        self.renew(now, wall, view, &hold)
    }

    fn renew(&mut self, now: Time, wall: Wall, view: &View<'_>, hold: &Hold) -> Action {
        match view {
            View::Is { version, record, .. } if version.revision >= hold.revision => {
                let of = record.holder.as_ref().map_or(hold.mark, |h| h.mark);
                let mark = self.config.marks.draw();
                // Never a shorter term than the hold has: an unanswered write would shorten it.
                let change = self.renewal(now, wall, of, mark, hold.token, hold.term);
                self.write(now, mark, Some(*version), change)
            }
            // Older than our own last write. A store that keeps saying so (set back from a backup)
            // is asked with pauses, until the deadline.
            _ => {
                self.retry_at = now.after(self.pause());
                self.need_read = true;
                Action::Read
            }
        }
    }

    /// Other keys of the object may change under a holder; that is news, but no loss.
    fn note_revision(&mut self, view: &View<'_>, hold: &Hold) {
        if let (View::Is { version, .. }, Phase::Held(mine)) = (view, &mut self.phase) {
            mine.revision = hold.revision.max(version.revision);
        }
    }

    /// Whether the view shows that the hold is over. A mark of ours in doubt was settled before.
    fn lost_by(&self, view: &View<'_>, hold: &Hold) -> Option<Cause> {
        match view {
            View::Unknown => None,
            View::Absent { revision } => {
                (*revision == 0 || *revision > hold.revision).then_some(Cause::Deleted)
            }
            View::Is { version, .. } if version.revision <= hold.revision => None,
            View::Is { record, .. } => match &record.holder {
                None => Some(Cause::Freed),
                Some(h) if self.is_own(h, hold.mark, hold.token) => None,
                Some(h) => Some(Cause::Replaced { by: h.id.clone() }),
            },
        }
    }
}
