//! A watch tells every state that stays, in order, and wakes who waits for it.

use std::thread;
use std::time::Instant;

use tenure_store::Snapshot;

use super::hand::held;
use super::{Subject, Verdict, ensure};
use crate::exec::Alarm;

pub(super) fn a_watch_begins_with_what_stands(subject: &Subject) -> Verdict {
    let hand = subject.hand("begin")?;
    let first = hand.watch().next()?;
    ensure!(first.stored().is_none(), "a watch on a name never written begins with {first:?}");
    let taken = hand.take(None)?;
    let renewed = hand.renew(&taken)?;
    let mut news = hand.watch();
    // Made before this write, polled after it: what stands is what stands at the poll.
    let current = hand.renew(&renewed)?;
    let first = news.next()?;
    let version = first.stored().map(|s| s.version);
    ensure!(version == Some(current.version), "a watch on {current:?} begins with {first:?}");
    hand.deleted(&current)?;
    let first = hand.watch().next()?;
    ensure!(first.stored().is_none(), "a watch on a deleted name begins with {first:?}");
    Ok(())
}

pub(super) fn a_watch_delivers_every_state_that_stays(subject: &Subject) -> Verdict {
    let (writer, watcher) = (subject.hand("stay")?, subject.hand("stay")?);
    let mut news = watcher.watch();
    for _ in 0..3 {
        let taken = news.woken_by(|| writer.take(None))?;
        news.until_is(&taken)?;
        let renewed = news.woken_by(|| writer.renew(&taken))?;
        news.until_is(&renewed)?;
        let freed = news.woken_by(|| writer.release(&renewed, None))?;
        news.until_is(&freed)?;
        let again = news.woken_by(|| writer.take(Some(&freed)))?;
        news.until_is(&again)?;
        news.woken_by(|| writer.deleted(&again))?;
        news.until_absent()?;
    }
    // Deleted and created between two polls: the creation is what stays.
    let taken = writer.take(None)?;
    news.until_is(&taken)?;
    writer.deleted(&taken)?;
    let created = writer.take(None)?;
    news.until_is(&created).map(|_| ())
}

pub(super) fn a_watch_never_goes_back(subject: &Subject) -> Verdict {
    let (writer, watcher) = (subject.hand("burst")?, subject.hand("burst")?);
    let first = writer.take(None)?;
    let mut news = watcher.watch();
    news.next()?;
    let last = "the last one";
    let told = thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut stored = first;
            for _ in 0..200 {
                stored = writer.renew(&stored)?;
            }
            let mut take = writer.taking(Some(&stored));
            if let tenure_core::Change::Take { holder, .. } = &mut take {
                holder.id = last.into();
            }
            writer.done(Some(&stored), &take)
        });
        let is_last = |news: &Snapshot| {
            let holder = news.stored().and_then(|s| s.record.holder.as_ref());
            holder.is_some_and(|h| &*h.id == last)
        };
        let told = news.until(is_last);
        writing.join().unwrap_or(Err("the writer panicked".into()))?;
        told
    })?;
    let revisions: Vec<u64> = told.iter().map(Snapshot::revision).collect();
    ensure!(revisions.is_sorted(), "a watch went back: {revisions:?}");
    let final_version = watcher.stored()?.version;
    // Nothing older comes after the last state either.
    let late = late(&mut news)?;
    ensure!(
        late.iter().all(|news| news.revision() == final_version.revision),
        "after the last state came {late:?}"
    );
    Ok(())
}

/// What a watch still tells though nobody writes any more.
fn late(news: &mut super::hand::News) -> Result<Vec<Snapshot>, String> {
    let (_, waker) = Alarm::new();
    news.rest(&waker)
}

pub(super) fn watches_do_not_disturb_each_other(subject: &Subject) -> Verdict {
    let (one, two) = (subject.hand("one")?, subject.hand("two")?);
    let (mut leaves, mut first, mut second) = (one.watch(), one.watch(), one.watch());
    let mut other = two.watch();
    let alarms = [Alarm::new(), Alarm::new(), Alarm::new(), Alarm::new()];
    let watches = [&mut leaves, &mut first, &mut second, &mut other];
    for (watch, (_, waker)) in watches.into_iter().zip(&alarms) {
        watch.rest(waker)?;
    }
    drop(leaves);
    let taken = one.take(None)?;
    let began = Instant::now();
    for (alarm, _) in &alarms[1..3] {
        ensure!(
            alarm.rings_within(began, subject.patience),
            "of two watches on a name one was not woken within {:?}",
            subject.patience
        );
    }
    first.until_is(&taken)?;
    second.until_is(&taken)?;
    let mut told = other.rest(&alarms[3].1)?;
    let theirs = two.take(None)?;
    told.extend(other.until_is(&theirs)?);
    let foreign = told
        .iter()
        .find(|news| news.stored().is_some_and(|s| held(&s.record) == held(&taken.record)));
    ensure!(foreign.is_none(), "the watch on {} tells what happened to {}", two.name, one.name);
    Ok(())
}

pub(super) fn a_watch_wakes_who_polled_it_last(subject: &Subject) -> Verdict {
    let hand = subject.hand("moved")?;
    let mut news = hand.watch();
    let (_, before) = Alarm::new();
    news.rest(&before)?;
    // A task that was moved to another executor polls with another waker.
    let taken = news.woken_by(|| hand.take(None))?;
    news.until_is(&taken).map(|_| ())
}
