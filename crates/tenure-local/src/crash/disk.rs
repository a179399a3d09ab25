//! A disk that forgets: what may be left of noted steps if the power goes.
//!
//! Pessimistic about everything POSIX leaves open: each sector of a file keeps any of the contents
//! it had since the file was last synced, a file's length may be the old or the new one, each
//! change of a folder since that folder was last synced may be there or not, and a rename may be
//! there by half.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::sys::record::Step;

const SECTOR: usize = 512;

/// Repeatable pseudo-random numbers (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ z >> 31) % n as u64).unwrap()
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// The contents a file had since it was last synced, the durable one first.
#[derive(Clone)]
struct Contents(Vec<Vec<u8>>);

/// One change of a folder: an entry that appears, or disappears.
#[derive(Clone)]
struct Entry {
    path: String,
    inode: Option<u64>,
}

/// Files and folders as they are, and as they may be found after a power cut.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    files: BTreeMap<u64, Contents>,
    entries: BTreeMap<String, u64>,
    pending: Vec<Entry>,
    /// Entries as they are now, for looking up what a rename moves.
    now: BTreeMap<String, u64>,
}

impl Disk {
    /// What is in the store folder now, all of it durable.
    pub(crate) fn of(folder: &Path) -> Self {
        let mut disk = Self::default();
        let mut add = |name: String| {
            use std::os::unix::fs::MetadataExt as _;
            let path = folder.join(&name);
            let meta = fs::metadata(&path).unwrap();
            if meta.is_file() {
                disk.files.insert(meta.ino(), Contents(vec![fs::read(path).unwrap()]));
                disk.entries.insert(name, meta.ino());
            }
        };
        add("tokens".into());
        for sub in ["locks", "new"] {
            for entry in fs::read_dir(folder.join(sub)).unwrap() {
                add(format!("{sub}/{}", entry.unwrap().file_name().to_str().unwrap()));
            }
        }
        disk.now.clone_from(&disk.entries);
        disk
    }

    /// Carries out one noted step.
    pub(crate) fn step(&mut self, step: &Step) {
        match step {
            Step::Create { path, inode } => {
                self.files.insert(*inode, Contents(vec![Vec::new()]));
                self.change(path, Some(*inode));
            }
            Step::Write { inode, offset, bytes } => self.edit(*inode, |content| {
                let start = usize::try_from(*offset).unwrap();
                let end = start + bytes.len();
                content.resize(content.len().max(end), 0);
                content[start..end].copy_from_slice(bytes);
            }),
            Step::Truncate { inode, len } => {
                self.edit(*inode, |content| content.resize(usize::try_from(*len).unwrap(), 0));
            }
            Step::Sync { inode } => {
                if let Some(Contents(all)) = self.files.get_mut(inode) {
                    all.drain(..all.len() - 1);
                }
            }
            Step::Rename { from, to } => {
                let inode = self.now.get(from).copied();
                self.change(from, None);
                self.change(to, inode);
            }
            Step::Remove { path } => self.change(path, None),
            Step::SyncDir { path } => {
                let (done, left): (Vec<_>, Vec<_>) =
                    self.pending.drain(..).partition(|e| e.path.starts_with(path));
                done.into_iter().for_each(|e| apply(&mut self.entries, e));
                self.pending = left;
            }
        }
    }

    /// Writes into the empty folder `to` what one power cut may leave.
    pub(crate) fn cut(&self, dice: &mut Dice, to: &Path) {
        for sub in ["locks", "new", "sessions", "wait"] {
            fs::create_dir_all(to.join(sub)).unwrap();
        }
        let mut entries = self.entries.clone();
        for entry in &self.pending {
            if dice.coin() {
                apply(&mut entries, entry.clone());
            }
        }
        let linked: BTreeSet<_> = entries.values().copied().collect();
        let left: BTreeMap<_, _> =
            linked.iter().map(|inode| (*inode, self.files[inode].cut(dice))).collect();
        for (path, inode) in entries {
            fs::write(to.join(path), &left[&inode]).unwrap();
        }
    }

    fn edit(&mut self, inode: u64, edit: impl FnOnce(&mut Vec<u8>)) {
        // Sessions are not modelled: no process lives through a power cut.
        if let Some(Contents(all)) = self.files.get_mut(&inode) {
            let mut content = all.last().unwrap().clone();
            edit(&mut content);
            all.push(content);
        }
    }

    fn change(&mut self, path: &str, inode: Option<u64>) {
        let entry = Entry { path: path.to_owned(), inode };
        apply(&mut self.now, entry.clone());
        self.pending.push(entry);
    }
}

impl Contents {
    fn cut(&self, dice: &mut Dice) -> Vec<u8> {
        let Self(all) = self;
        let len = all[dice.below(all.len())].len();
        let mut left = vec![0; len];
        for start in (0..len).step_by(SECTOR) {
            let end = len.min(start + SECTOR);
            let content = &all[dice.below(all.len())];
            if let Some(sector) = content.get(start..content.len().min(end)) {
                left[start..start + sector.len()].copy_from_slice(sector);
            }
        }
        left
    }
}

fn apply(entries: &mut BTreeMap<String, u64>, entry: Entry) {
    match entry.inode {
        Some(inode) => entries.insert(entry.path, inode),
        None => entries.remove(&entry.path),
    };
}
