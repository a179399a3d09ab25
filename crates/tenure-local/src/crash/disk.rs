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
    file: Option<File>,
}

/// A file since it was created: its inode's number is given to another one once it is gone, and may
/// then stand in an entry that a power cut brings back.
type File = usize;

/// Files and folders as they are, and as they may be found after a power cut.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    files: Vec<Contents>,
    /// Which file has an inode now.
    inodes: BTreeMap<u64, File>,
    entries: BTreeMap<String, File>,
    pending: Vec<Entry>,
    /// Entries as they are now, for looking up what a rename moves.
    now: BTreeMap<String, File>,
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
                let file = disk.create(meta.ino(), fs::read(path).unwrap());
                disk.entries.insert(name, file);
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
                let file = self.create(*inode, Vec::new());
                self.change(path, Some(file));
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
                if let Some(Contents(all)) = self.file(*inode) {
                    all.drain(..all.len() - 1);
                }
            }
            Step::Rename { from, to } => {
                let file = self.now.get(from).copied();
                self.change(from, None);
                self.change(to, file);
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
            linked.iter().map(|file| (*file, self.files[*file].cut(dice))).collect();
        for (path, file) in entries {
            fs::write(to.join(path), &left[&file]).unwrap();
        }
    }

    fn create(&mut self, inode: u64, content: Vec<u8>) -> File {
        self.files.push(Contents(vec![content]));
        self.inodes.insert(inode, self.files.len() - 1);
        self.files.len() - 1
    }

    /// Sessions are not modelled: no process lives through a power cut.
    fn file(&mut self, inode: u64) -> Option<&mut Contents> {
        self.inodes.get(&inode).map(|file| &mut self.files[*file])
    }

    fn edit(&mut self, inode: u64, edit: impl FnOnce(&mut Vec<u8>)) {
        if let Some(Contents(all)) = self.file(inode) {
            let mut content = all.last().unwrap().clone();
            edit(&mut content);
            all.push(content);
        }
    }

    fn change(&mut self, path: &str, file: Option<File>) {
        let entry = Entry { path: path.to_owned(), file };
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

fn apply(entries: &mut BTreeMap<String, File>, entry: Entry) {
    match entry.file {
        Some(file) => entries.insert(entry.path, file),
        None => entries.remove(&entry.path),
    };
}
