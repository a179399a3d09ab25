//! The hold file: what proves a hold from one step of a script to the next.
//!
//! Owns its form and its life on the disk; knows nothing of how holds are taken. **It is whole or
//! not there**: written and synced under another name, and renamed. It stands before the lock is
//! asked for, so that whatever instant its writer is killed at, the hold can be undone. **Whoever
//! works with it has it locked**, so that two never renew or release at once.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FlockOperation, OFlags, RenameFlags, flock, linkat, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tenure::blocking::{Client, HoldKey, connect_existing};
use twox_hash::XxHash3_64;

use crate::clock;
use crate::duration::shorten;
use crate::exit::Failure;

/// The form written here.
const FORM: u32 = 1;
/// No hold file is longer.
const LONGEST: u64 = 64 << 10;
/// How long another `renew` or `release` on the same file is waited for.
const OTHERS: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// What stands in it, as one JSON object. Fields are only ever added.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Content {
    /// The form, first, so that a later one is known for what it is.
    tenure_hold: u32,
    /// `acquiring` until the lock is held, then `held`.
    state: State,
    lock: String,
    store: String,
    /// The address of the cluster that the store is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    id: String,
    token: Option<u64>,
    /// Number of the user who took the lock.
    user: u32,
    /// What proves the hold.
    key: String,
    /// Checksum of all before it.
    sum: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Acquiring,
    Held,
}

/// A hold file, locked.
#[derive(Debug)]
pub(crate) struct HoldFile {
    path: PathBuf,
    /// Keeps the lock.
    file: File,
    content: Content,
}

/// Refuses a file that is there already, before anything else is done.
pub(crate) fn refuse_existing(path: &Path) -> Result<(), Failure> {
    match path.symlink_metadata() {
        Ok(_) => Err(exists(path)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(cannot("look at", path, &e)),
    }
}

impl HoldFile {
    /// Writes the file of a hold that is about to be asked for.
    ///
    /// # Errors
    /// A file that exists, or that cannot be written.
    pub(crate) fn begin(
        path: &Path,
        client: &Client,
        lock: &str,
        key: &HoldKey,
    ) -> Result<Self, Failure> {
        let content = Content {
            tenure_hold: FORM,
            state: State::Acquiring,
            lock: lock.to_owned(),
            store: client.store(),
            cluster: cluster(&client.store())?,
            id: client.id().to_owned(),
            token: None,
            user: rustix::process::geteuid().as_raw(),
            key: key.to_string(),
            sum: String::new(),
        };
        let file = match write_in_place(path, &content) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(exists(path)),
            Err(e) => return Err(cannot("write", path, &e)),
        };
        let begun = Self { path: path.to_owned(), file, content };
        match sync_folder(path) {
            Ok(()) => Ok(begun),
            Err(e) => {
                begun.discard();
                Err(cannot("write", path, &e))
            }
        }
    }

    /// Says that the lock is held, under this token.
    ///
    /// # Errors
    /// A file that cannot be written; it is then as before.
    pub(crate) fn complete(&mut self, token: u64) -> Result<(), Failure> {
        let content = Content { state: State::Held, token: Some(token), ..self.content.clone() };
        let temp = self.path.with_file_name(temp_name(&self.path, &content.key));
        let done = write(&temp, &content).and_then(|file| {
            std::fs::rename(&temp, &self.path)?;
            sync_folder(&self.path)?;
            Ok(file)
        });
        match done {
            Ok(file) => {
                (self.file, self.content) = (file, content);
                Ok(())
            }
            Err(e) => {
                let _ = std::fs::remove_file(&temp);
                Err(cannot("complete", &self.path, &e))
            }
        }
    }

    /// Opens and locks the file of a hold that was taken earlier.
    ///
    /// # Errors
    /// A file that is missing, damaged, of a newer tenure or of another user, each by name; one
    /// whose `acquire` still runs.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let patience = clock::now() + OTHERS;
        loop {
            let mut file = open(path)?;
            let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
            let content = read(path, &mut file)?;
            match locked {
                Ok(()) => {
                    // It may have been completed, or removed, while we opened it.
                    let meta = file.metadata().map_err(|e| cannot("look at", path, &e))?;
                    if meta.nlink() > 0 {
                        return Ok(Self { path: path.to_owned(), file, content });
                    }
                }
                Err(Errno::WOULDBLOCK) if content.state == State::Acquiring => {
                    return Err(still_acquiring(path, &content));
                }
                Err(Errno::WOULDBLOCK) if clock::now() < patience => std::thread::sleep(PAUSE),
                Err(Errno::WOULDBLOCK) => {
                    let shown = show(path);
                    return Err(Failure::new(format!(
                        "hold file `{shown}` is in use by another renew or release; try again"
                    )));
                }
                Err(e) => return Err(cannot("lock", path, &e.into())),
            }
        }
    }

    /// The store it names. What the user named must be the same.
    ///
    /// # Errors
    /// Another store, or one that is not there.
    pub(crate) fn connect(
        &self,
        named: Option<&(&'static str, String)>,
    ) -> Result<Client, Failure> {
        let (path, store) = (show(&self.path), &self.content.store);
        let own = connect_existing(store).map_err(Failure::new)?.ok_or_else(|| {
            Failure::new(format!(
                "hold file `{path}` is of store `{store}`, where there is none now; bring it back, \
                 or remove the file"
            ))
        })?;
        // Where another one has no such hold, this one would look lost.
        if let (Some(then), Some(now)) = (&self.content.cluster, cluster(store)?)
            && *then != now
        {
            return Err(Failure::new(format!(
                "hold file `{path}` is of the cluster at {then}, and `{store}` is now at {now}; \
                 choose the kubeconfig or the context that it was written with"
            )));
        }
        if let Some((from, url)) = named {
            let other = connect_existing(url).map_err(Failure::new)?;
            if other.is_none_or(|other| real(&other) != real(&own)) {
                return Err(Failure::new(format!(
                    "hold file `{path}` is of store `{store}`, not of `{url}` that {from} names; \
                     name that one, or none"
                )));
            }
        }
        own.with_id(&self.content.id).map_err(Failure::new)
    }

    /// What proves the hold.
    ///
    /// # Errors
    /// One that nobody wrote.
    pub(crate) fn key(&self) -> Result<HoldKey, Failure> {
        HoldKey::parse(&self.content.key).map_err(|e| damaged(&self.path, &e.to_string()))
    }

    /// The lock's name.
    pub(crate) fn lock(&self) -> &str {
        &self.content.lock
    }

    /// The fencing token, once the lock was held.
    pub(crate) const fn token(&self) -> Option<u64> {
        self.content.token
    }

    /// Removes the file.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn remove(self) -> Result<(), Failure> {
        let removed = std::fs::remove_file(&self.path).and_then(|()| sync_folder(&self.path));
        // Left by a kill in the middle of writing it.
        let _ = std::fs::remove_file(self.path.with_file_name(self.temp_name()));
        removed.map_err(|e| cannot("remove", &self.path, &e))
    }

    /// Removes the file where what went wrong before matters more.
    pub(crate) fn discard(self) {
        let _ = self.remove();
    }

    fn temp_name(&self) -> String {
        temp_name(&self.path, &self.content.key)
    }
}

