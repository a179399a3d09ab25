//! Sessions: one locked file per process, which says that the process, or a child of it, lives.
//!
//! Owns the files in `sessions/` and the verdict on a session found in a record; knows nothing of
//! what was held. **A session file is locked before any record names it, and is unlinked only by
//! one who has its lock**, so a missing file means that the owner ended it, and a free lock means
//! that the owner and everything that inherited the descriptor are gone. Nothing else says "dead".

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::io::Errno;
use tenure_core::{Mark, Session};

use crate::codec::{Reader, Writer};
use crate::process::{self, Standing, StatFile};
use crate::{Error, Folder, Result, facts, group, name, sys, wait};

/// Where in a session file the command's child writes its number, which is its process group's,
/// as four bytes, little end first.
pub const GROUP_OFFSET: u64 = 8;
const MAGIC: [u8; 8] = *b"tenure-s";
const TEXT_OFFSET: usize = 16;
/// More of a command line than this is not worth showing.
const TEXT_MAX: usize = 4000;

/// How many other sessions a new one looks at, to remove what the dead left.
const TIDY_AT_ONCE: usize = 4;
/// How many names of a sub-folder are looked through at most.
const LISTED: usize = 256;

/// What stands in a [`Session`]'s 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Number of the process, in its own namespace.
    pub pid: u32,
    /// Inode of its pid namespace.
    pub pid_namespace: u32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
    /// The boot and the time namespace it runs in.
    pub clock: crate::Clock,
    /// Tells sessions of one process apart.
    pub random: u32,
}

impl Identity {
    /// Reads the bytes of a session.
    #[must_use]
    pub fn of(session: Session) -> Self {
        let b = session.as_bytes();
        let quad = |i: usize| u32::from_le_bytes([b[i], b[i + 1], b[i + 2], b[i + 3]]);
        let word = |i: usize| u64::from(quad(i)) | u64::from(quad(i + 4)) << 32;
        Self {
            pid: quad(0),
            pid_namespace: quad(4),
            start: word(8),
            clock: crate::Clock { boot: word(16), time_namespace: quad(24) },
            random: quad(28),
        }
    }

    /// The session with this identity.
    #[must_use]
    pub fn session(&self) -> Session {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&self.pid.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.pid_namespace.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.start.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.clock.boot.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.clock.time_namespace.to_le_bytes());
        bytes[28..].copy_from_slice(&self.random.to_le_bytes());
        Session::from_bytes(bytes)
    }

    fn own(folder: &Folder) -> Result<Self> {
        let stat = process::own_stat()?.ok_or_else(|| {
            Error::Invalid("/proc/self/stat cannot be understood; is /proc the system's?".into())
        })?;
        Ok(Self {
            pid: std::process::id(),
            pid_namespace: folder.pid_namespace()?,
            start: stat.start,
            clock: folder.clock(),
            random: (facts::random_u64()? >> 32) as u32,
        })
    }

    /// How the process stands, if it can be seen from here.
    fn standing(&self, folder: &Folder) -> Result<Option<Standing>> {
        self.standing_by(folder, &mut None)
    }

    fn standing_by(
        &self,
        folder: &Folder,
        file: &mut Option<StatFile>,
    ) -> Result<Option<Standing>> {
        if !self.is_here(folder) {
            return Ok(None);
        }
        let standing = process::standing_by(file, self.pid, self.start);
        // Number and start time together are found in no other namespace's `/proc`. That they are
        // not found, or may not be looked at, says nothing there.
        if matches!(standing, Ok(Standing::Running | Standing::Stopped)) || facts::is_own_proc() {
            standing.map(Some)
        } else {
            Ok(None)
        }
    }

    /// Whether its number and start time mean the same here: same boot, same namespaces, and a
    /// `/proc` that is not another namespace's.
    pub(crate) fn is_visible(&self, folder: &Folder) -> bool {
        self.is_here(folder) && facts::is_own_proc()
    }

    fn is_here(&self, folder: &Folder) -> bool {
        self.clock == folder.clock()
            && folder.pid_namespace().is_ok_and(|here| self.pid_namespace == here)
    }

    /// Whether this process works under the hold of the session's owner, so that it would wait for
    /// itself: the owner is an ancestor, or where that cannot be seen, left us its descriptor.
    pub(crate) fn is_above(&self, folder: &Folder) -> Result<bool> {
        if self.is_visible(folder) {
            return process::is_ancestor(self.pid, self.start);
        }
        Ok(group::is_carried(folder, self.session()))
    }
}

