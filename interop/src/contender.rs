//! A contender as a process: what it says, and how it is ended.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How many lines of complaint are kept.
const ERRORS_MAX: usize = 20;

/// A contender that runs. It is killed when this is dropped.
pub struct Contender {
    name: String,
    child: Child,
    lines: Receiver<(Instant, String)>,
    heard: Vec<String>,
    /// The last of its complaints: shown if the test fails.
    errors: Arc<Mutex<Vec<String>>>,
}

impl Contender {
    /// Starts it.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(name: &str, command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{name}: {command:?}: {e}"));
        let (send, lines) = channel();
        if let Some(output) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if send.send((Instant::now(), line)).is_err() {
                        break;
                    }
                }
            });
        }
        let errors = Arc::new(Mutex::new(Vec::new()));
        if let Some(output) = child.stderr.take() {
            let errors = errors.clone();
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let mut kept = errors.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.push(line);
                    let over = kept.len().saturating_sub(ERRORS_MAX);
                    kept.drain(..over);
                }
            });
        }
        Self { name: name.to_owned(), child, lines, heard: Vec::new(), errors }
    }

    /// Waits for a line that begins so, past others; the rest of it and when it came.
    ///
    /// # Panics
    /// If it does not come in time, or the contender ends before.
    pub fn says(&mut self, begin: &str, limit: Duration) -> (Instant, String) {
        let until = Instant::now() + limit;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok((at, line)) => {
                    self.heard.push(line.clone());
                    if let Some(rest) = line.strip_prefix(begin) {
                        return (at, rest.trim().to_owned());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("no `{begin}` in {limit:?}: {self}")
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("ended without `{begin}`: {self}")
                }
            }
        }
    }

    /// Asserts that nothing was said that begins so, up to now.
    ///
    /// # Panics
    /// If something was.
    pub fn has_not_said(&mut self, begin: &str) {
        self.heard.extend(self.lines.try_iter().map(|(_, line)| line));
        let said = self.heard.iter().any(|line| line.starts_with(begin));
        assert!(!said, "`{begin}` was said: {self}");
    }

    /// Every line until it has ended by itself.
    ///
    /// # Panics
    /// If it failed.
    pub fn ends(&mut self, limit: Duration) -> Vec<String> {
        let until = Instant::now() + limit;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok((_, line)) => self.heard.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("has not ended in {limit:?}: {self}")
                }
            }
        }
        let status = self.child.wait().unwrap_or_else(|e| panic!("{}: {e}", self.name));
        assert!(status.success(), "{status}: {self}");
        std::mem::take(&mut self.heard)
    }

    /// Ends it with SIGKILL: it cannot release.
    ///
    /// # Panics
    /// If it has ended before.
    pub fn kill(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        assert!(ended.is_none(), "{}: {ended:?} before it was killed", self.name);
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.unwrap_or_else(|e| panic!("{}: {e}", self.name));
    }

    /// Sends SIGTERM: it ends its work, and releases.
    ///
    /// # Panics
    /// If that cannot be sent.
    pub fn terminate(&self) {
        let status = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(status.is_ok_and(|s| s.success()), "{}: cannot be ended", self.name);
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, heard) = (&self.name, &self.heard);
        write!(f, "{name}: it said {heard:?}, and of errors {errors:#?}")
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
