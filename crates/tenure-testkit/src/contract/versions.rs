//! Versions order the states of a name, and conditions name exactly one of them.

use tenure_store::{Conditional, Stored};

use super::hand::{Hand, releasing};
use super::{Subject, Verdict, ensure};

pub(super) fn revisions_rise_with_every_write_also_across_deletion(subject: &Subject) -> Verdict {
    let hand = subject.hand("rise")?;
    let mut last = 0;
    for _ in 0..3 {
        let taken = hand.take(None)?;
        let renewed = hand.renew(&taken)?;
        let released = hand.release(&renewed, None)?;
        let retaken = hand.take(Some(&released))?;
        for revision in [&taken, &renewed, &released, &retaken].map(|s| s.version.revision) {
            ensure!(revision > last, "revision {revision} follows {last}");
            last = revision;
        }
        hand.deleted(&retaken)?;
    }
    Ok(())
}

pub(super) fn every_creation_is_an_incarnation_of_its_own(subject: &Subject) -> Verdict {
    let hand = subject.hand("incarnation")?;
    let mut earlier = Vec::new();
    for _ in 0..3 {
        let created = hand.take(None)?;
        let (was, is) = (created.version.incarnation, hand.renew(&created)?.version.incarnation);
        ensure!(was == is, "a renewal changes the incarnation from {was} to {is}");
        ensure!(!earlier.contains(&is), "incarnation {is} comes a second time");
        earlier.push(is);
        hand.deleted(&hand.stored()?)?;
    }
    Ok(())
}

pub(super) fn a_condition_on_an_earlier_state_conflicts(subject: &Subject) -> Verdict {
    let hand = subject.hand("earlier")?;
    let first = hand.take(None)?;
    let second = hand.renew(&first)?;
    refused(&hand, Some(&first), &second)?;
    let third = hand.renew(&second)?;
    refused(&hand, Some(&first), &third)?;
    refused(&hand, Some(&second), &third)
}

pub(super) fn a_condition_on_an_earlier_incarnation_conflicts(subject: &Subject) -> Verdict {
    let hand = subject.hand("again")?;
    let first = hand.take(None)?;
    let renewed = hand.renew(&first)?;
    hand.deleted(&renewed)?;
    // As many writes as the first time: one who counts per incarnation is at the same number.
    let again = hand.take(None)?;
    refused(&hand, Some(&first), &again)?;
    let again = hand.renew(&again)?;
    refused(&hand, Some(&renewed), &again)?;
    refused_deletion(&hand, &renewed)?;
    unchanged(&hand, &again)
}

pub(super) fn expecting_nothing_conflicts_with_a_record(subject: &Subject) -> Verdict {
    let hand = subject.hand("create")?;
    let taken = hand.take(None)?;
    refused(&hand, None, &taken)?;
    // A lock that is free has a record all the same.
    let released = hand.release(&taken, None)?;
    if released.is_gone() {
        // Unless the format has no place for one.
        let found = hand.read()?;
        ensure!(found.stored().is_none(), "a release that leaves nothing leaves {found:?}");
        return Ok(());
    }
    refused(&hand, None, &released)
}

pub(super) fn expecting_a_record_conflicts_with_nothing(subject: &Subject) -> Verdict {
    let hand = subject.hand("update")?;
    let taken = hand.take(None)?;
    hand.deleted(&taken)?;
    for change in [hand.renewing(&taken), hand.taking(Some(&taken)), releasing(&taken, None)] {
        let answer = hand.write(Some(&taken), &change)?;
        ensure!(answer == Conditional::Conflict, "a write on a deleted record is {answer:?}");
        let found = hand.read()?;
        ensure!(found.stored().is_none(), "a write on a deleted record leaves {found:?}");
    }
    Ok(())
}

pub(super) fn a_deletion_is_conditional_too(subject: &Subject) -> Verdict {
    let hand = subject.hand("delete")?;
    let first = hand.take(None)?;
    let second = hand.renew(&first)?;
    refused_deletion(&hand, &first)?;
    unchanged(&hand, &second)?;
    hand.deleted(&second)?;
    let found = hand.read()?;
    ensure!(found.stored().is_none(), "a deleted record is still read: {found:?}");
    refused_deletion(&hand, &second)
}

/// A write on `judged` conflicts and leaves `current`.
fn refused(hand: &Hand, judged: Option<&Stored>, current: &Stored) -> Verdict {
    let answer = hand.write(judged, &hand.taking(judged))?;
    let (at, is) = (judged.map(|s| s.version), current.version);
    ensure!(
        answer == Conditional::Conflict,
        "a write on {at:?} is {answer:?} though the record is at {is:?}"
    );
    unchanged(hand, current)
}

fn refused_deletion(hand: &Hand, expected: &Stored) -> Verdict {
    let answer = hand.delete(expected.version)?;
    let at = expected.version;
    ensure!(answer == Conditional::Conflict, "a deletion of the earlier state {at:?} is done");
    Ok(())
}

fn unchanged(hand: &Hand, current: &Stored) -> Verdict {
    let found = hand.stored()?;
    ensure!(
        found.version == current.version && found.record == current.record,
        "a conflict changed the record from {current:?} to {found:?}"
    );
    Ok(())
}