/// What a session file says about its owner, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Identity of the owner.
    pub id: String,
    /// Name of its host.
    pub host: String,
    /// Its command line.
    pub command: String,
}

/// This process's session. Dropping it ends it.
#[derive(Debug)]
pub struct OwnSession {
    folder: Arc<Folder>,
    file: OwnedFd,
    session: Session,
    temps: AtomicU64,
    /// Whether a record may name it for good, because the disk refused to strike it out.
    named: AtomicBool,
}

impl OwnSession {
    /// Creates and locks a session file.
    ///
    /// # Errors
    /// What the system says.
    #[cold]
    pub fn create(folder: &Arc<Folder>, about: &About) -> Result<Self> {
        loop {
            let session = Identity::own(folder)?.session();
            let fail = |doing| move |e| Error::system(doing, &path(folder, session), e);
            let name = file_name(session);
            let file = folder.complete(|| sys::create(folder.dir(), name.as_str()));
            let file = file.map_err(fail("create"))?;
            // A sweep may have come between the creation and the lock.
            let locked = sys::try_lock(&file, false).map_err(fail("lock"))?;
            if !locked || sys::is_unlinked(&file).map_err(fail("read"))? {
                continue;
            }
            let folder = Arc::clone(folder);
            let (temps, named) = (AtomicU64::new(0), AtomicBool::new(false));
            let own = Self { folder, file, session, temps, named };
            sys::write_at(&own.file, &describe(about), 0).map_err(fail("write"))?;
            tidy(&own.folder, own.session);
            return Ok(own);
        }
    }

    /// What records name.
    #[must_use]
    pub fn session(&self) -> Session {
        self.session
    }

    /// Whether this process may act for the session: see [`Ownership`].
    pub(crate) fn ownership(&self) -> Ownership {
        let identity = Identity::of(self.session);
        if std::process::id() == identity.pid { Ownership::Own } else { Self::forked(identity) }
    }

    #[cold]
    fn forked(identity: Identity) -> Ownership {
        match process::standing(identity.pid, identity.start) {
            Ok(Standing::Gone) => Ownership::Heir,
            // One that cannot be looked at is not taken for gone.
            Ok(Standing::Running | Standing::Stopped) | Err(_) => Ownership::Copy,
        }
    }

    /// The error of one who acts for a session that is not its own.
    pub(crate) fn check_own(&self) -> Result<()> {
        match self.ownership() {
            Ownership::Own => Ok(()),
            Ownership::Heir | Ownership::Copy => Err(forked(Identity::of(self.session).pid)),
        }
    }

    /// Notes that a record may go on to name this session. Its file then stays when it ends, so that
    /// others find it dead: a file that is missing while its process runs tells them nothing.
    pub(crate) fn stays_named(&self) {
        self.named.store(true, Ordering::Relaxed);
    }

    /// Ends the session, which must no longer hold anything.
    pub fn end(self) {}

    /// A name for a file that is not yet in its place, in a folder that [`sweep`] looks through.
    pub(crate) fn temp_name(&self) -> String {
        let n = self.temps.fetch_add(1, Ordering::Relaxed);
        format!("new/{}.{n}", hex(self.session))
    }
}

impl AsFd for OwnSession {
    /// The locked descriptor. It is close-on-exec; a child that shall keep the session alive clears
    /// that flag in itself.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for OwnSession {
    fn drop(&mut self) {
        if self.ownership() == Ownership::Copy {
            return;
        }
        // While still locked. What cannot be removed is found dead and swept by others.
        if !*self.named.get_mut() {
            let _ = sys::remove(self.folder.dir(), file_name(self.session).as_str());
        }
        sys::unlock(&self.file);
        if *self.temps.get_mut() > 0 {
            remove_temps(&self.folder, &hex(self.session));
        }
    }
}

/// Whose session it is. A fork without exec copies everything that is open and every mark, so that
/// two processes would take each other's holds for theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// Ours.
    Own,
    /// Of a process that forked us and is gone, as of one that became a daemon: what it held may be
    /// given back, but nothing is begun.
    Heir,
    /// Of a process that forked us and still runs: nothing is done.
    Copy,
}

/// The error of using in a forked child what process `owner` opened.
pub(crate) fn forked(owner: u32) -> Error {
    let own = std::process::id();
    Error::Invalid(format!(
        "the store was opened by process {owner}, not by its forked child {own}; connect again there"
    ))
}

