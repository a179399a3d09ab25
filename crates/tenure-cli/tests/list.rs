//! `ls` and `show`: the JSON shapes as files, the texts by what they must name.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Bench, mask, until};
use rustix::process::Signal;
use snapbox::{assert_data_eq, file};

/// What differs from run to run, replaced; unknown values stay null.
fn stable(bench: &Bench, text: &str) -> String {
    let masked = mask(text, &["since", "until", "token", "pid", "host", "remaining_ms"]);
    masked.replace(&bench.url(), "local:/store").replace(",\"", ",\n \"")
}

#[test]
fn json_of_a_free_and_of_a_held_lock() {
    let bench = Bench::new();
    assert_eq!(
        bench.run(&["run", "--id", "i", "--tag", "b", "--tag", "a", "x", "--", "true"]).code,
        Some(0)
    );
    let free = bench.run(&["show", "x", "--output", "json"]);
    assert_data_eq!(stable(&bench, &free.stdout), file!["snapshots/show-free.json"]);
    let mut holder = bench.start(&["run", "--id", "me", "x", "-c", "echo up; exec sleep 1000"]);
    assert_eq!(holder.line(), "up");
    let _waiter = bench.start(&["run", "-q", "--id", "you", "x", "--", "true"]);
    bench.wait_for_queue("x", 1);
    let held = bench.run(&["show", "x", "--output", "json"]);
    assert_eq!((held.code, held.stderr.as_str()), (Some(0), ""));
    assert_data_eq!(stable(&bench, &held.stdout), file!["snapshots/show-held.json"]);
    let value = bench.show("x");
    assert_eq!(value["holders"][0]["pid"], holder.pid());
    assert!(value["holders"][0]["token"].is_u64());
    assert!(value["holders"][0]["since"].as_str().unwrap().ends_with('Z'));
    holder.signal(Signal::TERM);
}

#[test]
fn a_hold_that_is_over_is_not_shown_as_one_that_ends() {
    let bench = Bench::new();
    assert_eq!(bench.run(&["acquire", "x", "--ttl", "100ms", "--hold", "h"]).code, Some(0));
    until("it has expired", || bench.show("x")["state"] == "expired");
    let shown = bench.run(&["show", "x"]).stdout;
    assert!(shown.contains(", its ttl has run out\n"), "{shown}");
    let stolen = bench.run(&["steal", "x", "--reason", "over", "--yes"]);
    assert!(stolen.code == Some(0) && stolen.stderr.contains(" and expired ("), "{stolen:?}");
    let killed = bench.hold("y");
    killed.signal(Signal::KILL);
    killed.end();
    until("it has expired", || bench.show("y")["state"] == "expired");
    let shown = bench.run(&["show", "y"]).stdout;
    assert!(shown.contains(", its processes are gone\n"), "{shown}");
}

#[test]
fn a_waiter_that_was_killed_is_not_shown() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    let killed = bench.start(&["run", "-q", "x", "--", "true"]);
    bench.wait_for_queue("x", 1);
    let waits = bench.start(&["run", "-q", "x", "--", "true"]);
    bench.wait_for_queue("x", 2);
    killed.signal(Signal::KILL);
    killed.end();
    let queue = bench.show("x")["queue"].clone();
    assert_eq!((queue.as_array().unwrap().len(), &queue[0]["pid"]), (1, &waits.pid().into()));
    let ls = bench.run(&["ls"]);
    assert!(ls.stdout.trim_end().ends_with(" 1"), "{ls:?}");
    holder.signal(Signal::TERM);
}

#[test]
fn json_of_a_hold_that_outlives_its_work() {
    let bench = Bench::new();
    assert_eq!(
        bench.run(&["run", "--at-least", "1h", "--id", "me", "x", "--", "true"]).code,
        Some(0)
    );
    let held = bench.run(&["show", "x", "--output", "json"]);
    let masked = mask(&stable(&bench, &held.stdout), &["ttl_ms"]);
    assert_data_eq!(masked, file!["snapshots/show-at-least.json"]);
    let remaining = bench.show("x")["holders"][0]["remaining_ms"].as_u64().unwrap();
    assert!((3_500_000..=3_600_000).contains(&remaining), "{remaining}");
}

