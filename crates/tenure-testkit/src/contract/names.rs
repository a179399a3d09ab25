//! Names are text, and each is a register of its own.

use std::collections::HashMap;

use tenure_core::Change;
use tenure_store::{Conditional, Error, Listed, Name, Stored};

use super::hand::{Hand, answered, held};
use super::{Subject, Verdict, ensure};
use crate::block_on_for;

/// Names that a careless store would take for one another or for a path.
fn alike() -> Vec<String> {
    let short = [
        "a", "A", "a ", " a", "a/b", "a_b", "a.b", "a%2Fb", "a%2fb", "a/../a", "./a", ".", "..",
        "...", "~", "%61", "é", "e\u{301}", "a:b", "a\\b", "*", "a~", "-a",
    ];
    let mut names: Vec<String> = short.map(String::from).to_vec();
    for length in [63, 199, 200, 201, 255, 1_022] {
        names.extend(["x", "y"].map(|end| format!("{}{end}", "x".repeat(length))));
    }
    names
}

pub(super) fn names_have_nothing_to_do_with_each_other(subject: &Subject) -> Verdict {
    let mut written: Vec<(Hand, Stored)> = Vec::new();
    for name in alike() {
        let hand = subject.hand(&name)?;
        written.extend(created(&hand)?.map(|stored| (hand, stored)));
    }
    ensure!(written.len() > 1, "nearly no name is valid");
    for (hand, stored) in &written {
        let read = hand.stored()?;
        let (found, ours) = (held(&read.record), held(&stored.record));
        ensure!(found == ours, "under {:?} stands the record of another name", hand.name);
    }
    let first = &written[0].0;
    first.deleted(&first.stored()?)?;
    for (hand, stored) in &written[1..] {
        let read = hand.stored()?;
        // Where names share an object its revision moves with all of them, and nothing else.
        let same = held(&read.record) == held(&stored.record)
            && read.version.incarnation == stored.version.incarnation;
        ensure!(same, "deleting {} changed {}", first.name, hand.name);
    }
    Ok(())
}

/// The record created under the hand's name; `None` where this store's names are narrower.
fn created(hand: &Hand) -> Result<Option<Stored>, String> {
    let take: Change = hand.taking(None);
    match block_on_for(hand.patience, hand.store.write_if(&hand.name, None, &take)) {
        Some(Ok(Conditional::Done(stored))) => Ok(Some(stored)),
        Some(Err(Error::Invalid(_))) => Ok(None),
        other => Err(format!("creating the lock {:?} is answered {other:?}", hand.name)),
    }
}

pub(super) fn a_listing_names_exactly_what_has_a_record(subject: &Subject) -> Verdict {
    let hands =
        (0..12).map(|i| subject.hand(&format!("list-{i}"))).collect::<Result<Vec<_>, _>>()?;
    let empty = listed(&hands[0])?;
    ensure!(empty.is_empty(), "a store that nobody used lists {empty:?}");
    let mut records = HashMap::new();
    for (i, hand) in hands.iter().enumerate() {
        let mut stored = hand.take(None)?;
        match i % 3 {
            0 => stored = hand.release(&stored, None)?,
            1 => hand.deleted(&stored)?,
            _ => {}
        }
        if i % 3 != 1 && !stored.is_gone() {
            records.insert(hand.name.clone(), (hand, stored));
        }
    }
    // Looking at a name, or watching it, makes no record.
    hands[1].read()?;
    let mut news = hands[4].watch();
    news.next()?;
    let all = listed(&hands[0])?;
    for Listed { name, stored } in &all {
        let found = stored.as_ref().map_err(|e| format!("the entry of {name} is an error: {e}"))?;
        let Some((hand, written)) = records.get(name) else {
            return Err(format!("{name} is listed but has no record"));
        };
        let expected = hand.stored()?;
        ensure!(
            held(&found.record) == held(&written.record),
            "{name} is listed as {found:?} where {written:?} was written"
        );
        ensure!(
            found.version == expected.version && found.record == expected.record,
            "{name} is listed as {found:?} where {expected:?} stands"
        );
    }
    let distinct: HashMap<&Name, ()> = all.iter().map(|entry| (&entry.name, ())).collect();
    ensure!(
        distinct.len() == records.len() && all.len() == records.len(),
        "{} entries, {} of them distinct, are listed of {} records",
        all.len(),
        distinct.len(),
        records.len()
    );
    Ok(())
}

fn listed(hand: &Hand) -> Result<Vec<Listed>, String> {
    answered(hand.patience, "list", hand.store.list())
}
