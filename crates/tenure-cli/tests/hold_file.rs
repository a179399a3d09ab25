//! Hold files that are not what they should be: each has its own line and code, and nothing is lost.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::process::Command;

use common::{Bench, Ran, tenure};

/// A store with a held lock `x`, and its hold file `h`.
fn held() -> Bench {
    let bench = Bench::new();
    let ran = bench.run(&["acquire", "x", "--ttl", "1h", "--hold", "h", "--id", "me"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    bench
}

/// `renew` and `release` of `file` fail with `code` and say `says`, in one line; the lock stays held
/// and the file stays as it was.
fn refused(bench: &Bench, file: &str, says: &str) {
    let before = fs::read(bench.path(file)).ok();
    for verb in ["renew", "release"] {
        let ran = bench.run(&[verb, "--hold", file]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(125), ""), "{verb} {says}: {ran:?}");
        assert!(ran.stderr.contains(says) && ran.stderr.contains(file), "{says}: {ran:?}");
        assert_eq!(ran.stderr.matches('\n').count(), 1, "{ran:?}");
    }
    assert_eq!(fs::read(bench.path(file)).ok(), before);
    assert_eq!(bench.show("x")["state"], "held");
}

#[test]
fn a_missing_file() {
    let bench = held();
    refused(&bench, "nowhere", "does not exist");
}

#[test]
fn a_file_cut_off_anywhere() {
    let bench = held();
    let whole = fs::read(bench.path("h")).unwrap();
    for length in (0..whole.len() - 1).step_by(9).chain([whole.len() - 2]) {
        fs::write(bench.path("cut"), &whole[..length]).unwrap();
        refused(&bench, "cut", "cut off");
    }
    assert_eq!(bench.run(&["release", "--hold", "h"]).code, Some(0));
}

#[test]
fn a_file_changed_anywhere() {
    let bench = held();
    let whole = fs::read(bench.path("h")).unwrap();
    for at in (0..whole.len() - 1).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] = if bytes[at] == b'7' { b'8' } else { b'7' };
        fs::write(bench.path("changed"), &bytes).unwrap();
        for verb in ["renew", "release"] {
            let ran = bench.run(&[verb, "--hold", "changed"]);
            assert_eq!(ran.code, Some(125), "{at}: {ran:?}");
            assert_eq!(ran.stderr.matches('\n').count(), 1, "{ran:?}");
        }
        assert_eq!(bench.show("x")["state"], "held");
    }
}

#[test]
fn what_is_no_hold_file() {
    let bench = held();
    fs::write(bench.path("text"), "hello\n").unwrap();
    refused(&bench, "text", "not what tenure wrote");
    fs::write(bench.path("json"), "{\"a\":1}\n").unwrap();
    refused(&bench, "json", "no hold file");
    fs::create_dir(bench.path("folder")).unwrap();
    refused(&bench, "folder", "no file");
    assert!(Command::new("mkfifo").arg(bench.path("pipe")).status().unwrap().success());
    for verb in ["renew", "release"] {
        let ran = bench.run(&[verb, "--hold", "pipe"]);
        assert!(ran.code == Some(125) && ran.stderr.contains("no file"), "{ran:?}");
    }
    std::os::unix::fs::symlink("h", bench.path("link")).unwrap();
    refused(&bench, "link", "symbolic link");
}

#[test]
fn a_file_of_a_newer_tenure() {
    let bench = held();
    let text = bench.read("h").replace("\"tenure_hold\":1", "\"tenure_hold\":2");
    fs::write(bench.path("newer"), text).unwrap();
    refused(&bench, "newer", "of a newer tenure: form 2, this one knows 1");
}

