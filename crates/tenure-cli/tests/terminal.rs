//! At a terminal: a real pseudo-terminal with an interactive shell and its job control.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(target_os = "linux")]

mod common;

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use common::{Bench, until};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

/// A terminal, the process that leads its session, and all that was written to it.
struct Terminal {
    keyboard: File,
    screen: Arc<Mutex<String>>,
    /// The same, whole: nothing is forgotten.
    log: Arc<Mutex<String>>,
    leader: Child,
}

impl Terminal {
    /// A terminal with an interactive shell, which knows the binary as `$TENURE`.
    fn with_shell(bench: &Bench) -> Self {
        let mut terminal = Self::with(bench, &["/bin/sh", "-i"]);
        terminal.keys("echo ready$((40+2))\n");
        terminal.sees("ready42");
        terminal
    }

    /// A terminal whose session this command leads: `setsid -c` makes it the controlling one.
    fn with(bench: &Bench, command: &[&str]) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = || OpenOptions::new().read(true).write(true).open(&name).unwrap();
        let mut setsid = common::with_default_signals("setsid");
        setsid.arg("-c").args(command).current_dir(bench.path("."));
        setsid.env("TENURE", env!("CARGO_BIN_EXE_tenure")).env("TENURE_STORE", bench.url());
        setsid.env("PS1", "$ ").env_remove("ENV").env("TERM", "dumb");
        let leader = setsid.stdin(slave()).stdout(slave()).stderr(slave()).spawn().unwrap();
        let keyboard = File::from(master);
        let screen = Arc::new(Mutex::new(String::new()));
        let log = Arc::new(Mutex::new(String::new()));
        let mut output = keyboard.try_clone().unwrap();
        let copies = [screen.clone(), log.clone()];
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Reading fails when the last process has closed the terminal.
            while let Ok(n @ 1..) = output.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..n]);
                copies.iter().for_each(|copy| copy.lock().unwrap().push_str(&text));
            }
        });
        Self { keyboard, screen, log, leader }
    }

    fn keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until `text` appears, and forgets everything up to it.
    fn sees(&self, text: &str) {
        let mut last = String::new();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until(text, || {
                let mut screen = self.screen.lock().unwrap();
                let at = screen.find(text);
                if let Some(at) = at {
                    screen.drain(..at + text.len());
                }
                last.clone_from(&screen);
                at.is_some()
            });
        }));
        assert!(found.is_ok(), "no `{text}` on the screen: {last:?}");
    }

    fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Brings the stopped job to the foreground: the shell repeats its command line.
    fn fg(&mut self) {
        self.keys("echo prompt$((40+2)); fg\n");
        self.sees("prompt42");
        self.sees("run x");
    }

    /// The exit code of the shell's last command.
    fn code(&mut self) -> String {
        self.keys("echo code=$?=\n");
        self.sees("code=$?=");
        self.sees("code=");
        until("a code", || self.screen.lock().unwrap().contains('='));
        let screen = self.screen.lock().unwrap();
        screen.split('=').next().unwrap().to_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.leader.kill();
        let _ = self.leader.wait();
    }
}

#[test]
fn the_child_has_the_foreground_and_the_shell_gets_it_back() {
    let bench = Bench::new();
    let mut terminal = Terminal::with_shell(&bench);
    terminal.keys("\"$TENURE\" run x -c 'set -- $(cat /proc/$$/stat); echo fg $(($5 - $8))'\n");
    terminal.sees("\nfg 0");
    terminal.keys("read line; echo got $line\nword\n");
    terminal.sees("got word");
}

#[test]
fn ctrl_c_ends_the_child() {
    let bench = Bench::new();
    let mut terminal = Terminal::with_shell(&bench);
    terminal.keys("\"$TENURE\" run x -c 'echo u\"\"p; exec sleep 1000'\n");
    terminal.sees("up");
    terminal.keys(CTRL_C);
    assert_eq!(terminal.code(), "130");
    assert_eq!(bench.show("x")["state"], "free");
}

#[test]
fn ctrl_z_stops_both_and_fg_goes_on() {
    let bench = Bench::new();
    let mut terminal = Terminal::with_shell(&bench);
    terminal.keys("\"$TENURE\" run x -c 'echo u\"\"p; read line; echo got $line; exit 9'\n");
    terminal.sees("up");
    for _ in 0..3 {
        terminal.keys(CTRL_Z);
        terminal.sees("Stopped");
        assert_eq!(bench.show("x")["state"], "held", "a stopped holder holds");
        terminal.fg();
    }
    terminal.keys("word\n");
    terminal.sees("got word");
    assert_eq!(terminal.code(), "9");
}

