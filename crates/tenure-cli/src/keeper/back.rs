//! The keeper's process: deals with the store, and ends the command's group if the front cannot.
//!
//! Owns an event loop over two things: the front's orders and end, and what the lock tells. Never
//! returns to what it was forked from.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use tenure::Released;
use tenure::blocking::{Client, Guard, Lock, News as LockNews, Patience, Pending, connect};

use super::board::Board;
use super::link::{Came, Link};
use super::outbox::Outbox;
use super::{AFTER_LOSS, News, Order, lead};
use crate::clock;
use crate::contend::{Contender as _, Here, Step};
use crate::exit::Failure;
use crate::lost::why;
use crate::options::RunOptions;
use crate::{hook, parent, run};

/// How long what is left of the command is killed for, where the hold leaves so much time.
const END: Duration = Duration::from_secs(5);
/// How long the front may take to take in how it ended.
const LAST_WORD: Duration = Duration::from_secs(2);
/// Between two kills of what does not end.
const AGAIN: Duration = Duration::from_millis(500);
/// Between two looks at what was killed, where the hold may be given back.
const SOON: Duration = Duration::from_millis(20);

/// Serves the front until it is gone or has let go of the lock.
pub(super) fn serve(options: &RunOptions, link: Link, board: Board, front: OwnedFd) -> ! {
    // Not even what stands in the way of this may end as the front: it has its own exit.
    let keep = [link.as_fd(), board.fd(), front.as_fd()];
    if hook::leave_alone(&keep).is_ok() {
        let mut back = Back {
            options,
            outbox: Outbox::new(link),
            board,
            front,
            client: None,
            grace: Duration::ZERO,
            state: State::Idle,
        };
        back.run();
        back.outbox.finish(clock::now() + LAST_WORD);
        // Waits for what is being undone.
        drop((back.state, back.client));
    }
    std::process::exit(0)
}

struct Back<'a> {
    options: &'a RunOptions,
    outbox: Outbox,
    board: Board,
    /// Readable once the front has ended.
    front: OwnedFd,
    client: Option<Client>,
    grace: Duration,
    state: State,
}

enum State {
    Idle,
    Wanting(Here),
    Holding(Holding),
}

struct Holding {
    guard: Guard,
    grace: Duration,
    /// The end that the guard was last seen to have.
    deadline: Duration,
    /// When the group is killed because the front has not ended it.
    kill_at: Option<Duration>,
    /// It was over for its work before the store had told of a loss: it may go on, for nothing.
    killed: bool,
}

impl Back<'_> {
    fn run(&mut self) {
        loop {
            self.outbox.flush();
            self.hear_lock();
            loop {
                match self.outbox.link().receive() {
                    Came::One(order) => {
                        if !self.obey(order) {
                            return;
                        }
                    }
                    Came::Nothing => break,
                    Came::Gone => return self.front_is_gone(),
                }
            }
            self.sleep();
        }
    }

    fn sleep(&self) {
        let mut fds: Vec<BorrowedFd<'_>> = vec![self.outbox.link().as_fd()];
        let mut limit = None;
        match &self.state {
            State::Idle => {}
            State::Wanting(pending) => {
                fds.extend(pending.fds());
                limit = pending.wake_after();
            }
            State::Holding(holding) => {
                if holding.kill_at.is_none() {
                    fds.extend(holding.guard.fds());
                }
                limit = Some(holding.wake_at().saturating_sub(clock::now()));
            }
        }
        clock::wait(fds.into_iter(), self.outbox.waits_for(), limit);
    }

    /// `false`: there is nothing left to do.
    fn obey(&mut self, order: Order) -> bool {
        match (order, std::mem::replace(&mut self.state, State::Idle)) {
            (Order::Want(limit), _) => {
                let patience = match limit {
                    None => Patience::Forever,
                    Some(Duration::ZERO) => Patience::Now,
                    Some(limit) => Patience::For(limit),
                };
                match self.begin(patience) {
                    Ok(pending) => self.state = State::Wanting(pending),
                    Err(news) => self.outbox.tell(news),
                }
                true
            }
            (Order::Leave, state) => {
                match state {
                    State::Wanting(pending) => pending.leave(),
                    State::Holding(holding) => self.end(holding, clock::now() + END),
                    State::Idle => {}
                }
                self.outbox.tell(News::Left);
                true
            }
            (Order::Release(rest), State::Holding(holding)) => {
                let released = match rest {
                    Some(rest) => holding.guard.release_after(rest),
                    None => holding.guard.release(),
                };
                let news = match released {
                    Ok(Released::Released) => News::Released,
                    Ok(Released::Lost(lost)) => News::Lost { why: why(&lost) },
                    Err(error) => News::NotReleased { text: error.to_string() },
                };
                self.outbox.tell(news);
                false
            }
            (Order::Release(_), state) => {
                self.state = state;
                true
            }
        }
    }

    fn begin(&mut self, patience: Patience) -> Result<Here, News> {
        let failed =
            |e: tenure::Error| News::Failed { may_pass: e.is_retryable(), text: e.to_string() };
        let refused = |failure: Failure| News::Failed {
            may_pass: false,
            text: failure.text.unwrap_or_default(),
        };
        if self.client.is_none() {
            let client = connect(&self.options.want.store).map_err(failed)?;
            let client = match &self.options.want.id {
                Some(id) => client.with_id(id).map_err(failed)?,
                None => client,
            };
            parent::refuse_own(&client, &self.options.want.name).map_err(refused)?;
            self.client = Some(client);
        }
        let Some(client) = &self.client else { return Err(News::Left) };
        let lock: Lock = run::lock(client, self.options).map_err(refused)?;
        self.grace = lock.grace();
        let pending: Pending = lock.start(patience).map_err(failed)?;
        Ok(Here { pending, renews: true })
    }

    /// Passes on what the lock tells.
    fn hear_lock(&mut self) {
        match &mut self.state {
            State::Idle => {}
            State::Wanting(pending) => {
                while let Some(news) = hear(pending) {
                    let failed = matches!(news, Ok(News::Failed { .. }));
                    match news {
                        Ok(news) => self.outbox.tell(news),
                        Err(guard) => return self.acquired(guard),
                    }
                    if failed {
                        // The front says when to try anew.
                        self.state = State::Idle;
                        return;
                    }
                }
            }
            State::Holding(holding) => {
                holding.hear(&mut self.outbox, &self.board);
                if holding.killed && self.board.end_group(clock::now()) {
                    self.give_back();
                }
            }
        }
    }

    /// Ends a hold whose work has been ended here: a front that is stopped may not for long.
    fn give_back(&mut self) {
        if let State::Holding(holding) = std::mem::replace(&mut self.state, State::Idle) {
            let _ = holding.guard.release();
        }
    }

    fn acquired(&mut self, guard: Guard) {
        let store = self.client.as_ref().map(Client::store).unwrap_or_default();
        let (token, id, deadline) = (guard.token(), guard.id().to_owned(), deadline_of(&guard));
        let grace = self.grace;
        self.board.set_deadline(deadline);
        self.state =
            State::Holding(Holding { guard, grace, deadline, kill_at: None, killed: false });
        self.outbox.tell(News::Acquired { token, id, store, grace });
    }

    /// Ends what it has left behind, and then the hold: the next in line need not wait for its ttl.
    fn front_is_gone(&mut self) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => {}
            State::Wanting(pending) => pending.leave(),
            State::Holding(holding) => {
                // Its death has then ended the command itself, and nothing more is born of that.
                let limit = clock::now() + END;
                self.board.kill_group();
                let left = limit.min(holding.deadline).saturating_sub(clock::now());
                clock::wait(std::iter::once(self.front.as_fd()), None, Some(left));
                self.end(holding, limit);
            }
        }
    }

    /// Gives a hold back if nothing is left of its work by then.
    fn end(&self, holding: Holding, limit: Duration) {
        if self.board.end_group(limit.min(holding.deadline)) {
            let _ = holding.guard.release();
        } else {
            // The hold ends by its ttl: whoever comes next waits for that.
            std::mem::forget(holding.guard);
        }
    }
}

