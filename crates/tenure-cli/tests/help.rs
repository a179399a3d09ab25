//! The texts users read first, as files: `SNAPSHOTS=overwrite cargo test -p tenure-cli --test help`
//! rewrites them, and the diff is reviewed.
//! Owns no behaviour; values are checked in `bad_input.rs`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Ran, tenure};
use snapbox::{assert_data_eq, file};

fn printed(args: &[&str]) -> String {
    let ran = Ran::of(&tenure().args(args).output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
    ran.stdout
}

#[test]
fn help_texts() {
    assert_data_eq!(printed(&["--help"]), file!["snapshots/help.txt"]);
    assert_data_eq!(printed(&["run", "--help"]), file!["snapshots/help-run.txt"]);
    assert_data_eq!(printed(&["run", "-h"]), file!["snapshots/help-run-short.txt"]);
    assert_data_eq!(printed(&["ls", "--help"]), file!["snapshots/help-ls.txt"]);
    assert_data_eq!(printed(&["show", "--help"]), file!["snapshots/help-show.txt"]);
    assert_data_eq!(printed(&["man", "--help"]), file!["snapshots/help-man.txt"]);
    let completions = printed(&["completions", "--help"]);
    assert_data_eq!(completions, file!["snapshots/help-completions.txt"]);
}

#[test]
fn manual_pages() {
    let page = |args| printed(args).replace(env!("CARGO_PKG_VERSION"), "VERSION");
    assert_data_eq!(page(&["man"]), file!["snapshots/tenure.1"]);
    assert_data_eq!(page(&["man", "run"]), file!["snapshots/tenure-run.1"]);
}

#[test]
fn every_shell_completes_the_options_of_run() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let text = printed(&["completions", shell]);
        for option in ["conflict-exit-code", "at-least", "status-fd", "completions"] {
            assert!(text.contains(option), "{shell}: {option}");
        }
    }
}

#[test]
fn every_exit_code_stands_in_the_manual() {
    let manual = printed(&["run", "--help"]);
    for code in ["123", "124", "125", "126", "127", "128+n", "130 INT", "143 TERM"] {
        assert!(manual.contains(code), "{code}");
    }
}

#[test]
fn version() {
    assert_eq!(printed(&["--version"]), format!("tenure {}\n", env!("CARGO_PKG_VERSION")));
}