#[test]
fn a_file_of_another_store() {
    let bench = held();
    let other = format!("local:{}", bench.path("other").display());
    let with = |verb: &str, from_env: bool| {
        let mut command = tenure();
        command.args([verb, "--hold", "h"]).current_dir(bench.path("."));
        if from_env {
            command.env("TENURE_STORE", &other);
        } else {
            command.args(["--store", &other]);
        }
        Ran::of(&command.output().unwrap())
    };
    // One that is not there, and one that is.
    for _ in 0..2 {
        for (verb, from_env, from) in [
            ("renew", true, "TENURE_STORE"),
            ("release", true, "TENURE_STORE"),
            ("renew", false, "--store"),
            ("release", false, "--store"),
        ] {
            let ran = with(verb, from_env);
            assert!(ran.code == Some(125) && ran.stderr.contains("is of store"), "{ran:?}");
            assert!(ran.stderr.contains(from) && ran.stderr.contains(&other), "{ran:?}");
        }
        let made = tenure().args(["run", "--store", &other, "x", "--", "true"]).status().unwrap();
        assert!(made.success());
    }
    assert_eq!(bench.show("x")["state"], "held");
    // Without a word about the store it is that of the file; another way to the same is the same.
    std::os::unix::fs::symlink("store", bench.path("way")).unwrap();
    let way = format!("local:{}", bench.path("way").display());
    let mut command = tenure();
    command.args(["renew", "--hold", "h", "--store", &way]).current_dir(bench.path("."));
    assert_eq!(Ran::of(&command.output().unwrap()).code, Some(0));
    let mut command = tenure();
    command.args(["release", "--hold", "h"]).current_dir(bench.path("."));
    assert_eq!(Ran::of(&command.output().unwrap()).code, Some(0));
}

#[test]
fn a_store_that_is_gone() {
    let bench = held();
    fs::rename(bench.path("store"), bench.path("away")).unwrap();
    for verb in ["renew", "release"] {
        let mut command = tenure();
        command.args([verb, "--hold", "h"]).current_dir(bench.path("."));
        let ran = Ran::of(&command.output().unwrap());
        assert!(ran.code == Some(125) && ran.stderr.contains("there is none now"), "{ran:?}");
    }
    fs::rename(bench.path("away"), bench.path("store")).unwrap();
    assert_eq!(bench.run(&["release", "--hold", "h"]).code, Some(0));
}

#[test]
fn a_store_that_was_made_anew() {
    let bench = held();
    fs::remove_dir_all(bench.path("store")).unwrap();
    assert_eq!(bench.run(&["run", "y", "--", "true"]).code, Some(0));
    for verb in ["renew", "release"] {
        let ran = bench.run(&[verb, "--hold", "h"]);
        assert!(ran.code == Some(123) && ran.stderr.contains("deleted"), "{ran:?}");
    }
    assert!(!bench.path("h").exists());
}

/// The file is right but for its user: root, who may read everybody's, is told as well.
#[test]
fn a_file_of_another_user() {
    let bench = held();
    let text = bench.read("h");
    let own = rustix::process::geteuid().as_raw();
    let foreign = resum(&text.replace(&format!("\"user\":{own}"), "\"user\":4242"));
    fs::write(bench.path("foreign"), foreign).unwrap();
    refused(&bench, "foreign", &format!("is of user 4242, not of user {own}"));
}

/// The file as it would be from another boot.
#[test]
fn a_file_from_before_a_restart() {
    let bench = held();
    let value: serde_json::Value = serde_json::from_str(&bench.read("h")).unwrap();
    let key = value["key"].as_str().unwrap();
    let other_boot = format!("{}{:016x}", &key[..32], 7);
    fs::write(bench.path("old"), resum(&bench.read("h").replace(key, &other_boot))).unwrap();
    let ran = bench.run(&["renew", "--hold", "old"]);
    assert!(ran.code == Some(123) && ran.stderr.contains("restarted"), "{ran:?}");
    assert_eq!(bench.show("x")["state"], "held");
    assert!(bench.path("old").exists());
    // It is given back all the same.
    let ran = bench.run(&["release", "--hold", "old"]);
    assert!(ran.code == Some(123) && ran.stderr.contains("restarted"), "{ran:?}");
    assert_eq!(bench.show("x")["state"], "free");
    assert!(!bench.path("old").exists());
}

/// The text of a hold file with the checksum it needs.
fn resum(text: &str) -> String {
    let (before, _) = text.split_once("\"sum\":").unwrap();
    let blank = format!("{before}\"sum\":\"\"}}");
    let sum = twox_hash::XxHash3_64::oneshot(blank.as_bytes());
    format!("{before}\"sum\":\"{sum:016x}\"}}\n")
}
