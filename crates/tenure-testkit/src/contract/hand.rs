//! One handle at work on one lock: the changes of a claim without its judgement.
//!
//! Every request is bounded by the subject's patience; an error where an answer is due breaks the
//! contract as much as a wrong answer does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tenure_core::{
    Change, End, Holder, Liveness, Mark, Record, Session, Term, Token, Version, Waiter,
};
use tenure_store::{Conditional, Name, Result as StoreResult, Snapshot, Store, Stored, Watch};

use crate::block_on_for;
use crate::clock::{now, wall};
use crate::exec::Alarm;

const TTL: Duration = Duration::from_secs(15);

pub(super) struct Hand {
    pub(super) store: Arc<dyn Store>,
    pub(super) name: Name,
    pub(super) session: Session,
    pub(super) patience: Duration,
}

impl Hand {
    pub(super) fn new(
        store: Arc<dyn Store>,
        name: &str,
        patience: Duration,
    ) -> Result<Self, String> {
        let name = Name::new(name).map_err(|e| e.to_string())?;
        let session = answered(patience, "session", store.session())?;
        Ok(Self { store, name, session, patience })
    }

    // ---- requests ----

    pub(super) fn read(&self) -> Result<Snapshot, String> {
        answered(self.patience, "read", self.store.read(&self.name))
    }

    /// The record that must be there.
    pub(super) fn stored(&self) -> Result<Stored, String> {
        match self.read()? {
            Snapshot::Is(stored) => Ok(stored),
            Snapshot::Absent { .. } => Err("a read finds no record where one was written".into()),
        }
    }

    pub(super) fn write(
        &self,
        judged: Option<&Stored>,
        change: &Change,
    ) -> Result<Conditional<Stored>, String> {
        // A release may have left nothing, and that is then what is judged.
        let judged = judged.filter(|stored| !stored.is_gone());
        answered(self.patience, "write_if", self.store.write_if(&self.name, judged, change))
    }

    /// A write whose condition holds.
    pub(super) fn done(&self, judged: Option<&Stored>, change: &Change) -> Result<Stored, String> {
        match self.write(judged, change)? {
            Conditional::Done(stored) => Ok(stored),
            Conditional::Conflict => {
                let version = judged.map(|s| s.version);
                Err(format!("a write on the state that stands ({version:?}) is told of a conflict"))
            }
        }
    }

    pub(super) fn delete(&self, expected: Version) -> Result<Conditional<()>, String> {
        answered(self.patience, "delete_if", self.store.delete_if(&self.name, expected))
    }

    /// A deletion whose condition holds.
    pub(super) fn deleted(&self, stored: &Stored) -> Result<(), String> {
        match self.delete(stored.version)? {
            Conditional::Done(()) => Ok(()),
            Conditional::Conflict => {
                Err("a deletion of the state that stands is told of a conflict".into())
            }
        }
    }

    pub(super) fn watch(&self) -> News {
        News { watch: self.store.watch(&self.name), patience: self.patience }
    }

    // ---- in one go ----

    /// Takes the lock, whatever stands there.
    pub(super) fn take(&self, judged: Option<&Stored>) -> Result<Stored, String> {
        self.done(judged, &self.taking(judged))
    }

    pub(super) fn renew(&self, judged: &Stored) -> Result<Stored, String> {
        self.done(Some(judged), &self.renewing(judged))
    }

    pub(super) fn join(&self, judged: &Stored) -> Result<Stored, String> {
        self.done(Some(judged), &self.joining(judged))
    }

    pub(super) fn release(&self, judged: &Stored, next: Option<Mark>) -> Result<Stored, String> {
        self.done(Some(judged), &releasing(judged, next))
    }

    // ---- changes ----

    pub(super) fn taking(&self, judged: Option<&Stored>) -> Change {
        let record = judged.map(|s| &*s.record);
        let holder = Holder {
            id: id(),
            mark: mark(),
            session: self.session,
            token: Token::default(),
            term: self.term(),
            ticket: record.map_or(0, |r| r.next_ticket),
            since: wall(),
            renewed: wall(),
            stamp: now(),
        };
        let ended = record.and_then(|r| r.holder.as_ref()).map(|_| End::Expired);
        Change::Take { holder, ended, strike: Vec::new(), tags: Vec::new() }
    }

    pub(super) fn renewing(&self, judged: &Stored) -> Change {
        Change::Renew {
            of: held(&judged.record),
            mark: mark(),
            token: judged.record.holder.as_ref().map_or(Token::default(), |h| h.token),
            term: self.term(),
            session: self.session,
            renewed: wall(),
            stamp: now(),
        }
    }

