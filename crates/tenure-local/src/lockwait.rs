//! Waiting for an exclusive `flock` with a limit, and naming who is in the way.
//!
//! Owns the pauses between attempts and the message at the end; knows nothing of what is locked.
//! Blocking `flock` is not used: it has no limit, and a stopped process would stop everybody.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::facts::try_read_proc;
use crate::process::stat_of;
use crate::{Error, Result, sys};

const PAUSE_MIN: Duration = Duration::from_micros(50);
const PAUSE_MAX: Duration = Duration::from_millis(5);
/// A pause is this share of the time waited so far: the guard changes hands every few dozen
/// microseconds, and one that looks rarely is overtaken by all that look often.
const PAUSE_SHARE: u32 = 32;
/// How long one who was told that the guard is about to come back tries for it without a pause. When
/// it was told, what was left to be done took some 50 microseconds where that was measured, with cold
/// caches; waking up takes most of that.
const SOON: Duration = Duration::from_micros(100);
/// Who waits no longer than this asks again, or does something else, and names nobody.
const WORTH_A_NAME: Duration = Duration::from_secs(1);

/// Locks `file`, for which it waits as long as `wait`.
pub(crate) fn lock_exclusive(
    file: &OwnedFd,
    wait: Duration,
    path: impl Fn() -> PathBuf,
) -> Result<()> {
    match sys::try_lock(file, false) {
        Ok(true) => Ok(()),
        Ok(false) => lock_busy(file, wait, path),
        Err(e) => Err(Error::system("lock", &path(), e)),
    }
}

/// The same for one who was told that whoever has it is about to give it back.
pub(crate) fn lock_soon(file: &OwnedFd, wait: Duration, path: impl Fn() -> PathBuf) -> Result<()> {
    let start = Instant::now();
    loop {
        if sys::try_lock(file, false).map_err(|e| Error::system("lock", &path(), e))? {
            return Ok(());
        }
        let waited = start.elapsed();
        if waited >= SOON.min(wait) {
            return lock_busy(file, wait.saturating_sub(waited), path);
        }
        // Where all processors are busy, whoever has it may need this one.
        std::thread::yield_now();
    }
}

#[cold]
fn lock_busy(file: &OwnedFd, wait: Duration, path: impl Fn() -> PathBuf) -> Result<()> {
    if wait.is_zero() {
        return Err(Error::Busy { path: path(), by: String::new(), waited: wait });
    }
    let start = Instant::now();
    let mut pause = PAUSE_MIN;
    loop {
        std::thread::sleep(pause);
        if sys::try_lock(file, false).map_err(|e| Error::system("lock", &path(), e))? {
            return Ok(());
        }
        let waited = start.elapsed();
        if waited >= wait {
            let by = if wait < WORTH_A_NAME { String::new() } else { owner(file) };
            return Err(Error::Busy { path: path(), by, waited });
        }
        pause = pause_after(waited).min(wait - waited);
    }
}

/// The pause before the next attempt of one that has `waited` so long.
pub(crate) fn pause_after(waited: Duration) -> Duration {
    (waited / PAUSE_SHARE).clamp(PAUSE_MIN, PAUSE_MAX)
}

/// Who has `file` locked, as far as the kernel shows it to us.
///
/// **For the last word only**: while `/proc/locks` is read nobody on the machine can lock any file,
/// and the kernel makes them wait for milliseconds.
#[cold]
pub(crate) fn owner(file: &OwnedFd) -> String {
    let unknown = || "a process that is not visible from here".to_owned();
    let (Ok(stat), Ok(locks)) = (sys::stat(file), try_read_proc("/proc/locks")) else {
        return unknown();
    };
    let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
    let target = format!("{major:02x}:{minor:02x}:{}", stat.st_ino);
    let Some(pid) = locks.lines().find_map(|line| pid_of(line, &target)) else { return unknown() };
    match stat_of(pid).ok().flatten() {
        Some(stat) if matches!(stat.state, 'T' | 't') => format!("process {pid} (stopped)"),
        Some(_) => format!("process {pid}"),
        None => format!("process {pid} (its children, or not visible from here)"),
    }
}

/// The process of a line such as `1: FLOCK  ADVISORY  WRITE 708 08:01:131 0 EOF`.
fn pid_of(line: &str, target: &str) -> Option<u32> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (kind, _, mode) = (fields.next()?, fields.next()?, fields.next()?);
    let (pid, file) = (fields.next()?, fields.next()?);
    let ours = kind == "FLOCK" && mode == "WRITE" && file == target;
    ours.then(|| pid.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use rustix::fs::Mode;

    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn who_was_told_too_soon_waits_like_anybody_else() {
        let scratch = Scratch::new();
        let folder = scratch.open();
        rustix::fs::mkfifoat(folder.dir(), "pipe", Mode::RUSR | Mode::WUSR).unwrap();
        let open = || sys::open(folder.dir(), "pipe").unwrap();
        let (one, other) = (open(), open());
        let lock = |wait| lock_soon(&other, Duration::from_micros(wait), || "pipe".into());
        assert!(sys::try_lock(&one, false).unwrap());
        for wait in [0, 10, 5_000] {
            assert!(matches!(lock(wait), Err(Error::Busy { .. })), "{wait}");
        }
        std::thread::scope(|scope| {
            let late = scope.spawn(|| lock(60_000_000));
            std::thread::sleep(Duration::from_millis(20));
            sys::unlock(&one);
            late.join().unwrap().unwrap();
        });
        assert!(!sys::try_lock(&one, false).unwrap());
    }

    #[test]
    fn lines_of_proc_locks_are_told_apart() {
        let line = "1: FLOCK  ADVISORY  WRITE 708 08:01:131 0 EOF";
        assert_eq!(pid_of(line, "08:01:131"), Some(708));
        assert_eq!(pid_of(line, "08:01:13"), None);
        assert_eq!(pid_of("2: POSIX  ADVISORY  WRITE 708 08:01:131 0 EOF", "08:01:131"), None);
        assert_eq!(pid_of("1: -> FLOCK  ADVISORY  WRITE 9 08:01:131 0 EOF", "08:01:131"), None);
        assert_eq!(pid_of("", "08:01:131"), None);
    }
}
