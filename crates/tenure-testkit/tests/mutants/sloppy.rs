//! A second store in memory, which makes the mistake it is told to make.
//!
//! Written apart from `tenure_store::Memory` and unlike it inside, so that the suite is seen to
//! pass on two stores. Without a mistake its requests take a poll more than they need, as those of
//! a remote store do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tenure_core::{Change, Liveness, Probed, Session, Version};
use tenure_store::{
    BoxFuture, Capabilities, Conditional, Detail, Error, Listed, Name, Result, Snapshot, Store,
    Stored, Watch,
};

use crate::bug::Bug;
use crate::state::{Shared, yield_once};
use crate::watch::SloppyWatch;

#[derive(Debug)]
pub(crate) struct Sloppy {
    shared: Arc<Shared>,
    session: Session,
    /// Sessions opened by mistake.
    opened: AtomicU8,
}

impl Sloppy {
    pub(crate) fn open(shared: &Arc<Shared>) -> Self {
        let mut state = shared.state();
        if shared.bug != Bug::OneSession || state.sessions == 0 {
            state.sessions += 1;
        }
        let session = Session::from_bytes([state.sessions; 32]);
        state.alive.insert(session);
        drop(state);
        Self { shared: Arc::clone(shared), session, opened: AtomicU8::new(100) }
    }
}

impl Drop for Sloppy {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.alive.remove(&self.session);
        if self.shared.liveness == Liveness::Server && self.shared.bug != Bug::KeepsDead {
            let clear = self.shared.bug == Bug::ClearsLine;
            state.take_out(self.session, clear);
        }
    }
}

impl Store for Sloppy {
    fn capabilities(&self) -> Capabilities {
        let (liveness, queue) = (self.shared.liveness, self.shared.queue());
        Capabilities { liveness, queue, wall_clocks: false, adopts: false, tags: true }
    }

    fn session(&self) -> BoxFuture<'_, Result<Session>> {
        Box::pin(async {
            yield_once().await;
            let observed = self.shared.liveness == Liveness::Observed;
            Ok(match self.shared.bug {
                Bug::ManySessions => {
                    let number = self.opened.fetch_add(1, Ordering::Relaxed);
                    Session::from_bytes([number; 32])
                }
                Bug::ProbesAnyway => self.session,
                _ if observed => Session::NONE,
                _ => self.session,
            })
        })
    }

    fn probe(&self, session: Session) -> BoxFuture<'_, Result<Probed>> {
        Box::pin(async move {
            let bug = self.shared.bug;
            if self.shared.liveness != Liveness::Process && bug != Bug::ProbesAnyway {
                return Err(Error::Unsupported(Detail::new("sloppy:", "no probes")));
            }
            if session.is_none() && bug != Bug::ProbesNothing {
                return Err(Error::Invalid(Detail::new("sloppy:", "no session")));
            }
            let alive = match bug {
                Bug::ProbesAlive => true,
                Bug::ProbesDead => session == self.session,
                _ => self.shared.state().alive.contains(&session),
            };
            Ok(if alive { Probed::Alive } else { Probed::Dead })
        })
    }

    fn read<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<Snapshot>> {
        Box::pin(async move {
            yield_once().await;
            Ok(self.shared.read(name))
        })
    }

    fn write_if<'a>(
        &'a self,
        name: &'a Name,
        judged: Option<&'a Stored>,
        change: &'a Change,
    ) -> BoxFuture<'a, Result<Conditional<Stored>>> {
        if self.shared.bug == Bug::WritesAtCall && self.shared.holds(name, judged) {
            let stored = self.shared.write(name, change);
            return Box::pin(async { Ok(Conditional::Done(stored)) });
        }
        Box::pin(self.shared.write_if(name, judged, change))
    }

    fn delete_if<'a>(
        &'a self,
        name: &'a Name,
        expected: Version,
    ) -> BoxFuture<'a, Result<Conditional<()>>> {
        if self.shared.bug == Bug::DeletesAtCall {
            let answer = self.shared.delete_if(name, expected);
            return Box::pin(async { Ok(answer) });
        }
        Box::pin(async move {
            yield_once().await;
            Ok(self.shared.delete_if(name, expected))
        })
    }

    fn watch(&self, name: &Name) -> Watch {
        Box::pin(SloppyWatch::new(Arc::clone(&self.shared), name))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>>> {
        Box::pin(async {
            yield_once().await;
            Ok(self.shared.list())
        })
    }
}