/// The next news of a contender, or its hold.
fn hear(pending: &mut Here) -> Option<Result<News, Guard>> {
    match pending.poll() {
        Ok(None) => None,
        Ok(Some(Step::Acquired(guard))) => Some(Err(guard)),
        Ok(Some(Step::Waiting(waiting))) => Some(Ok(News::Waiting(waiting))),
        Ok(Some(Step::Busy(by))) => Some(Ok(News::Busy(by))),
        Ok(Some(Step::TimedOut(by))) => Some(Ok(News::TimedOut(by))),
        Err(error) => {
            let text = error.to_string();
            Some(Ok(News::Failed { may_pass: error.is_retryable(), text }))
        }
    }
}

impl Holding {
    /// Passes on what became of the hold, and kills where the front should have.
    fn hear(&mut self, outbox: &mut Outbox, board: &Board) {
        let mut lost = None;
        while let Some(news) = self.guard.news() {
            match news {
                // It lasts on only until what was killed has ended.
                LockNews::Renewed if self.killed => {}
                LockNews::Renewed => {
                    self.deadline = deadline_of(&self.guard);
                    board.set_deadline(self.deadline);
                    // A front that is stopped does not read; it will look at the board.
                    outbox.tell(News::Renewed);
                }
                LockNews::Lost(cause) => lost = Some(why(&cause)),
                _ => {}
            }
        }
        let now = clock::now();
        // Later than the front does it, and before anybody else can hold.
        let last = self.deadline.saturating_sub(lead(self.grace) / 2);
        if let Some(why) = lost.filter(|_| self.kill_at.is_none()) {
            let soon = now + self.grace.min(AFTER_LOSS) + lead(self.grace) / 2;
            self.kill_at = Some(soon.min(last));
            outbox.tell(News::Lost { why });
        }
        if now >= self.kill_at.unwrap_or(last) {
            board.kill_group();
            if self.kill_at.is_none() {
                // Also where nothing has begun yet: what comes back is not gone on with.
                self.killed = true;
                outbox.tell(News::Lost { why: "it was not renewed in time".to_owned() });
            }
            self.kill_at = Some(now + if self.killed { SOON } else { AGAIN });
        }
    }

    fn wake_at(&self) -> Duration {
        self.kill_at.unwrap_or_else(|| self.deadline.saturating_sub(lead(self.grace) / 2))
    }
}

/// By the boot-time clock; never later than it is.
fn deadline_of(guard: &Guard) -> Duration {
    let now = clock::now();
    guard.deadline().map_or(now, |deadline| now + deadline.remaining())
}
