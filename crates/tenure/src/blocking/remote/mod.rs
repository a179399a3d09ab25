//! Stores that are reached with async: one runtime with one thread, on which the async client lives.
//!
//! ```text
//! blocking call ──> a task on the thread ──> waits for its answer
//! Pending, Guard, Onlooker ──> tasks on the thread ──> post what happened into a box with a bell
//! ```
//!
//! Owns the thread and how news come out of it. Decides nothing: the driver is the one behind the
//! async API. **The embedded store never comes here**: no runtime is made for it.

mod bell;
mod guard;
mod holds;
mod onlooker;
mod pending;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tenure_core::Patience;
use tenure_store::Store;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::client::Backend;
use crate::{Client, Error, Lock};

pub(super) use guard::RemoteGuard;
pub(super) use onlooker::{RemoteOnlooker, RemoteTarget};
pub(super) use pending::{RemotePending, Told};

/// How long the last handle waits for releases that are under way.
const LEAVE: Duration = Duration::from_secs(2);

/// An async client and the thread it lives on. The last handle ends it.
pub(crate) struct Remote {
    client: Client,
    handle: Handle,
    thread: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

/// A lock of such a client.
#[derive(Clone, Debug)]
pub(super) struct RemoteLock {
    pub(super) remote: Arc<Remote>,
    pub(super) lock: Lock,
}

impl Remote {
    /// Starts the thread and makes the client on it.
    pub(crate) fn start<F>(make: impl FnOnce() -> F + Send + 'static) -> Result<Arc<Self>, Error>
    where
        F: Future<Output = Result<Client, Error>>,
    {
        let failed = |e: std::io::Error| {
            Error::Unavailable(format!("cannot start a thread: {e}"), Some(Box::new(e)))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let handle = runtime.handle().clone();
        let (made, made_here) = mpsc::sync_channel(1);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("tenure-store".into());
        let thread = thread.spawn(move || {
            runtime.block_on(async {
                let client = make().await;
                let ours = client.as_ref().ok().cloned();
                // Whoever asked may be gone.
                drop(made.send(client));
                let _ = stopped.await;
                if let Some(client) = ours {
                    let clock = Arc::clone(&client.shared().clock);
                    let limit = clock.now().after(LEAVE);
                    crate::clock::within(&clock, Some(limit), client.close()).await;
                }
            });
            // A name that is still being looked up must not hold up the end.
            runtime.shutdown_background();
        });
        let thread = thread.map_err(failed)?;
        let client = made_here.recv().map_err(|_| gone())??;
        client.shared().clock.start()?;
        Ok(Arc::new(Self { client, handle, thread: Mutex::new(Some((stop, thread))) }))
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// The store itself.
    pub(super) fn store(&self) -> Result<&Arc<dyn Store>, Error> {
        match &self.client.shared().backend {
            Backend::Store(store) => Ok(store),
            #[cfg(all(feature = "local", target_os = "linux"))]
            Backend::Local(_) => Err(Error::Unsupported("local: has a client of its own".into())),
        }
    }

    /// Waits for what `future` comes to on the thread.
    pub(super) fn wait<F>(&self, future: F) -> Result<F::Output, Error>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let (answer, answered) = mpsc::sync_channel(1);
        self.handle.spawn(async move { drop(answer.send(future.await)) });
        answered.recv().map_err(|_| gone())
    }

    /// The thread, for tasks.
    pub(super) const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// This lock of the store.
    pub(super) fn lock(self: &Arc<Self>, name: &str, id: &Arc<str>) -> RemoteLock {
        // The identity was checked when it was given.
        let client = self.client.with_id(id).unwrap_or_else(|_| self.client.clone());
        RemoteLock { remote: Arc::clone(self), lock: client.lock(name) }
    }
}

impl RemoteLock {
    pub(super) fn with(&self, change: impl FnOnce(Lock) -> Lock) -> Self {
        Self { remote: Arc::clone(&self.remote), lock: change(self.lock.clone()) }
    }

    /// How long `want` is on the client's clock.
    pub(super) fn patience(&self, want: super::Patience) -> Patience {
        match want {
            super::Patience::Now => Patience::Now,
            super::Patience::Forever => Patience::Forever,
            super::Patience::For(limit) => {
                Patience::Until(self.remote.client.shared().clock.now().after(limit))
            }
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some((stop, thread)) = thread else { return };
        drop(stop);
        // A task that drops the last handle cannot wait for its own thread.
        if thread.thread().id() != std::thread::current().id() {
            drop(thread.join());
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("client", &self.client).finish_non_exhaustive()
    }
}

fn gone() -> Error {
    Error::unavailable("the thread that deals with the store has ended")
}
