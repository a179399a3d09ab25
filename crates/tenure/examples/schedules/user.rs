//! What users of the library do: want the lock in each way there is, work under it, give it back.
//!
//! Owns what is known of each operation from outside: what is wanted, what is held, what is over.
//! A user looks at its deadline right before each action, as the library asks it to.

use std::cell::RefCell;
use std::time::Duration;

use tenure::testing::ManualClock;
use tenure::{Attempt, Client, Error, Guard, Hold, Overrun, RunOptions};
use tenure_testkit::schedule::{self, Setting};
use tenure_testkit::sim::StoreKind;

use crate::cut::cut;

/// One process as its users see it.
#[derive(Clone)]
pub(crate) struct Me {
    pub(crate) process: usize,
    pub(crate) life: u32,
    pub(crate) client: Client,
    pub(crate) clock: ManualClock,
    pub(crate) setting: Setting,
}

/// What is known of all operations.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) operations: u32,
    pub(crate) now: u64,
    /// Who waits, where, and since when.
    pub(crate) wants: Vec<(u32, usize, u64)>,
    /// What is held, and by whom.
    pub(crate) holds: Vec<(u32, usize, Hold)>,
    /// What nobody wants any more, by identity, and since when.
    pub(crate) over: Vec<(String, u64)>,
}

thread_local! {
    pub(crate) static BOOK: RefCell<Book> = RefCell::default();
}

fn book<T>(act: impl FnOnce(&mut Book) -> T) -> T {
    BOOK.with_borrow_mut(act)
}

/// An operation from its beginning to its end, however it ends.
struct Operation {
    number: u32,
    id: String,
    me: Me,
}

impl Operation {
    fn new(me: &Me) -> Self {
        let number = book(|b| {
            b.operations += 1;
            b.operations
        });
        let id = format!("p{}.{}.{number}", me.process, me.life);
        Self { number, id, me: me.clone() }
    }

    fn waits(&self) {
        book(|b| b.wants.push((self.number, self.me.process, b.now)));
    }

    fn waits_no_more(&self) {
        book(|b| b.wants.retain(|(number, ..)| *number != self.number));
    }

    fn holds(&self, hold: Hold) {
        self.waits_no_more();
        schedule::acquired(self.me.process, hold.token());
        schedule::note(1, || format!("{} holds with {}", self.id, hold.token()));
        book(|b| b.holds.push((self.number, self.me.process, hold)));
    }

    fn holds_no_more(&self) {
        book(|b| b.holds.retain(|(number, ..)| *number != self.number));
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.waits_no_more();
        self.holds_no_more();
        let id = std::mem::take(&mut self.id);
        book(|b| b.over.push((id, b.now)));
    }
}

fn nanos(n: u64) -> Duration {
    Duration::from_nanos(n)
}

fn around(mean: u64) -> Duration {
    nanos(mean / 2 + schedule::below(mean.max(1)))
}

/// Does one thing after the other until the client is closed.
pub(crate) async fn user(me: Me) {
    loop {
        me.clock.sleep(around(me.setting.rest)).await;
        if me.setting.quiet && schedule::is_calm() {
            return;
        }
        let operation = Operation::new(&me);
        let kind = schedule::below(16);
        schedule::note(u64::from(operation.number) << 8 | kind, || {
            format!("{} begins {kind}", operation.id)
        });
        if let Err(error) = one(&operation, kind).await {
            schedule::note(3, || format!("{} ends: {error}", operation.id));
            if matches!(error, Error::Closed) {
                return;
            }
        }
    }
}

async fn one(operation: &Operation, kind: u64) -> Result<(), Error> {
    let (me, n) = (&operation.me, operation.number);
    let lock = me.client.with_id(&operation.id)?.lock(me.setting.lock).timing(me.setting.timing);
    let ttl = me.setting.timing.ttl();
    let _onlooker = (kind < 2).then(|| schedule::Onlooker::new(me.process));
    match kind {
        0 => return cut(n, me.client.show(me.setting.lock)).await.unwrap_or_else(ended).map(drop),
        1 => return cut(n, me.client.list()).await.unwrap_or_else(ended).map(drop),
        2..=6 => return work(operation, kind).await,
        _ => {}
    }
    let guard = match kind {
        7 | 8 => match cut(n, lock.try_acquire()).await {
            Some(Ok(Attempt::Acquired(guard))) => guard,
            Some(Err(error)) => return Err(error),
            _ => return Ok(()),
        },
        9 | 10 => {
            operation.waits();
            let limit = around(ttl.as_nanos() as u64);
            match cut(n, lock.acquire_timeout(limit)).await {
                Some(guard) => guard?,
                None => return Ok(()),
            }
        }
        _ => {
            operation.waits();
            let bored = schedule::below(8) == 0 && !schedule::is_calm();
            let limit = if bored { around(ttl.as_nanos() as u64) } else { Duration::MAX / 4 };
            let wait = async {
                tokio::select! {
                biased;
                                   guard = lock.acquire() => Some(guard),
                                   () = me.clock.sleep(limit) => None,
                               }
            };
            match cut(n, wait).await.flatten() {
                Some(guard) => guard?,
                None => return Ok(()),
            }
        }
    };
    operation.holds(guard.hold());
    holds(operation, &guard).await;
    operation.holds_no_more();
    gives_back(operation, guard).await
}

