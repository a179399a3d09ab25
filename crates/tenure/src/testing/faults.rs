//! What stands between a client and the store in memory: requests that fail because a test said so.
//!
//! Owns which requests fail. Changes nothing of those that do not, and answers nothing itself but
//! that the store cannot be reached. **A request that fails was not done.**

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tenure_core::{Change, Probed, Session, Token, Version};
use tenure_store::{
    BoxFuture, Capabilities, Conditional, Detail, Error, Listed, Memory, Name, Result, Snapshot,
    Store, Stored, Watch,
};

/// What is to go wrong, for all clients of a test.
#[derive(Debug, Default)]
pub(super) struct Faults {
    fail_next: AtomicU64,
    /// Requests so far.
    requests: AtomicU64,
    /// Holds whose holders do not reach the store.
    cut_off: Mutex<HashMap<Name, Token>>,
}

impl Faults {
    pub(super) fn fail_next(&self, n: u64) {
        self.fail_next.store(n, Ordering::Relaxed);
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// From now on what is written on behalf of this hold does not arrive.
    pub(super) fn cut_off(&self, name: &Name, hold: Token) {
        self.cuts().insert(name.clone(), hold);
    }

    fn ask(&self) -> Result<()> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let one_less = |n: u64| n.checked_sub(1);
        match self.fail_next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less) {
            Ok(_) => Err(failed("fails because the test asked for it")),
            Err(_) => Ok(()),
        }
    }

    fn ask_to_write(&self, name: &Name, judged: Option<&Stored>, change: &Change) -> Result<()> {
        self.ask()?;
        let holder = judged.and_then(|stored| stored.record.holder.as_ref());
        let own = matches!(change, Change::Renew { .. } | Change::Release { .. });
        if own && holder.is_some_and(|h| self.cuts().get(name) == Some(&h.token)) {
            return Err(failed("its holder is cut off because the test lets the hold expire"));
        }
        Ok(())
    }

    fn cuts(&self) -> MutexGuard<'_, HashMap<Name, Token>> {
        self.cut_off.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(what: &str) -> Error {
    Error::Unavailable(Detail::new("test:", what))
}

/// One client's handle.
#[derive(Debug)]
pub(super) struct FaultyHandle {
    pub(super) memory: Memory,
    pub(super) faults: Arc<Faults>,
}

impl Store for FaultyHandle {
    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }

    fn session(&self) -> BoxFuture<'_, Result<Session>> {
        self.memory.session()
    }

    fn probe(&self, session: Session) -> BoxFuture<'_, Result<Probed>> {
        Box::pin(async move {
            self.faults.ask()?;
            self.memory.probe(session).await
        })
    }

    fn read<'a>(&'a self, name: &'a Name) -> BoxFuture<'a, Result<Snapshot>> {
        Box::pin(async move {
            self.faults.ask()?;
            self.memory.read(name).await
        })
    }

    fn write_if<'a>(
        &'a self,
        name: &'a Name,
        judged: Option<&'a Stored>,
        change: &'a Change,
    ) -> BoxFuture<'a, Result<Conditional<Stored>>> {
        Box::pin(async move {
            self.faults.ask_to_write(name, judged, change)?;
            self.memory.write_if(name, judged, change).await
        })
    }

    fn delete_if<'a>(
        &'a self,
        name: &'a Name,
        expected: Version,
    ) -> BoxFuture<'a, Result<Conditional<()>>> {
        Box::pin(async move {
            self.faults.ask()?;
            self.memory.delete_if(name, expected).await
        })
    }

    fn watch(&self, name: &Name) -> Watch {
        self.memory.watch(name)
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>>> {
        Box::pin(async move {
            self.faults.ask()?;
            self.memory.list().await
        })
    }
}
