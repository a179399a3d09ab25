//! The guide: what to call when, and what to expect of it.
//!
//! 1. [`calls`]: which call when, and what each error asks for.
//! 2. [`promises`]: what a lease can promise, and what it cannot.
//! 3. [`fencing`]: how the target of your writes refuses a holder that was overtaken.
//! 4. [`embedding`]: in a worker loop, in a web service; ending the program.
//! 5. [`testing`]: with time that only the test moves.
//! 6. [`metrics`]: what is reported, and under which names.
//! 7. [`from`]: for users of `flock`, ShedLock, Redisson and Curator.
//!
//! Every example here is run by the tests of this crate.

#[doc = include_str!("calls.md")]
///
/// [`Attempt::HeldBy`]: crate::Attempt::HeldBy
/// [`Client`]: crate::Client
/// [`Client::close`]: crate::Client::close
/// [`Client::events`]: crate::Client::events
/// [`Client::list`]: crate::Client::list
/// [`Client::show`]: crate::Client::show
/// [`Error::Closed`]: crate::Error::Closed
/// [`Error::Damaged`]: crate::Error::Damaged
/// [`Error::Denied`]: crate::Error::Denied
/// [`Error::Invalid`]: crate::Error::Invalid
/// [`Error::Lost`]: crate::Error::Lost
/// [`Error::OutcomeUnknown`]: crate::Error::OutcomeUnknown
/// [`Error::TimedOut`]: crate::Error::TimedOut
/// [`Error::Unavailable`]: crate::Error::Unavailable
/// [`Error::Unsupported`]: crate::Error::Unsupported
/// [`Error::is_retryable`]: crate::Error::is_retryable
/// [`Guard`]: crate::Guard
/// [`Lock`]: crate::Lock
/// [`Lock::acquire`]: crate::Lock::acquire
/// [`Lock::acquire_timeout`]: crate::Lock::acquire_timeout
/// [`Lock::check`]: crate::Lock::check
/// [`Lock::run`]: crate::Lock::run
/// [`Lock::run_with`]: crate::Lock::run_with
/// [`Lock::try_acquire`]: crate::Lock::try_acquire
/// [`Lock::ttl`]: crate::Lock::ttl
/// [`RunOptions::at_least`]: crate::RunOptions::at_least
/// [`RunOptions::wait_max`]: crate::RunOptions::wait_max
/// [metrics and tracing]: crate::guide::metrics
/// [`guide::testing`]: crate::guide::testing
#[cfg_attr(all(feature = "blocking", target_os = "linux"), doc = "[`blocking`]: crate::blocking")]
#[cfg_attr(not(all(feature = "blocking", target_os = "linux")), doc = "[`blocking`]: crate")]
pub mod calls {}

#[doc = include_str!("promises.md")]
///
/// [`Hold`]: crate::Hold
/// [`Hold::stopping`]: crate::Hold::stopping
/// [`Lock::run`]: crate::Lock::run
/// [`Overrun`]: crate::Overrun
/// [`Deadline`]: crate::Deadline
/// [refuse smaller tokens]: crate::guide::fencing
/// [lost holds]: crate::guide::metrics
pub mod promises {}

#[doc = include_str!("fencing.md")]
///
/// [`Guard::token`]: crate::Guard::token
/// [`Hold::token`]: crate::Hold::token
/// [`TokenGate`]: crate::TokenGate
/// [`TokenGate::resume`]: crate::TokenGate::resume
pub mod fencing {}

#[doc = include_str!("embedding.md")]
///
/// [`Client::close`]: crate::Client::close
/// [`Error::Invalid`]: crate::Error::Invalid
/// [`Lock::run`]: crate::Lock::run
/// [`Lost::RuntimeGone`]: crate::Lost::RuntimeGone
/// [`RunOptions::overrun`]: crate::RunOptions::overrun
pub mod embedding {}

