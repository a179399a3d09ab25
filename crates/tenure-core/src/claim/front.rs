//! How much of a long line is needed to decide.

use super::{Claim, Ending, Goal, Liveness, Phase, Probed};
use crate::Record;

impl Claim {
    /// Whether the next [`poll`](Self::poll) decides the same on every record that is this one with
    /// more waiters behind those it has. A store with a long line need not understand all of it then;
    /// what the poll asks to be written leaves those behind as they are.
    #[must_use]
    pub fn sees_enough(&self, record: &Record) -> bool {
        // What is in doubt is looked for in all of the line, and so is the key of a server's session.
        if !self.attempts.none_pending() || self.config.liveness == Liveness::Server {
            return false;
        }
        match &self.phase {
            Phase::Idle | Phase::Held(_) | Phase::Ended => true,
            Phase::Contending(w) => {
                let own = record.holder.as_ref().is_some_and(|holder| w.own(holder).is_some());
                own && w.cancelled.is_none()
            }
            Phase::Ending(ending) => self.sees_successor(record, *ending),
        }
    }

    /// Whether one is there whom the lock is handed to, or who must be asked about first; or nobody
    /// is to get it.
    fn sees_successor(&self, record: &Record, ending: Ending) -> bool {
        if matches!(ending.goal, Goal::Remainder(_)) || self.ours(record, ending).is_none() {
            return true;
        }
        let known = |session| self.waiter_probed(session);
        record.queue.iter().any(|w| matches!(known(w.session), None | Some(Probed::Alive)))
    }
}
