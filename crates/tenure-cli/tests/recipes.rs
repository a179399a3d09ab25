//! `docs/recipes.md` and the README's main job, run: each block is taken from the page and executed
//! as its reader would.
//!
//! Owns no recipe: a block that is not on the page fails its test. `TENURE_STORE` is set for all of
//! them, because root's default store is the machine's own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longer than anything here takes, so that only a hang reaches it.
const LONG: Duration = Duration::from_secs(30);

/// The `number`th block in `language` under the heading of the page of recipes.
fn block(heading: &str, language: &str, number: usize) -> String {
    block_of("docs/recipes.md", heading, language, number)
}

fn block_of(page: &str, heading: &str, language: &str, number: usize) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(page);
    let page = fs::read_to_string(file).unwrap();
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut blocks = section.split("```").skip(1).step_by(2);
    let found = blocks.by_ref().filter_map(|b| b.strip_prefix(language)?.strip_prefix('\n'));
    found.map(str::to_owned).nth(number).unwrap()
}

/// Somebody's home, with `tenure` installed in `bin`.
struct Home(PathBuf);

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Home {
    fn new(name: &str) -> Self {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("recipes-{name}-{}", std::process::id()));
        fs::create_dir_all(home.join("bin")).unwrap();
        symlink(env!("CARGO_BIN_EXE_tenure"), home.join("bin/tenure")).unwrap();
        Self(home)
    }

    /// An executable file: appends its arguments and token to `ran`, exits with what `code` says.
    fn script(&self, name: &str) -> PathBuf {
        let text = "#!/bin/sh\necho \"$* $TENURE_TOKEN\" >> ran\nexit \"$(cat code)\"\n";
        fs::write(self.0.join("code"), "0").unwrap();
        self.executable(name, text)
    }

    fn executable(&self, name: &str, text: &str) -> PathBuf {
        let file = self.0.join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        file
    }

    fn exits_with(&self, code: u8) {
        fs::write(self.0.join("code"), code.to_string()).unwrap();
    }

    /// What the script wrote since the last look.
    fn ran(&self) -> Vec<String> {
        let text = fs::read_to_string(self.0.join("ran")).unwrap_or_default();
        let _ = fs::remove_file(self.0.join("ran"));
        text.lines().map(str::to_owned).collect()
    }

    /// A command in this home that knows nothing else of the test's surroundings.
    fn command(&self, program: &str) -> Command {
        self.command_with(program, "/usr/local/bin:/usr/bin:/bin")
    }

    fn command_with(&self, program: &str, path: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(&self.0).stdin(Stdio::null());
        command.env("HOME", &self.0).env("LOGNAME", "u").env("SHELL", "/bin/sh");
        command.env("PATH", format!("{}/bin:{path}", self.0.display()));
        command.env("TENURE_STORE", format!("local:{}/store", self.0.display()));
        command
    }

    /// Runs `command` while somebody else has the lock.
    fn while_held<T>(&self, hold: &[&str], then: impl FnOnce() -> T) -> T {
        let mut holder = self.command(hold[0]);
        let script = "echo > held; cat > held";
        holder.args(&hold[1..]).args(["sh", "-c", script]).stdin(Stdio::piped());
        let mut holder = holder.spawn().unwrap();
        until("the lock is held", || self.0.join("held").exists());
        let result = then();
        // The holder reads the end of its input, and ends.
        drop(holder.stdin.take());
        assert!(holder.wait().unwrap().success());
        fs::remove_file(self.0.join("held")).unwrap();
        result
    }
}

/// Waits for something that will happen.
fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < LONG, "never came: {what}");
        sleep(Duration::from_millis(2));
    }
}

fn ended(mut child: Child) -> Output {
    until("the end of a recipe", || child.try_wait().unwrap().is_some());
    child.wait_with_output().unwrap()
}