#[test]
fn bg_goes_on_without_the_terminal() {
    let bench = Bench::new();
    let mut terminal = Terminal::with_shell(&bench);
    assert!(Command::new("mkfifo").arg(bench.path("p")).status().unwrap().success());
    // No program after `up`: a stop that meets a shell's vfork hangs under any shell.
    terminal.keys("\"$TENURE\" run x -c 'echo u\"\"p; read line < p; echo done > file'\n");
    terminal.sees("up");
    terminal.keys(CTRL_Z);
    terminal.sees("Stopped");
    terminal.keys("bg\n");
    terminal.keys("echo prompt$((40+2))\n");
    terminal.sees("prompt42");
    std::fs::write(bench.path("p"), "").unwrap();
    assert_eq!(bench.wait_for_file("file"), "done");
}

#[test]
fn a_background_job_that_reads_stops_until_fg() {
    let bench = Bench::new();
    let mut terminal = Terminal::with_shell(&bench);
    terminal.keys("\"$TENURE\" run x -c 'echo u\"\"p; read line; echo got $line' &\n");
    terminal.sees("up");
    // The shell reports a stopped job at its next prompt.
    until("the job is stopped", || {
        terminal.keys("jobs\n");
        std::thread::sleep(std::time::Duration::from_millis(50));
        terminal.screen.lock().unwrap().contains("Stopped")
    });
    terminal.fg();
    terminal.keys("word\n");
    terminal.sees("got word");
}

#[test]
fn a_waiter_shows_who_holds_and_leaves_the_line_when_stopped() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    let mut terminal = Terminal::with_shell(&bench);
    terminal.keys("\"$TENURE\" run x -- echo r''an\n");
    terminal.sees("waiting for `x`, next in line: held by");
    bench.wait_for_queue("x", 1);
    terminal.keys(CTRL_Z);
    terminal.sees("Stopped");
    bench.wait_for_queue("x", 0);
    terminal.fg();
    bench.wait_for_queue("x", 1);
    terminal.sees("next in line");
    holder.signal(Signal::TERM);
    terminal.sees("ran");
    assert_eq!(terminal.code(), "0");
}

#[test]
fn ctrl_c_while_waiting_leaves_the_line() {
    let bench = Bench::new();
    let _holder = bench.hold("x");
    let mut terminal = Terminal::with_shell(&bench);
    terminal.keys("\"$TENURE\" run x -- echo r''an\n");
    bench.wait_for_queue("x", 1);
    terminal.keys(CTRL_C);
    assert_eq!(terminal.code(), "130");
    bench.wait_for_queue("x", 0);
}

#[test]
fn ctrl_c_ends_a_script_around_us_too() {
    let bench = Bench::new();
    let _holder = bench.hold("held");
    let cases = [
        ("run x -c 'echo u\"\"p; exec sleep 1000'", "up"),
        ("run x -c 'echo u\"\"p; exec sleep 1000' </dev/null", "up"),
        ("run held -- true", "waiting for `held`"),
    ];
    for (run, shown) in cases {
        let mut terminal = Terminal::with_shell(&bench);
        let script = format!("\"$TENURE\" {run}; echo went on\n");
        std::fs::write(bench.path("script"), script).unwrap();
        terminal.keys("bash script\n");
        terminal.sees(shown);
        terminal.keys(CTRL_C);
        assert_eq!(terminal.code(), "130", "{run}");
        assert!(!terminal.log().contains("went on"), "{run}: {}", terminal.log());
    }
    assert_eq!(bench.show("x")["state"], "free");
}

#[test]
fn a_command_that_deals_with_ctrl_c_lets_the_script_go_on() {
    let bench = Bench::new();
    let mut terminal = Terminal::with_shell(&bench);
    let line = "\"$TENURE\" run x -c 'trap \"exit 3\" INT; echo up; while :; do sleep 0.02; done'";
    std::fs::write(bench.path("script"), format!("{line}; echo went on $?\n")).unwrap();
    terminal.keys("bash script\n");
    terminal.sees("up");
    terminal.keys(CTRL_C);
    terminal.sees("went on 3");
}

