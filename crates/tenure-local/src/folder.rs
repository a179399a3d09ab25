//! The store folder: where it is, whether locks can be kept in it, and what stands in it.
//!
//! Owns the path, the checks and the open descriptor that everything else starts from; knows
//! nothing of records. **A folder is used only if it belongs to this user, nobody else can write in
//! it, and it is on a disk of this machine.** Everything is opened relative to the descriptor, so
//! that a folder renamed or replaced meanwhile is never mixed with the one that was checked.

use std::env;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use tenure_core::{Time, Wall};

use crate::tokens::{self, Tokens};
use crate::{Clock, Error, Facts, Result, facts, sys};

/// Where root keeps locks.
const SYSTEM_FOLDER: &str = "/var/lib/tenure";
/// What stands in a store folder, beside the file of the tokens.
const SUB_FOLDERS: [&str; 4] = ["locks", "sessions", "wait", "new"];
/// What to do about a path that no folder can be at.
const ANOTHER_PATH: &str = "choose another path with --store local:/path";
/// How long a guard is waited for. Nobody has one for longer than a change takes, unless that
/// process is stopped or the disk hangs.
const GUARD_WAIT: Duration = Duration::from_secs(10);

/// File systems that locks cannot be kept on, with the first word of the reason.
const REFUSED: [(u64, &str, Why); 16] = [
    (0x6969, "NFS", Why::Network),
    (0x517B, "SMB", Why::Network),
    (0xFF53_4D42, "CIFS", Why::Network),
    (0xFE53_4D42, "SMB2", Why::Network),
    (0x6573_5546, "FUSE", Why::Network),
    (0x0102_1997, "9P", Why::Network),
    (0x00C3_6400, "Ceph", Why::Network),
    (0x5346_414F, "AFS", Why::Network),
    (0x6B41_4653, "AFS", Why::Network),
    (0x7375_7245, "Coda", Why::Network),
    (0x0BD0_0BD0, "Lustre", Why::Network),
    (0x0116_1970, "GFS2", Why::Network),
    (0x7461_636F, "OCFS2", Why::Network),
    (0x4750_4653, "GPFS", Why::Network),
    (0x0102_1994, "tmpfs", Why::Memory),
    (0x8584_58F6, "ramfs", Why::Memory),
];

#[derive(Clone, Copy)]
enum Why {
    Network,
    Memory,
}

/// An open store folder.
#[derive(Debug)]
pub struct Folder {
    dir: OwnedFd,
    path: PathBuf,
    facts: Facts,
    tokens: Tokens,
    guard_wait: Duration,
    /// Of the process with this number: its pid namespace.
    namespace: OnceLock<(u32, u32)>,
}

impl Folder {
    /// Opens the store folder `path`, or the default one, and creates what is missing.
    ///
    /// # Errors
    /// [`Error::Unsuitable`] if locks cannot be kept there, or what the system says.
    pub fn open(path: Option<&Path>) -> Result<Arc<Self>> {
        Self::open_as(path, Facts::read()?, GUARD_WAIT)
    }

    /// The same with facts and a patience of the caller's own. For tests.
    ///
    /// # Errors
    /// As [`Folder::open`].
    #[doc(hidden)]
    #[cold]
    pub fn open_as(path: Option<&Path>, facts: Facts, guard_wait: Duration) -> Result<Arc<Self>> {
        let path = given_or_default(path)?;
        let (dir, made) = open_dir(&path)?;
        check(&path, &dir).inspect_err(|_| {
            if made {
                // Not to leave an empty folder where no store can be; only a courtesy.
                let _ = rustix::fs::unlinkat(rustix::fs::CWD, &path, AtFlags::REMOVEDIR);
            }
        })?;
        let (file, created) = match sys::open(&dir, tokens::FILE) {
            Ok(file) => (file, false),
            Err(Errno::NOENT) => (furnish(&dir, &path)?, true),
            Err(e) => return Err(Error::system("open", &path.join(tokens::FILE), e)),
        };
        let tokens = Tokens::open(&dir, file, &path, facts, guard_wait)?;
        if created {
            sys::sync_dir(&dir, ".").map_err(|e| Error::system("sync", &path, e))?;
        }
        Ok(Arc::new(Self { dir, path, facts, tokens, guard_wait, namespace: OnceLock::new() }))
    }

