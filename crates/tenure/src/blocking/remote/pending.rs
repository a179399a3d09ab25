//! Wanting a lock of a store that is reached with async.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use tenure_core::Time;
use tokio::task::JoinHandle;

use super::bell::Post;
use super::{LEAVE, RemoteGuard, RemoteLock};
use crate::blocking::{HoldKey, Patience, Waiting};
use crate::lock::{Ears, Got};
use crate::{Error, HeldBy};

/// A contender: a task that waits, and what it has to say.
#[derive(Debug)]
pub(in crate::blocking) struct RemotePending {
    lock: RemoteLock,
    key: Option<HoldKey>,
    want: Want,
    post: Arc<Post<News>>,
    /// `None`: the last attempt failed, and the next poll tries anew.
    task: Option<JoinHandle<()>>,
}

/// How long it is wanted.
#[derive(Clone, Copy, Debug)]
enum Want {
    Now,
    Until(Time),
    Forever,
}

enum News {
    Waiting(Waiting),
    Done(Box<Result<Got, Error>>),
}

/// What a contender has to say.
pub(in crate::blocking) enum Told {
    Waiting(Waiting),
    Acquired(RemoteGuard),
    Busy(HeldBy),
    TimedOut(HeldBy),
}

impl RemotePending {
    pub(in crate::blocking) fn new(
        lock: &RemoteLock,
        key: Option<&HoldKey>,
        want: Patience,
    ) -> Result<Self, Error> {
        let want = match lock.patience(want) {
            tenure_core::Patience::Now => Want::Now,
            tenure_core::Patience::Until(limit) => Want::Until(limit),
            tenure_core::Patience::Forever => Want::Forever,
        };
        let post = Post::new()?;
        let (lock, key) = (lock.clone(), key.copied());
        let mut pending = Self { lock, key, want, post, task: None };
        pending.begin()?;
        Ok(pending)
    }

    fn begin(&mut self) -> Result<(), Error> {
        // A contender of its own each time: two must not draw the same marks.
        let marks = self.key.map(|key| key.0.start()).transpose()?;
        let waits = Arc::clone(&self.post);
        let ears = Ears(Arc::new(move |held_by, place, ticket| {
            waits.put(News::Waiting(Waiting { place, ticket, held_by }));
        }));
        let lock = self.lock.lock.clone().tuned(|handle| {
            handle.marks = marks;
            handle.ears = Some(ears);
        });
        let lock = lock.handle();
        let post = Arc::clone(&self.post);
        let patience = match self.want {
            Want::Now => tenure_core::Patience::Now,
            Want::Until(limit) => tenure_core::Patience::Until(limit),
            Want::Forever => tenure_core::Patience::Forever,
        };
        let task = async move { post.put(News::Done(Box::new(lock.get(patience).await))) };
        self.task = Some(self.lock.remote.handle().spawn(task));
        Ok(())
    }

    /// The next news; `None`: nothing new.
    pub(in crate::blocking) fn poll(&mut self) -> Result<Option<Told>, Error> {
        if self.task.is_none() {
            self.begin()?;
        }
        let done = match self.post.take() {
            None => return Ok(None),
            Some(News::Waiting(waiting)) => return Ok(Some(Told::Waiting(waiting))),
            Some(News::Done(done)) => *done,
        };
        self.task = None;
        Ok(Some(match done? {
            Got::Guard(guard) => Told::Acquired(RemoteGuard::new(&self.lock.remote, guard)?),
            Got::Busy(by) => Told::Busy(*by),
            Got::TimedOut(by) => Told::TimedOut(*by),
        }))
    }

    pub(in crate::blocking) fn fd(&self) -> BorrowedFd<'_> {
        self.post.fd()
    }

    pub(in crate::blocking) fn wait(&self) -> Result<(), Error> {
        self.post.wait(None)
    }

    /// Gives it up, and waits a little until what is under way is undone.
    pub(in crate::blocking) fn cancel(mut self) -> Result<(), Error> {
        let task = self.task.take();
        let client = self.lock.remote.client().clone();
        let limit = client.shared().clock.now().after(LEAVE);
        if let Some(task) = task {
            task.abort();
            let client = client.clone();
            // An aborted task has let go of what it had only once it is awaited.
            self.lock.remote.wait(async move {
                drop(crate::clock::within(&client.shared().clock, Some(limit), task).await);
            })?;
        }
        self.give_up();
        self.lock.remote.wait(async move {
            let shared = client.shared();
            crate::clock::within(&shared.clock, Some(limit), shared.keeper.settled()).await;
        })
    }

    fn give_up(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        // What arrived meanwhile gives itself back.
        while self.post.take().is_some() {}
    }
}

impl Drop for RemotePending {
    fn drop(&mut self) {
        self.give_up();
    }
}
