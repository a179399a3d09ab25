//! Holding a lock of a store that is reached with async.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use tenure_core::Text;
use tokio::task::AbortHandle;

use super::Remote;
use super::bell::Post;
use crate::blocking::News;
use crate::run::CalledOff;
use crate::{Deadline, Error, EventKind, Guard, Lost, Released};

/// A hold that the thread renews, and what it has to say.
#[derive(Debug)]
pub(in crate::blocking) struct RemoteGuard {
    /// Given up before the thread is.
    guard: Option<Guard>,
    post: Arc<Post<News>>,
    tasks: Vec<AbortHandle>,
    remote: Arc<Remote>,
}

impl RemoteGuard {
    pub(super) fn new(remote: &Arc<Remote>, guard: Guard) -> Result<Self, Error> {
        let post = Post::new()?;
        let (told, hold) = (Arc::clone(&post), guard.hold());
        let stopping = async move {
            hold.stopping().await;
            told.put(News::Stopping);
        };
        let (told, hold) = (Arc::clone(&post), guard.hold());
        let lost = async move { told.put(News::Lost(hold.lost().await)) };
        let (told, name, own) = (Arc::clone(&post), guard.name().to_owned(), guard.token());
        let mut events = remote.client().events();
        let renewed = async move {
            while let Some(event) = events.next().await {
                match event.kind {
                    EventKind::Renewed { token, .. } if token == own && *event.lock == *name => {
                        told.put(News::Renewed);
                    }
                    _ => {}
                }
            }
        };
        let handle = remote.handle();
        let tasks = vec![
            handle.spawn(stopping).abort_handle(),
            handle.spawn(lost).abort_handle(),
            handle.spawn(renewed).abort_handle(),
        ];
        Ok(Self { guard: Some(guard), post, tasks, remote: Arc::clone(remote) })
    }

    /// Sees to it that work which goes on past the deadline ends with the process.
    pub(in crate::blocking) fn watchdog(&self) -> Option<CalledOff> {
        CalledOff::unless_in_time(&self.guard.as_ref()?.hold())
    }

    fn of<T: Default>(&self, ask: impl FnOnce(&Guard) -> T) -> T {
        self.guard.as_ref().map(ask).unwrap_or_default()
    }

    pub(in crate::blocking) fn token(&self) -> u64 {
        self.of(Guard::token)
    }

    pub(in crate::blocking) fn id(&self) -> &str {
        self.guard.as_ref().map_or("", Guard::id)
    }

    pub(in crate::blocking) fn name(&self) -> &str {
        self.guard.as_ref().map_or("", Guard::name)
    }

    pub(in crate::blocking) fn deadline(&self) -> Option<Deadline> {
        self.of(Guard::deadline)
    }

    /// Whether it is lost, without asking anybody.
    pub(in crate::blocking) fn look(&self) -> Option<Lost> {
        self.of(|guard| guard.hold().0.look())
    }

    pub(in crate::blocking) fn tag_end(&mut self, tags: Vec<Text>, add: bool) -> Result<(), Error> {
        self.guard.as_mut().map_or(Ok(()), |guard| guard.tag_end(tags, add))
    }

    pub(in crate::blocking) fn news(&self) -> Option<News> {
        self.post.take()
    }

    pub(in crate::blocking) fn fd(&self) -> BorrowedFd<'_> {
        self.post.fd()
    }

    #[cold]
    pub(in crate::blocking) fn release(
        mut self,
        leave: Option<Duration>,
    ) -> Result<Released, Error> {
        let Some(guard) = self.guard.take() else { return Ok(Released::Released) };
        self.remote.wait(async move {
            match leave {
                None => guard.release().await,
                Some(ttl) => guard.release_after(ttl).await,
            }
        })?
    }
}

impl Drop for RemoteGuard {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}