#[doc = include_str!("testing.md")]
///
/// [`Client`]: crate::Client
/// [`Client::show`]: crate::Client::show
#[cfg_attr(feature = "testing", doc = "[`ManualClock`]: crate::testing::ManualClock")]
#[cfg_attr(feature = "testing", doc = "[`ManualClock::sleep`]: crate::testing::ManualClock::sleep")]
#[cfg_attr(feature = "testing", doc = "[`TestStore`]: crate::testing::TestStore")]
#[cfg_attr(feature = "testing", doc = "[`TestStore::client`]: crate::testing::TestStore::client")]
#[cfg_attr(feature = "testing", doc = "[`TestStore::expire`]: crate::testing::TestStore::expire")]
#[cfg_attr(
    feature = "testing",
    doc = "[`TestStore::fail_next`]: crate::testing::TestStore::fail_next"
)]
#[cfg_attr(feature = "testing", doc = "[`TestStore::lose`]: crate::testing::TestStore::lose")]
#[cfg_attr(feature = "testing", doc = "[`TestStore::pass`]: crate::testing::TestStore::pass")]
#[cfg_attr(feature = "testing", doc = "[`TestStore::settle`]: crate::testing::TestStore::settle")]
#[cfg_attr(not(feature = "testing"), doc = "[`ManualClock`]: crate::guide::testing")]
#[cfg_attr(not(feature = "testing"), doc = "[`ManualClock::sleep`]: crate::guide::testing")]
#[cfg_attr(not(feature = "testing"), doc = "[`TestStore`]: crate::guide::testing")]
#[cfg_attr(not(feature = "testing"), doc = "[`TestStore::client`]: crate::guide::testing")]
#[cfg_attr(not(feature = "testing"), doc = "[`TestStore::expire`]: crate::guide::testing")]
#[cfg_attr(not(feature = "testing"), doc = "[`TestStore::fail_next`]: crate::guide::testing")]
#[cfg_attr(not(feature = "testing"), doc = "[`TestStore::lose`]: crate::guide::testing")]
#[cfg_attr(not(feature = "testing"), doc = "[`TestStore::pass`]: crate::guide::testing")]
#[cfg_attr(not(feature = "testing"), doc = "[`TestStore::settle`]: crate::guide::testing")]
pub mod testing {}

#[doc = include_str!("metrics.md")]
///
/// [`Client::events`]: crate::Client::events
#[cfg_attr(feature = "metrics", doc = "[`Client::record_metrics`]: crate::Client::record_metrics")]
#[cfg_attr(not(feature = "metrics"), doc = "[`Client::record_metrics`]: crate::Client")]
pub mod metrics {}

#[doc = include_str!("from.md")]
///
/// [`Client::lock`]: crate::Client::lock
/// [`Client::show`]: crate::Client::show
/// [`Error::TimedOut`]: crate::Error::TimedOut
/// [`Guard`]: crate::Guard
/// [`Guard::lost`]: crate::Guard::lost
/// [`Guard::release`]: crate::Guard::release
/// [`Guard::token`]: crate::Guard::token
/// [`Hold`]: crate::Hold
/// [`Hold::stopping`]: crate::Hold::stopping
/// [`Lock::acquire`]: crate::Lock::acquire
/// [`Lock::acquire_timeout`]: crate::Lock::acquire_timeout
/// [`Lock::run`]: crate::Lock::run
/// [`Lock::run_with`]: crate::Lock::run_with
/// [`Lock::try_acquire`]: crate::Lock::try_acquire
/// [`Lock::ttl`]: crate::Lock::ttl
/// [`Lost::Freed`]: crate::Lost::Freed
/// [`RunOptions::at_least`]: crate::RunOptions::at_least
/// [`RunOptions::wait_max`]: crate::RunOptions::wait_max
/// [`guide::embedding`]: crate::guide::embedding
#[cfg_attr(all(feature = "blocking", target_os = "linux"), doc = "[`blocking`]: crate::blocking")]
#[cfg_attr(not(all(feature = "blocking", target_os = "linux")), doc = "[`blocking`]: crate")]
pub mod from {}