#[cfg(feature = "kube")]
fn cluster(store: &str) -> Result<Option<String>, Failure> {
    tenure::blocking::cluster(store).map_err(Failure::new)
}

#[cfg(not(feature = "kube"))]
#[expect(clippy::unnecessary_wraps, reason = "with clusters it can fail")]
const fn cluster(_: &str) -> Result<Option<String>, Failure> {
    Ok(None)
}

/// Writes a new file whole, unless something has its name. It has no name before, so that a kill
/// leaves nothing; where the file system cannot do that, it has another one for a moment.
fn write_in_place(path: &Path, content: &Content) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600).custom_flags(OFlags::TMPFILE.bits().cast_signed());
    match options.open(folder_of(path)) {
        Ok(mut file) => {
            fill(&mut file, content)?;
            let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
            linkat(CWD, nameless, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
            Ok(file)
        }
        Err(e)
            if matches!(
                e.raw_os_error().map(Errno::from_raw_os_error),
                Some(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL)
            ) =>
        {
            let temp = path.with_file_name(temp_name(path, &content.key));
            let file = write(&temp, content)?;
            match renameat_with(CWD, &temp, CWD, path, RenameFlags::NOREPLACE) {
                Ok(()) => Ok(file),
                Err(e) => {
                    let _ = std::fs::remove_file(&temp);
                    Err(e.into())
                }
            }
        }
        Err(e) => Err(e),
    }
}

/// Writes a new file under this name.
fn write(path: &Path, content: &Content) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.custom_flags(nofollow()).open(path)?;
    let filled = fill(&mut file, content);
    if filled.is_err() {
        let _ = std::fs::remove_file(path);
    }
    filled.map(|()| file)
}