fn run(mut command: Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut spawned = command.spawn();
    // Another test's child that was just forked may still have the script open for writing.
    while spawned.as_ref().is_err_and(|e| e.kind() == ErrorKind::ExecutableFileBusy) {
        sleep(Duration::from_millis(2));
        spawned = command.spawn();
    }
    ended(spawned.unwrap())
}

/// Its exit code, and that it said nothing.
fn quiet_code(command: Command) -> i32 {
    let out = run(command);
    assert_eq!(String::from_utf8_lossy(&out.stdout), "");
    assert_eq!(String::from_utf8_lossy(&out.stderr), "");
    out.status.code().unwrap()
}

fn code(command: Command) -> i32 {
    run(command).status.code().unwrap()
}

#[test]
fn crontab() {
    let home = Home::new("crontab");
    home.script("backup.sh");
    let text = block("crontab", "crontab", 0);
    let [path, job] = text.lines().collect::<Vec<_>>()[..] else { panic!("two lines: {text}") };
    let path = path.strip_prefix("PATH=").unwrap();
    // Five fields of time, then what `sh -c` gets.
    let line = job.splitn(6, ' ').nth(5).unwrap();
    assert!(!line.contains('%'), "cron would cut the line there: {line}");
    let cron = || {
        let mut sh = home.command_with("/bin/sh", path);
        sh.args(["-c", line]);
        sh
    };
    assert_eq!(quiet_code(cron()), 0);
    assert_eq!(home.ran().len(), 1);
    home.exits_with(3);
    assert_eq!(quiet_code(cron()), 3);
    assert_eq!(home.ran().len(), 1);
    home.while_held(&["tenure", "run", "nightly-backup", "--"], || {
        assert_eq!(quiet_code(cron()), 0, "busy is no failure here, and no mail");
    });
    assert_eq!(home.ran().len(), 0, "it ran beside another");
}

#[test]
fn systemd_unit() {
    let home = Home::new("systemd");
    let backup = home.script("backup");
    let unit = block("systemd", "ini", 0)
        .replace("/usr/local/bin/tenure", env!("CARGO_BIN_EXE_tenure"))
        .replace("/usr/local/bin/backup", backup.to_str().unwrap());
    let file = home.0.join("backup.service");
    fs::write(&file, &unit).unwrap();
    let value = |key: &str| {
        unit.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('=')).unwrap().to_owned()
    };
    // Checked by systemd where there is one; run by us everywhere.
    if home
        .command("sh")
        .args(["-c", "command -v systemd-analyze"])
        .output()
        .unwrap()
        .status
        .success()
    {
        let mut verify = home.command("systemd-analyze");
        verify.args(["verify", file.to_str().unwrap()]);
        let out = run(verify);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        let ours = said.lines().filter(|l| l.contains("backup.service")).collect::<Vec<_>>();
        assert_eq!(ours, Vec::<&str>::new(), "systemd-analyze verify");
    }
    let line = value("ExecStart");
    let words: Vec<&str> = line.split(' ').collect();
    let start = || {
        let mut command = home.command(words[0]);
        command.args(&words[1..]);
        command
    };
    assert_eq!(code(start()), 0);
    assert_eq!(home.ran().len(), 1);
    home.while_held(&["tenure", "run", "nightly-backup", "--"], || {
        assert_eq!(code(start()).to_string(), value("SuccessExitStatus"));
    });
    assert_eq!(home.ran().len(), 0, "it ran beside another");
}

