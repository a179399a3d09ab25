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
    assert_data_eq!(printed(&["wait", "--help"]), file!["snapshots/help-wait.txt"]);
    assert_data_eq!(printed(&["acquire", "--help"]), file!["snapshots/help-acquire.txt"]);
    assert_data_eq!(printed(&["acquire", "-h"]), file!["snapshots/help-acquire-short.txt"]);
    assert_data_eq!(printed(&["renew", "--help"]), file!["snapshots/help-renew.txt"]);
    assert_data_eq!(printed(&["release", "--help"]), file!["snapshots/help-release.txt"]);
    assert_data_eq!(printed(&["steal", "--help"]), file!["snapshots/help-steal.txt"]);
    assert_data_eq!(printed(&["repair", "--help"]), file!["snapshots/help-repair.txt"]);
    assert_data_eq!(printed(&["doctor", "--help"]), file!["snapshots/help-doctor.txt"]);
    let completions = printed(&["completions", "--help"]);
    assert_data_eq!(completions, file!["snapshots/help-completions.txt"]);
}

#[test]
fn manual_pages() {
    let page = |args| printed(args).replace(env!("CARGO_PKG_VERSION"), "VERSION");
    assert_data_eq!(page(&["man"]), file!["snapshots/tenure.1"]);
    assert_data_eq!(page(&["man", "run"]), file!["snapshots/tenure-run.1"]);
    assert_data_eq!(page(&["man", "show"]), file!["snapshots/tenure-show.1"]);
    assert_data_eq!(page(&["man", "wait"]), file!["snapshots/tenure-wait.1"]);
    assert_data_eq!(page(&["man", "acquire"]), file!["snapshots/tenure-acquire.1"]);
    assert_data_eq!(page(&["man", "renew"]), file!["snapshots/tenure-renew.1"]);
    assert_data_eq!(page(&["man", "release"]), file!["snapshots/tenure-release.1"]);
    assert_data_eq!(page(&["man", "steal"]), file!["snapshots/tenure-steal.1"]);
    assert_data_eq!(page(&["man", "repair"]), file!["snapshots/tenure-repair.1"]);
}

/// Whoever adds a verb adds its manual.
#[test]
fn every_verb_has_a_help_with_examples_and_a_page_with_them() {
    let verbs = printed(&["--help"]);
    let verbs = verbs.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let verbs: Vec<&str> =
        verbs.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(verbs.len(), 13, "{verbs:?}");
    for verb in verbs {
        let help = printed(&[verb, "--help"]);
        assert!(
            help.contains("\nExamples:\n  tenure") || help.contains("\nExamples:\n  trap"),
            "{help}"
        );
        let page = printed(&["man", verb]);
        assert!(page.contains(".SH EXAMPLES"), "{page}");
    }
}

#[test]
fn every_shell_completes_every_verb_and_its_options() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let text = printed(&["completions", shell]);
        let verbs = ["completions", "wait", "acquire", "renew", "release", "steal", "repair"];
        let options =
            ["conflict-exit-code", "at-least", "status-fd", "hold", "after-expiry", "yes"];
        for option in verbs.iter().chain(&options) {
            assert!(text.contains(option), "{shell}: {option}");
        }
    }
}

#[test]
fn every_exit_code_stands_in_the_manual() {
    for (verb, codes) in [
        ("run", &["123", "124", "125", "126", "127", "128+n", "130 INT", "143 TERM"][..]),
        ("acquire", &["0", "123", "124", "125", "128+n", "130 INT", "143 TERM"]),
        ("wait", &["0", "124", "125", "128+n", "130 INT", "143 TERM"]),
        ("steal", &["0", "124", "125", "128+n", "130 INT", "143 TERM"]),
        ("renew", &["0", "123", "125"]),
        ("release", &["0", "123", "125"]),
        ("repair", &["0", "125"]),
    ] {
        let manual = printed(&[verb, "--help"]);
        let (_, table) = manual.split_once("\nExit codes:\n").unwrap();
        for code in codes {
            assert!(table.contains(code), "{verb}: {code}");
        }
    }
}

#[test]
fn version() {
    assert_eq!(printed(&["--version"]), format!("tenure {}\n", env!("CARGO_PKG_VERSION")));
}
