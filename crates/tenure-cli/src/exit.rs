//! The exit codes that are tenure's own, and the one line that goes with each.
//!
//! Owns the numbers of the manual's table and nothing else; a child's own code passes by unseen.
//! The table in `help.rs` and these constants say the same.

use std::fmt::Display;
use std::process::ExitCode;

/// The lock was lost before the command ended.
pub(crate) const LOST: u8 = 123;
/// Busy, or still busy when the wait ended. `-E` replaces it.
pub(crate) const BUSY: u8 = 124;
/// tenure itself failed, usage errors included.
pub(crate) const FAILED: u8 = 125;
/// The command was found and cannot be run.
pub(crate) const CANNOT_RUN: u8 = 126;
/// The command was not found.
pub(crate) const NOT_FOUND: u8 = 127;

/// An end that is tenure's doing: the code, and what to say on stderr.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    /// Without the leading `tenure: `; `None` where nothing is to be said.
    pub(crate) text: Option<String>,
}

impl Failure {
    /// Code 125 with this text.
    pub(crate) fn new(text: impl Display) -> Self {
        Self::with_code(FAILED, text)
    }

    /// `code` with this text.
    pub(crate) fn with_code(code: u8, text: impl Display) -> Self {
        Self { code, text: Some(text.to_string()) }
    }

    /// The end that signal `number` asked for while there was no child to pass it to.
    pub(crate) const fn by_signal(number: i32) -> Self {
        Self { code: signal_code(number), text: None }
    }

    /// Says it and gives the code.
    pub(crate) fn report(self) -> ExitCode {
        if let Some(text) = self.text {
            complain(&text);
        }
        ExitCode::from(self.code)
    }
}

/// 128 + n, as shells do it. Linux signals end at 64.
pub(crate) const fn signal_code(number: i32) -> u8 {
    128 + (number & 0x7f) as u8
}

/// Writes `tenure: text` to stderr as one write, so that two processes do not mix their lines.
/// A stderr that cannot be written to is no reason to fail.
pub(crate) fn complain(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(format!("tenure: {text}\n").as_bytes());
}