    /// Opens the store folder `path`, or the default one, and creates nothing: `None` if there is no
    /// store yet.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn open_existing(path: Option<&Path>) -> Result<Option<Arc<Self>>> {
        let path = given_or_default(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR) => return Err(not_a_folder(&path)),
            Err(e) => return Err(Error::system("open the store folder", &path, e)),
        };
        check(&path, &dir)?;
        let file = match sys::open(&dir, tokens::FILE) {
            Ok(file) => file,
            Err(Errno::NOENT) => return refuse_foreign(&dir, &path).map(|()| None),
            Err(e) => return Err(Error::system("open", &path.join(tokens::FILE), e)),
        };
        let facts = Facts::read()?;
        let tokens = Tokens::open(&dir, file, &path, facts, GUARD_WAIT)?;
        let (guard_wait, namespace) = (GUARD_WAIT, OnceLock::new());
        Ok(Some(Arc::new(Self { dir, path, facts, tokens, guard_wait, namespace })))
    }

    /// Its path, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The clock of [`Folder::now`].
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.facts.clock
    }

    /// The boot-time clock.
    #[must_use]
    pub fn now(&self) -> Time {
        self.facts.now()
    }

    /// The wall clock.
    #[must_use]
    pub fn wall(&self) -> Wall {
        self.facts.wall()
    }

    /// The pid namespace of this process, which no process ever changes; a forked child, which may be
    /// born into another one, asks for its own each time. Asking is half of what it costs to look at
    /// another process.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where `/proc` is not mounted.
    pub(crate) fn pid_namespace(&self) -> Result<u32> {
        let pid = std::process::id();
        if let Some((_, known)) = self.namespace.get().filter(|(of, _)| *of == pid) {
            return Ok(*known);
        }
        let namespace = facts::namespace("/proc/self/ns/pid")?;
        // A copy in a forked child keeps what its parent noted.
        let _ = self.namespace.set((pid, namespace));
        Ok(namespace)
    }

    /// Makes a file; where its sub-folder is gone, makes that first.
    pub(crate) fn complete<T>(
        &self,
        make: impl Fn() -> rustix::io::Result<T>,
    ) -> rustix::io::Result<T> {
        match make() {
            Err(Errno::NOENT) => {
                SUB_FOLDERS.iter().try_for_each(|sub| sys::create_dir(&self.dir, *sub))?;
                make()
            }
            result => result,
        }
    }

    /// The error, or that the folder was deleted, which no second try mends.
    pub(crate) fn explain(&self, error: Error) -> Error {
        match sys::stat(&self.dir) {
            Ok(stat) if stat.st_nlink == 0 => {
                Error::unsuitable(&self.path, "was deleted while in use", "start again")
            }
            _ => error,
        }
    }

    pub(crate) fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    pub(crate) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    pub(crate) fn guard_wait(&self) -> Duration {
        self.guard_wait
    }
}

fn given_or_default(path: Option<&Path>) -> Result<PathBuf> {
    match path {
        Some(path) => Ok(path.to_owned()),
        None => default_path(rustix::process::geteuid().is_root(), |name| env::var_os(name)),
    }
}

/// Where the store is unless a path is given.
fn default_path(root: bool, variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    if root {
        return Ok(PathBuf::from(SYSTEM_FOLDER));
    }
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(state) = absolute("XDG_STATE_HOME") {
        return Ok(state.join("tenure"));
    }
    absolute("HOME").map(|home| home.join(".local/state/tenure")).ok_or_else(|| {
        Error::Invalid(
            "no store folder: neither XDG_STATE_HOME nor HOME is set to an absolute path; give a \
             folder with --store local:/path"
                .into(),
        )
    })
}

/// Opens the folder, making it and its parents if need be; whether it was made.
fn open_dir(path: &Path) -> Result<(OwnedFd, bool)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || rustix::fs::open(path, flags, Mode::empty());
    match open() {
        Ok(dir) => return Ok((dir, false)),
        Err(Errno::NOENT) => make_dirs(path)?,
        Err(Errno::NOTDIR) => return Err(not_a_folder(path)),
        Err(e) => return Err(Error::system("open the store folder", path, e)),
    }
    match open() {
        Ok(dir) => Ok((dir, true)),
        Err(e) => Err(Error::system("open the store folder", path, e)),
    }
}

