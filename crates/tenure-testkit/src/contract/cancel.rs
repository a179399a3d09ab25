//! What dropping a request does: nothing, or for a write a whole one with unknown outcome.

use std::pin::pin;
use std::task::{Context, Waker};

use tenure_core::Change;
use tenure_store::{Conditional, Snapshot, Stored};

use super::hand::{Hand, releasing};
use super::writes::{after, kept};
use super::{Subject, Verdict, ensure};

/// How many polls a request gets before it is dropped, in turn.
const POLLS: std::ops::Range<usize> = 1..6;
/// How often a write is judged anew because a dropped one landed late.
const TRIES: usize = 100;

pub(super) fn a_future_does_nothing_before_it_is_polled(subject: &Subject) -> Verdict {
    let hand = subject.hand("unpolled")?;
    let take = hand.taking(None);
    drop(hand.store.write_if(&hand.name, None, &take));
    let found = hand.read()?;
    ensure!(found.stored().is_none(), "a write that nobody polled leaves {found:?}");
    let taken = hand.take(None)?;
    let renew = hand.renewing(&taken);
    drop(hand.store.write_if(&hand.name, Some(&taken), &renew));
    drop(hand.store.delete_if(&hand.name, taken.version));
    let found = hand.stored()?;
    ensure!(found.version == taken.version, "a request that nobody polled leaves {found:?}");
    Ok(())
}

pub(super) fn a_dropped_request_is_whole_and_blocks_nobody(subject: &Subject) -> Verdict {
    let (hand, other) = (subject.hand("dropped")?, subject.hand("dropped")?);
    for polls in POLLS {
        drop_readers(&hand, polls);
        let stood = current(&other)?;
        let take = hand.taking(Some(&stood));
        poll(polls, hand.store.write_if(&hand.name, Some(&stood), &take));
        whole(&other, &stood, &take)?;
        let stood = current(&other)?;
        let release = releasing(&stood, None);
        poll(polls, hand.store.write_if(&hand.name, Some(&stood), &release));
        whole(&other, &stood, &release)?;
        let stood = current(&other)?;
        poll(polls, hand.store.delete_if(&hand.name, stood.version));
        if let Snapshot::Is(found) = other.read()? {
            ensure!(found.record == stood.record, "a dropped deletion leaves {found:?}");
        }
        writable(&other)?;
    }
    Ok(())
}

fn drop_readers(hand: &Hand, polls: usize) {
    poll(polls, hand.store.session());
    poll(polls, hand.store.probe(hand.session));
    poll(polls, hand.store.read(&hand.name));
    poll(polls, hand.store.list());
    let mut watch = hand.store.watch(&hand.name);
    poll(polls, std::future::poll_fn(|cx| watch.as_mut().poll_next(cx)));
}

/// Polls a request a few times, then drops it.
fn poll<F: Future>(times: usize, request: F) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut request = pin!(request);
    for _ in 0..times {
        if request.as_mut().poll(&mut cx).is_ready() {
            return;
        }
    }
}

/// The record of somebody who holds.
fn current(hand: &Hand) -> Result<Stored, String> {
    writable(hand)?;
    hand.stored()
}

/// The record is what it was, or what `change` makes of it.
fn whole(hand: &Hand, stood: &Stored, change: &Change) -> Verdict {
    let found = hand.read()?;
    let Snapshot::Is(found) = found else {
        // A release may leave nothing; no other write does.
        let released = matches!(change, Change::Release { .. });
        ensure!(released, "{change:?} was dropped and left nothing");
        return Ok(());
    };
    let token = found.record.holder.as_ref().map_or_else(Default::default, |h| h.token);
    let done = after(Some(stood), change, token);
    ensure!(
        found.version == stood.version && found.record == stood.record
            || found.version != stood.version && kept(&found.record) == kept(&done),
        "{change:?} was dropped and left {found:?}"
    );
    Ok(())
}

/// Somebody else can take the lock, though what was dropped may land in between.
fn writable(hand: &Hand) -> Verdict {
    for _ in 0..TRIES {
        let seen = hand.read()?;
        let judged = seen.stored();
        if let Conditional::Done(_) = hand.write(judged, &hand.taking(judged))? {
            return Ok(());
        }
    }
    Err(format!("{TRIES} writes conflict after a request was dropped"))
}