#[test]
fn ci_step() {
    let home = Home::new("ci");
    home.script("deploy.sh");
    let yaml = block("A step in CI", "yaml", 0);
    let (_, lines) = yaml.split_once("run: |\n").unwrap();
    let script: String = lines.lines().map(|l| format!("{}\n", l.trim_start())).collect();
    let step = || {
        let mut bash = home.command("bash");
        bash.args(["-e", "-c", &script]);
        bash
    };
    assert_eq!(code(step()), 0);
    home.exits_with(4);
    assert_eq!(code(step()), 4, "the command's own code fails the step");
    home.exits_with(0);
    let waited = home.while_held(&["tenure", "run", "deploy", "--"], || {
        let step = step().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until("a place in line", || {
            let mut show = home.command("tenure");
            show.args(["show", "deploy", "--output", "json"]);
            String::from_utf8(run(show).stdout).unwrap().contains("\"queue\":[{")
        });
        step
    });
    assert_eq!(ended(waited).status.code(), Some(0), "it waits for its turn");
    let token = |line: &String| line.strip_prefix("staging ").unwrap().parse::<u64>().unwrap();
    let tokens: Vec<u64> = home.ran().iter().map(token).collect();
    assert_eq!(tokens.len(), 3);
    assert!(tokens.is_sorted_by(|a, b| a < b), "tokens must grow: {tokens:?}");
}

/// The scripts of the steps of a pipeline, each with whether it runs after a failure, too.
fn steps(yaml: &str) -> Vec<(String, bool)> {
    let steps = yaml.split("- name: ").skip(1);
    let step = |step: &str| {
        let (head, lines) = step.split_once("run: |\n").unwrap();
        let script = lines.lines().map(|l| format!("{}\n", l.trim_start())).collect();
        (script, head.contains("if: always()"))
    };
    steps.map(step).collect()
}

#[test]
fn steps_of_a_pipeline() {
    let home = Home::new("pipeline");
    home.script("deploy.sh");
    // What the page asks of `jq`, for machines without it.
    let jq = "#!/bin/sh\nsed 's/.*\"token\":\\([0-9]*\\).*/\\1/' \"$2\"\n";
    home.executable("bin/jq", jq);
    let steps = steps(&block("Several steps under one lock", "yaml", 0));
    assert_eq!(steps.len(), 4);
    // Runs them as a runner does; the codes of those that ran.
    let pipeline = |build: &str| {
        home.executable("build.sh", build);
        let mut failed = false;
        let mut codes = Vec::new();
        for (script, always) in &steps {
            if !failed || *always {
                let mut bash = home.command("bash");
                bash.args(["-e", "-c", script]).env("RUNNER_TEMP", &home.0);
                codes.push(code(bash));
                failed |= codes.last() != Some(&0);
            }
        }
        assert!(!home.0.join("deploy.hold").exists());
        codes
    };
    let busy = "#!/bin/sh\ntenure run -n -E 9 deploy -- true\n[ $? = 9 ]\n";
    assert_eq!(pipeline(busy), [0, 0, 0, 0], "the lock is held while it builds");
    let first = home.ran();
    assert_eq!(
        pipeline("#!/bin/sh\nexit 4\n"),
        [0, 4, 0],
        "a failed step, and the lock given back"
    );
    assert_eq!(home.ran().len(), 0);
    let lost = "#!/bin/sh\ntenure steal deploy --reason test --now --yes\n";
    assert_eq!(pipeline(lost), [0, 0, 123, 123], "what was lost is not deployed");
    assert_eq!(home.ran().len(), 0);
    assert_eq!(pipeline("#!/bin/sh\n"), [0, 0, 0, 0]);
    let token = |line: &str| line.strip_prefix("staging ").unwrap().parse::<u64>().unwrap();
    assert!(token(&home.ran()[0]) > token(&first[0]));
}