/// What is known about a session's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It and everything that kept its session are gone.
    Dead,
    /// Something keeps the session.
    Alive,
    /// The owner keeps it, but was stopped.
    Stopped,
    /// The owner is gone, and something that inherited the session keeps it.
    Orphaned {
        /// The owner that is gone.
        pid: u32,
        /// The process group of its child, if it wrote one.
        group: Option<u32>,
    },
}

/// Judges a session that a record names.
///
/// # Errors
/// [`Error::SessionLost`] if the file is gone although the process runs, or what the system says.
pub fn probe(folder: &Folder, session: Session) -> Result<Verdict> {
    let identity = Identity::of(session);
    let file = match look(folder, session)? {
        Look::Missing => {
            return match identity.standing(folder)? {
                Some(Standing::Running | Standing::Stopped) => {
                    Err(Error::SessionLost { pid: identity.pid, path: path(folder, session) })
                }
                Some(Standing::Gone) | None => Ok(Verdict::Dead),
            };
        }
        Look::Free => return Ok(Verdict::Dead),
        Look::Kept(file) => file,
    };
    let unread = |e| Error::system("read", &path(folder, session), e);
    Ok(match identity.standing(folder)? {
        Some(Standing::Stopped) => Verdict::Stopped,
        Some(Standing::Gone) => {
            Verdict::Orphaned { pid: identity.pid, group: group_of(&file).map_err(unread)? }
        }
        Some(Standing::Running) | None => Verdict::Alive,
    })
}

/// Whether the session's process is stopped; `None` if it has ended, or cannot be seen from here. What
/// says so is left open for the next time.
pub(crate) fn is_stopped(
    folder: &Folder,
    session: Session,
    file: &mut Option<StatFile>,
) -> Result<Option<bool>> {
    Ok(match Identity::of(session).standing_by(folder, file)? {
        Some(Standing::Running) => Some(false),
        Some(Standing::Stopped) => Some(true),
        Some(Standing::Gone) | None => None,
    })
}

/// What its file says of a session.
enum Look {
    Missing,
    /// Nobody keeps it.
    Free,
    /// Somebody does.
    Kept(OwnedFd),
}

fn look(folder: &Folder, session: Session) -> Result<Look> {
    let fail = |doing| move |e| Error::system(doing, &path(folder, session), e);
    let file = match sys::open(folder.dir(), file_name(session).as_str()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(Look::Missing),
        Err(e) => return Err(fail("open")(e)),
    };
    if sys::try_lock(&file, true).map_err(fail("lock"))? {
        sys::unlock(&file);
        return Ok(Look::Free);
    }
    Ok(Look::Kept(file))
}

/// Whether anything keeps this session, and no more than that: who does, and how it stands, is for
/// [`probe`] to say.
///
/// # Errors
/// What the system says.
pub(crate) fn is_kept(folder: &Folder, session: Session) -> Result<bool> {
    Ok(matches!(look(folder, session)?, Look::Kept(_)))
}

/// The process group that the owner's child recorded; `None` if there is none or it is not known.
#[must_use]
pub(crate) fn group(folder: &Folder, session: Session) -> Option<u32> {
    let file = sys::open(folder.dir(), file_name(session).as_str()).ok()?;
    group_of(&file).ok().flatten()
}

/// What a session file says about its owner; `None` if it is gone or unreadable.
#[must_use]
pub fn about(folder: &Folder, session: Session) -> Option<About> {
    let file = sys::open(folder.dir(), file_name(session).as_str()).ok()?;
    let mut bytes = vec![0; TEXT_OFFSET + 2 * TEXT_MAX];
    let n = sys::read_at(&file, &mut bytes, 0).ok()?;
    let text = bytes.get(TEXT_OFFSET..n).filter(|_| bytes.starts_with(&MAGIC))?;
    let mut reader = Reader::new(text);
    let mut next = || reader.str().map(str::to_owned);
    Some(About { id: next()?, host: next()?, command: next()? })
}

/// Removes what a dead session left behind: its file, its unfinished files, and the pipe it waited
/// with under `mark`. Does nothing if it is not dead, or somebody else is looking at it right now.
pub fn sweep(folder: &Folder, session: Session, mark: Option<Mark>) {
    let name = file_name(session);
    if !remove_dead(folder, &name, |_| true) && sys::open(folder.dir(), name.as_str()).is_ok() {
        return;
    }
    if let Some(mark) = mark {
        wait::remove(folder, mark);
    }
    remove_temps(folder, &hex(session));
}

