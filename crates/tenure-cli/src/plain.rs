//! The ordinary command line of `run`, read without clap.
//!
//! Building and checking clap's description takes longer than acquiring and releasing the lock, and
//! every cron job would pay for it. So what is plainly right is read here, by the same table of
//! options; whatever is not is left to clap, which says what is wrong. Invariant: what is read here
//! is what clap would have read; a test compares the two.

use std::ffi::OsString;

use crate::args::RunArgs;
use crate::cli::{RUN_OPTIONS, RunOption};

/// The arguments of `tenure run [OPTIONS] NAME [OPTIONS] [-- CMD ARG...]`; `None`: ask clap.
pub(crate) fn run(args: &[OsString]) -> Option<RunArgs> {
    let mut args = args.iter().skip(1);
    if args.next()? != "run" {
        return None;
    }
    let mut run = RunArgs::default();
    let mut seen = [false; RUN_OPTIONS.len()];
    let mut named = false;
    while let Some(arg) = args.next() {
        let text = arg.to_str()?;
        if text == "--" {
            run.command = args.by_ref().cloned().collect();
            if run.command.is_empty() {
                return None;
            }
        } else if text.starts_with('-') {
            let (place, option) = find(text)?;
            if std::mem::replace(&mut seen[place], true) && !option.repeats {
                return None;
            }
            let value = match option.value {
                // What looks like an option may be one, with the value forgotten.
                Some(_) => Some(args.next().filter(|v| looks_like_a_value(v))?.clone()),
                None => None,
            };
            set(&mut run, option.id, value)?;
        } else if std::mem::replace(&mut named, true) || text.is_empty() {
            return None;
        } else {
            run.name = arg.clone();
        }
    }
    named.then_some(run)
}

fn find(text: &str) -> Option<(usize, &'static RunOption)> {
    let is = |option: &RunOption| match text.strip_prefix("--") {
        Some(long) => option.has_long && option.id == long,
        None => option.short.is_some_and(|short| text[1..].chars().eq([short])),
    };
    RUN_OPTIONS.iter().enumerate().find(|(_, option)| is(option))
}

fn looks_like_a_value(value: &OsString) -> bool {
    value.to_str().is_some_and(|text| !text.is_empty() && !text.starts_with('-'))
}

fn set(run: &mut RunArgs, id: &str, value: Option<OsString>) -> Option<()> {
    match id {
        "no-wait" => run.no_wait = true,
        "durable" => run.durable = true,
        "quiet" => run.quiet = true,
        "tag" => run.tags.extend(value),
        "add-tag" => run.add_tags.extend(value),
        "wait" => run.wait = value,
        "conflict-exit-code" => run.conflict_exit_code = value,
        "connect-timeout" => run.connect_timeout = value,
        "ttl" => run.ttl = value,
        "grace" => run.grace = value,
        "at-least" => run.at_least = value,
        "id" => run.id = value,
        "status-fd" => run.status_fd = value,
        "store" => run.store = value,
        "shell" => run.shell = value,
        // An option that only clap knows what to do with.
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, parse_any};

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn what_is_read_here_is_what_clap_reads() {
        // Every option in every place, alone and doubled, with every kind of value.
        let mut pieces: Vec<String> =
            ["x", "y", "--", "cmd", "-", "--no-such", "-nq", "-w5s"].map(str::to_owned).into();
        for option in &RUN_OPTIONS {
            let long = option.has_long.then(|| format!("--{}", option.id));
            let short = option.short.map(|short| format!("-{short}"));
            for name in long.into_iter().chain(short) {
                pieces.extend(["5", "-5", "--", "é"].map(|value| format!("{name} {value}")));
                pieces.extend([format!("{name}=5"), name]);
            }
        }
        let mut read = 0;
        for first in &pieces {
            for second in &pieces {
                for line in [
                    format!("tenure run {first} {second} x -- true -n --"),
                    format!("tenure run {first} x {second} -- true"),
                    format!("tenure run x {first} {second}"),
                ] {
                    let Some(run) = run(&words(&line)) else { continue };
                    read += 1;
                    let clap = parse_any(words(&line)).ok();
                    assert_eq!(clap, Some(Args::Run(Box::new(run))), "{line}");
                }
            }
        }
        assert!(read > 1_000, "only {read} command lines were read here");
    }

    #[test]
    fn the_usual_lines_do_not_need_clap() {
        for line in [
            "tenure run x -- true",
            "tenure run -n x -- true",
            "tenure run -w 30s --durable x -- a b",
            "tenure run --tag a x --tag b --store local: -c true",
        ] {
            assert!(run(&words(line)).is_some(), "{line}");
        }
        for option in &RUN_OPTIONS {
            assert!(set(&mut RunArgs::default(), option.id, None).is_some(), "{}", option.id);
        }
        for line in ["tenure", "tenure ls", "tenure run", "tenure run -h", "tenure run x --"] {
            assert!(run(&words(line)).is_none(), "{line}");
        }
    }
}
