//! `acquire`, `renew`, `release`: one lock over several steps, on real processes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use common::{Bench, Ran, mask, until};
use rustix::process::Signal;
use snapbox::{assert_data_eq, file};

fn acquire(bench: &Bench, ttl: &str) -> u64 {
    let ran = bench.run(&["acquire", "x", "--ttl", ttl, "--hold", "h", "--id", "me"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    ran.stdout.trim().parse().unwrap()
}

fn renew(bench: &Bench) -> Ran {
    bench.run(&["renew", "--hold", "h"])
}

fn release(bench: &Bench) -> Ran {
    bench.run(&["release", "--hold", "h"])
}

/// The last ended hold.
fn last(bench: &Bench) -> (String, String) {
    let shown = bench.show("x");
    let past = &shown["history"][0];
    (past["id"].as_str().unwrap().to_owned(), past["end"].as_str().unwrap().to_owned())
}

#[test]
fn three_steps_under_one_lock() {
    let bench = Bench::new();
    let token = acquire(&bench, "1h");
    let shown = bench.show("x");
    assert_eq!(shown["holders"][0]["token"], token);
    assert_eq!((&shown["ttl_ms"], &shown["holders"][0]["pid"]), (&3_600_000.into(), &().into()));
    assert_eq!(fs::metadata(bench.path("h")).unwrap().permissions().mode() & 0o7777, 0o600);
    let busy = bench.run(&["run", "-n", "x", "--", "true"]);
    assert!(busy.code == Some(124) && busy.stderr.contains("until "), "{busy:?}");
    let before = shown["holders"][0]["remaining_ms"].as_u64().unwrap();
    until("time passes", || {
        bench.show("x")["holders"][0]["remaining_ms"].as_u64().unwrap() < before - 2_000
    });
    assert_eq!(renew(&bench).code, Some(0));
    let shown = bench.show("x");
    assert!(shown["holders"][0]["remaining_ms"].as_u64().unwrap() > before - 2_000);
    assert_eq!(shown["holders"][0]["token"], token, "renewing is no new hold");
    assert_eq!(bench.run(&["renew", "--hold", "h", "--ttl", "2h"]).code, Some(0));
    assert_eq!(bench.show("x")["ttl_ms"], 7_200_000);
    assert_eq!(renew(&bench).code, Some(0));
    assert_eq!(bench.show("x")["ttl_ms"], 7_200_000, "as long as last time");
    let ran = release(&bench);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "", ""));
    assert!(!bench.path("h").exists());
    assert_eq!(
        (bench.show("x")["state"].as_str(), last(&bench).1.as_str()),
        (Some("free"), "released")
    );
    assert!(acquire(&bench, "1h") > token);
}

#[test]
fn the_hold_file_is_json() {
    let bench = Bench::new();
    let token = acquire(&bench, "1h");
    let text = bench.read("h");
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&value["token"], &value["lock"]), (&token.into(), &"x".into()));
    let masked = mask(&text, &["token", "user", "key", "sum"]);
    let masked = masked.replace(&bench.url(), "local:/store").replace(",\"", ",\n \"");
    assert_data_eq!(masked, file!["snapshots/hold-file.json"]);
}

#[test]
fn the_environment_may_name_the_hold_file() {
    let bench = Bench::new();
    let run =
        |args: &[&str]| Ran::of(&bench.tenure(args).env("TENURE_HOLD", "h").output().unwrap());
    assert_eq!(run(&["acquire", "x", "--ttl", "1h"]).code, Some(0));
    assert!(bench.path("h").exists());
    assert_eq!(run(&["renew"]).code, Some(0));
    assert_eq!(run(&["release"]).code, Some(0));
    assert!(!bench.path("h").exists());
    for verb in [&["acquire", "x", "--ttl", "1h"][..], &["renew"], &["release"]] {
        let ran = bench.run(verb);
        assert!(ran.code == Some(125) && ran.stderr.contains("TENURE_HOLD"), "{ran:?}");
    }
}

