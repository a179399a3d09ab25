//! The exit codes that are tenure's own, and the one line that goes with each.
//!
//! Owns the numbers of the manual's table and nothing else; a child's own code passes by unseen.
//! The table in `help.rs` and these constants say the same.

use std::fmt::Display;

use serde::Serialize;

use crate::contend::By;
use crate::{signals, terminal};

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

/// SIGINT.
pub(crate) const INT: i32 = rustix::process::Signal::INT.as_raw();

/// What a run came to, for scripts: an exit code alone may be tenure's or the command's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The command ended, and the code is its own.
    Command,
    /// The lock was lost.
    Lost,
    /// Somebody had the lock.
    Busy,
    /// Somebody had it all the time.
    TimedOut,
    /// tenure was told to end while there was no command.
    Interrupted,
    /// tenure failed, or the command could not be started.
    Failed,
}

/// An end that is tenure's doing: the code, and what to say on stderr.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    /// Without the leading `tenure: `; `None` where nothing is to be said.
    pub(crate) text: Option<String>,
    /// The interrupt to end by: at a terminal, where shells tell it from an exit with code 130.
    pub(crate) interrupt: Option<Interrupt>,
    pub(crate) outcome: Outcome,
    /// Who was in the way.
    pub(crate) held_by: Option<Box<By>>,
}

/// Whom an interrupt still has to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// Only ourselves: whoever else it was meant for has had it.
    Us,
    /// Our whole process group: Ctrl-C went to the command's group alone.
    OurGroup,
}

impl Failure {
    /// Code 125 with this text.
    pub(crate) fn new(text: impl Display) -> Self {
        Self::with_code(FAILED, text)
    }

    /// `code` with this text.
    pub(crate) fn with_code(code: u8, text: impl Display) -> Self {
        Self { text: Some(text.to_string()), ..Self::silent(code) }
    }

    /// `code` without a word.
    pub(crate) const fn silent(code: u8) -> Self {
        Self { code, text: None, interrupt: None, outcome: Outcome::Failed, held_by: None }
    }

    /// The lock was lost; why has been said.
    pub(crate) fn lost() -> Self {
        Self { outcome: Outcome::Lost, ..Self::silent(LOST) }
    }

    /// The end that signal `number` asked for while there was no child to pass it to.
    pub(crate) fn by_signal(number: i32) -> Self {
        let interrupt = (number == INT && terminal::in_front()).then_some(Interrupt::Us);
        let outcome = Outcome::Interrupted;
        Self { interrupt, outcome, ..Self::silent(signal_code(number)) }
    }

    /// The command was ended by an interrupt, and so are we: a script around us would take an
    /// exit for a command that dealt with Ctrl-C, and go on with its next line.
    /// `foreground`: it had the terminal, so that the keys reached it alone.
    pub(crate) fn interrupted(foreground: bool) -> Self {
        let interrupt = match foreground {
            true => Some(Interrupt::OurGroup),
            false => terminal::in_front().then_some(Interrupt::Us),
        };
        Self { interrupt, outcome: Outcome::Command, ..Self::silent(signal_code(INT)) }
    }

    /// Says it and gives the code, or ends here by the interrupt.
    pub(crate) fn report(self) -> u8 {
        if let Some(text) = self.text {
            complain(&text);
        }
        if let Some(interrupt) = self.interrupt {
            signals::end_by_interrupt(interrupt);
        }
        self.code
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
