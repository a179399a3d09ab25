//! Bugs of drivers, applications and stores that can be put into a run.
//!
//! Owns their list. Those of the core stand in `tenure_core::museum`. All are off but in the run of a
//! row of the museum.

/// A bug around the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The clock does not go on while the process is suspended.
    ClockStopsInSuspend,
    /// The clock is set back by two ttls.
    ClockSetBack,
    /// The lock is given back before the last action has started.
    WorkAfterRelease,
    /// A take-over is written without a condition.
    UnconditionalTake,
    /// A take-over first clears what stands there, then takes what is free.
    ClearThenTake,
    /// A renewal writes the holder without looking who it is.
    RenewUnchecked,
    /// A release that was sent clears whatever stands there when it arrives.
    LateRelease,
    /// The lock is given back twice.
    DoubleRelease,
    /// The time of renewal is taken from the object's last change, whoever made it.
    AnyWriteIsLife,
    /// Tokens begin again with a record that was deleted and made anew.
    TokenReset,
    /// Tokens are kept in one byte.
    TokenWrap,
    /// The ttl is rounded down to whole seconds, and to none.
    TtlRounded,
    /// The driver ends on the first error.
    FirstErrorEnds,
    /// Two processes have one identity, and one's own hold is taken again at once.
    SharedIdentity,
    /// Identities begin with one another.
    NestedIdentities,
    /// A watch that fell silent is not opened anew.
    WatchNotReopened,
    /// What begins a hold does not look how long the session still lives.
    StaleSession,
    /// The reply to a keep-alive is taken for the answer to the newest one.
    ReplyOfNewest,
    /// A renewal writes the wall clock's time, though Go may see the same second as before.
    SameSecond,
    /// A conditional write names the version alone, so that it makes a deleted object anew.
    UidNotCompared,
    /// A watch that is opened anew does not begin with what stands there.
    WatchResumesLate,
}
