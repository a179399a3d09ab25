//! What the tests of this crate share: a store folder of their own, and records to put in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tenure_core::{Holder, Mark, Record, Session, Term, Time, Token, Wall};

use crate::{About, Facts, Folder, LockFile, LockName, OwnSession};

/// A folder that is removed at the end of the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// A new folder beside the test binary, which is on a disk where the system's folder for
    /// temporary files may not be.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let exe = std::env::current_exe().unwrap();
        let path = exe.with_file_name(format!("local-test-{}-{n}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The store in it.
    pub(crate) fn open(&self) -> Arc<Folder> {
        open_in(&self.0.join("store"), None)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Opens a store, as in the boot with this number.
pub(crate) fn open_in(path: &Path, boot: Option<u64>) -> Arc<Folder> {
    let facts = Facts::read().unwrap();
    let facts = boot.map_or(facts, |boot| facts.in_boot(boot));
    Folder::open_as(Some(path), facts, Duration::from_secs(10)).unwrap()
}

pub(crate) fn lock_in(folder: &Arc<Folder>, name: &str) -> LockFile {
    LockFile::new(folder, LockName::new(name).unwrap())
}

pub(crate) fn session_in(folder: &Arc<Folder>) -> OwnSession {
    OwnSession::create(folder, &About::default()).unwrap()
}

/// A record held under `token`.
pub(crate) fn held(token: Token, session: Session, term: Term) -> Record {
    let holder = Holder {
        id: "host_1".into(),
        mark: Mark::from_u128(u128::from(token.get())),
        session,
        token,
        term,
        ticket: 0,
        since: Wall::from_micros(1),
        renewed: Wall::from_micros(2),
        stamp: Time::from_nanos(3),
    };
    Record { holder: Some(holder), last_token: token, next_ticket: 1, ..Record::default() }
}

/// Waits for something that another process brings about.
pub(crate) fn wait_until(mut done: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("nothing happened for 10 s");
}
