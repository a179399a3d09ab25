//! The parts of a Rust toolchain that the checks need and a minimal one lacks.
//!
//! Owns finding and adding them; the checks themselves know nothing of it.

use std::process::{Command, Stdio};

use crate::workspace::cargo;

/// Component and the cargo command that it brings.
const COMPONENTS: [(&str, &str); 2] = [("rustfmt", "fmt"), ("clippy", "clippy")];

/// Adds what is missing by rustup, or says how to get it.
pub(crate) fn ensure() -> Result<(), String> {
    let missing = missing(|command| succeeds(cargo().args([command, "--version"])));
    if missing.is_empty() {
        return Ok(());
    }
    println!("adding to the toolchain: {}", missing.join(" "));
    if succeeds(Command::new("rustup").args(["component", "add"]).args(&missing)) {
        return Ok(());
    }
    Err(remedy(&missing))
}

fn missing(is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let lacking = COMPONENTS.iter().filter(|(_, command)| !is_there(command));
    lacking.map(|(component, _)| *component).collect()
}

fn remedy(missing: &[&str]) -> String {
    let names = missing.join(" ");
    format!(
        "the toolchain lacks {names}: run `rustup component add {names}`, or install the packages \
         of these names"
    )
}

fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_what_brings_it() {
        assert_eq!(missing(|_| true), Vec::<&str>::new());
        assert_eq!(missing(|command| command == "fmt"), ["clippy"]);
        let both = missing(|_| false);
        assert!(remedy(&both).contains("rustup component add rustfmt clippy"));
    }

    #[test]
    fn a_command_that_is_not_there_does_not_succeed() {
        assert!(!succeeds(&mut Command::new("no-such-program-here")));
        assert!(!succeeds(cargo().args(["no-such-command-here", "--version"])));
    }
}
