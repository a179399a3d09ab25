//! Taking holds away: what is not the hold that was seen, and what cannot be ended.

use tenure_core::{Patience, Timing};

use super::*;
use crate::testing::{Scratch, lock_in};
use crate::{Clock, Folder, Settings};

fn lock(folder: &Arc<Folder>) -> Arc<LocalLock> {
    let store = Arc::new(LocalStore::in_folder(Arc::clone(folder)).unwrap());
    let settings =
        Settings { id: "me".into(), timing: Timing::default(), tags: Vec::new(), durable: false };
    Arc::new(LocalLock::new(store, LockName::new("l").unwrap(), settings))
}

fn seen(lock: &LocalLock) -> Target {
    Target::of(&lock.store().show(lock.name()).unwrap()).unwrap()
}

#[test]
fn a_hold_that_was_renewed_or_passed_on_is_another_one() {
    let scratch = Scratch::new();
    let lock = lock(&scratch.open());
    let key = lock.store().hold_key().unwrap();
    let mut claim = LocalClaim::with_key(&lock, Patience::Now, &key).unwrap();
    claim.step().unwrap();
    let bound = seen(&lock);
    assert!(bound.is_bound());
    claim.detach(Duration::from_secs(60)).unwrap();
    let left = seen(&lock);
    assert!(!left.is_bound());
    let changed = Theft::Changed(Cause::Replaced { by: "me".into() });
    assert_eq!(lock.steal(bound, "why".into()).unwrap(), changed);
    lock.renew_detached(&key, None).unwrap();
    assert_eq!(lock.steal(left, "why".into()).unwrap(), changed);
    let now = seen(&lock);
    assert_eq!(lock.steal(now, "why".into()).unwrap(), Theft::Freed { killed: Vec::new() });
    assert_eq!(lock.steal(now, "why".into()).unwrap(), Theft::Changed(Cause::Freed));
    let record = lock_in(lock.store().folder(), "l").peek().unwrap().unwrap().record;
    let past = record.history.iter().next_back().unwrap();
    assert_eq!((past.end, past.reason.as_deref()), (End::Stolen, Some("why")));
    assert!(record.holder.is_none());
    lock_in(lock.store().folder(), "l").lock().unwrap().unwrap().delete().unwrap();
    assert_eq!(lock.steal(now, "why".into()).unwrap(), Theft::Changed(Cause::Deleted));
}

/// What the thief knows of its own write is what it reads of it, once others have written, too.
#[test]
fn a_theft_without_words_has_no_reason() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let (thief, owner) = (lock(&folder), lock(&folder));
    for count in 1..4 {
        let key = owner.store().hold_key().unwrap();
        let mut claim = LocalClaim::with_key(&owner, Patience::Now, &key).unwrap();
        claim.step().unwrap();
        claim.detach(Duration::from_secs(60)).unwrap();
        thief.steal(seen(&thief), "".into()).unwrap();
        let record = lock_in(&folder, "l").peek().unwrap().unwrap().record;
        let stolen = record.history.iter().filter(|past| past.end == End::Stolen);
        let reasons: Vec<_> = stolen.map(|past| past.reason.as_deref()).collect();
        assert_eq!(reasons, vec![None; count]);
    }
}

/// The thief's own process is the one thing it does not end.
#[test]
fn what_cannot_be_ended_keeps_the_lock_and_is_named() {
    let scratch = Scratch::new();
    let lock = lock(&scratch.open());
    let mut claim = LocalClaim::new(&lock, Patience::Now).unwrap();
    claim.step().unwrap();
    let error = lock.steal(seen(&lock), "why".into()).unwrap_err();
    let own = std::process::id();
    assert!(matches!(&error, Error::Survives { pid, .. } if *pid == own), "{error}");
    assert!(error.to_string().contains(&own.to_string()), "{error}");
    // Nor is it freed later.
    assert_eq!(claim.check().unwrap(), None);
    assert_eq!(claim.release().unwrap(), Some(Report::Released { confirmed: true }));
}

/// After a restart the numbers of processes begin anew, and a daemon may well start in the same
/// hundredth of a second as another one did.
#[test]
fn a_number_from_another_boot_or_namespace_is_nobody() {
    let scratch = Scratch::new();
    let lock = lock(&scratch.open());
    let mut stranger = std::process::Command::new("sleep").arg("300").spawn().unwrap();
    let start = process::stat_of(stranger.id()).unwrap().unwrap().start;
    let here = Identity::of(lock.store().session("me").unwrap().session());
    let numbers = Identity { pid: stranger.id(), start, ..here };
    let elsewhere = Clock { boot: here.clock.boot ^ 1, ..here.clock };
    for identity in [
        Identity { clock: elsewhere, ..numbers },
        Identity { pid_namespace: here.pid_namespace ^ 1, ..numbers },
    ] {
        let mut kill = Kill { of: Mark::from_u128(1), killed: Vec::new() };
        kill.end_owner(lock.store(), identity.session());
        assert!(kill.killed.is_empty() && stranger.try_wait().unwrap().is_none(), "{identity:?}");
    }
    let mut kill = Kill { of: Mark::from_u128(1), killed: Vec::new() };
    kill.end_owner(lock.store(), numbers.session());
    assert_eq!(kill.killed, [stranger.id()]);
    stranger.wait().unwrap();
}