    pub(super) fn joining(&self, judged: &Stored) -> Change {
        let waiter = Waiter {
            id: id(),
            mark: mark(),
            session: self.session,
            ticket: judged.record.next_ticket,
            term: self.term(),
            since: wall(),
            tags: Vec::new(),
        };
        Change::Join { waiter, strike: Vec::new() }
    }

    fn term(&self) -> Term {
        match self.store.capabilities().liveness {
            Liveness::Process => Term::Session,
            Liveness::Server | Liveness::Observed => Term::Ttl(TTL),
        }
    }
}

pub(super) fn releasing(judged: &Stored, next: Option<Mark>) -> Change {
    Change::Release {
        of: held(&judged.record),
        end: End::Released,
        reason: None,
        mark: mark(),
        next,
        strike: Vec::new(),
        at: wall(),
        stamp: now(),
        tags: Vec::new(),
    }
}

/// The mark of the hold; of none where nobody holds.
pub(super) fn held(record: &Record) -> Mark {
    record.holder.as_ref().map_or(Mark::default(), |h| h.mark)
}

/// The token of the hold.
pub(super) fn token(stored: &Stored) -> Result<Token, String> {
    let holder = stored.record.holder.as_ref();
    holder.map(|h| h.token).ok_or_else(|| "the record names no holder after a take".into())
}

/// A mark of its own for every change.
pub(super) fn mark() -> Mark {
    static LAST: AtomicU64 = AtomicU64::new(0);
    Mark::from_u128((7 << 64) | u128::from(LAST.fetch_add(1, Ordering::Relaxed) + 1))
}

fn id() -> tenure_core::Text {
    format!("contender-{}", mark().as_u128() & u128::from(u64::MAX)).into()
}

/// What a watch tells, one after the other.
pub(super) struct News {
    watch: Watch,
    patience: Duration,
}

impl News {
    pub(super) fn next(&mut self) -> Result<Snapshot, String> {
        let next = std::future::poll_fn(|cx| self.watch.as_mut().poll_next(cx));
        match block_on_for(self.patience, next) {
            Some(item) => told(item),
            None => Err(format!("the watch was silent for {:?}", self.patience)),
        }
    }

    /// Polls until there is nothing to tell, and leaves `waker` to be woken.
    pub(super) fn rest(&mut self, waker: &Waker) -> Result<Vec<Snapshot>, String> {
        let mut cx = Context::from_waker(waker);
        let mut before = Vec::new();
        while before.len() < 1_000 {
            match self.watch.as_mut().poll_next(&mut cx) {
                Poll::Pending => return Ok(before),
                Poll::Ready(item) => before.push(told(item)?),
            }
        }
        Err("the watch tells without end what nobody wrote".into())
    }

    /// Reads on until this very state comes; gives back what came before it.
    pub(super) fn until_is(&mut self, stored: &Stored) -> Result<Vec<Snapshot>, String> {
        if stored.is_gone() {
            return self.until_absent();
        }
        let version = stored.version;
        self.until(|news| news.stored().is_some_and(|s| s.version == version))
            .map_err(|e| format!("{e} while revision {} stood", version.revision))
    }

    /// Reads on until there is no record; gives back what came before it.
    pub(super) fn until_absent(&mut self) -> Result<Vec<Snapshot>, String> {
        self.until(|news| news.stored().is_none())
            .map_err(|e| format!("{e} while there was no record"))
    }

    pub(super) fn until(
        &mut self,
        wanted: impl Fn(&Snapshot) -> bool,
    ) -> Result<Vec<Snapshot>, String> {
        let mut before = Vec::new();
        loop {
            let next = self.next()?;
            if wanted(&next) {
                return Ok(before);
            }
            before.push(next);
        }
    }

    /// Does `act` while the watch rests, and waits to be woken for it.
    pub(super) fn woken_by<T>(
        &mut self,
        act: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        let (alarm, waker) = Alarm::new();
        self.rest(&waker)?;
        let done = act()?;
        if alarm.rings_within(Instant::now(), self.patience) {
            return Ok(done);
        }
        Err(format!("a change did not wake the watch within {:?}", self.patience))
    }
}

fn told(item: Option<StoreResult<Snapshot>>) -> Result<Snapshot, String> {
    match item {
        Some(Ok(snapshot)) => Ok(snapshot),
        Some(Err(error)) => Err(format!("the watch failed: {error}")),
        None => Err("the watch ended".into()),
    }
}

/// An answer that is no error and comes in time.
pub(super) fn answered<T>(
    patience: Duration,
    what: &str,
    request: impl Future<Output = StoreResult<T>>,
) -> Result<T, String> {
    match block_on_for(patience, request) {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(error)) => Err(format!("{what} failed: {error}")),
        None => Err(format!("{what} was not answered within {patience:?}")),
    }
}
