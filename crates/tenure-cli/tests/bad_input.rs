//! Everything a user may get wrong: one line that names the input and what would be right, the
//! exit code of the manual, and nothing written or run.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;

use common::{Bench, Ran};

/// Runs `args` and checks the answer: code, one line, all of `says`, nothing run.
fn refused(bench: &Bench, args: &[&str], code: i32, says: &[&str]) {
    let ran = bench.run(args);
    assert_eq!(ran.code, Some(code), "{args:?}: {ran:?}");
    assert_eq!(ran.stdout, "", "{args:?}");
    assert_one_line(&ran, &format!("{args:?}"));
    for part in says {
        assert!(ran.stderr.contains(part), "{args:?}: no `{part}` in {}", ran.stderr);
    }
}

fn assert_one_line(ran: &Ran, what: &str) {
    assert!(ran.stderr.starts_with("tenure: "), "{what}: {ran:?}");
    assert_eq!(ran.stderr.matches('\n').count(), 1, "{what}: {ran:?}");
    assert!(ran.stderr.ends_with('\n'), "{what}");
    assert!(ran.stderr.chars().count() < 400, "{what}: {}", ran.stderr);
}

#[test]
fn usage_errors_touch_nothing() {
    let long = "x".repeat(1025);
    let table: &[(&[&str], &[&str])] = &[
        (&[], &["missing verb", "run, ls, show"]),
        (&["rnu", "x"], &["unknown verb `rnu`", "run, ls, show"]),
        (&["help", "run"], &["unknown verb `help`", "`tenure VERB --help`"]),
        (&["run"], &["missing NAME", "tenure run --help"]),
        (&["run", "x"], &["missing command", "`--`", "-c"]),
        (&["run", "x", "--"], &["missing command"]),
        (&["run", "x", "--", ""], &["command is empty"]),
        (&["run", "x", "touch", "ran"], &["unexpected `touch`", "`--`"]),
        (&["run", "x", "-c", "touch ran", "--", "touch", "ran"], &["-c", "contradict"]),
        (&["run", "--bogus", "x", "--", "touch", "ran"], &["`--bogus`", "tenure run --help"]),
        (&["run", "--tll", "3", "x", "--", "touch", "ran"], &["`--tll`", "`--ttl`"]),
        (&["run", "", "--", "touch", "ran"], &["lock name", "is empty", "1 to 1024 bytes"]),
        (&["run", &long, "--", "touch", "ran"], &["lock name", "has 1025 bytes", "1 to 1024"]),
        (&["run", "a\nb", "--", "touch", "ran"], &["lock name", "a\\nb", "control character"]),
        (&["run", "a\u{9b}b", "--", "touch", "ran"], &["lock name", "control character"]),
        (&["run", "-n", "-w", "5", "x", "--", "touch", "ran"], &["-n and -w", "one of them"]),
        (&["run", "-w", "-5", "x", "--", "touch", "ran"], &["-w `-5`", "negative", "90s"]),
        (&["run", "-w", "5x", "x", "--", "touch", "ran"], &["-w `5x`", "not a duration", "90s"]),
        (&["run", "-w", "", "x", "--", "touch", "ran"], &["-w ``", "not a duration"]),
        (&["run", "-w", "99999999999d", "x", "--", "touch", "ran"], &["too long", "3660d"]),
        (&["run", "-w", "1", "-w", "2", "x", "--", "touch", "ran"], &["--wait", "twice"]),
        (&["run", "--ttl", "0", "x", "--", "touch", "ran"], &["--ttl `0`", "zero"]),
        (&["run", "--ttl", "-1s", "x", "--", "touch", "ran"], &["--ttl `-1s`", "negative"]),
        (&["run", "--ttl", "1e9", "x", "--", "touch", "ran"], &["--ttl `1e9`", "not a duration"]),
        (&["run", "--ttl", "15", "--grace", "15", "x", "--", "touch", "ran"], &["grace", "ttl"]),
        (&["run", "--ttl", "1ms", "x", "--", "touch", "ran"], &["a ttl of 1ms is too short"]),
        (&["run", "--grace", "0s", "x", "--", "touch", "ran"], &["--grace `0s`", "zero"]),
        (&["run", "--at-least", "0", "x", "--", "touch", "ran"], &["--at-least `0`", "zero"]),
        (&["run", "--connect-timeout", "0", "x", "--", "touch", "ran"], &["--connect-timeout `0`"]),
        (&["run", "-E", "256", "x", "--", "touch", "ran"], &["-E `256`", "0 to 255"]),
        (&["run", "-E", "600", "x", "--", "touch", "ran"], &["-E `600`", "0 to 255"]),
        (&["run", "-E", "-1", "x", "--", "touch", "ran"], &["-E `-1`", "0 to 255"]),
        (&["run", "-E", "+1", "x", "--", "touch", "ran"], &["-E `+1`", "0 to 255"]),
        (&["run", "-E", "", "x", "--", "touch", "ran"], &["-E ``", "0 to 255"]),
        (&["run", "--status-fd", "x", "x", "--", "touch", "ran"], &["--status-fd `x`", "number"]),
        (&["run", "--status-fd", "-1", "x", "--", "touch", "ran"], &["--status-fd `-1`"]),
        (&["run", "--status-fd", "3", "x", "--", "touch", "ran"], &["--status-fd 3", "not open"]),
        (&["run", "--status-fd", "77", "x", "--", "touch", "ran"], &["--status-fd 77", "not open"]),
        (&["run", "--status-fd", "0", "x", "--", "touch", "ran"], &["--status-fd 0", "reading"]),
        (&["run", "--tag", "", "x", "--", "touch", "ran"], &["--tag ``", "1 to 255 bytes"]),
        (&["run", "--id", "a\tb", "x", "--", "touch", "ran"], &["--id `a\\tb`", "control"]),
        (&["run", "--store", "nfs:/x", "x", "--", "touch", "ran"], &["`nfs:/x`", "known: local:"]),
        (&["run", "--store", "local:x", "x", "--", "touch", "ran"], &["`local:x`", "absolute"]),
        (&["run", "--store", "local:?x=1", "x", "--", "touch", "ran"], &["option `x`", "id="]),
        (&["run", "--store", "/x", "x", "--", "touch", "ran"], &["did you mean local:/x?"]),
        (&["run", "--quiet=1", "x", "--", "touch", "ran"], &["`--quiet` takes no value"]),
        (&["run", "--store", "", "x", "--", "touch", "ran"], &["store ``"]),
        (&["run", "--ttl"], &["--ttl", "needs a value", "tenure run --help"]),
        (&["run", "x", "-c"], &["-c", "needs a value", "tenure run --help"]),
        (&["run", "--nonblock", "x", "--", "touch", "ran"], &["`--nonblock`", "write -n"]),
        (&["run", "-x", "x", "--", "touch", "ran"], &["`-x`", "leave it out"]),
        (&["run", "-s", "x", "--", "touch", "ran"], &["`-s`", "every lock is exclusive"]),
        (&["ls", "x"], &["unexpected `x`", "tenure ls --help"]),
        (&["ls", "--output", "xml"], &["--output `xml`", "text or json"]),
        (&["show"], &["missing NAME", "tenure show --help"]),
        (&["show", ""], &["lock name", "is empty"]),
        (&["completions"], &["missing SHELL"]),
        (&["completions", "tcsh"], &["`tcsh`", "bash, elvish, fish, powershell, zsh"]),
        (&["man", "nope"], &["`nope`", "run, ls, show"]),
    ];
    untouched(table);
}