#[test]
fn a_store_that_is_not_there_is_named_and_not_made() {
    let bench = Bench::new();
    for args in [&["ls"][..], &["show", "never"]] {
        let ran = bench.run(args);
        let says = format!("tenure: there is no store at `{}` yet", bench.url());
        assert!(ran.code == Some(0) && ran.stderr.starts_with(&says), "{ran:?}");
    }
    let ran = bench.run(&["ls", "--output", "json"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "[]\n", ""));
    assert_eq!(bench.show("never")["state"], "free");
    assert!(!bench.path("store").exists());
}

#[test]
fn a_lock_nobody_ever_took_is_free() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.path("store")).unwrap();
    assert_eq!(bench.run(&["run", "x", "--", "rm", "store/locks/x"]).code, Some(123));
    let ran = bench.run(&["show", "never"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(ran.stdout.contains("lock    never\n") && ran.stdout.contains("state   free\n"));
    let ran = bench.run(&["ls", "--output", "json"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "[]\n"));
}

#[test]
fn texts_name_holder_queue_and_tags() {
    let bench = Bench::new();
    let mut holder =
        bench.start(&["run", "--id", "me", "--tag", "t", "x", "-c", "echo up; exec sleep 1000"]);
    assert_eq!(holder.line(), "up");
    let waiter = bench.start(&["run", "-q", "--id", "you", "x", "--", "true"]);
    bench.wait_for_queue("x", 1);
    let shown = bench.run(&["show", "x"]).stdout;
    for part in [
        "state   held\n",
        &format!("holder  me, pid {}, token ", holder.pid()),
        &format!("queue   1. you, pid {}, since ", waiter.pid()),
        "tags    t\n",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let listed = bench.run(&["ls"]).stdout;
    let lines: Vec<Vec<&str>> = listed.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["LOCK", "STATE", "HOLDER", "PID", "TOKEN", "SINCE", "WAITING"]);
    assert_eq!(lines[1][..3], ["x", "held", "me"]);
    assert_eq!(*lines[1].last().unwrap(), "1");
}

/// A zone file without any rules, nine hours ahead of UTC, as zic writes it.
fn nine_hours_ahead() -> Vec<u8> {
    let mut file = Vec::new();
    for _ in 0..2 {
        file.extend(b"TZif2");
        file.extend([0; 15]);
        // Counts: none but one type and the four bytes of its name.
        [0_u32, 0, 0, 0, 1, 4].iter().for_each(|count| file.extend(count.to_be_bytes()));
        file.extend((9 * 3600_i32).to_be_bytes());
        file.extend(b"\0\0JST\0");
    }
    file.extend(b"\nJST-9\n");
    file
}

#[test]
fn times_for_people_are_in_their_zone() {
    let bench = Bench::new();
    let _holder = bench.hold("x");
    std::fs::create_dir_all(bench.path("zones/Far")).unwrap();
    std::fs::write(bench.path("zones/Far/Away"), nine_hours_ahead()).unwrap();
    let hour = |zone: &str| -> u32 {
        let mut show = bench.tenure(&["show", "x"]);
        let shown = show.env("TZ", zone).env("TZDIR", bench.path("zones")).output().unwrap();
        let shown = common::Ran::of(&shown).stdout;
        let since = shown.split("since ").nth(1).unwrap();
        since.split([' ', ':']).nth(1).unwrap().parse().unwrap()
    };
    assert_eq!(hour("Far/Away"), (hour("UTC0") + 9) % 24);
}

#[test]
fn the_table_lines_up_for_any_text() {
    use unicode_width::UnicodeWidthStr as _;
    let bench = Bench::new();
    for name in ["a", "夜間バックアップ", "a long name with spaces"] {
        assert_eq!(bench.run(&["run", name, "--", "true"]).code, Some(0));
    }
    let listed = bench.run(&["ls"]).stdout;
    let column = |line: &str| line.find("free").or(line.find("STATE")).map(|at| line[..at].width());
    let columns: Vec<_> = listed.lines().map(column).collect();
    assert_eq!(columns.len(), 4);
    assert!(columns.iter().all(|c| *c == columns[0] && c.is_some()), "{listed}");
}

#[test]
fn long_names_and_default_identities_are_cut_in_the_table_only() {
    let bench = Bench::new();
    let long = "x".repeat(1024);
    assert_eq!(bench.run(&["run", &long, "--", "true"]).code, Some(0));
    let _holder = bench.hold("held");
    let listed = bench.run(&["ls"]).stdout;
    assert!(listed.contains(&format!("\n{}... ", "x".repeat(60))), "{listed}");
    let id = bench.show("held")["holders"][0]["id"].as_str().unwrap().to_owned();
    let (host, uuid) = id.rsplit_once('_').unwrap();
    assert!(listed.contains(&format!(" {host}_{}  ", &uuid[..8])), "{id}: {listed}");
    assert_eq!(bench.show(&long)["lock"], long);
}

#[test]
fn a_damaged_record_is_named_and_hides_no_other() {
    let bench = Bench::new();
    for name in ["good", "bad"] {
        assert_eq!(bench.run(&["run", name, "--", "true"]).code, Some(0));
    }
    std::fs::write(bench.path("store").join("locks").join("bad"), [0; 4096]).unwrap();
    let ran = bench.run(&["ls"]);
    assert_eq!(ran.code, Some(125), "{ran:?}");
    assert!(ran.stdout.contains("good") && ran.stderr.contains("bad"), "{ran:?}");
    assert_eq!(ran.stderr.matches('\n').count(), 1, "{ran:?}");
    let ran = bench.run(&["run", "-n", "bad", "--", "echo", "ran"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(125), ""), "never read as free: {ran:?}");
    assert!(ran.stderr.contains("bad"), "{ran:?}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let bench = Bench::new();
    for number in 0..3 {
        assert_eq!(bench.run(&["run", &format!("l{number}"), "--", "true"]).code, Some(0));
    }
    let line = "mkfifo p; (exec 3<p) & exec 4>p; wait; \"$TENURE\" ls >&4";
    let ran = common::Ran::of(&bench.sh(line).output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}

#[test]
fn only_what_is_asked_for_is_listed() {
    let bench = Bench::new();
    for (name, tag) in [("a", "nightly"), ("b", "team a")] {
        let ran = bench.run(&["run", "--tag", tag, name, "--", "true"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    let mut holder =
        bench.start(&["run", "--id", "me", "--tag", "nightly", "c", "-c", "echo up; sleep 1000"]);
    assert_eq!(holder.line(), "up");
    for (condition, names) in [
        ("all()", &["a", "b", "c"][..]),
        ("acquired = true", &["c"]),
        ("tags contains nightly and acquired = false", &["a"]),
        ("tags contains \"team a\" or holder = me", &["b", "c"]),
        ("not (holder contains m or tags contains nightly)", &["b"]),
        ("age > 1h", &[]),
        ("age < 1h and mode = exclusive", &["c"]),
    ] {
        let ran = bench.run(&["ls", "--where", condition, "--output", "json"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{condition}");
        let listed: Vec<serde_json::Value> = serde_json::from_str(&ran.stdout).unwrap();
        let listed: Vec<_> = listed.iter().map(|lock| lock["lock"].as_str().unwrap()).collect();
        assert_eq!(listed, names, "{condition}");
    }
    let text = bench.run(&["ls", "--where", "acquired = true"]).stdout;
    assert_eq!(text.lines().count(), 2, "{text}");
    holder.signal(Signal::TERM);
}
