//! Where the figures come from: machine, kernel, file system, versions.
//!
//! Owns the report's heading. **Names no person, host or path.**

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// The paragraph over the table. `dir` is where the locks are kept.
#[must_use]
pub fn describe(dir: &Path) -> String {
    let uname = rustix::system::uname();
    let mut out = String::new();
    let kernel = uname.release().to_string_lossy();
    let _ = writeln!(out, "- machine: {} cores, {}, {} MiB", cores(), model(), memory_mib());
    let _ = writeln!(out, "- kernel: Linux {kernel} {}", uname.machine().to_string_lossy());
    let _ = writeln!(out, "- file system of the locks: {}", filesystem(dir));
    let _ = writeln!(out, "- flock(1): {}; rustc: {}", first_line("flock", "-V"), rustc());
    let _ = writeln!(out, "- scheduled as: {}", scheduling());
    let _ = write!(out, "- load before: {}", load());
    out
}

/// Policy and priority of this process, which all that it starts inherit.
fn scheduling() -> String {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').unwrap_or_default().1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    // Fields 19, 40 and 41 of proc_pid_stat(5); the first after the name is field 3.
    let field = |n: usize| fields.get(n - 3).copied().unwrap_or("?");
    match field(41) {
        "1" => format!("real time, first in first out, priority {}", field(40)),
        "2" => format!("real time, round robin, priority {}", field(40)),
        _ => format!("ordinary, nice {}", field(19)),
    }
}

/// The three load averages.
#[must_use]
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// How long this program did not run although it wanted to, at most. A machine that was stopped for
/// seconds, as a virtual one may be, makes any time look longer, and no load shows it.
#[derive(Clone, Debug, Default)]
pub struct Standstill(Arc<AtomicU64>);

impl Standstill {
    /// Between two looks.
    const PAUSE: Duration = Duration::from_millis(50);

    /// Looks until the program ends.
    #[must_use]
    pub fn watched() -> Self {
        let watched = Self::default();
        let longest = Arc::clone(&watched.0);
        std::thread::spawn(move || {
            loop {
                // A wall clock also moves on while a machine is stopped.
                let slept = SystemTime::now();
                std::thread::sleep(Self::PAUSE);
                let over = slept.elapsed().unwrap_or_default().saturating_sub(Self::PAUSE);
                longest.fetch_max(u64::try_from(over.as_millis()).unwrap_or(0), Relaxed);
            }
        });
        watched
    }

    /// The longest so far, in milliseconds.
    #[must_use]
    pub fn longest(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Processor time of the machine and of this program, to tell how much others used in between.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Seconds that all processors were busy, and that have passed on all of them.
    busy: f64,
    passed: f64,
    /// Seconds used by this process and the children it waited for.
    own: f64,
}

impl Share {
    /// Since the machine started.
    ///
    /// # Errors
    /// If the kernel's table cannot be read.
    pub fn now() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
        let first = stat.lines().next().unwrap_or_default();
        let ticks: Vec<f64> = first.split_whitespace().filter_map(|w| w.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; what guests use is counted in user.
        ensure!(ticks.len() >= 8, "/proc/stat begins with {first:?}");
        let passed: f64 = ticks[..8].iter().sum();
        let second = rustix::param::clock_ticks_per_second() as f64;
        let busy = passed - ticks[3] - ticks[4];
        Ok(Self { busy: busy / second, passed: passed / second, own: own_cpu()? })
    }

    /// Which part of the machine others used since then, 0 to 1.
    ///
    /// # Errors
    /// If the kernel's table cannot be read.
    pub fn of_others(&self) -> Result<f64> {
        let now = Self::now()?;
        let others = (now.busy - self.busy) - (now.own - self.own);
        Ok((others / (now.passed - self.passed).max(0.01)).clamp(0.0, 1.0))
    }
}

fn own_cpu() -> Result<f64> {
    let mut sum = 0.0;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let used = getrusage(who).context("getrusage")?;
        sum += (used.user_time() + used.system_time()).num_microseconds() as f64 / 1e6;
    }
    Ok(sum)
}

/// How many processors this process may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

fn model() -> String {
    field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".into())
}

fn memory_mib() -> u64 {
    let total = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    total.trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1024
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|l| l.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The type and options of the mount that `dir` is on: the longest mount point above it.
fn filesystem(dir: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (point, kind, options) = (words.next()?, words.next()?, words.next()?);
            dir.starts_with(point).then(|| (point.len(), format!("{kind} ({options})")))
        })
        .max_by_key(|(length, _)| *length)
        .map_or_else(|| "unknown".into(), |(_, text)| text)
}

fn rustc() -> String {
    first_line("rustc", "-V").trim_start_matches("rustc ").to_owned()
}

fn first_line(program: &str, flag: &str) -> String {
    let out = Command::new(program).arg(flag).output().map(|o| o.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&out);
    text.lines().next().unwrap_or("not found").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_ours_is_not_others() {
        let start = Share::now().unwrap();
        let busy = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
        assert!(Command::new("sh").args(["-c", busy]).status().unwrap().success());
        let now = Share::now().unwrap();
        assert!(now.own - start.own > 0.02, "{start:?} {now:?}");
        assert!((0.0..=1.0).contains(&start.of_others().unwrap()));
    }

    #[test]
    fn the_heading_names_this_machine() {
        let text = describe(Path::new("/"));
        assert!(text.contains("kernel: Linux "), "{text}");
        assert!(text.contains("file system of the locks: "), "{text}");
        assert!(
            text.contains("scheduled as: ordinary, nice ") || text.contains("real time"),
            "{text}"
        );
        assert!(!text.contains("unknown\n"), "{text}");
        assert_eq!(load().split(' ').count(), 3);
    }
}
