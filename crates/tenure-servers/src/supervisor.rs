//! Servers that end with the process that started them.
//!
//! Owns a folder and a shell that waits at a pipe whose other end is ours alone. However this
//! process ends, the kernel closes that end; the shell then kills the servers and deletes the folder.
//! No signal of a parent's death is used: the kernel sends it when the *thread* ends that started the
//! child, and tests are threads.

use std::fs::{self, DirBuilder};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// `$1` is the folder. Each line that comes is a command of the shell. What a terminal sends to
/// everybody must not end it before it has ended the servers.
const SCRIPT: &str = r#"
trap '' INT TERM HUP QUIT PIPE
cd "$1" || exit 1
start() { name=$1; shift; "$@" >>"$name.log" 2>&1 </dev/null & echo $! >"$name.pid"; }
signal() { kill -"$2" "$(cat "$1.pid")"; }
while read -r line; do eval "$line"; done
for pid in *.pid; do kill -KILL "$(cat "$pid")"; done
wait
cd / && rm -rf "$1"
"#;

/// How long the shell may take for a line.
const PATIENCE: Duration = Duration::from_secs(20);

/// The shell and its folder.
pub(crate) struct Supervisor {
    folder: PathBuf,
    shell: Child,
    /// Gone once the servers are to end.
    lines: Mutex<Option<ChildStdin>>,
}

impl Supervisor {
    /// A supervisor of nothing yet, with a new folder that only this user can read.
    pub(crate) fn new() -> Result<Self, String> {
        let folder = new_folder()?;
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "supervisor"]).arg(&folder);
        // A group of its own: Ctrl-C is for the tests. No output: whoever reads the tests' output to
        // its end must not wait for the servers.
        shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut shell = shell.spawn().map_err(|e| format!("sh: {e}"))?;
        let lines = Mutex::new(shell.stdin.take());
        Ok(Self { folder, shell, lines })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts a program under a name, beside what runs.
    pub(crate) fn start(&self, name: &str, program: &Path, args: &[String]) -> Result<(), String> {
        let file = self.folder.join(format!("{name}.pid"));
        let _ = fs::remove_file(&file);
        let mut line = format!("start {}", quoted(name));
        let program = program.to_string_lossy();
        for word in std::iter::once(program.as_ref()).chain(args.iter().map(String::as_str)) {
            line.push(' ');
            line.push_str(&quoted(word));
        }
        self.line(&line)?;
        let begun = Instant::now();
        while self.pid(name).is_none() {
            if begun.elapsed() > PATIENCE {
                return Err(format!("{name}: the shell that should start it does not answer"));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Sends a signal, such as `STOP`, to the program of that name.
    pub(crate) fn signal(&self, name: &str, signal: &str) -> Result<(), String> {
        self.line(&format!("signal {} {}", quoted(name), quoted(signal)))
    }

    /// Whether the program of that name has not ended.
    pub(crate) fn runs(&self, name: &str) -> bool {
        let Some(pid) = self.pid(name) else { return false };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The state comes after the name in parentheses, which can hold anything.
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
    }

    pub(crate) fn pid(&self, name: &str) -> Option<u32> {
        let file = self.folder.join(format!("{name}.pid"));
        fs::read_to_string(file).ok()?.trim_end_matches('\n').parse().ok()
    }

    /// What the program of that name said.
    pub(crate) fn said(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap_or_default()
    }

    fn line(&self, line: &str) -> Result<(), String> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = lines.as_mut().ok_or("the servers were ended")?;
        writeln!(pipe, "{line}").map_err(|e| format!("the shell that runs the servers: {e}"))
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let lines = self.lines.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(lines.take());
        // It ends when the servers have; what it could say has no reader.
        let _ = self.shell.wait();
    }
}

/// On a disk: `/tmp` is often memory, and etcd's syncs would cost nothing there.
fn new_folder() -> Result<PathBuf, String> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let disk = Path::new("/var/tmp");
    let base = if disk.is_dir() { disk.to_owned() } else { std::env::temp_dir() };
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = base.join(format!("tenure-servers-{}-{number}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return Ok(folder),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(format!("{}: {e}", folder.display())),
        }
    }
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(pid: u32) -> bool {
        let begun = Instant::now();
        while Path::new(&format!("/proc/{pid}")).exists() {
            if begun.elapsed() > Duration::from_secs(30) {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    #[test]
    fn what_was_started_ends_with_the_supervisor_and_its_folder_is_gone() {
        let supervisor = Supervisor::new().unwrap();
        let args =
            ["-c".to_owned(), "echo \"it's $0\"; exec sleep 600".to_owned(), "a  b".to_owned()];
        supervisor.start("one", Path::new("/bin/sh"), &args).unwrap();
        supervisor.start("two", Path::new("/bin/sleep"), &["600".to_owned()]).unwrap();
        let pids = ["one", "two"].map(|name| supervisor.pid(name).unwrap());
        assert!(supervisor.runs("one") && supervisor.runs("two"));
        let begun = Instant::now();
        while supervisor.said("one") != "it's a  b\n" {
            assert!(begun.elapsed() < Duration::from_secs(30), "{}", supervisor.said("one"));
        }
        let folder = supervisor.folder().to_owned();
        drop(supervisor);
        assert!(!folder.exists());
        assert!(pids.into_iter().all(ended));
    }

    #[test]
    fn it_is_seen_that_a_server_ended_by_itself() {
        let supervisor = Supervisor::new().unwrap();
        supervisor.start("short", Path::new("/bin/true"), &[]).unwrap();
        let begun = Instant::now();
        while supervisor.runs("short") {
            assert!(begun.elapsed() < Duration::from_secs(30));
        }
        supervisor.start("no", Path::new("/no/such/program"), &[]).unwrap();
        while supervisor.runs("no") {
            assert!(begun.elapsed() < Duration::from_secs(30));
        }
        assert!(supervisor.said("no").contains("/no/such/program"));
    }
}
