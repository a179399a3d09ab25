//! Known bugs of lock libraries, put back on purpose: `cargo xtask prove museum` has to find each.
//!
//! Owns the switches. They exist only with the feature `museum`, which nothing that is published
//! turns on: without it `planted` is the constant `false` and no code of a bug is left. One bug is
//! planted at a time, for the whole process.

#[cfg(feature = "museum")]
use core::sync::atomic::{AtomicU8, Ordering};

#[cfg(feature = "museum")]
static PLANTED: AtomicU8 = AtomicU8::new(0);

/// A bug that can be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// Whoever was told that it holds believes so until told otherwise, however late it is.
    LateHolder = 1,
    /// A waiter never looks whether it is the holder by now.
    OwnEntryNotSeen,
    /// A release frees whatever stands there.
    ReleaseByName,
    /// A refused condition is the end of that attempt, though its own first copy may have landed.
    RefusedIsLost,
    /// A refused condition counts as success.
    RefusedIsWon,
    /// Expiry is judged by the times in the record and the own wall clock.
    WallClockExpiry,
    /// The holder forgets that its clock may be slow.
    NoMarginHolder,
    /// The contender forgets that its clock may be fast.
    NoMarginContender,
    /// A hold counts from the answer.
    CountedFromReply,
    /// One attempt may take all the time there is.
    OneLongAttempt,
    /// An answer is waited for without an end.
    NoTimeout,
    /// The belief outlives the release.
    FlagLeftTrue,
    /// Whoever stops wanting the lock leaves behind what is on its way.
    DroppedKeeps,
    /// An identity that begins with one's own is one's own.
    PrefixIdentity,
    /// A dead waiter at the head of the line is waited for.
    DeadHead,
    /// A waiter that gives up stays in line.
    LeftInLine,
}

/// Plants one bug, or none.
#[cfg(feature = "museum")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(0, |bug| bug as u8), Ordering::Relaxed);
}

#[cfg(feature = "museum")]
pub(crate) fn planted(bug: Bug) -> bool {
    PLANTED.load(Ordering::Relaxed) == bug as u8
}

#[cfg(not(feature = "museum"))]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}
