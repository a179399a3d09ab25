//! Holds that no process stands behind: renewed and released by whoever has their key.
//!
//! Owns what such a hold is known again by, and when it counts as lost; how it ends in the record is
//! the claim's business. **A hold is judged and renewed under one guard, and never after its end**,
//! even if nobody has taken the lock since: what it guarded was told until when it may go on.
//!
//! | who renews it | who ends it | what if that one is frozen | what if the answer is lost |
//! |---|---|---|---|
//! | whoever has the key | the same, or its ttl, or an operator | it ends by its ttl | the next one reads the record: the mark tells |
//!
//! Its end counts on the boot-time clock, from the stamp of its last renewal. Seen from another
//! boot, contenders count its full ttl anew, and for the holder it is lost: how long the machine was
//! off cannot be told. In another time namespace the stamp means nothing; there the mark alone
//! decides, because whoever took the lock has replaced it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tenure_core::{Cause, Change, End, Holder, Mark, Marks, Report, Session, Term, Token};

use crate::guard::Stored;
use crate::session::Verdict;
use crate::store::random_mark;
use crate::{Error, LocalClaim, LocalLock, LocalStore, Result, facts};

/// How far a key's marks reach from its start: each use begins at a random place among the first
/// half and counts on.
const REACH: u128 = 1 << 65;

/// What proves a hold to its own process and to later ones: whoever has it can renew and release.
///
/// It is drawn and written down before the lock is asked for, so that a process killed in between
/// leaves nothing that cannot be undone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HoldKey {
    /// All marks of the hold lie behind this, within [`REACH`].
    start: u128,
    /// The boot it was made in.
    boot: u64,
}

impl HoldKey {
    /// A new key for holds that no boot of this machine ends, because they stand elsewhere.
    ///
    /// # Errors
    /// What the system says when it has no random numbers.
    pub fn anywhere() -> Result<Self> {
        Ok(Self { start: random_mark()?, boot: 0 })
    }

    /// Where the marks of one use of the key begin.
    ///
    /// # Errors
    /// What the system says when it has no random numbers.
    pub fn start(&self) -> Result<u128> {
        Ok(self.start.wrapping_add(facts::random_u64()?.into()))
    }

    /// Marks for one use of the key.
    pub(crate) fn marks(&self) -> Result<Marks> {
        self.start().map(Marks::new)
    }

    /// Whether a use of this key left that mark.
    #[must_use]
    pub fn made(&self, mark: Mark) -> bool {
        (1..REACH).contains(&mark.as_u128().wrapping_sub(self.start))
    }
}

/// Hexadecimal digits: 32 of the start, 16 of the boot.
impl fmt::Display for HoldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}{:016x}", self.start, self.boot)
    }
}

/// Without the key: who reads a log must not be able to release.
impl fmt::Debug for HoldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HoldKey(..)")
    }
}

impl FromStr for HoldKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::Invalid("the key of a hold is 48 hexadecimal digits".into());
        if text.len() != 48 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let start = u128::from_str_radix(&text[..32], 16).map_err(|_| bad())?;
        let boot = u64::from_str_radix(&text[32..], 16).map_err(|_| bad())?;
        Ok(Self { start, boot })
    }
}

/// What became of a hold that was to be renewed or released.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kept {
    /// It was renewed, or given back, in time.
    Done {
        /// Its fencing token.
        token: Token,
    },
    /// There was none: the process that asked for the lock died before it had it.
    Never,
    /// It is over for its holder. A release has left nothing of it in the record.
    Lost(Cause),
    /// The same, because the machine was restarted.
    Restarted,
}

/// How a hold stands in the record.
enum Standing {
    /// Its process died between taking the lock and leaving the hold behind, or gives it up.
    Begun(Mark),
    Held(Holder),
    Expired(Holder),
    Restarted(Holder),
    Lost(Cause),
}

impl LocalStore {
    /// A new key, for [`LocalClaim::with_key`].
    ///
    /// # Errors
    /// What the system says when it has no random numbers.
    pub fn hold_key(&self) -> Result<HoldKey> {
        Ok(HoldKey { start: random_mark()?, boot: self.clock().boot })
    }
}