/// `mkdir -p`, with the rights of the folder itself set on its descriptor.
fn make_dirs(path: &Path) -> Result<()> {
    let missing: Vec<_> = path.ancestors().take_while(|p| !p.as_os_str().is_empty()).collect();
    let first = missing.iter().position(|p| p.exists()).unwrap_or(missing.len());
    for folder in missing[..first].iter().rev() {
        let made = sys::create_dir(rustix::fs::CWD, *folder);
        made.map_err(|e| match e {
            Errno::NOTDIR => not_a_folder(folder),
            // Such as under /proc: no second try helps.
            Errno::NOENT => {
                Error::unsuitable(folder, "does not exist and cannot be made", ANOTHER_PATH)
            }
            e => Error::system("create the store folder", folder, e),
        })?;
    }
    Ok(())
}

fn not_a_folder(path: &Path) -> Error {
    let not_a_folder = |p: &&Path| p.metadata().is_ok_and(|m| !m.is_dir());
    let culprit = path.ancestors().find(not_a_folder).unwrap_or(path);
    Error::unsuitable(culprit, "is not a folder", ANOTHER_PATH)
}

fn check(path: &Path, dir: &OwnedFd) -> Result<()> {
    let stat = sys::stat(dir).map_err(|e| Error::system("read", path, e))?;
    check_rights((dir, path), &stat, rustix::process::geteuid().as_raw())?;
    let fs = rustix::fs::fstatfs(dir).map_err(|e| Error::system("read", path, e))?;
    check_file_system(path, u64::try_from(fs.f_type).unwrap_or(0) & 0xFFFF_FFFF)
}

fn check_rights((dir, path): (&OwnedFd, &Path), stat: &Stat, user: u32) -> Result<()> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(not_a_folder(path));
    }
    if stat.st_uid != user {
        let owner = stat.st_uid;
        return Err(Error::unsuitable(
            path,
            format!("belongs to user {owner}, not to user {user} who runs this"),
            "run as its owner or choose a folder of your own with --store local:/path",
        ));
    }
    let mode = stat.st_mode & 0o777;
    if mode & 0o022 != 0 {
        // Nobody is told to make what others share, such as /tmp, private.
        refuse_foreign(dir, path)?;
        let remedy = format!("run `chmod 700 {}`", path.display());
        return Err(Error::unsuitable(
            path,
            format!("can be written by others ({mode:o})"),
            remedy,
        ));
    }
    Ok(())
}

fn check_file_system(path: &Path, magic: u64) -> Result<()> {
    let Some((_, name, why)) = REFUSED.iter().find(|(refused, ..)| *refused == magic) else {
        return Ok(());
    };
    let problem = match why {
        Why::Network => format!("is on {name}, where locks of other machines are not seen"),
        Why::Memory => format!("is on {name}, which forgets fencing tokens at a reboot"),
    };
    Err(Error::unsuitable(
        path,
        problem,
        "choose a folder on a local disk with --store local:/path",
    ))
}

/// Makes what stands in a store folder; the tokens last, because they say that the rest is there.
fn furnish(dir: &OwnedFd, path: &Path) -> Result<OwnedFd> {
    refuse_foreign(dir, path)?;
    for sub in SUB_FOLDERS {
        sys::create_dir(dir, sub).map_err(|e| Error::system("create", &path.join(sub), e))?;
    }
    tokens::open_file(dir, path)
}

/// A folder that holds something else is most likely a mistyped path: nothing is put into it.
fn refuse_foreign(dir: &OwnedFd, path: &Path) -> Result<()> {
    let fail = |e| Error::system("list", path, e);
    for entry in rustix::fs::Dir::read_from(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_string_lossy();
        let ours = SUB_FOLDERS.contains(&&*name) || name.starts_with(tokens::FILE);
        if !ours && !matches!(&*name, "." | ".." | "lost+found") {
            return Err(Error::unsuitable(
                path,
                format!("is no store and not empty (it has {name:?})"),
                "choose an empty or a new folder with --store local:/path",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
