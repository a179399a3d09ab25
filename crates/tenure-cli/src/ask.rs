//! Asking before something is done that cannot be undone.

use std::io::{IsTerminal as _, Write as _};

use crate::exit::Failure;

/// Whether the user says yes: by `--yes`, else at the terminal. Anything but `y` or `yes` is no.
///
/// # Errors
/// Without a terminal there is nobody to ask: `instead` says what to give.
pub(crate) fn confirmed(yes: bool, question: &str, instead: &str) -> Result<bool, Failure> {
    if yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(instead));
    }
    let _ = std::io::stderr().write_all(format!("tenure: {question} [y/N] ").as_bytes());
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