#[test]
fn conditions_say_what_is_wrong_with_them() {
    untouched(&[
        (&["ls", "--where", ""], &["--where ``", "condition is due"]),
        (&["ls", "--where", "tag = x"], &["--where `tag = x`", "field tag;", "tags contains"]),
        (&["ls", "--where", "acquired = maybe"], &["\"maybe\"", "`true` or `false`"]),
        (&["ls", "--where", "age > soon"], &["\"soon\"", "ms, s, m, h or d"]),
        (
            &["steal", "x", "--reason", "r", "--now", "--where", "holder = a b"],
            &["\"b\" stands behind a condition", "`and`"],
        ),
    ]);
}

/// Each is refused and says so, and nothing was run or written.
fn untouched(table: &[(&[&str], &[&str])]) {
    let bench = Bench::new();
    for (args, says) in table {
        refused(&bench, args, 125, says);
        assert!(!bench.path("ran").exists(), "{args:?} ran the command");
        assert!(!bench.path("store").exists(), "{args:?} wrote to the store");
    }
}

#[test]
fn text_that_is_not_utf8() {
    let bench = Bench::new();
    let bad = OsStr::from_bytes(b"a\xffb");
    let (run, show) = (OsStr::new("run"), OsStr::new("show"));
    let end = [OsStr::new("--"), OsStr::new("touch"), OsStr::new("ran")];
    let with = |option: &'static str| vec![run, OsStr::new(option), bad, OsStr::new("x")];
    for (mut args, named) in [
        (vec![run, bad], "lock name"),
        (with("--tag"), "--tag"),
        (with("--id"), "--id"),
        (with("--ttl"), "--ttl"),
        (with("--store"), "--store"),
        (with("-w"), "-w"),
        (with("-E"), "-E"),
        (vec![show, bad], "lock name"),
    ] {
        if args[0] == run {
            args.extend(end);
        }
        let ran = Ran::of(&bench.tenure(&[]).args(&args).output().unwrap());
        assert_eq!(ran.code, Some(125), "{args:?}: {ran:?}");
        assert_one_line(&ran, named);
        assert!(ran.stderr.contains(named) && ran.stderr.contains("UTF-8"), "{ran:?}");
    }
    let ran = Ran::of(&bench.tenure(&["ls"]).env("TENURE_STORE", bad).output().unwrap());
    assert!(ran.stderr.contains("TENURE_STORE") && ran.stderr.contains("UTF-8"), "{ran:?}");
    assert!(!bench.path("ran").exists() && !bench.path("store").exists());
}

