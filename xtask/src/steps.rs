//! One step of a chore: it says what it does, how long it took, and what mends it.
//!
//! Owns the lines of progress. Refuses to decide whether to go on after a failure.

use std::io::{BufRead, BufReader, PipeReader, Write, pipe, stdout};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::workspace::shown;

/// What is wrong: a line each, each naming the file and what would be right.
pub(crate) type Findings = Vec<String>;

/// First words of the lines in which cargo tells what it is at.
const PROGRESS: &[&str] = &[
    "Blocking",
    "Checking",
    "Compiling",
    "Documenting",
    "Downloaded",
    "Downloading",
    "Fresh",
    "Locking",
    "Updating",
];

/// More findings than this are the same one again.
const SHOWN_MAX: usize = 30;

/// Runs `step`, prints its line, and tells whether nothing was found.
pub(crate) fn step(name: &str, mend: &str, step: impl FnOnce() -> Findings) -> bool {
    let begun = begin(name);
    let findings = step();
    let took = begun.elapsed().as_secs_f64();
    if findings.is_empty() {
        println!("ok {took:6.1} s");
        return true;
    }
    println!("FAILED {took:.1} s");
    for finding in findings.iter().take(SHOWN_MAX) {
        println!("  {finding}");
    }
    if findings.len() > SHOWN_MAX {
        println!("  .. and {} more", findings.len() - SHOWN_MAX);
    }
    println!("  -> {mend}");
    false
}

fn begin(name: &str) -> Instant {
    print!("{name:<44} ");
    // A progress line that cannot be shown is no reason to stop.
    let _ = stdout().flush();
    Instant::now()
}

/// Runs a command that says itself what is wrong. Its output is a finding if it fails.
pub(crate) fn run(command: &mut Command) -> Findings {
    let mut said = String::new();
    let heard = stream(command, |line| {
        let first = line.split_whitespace().next().unwrap_or_default();
        if !PROGRESS.contains(&first) {
            said.push_str("\n  ");
            said.push_str(line);
        }
    });
    match heard {
        Ok(true) => Vec::new(),
        Ok(false) => vec![format!("`{}` failed:{said}", shown(command))],
        Err(why) => vec![why],
    }
}

/// Runs a command and hands over each line of its stdout and stderr, in the order they came.
/// Returns whether it succeeded.
pub(crate) fn stream(command: &mut Command, mut line: impl FnMut(&str)) -> Result<bool, String> {
    let (reader, mut child) = spawn(command).map_err(|e| format!("`{}`: {e}", shown(command)))?;
    for bytes in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
        line(&String::from_utf8_lossy(&bytes));
    }
    child.wait().map(|status| status.success()).map_err(|e| format!("`{}`: {e}", shown(command)))
}

fn spawn(command: &mut Command) -> std::io::Result<(PipeReader, Child)> {
    let (reader, writer) = pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let child = command.spawn();
    // The command keeps its copies of the writing end, and the pipe would never end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Ok((reader, child?))
}
