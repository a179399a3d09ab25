//! The contract between whoever drives a claim and a backend.
//!
//! The trait is lean: no method has a default, because each default is one that a wrapper forgets.
//! It is dyn-compatible: handles hold `Arc<dyn Store>` and no lock type has a type parameter.
//!
//! **Why a write takes the record it was judged on and a [`Change`].** The pair leaves each backend
//! its own way: one that stores whole objects applies the change to that record and writes the
//! result on condition of its version; one with keys or patches carries out the change alone. The
//! judged [`Stored`] *is* the condition, so version and record cannot be of two states, and `None`
//! is the condition that there is no record. What comes back is the record as it then stands, so
//! nobody but the backend ever applies a change or makes up a token.

use std::fmt;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use tenure_core::{Change, Liveness, Probed, Session, Version};

use crate::{Conditional, Listed, Name, Result, Snapshot, Stored};

/// What a store can do beyond the contract's core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// How it knows whether a holder lives.
    pub liveness: Liveness,
    /// Whether waiters stand in the record. If not, what would put one there is
    /// [`Error::Unsupported`](crate::Error::Unsupported).
    pub queue: bool,
    /// Whether others end its holds by their wall clocks, so that a holder has to end them earlier
    /// by as much as clocks may be apart.
    pub wall_clocks: bool,
    /// Whether an identity is unique wherever it is used, and what it holds is its own after a
    /// restart, too: the name of a transaction, not of a process.
    pub adopts: bool,
    /// Whether a record has a place for tags. If not, a take that brings some is
    /// [`Error::Unsupported`](crate::Error::Unsupported), and a release leaves them out.
    pub tags: bool,
}

/// What [`Store::watch`] gives. See there.
pub type Watch = BoxStream<'static, Result<Snapshot>>;

/// One handle on a store: a compare-and-swap register with a watch for every name.
///
/// Several handles, in one process or many, are open on the same store at once. Each sentence below
/// has a check of its own in the contract suite of `tenure-testkit`.
///
/// # Contract
/// **Order.** The operations on one name take effect one after the other, each at one instant
/// between its call and its answer, in the same order for every handle. A read therefore gives the
/// last acknowledged write or a later one. Different names have nothing to do with each other.
///
/// **Versions.** The revision of a name rises with every write that is done, also across deletion
/// and creation. Every creation is an incarnation of its own. A condition that names an earlier
/// state, or a state of an earlier incarnation, conflicts, whatever stands there now; a condition
/// that names a record conflicts if there is none, and the other way round.
///
/// **Writes.** A conditional write is done as a whole or not at all. Of several on one condition at
/// most one is done. A conflict changes nothing. What a done write gives is what a read gives next.
///
/// **Tokens.** Every hold that begins gets a token above all earlier ones of that name, also across
/// deletion and creation; a renewal keeps it. The token stands in the record's holder.
///
/// **Liveness.** A session lives from when [`session`](Self::session) gave it until its process has
/// ended, or the last clone of its handle is dropped. What is then said of it depends on
/// [`Capabilities::liveness`]:
/// [`Process`](Liveness::Process): [`probe`](Self::probe) says `Dead`, and never before. As long as
/// the process runs on it may fail instead, since work may run on too;
/// [`Server`](Liveness::Server): the store itself takes its entries out of every record;
/// [`Observed`](Liveness::Observed): nothing, and the session is [`Session::NONE`].
///
/// # Cancel safety
/// Dropping the future of anything but a write or a deletion leaves nothing behind. Dropping the
/// future of [`write_if`](Self::write_if) or [`delete_if`](Self::delete_if) makes its outcome
/// unknown, as [`Error::OutcomeUnknown`](crate::Error::OutcomeUnknown) does: it may have happened,
/// as a whole, or happen later, and it blocks nobody. A future does nothing before it is polled.
pub trait Store: fmt::Debug + Send + Sync {
    /// What this store can do. Never changes.
    fn capabilities(&self) -> Capabilities;

    /// What knows whether this handle's process lives; the same one until it is lost, then a new
    /// one. It is there before this returns, so that it may be named in a record.
    ///
    /// # Errors
    /// Any but [`OutcomeUnknown`](crate::Error::OutcomeUnknown).
    fn session(&self) -> BoxFuture<'_, Result<Session>>;

    /// Whether `session`, of any handle, is there. Ask for sessions of a fresh record only: one that
    /// was given up since may be refused, and after such an error the record is to be read again.
    ///
    /// # Errors
    /// [`Unsupported`](crate::Error::Unsupported) unless liveness is [`Liveness::Process`];
    /// [`Invalid`](crate::Error::Invalid) for [`Session::NONE`] and what is no session of this
    /// kind of store; others but [`OutcomeUnknown`](crate::Error::OutcomeUnknown).
    fn probe(&self, session: Session) -> BoxFuture<'_, Result<Probed>>;

    /// What stands under `name` now: never less than what was acknowledged before the call.
    ///
    /// # Errors
    /// Any but [`OutcomeUnknown`](crate::Error::OutcomeUnknown). What cannot be read is
    /// [`Damaged`](crate::Error::Damaged), never absent.
    fn read<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<Snapshot>>;

    /// Carries out `change` if what stands under `name` is `judged` (`None`: nothing), and gives
    /// the record as it then stands. A format may have no place for a free lock: what a release
    /// gives there is [`Stored::gone`], and a read then finds nothing.
    ///
    /// # Errors
    /// [`OutcomeUnknown`](crate::Error::OutcomeUnknown) if it may have happened; every other error
    /// says that it did not and will not.
    fn write_if<'a>(
        &'a self,
        name: &'a Name,
        judged: Option<&'a Stored>,
        change: &'a Change,
    ) -> BoxFuture<'a, Result<Conditional<Stored>>>;

    /// Deletes the record of `name` if it is at `expected`.
    ///
    /// # Errors
    /// As [`write_if`](Self::write_if).
    fn delete_if<'a>(
        &'a self,
        name: &'a Name,
        expected: Version,
    ) -> BoxFuture<'a, Result<Conditional<()>>>;

    /// What stands under `name` at the first poll, then every later state that lasts.
    ///
    /// States that are replaced before they were delivered may be left out, but no state is older
    /// than one delivered before it, and **a watch is never silent about a state that stays**: it
    /// delivers it, or an error as its last item. It ends for no other reason than an error; then
    /// watch anew. Dropping it ends it, whatever it was doing.
    fn watch(&self, name: &Name) -> Watch;

    /// All locks that have a record, in no order. One written or deleted meanwhile may be in it or
    /// not.
    ///
    /// # Errors
    /// Any but [`OutcomeUnknown`](crate::Error::OutcomeUnknown). A single record that cannot be
    /// read is an error in its entry.
    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>>>;
}
