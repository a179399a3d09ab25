//! A gate for writes that refuses whoever was overtaken: fencing where there is no database to do it.
//!
//! Owns the largest token it has seen and what it stands before. Knows no locks and no clocks.
//! **The look at the token and the write are one step**: whoever passes is alone until it is done.

use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Something that is written to under a lock, and refuses writes of holders that were overtaken.
///
/// Put it where the writes arrive, such as in the service that owns a file or a table: one gate for
/// what one lock protects. Every write brings the token of its writer's hold, and is refused if one
/// with a larger token was here before. Writes of one hold have one token and all pass.
///
/// ```
/// use tenure::{StaleToken, TokenGate};
///
/// let balance = TokenGate::new(100);
/// balance.enter(7, |balance| *balance -= 30)?;
/// balance.enter(8, |balance| *balance -= 30)?; // the next holder
///
/// // The first one wakes up after a long pause and does not know that it lost the lock.
/// let late = balance.enter(7, |balance| *balance -= 30);
/// assert_eq!(late.unwrap_err().highest, 8);
/// assert_eq!(balance.into_inner(), (40, 8));
/// # Ok::<(), StaleToken>(())
/// ```
pub struct TokenGate<T>(Mutex<Behind<T>>);

struct Behind<T> {
    value: T,
    highest: u64,
}

/// A write came with a token that is smaller than one that was here before: its writer lost the
/// lock and must stop. To try again is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StaleToken {
    /// The token it came with.
    pub token: u64,
    /// The largest one before it.
    pub highest: u64,
}

impl<T> TokenGate<T> {
    /// A gate before `value` that has seen no token yet.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self::resume(value, 0)
    }

    /// A gate before `value` that has seen this token, which was stored together with it: a gate
    /// that forgets its token over a restart lets an overtaken writer in.
    #[must_use]
    pub const fn resume(value: T, highest: u64) -> Self {
        Self(Mutex::new(Behind { value, highest }))
    }

    /// Lets `write` at the value if nobody with a larger token was here before. Others wait
    /// meanwhile, blocking their thread: keep it short.
    ///
    /// # Errors
    /// [`StaleToken`] if somebody with a larger one was; `write` is not called then.
    ///
    /// # Panics
    /// If `write` does. Its token counts as seen, and the value is as `write` left it.
    pub fn enter<R>(&self, token: u64, write: impl FnOnce(&mut T) -> R) -> Result<R, StaleToken> {
        let mut behind = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if token < behind.highest {
            return Err(StaleToken { token, highest: behind.highest });
        }
        behind.highest = token;
        Ok(write(&mut behind.value))
    }

    /// The largest token that was here; 0 if none was.
    #[must_use]
    pub fn highest(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).highest
    }

    /// The value and the largest token, to be stored together.
    #[must_use]
    pub fn into_inner(self) -> (T, u64) {
        let behind = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        (behind.value, behind.highest)
    }
}

impl<T> fmt::Debug for TokenGate<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenGate").field("highest", &self.highest()).finish_non_exhaustive()
    }
}

impl fmt::Display for StaleToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token, highest } = self;
        write!(f, "token {token} is stale: {highest} was here before, so the lock was lost")
    }
}

impl std::error::Error for StaleToken {}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn only_smaller_tokens_are_refused_and_change_nothing() {
        let gate = TokenGate::resume(Vec::new(), 5);
        for (token, passes) in [(4, false), (5, true), (5, true), (9, true), (8, false), (9, true)]
        {
            let highest = gate.highest();
            match gate.enter(token, |seen| seen.push(token)) {
                Ok(()) => assert!(passes, "{token}"),
                Err(stale) => {
                    assert!(!passes, "{token}");
                    assert_eq!(stale, StaleToken { token, highest });
                    let says = format!("token {token} is stale: {highest} was here before");
                    assert!(stale.to_string().starts_with(&says), "{stale}");
                }
            }
        }
        assert_eq!(gate.into_inner(), (vec![5, 5, 9, 9], 9));
    }

    #[test]
    fn a_write_that_panics_leaves_the_gate_in_use_and_its_token_seen() {
        let gate = TokenGate::new(0);
        let panics = || gate.enter(3, |_| panic!("of the write"));
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        assert!(gate.enter(2, |_| ()).is_err());
        assert_eq!(gate.enter(3, |n| *n + 1), Ok(1));
    }
}
