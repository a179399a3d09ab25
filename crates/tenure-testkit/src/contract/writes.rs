//! A write is the whole change or nothing, and one of several on one condition.

use std::sync::Barrier;
use std::thread;

use tenure_core::{Change, Mark, Record};
use tenure_store::{Conditional, Snapshot, Stored};

use super::hand::{Hand, held, releasing, token};
use super::{Subject, Verdict, ensure};

const RIVALS: usize = 4;
const ROUNDS: usize = 25;

pub(super) fn a_done_write_is_the_whole_change_and_what_is_read_next(subject: &Subject) -> Verdict {
    let (a, b) = (subject.hand("whole")?, subject.hand("whole")?);
    let mut stored = done_whole(&a, None, &a.taking(None))?;
    stored = done_whole(&a, Some(&stored), &a.renewing(&stored))?;
    if a.store.capabilities().queue {
        stored = done_whole(&b, Some(&stored), &b.joining(&stored))?;
        // A take that strikes out the taker's own place in line: two parts, one write.
        let place = stored.record.queue.front().map_or(Mark::default(), |w| w.mark);
        let mut take = b.taking(Some(&stored));
        if let Change::Take { strike, .. } = &mut take {
            strike.push(place);
        }
        stored = done_whole(&b, Some(&stored), &take)?;
        ensure!(stored.record.queue.is_empty(), "a take leaves the taker in line: {stored:?}");
        stored = done_whole(&a, Some(&stored), &a.joining(&stored))?;
        let place = stored.record.queue.front().map_or(Mark::default(), |w| w.mark);
        stored = done_whole(&a, Some(&stored), &Change::Leave { strike: vec![place] })?;
    }
    stored = done_whole(&b, Some(&stored), &b.taking(Some(&stored)))?;
    stored = done_whole(&b, Some(&stored), &releasing(&stored, None))?;
    ensure!(stored.record.holder.is_none(), "a released lock is held: {stored:?}");
    Ok(())
}

/// Carries out `change`, which must leave what the change says and what is read next.
pub(super) fn done_whole(
    hand: &Hand,
    judged: Option<&Stored>,
    change: &Change,
) -> Result<Stored, String> {
    let done = hand.done(judged, change)?;
    let given = if change.begins_hold() { token(&done)? } else { Default::default() };
    let wanted = after(judged, change, given);
    ensure!(
        kept(&done.record) == kept(&wanted),
        "{change:?} gives {:?} instead of {wanted:?}",
        done.record
    );
    let read = hand.read()?;
    let Snapshot::Is(read) = read else {
        ensure!(done.is_gone(), "a write gives {done:?} and a read then finds nothing");
        return Ok(done);
    };
    ensure!(!done.is_gone(), "a write leaves nothing and a read then finds {read:?}");
    ensure!(
        read.version == done.version && read.record == done.record,
        "a write gives {done:?} and a read then {read:?}"
    );
    Ok(done)
}

/// The record after `change`.
pub(super) fn after(judged: Option<&Stored>, change: &Change, given: tenure_core::Token) -> Record {
    let mut record = judged.map_or_else(Record::default, |s| Record::clone(&s.record));
    record.apply(change, given);
    record
}

/// What every format keeps of a record.
pub(super) fn kept(record: &Record) -> impl PartialEq + use<> {
    let holder = record.holder.as_ref();
    let holder = holder.map(|h| (h.id.clone(), h.mark, h.session, h.token, h.term));
    let line: Vec<_> =
        record.queue.iter().map(|w| (w.id.clone(), w.mark, w.session, w.ticket, w.term)).collect();
    (holder, line)
}

pub(super) fn of_several_writes_on_one_condition_one_is_done(subject: &Subject) -> Verdict {
    let rivals = (0..RIVALS).map(|_| subject.hand("race")).collect::<Result<Vec<_>, _>>()?;
    let judge = subject.hand("race")?;
    for _ in 0..ROUNDS {
        race(&rivals, "create", |_, hand| attempt(hand, None))?;
        let created = judge.stored()?;
        race(&rivals, "take", |_, hand| attempt(hand, Some(&created)))?;
        let taken = judge.stored()?;
        // Half of them delete what the others renew.
        race(&rivals, "renew or delete", |i, hand| match i % 2 {
            0 => Ok(matches!(hand.delete(taken.version)?, Conditional::Done(()))),
            _ => Ok(matches!(
                hand.write(Some(&taken), &hand.renewing(&taken))?,
                Conditional::Done(_)
            )),
        })?;
        if let Some(left) = judge.read()?.stored() {
            judge.deleted(left)?;
        }
    }
    Ok(())
}

/// Whether a take was done; its mark must then be in the answer.
fn attempt(hand: &Hand, judged: Option<&Stored>) -> Result<bool, String> {
    let change = hand.taking(judged);
    match hand.write(judged, &change)? {
        Conditional::Conflict => Ok(false),
        Conditional::Done(stored) => {
            let (found, ours) = (held(&stored.record), change.mark());
            ensure!(Some(found) == ours, "a done take gives the mark {found:?}, not {ours:?}");
            Ok(true)
        }
    }
}

/// Lets all write at once; exactly one must be told that it was done.
fn race(
    rivals: &[Hand],
    what: &str,
    write: impl Fn(usize, &Hand) -> Result<bool, String> + Sync,
) -> Verdict {
    let start = Barrier::new(rivals.len());
    let done: Result<Vec<bool>, String> = thread::scope(|scope| {
        let threads: Vec<_> = rivals
            .iter()
            .enumerate()
            .map(|(i, hand)| {
                let (start, write) = (&start, &write);
                scope.spawn(move || {
                    start.wait();
                    write(i, hand)
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap_or(Err("a rival panicked".into()))).collect()
    });
    let done = done?.into_iter().filter(|done| *done).count();
    ensure!(done == 1, "{what}: {done} of {} writes on one condition were done", rivals.len());
    Ok(())
}
