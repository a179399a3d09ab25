//! Holding a lock.

use std::sync::Arc;
use std::time::Duration;

use tenure_core::Text;

use crate::driver::Seat;
use crate::hold::{Deadline, Hold, Status};
use crate::lock::check_tags;
use crate::{Error, Lost, Released};

/// A held lock. It is renewed in the background until it is released, dropped or lost.
///
/// # Drop
/// Dropping a guard asks for its release and never blocks;
/// [`Client::close`](crate::Client::close) waits for releases asked for so. Without a runtime the
/// hold just ends with its ttl. On `local:` the hold is given back in place, with or without a
/// runtime, in microseconds; where another process is in the middle of a change for longer than
/// 5 ms, a thread does it.
#[must_use = "a dropped guard releases its lock"]
#[derive(Debug)]
pub struct Guard {
    hold: Hold,
    kind: Kind,
}

enum Kind {
    /// Held in any store, and kept by the keeper.
    Kept(Arc<Seat>),
    /// Held in the embedded store.
    #[cfg(all(feature = "local", target_os = "linux"))]
    Local(crate::local::Held),
    /// Released.
    Gone,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kept(_) => "Kept",
            #[cfg(all(feature = "local", target_os = "linux"))]
            Self::Local(_) => "Local",
            Self::Gone => "Gone",
        })
    }
}

impl Guard {
    pub(crate) fn kept(seat: Arc<Seat>, status: Arc<Status>) -> Self {
        Self { hold: Hold(status), kind: Kind::Kept(seat) }
    }

    #[cfg(all(feature = "local", target_os = "linux"))]
    pub(crate) fn local(held: crate::local::Held, status: Arc<Status>) -> Self {
        Self { hold: Hold(status), kind: Kind::Local(held) }
    }

    /// What is known of the hold, to be handed to work under it.
    #[must_use]
    pub fn hold(&self) -> Hold {
        self.hold.clone()
    }

    /// The fencing token: hand it to whatever you write to, so that it can refuse smaller ones.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.hold.token()
    }

    /// The lock's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.hold.name()
    }

    /// The identity that holds the lock.
    #[must_use]
    pub fn id(&self) -> &str {
        self.hold.id()
    }

    /// When the hold ends unless it is renewed by then. See [`Hold::deadline`].
    #[must_use]
    pub fn deadline(&self) -> Option<Deadline> {
        self.hold.deadline()
    }

    /// Resolves once the hold is lost, and says why. See [`Hold::lost`].
    ///
    /// # Cancel safety
    /// Dropping it leaves nothing behind.
    pub fn lost(&self) -> impl Future<Output = Lost> + Send + use<> {
        self.hold.lost()
    }

    /// Resolves once the work must come to its end. See [`Hold::stopping`].
    ///
    /// # Cancel safety
    /// Dropping it leaves nothing behind.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        self.hold.stopping()
    }

    /// The lock's tags from the release on: at most 64, each 1 to 255 bytes of text without control
    /// characters, in place of those it has; none: it keeps those it has. They are written with the
    /// release, also with that of a guard that is dropped; whoever is next may bring others. A
    /// [`release_after`](Self::release_after) leaves them out.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a tag that is none, and [`Error::Unsupported`] where the store has no
    /// place for tags; what was said before still holds then.
    pub fn tags_on_release<T: AsRef<str>>(
        &mut self,
        tags: impl IntoIterator<Item = T>,
    ) -> Result<(), Error> {
        self.tag_end(check_tags(tags).map_err(Error::Invalid)?, false)
    }

    /// The same, but these are added to those that the lock has then.
    ///
    /// # Errors
    /// As [`tags_on_release`](Self::tags_on_release).
    pub fn add_tags_on_release<T: AsRef<str>>(
        &mut self,
        tags: impl IntoIterator<Item = T>,
    ) -> Result<(), Error> {
        self.tag_end(check_tags(tags).map_err(Error::Invalid)?, true)
    }

    pub(crate) fn tag_end(&mut self, tags: Vec<Text>, add: bool) -> Result<(), Error> {
        match &self.kind {
            Kind::Kept(seat) => return seat.tag_end(tags, add),
            #[cfg(all(feature = "local", target_os = "linux"))]
            Kind::Local(held) => held.tag_end(tags, add),
            Kind::Gone => {}
        }
        Ok(())
    }

    /// Gives the lock back, to the next in line where there is one, and waits for the store's
    /// answer for one attempt.
    ///
    /// The hold is over for the caller whatever comes back, and what the store did not answer is
    /// tried again in the background for a ttl at most.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store did not answer; [`Error::Invalid`] outside a tokio
    /// runtime, where the guard is dropped instead. On `local:` as
    /// [`try_acquire`](crate::Lock::try_acquire).
    ///
    /// # Cancel safety
    /// Dropping the future leaves the release to the background, as dropping the guard does.
    pub async fn release(self) -> Result<Released, Error> {
        self.end(None).await
    }

    /// Ends the hold, but leaves it in the record for `ttl` with nobody behind it: the lock stays
    /// busy that long, or with [`Duration::MAX`] until somebody takes it away, where the store can
    /// say so.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    ///
    /// # Cancel safety
    /// As [`release`](Self::release), but if the future is dropped early the lock may be given
    /// back at once.
    pub async fn release_after(self, ttl: Duration) -> Result<Released, Error> {
        self.end(Some(ttl)).await
    }

    async fn end(mut self, leave: Option<Duration>) -> Result<Released, Error> {
        match std::mem::replace(&mut self.kind, Kind::Gone) {
            Kind::Kept(seat) => {
                if tokio::runtime::Handle::try_current().is_err() {
                    self.kind = Kind::Kept(seat);
                    let what = "a lock is released outside a tokio runtime: await it inside one";
                    return Err(Error::invalid(what));
                }
                // It takes over what dropping the guard would do, at its first poll, which is now.
                seat.release(leave).await
            }
            #[cfg(all(feature = "local", target_os = "linux"))]
            Kind::Local(held) => held.release(leave).await,
            Kind::Gone => Ok(Released::Released),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.kind, Kind::Gone) {
            Kind::Kept(seat) => seat.drop_hold(),
            #[cfg(all(feature = "local", target_os = "linux"))]
            Kind::Local(held) => drop(held),
            Kind::Gone => {}
        }
    }
}
