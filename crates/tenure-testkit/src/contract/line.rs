//! Waiters stand in the record in the order they came, where the store has a line at all.

use tenure_core::{Change, Mark};
use tenure_store::{Error, Stored};

use super::hand::{Hand, held, releasing};
use super::writes::done_whole;
use super::{Subject, Verdict, ensure};
use crate::block_on_for;

pub(super) fn waiters_stand_in_line_where_the_store_has_one(subject: &Subject) -> Verdict {
    let holder = subject.hand("line")?;
    let held = holder.take(None)?;
    if holder.store.capabilities().queue { in_line(subject, held) } else { refused(&holder, &held) }
}

fn in_line(subject: &Subject, mut stored: Stored) -> Verdict {
    let waiters = (0..4).map(|_| subject.hand("line")).collect::<Result<Vec<_>, _>>()?;
    let mut marks = Vec::new();
    for waiter in &waiters {
        let join = waiter.joining(&stored);
        stored = done_whole(waiter, Some(&stored), &join)?;
        marks.push(join.mark().unwrap_or_default());
        let line = line(&stored);
        ensure!(line == marks, "the line is {line:?} where {marks:?} came in this order");
    }
    let tickets: Vec<u64> = stored.record.queue.iter().map(|w| w.ticket).collect();
    ensure!(tickets.is_sorted_by(|a, b| a < b), "the tickets of a line do not rise: {tickets:?}");
    // One leaves from the middle; the others keep their order.
    let gone = marks.remove(1);
    stored = done_whole(&waiters[1], Some(&stored), &Change::Leave { strike: vec![gone] })?;
    while !marks.is_empty() {
        let next = marks.remove(0);
        stored = done_whole(&waiters[0], Some(&stored), &releasing(&stored, Some(next)))?;
        let (holds, line) = (held(&stored.record), line(&stored));
        ensure!(
            holds == next && line == marks,
            "after a hand-over to {next:?} it is held by {holds:?}, the line is {line:?}"
        );
    }
    Ok(())
}

fn line(stored: &Stored) -> Vec<Mark> {
    stored.record.queue.iter().map(|w| w.mark).collect()
}

fn refused(hand: &Hand, held: &Stored) -> Verdict {
    let join = hand.joining(held);
    let request = hand.store.write_if(&hand.name, Some(held), &join);
    let answer = block_on_for(hand.patience, request);
    ensure!(
        matches!(answer, Some(Err(Error::Unsupported(_)))),
        "a store without a line answers {answer:?} to one who joins it"
    );
    let found = hand.stored()?;
    ensure!(found.version == held.version, "a refused write leaves {found:?}");
    Ok(())
}
