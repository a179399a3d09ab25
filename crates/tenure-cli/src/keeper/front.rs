//! The front's side: what the keeper's process tells, and until when to believe it.
//!
//! **The deadline decides, not the other process**: whoever hears nothing more ends the work before
//! it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, pidfd_open, waitid,
};
use tenure::Error;
use tenure::blocking::Patience;

use super::board::Board;
use super::link::{Came, Link, Sent};
use super::{AFTER_LOSS, News, Order, back, lead};
use crate::clock;
use crate::contend::{Contender, Step};
use crate::exit::Failure;
use crate::hook;
use crate::options::RunOptions;
use crate::run::{Held, Over};
use crate::spawn::GroupRecord;
use crate::supervise::{Standing, Watched};

/// How long an answer is waited for after which nothing depends on it.
const PATIENCE: Duration = Duration::from_secs(2);
/// How much later than due the other process may tell how a wait ended: a last look takes a while.
const SLACK: Duration = Duration::from_secs(6);
/// How long a release may take: the store is given one attempt, which is shorter.
const RELEASE: Duration = Duration::from_secs(10);

/// The keeper's process.
#[derive(Debug)]
pub(crate) struct Keeper {
    link: Link,
    board: Board,
    back: Pid,
    /// How long the first contact with the store may take.
    contact: Duration,
    /// It was not heard of in time, and may never end by itself.
    hung: Cell<bool>,
}

/// One who wants the lock through it.
pub(crate) struct KeptPending<'a> {
    keeper: &'a Keeper,
    patience: Patience,
    /// When patience ends, if it does.
    until: Option<Duration>,
    /// Whether it has been asked for, and not failed since.
    asked: bool,
    /// When the other process hangs if it has told nothing by then; `None` if nothing is due.
    hangs_at: Option<Duration>,
}

/// A hold that it keeps.
#[derive(Debug)]
pub(crate) struct KeptHold<'a> {
    keeper: &'a Keeper,
    token: u64,
    id: String,
    store: String,
    grace: Duration,
    deadline: Duration,
    lost: Option<String>,
    news: VecDeque<News>,
}

impl Keeper {
    /// Starts the process. Comes before any thread, and after the signals were blocked: they are
    /// not meant for it.
    ///
    /// # Errors
    /// Where the system has no room for a process.
    pub(crate) fn start(options: &RunOptions) -> Result<Self, Failure> {
        let failed = |e: std::io::Error| Failure::new(format!("cannot start a process: {e}"));
        let (ours, theirs) = Link::pair().map_err(failed)?;
        let board = Board::new().map_err(failed)?;
        let front = pidfd_open(rustix::process::getpid(), PidfdFlags::empty());
        let front = front.map_err(|e| failed(e.into()))?;
        match hook::fork().map_err(failed)? {
            Some(back) => {
                let contact = options.want.connect_timeout;
                Ok(Self { link: ours, board, back, contact, hung: Cell::new(false) })
            }
            None => {
                drop(ours);
                back::serve(options, theirs, board, front)
            }
        }
    }

    /// Begins to want the lock.
    pub(crate) fn want(&self, patience: Patience) -> KeptPending<'_> {
        let until = match patience {
            Patience::For(limit) => Some(clock::now() + limit),
            _ => None,
        };
        KeptPending { keeper: self, patience, until, asked: false, hangs_at: None }
    }

    fn order(&self, order: &Order) -> Result<(), Error> {
        if self.link.send(order) == Sent::Done { Ok(()) } else { Err(gone()) }
    }

    /// The next message; waits until then.
    fn next(&self, limit: Duration) -> Option<News> {
        loop {
            match self.link.receive() {
                Came::One(news) => return Some(news),
                Came::Gone => return None,
                Came::Nothing => {}
            }
            let left = limit.checked_sub(clock::now())?;
            clock::wait(std::iter::once(self.link.as_fd()), None, Some(left));
        }
    }
}

impl KeptPending<'_> {
    fn ask(&mut self) -> Result<(), Error> {
        let limit = match self.patience {
            Patience::Now => Some(Duration::ZERO),
            _ => self.until.map(|until| until.saturating_sub(clock::now())),
        };
        self.keeper.order(&Order::Want(limit))?;
        self.asked = true;
        let contact = clock::now() + self.keeper.contact;
        self.hangs_at = Some(self.until.map_or(contact, |until| contact.min(until)) + SLACK);
        Ok(())
    }

    /// What hangs while it begins, as a plugin for credentials may, keeps no limit of its own.
    fn hangs(&mut self) -> Result<(), Error> {
        match self.hangs_at.take_if(|at| clock::now() >= *at) {
            None => Ok(()),
            Some(_) => {
                self.keeper.hung.set(true);
                let what = "the process that deals with the store does not answer";
                Err(Error::Unavailable(what.to_owned(), None))
            }
        }
    }
}

impl<'a> Contender for KeptPending<'a> {
    type Held = KeptHold<'a>;