impl LocalLock {
    /// Renews the hold with this key: it lives for `ttl` from now, or for as long as it was last
    /// meant to.
    ///
    /// # Errors
    /// A record that cannot be read, a disk that cannot be used, a guard that stays busy.
    pub fn renew_detached(&self, key: &HoldKey, ttl: Option<Duration>) -> Result<Kept> {
        let mut file = self.file();
        let Some(mut guard) = file.lock()? else { return Ok(Kept::Lost(Cause::Deleted)) };
        let stored = guard.read()?;
        let holder = match self.standing(&stored, key, None)? {
            Standing::Held(holder) => holder,
            Standing::Expired(_) => return Ok(Kept::Lost(Cause::Deadline)),
            Standing::Restarted(_) => return Ok(Kept::Restarted),
            Standing::Begun(_) => return Ok(Kept::Never),
            Standing::Lost(cause) => return Ok(Kept::Lost(cause)),
        };
        let change = Change::Renew {
            of: holder.mark,
            mark: key.marks()?.draw(),
            token: holder.token,
            term: ttl.map_or(holder.term, Term::after),
            session: holder.session,
            renewed: self.store().wall(),
            stamp: self.store().now(),
        };
        let mut record = stored.record;
        record.apply(&change, Token::default());
        guard.write(&record, true)?;
        drop(guard);
        if let Some(first) = record.queue.front().filter(|_| ttl.is_some()) {
            // It counted on another end. A wake-up that fails is made up for by its backstop.
            let _ = self.store().wake(first.mark);
        }
        self.give_back(file);
        Ok(Kept::Done { token: holder.token })
    }

    /// Gives back the hold with this key, to the next in line. Nothing of it is left afterwards,
    /// also where it was lost.
    ///
    /// # Errors
    /// As [`renew_detached`](Self::renew_detached), and [`Error::Invalid`] while another
    /// process that takes the lock still runs.
    pub fn release_detached(self: &Arc<Self>, key: &HoldKey) -> Result<Kept> {
        let own = self.store().session(&self.settings().id)?.session();
        loop {
            let mut file = self.file();
            let Some(mut guard) = file.lock()? else { return Ok(Kept::Lost(Cause::Deleted)) };
            let stored = guard.read()?;
            let standing = self.standing(&stored, key, Some(own))?;
            drop(guard);
            self.give_back(file);
            let (mark, end, kept) = match standing {
                Standing::Begun(mark) => (mark, End::Died, Kept::Never),
                Standing::Held(h) => (h.mark, End::Released, Kept::Done { token: h.token }),
                Standing::Expired(h) => (h.mark, End::Expired, Kept::Lost(Cause::Deadline)),
                Standing::Restarted(h) => (h.mark, End::Released, Kept::Restarted),
                Standing::Lost(cause) => return Ok(Kept::Lost(cause)),
            };
            let (report, _) = LocalClaim::end_other(self, mark, (end, None), None)?;
            if matches!(report, Some(Report::Released { .. })) {
                return Ok(kept);
            }
            // It was renewed or taken in between: look again.
        }
    }

    /// `own`: the session whose process may end what it has only begun, as that is this one.
    fn standing(&self, stored: &Stored, key: &HoldKey, own: Option<Session>) -> Result<Standing> {
        let holder = match &stored.record.holder {
            None => return Ok(Standing::Lost(Cause::Freed)),
            Some(h) if !key.made(h.mark) => {
                return Ok(Standing::Lost(Cause::Replaced { by: h.id.clone() }));
            }
            Some(h) => h.clone(),
        };
        let clock = self.store().clock();
        Ok(match holder.term {
            Term::Session if own == Some(holder.session) => Standing::Begun(holder.mark),
            Term::Session => match self.store().probe(holder.session)? {
                Verdict::Alive | Verdict::Stopped => {
                    let name = self.name();
                    return Err(Error::Invalid(format!(
                        "the process that takes lock {name:?} still runs; end it first"
                    )));
                }
                Verdict::Dead | Verdict::Orphaned { .. } => Standing::Begun(holder.mark),
            },
            _ if key.boot != clock.boot => Standing::Restarted(holder),
            Term::Ttl(ttl) => {
                let same = stored.clock == clock;
                let over = same && self.store().now().since(holder.stamp) >= ttl;
                if over { Standing::Expired(holder) } else { Standing::Held(holder) }
            }
            Term::Until(_) | Term::Forever => Standing::Held(holder),
        })
    }
}

#[cfg(test)]
mod tests;
