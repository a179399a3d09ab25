//! Drops one future at one of its polls.
//!
//! Owns the count of polls of everything that users wait for. Cut `2n - 1` drops what is to be
//! polled the `n`-th time in the run, with whatever woke it still unseen; cut `2n` drops it right
//! after that poll, if it goes on waiting.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::task::{Context, Poll};

thread_local! {
    static CUT: Cell<u64> = const { Cell::new(0) };
    /// Which operation each poll was of.
    static POLLS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// Begins to count anew; 0 cuts nothing.
pub(crate) fn begin(cut: u64) {
    CUT.set(cut);
    POLLS.take();
}

/// The operation of each poll there was.
pub(crate) fn polls() -> Vec<u32> {
    POLLS.take()
}

/// A future that may be dropped: then its output is `None`.
pub(crate) struct Cut<F> {
    operation: u32,
    future: Option<Pin<Box<F>>>,
}

/// Waits for `future`, a part of this operation.
pub(crate) fn cut<F: Future>(operation: u32, future: F) -> Cut<F> {
    Cut { operation, future: Some(Box::pin(future)) }
}

impl<F: Future> Future for Cut<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let operation = self.operation;
        let n = POLLS.with_borrow_mut(|polls| {
            polls.push(operation);
            polls.len() as u64
        });
        if CUT.get() == 2 * n - 1 {
            self.future = None;
        }
        let Some(future) = &mut self.future else { return Poll::Ready(None) };
        let output = future.as_mut().poll(cx);
        if output.is_pending() && CUT.get() == 2 * n {
            self.future = None;
            return Poll::Ready(None);
        }
        output.map(Some)
    }
}