    fn poll(&mut self) -> Result<Option<Step<KeptHold<'a>>>, Error> {
        if !self.asked {
            self.ask()?;
        }
        let news = match self.keeper.link.receive() {
            Came::One(news) => news,
            Came::Nothing => return self.hangs().map(|()| None),
            Came::Gone => return Err(gone()),
        };
        // From now on the only limit is one's own.
        self.keeper.hung.set(false);
        self.hangs_at = self.until.map(|until| until + SLACK);
        Ok(Some(match news {
            News::Waiting(waiting) => Step::Waiting(waiting),
            News::Busy(by) => Step::Busy(by),
            News::TimedOut(by) => Step::TimedOut(by),
            News::Acquired { token, id, store, grace } => {
                Step::Acquired(KeptHold::new(self.keeper, (token, id, store), grace))
            }
            News::Failed { text, may_pass } => {
                self.asked = false;
                return Err(match may_pass {
                    true => Error::Unavailable(text, None),
                    false => Error::Invalid(text),
                });
            }
            _ => return Ok(None),
        }))
    }

    fn fds(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.keeper.link.as_fd()]
    }

    fn wake_after(&self) -> Option<Duration> {
        self.hangs_at.map(|at| at.saturating_sub(clock::now()))
    }

    fn leave(self) {
        if self.keeper.order(&Order::Leave).is_err() {
            return;
        }
        let limit = clock::now() + PATIENCE;
        while let Some(news) = self.keeper.next(limit) {
            if matches!(news, News::Left) {
                return;
            }
        }
    }
}

impl<'a> KeptHold<'a> {
    fn new(keeper: &'a Keeper, (token, id, store): (u64, String, String), grace: Duration) -> Self {
        let (deadline, news) = (Duration::ZERO, VecDeque::new());
        let mut hold = Self { keeper, token, id, store, grace, deadline, lost: None, news };
        hold.listen();
        hold
    }

    /// Takes in what was told; whether the deadline has moved.
    fn listen(&mut self) -> bool {
        loop {
            match self.keeper.link.receive() {
                Came::One(News::Renewed) => {}
                Came::One(News::Lost { why }) => drop(self.lost.get_or_insert(why)),
                Came::One(other) => self.news.push_back(other),
                Came::Nothing => break,
                Came::Gone => {
                    let why = || "the process that renewed it has ended".to_owned();
                    self.lost.get_or_insert_with(why);
                    break;
                }
            }
        }
        let before = self.deadline;
        self.deadline = before.max(self.keeper.board.deadline().unwrap_or(before));
        self.deadline > before
    }

    /// When its work must have been killed.
    fn kill_by(&self) -> Duration {
        self.deadline.saturating_sub(lead(self.grace))
    }
}

impl Watched for KeptHold<'_> {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        // What has ended is always readable.
        self.lost.is_none().then(|| self.keeper.link.as_fd())
    }

    fn look(&mut self) -> Standing {
        let renewed = self.listen();
        let (now, kill_by, grace) = (clock::now(), self.kill_by(), self.grace);
        if self.lost.is_none() && now >= kill_by {
            self.lost = Some("it was not renewed in time".to_owned());
        }
        if let Some(why) = &self.lost {
            let kill_at = kill_by.min(now + grace.min(AFTER_LOSS));
            return Standing::Lost { why: why.clone(), kill_at };
        }
        let stop_at = self.deadline.saturating_sub(grace);
        if now >= stop_at {
            return Standing::Stop { kill_at: kill_by };
        }
        let renewed = renewed.then(|| self.deadline.saturating_sub(now));
        Standing::Held { renewed, look_at: stop_at }
    }

    fn ended(&mut self) {
        // Of lost work more may be left, which was told to end with it: the other process sees to
        // that before it gives back what may stand yet.
        if self.lost.is_none() {
            self.keeper.board.clear_group();
        }
    }
}

impl Held for KeptHold<'_> {
    fn token(&self) -> u64 {
        self.token
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn store(&self) -> &str {
        &self.store
    }

    fn record(&self) -> Option<GroupRecord<'_>> {
        Some(GroupRecord { fd: self.keeper.board.fd(), offset: 0, inherit: false })
    }

    fn started(&self) {
        self.keeper.board.set_begun();
    }

    fn release(mut self, rest: Option<Duration>) -> Over {
        self.keeper.board.clear_group();
        self.listen();
        if let Some(why) = self.lost {
            return Over::Lost(why);
        }
        if self.keeper.order(&Order::Release(rest)).is_err() {
            return Over::Failed(gone().to_string());
        }
        let limit = clock::now() + RELEASE;
        while let Some(news) = self.news.pop_front().or_else(|| self.keeper.next(limit)) {
            match news {
                News::Released => return Over::Released,
                News::Lost { why } => return Over::Lost(why),
                News::NotReleased { text } => return Over::Failed(text),
                _ => {}
            }
        }
        Over::Failed("the process that keeps it does not answer; it ends with its ttl".to_owned())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Unlike a death, which it would clean up after.
        let _ = self.order(&Order::Leave);
        let Ok((nowhere, _)) = Link::pair() else { return };
        self.link = nowhere;
        if let Ok(end) = pidfd_open(self.back, PidfdFlags::empty()) {
            clock::wait(std::iter::once(end.as_fd()), None, Some(PATIENCE));
        }
        if self.hung.get() {
            let _ = kill_process(self.back, Signal::KILL);
        }
        let _ = waitid(WaitId::Pid(self.back), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

fn gone() -> Error {
    Error::Invalid("the process that deals with the store has ended".to_owned())
}