#[test]
fn a_script_of_several_steps() {
    let home = Home::new("steps");
    home.script("one.sh");
    home.script("two.sh");
    let script = home.executable("migrate", &block("Several steps under one lock", "bash", 0));
    let own = home.0.join("own");
    fs::create_dir(&own).unwrap();
    let migrate = || {
        let mut command = home.command(script.to_str().unwrap());
        command.env("TMPDIR", &own);
        command
    };
    assert_eq!(code(migrate()), 0);
    assert_eq!(home.ran().len(), 2);
    home.exits_with(5);
    assert_eq!(code(migrate()), 5);
    assert_eq!(home.ran().len(), 1);
    home.exits_with(0);
    home.while_held(&["tenure", "run", "migrate", "--"], || assert_eq!(code(migrate()), 124));
    assert_eq!(home.ran().len(), 0);
    assert_eq!(code(migrate()), 0, "nothing was left of those before");
    assert_eq!(fs::read_dir(&own).unwrap().count(), 0, "nothing is left of any");
    // One that is killed is in nobody's way once its ttl has run out.
    let short = fs::read_to_string(&script).unwrap().replace("--ttl 10m", "--ttl 300ms");
    let killed = home.executable("killed", &short);
    home.executable("one.sh", "#!/bin/sh\nkill -9 $PPID\n");
    let ended = home.command(killed.to_str().unwrap()).env("TMPDIR", &own).status().unwrap();
    assert_eq!(ended.code(), None, "{ended}");
    home.script("one.sh");
    until("the next one runs", || code(migrate()) == 0);
}

#[test]
fn a_holder_that_is_gone() {
    let home = Home::new("gone");
    let tenure = |args: &[&str]| {
        let mut command = home.command("tenure");
        command.args(args);
        command
    };
    assert_eq!(code(tenure(&["acquire", "deploy", "--ttl", "1h", "--hold", "lost"])), 0);
    let mut sh = home.command("/bin/sh");
    sh.args(["-e", "-c", &block("A holder that is gone", "sh", 0)]);
    let out = run(sh);
    assert!(out.status.success(), "{out:?}");
    assert!(String::from_utf8(out.stdout).unwrap().contains("state   held\n"));
    let shown = String::from_utf8(run(tenure(&["show", "deploy"])).stdout).unwrap();
    assert!(shown.contains("state   free\n"), "{shown}");
    assert!(shown.contains(", stolen: runner 7 was rebuilt\n"), "{shown}");
}

#[test]
fn instead_of_flock() {
    let home = Home::new("flock");
    home.script("report.sh");
    let line = |number| block("Instead of flock -n", "sh", number).trim_end().to_owned();
    let same = |line: &str, hold: &[&str]| {
        let sh = || {
            let mut sh = home.command("/bin/sh");
            sh.args(["-c", line]);
            sh
        };
        home.exits_with(7);
        assert_eq!(code(sh()), 7, "{line}");
        assert_eq!(home.ran().len(), 1, "{line}");
        home.while_held(hold, || assert_eq!(code(sh()), 1, "{line}"));
        assert_eq!(home.ran().len(), 0, "{line}");
    };
    same(&line(1), &["tenure", "run", "report", "--"]);
    // What is said of flock is checked where there is one.
    if home.command("flock").arg("--version").output().is_ok() {
        same(&line(0), &["flock", "report.lock"]);
    }
}

#[test]
fn a_script_that_locks_itself() {
    let home = Home::new("self");
    let script = home.executable("report", &block("Instead of flock -n", "bash", 0));
    let report = || {
        let mut command = home.command(script.to_str().unwrap());
        command.args(["may", "june"]);
        command
    };
    let out = run(report());
    assert_eq!(String::from_utf8(out.stdout).unwrap(), "report on may june\n");
    assert!(out.status.success());
    home.while_held(&["tenure", "run", "report", "--"], || assert_eq!(code(report()), 1));
}

#[test]
fn the_main_job_of_the_readme() {
    let home = Home::new("readme");
    let line = block_of("README.md", "Two commands", "sh", 0);
    // Built already, and not in this home.
    let build = "cargo run -q --release -p tenure-cli -- run ";
    assert!(line.starts_with(build), "{line}");
    let line = line.replace(build, "tenure run ");
    let mut sh = home.command("/bin/sh");
    sh.args(["-c", &line]);
    let out = run(sh);
    assert_eq!(String::from_utf8(out.stdout).unwrap(), "working\n");
    assert!(out.status.success());
}