#[test]
fn an_existing_file_is_refused_and_left_as_it_is() {
    let bench = Bench::new();
    fs::write(bench.path("h"), "mine").unwrap();
    std::os::unix::fs::symlink("nowhere", bench.path("link")).unwrap();
    for name in ["h", "link", "."] {
        let ran = bench.run(&["acquire", "x", "--ttl", "1h", "--hold", name]);
        assert!(ran.code == Some(125) && ran.stderr.contains("exists"), "{ran:?}");
    }
    assert_eq!(bench.read("h"), "mine");
    assert!(!bench.path("store").exists(), "nothing was begun");
    let ran = bench.run(&["acquire", "x", "--ttl", "1h", "--hold", "no/such/folder"]);
    assert!(ran.code == Some(125) && ran.stderr.contains("no/such/folder"), "{ran:?}");
    assert_eq!(bench.show("x")["state"], "free");
}

#[test]
fn a_busy_lock_leaves_no_file() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    for (args, code) in [
        (&["-n"][..], 124),
        (&["-w", "50ms"], 124),
        (&["-n", "-E", "7"], 7),
        (&["-n", "-E", "0"], 0),
    ] {
        let args = [&["acquire", "x", "--ttl", "1h", "--hold", "h"], args].concat();
        let ran = bench.run(&args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{ran:?}");
        assert_eq!(ran.stderr.is_empty(), code == 0, "{ran:?}");
        assert!(!bench.path("h").exists());
    }
    holder.signal(Signal::TERM);
}

#[test]
fn it_stands_in_line_with_others_and_hands_over() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    let args = ["acquire", "x", "--ttl", "1h", "--hold", "h", "--id", "me"];
    let mut acquiring = bench.start(&args);
    bench.wait_for_queue("x", 1);
    let next = bench.start(&["run", "-q", "x", "-c", "echo ran"]);
    bench.wait_for_queue("x", 2);
    assert!(bench.path("h").exists(), "what proves the attempt stands before the hold");
    let ran = release(&bench);
    assert!(ran.code == Some(125) && ran.stderr.contains("still waits"), "{ran:?}");
    assert_eq!(renew(&bench).code, Some(125));
    holder.signal(Signal::TERM);
    let token: u64 = acquiring.line().parse().unwrap();
    let ran = acquiring.end();
    assert!(ran.code == Some(0) && ran.stderr.starts_with("tenure: waiting for `x`"), "{ran:?}");
    assert_eq!(bench.show("x")["holders"][0]["token"], token);
    assert_eq!(bench.show("x")["queue"].as_array().unwrap().len(), 1);
    assert_eq!(release(&bench).code, Some(0));
    assert_eq!(next.end().stdout, "ran\n");
}

#[test]
fn who_waits_leaves_the_line_when_told_to() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let acquiring = bench.start(&["acquire", "x", "--ttl", "1h", "--hold", "h"]);
        bench.wait_for_queue("x", 1);
        acquiring.signal(signal);
        assert_eq!(acquiring.end().code, Some(code));
        assert_eq!(bench.show("x")["queue"].as_array().unwrap().len(), 0);
        assert!(!bench.path("h").exists());
    }
    holder.signal(Signal::TERM);
}

#[test]
fn a_waiter_is_woken_when_the_ttl_runs_out() {
    let bench = Bench::new();
    acquire(&bench, "1100ms");
    let start = Instant::now();
    let next = bench.run(&["run", "-q", "x", "-c", "echo ran"]);
    let waited = start.elapsed();
    assert_eq!(next.stdout, "ran\n");
    // Who is not woken looks after each second; the rest is room for a disk that takes its time.
    assert!(waited < Duration::from_millis(1_950), "it waited for {waited:?}");
    let shown = bench.show("x");
    assert_eq!(
        (&shown["history"][1]["id"], &shown["history"][1]["end"]),
        (&"me".into(), &"expired".into())
    );
    for ran in [renew(&bench), release(&bench)] {
        assert!(ran.code == Some(123) && ran.stderr.contains("not renewed in time"), "{ran:?}");
    }
    assert!(!bench.path("h").exists());
}

