//! What several tests of the async client need.
#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder for an embedded store, removed at the end.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let name = format!("async-{}-{number}", std::process::id());
        Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name))
    }

    pub(crate) fn url(&self) -> String {
        format!("local:{}", self.0.display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Not there if nothing was ever stored.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
