//! The tests' recorder: notes every change of the disk made by this thread, and fails on demand.

use std::cell::RefCell;
use std::os::fd::OwnedFd;

use rustix::io::{Errno, Result};
use rustix::path::Arg;

/// One step that changes the disk. Files are named by inode, entries by path in the store folder.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Create { path: String, inode: u64 },
    Write { inode: u64, offset: u64, bytes: Vec<u8> },
    Truncate { inode: u64, len: u64 },
    Sync { inode: u64 },
    Rename { from: String, to: String },
    Remove { path: String },
    SyncDir { path: String },
}

#[derive(Default)]
struct Recorder {
    steps: Option<Vec<Step>>,
    /// How many further changes succeed, and what the one after them fails with.
    fault: Option<(u32, Errno)>,
    /// Whether syncs are only noted: for power cuts that are simulated anyway.
    pretend: bool,
}

thread_local! {
    static RECORDER: RefCell<Recorder> = RefCell::default();
}

/// Starts to note the changes made by this thread.
pub(crate) fn start() {
    RECORDER.with_borrow_mut(|r| r.steps = Some(Vec::new()));
}

/// How many changes were noted since [`start`].
pub(crate) fn len() -> usize {
    RECORDER.with_borrow(|r| r.steps.as_ref().map_or(0, Vec::len))
}

/// Stops noting and returns what was noted.
pub(crate) fn stop() -> Vec<Step> {
    RECORDER.with_borrow_mut(|r| r.steps.take()).unwrap_or_default()
}

/// Lets `after` further changes by this thread succeed and every one after them fail.
pub(crate) fn fail(after: u32, with: Errno) {
    RECORDER.with_borrow_mut(|r| r.fault = Some((after, with)));
}

/// Ends the failing.
pub(crate) fn heal() {
    RECORDER.with_borrow_mut(|r| r.fault = None);
}

/// From now on syncs by this thread are noted, but the real disk is spared.
pub(crate) fn pretend_syncs() {
    RECORDER.with_borrow_mut(|r| r.pretend = true);
}

pub(super) fn really_syncs() -> bool {
    RECORDER.with_borrow(|r| !r.pretend)
}

pub(super) fn fault() -> Result<()> {
    RECORDER.with_borrow_mut(|r| match &mut r.fault {
        None => Ok(()),
        Some((0, errno)) => Err(*errno),
        Some((left, _)) => {
            *left -= 1;
            Ok(())
        }
    })
}

fn note(step: impl FnOnce() -> Step) {
    RECORDER.with_borrow_mut(|r| {
        if let Some(steps) = &mut r.steps {
            steps.push(step());
        }
    });
}

fn inode(file: &OwnedFd) -> u64 {
    rustix::fs::fstat(file).unwrap().st_ino
}

fn text(path: impl Arg) -> String {
    path.to_string_lossy().into_owned()
}

pub(super) fn note_create(path: impl Arg, file: &OwnedFd) {
    note(|| Step::Create { path: text(path), inode: inode(file) });
}

pub(super) fn note_write(file: &OwnedFd, bytes: &[u8], offset: u64) {
    note(|| Step::Write { inode: inode(file), offset, bytes: bytes.to_vec() });
}

pub(super) fn note_sync(file: &OwnedFd) {
    note(|| Step::Sync { inode: inode(file) });
}

pub(super) fn note_sync_dir(path: impl Arg) {
    note(|| Step::SyncDir { path: text(path) });
}

pub(super) fn note_truncate(file: &OwnedFd, len: u64) {
    note(|| Step::Truncate { inode: inode(file), len });
}

pub(super) fn note_rename(from: impl Arg, to: impl Arg) {
    note(|| Step::Rename { from: text(from), to: text(to) });
}

pub(super) fn note_remove(path: impl Arg) {
    note(|| Step::Remove { path: text(path) });
}