#[test]
fn a_hold_that_has_run_out_is_lost_even_if_nobody_took_it() {
    let bench = Bench::new();
    acquire(&bench, "30ms");
    until("the ttl runs out", || bench.show("x")["state"] == "expired");
    let ran = renew(&bench);
    let why = "tenure: lost lock `x` before its renewal: it was not renewed in time\n";
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(123), why));
    assert_eq!(bench.show("x")["state"], "expired");
    assert!(bench.path("h").exists());
    let ran = release(&bench);
    assert!(ran.code == Some(123) && ran.stderr.contains("before its release"), "{ran:?}");
    assert_eq!(
        (bench.show("x")["state"].as_str(), last(&bench).1.as_str()),
        (Some("free"), "expired")
    );
    assert!(!bench.path("h").exists());
}

#[test]
fn somebody_elses_hold_is_never_touched() {
    let bench = Bench::new();
    acquire(&bench, "30ms");
    let holder = bench.hold("x");
    let before = bench.show("x");
    for ran in [renew(&bench), release(&bench)] {
        assert_eq!(ran.code, Some(123), "{ran:?}");
    }
    assert_eq!(bench.show("x")["holders"], before["holders"]);
    holder.signal(Signal::TERM);
}

#[test]
fn of_two_releases_of_one_file_one_releases() {
    let bench = Bench::new();
    for _ in 0..20 {
        acquire(&bench, "1h");
        let both = [0, 1].map(|_| bench.start(&["release", "--hold", "h"]));
        let mut codes = both.map(|running| {
            let ran = running.end();
            assert!(ran.code == Some(0) || ran.stderr.contains("does not exist"), "{ran:?}");
            ran.code
        });
        codes.sort_unstable();
        assert_eq!(codes, [Some(0), Some(125)]);
        assert_eq!(bench.show("x")["state"], "free");
    }
}

#[test]
fn a_copy_of_the_file_releases_nothing_that_came_later() {
    let bench = Bench::new();
    acquire(&bench, "1h");
    fs::copy(bench.path("h"), bench.path("copy")).unwrap();
    assert_eq!(release(&bench).code, Some(0));
    acquire(&bench, "1h");
    let ran = bench.run(&["release", "--hold", "copy"]);
    assert!(ran.code == Some(123) && ran.stderr.contains("released already"), "{ran:?}");
    assert_eq!(bench.show("x")["state"], "held");
    assert_eq!(renew(&bench).code, Some(0));
}

/// A renewal and a taker race at the very end of the ttl: one of them wins, never both.
#[test]
fn a_renewal_races_with_the_expiry() {
    let bench = Bench::new();
    let (mut renewed, mut lost) = (0, 0);
    for round in 0..12_u32 {
        acquire(&bench, "150ms");
        let id = format!("taker {round}");
        let taker = bench.start(&["run", "-q", "-w", "600ms", "--id", &id, "x", "--", "true"]);
        // On a busy machine it has had the lock before anybody saw it wait.
        until("it waits or has ended", || {
            let shown = bench.show("x");
            shown["queue"][0]["id"] == *id || shown["history"][0]["id"] == *id
        });
        // The nearer to the end the better; whichever comes first must win.
        let left = bench.show("x")["holders"][0]["remaining_ms"].as_u64().unwrap_or(0);
        let early = u64::from(round) * 2;
        std::thread::sleep(Duration::from_millis(left.saturating_sub(early)));
        let ran = bench.run(&["renew", "--hold", "h", "--ttl", "1h"]);
        let taken = taker.end().code;
        match ran.code {
            Some(0) => {
                renewed += 1;
                assert_eq!(taken, Some(124), "both have it");
                assert_eq!(bench.show("x")["holders"][0]["id"], "me");
                assert_eq!(release(&bench).code, Some(0));
            }
            Some(123) => {
                lost += 1;
                assert_eq!(taken, Some(0), "neither has it");
                assert_eq!(release(&bench).code, Some(123));
            }
            _ => panic!("{ran:?}"),
        }
    }
    assert_eq!(renewed + lost, 12);
}

