//! The whole at work: claims that take turns at something that suffers no two at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tenure_core::Token;
use tenure_store::{Name, Store};

use super::{Subject, Verdict, ensure};
use crate::Contender;

const WRITERS: usize = 5;
const TIMES: u64 = 20;
const PAUSE: Duration = Duration::from_micros(100);

/// Takes the lock `name` so many times, and does `work` with its token each time it has it.
///
/// # Errors
/// A line that says what went wrong: no turn within `patience`, an error of the store or of `work`.
pub fn count_up(
    store: Arc<dyn Store>,
    name: &str,
    times: u64,
    patience: Duration,
    mut work: impl FnMut(Token) -> Verdict,
) -> Verdict {
    let name = Name::new(name).map_err(|e| e.to_string())?;
    let mut contender = Contender::new(store, name, "counter")?;
    for _ in 0..times {
        let token = contender.acquire(patience)?;
        work(token)?;
        contender.release()?;
    }
    Ok(())
}

pub(super) fn claims_count_exactly(subject: &Subject) -> Verdict {
    let counter = AtomicU64::new(0);
    let tokens = Mutex::new(Vec::new());
    // Reads, lets others run, writes: two at once lose a count. The pause is what makes them meet.
    let work = |token| {
        let before = counter.load(Ordering::Relaxed);
        thread::sleep(PAUSE);
        counter.store(before + 1, Ordering::Relaxed);
        tokens.lock().unwrap_or_else(PoisonError::into_inner).push(token);
        Ok(())
    };
    // Each of them may have to wait for all the others.
    let patience = subject.patience * 6;
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let store = subject.open();
                scope.spawn(move || count_up(store, "counter", TIMES, patience, work))
            })
            .collect();
        writers.into_iter().try_for_each(|w| w.join().unwrap_or(Err("a writer panicked".into())))
    })?;
    let (counted, wanted) = (counter.into_inner(), TIMES * WRITERS as u64);
    ensure!(counted == wanted, "{wanted} increments under the lock count up to {counted}");
    let tokens = tokens.into_inner().unwrap_or_else(PoisonError::into_inner);
    ensure!(
        tokens.is_sorted_by(|a, b| a < b),
        "the tokens of holds one after the other do not rise: {tokens:?}"
    );
    Ok(())
}
