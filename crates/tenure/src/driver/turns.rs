//! One turn, taken by one at a time, in the order in which they came.
//!
//! The turn lies in one place of three: with whoever took it; in `free`; or in the line, on its way to
//! the first who stands there, or left there by one who went away just then. Who takes it while
//! nobody stands in line touches `free` alone.
//!
//! **It is never lost**: who is about to stand in line counts itself and then looks whether the turn
//! is free, and who gives it back sets it free and then looks whether anybody is counted. One of the
//! two sees the other, and if both do, one of them takes it out of `free`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use tokio::sync::{Semaphore, TryAcquireError};

#[derive(Debug)]
pub(super) struct Turns {
    free: AtomicBool,
    /// How many stand in line, or are about to.
    waiting: AtomicUsize,
    /// A permit in it is the turn.
    line: Semaphore,
}

/// Why there is no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoTurn {
    /// Somebody has it, or stands in line.
    Taken,
    /// Nobody gets it any more.
    Closed,
}

impl Turns {
    pub(super) const fn new() -> Self {
        let (free, waiting) = (AtomicBool::new(true), AtomicUsize::new(0));
        Self { free, waiting, line: Semaphore::const_new(0) }
    }

    /// Takes the turn if it is nobody's and nobody stands in line.
    pub(super) fn try_take(&self) -> Result<(), NoTurn> {
        if self.line.is_closed() {
            return Err(NoTurn::Closed);
        }
        if self.waiting.load(SeqCst) == 0 && self.free.swap(false, SeqCst) {
            return Ok(());
        }
        match self.line.try_acquire() {
            Ok(left) => {
                left.forget();
                Ok(())
            }
            Err(TryAcquireError::NoPermits) => Err(NoTurn::Taken),
            Err(TryAcquireError::Closed) => Err(NoTurn::Closed),
        }
    }

    /// Waits for the turn. Dropping the future leaves the line.
    pub(super) async fn take(&self) -> Result<(), NoTurn> {
        if self.line.is_closed() {
            return Err(NoTurn::Closed);
        }
        let alone = self.waiting.fetch_add(1, SeqCst) == 0;
        let _counted = Counted(&self.waiting);
        // Else the turn goes to those who came before.
        if alone && self.free.swap(false, SeqCst) {
            return Ok(());
        }
        self.line.acquire().await.map_err(|_| NoTurn::Closed)?.forget();
        Ok(())
    }

    /// Gives the turn back, to the first in line where anybody stands there. Only for who has it.
    pub(super) fn give(&self) {
        self.free.store(true, SeqCst);
        if self.waiting.load(SeqCst) > 0 && self.free.swap(false, SeqCst) {
            self.line.add_permits(1);
        }
    }

    /// Sends everybody away who stands in line or comes later.
    pub(super) fn close(&self) {
        self.line.close();
    }
}

/// One who stands in line.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use std::pin::pin;
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll, Wake, Waker};
    use std::thread::{self, Thread};

    use super::*;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn it_goes_to_who_came_first_and_past_who_went_away() {
        let turns = Turns::new();
        turns.try_take().unwrap();
        assert_eq!(turns.try_take(), Err(NoTurn::Taken));
        let (mut first, mut second) = (Box::pin(turns.take()), pin!(turns.take()));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        turns.give();
        assert_eq!(turns.try_take(), Err(NoTurn::Taken), "it is the first one's");
        assert!(poll(second.as_mut()).is_pending());
        drop(first);
        assert_eq!(poll(second.as_mut()), Poll::Ready(Ok(())));
        turns.give();
        turns.try_take().unwrap();
    }

    #[test]
    fn what_one_left_who_went_away_is_there_for_the_next() {
        for waits in [false, true] {
            let turns = Turns::new();
            turns.try_take().unwrap();
            let mut gone = Box::pin(turns.take());
            assert!(poll(gone.as_mut()).is_pending());
            turns.give();
            drop(gone);
            if waits {
                assert_eq!(poll(pin!(turns.take())), Poll::Ready(Ok(())));
            } else {
                turns.try_take().unwrap();
            }
            assert_eq!(turns.try_take(), Err(NoTurn::Taken), "there is one turn");
        }
    }

    #[test]
    fn nobody_gets_it_once_it_is_closed() {
        let turns = Turns::new();
        turns.try_take().unwrap();
        let mut waits = pin!(turns.take());
        assert!(poll(waits.as_mut()).is_pending());
        turns.close();
        assert_eq!(poll(waits.as_mut()), Poll::Ready(Err(NoTurn::Closed)));
        turns.give();
        assert_eq!(turns.try_take(), Err(NoTurn::Closed));
        assert_eq!(poll(pin!(turns.take())), Poll::Ready(Err(NoTurn::Closed)));
    }

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    /// Takes the turn as the number says: at once or never, after a wait, or goes away at the first
    /// poll that finds it taken.
    fn take(turns: &Turns, how: u32) -> bool {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut take = pin!(turns.take());
        loop {
            match how % 4 {
                0 => return turns.try_take().is_ok(),
                way => match take.as_mut().poll(&mut Context::from_waker(&waker)) {
                    Poll::Ready(taken) => return taken.is_ok(),
                    Poll::Pending if way == 1 => return false,
                    Poll::Pending => thread::park(),
                },
            }
        }
    }

    #[test]
    fn threads_that_take_wait_and_go_away_lose_no_turn_and_make_none() {
        let (turns, mine) = (Turns::new(), Mutex::new(()));
        let taken = AtomicUsize::new(0);
        thread::scope(|s| {
            for thread in 0..4 {
                let (turns, mine, taken) = (&turns, &mine, &taken);
                s.spawn(move || {
                    for n in 0..20_000_u32 {
                        if !take(turns, n.wrapping_mul(2_654_435_761) >> 16 ^ thread) {
                            continue;
                        }
                        let alone = mine.try_lock().unwrap();
                        taken.fetch_add(1, SeqCst);
                        drop(alone);
                        turns.give();
                    }
                });
            }
        });
        assert!(taken.into_inner() >= 40_000, "two ways of four wait until they get it");
        turns.try_take().unwrap();
        assert_eq!(turns.try_take(), Err(NoTurn::Taken));
    }
}