#[test]
fn contenders_of_both_kinds_take_turns() {
    let bench = Bench::new();
    // Each reads the counter, rests, and writes it: two at once would lose one.
    fs::write(bench.path("n"), "0").unwrap();
    let count = "n=$(cat n); sleep 0.01; echo $((n + 1)) > n";
    let by_steps = format!(
        "for i in 1 2 3 4 5 6; do \"$TENURE\" acquire -q c --ttl 1h --hold h$0 >> t$0 && {{ {count}; }} && \
         \"$TENURE\" release --hold h$0 || exit; done"
    );
    let by_run = format!(
        "for i in 1 2 3 4 5 6; do \"$TENURE\" run -q c -c 'echo $TENURE_TOKEN >> t'$0'; {count}' || exit; done"
    );
    let workers: Vec<_> = (0..6)
        .map(|number| {
            let line = if number % 2 == 0 { &by_steps } else { &by_run };
            bench.sh(line).arg(number.to_string()).spawn().unwrap()
        })
        .collect();
    for mut worker in workers {
        assert!(worker.wait().unwrap().success());
    }
    assert_eq!(bench.read("n").trim(), "36");
    let mut tokens: Vec<u64> = (0..6)
        .flat_map(|n| {
            bench.read(&format!("t{n}")).lines().map(|l| l.parse().unwrap()).collect::<Vec<_>>()
        })
        .collect();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 36, "a token was given twice");
}

#[test]
fn inside_the_same_lock_it_is_refused() {
    let bench = Bench::new();
    let line = "\"$TENURE\" run x -- \"$TENURE\" acquire x --ttl 1h --hold h";
    let ran = Ran::of(&bench.sh(line).output().unwrap());
    assert!(ran.code == Some(125) && ran.stderr.contains("held by a parent"), "{ran:?}");
    assert!(!bench.path("h").exists());
}

#[test]
fn a_token_that_cannot_be_told_is_no_hold() {
    let bench = Bench::new();
    let line = "\"$TENURE\" acquire x --ttl 1h --hold h > /dev/full";
    let ran = Ran::of(&bench.sh(line).output().unwrap());
    assert!(ran.code == Some(125) && ran.stderr.contains("cannot print the token"), "{ran:?}");
    assert!(!bench.path("h").exists());
    assert_eq!(bench.show("x")["state"], "free");
}

#[test]
fn a_hold_without_an_end_ends_when_it_is_given_back_or_taken_away() {
    let bench = Bench::new();
    for end in
        [&["release", "--hold", "h"][..], &["steal", "x", "--reason", "over", "--yes", "--now"]]
    {
        let ran = bench.run(&["acquire", "x", "--ttl", "never", "--hold", "h"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let text = bench.run(&["show", "x"]).stdout;
        assert!(text.contains("state   held\n") && text.contains("never ends by time"), "{text}");
        assert_eq!(bench.run(&["run", "-w", "200ms", "x", "--", "true"]).code, Some(124));
        assert_eq!(bench.run(&["renew", "--hold", "h"]).code, Some(0));
        let waits = bench.run(&["steal", "x", "--reason", "over", "--yes"]);
        assert_eq!(waits.code, Some(125), "{waits:?}");
        assert!(waits.stderr.contains("never ends by time; --now frees it"), "{waits:?}");
        assert_eq!(bench.run(end).code, Some(0));
        assert_eq!(bench.run(&["run", "-n", "x", "--", "true"]).code, Some(0));
        let _ = fs::remove_file(bench.path("h"));
    }
}
