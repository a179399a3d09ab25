//! One process's handle on the store of a schedule.
//!
//! Owns the futures: each hands its request to the world at its first poll, which is when it leaves,
//! and waits for the answer. Dropping one ends nothing that has left.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use tenure_core::{Change, Probed, Session, Version};
use tenure_store::{
    BoxFuture, Capabilities, Conditional, Detail, Error, Listed, Name, Result, Snapshot, Store,
    Stored, Stream, Watch,
};

use super::net::{Reply, Request};
use super::{with, with_any};

/// See the module's documentation.
pub(super) struct Remote {
    process: usize,
    life: u32,
    can: Capabilities,
}

impl Remote {
    pub(super) const fn new(process: usize, life: u32, can: Capabilities) -> Self {
        Self { process, life, can }
    }

    fn ask(&self, request: Request) -> Asked {
        Asked { by: (self.process, self.life), request: Some(request), number: None }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("process", &self.process).finish_non_exhaustive()
    }
}

/// A request under way.
struct Asked {
    by: (usize, u32),
    request: Option<Request>,
    number: Option<usize>,
}

impl Future for Asked {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        let this = &mut *self;
        if let Some(request) = this.request.take() {
            this.number = Some(with(|w| w.send(this.by, request)));
        }
        let number = this.number.unwrap_or_default();
        match with(|w| w.reply_to(number, cx.waker())) {
            Some(reply) => Poll::Ready(reply),
            None => Poll::Pending,
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            with_any(|w| w.forget(number));
        }
    }
}

fn refused<T>() -> Result<T> {
    Err(Error::Unavailable(Detail::new("schedule:", "refused")))
}

impl Store for Remote {
    fn capabilities(&self) -> Capabilities {
        self.can
    }

    fn session(&self) -> BoxFuture<'_, Result<Session>> {
        Box::pin(async {
            match self.ask(Request::Session).await {
                Reply::Session(session) => Ok(session),
                _ => refused(),
            }
        })
    }

    fn probe(&self, session: Session) -> BoxFuture<'_, Result<Probed>> {
        Box::pin(async move {
            match self.ask(Request::Probe(session)).await {
                Reply::Probed(probed) => Ok(probed),
                _ => refused(),
            }
        })
    }

    fn read<'a>(&'a self, _: &'a Name) -> BoxFuture<'a, Result<Snapshot>> {
        Box::pin(async {
            match self.ask(Request::Read).await {
                Reply::Found(snapshot) => Ok(snapshot),
                _ => refused(),
            }
        })
    }

    fn write_if<'a>(
        &'a self,
        _: &'a Name,
        judged: Option<&'a Stored>,
        change: &'a Change,
    ) -> BoxFuture<'a, Result<Conditional<Stored>>> {
        let request = Request::Write { judged: judged.cloned(), change: change.clone() };
        Box::pin(async {
            match self.ask(request).await {
                Reply::Written(answer) => Ok(answer),
                Reply::Unknown => {
                    Err(Error::OutcomeUnknown(Detail::new("schedule:", "the answer was lost")))
                }
                _ => refused(),
            }
        })
    }

    fn delete_if<'a>(&'a self, _: &'a Name, _: Version) -> BoxFuture<'a, Result<Conditional<()>>> {
        // Nothing that is simulated deletes.
        Box::pin(async { refused() })
    }

    fn watch(&self, _: &Name) -> Watch {
        Box::pin(Watching { by: (self.process, self.life), number: None })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>>> {
        Box::pin(async {
            match self.ask(Request::Read).await {
                Reply::Found(Snapshot::Is(stored)) => {
                    Ok(vec![Listed { name: Name::new("x").map_err(wrong)?, stored: Ok(stored) }])
                }
                Reply::Found(Snapshot::Absent { .. }) => Ok(Vec::new()),
                _ => refused(),
            }
        })
    }
}

fn wrong(error: impl fmt::Display) -> Error {
    Error::Invalid(Detail::new("schedule:", error.to_string()))
}

/// A watch.
struct Watching {
    by: (usize, u32),
    number: Option<usize>,
}

impl Stream for Watching {
    type Item = Result<Snapshot>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let by = self.by;
        let number = *self.number.get_or_insert_with(|| with(|w| w.open_watch(by)));
        match with(|w| w.news_of(number, cx.waker())) {
            None => Poll::Pending,
            Some(Some(snapshot)) => Poll::Ready(Some(Ok(snapshot))),
            Some(None) => {
                let error = Error::Unavailable(Detail::new("schedule:", "the watch ended"));
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            with_any(|w| w.close_watch(number));
        }
    }
}
