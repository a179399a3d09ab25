//! What a process can know about itself and its machine: boot, namespaces, clocks, its own start.
//!
//! Owns those readings and nothing else. They are passed around as one value, so that tests can
//! pretend to run in another boot.

use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::rand::GetRandomFlags;
use rustix::time::{ClockId, clock_gettime};
use tenure_core::{Time, Wall};

use crate::{Error, Result};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Which clock a stamp was read from: stamps of two different ones must never be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Clock {
    /// Hash of the boot id.
    pub boot: u64,
    /// Inode of the time namespace; it shifts the boot-time clock.
    pub time_namespace: u32,
}

/// What does not change while a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The clock that [`Facts::now`] reads.
    pub clock: Clock,
}

impl Facts {
    /// Reads the facts of this process.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where `/proc` is not mounted.
    pub fn read() -> Result<Self> {
        let text = read_proc(BOOT_ID)?;
        let boot = hash_of_boot_id(&text).ok_or_else(|| {
            Error::Invalid(format!("{BOOT_ID} holds {text:?}, which is no boot id"))
        })?;
        let time_namespace = namespace("/proc/self/ns/time")?;
        Ok(Self { clock: Clock { boot, time_namespace } })
    }

    /// These facts, but in another boot. For tests.
    #[doc(hidden)]
    #[must_use]
    pub fn in_boot(self, boot: u64) -> Self {
        Self { clock: Clock { boot, ..self.clock } }
    }

    /// The boot-time clock.
    #[must_use]
    pub fn now(&self) -> Time {
        let (seconds, nanos) = read(ClockId::Boottime);
        Time::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    /// The wall clock.
    #[must_use]
    pub fn wall(&self) -> Wall {
        let (seconds, nanos) = read(ClockId::Realtime);
        Wall::from_micros(seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000))
    }
}

/// Seconds since the clock's epoch, none before it, and nanoseconds.
fn read(clock: ClockId) -> (u64, u64) {
    let t = clock_gettime(clock);
    match (u64::try_from(t.tv_sec), u64::try_from(t.tv_nsec)) {
        (Ok(seconds), Ok(nanos)) => (seconds, nanos),
        _ => (0, 0),
    }
}

/// The 128 bits of a boot id folded to 64.
fn hash_of_boot_id(text: &str) -> Option<u64> {
    let hex: String = text.trim().chars().filter(|c| *c != '-').collect();
    let bits = u128::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == 32)?;
    let folded = (bits >> 64) ^ (bits & u128::from(u64::MAX));
    u64::try_from(folded).ok()
}

/// The inode of a namespace link; zero on a kernel without that kind of namespace.
pub(crate) fn namespace(path: &str) -> Result<u32> {
    match rustix::fs::stat(path) {
        Ok(stat) => Ok(u32::try_from(stat.st_ino).unwrap_or(u32::MAX)),
        Err(Errno::NOENT) if Path::new("/proc/self/stat").exists() => Ok(0),
        Err(e) => Err(Error::system("read", Path::new(path), e)),
    }
}

/// Whether `/proc` numbers processes as this one's namespace does. After `unshare --pid` without a
/// new `/proc` it does not.
pub(crate) fn is_own_proc() -> bool {
    let own = rustix::fs::readlink("/proc/self", Vec::new());
    own.is_ok_and(|own| own.to_bytes() == std::process::id().to_string().as_bytes())
}

/// The text of a file in `/proc`, as far as it is UTF-8.
pub(crate) fn read_proc(path: &str) -> Result<String> {
    try_read_proc(path).map_err(|e| Error::system("read", Path::new(path), e))
}

/// The same, with the bare system error.
pub(crate) fn try_read_proc(path: &str) -> rustix::io::Result<String> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let n = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut chunk))?;
        bytes.extend_from_slice(&chunk[..n]);
        // A short read of a small file in /proc is its end, which saves asking again.
        if n < chunk.len() {
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}

/// Random bits from the kernel.
pub(crate) fn random_u64() -> Result<u64> {
    let mut bytes = [0; 8];
    // So few bytes come whole or not at all.
    rustix::io::retry_on_intr(|| rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty()))
        .map_err(|e| Error::system("read", Path::new("the kernel's random numbers"), e))?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_id_is_read_and_garbage_refused() {
        let (a, b) = (Facts::read().unwrap(), Facts::read().unwrap());
        assert_eq!(a, b);
        assert_ne!(a.clock.boot, 0);
        assert_eq!(hash_of_boot_id("00000000-0000-0001-0000-000000000003\n"), Some(2));
        for garbage in ["", "xyz", "0", "00000000-0000-0001-0000-00000000000g"] {
            assert_eq!(hash_of_boot_id(garbage), None, "{garbage:?}");
        }
    }

    #[test]
    fn the_boot_clock_moves() {
        let facts = Facts::read().unwrap();
        let (a, b) = (facts.now(), facts.now());
        assert!(b >= a && a > Time::ZERO);
        assert!(facts.wall() > Wall::from_micros(1_600_000_000_000_000));
    }
}
