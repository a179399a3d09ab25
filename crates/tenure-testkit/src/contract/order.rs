//! Reads and writes of one name are in one order for every handle.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use tenure_store::Snapshot;

use super::{Subject, Verdict, ensure};

pub(super) fn a_read_gives_the_last_acknowledged_write(subject: &Subject) -> Verdict {
    let (a, b) = (subject.hand("order")?, subject.hand("order")?);
    for hand in [&a, &b] {
        let found = hand.read()?;
        ensure!(found.stored().is_none(), "a read of a name never written finds {found:?}");
    }
    let mut judged = None;
    for round in 0..20 {
        let (writer, reader) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let written = match &judged {
            None => writer.take(None)?,
            Some(stored) => writer.renew(stored)?,
        };
        for hand in [reader, writer] {
            let (read, last) = (hand.stored()?.version, written.version);
            ensure!(read == last, "a read gives {read:?} after {last:?} was acknowledged");
        }
        judged = Some(written);
    }
    if let Some(stored) = judged {
        a.deleted(&stored)?;
    }
    let found = b.read()?;
    ensure!(found.stored().is_none(), "a read after an acknowledged deletion finds {found:?}");
    Ok(())
}

pub(super) fn reads_of_all_handles_go_forward(subject: &Subject) -> Verdict {
    let writer = subject.hand("forward")?;
    let mut stored = writer.take(None)?;
    let acknowledged = AtomicU64::new(stored.version.revision);
    let over = AtomicBool::new(false);
    let readers = [subject.hand("forward")?, subject.hand("forward")?];
    thread::scope(|scope| {
        let threads = readers.each_ref().map(|reader| {
            let (acknowledged, over) = (&acknowledged, &over);
            scope.spawn(move || {
                let mut last = 0;
                while !over.load(Ordering::Acquire) {
                    let floor = acknowledged.load(Ordering::Acquire).max(last);
                    last = reader.read().as_ref().map_or_else(|_| 0, Snapshot::revision);
                    ensure!(last >= floor, "a read gives revision {last} when {floor} was known");
                }
                Ok(())
            })
        });
        let written = (0..200).try_for_each(|_| {
            stored = writer.renew(&stored)?;
            acknowledged.store(stored.version.revision, Ordering::Release);
            thread::yield_now();
            Ok::<_, String>(())
        });
        over.store(true, Ordering::Release);
        let read = threads.map(|t| t.join().unwrap_or_else(|_| Err("a reader panicked".into())));
        written.and(read.into_iter().collect())
    })
}