#[test]
fn without_a_shell_ctrl_z_stops_nothing_for_good() {
    let bench = Bench::new();
    let tenure = env!("CARGO_BIN_EXE_tenure");
    let line = "echo up; read line; echo got $line";
    let mut terminal = Terminal::with(&bench, &[tenure, "run", "x", "-c", line]);
    terminal.sees("up");
    terminal.keys(CTRL_Z);
    terminal.keys("word\n");
    terminal.sees("got word");
}

#[test]
fn a_pager_behind_us_gets_the_terminal() {
    let bench = Bench::new();
    let mut terminal = Terminal::with_shell(&bench);
    let pager = "sh -c 'read a; read line </dev/tty; echo pager $line'";
    terminal.keys(&format!("\"$TENURE\" run x -c 'echo up; exec sleep 1000' | {pager}\n"));
    bench.wait_for_hold("x");
    terminal.keys("word\n");
    terminal.sees("pager word");
    terminal.keys(CTRL_C);
    terminal.keys("echo prompt$((40+2))\n");
    terminal.sees("prompt42");
    until("the lock is free", || bench.show("x")["state"] == "free");
}

#[test]
fn acquire_shows_whom_it_waits_for_and_leaves_the_line_when_stopped() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    let mut terminal = Terminal::with_shell(&bench);
    terminal.keys("\"$TENURE\" acquire x --ttl 1h --hold h\n");
    terminal.sees(&format!("tenure: waiting for `x`, next in line: held by pid {}", holder.pid()));
    terminal.keys(CTRL_Z);
    terminal.sees("Stopped");
    assert_eq!(
        bench.show("x")["queue"].as_array().unwrap().len(),
        0,
        "nobody waits for a stopped one"
    );
    terminal.keys("fg\n");
    bench.wait_for_queue("x", 1);
    terminal.keys(CTRL_C);
    assert_eq!(terminal.code(), "130");
    bench.wait_for_queue("x", 0);
    assert!(!bench.path("h").exists());
    terminal.keys("\"$TENURE\" acquire x --ttl 1h --hold h\n");
    bench.wait_for_queue("x", 1);
    holder.signal(Signal::TERM);
    assert_eq!(terminal.code(), "0");
    assert_eq!(bench.run(&["release", "--hold", "h"]).code, Some(0));
}

#[test]
fn wait_shows_whom_it_waits_for() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    let mut terminal = Terminal::with_shell(&bench);
    terminal.keys("\"$TENURE\" wait x\n");
    let line = format!("tenure: waiting until `x` is free: held by pid {}", holder.pid());
    terminal.sees(&line);
    terminal.keys(CTRL_Z);
    terminal.sees("Stopped");
    terminal.keys("fg\n");
    terminal.sees(&line);
    terminal.keys(CTRL_C);
    assert_eq!(terminal.code(), "130");
    terminal.keys("\"$TENURE\" wait x\n");
    terminal.sees(&line);
    holder.signal(Signal::TERM);
    assert_eq!(terminal.code(), "0");
}

#[test]
fn steal_asks_before_it_takes() {
    let bench = Bench::new();
    let holder = bench.hold("x");
    let mut terminal = Terminal::with_shell(&bench);
    for (answer, code, state) in
        [("n", "125", "held"), ("", "125", "held"), ("yess", "125", "held"), ("y", "0", "free")]
    {
        terminal.keys("\"$TENURE\" steal x --reason why --now\n");
        terminal.sees(&format!("held by pid {}", holder.pid()));
        terminal.sees("tenure: kill its processes and free it? [y/N] ");
        terminal.keys(&format!("{answer}\n"));
        assert_eq!(
            (terminal.code().as_str(), bench.show("x")["state"].as_str()),
            (code, Some(state))
        );
    }
}

#[test]
fn repair_asks_before_it_frees() {
    let bench = Bench::new();
    assert_eq!(bench.run(&["run", "x", "--", "true"]).code, Some(0));
    std::fs::write(bench.path("store/locks/x"), "").unwrap();
    let mut terminal = Terminal::with_shell(&bench);
    for (answer, code) in [("no", "125"), ("yes", "0")] {
        terminal.keys("\"$TENURE\" repair\n");
        terminal.sees("damage  the file is empty");
        terminal.sees("tenure: free 1 damaged record? [y/N] ");
        terminal.keys(&format!("{answer}\n"));
        assert_eq!(terminal.code(), code);
    }
    assert_eq!(bench.show("x")["state"], "free");
}
