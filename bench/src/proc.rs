//! Commands and processes: what they cost, and whether they wait.
//!
//! Owns starting, timing and ending the measured processes. Knows nothing of what they are for.
//! **A process started here is ended here**, also when a row fails half way.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};

/// The monotonic clock, which all processes of a machine share, in microseconds.
#[must_use]
pub fn now_us() -> f64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec as f64 * 1e6 + t.tv_nsec as f64 / 1e3
}

/// Microseconds of processor time, user and system, of all children waited for so far. The
/// difference around one child is what wait4 reports of that child.
fn children_cpu_us() -> Result<f64> {
    let used = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
    Ok((used.user_time() + used.system_time()).num_microseconds() as f64)
}

/// Has Cargo build what `args` name, as it does at a prompt.
///
/// `cargo run` tells a program of its own package, and what has a build script that looks at such
/// variables (ring has) was built anew each time, with all that stands on it.
///
/// # Errors
/// If Cargo cannot be started, or says that it failed.
pub fn cargo_build(args: &[&str]) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet"]).args(args);
    let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "OUT_DIR"];
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| told.iter().any(|told| name.starts_with(told))) {
            cargo.env_remove(name);
        }
    }
    let status = cargo.status().context("start cargo")?;
    ensure!(status.success(), "cargo build {args:?}: {status}");
    Ok(())
}

/// Runs `command` to its end: wall and processor time in microseconds.
///
/// # Errors
/// If it cannot be started or does not exit with 0.
pub fn timed(command: &mut Command) -> Result<[f64; 2]> {
    let cpu = children_cpu_us()?;
    let start = Instant::now();
    let status = command.status().with_context(|| format!("start {command:?}"))?;
    let wall = start.elapsed().as_secs_f64() * 1e6;
    ensure!(status.success(), "{command:?}: {status}");
    Ok([wall, children_cpu_us()? - cpu])
}

/// A running process. Dropping it kills it and waits for it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: Option<BufReader<ChildStdout>>,
}

impl Running {
    /// Starts `command` with both ends of its standard input and output here.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn talking(command: &mut Command) -> Result<Self> {
        Self::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))
    }

    /// Starts `command` as it is.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.spawn().with_context(|| format!("start {command:?}"))?;
        let (input, output) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        Ok(Self { child, input, output })
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes one line to it.
    ///
    /// # Errors
    /// If it is gone.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("its input is closed")?;
        input.write_all(format!("{line}\n").as_bytes()).context("write to a child")
    }

    /// Reads one line from it.
    ///
    /// # Errors
    /// If it is gone.
    pub fn hear(&mut self) -> Result<String> {
        let output = self.output.as_mut().context("its output is not ours")?;
        let mut line = String::new();
        ensure!(output.read_line(&mut line)? > 0, "a child ended without an answer");
        Ok(line.trim_end().to_owned())
    }

    /// Reads a number from it.
    ///
    /// # Errors
    /// If it is gone or says something else.
    pub fn hear_number(&mut self) -> Result<f64> {
        let line = self.hear()?;
        line.parse().with_context(|| format!("{line:?}: expected a number"))
    }

    /// Closes its standard input: for a gate, the signal to go on.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.close_input();
        self.child.wait().context("wait for a child")
    }

    /// Waits for its end, which must be exit code 0.
    ///
    /// # Errors
    /// If it ends otherwise.
    pub fn finish(mut self) -> Result<()> {
        let status = self.wait()?;
        ensure!(status.success(), "a child ended with {status}");
        Ok(())
    }

    /// Sends it SIGKILL and does not wait.
    ///
    /// # Errors
    /// If it is gone.
    pub fn kill(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::KILL)?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a child that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks `ready` again and again until it says yes.
///
/// # Errors
/// Its own, or after 60 s that `what` did not happen.
pub fn until(what: &str, mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !ready()? {
        if start.elapsed() > Duration::from_secs(60) {
            bail!("{what}: not within 60 s");
        }
        std::thread::sleep(Duration::from_micros(300));
    }
    Ok(())
}

/// How many processes wait in flock(2) for the file at `path`.
///
/// # Errors
/// If the file or the kernel's table cannot be read.
pub fn flock_waiters(path: &Path) -> Result<usize> {
    let inode = format!(":{} ", fs::metadata(path)?.ino());
    let table = fs::read_to_string("/proc/locks").context("/proc/locks")?;
    Ok(table.lines().filter(|l| l.contains("-> FLOCK") && l.contains(&inode)).count())
}