#[test]
fn commands_that_cannot_start_free_the_lock() {
    let bench = Bench::new();
    std::fs::write(bench.path("plain"), "no program\n").unwrap();
    std::fs::write(bench.path("orphaned"), "#!/no/such/interpreter\n").unwrap();
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(bench.path("orphaned"), executable).unwrap();
    for (command, code, says) in [
        ("no-such-program-here", 127, "not found in PATH"),
        ("./no-such-file", 127, "not found"),
        ("./plain", 126, "ermission denied"),
        ("/", 126, "ermission denied"),
        ("./plain/x", 126, "ot a directory"),
        ("./orphaned", 126, "interpreter"),
    ] {
        refused(&bench, &["run", "x", "--", command], code, &[command, says]);
        assert_eq!(bench.show("x")["state"], "free", "{command}");
    }
    // A folder of PATH that may not be searched hides nothing; a file that may not be run does.
    let closed = bench.path("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    for (path, program, code) in
        [(&closed, "no-such-program-here", 127), (&bench.path("."), "plain", 126)]
    {
        let mut command = bench.tenure(&["run", "x", "--", program]);
        let ran = Ran::of(&command.env("PATH", path).output().unwrap());
        assert_eq!(ran.code, Some(code), "{ran:?}");
    }
    let ran = bench.run(&["run", "x", "-c", "no-such-program-here 2>/dev/null"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(127), ""), "the shell's own answer");
}

#[test]
fn stores_that_are_no_folder() {
    let bench = Bench::new();
    std::fs::write(bench.path("file"), "mine\n").unwrap();
    let socket = bench.path("socket");
    let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (name, named) in [("file", "file"), ("socket", "socket"), ("file/below", "file")] {
        let url = format!("local:{}", bench.path(name).display());
        for verb in [&["run", "x", "--", "touch", "ran"][..], &["ls"], &["show", "x"]] {
            let args: Vec<&str> = [&verb[..1], &["--store", &url], &verb[1..]].concat();
            refused(&bench, &args, 125, &[named, "folder"]);
        }
    }
    assert_eq!(bench.read("file"), "mine\n");
    assert!(!bench.path("ran").exists());
}

#[test]
fn a_store_that_no_second_try_makes_is_refused_at_once() {
    let bench = Bench::new();
    let start = std::time::Instant::now();
    let run = ["run", "--store", "local:/proc/x", "x", "--", "touch", "ran"];
    refused(&bench, &run, 125, &["/proc/x", "cannot be made", "choose another path"]);
    assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn the_store_of_another_user() {
    let bench = Bench::new();
    let mut foreign = bench.path("foreign");
    std::fs::create_dir(&foreign).unwrap();
    let other = rustix::process::getuid().as_raw() + 1;
    if std::os::unix::fs::chown(&foreign, Some(other), None).is_err() {
        // Only root can give a folder away; for everybody else root's own will do.
        foreign = "/usr".into();
    }
    let url = format!("local:{}", foreign.display());
    let named = foreign.display().to_string();
    refused(&bench, &["run", "--store", &url, "x", "--", "touch", "ran"], 125, &[&named]);
    assert!(!foreign.join("locks").exists() && !bench.path("ran").exists());
}

#[test]
fn names_like_paths_are_plain_text() {
    let bench = Bench::new();
    for name in ["../../etc/x", "/etc/passwd", "..", ".", "a/b", "~", "$HOME", "lock with spaces"] {
        let ran = bench.run(&["run", name, "--", "printenv", "TENURE_LOCK"]);
        assert_eq!((ran.code, ran.stdout.trim_end()), (Some(0), name), "{ran:?}");
        assert_eq!(bench.show(name)["lock"], name);
    }
    let left: Vec<_> = std::fs::read_dir(bench.path(".")).unwrap().collect();
    assert_eq!(left.len(), 1, "only the store: {left:?}");
}
