//! Taking a lock away from its holder, for an operator.
//!
//! Owns whom that kills and in which order; how the hold ends in the record is the claim's business.
//! **It acts on the hold that was seen, by its mark, and where that hold stands for running work it
//! is freed only once the work has ended**: holder, command and hold are ended under one guard, so
//! that nobody takes over in between and the reason stands in the record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use tenure_core::{Cause, End, Mark, Record, Report, Session, Term, Text};

use crate::session::{Identity, Verdict};
use crate::{Error, LocalClaim, LocalLock, LocalStore, LockName, Result, Shown, group, process};

/// How long killed processes are waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks at them.
const PAUSE: Duration = Duration::from_millis(2);

/// The hold that an operator has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    mark: Mark,
    bound: bool,
}

impl Target {
    /// The hold that is shown, if one is.
    #[must_use]
    pub fn of(shown: &Shown) -> Option<Self> {
        let holder = shown.record.holder.as_ref()?;
        Some(Self { mark: holder.mark, bound: holder.term == Term::Session })
    }

    /// Whether it lives as long as its processes, and never ends by time.
    #[must_use]
    pub const fn is_bound(&self) -> bool {
        self.bound
    }
}

/// What came of a theft.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Theft {
    /// The hold is over.
    Freed {
        /// The holder's processes that were killed for it.
        killed: Vec<u32>,
    },
    /// It is not the hold that was seen any more: nothing was done.
    Changed(Cause),
}

impl LocalLock {
    /// Takes the hold `target` away: kills its processes if it is bound to them, frees the lock and
    /// hands it to the next in line.
    ///
    /// # Errors
    /// [`Error::Survives`] if what keeps the lock cannot be ended, and then nothing is freed; a
    /// record that cannot be read, a disk that cannot be used, a guard that stays busy.
    pub fn steal(self: &Arc<Self>, target: Target, reason: Text) -> Result<Theft> {
        let kill = Kill { of: target.mark, killed: Vec::new() };
        // A record has a reason or none, and none that is empty.
        let how = (End::Stolen, Some(reason).filter(|reason| !reason.is_empty()));
        let (report, kill) = LocalClaim::end_other(self, target.mark, how, Some(kill))?;
        Ok(match report {
            Some(Report::Lost(cause)) => Theft::Changed(cause),
            _ => Theft::Freed { killed: kill.map_or_else(Vec::new, |kill| kill.killed) },
        })
    }
}

/// Ending the processes that a hold is bound to.
#[derive(Debug)]
pub(crate) struct Kill {
    of: Mark,
    killed: Vec<u32>,
}

impl Kill {
    /// Ends them, if the record still shows the hold and it is bound to processes. Under the guard.
    pub(crate) fn carry_out(
        &mut self,
        store: &LocalStore,
        lock: &LockName,
        record: &Record,
    ) -> Result<()> {
        let bound = |h: &&tenure_core::Holder| h.mark == self.of && h.term == Term::Session;
        let Some(holder) = record.holder.as_ref().filter(bound) else { return Ok(()) };
        let session = holder.session;
        let start = Instant::now();
        // The owner first: what it would do about the end of its command is no longer wanted.
        self.end_owner(store, session);
        loop {
            match store.probe(session)? {
                Verdict::Dead => break,
                Verdict::Alive | Verdict::Stopped => {}
                Verdict::Orphaned { .. } => {
                    store.end_orphans(session, holder.token, lock);
                    self.end_keeper(store, session);
                }
            }
            if start.elapsed() >= PATIENCE {
                return Err(survives(store, lock, session));
            }
            std::thread::sleep(PAUSE);
        }
        // Some programs close every descriptor they inherited, and their children work on.
        store.end_orphans(session, holder.token, lock);
        Ok(())
    }

    fn end_owner(&mut self, store: &LocalStore, session: Session) {
        let owner = Identity::of(session);
        // In another boot or namespace its number means nothing here.
        if owner.is_visible(store.folder()) {
            self.end(owner.pid, owner.start);
        }
    }

    fn end_keeper(&mut self, store: &LocalStore, session: Session) {
        let keeper = store.orphan_of(session);
        let stat = keeper.and_then(|pid| Some((pid, process::stat_of(pid).ok()??)));
        if let Some((pid, stat)) = stat {
            self.end(pid, stat.start);
        }
    }

    /// Kills a process of ours; any other is left alone.
    fn end(&mut self, pid: u32, start: u64) {
        let Some(pidfd) = process::open(pid, start) else { return };
        if pid == std::process::id() || !group::is_ours(pid) {
            return;
        }
        if matches!(pidfd_send_signal(&pidfd, Signal::KILL), Ok(()) | Err(Errno::SRCH))
            && !self.killed.contains(&pid)
        {
            self.killed.push(pid);
        }
    }
}

fn survives(store: &LocalStore, lock: &LockName, session: Session) -> Error {
    let pid = store.orphan_of(session).unwrap_or(Identity::of(session).pid);
    Error::Survives { lock: lock.to_string(), pid }
}

#[cfg(test)]
mod tests;