/// Nothing came of what was dropped.
fn ended<T>() -> Result<T, Error> {
    Err(Error::Invalid("dropped".into()))
}

/// How long to hold: in a calm not for long.
fn hold_for(me: &Me) -> Duration {
    let hold = around(me.setting.hold);
    if schedule::is_calm() { hold.min(me.setting.timing.ttl() / 2) } else { hold }
}

/// Acts under the hold until it is to end.
async fn holds(operation: &Operation, guard: &Guard) {
    let (me, n) = (&operation.me, operation.number);
    let (hold, end) = (guard.hold(), hold_for(me));
    let acts = async {
        loop {
            acts(operation, &hold);
            me.clock.sleep(around(me.setting.act)).await;
        }
    };
    let both = async {
        tokio::select! {
        biased;
                   () = acts => {}
                   () = me.clock.sleep(end) => {}
                   () = hold.stopping() => {}
                   why = hold.lost() => schedule::lost(me.process, &why.to_string()),
               }
    };
    cut(n, both).await;
}

/// One action, if the deadline allows it.
fn acts(operation: &Operation, hold: &Hold) {
    if hold.deadline().is_none_or(|deadline| !deadline.is_past()) {
        schedule::guarded(operation.me.process, hold.token(), u64::from(operation.number));
    }
}

async fn gives_back(operation: &Operation, guard: Guard) -> Result<(), Error> {
    let (me, n) = (&operation.me, operation.number);
    let leaves = me.setting.detach && me.setting.store != StoreKind::Server;
    match schedule::below(8) {
        0..=2 => drop(guard),
        3 if leaves && !schedule::is_calm() => {
            let left = me.setting.timing.ttl() / 4;
            let _ = cut(n, guard.release_after(left)).await.transpose()?;
        }
        _ => {
            let _ = cut(n, guard.release()).await.transpose()?;
        }
    }
    Ok(())
}

/// [`tenure::Lock::run`], with work that stops in time, or does not.
async fn work(operation: &Operation, kind: u64) -> Result<(), Error> {
    let (me, n) = (&operation.me, operation.number);
    let lock = me.client.with_id(&operation.id)?.lock(me.setting.lock).timing(me.setting.timing);
    let (end, obeys) = (hold_for(me), kind != 6);
    let work = |hold: Hold| async move {
        operation.holds(hold.clone());
        let over = me.clock.sleep(end);
        let acts = async {
            loop {
                acts(operation, &hold);
                me.clock.sleep(around(me.setting.act)).await;
            }
        };
        let stop = async {
            hold.stopping().await;
            if !obeys {
                std::future::pending::<()>().await;
            }
        };
        let work = async {
            tokio::select! {
            biased;
                           () = over => {}
                           () = acts => {}
                           () = stop => {}
                       }
        };
        watched(operation.me.process, work).await;
        operation.holds_no_more();
    };
    // What blocks nothing is never too late for the watchdog; who is frozen may be.
    let options = RunOptions::new().overrun(Overrun::call(|_| {}));
    let options = match kind {
        2 => options.wait_max(Duration::ZERO),
        3 => options.wait_max(around(me.setting.timing.ttl().as_nanos() as u64)),
        _ => options,
    };
    if kind > 2 {
        operation.waits();
    }
    match cut(n, lock.run_with(options, work)).await {
        Some(Err(Error::TimedOut { .. })) | None => Ok(()),
        Some(Err(Error::Lost(why))) => {
            schedule::lost(me.process, &why.to_string());
            Ok(())
        }
        Some(done) => done,
    }
}

/// Work that is never polled past its deadline.
async fn watched(process: usize, work: impl Future<Output = ()>) {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|cx| {
        schedule::works(process);
        work.as_mut().poll(cx)
    })
    .await;
}
