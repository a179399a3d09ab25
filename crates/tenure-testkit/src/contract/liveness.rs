//! What a store says of who lives, and how old an entry is.

use std::thread;
use std::time::{Duration, Instant};

use tenure_core::{Liveness, Probed, Session};
use tenure_store::{Error, Stored};

use super::hand::{Hand, answered};
use super::{Subject, Verdict, ensure};
use crate::block_on_for;

pub(super) fn a_session_lives_as_long_as_its_process(subject: &Subject) -> Verdict {
    let (a, b) = (subject.hand("session")?, subject.hand("session")?);
    let again = answered(b.patience, "session", b.store.session())?;
    ensure!(again == b.session, "one handle has two sessions, {:?} and {again:?}", b.session);
    match a.store.capabilities().liveness {
        Liveness::Process => probed(subject, &a, b),
        Liveness::Server => taken_out(&a, b),
        Liveness::Observed => {
            let session = a.session;
            ensure!(session.is_none(), "a store that cannot tell has the session {session:?}");
            Ok(())
        }
    }
}

/// Alive while its process runs and its handle is there, dead when the process has ended.
fn probed(subject: &Subject, a: &Hand, b: Hand) -> Verdict {
    ensure!(a.session != b.session, "two handles have the one session {:?}", a.session);
    let elsewhere = subject.elsewhere()?;
    for (whose, session) in [
        ("one's own", a.session),
        ("another handle's", b.session),
        ("another's", elsewhere.session),
    ] {
        let probed = answered(a.patience, "probe", a.store.probe(session))?;
        ensure!(probed == Probed::Alive, "{whose} session is {probed:?}");
    }
    (elsewhere.end)();
    let probed = answered(a.patience, "probe", a.store.probe(elsewhere.session))?;
    ensure!(probed == Probed::Dead, "a session whose process has ended is {probed:?}");
    let session = b.session;
    drop(b);
    let probed = block_on_for(a.patience, a.store.probe(session));
    ensure!(
        matches!(probed, Some(Ok(Probed::Dead) | Err(_))),
        "a session whose handle was dropped is {probed:?}"
    );
    let probed = answered(a.patience, "probe", a.store.probe(a.session))?;
    ensure!(probed == Probed::Alive, "others have ended and one's own session is {probed:?}");
    Ok(())
}

/// The store takes a dead session's entries out of every record, and nobody else's.
fn taken_out(a: &Hand, b: Hand) -> Verdict {
    ensure!(a.session != b.session, "two handles have the one session {:?}", a.session);
    let dead = b.session;
    let mut news = a.watch();
    let mut stored = b.take(None)?;
    if a.store.capabilities().queue {
        stored = a.join(&stored)?;
        stored = b.join(&stored)?;
    }
    let place = stored.record.queue.front().map(|w| w.mark);
    drop(b);
    news.until(|seen| !seen.stored().is_some_and(|s| names(s, dead)))
        .map_err(|e| format!("{e} while a dead session stood in the record"))?;
    let left = a.read()?;
    let left = left.stored();
    ensure!(!left.is_some_and(|s| names(s, dead)), "a dead session stands in {left:?}");
    let kept = left.and_then(|s| s.record.queue.front()).map(|w| w.mark);
    ensure!(kept == place, "a dead session's end leaves {kept:?} in line, not {place:?}");
    Ok(())
}

fn names(stored: &Stored, session: Session) -> bool {
    let record = &stored.record;
    record.holder.as_ref().is_some_and(|h| h.session == session)
        || record.queue.iter().any(|w| w.session == session)
}

pub(super) fn what_is_no_session_is_refused(subject: &Subject) -> Verdict {
    let hand = subject.hand("probe")?;
    let answer = block_on_for(hand.patience, hand.store.probe(Session::NONE));
    let right = match hand.store.capabilities().liveness {
        Liveness::Process => matches!(answer, Some(Err(Error::Invalid(_)))),
        Liveness::Server | Liveness::Observed => {
            let own = block_on_for(hand.patience, hand.store.probe(hand.session));
            ensure!(
                matches!(own, Some(Err(Error::Unsupported(_)))),
                "a store that cannot probe answers {own:?} to a probe"
            );
            matches!(answer, Some(Err(Error::Unsupported(_))))
        }
    };
    ensure!(right, "a probe of no session is answered {answer:?}");
    Ok(())
}

pub(super) fn an_age_is_never_more_than_the_truth(subject: &Subject) -> Verdict {
    let hand = subject.hand("age")?;
    let mut judged = None;
    for _ in 0..4 {
        let began = Instant::now();
        let stored = match &judged {
            None => hand.take(None)?,
            Some(stored) => hand.renew(stored)?,
        };
        let read = hand.stored()?;
        let truth = began.elapsed();
        for age in [stored.age, read.age].into_iter().flatten() {
            ensure!(age <= truth, "an entry written {truth:?} ago at most is said {age:?} old");
        }
        // Long enough for an age that the renewal did not start anew to show.
        thread::sleep(Duration::from_millis(10));
        judged = Some(read);
    }
    Ok(())
}
