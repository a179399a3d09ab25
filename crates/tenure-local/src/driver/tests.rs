//! Ends that the disk refuses.

use std::time::Instant;

use rustix::io::Errno;
use tenure_core::Timing;

use super::*;
use crate::sys::record;
use crate::testing::{Scratch, lock_in, wait_until};
use crate::{LockName, Settings};

#[test]
fn a_drop_after_a_refused_release_returns_at_once_and_is_made_good() {
    let scratch = Scratch::new();
    let folder = scratch.open();
    let store = Arc::new(LocalStore::in_folder(Arc::clone(&folder)).unwrap());
    let (timing, tags) = (Timing::default(), Vec::new());
    let settings = Settings { id: "a".into(), timing, tags, durable: false };
    let lock = Arc::new(LocalLock::new(store, LockName::new("l").unwrap(), settings));
    let mut claim = LocalClaim::new(&lock, Patience::Forever).unwrap();
    assert!(matches!(claim.step().unwrap(), Some(Report::Acquired { .. })));
    record::fail(0, Errno::IO);
    assert!(claim.release().is_err());
    record::heal();
    let start = Instant::now();
    drop(claim);
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    let mut file = lock_in(&folder, "l");
    wait_until(|| file.peek().unwrap().unwrap().record.holder.is_none());
}
