//! The ways in which a store can break its contract, each a mistake somebody could make.

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// None at all: the suite must pass.
    None,

    /// A read gives the state before the last write.
    ReadsOld,
    /// Every fifth read gives the state before the last write.
    ReadsOldAtTimes,
    /// A read finds a deleted record.
    ReadsDeleted,

    /// The revision starts anew with every creation.
    RevisionRestarts,
    /// A renewal leaves the revision as it is.
    RevisionStays,
    /// Every creation has the same incarnation.
    OneIncarnation,
    /// Every write is an incarnation of its own.
    IncarnationMoves,
    /// The revision starts anew and is all that a condition compares.
    CountsPerIncarnation,
    /// A write is done whatever stands there.
    IgnoresVersion,
    /// A write that is told of a conflict is done all the same.
    WritesOnConflict,
    /// A creation replaces a record.
    CreatesOver,
    /// A write on a deleted record creates it.
    UpdatesNothing,
    /// A deletion is done whatever stands there.
    DeletesAnyState,
    /// A deletion of nothing is done.
    DeletesNothing,
    /// A deletion is acknowledged and not done.
    KeepsDeleted,

    /// Waiters are not struck out by a take.
    ForgetsStrike,
    /// What a release says of tags is left out.
    ForgetsLastTags,
    /// A take without tags takes away those that stand there.
    ForgetsTags,
    /// A renewal is acknowledged and not done.
    ForgetsRenewal,
    /// A write gives the record as it was.
    GivesJudged,
    /// The condition is looked at before the write, not with it.
    LooksFirst,
    /// The same for deletions.
    LooksFirstToDelete,

    /// The last to join is the first in line.
    LastComesFirst,
    /// A hand-over leaves the lock free.
    ForgetsHandOver,
    /// A store without a line accepts one who joins it.
    JoinsWithoutLine,
    /// A store without a line says that the condition did not hold.
    ConflictWithoutLine,

    /// A hand-over passes on the token of the one before.
    TokenHandedOver,
    /// A take-over keeps the token of the one before.
    TokenTakenOver,
    /// A renewal draws a token.
    TokenRenewed,
    /// Tokens start anew with every creation.
    TokenRestarts,

    /// Every session is alive.
    ProbesAlive,
    /// Every session but one's own is dead.
    ProbesDead,
    /// No session at all is a dead session.
    ProbesNothing,
    /// Sessions are probed though nothing is known of them.
    ProbesAnyway,
    /// All handles have the same session.
    OneSession,
    /// Every question for the session opens one.
    ManySessions,
    /// The server keeps the entries of dead sessions.
    KeepsDead,
    /// The server clears the whole line with a dead session.
    ClearsLine,
    /// Every entry is an hour old.
    AgeOfAnHour,
    /// The age counts from the beginning of the hold.
    AgeOfHold,

    /// Names differ by more than upper and lower case.
    FoldsCase,
    /// Names differ in their first 200 bytes.
    CutsNames,
    /// A deletion takes everything with it.
    DeletesAllNames,
    /// Free locks are not listed.
    ListsHeldOnly,
    /// Deleted locks are listed.
    ListsDeleted,
    /// The listing gives the records before the last write.
    ListsOld,
    /// A lock is listed twice.
    ListsTwice,

    /// A watch begins with the first change.
    WatchBeginsLate,
    /// A watch begins with what stood when it was made.
    WatchBeginsEarly,
    /// A watch tells only one who asks.
    WatchForgetsWaker,
    /// A watch does not tell of deletions.
    WatchMissesDeletion,
    /// A watch sees what was created anew as what was deleted.
    WatchMissesCreation,
    /// A watch ends after its first item.
    WatchEnds,
    /// A watch tells the state before the last after the last.
    WatchGoesBack,
    /// A watch wakes who polled it first.
    WatchKeepsWaker,
    /// Of all watches on a name the last to be polled is woken.
    WatchWakesOne,
    /// Dropping one watch on a name drops all.
    WatchDropsAll,
    /// A watch tells what was last written under any name.
    WatchMixesNames,

    /// A request is made before anybody asks for its answer.
    WritesAtCall,
    /// A deletion is made before anybody asks for its answer.
    DeletesAtCall,
    /// A dropped write leaves the store locked.
    StaysLocked,
    /// A dropped write leaves its first half.
    WritesHalf,
}
