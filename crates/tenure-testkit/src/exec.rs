//! Runs one future on the calling thread, for a limited time.
//!
//! Polls only when woken: a store that forgets to wake is not helped by being asked again.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// A waker that its thread can wait for.
#[derive(Debug)]
pub(crate) struct Alarm {
    thread: Thread,
    rung: AtomicBool,
}

impl Alarm {
    /// An alarm for the calling thread, and the waker that rings it.
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let alarm = Arc::new(Self { thread: thread::current(), rung: AtomicBool::new(false) });
        (Arc::clone(&alarm), Waker::from(alarm))
    }

    /// Waits on its own thread until it rings, at most until `limit` after `began`; whether it did.
    pub(crate) fn rings_within(&self, began: Instant, limit: Duration) -> bool {
        while !self.rung.swap(false, Ordering::Acquire) {
            match limit.checked_sub(began.elapsed()) {
                None | Some(Duration::ZERO) => return false,
                Some(left) => thread::park_timeout(left),
            }
        }
        true
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// The output of `future`, or `None` if it has none within `limit`. A future that is ready at its
/// first poll always gives its output.
pub fn block_on_for<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let (alarm, waker) = Alarm::new();
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    let began = Instant::now();
    let mut over = false;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Some(output);
        }
        if over || !alarm.rings_within(began, limit) {
            return None;
        }
        // What rings without end gets no more time than what never rings.
        over = began.elapsed() >= limit;
    }
}

#[cfg(test)]
mod tests {
    use std::future;

    use super::*;

    #[test]
    fn it_gives_up_on_what_never_wakes_and_waits_for_what_does() {
        assert_eq!(block_on_for(Duration::ZERO, future::ready(1)), Some(1));
        assert_eq!(block_on_for(Duration::from_millis(5), future::pending::<()>()), None);
        let restless = future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert_eq!(block_on_for(Duration::from_millis(5), restless), None);
        let mut polls = 0;
        let thrice = future::poll_fn(|cx| {
            polls += 1;
            let waker = cx.waker().clone();
            thread::spawn(move || waker.wake());
            if polls == 3 { Poll::Ready(polls) } else { Poll::Pending }
        });
        assert_eq!(block_on_for(Duration::from_secs(60), thrice), Some(3));
    }
}