/// Fills a new file that only its user can read; synced and locked.
fn fill(file: &mut File, content: &Content) -> io::Result<()> {
    let mut content = content.clone();
    content.sum = sum(&content);
    let mut text = serde_json::to_vec(&content)?;
    text.push(b'\n');
    // The umask narrows and a default ACL widens what open was told.
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    flock(&*file, FlockOperation::NonBlockingLockExclusive)?;
    file.write_all(&text)?;
    file.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path)).and_then(|folder| folder.sync_all())
}

fn open(path: &Path) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(nofollow()).open(path).map_err(|e| {
        let shown = show(path);
        match Errno::from_io_error(&e) {
            Some(Errno::NOENT) => Failure::new(format!(
                "hold file `{shown}` does not exist; give the one that `tenure acquire` wrote, if it \
                 is not released yet"
            )),
            Some(Errno::LOOP) => Failure::new(format!(
                "hold file `{shown}` is a symbolic link; give the file itself"
            )),
            Some(Errno::ACCESS) => match path.symlink_metadata() {
                Ok(meta) if meta.uid() != rustix::process::geteuid().as_raw() => {
                    of_another_user(path, meta.uid())
                }
                _ => cannot("read", path, &e),
            },
            _ => cannot("read", path, &e),
        }
    })?;
    let meta = file.metadata().map_err(|e| cannot("read", path, &e))?;
    if meta.is_file() { Ok(file) } else { Err(damaged(path, "it is no file")) }
}

fn read(path: &Path, file: &mut File) -> Result<Content, Failure> {
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).map_err(|e| cannot("read", path, &e))?;
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(|e| {
        damaged(path, if e.is_eof() { "it is cut off" } else { "it is not what tenure wrote" })
    })?;
    match value.get("tenure_hold").and_then(serde_json::Value::as_u64) {
        Some(form) if form > u64::from(FORM) => {
            let shown = show(path);
            return Err(Failure::new(format!(
                "hold file `{shown}` is of a newer tenure: form {form}, this one knows {FORM}; use \
                 that one"
            )));
        }
        Some(_) => {}
        None => return Err(damaged(path, "it is no hold file")),
    }
    let content: Content =
        serde_json::from_value(value).map_err(|_| damaged(path, "it is not what tenure wrote"))?;
    if sum(&content) != content.sum {
        return Err(damaged(path, "it was changed since tenure wrote it"));
    }
    if content.user != rustix::process::geteuid().as_raw() {
        return Err(of_another_user(path, content.user));
    }
    Ok(content)
}

fn sum(content: &Content) -> String {
    let blank = Content { sum: String::new(), ..content.clone() };
    // Nothing in it can fail to become JSON.
    let text = serde_json::to_vec(&blank).unwrap_or_default();
    format!("{:016x}", XxHash3_64::oneshot(&text))
}

/// A name beside the file that no other hold uses.
fn temp_name(path: &Path, key: &str) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let short: String = name.chars().take(40).collect();
    // Part of the key's hash, not of the key: names of files are no secret.
    format!(".{short}.{:016x}.new", XxHash3_64::oneshot(key.as_bytes()))
}

/// The store's folder as the system knows it, whatever links lead there.
fn real(client: &Client) -> PathBuf {
    let store = client.store();
    let path = Path::new(store.strip_prefix("local:").unwrap_or(&store));
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn nofollow() -> i32 {
    // Not blocking: somebody may give a pipe.
    (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed()
}

fn show(path: &Path) -> String {
    shorten(&path.to_string_lossy())
}

fn exists(path: &Path) -> Failure {
    let shown = show(path);
    Failure::new(format!(
        "hold file `{shown}` exists, and its hold may be that of a run that still works (see \
         `tenure show`): give another file, or end that hold with `tenure release`"
    ))
}

fn cannot(doing: &str, path: &Path, error: &io::Error) -> Failure {
    let why = Errno::from_io_error(error).map_or_else(|| error.to_string(), |e| e.to_string());
    Failure::new(format!("cannot {doing} hold file `{}`: {why}", show(path)))
}

fn damaged(path: &Path, what: &str) -> Failure {
    Failure::new(format!(
        "hold file `{}` cannot be used: {what}; the hold ends by its ttl, and `tenure steal` ends it \
         sooner",
        show(path)
    ))
}

fn of_another_user(path: &Path, user: u32) -> Failure {
    let own = rustix::process::geteuid().as_raw();
    Failure::new(format!(
        "hold file `{}` is of user {user}, not of user {own} who runs this; run as that user",
        show(path)
    ))
}

fn still_acquiring(path: &Path, content: &Content) -> Failure {
    Failure::new(format!(
        "hold file `{}` is of a `tenure acquire` that still waits for lock `{}`; end that first",
        show(path),
        shorten(&content.lock)
    ))
}