/// Removes what processes left that were killed while no record named them. Looks at some only, so
/// that a crowd of the living costs each newcomer little.
fn tidy(folder: &Folder, own: Session) {
    let own = hex(own);
    let others = entries(folder, "sessions").into_iter().filter(|name| *name != own);
    let dead = |name: &String| {
        let due = |file: &OwnedFd| has_no_work(folder, name, file);
        remove_dead(folder, &format!("sessions/{name}"), due)
    };
    if others.take(TIDY_AT_ONCE).filter(dead).count() == 0 {
        return;
    }
    for name in entries(folder, "wait") {
        wait::remove_unowned(folder, &name);
    }
    for name in entries(folder, "new") {
        let session = format!("sessions/{}", name.split('.').next().unwrap_or_default());
        if matches!(sys::open(folder.dir(), session.as_str()), Err(Errno::NOENT)) {
            let _ = sys::remove(folder.dir(), format!("new/{name}").as_str());
        }
    }
}

/// Whether nothing is left of the group of a session's child. If a record still names the session,
/// whoever takes over needs the group's number to end the rest.
fn has_no_work(folder: &Folder, name: &str, file: &OwnedFd) -> bool {
    match (unhex(name).map(Identity::of), group_of(file)) {
        (_, Ok(None)) => true,
        (Some(identity), Ok(_)) if identity.clock.boot != folder.clock().boot => true,
        (Some(identity), Ok(Some(group))) => {
            identity.is_visible(folder) && group::members_of(group).is_ok_and(|all| all.is_empty())
        }
        _ => false,
    }
}

/// Removes the file of a session that nobody keeps and that is `due`; whether it did. One whose
/// process still runs stays: other records may name it.
fn remove_dead(folder: &Folder, name: &str, due: impl Fn(&OwnedFd) -> bool) -> bool {
    let Ok(file) = sys::open(folder.dir(), name) else { return false };
    if !sys::try_lock(&file, false).unwrap_or(false) {
        return false;
    }
    let identity = name.rsplit('/').next().and_then(unhex).map(Identity::of);
    let runs = |identity: Identity| {
        matches!(
            identity.standing(folder),
            Err(_) | Ok(Some(Standing::Running | Standing::Stopped))
        )
    };
    let due = !identity.is_some_and(runs) && due(&file);
    if due {
        // Failing to tidy up is no failure of what is being done.
        let _ = sys::remove(folder.dir(), name);
    }
    sys::unlock(&file);
    due
}

/// The first names of a sub-folder.
fn entries(folder: &Folder, sub: &str) -> Vec<String> {
    let dir = sys::open_dir(folder.dir(), sub).and_then(rustix::fs::Dir::new);
    let names = dir.into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
    names.filter(|name| !name.starts_with('.')).take(LISTED).collect()
}

fn remove_temps(folder: &Folder, session: &str) {
    for name in entries(folder, "new").iter().filter(|name| name.starts_with(session)) {
        let _ = sys::remove(folder.dir(), format!("new/{name}").as_str());
    }
}

fn describe(about: &About) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.resize(TEXT_OFFSET, 0);
    let mut writer = Writer(&mut bytes);
    for text in [&about.id, &about.host, &about.command] {
        let end = text.floor_char_boundary(TEXT_MAX / 3);
        writer.text(&text[..end]);
    }
    bytes
}

/// The open file's device and inode, for finding it among a process's descriptors.
pub(crate) fn file_identity(folder: &Folder, session: Session) -> Option<(u64, u64)> {
    let file = sys::open(folder.dir(), file_name(session).as_str()).ok()?;
    sys::stat(&file).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

fn group_of(file: &OwnedFd) -> rustix::io::Result<Option<u32>> {
    let mut bytes = [0; 4];
    sys::read_at(file, &mut bytes, GROUP_OFFSET)?;
    Ok(Some(u32::from_le_bytes(bytes)).filter(|group| *group != 0))
}

fn file_name(session: Session) -> String {
    name::hex("sessions/", session.as_bytes())
}

pub(crate) fn path(folder: &Folder, session: Session) -> PathBuf {
    folder.path().join(file_name(session))
}

fn hex(session: Session) -> String {
    name::hex("", session.as_bytes())
}

fn unhex(text: &str) -> Option<Session> {
    let mut bytes = [0; 32];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(Session::from_bytes(bytes)).filter(|session| hex(*session) == text)
}

#[cfg(test)]
pub(crate) mod tests;
