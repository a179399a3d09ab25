//! Tags stand in the record from a take or a release on, where the store has a place for them.

use tenure_core::{Change, Text};
use tenure_store::{Error, Snapshot, Stored};

use super::hand::{Hand, releasing};
use super::{Subject, Verdict, ensure};
use crate::block_on_for;

pub(super) fn tags_stand_there_until_others_are_brought(subject: &Subject) -> Verdict {
    let hand = subject.hand("tags")?;
    if hand.store.capabilities().tags { kept(&hand) } else { left_out(&hand) }
}

fn kept(hand: &Hand) -> Verdict {
    let mut stored = hand.done(None, &tagged(hand.taking(None), &["a", "b"]))?;
    stands(hand, &stored, &["a", "b"])?;
    stored = hand.renew(&stored)?;
    stands(hand, &stored, &["a", "b"])?;
    stored = hand.done(Some(&stored), &tagged(releasing(&stored, None), &["c"]))?;
    stands(hand, &stored, &["c"])?;
    stored = hand.take(Some(&stored))?;
    stands(hand, &stored, &["c"])?;
    stored = hand.release(&stored, None)?;
    stands(hand, &stored, &["c"])
}

/// A take that brings some is refused, and a release is done without them: a lock must not stay
/// busy for a label.
fn left_out(hand: &Hand) -> Verdict {
    let take = tagged(hand.taking(None), &["a"]);
    let answer = block_on_for(hand.patience, hand.store.write_if(&hand.name, None, &take));
    ensure!(
        matches!(answer, Some(Err(Error::Unsupported(_)))),
        "a take with tags, which have no place here, gives {answer:?}"
    );
    let stored = hand.take(None)?;
    let stored = hand.done(Some(&stored), &tagged(releasing(&stored, None), &["a"]))?;
    ensure!(stored.record.holder.is_none(), "a release with tags leaves {stored:?}");
    ensure!(stored.record.tags.is_empty(), "a store without tags gives {stored:?}");
    Ok(())
}

fn stands(hand: &Hand, done: &Stored, tags: &[&str]) -> Verdict {
    let read = hand.read()?;
    let Snapshot::Is(read) = &read else { return Err(format!("nothing stands there: {read:?}")) };
    for stored in [done, read] {
        let found: Vec<&str> = stored.record.tags.iter().map(|tag| &**tag).collect();
        ensure!(found == tags, "{found:?} stand where {tags:?} were brought");
    }
    Ok(())
}

fn tagged(mut change: Change, with: &[&str]) -> Change {
    if let Change::Take { tags, .. } | Change::Release { tags, .. } = &mut change {
        *tags = with.iter().map(|tag| Text::from(*tag)).collect();
    }
    change
}
