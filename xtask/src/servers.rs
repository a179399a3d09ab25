//! The real servers of a test run: made ready where everybody sees it, started once for all crates.
//!
//! Owns when they are needed. How they are found, built and started is the business of
//! `tenure-servers`; they end with this process, since their input is a pipe that it holds.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::workspace::{Package, cargo, shown};

const CRATE: &str = "tenure-servers";
/// Where test programs look for servers that run already.
const SHARED: &str = "TENURE_TEST_SERVERS";

/// Servers that run, or none yet.
#[derive(Default)]
pub(crate) struct Servers {
    up: Option<(Child, String)>,
}

impl Servers {
    /// Finds or builds what will be started, minutes before it is needed and with its progress shown.
    pub(crate) fn prepare() -> Result<(), String> {
        let mut prepare = servers("prepare");
        println!("\n$ {}", shown(&prepare));
        let status = prepare.status().map_err(|e| format!("`{}`: {e}", shown(&prepare)))?;
        if status.success() { Ok(()) } else { Err(format!("failed: {}", shown(&prepare))) }
    }

    /// Lets the tests of a crate that uses servers share those of this run.
    pub(crate) fn share(&mut self, package: &Package, tests: &mut Command) -> Result<(), String> {
        if package.dependencies.iter().any(|d| d.name == CRATE) {
            if self.up.is_none() {
                self.up = Some(up()?);
            }
            tests.envs(self.up.iter().map(|(_, folder)| (SHARED, folder)));
        }
        Ok(())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if let Some((mut up, _)) = self.up.take() {
            drop(up.stdin.take());
            // Nothing is left to be done about how it ended.
            let _ = up.wait();
        }
    }
}

fn up() -> Result<(Child, String), String> {
    let mut command = servers("up");
    println!("\n$ {}", shown(&command));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let failed = |why: String| format!("`cargo run -p {CRATE} -- up`: {why}");
    let mut child = command.spawn().map_err(|e| failed(e.to_string()))?;
    let mut folder = String::new();
    if let Some(said) = child.stdout.take() {
        let mut said = BufReader::new(said);
        said.read_line(&mut folder).map_err(|e| failed(e.to_string()))?;
        // It says more, and must not find its output closed.
        child.stdout = Some(said.into_inner());
    }
    match folder.trim_end() {
        "" => Err(failed("no servers; its last line says why".to_owned())),
        folder => Ok((child, folder.to_owned())),
    }
}

fn servers(what: &str) -> Command {
    let mut command = cargo();
    command.args(["run", "--quiet", "--locked", "-p", CRATE, "--", what]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_without_servers_does_not_start_them() {
        let mut servers = Servers::default();
        let mut tests = Command::new("true");
        let package = Package::for_tests("tenure-core", [("proptest", true, "^1")]);
        assert_eq!(servers.share(&package, &mut tests), Ok(()));
        assert!(servers.up.is_none() && tests.get_envs().next().is_none());
    }
}