/// Processor time of a process so far in microseconds, all its threads, and how often it went to
/// sleep.
///
/// # Errors
/// If it is gone.
pub fn cpu_of(pid: u32) -> Result<(f64, u64)> {
    let (mut nanos, mut sleeps) = (0_u64, 0);
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        let stat = fs::read_to_string(task.join("schedstat")).context("schedstat")?;
        nanos += stat.split(' ').next().unwrap_or_default().parse::<u64>().context("schedstat")?;
        sleeps += status_field(&task.join("status"), "voluntary_ctxt_switches:")?;
    }
    Ok((nanos as f64 / 1e3, sleeps))
}

/// Resident size of a process in KiB: now, and the most so far.
///
/// # Errors
/// If it is gone.
pub fn resident_of(pid: u32) -> Result<[u64; 2]> {
    let status = format!("/proc/{pid}/status");
    let field = |name| status_field(Path::new(&status), name);
    Ok([field("VmRSS:")?, field("VmHWM:")?])
}

fn status_field(path: &Path, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().find_map(|l| l.strip_prefix(name)).with_context(|| name.to_owned())?;
    line.split_whitespace().next().unwrap_or_default().parse().with_context(|| name.to_owned())
}

/// The children of a process, and theirs.
///
/// # Errors
/// If it is gone.
pub fn descendants(pid: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    let mut left = vec![pid];
    while let Some(pid) = left.pop() {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let children = text.split_whitespace().map(|w| w.parse::<u32>().context("children"));
        let children = children.collect::<Result<Vec<_>>>()?;
        left.extend(&children);
        found.extend(children);
    }
    Ok(found)
}

/// Whether a process still runs its program: it exists, is no zombie, and is not about to be one.
#[must_use]
pub fn runs(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| is_of_running(&stat))
}

/// A process on its way out closes its files, and so frees its locks, a moment before it becomes a
/// zombie, and where the machine has no time for it that moment lasts. The kernel marks it with
/// `PF_EXITING` before all that: nothing of the program is run any more.
fn is_of_running(stat: &str) -> bool {
    const EXITING: u32 = 0x4;
    let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let state = fields.next().filter(|state| !state.is_empty());
    let flags = fields.nth(5).and_then(|flags| flags.parse::<u32>().ok());
    state.is_some_and(|s| !matches!(s, "Z" | "X")) && flags.is_some_and(|f| f & EXITING == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_timed_and_its_failure_told() {
        let [wall, _] = timed(Command::new("sleep").arg("0.05")).unwrap();
        assert!(wall >= 50_000.0, "{wall}");
        let busy = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done";
        let [_, cpu] = timed(Command::new("sh").args(["-c", busy])).unwrap();
        assert!(cpu > 1_000.0, "{cpu}");
        let error = timed(&mut Command::new("false")).unwrap_err();
        assert!(error.to_string().contains("exit status: 1"), "{error}");
    }

    #[test]
    fn a_talking_child_answers_and_ends() {
        let mut cat = Running::talking(&mut Command::new("cat")).unwrap();
        cat.tell("12.5").unwrap();
        assert_eq!(cat.hear_number().unwrap(), 12.5);
        assert!(runs(cat.pid()));
        assert!(cpu_of(cat.pid()).unwrap().0 > 0.0);
        let [now, most] = resident_of(cat.pid()).unwrap();
        assert!(0 < now && now <= most, "{now} {most}");
        cat.finish().unwrap();
    }

    #[test]
    fn a_dropped_child_is_gone() {
        let sleep = Running::start(Command::new("sleep").arg("1000")).unwrap();
        let pid = sleep.pid();
        drop(sleep);
        assert!(!runs(pid));
    }

    #[test]
    fn who_is_on_its_way_out_does_not_run() {
        let line = |state, flags| format!("12 (a) b) {state} 1 12 7 0 -1 {flags} 100 0 0");
        assert!(is_of_running(&line('R', 4_194_304)) && is_of_running(&line('D', 0)));
        assert!(!is_of_running(&line('R', 4_228_108)) && !is_of_running(&line('Z', 4_194_304)));
        assert!(!is_of_running("") && !is_of_running("12 (a"));
    }

    #[test]
    fn waiters_in_flock_are_counted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        rustix::fs::flock(file.as_file(), rustix::fs::FlockOperation::LockExclusive).unwrap();
        assert_eq!(flock_waiters(file.path()).unwrap(), 0);
        let _waiter = Running::start(Command::new("flock").arg(file.path()).arg("true")).unwrap();
        until("wait", || Ok(flock_waiters(file.path())? == 1)).unwrap();
    }

    #[test]
    fn descendants_of_a_script() {
        let script = "sleep 1000 & sleep 1000 & echo on; wait";
        let mut sh = Running::talking(Command::new("sh").args(["-c", script])).unwrap();
        sh.hear().unwrap();
        let found = descendants(sh.pid()).unwrap();
        assert_eq!(found.len(), 2);
        for pid in found {
            kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
        }
    }
}
