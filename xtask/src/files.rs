//! Rules for single files: how long they may be, and what of a machine they may name.
//!
//! Owns both rules. Knows no Rust: a file is lines.

use std::path::Path;

use crate::steps::Findings;
use crate::workspace::Workspace;

/// Longer files must say why in their header, with the words "800 lines".
const LINES_MAX: usize = 800;

/// Folders that only one machine has: nobody else's tree has them.
const MACHINE: &[&str] = &["work", "root", "home", "Users"];

/// Every Rust source opens with what it owns, and is short or says why not.
pub(crate) fn headers(workspace: &Workspace) -> Findings {
    let mut findings = Findings::new();
    for file in workspace.files.iter().filter(|f| f.extension().is_some_and(|e| e == "rs")) {
        let text = workspace.read(file).unwrap_or_default();
        let header: Vec<&str> = text.lines().take_while(|l| l.starts_with("//!")).collect();
        let lines = text.lines().count();
        let shown = file.display();
        if header.is_empty() && !is_tests(file) {
            findings.push(format!("{shown}: must open with `//!` and what it owns"));
        }
        if lines > LINES_MAX && !header.iter().any(|l| l.contains("800 lines")) {
            findings.push(format!(
                "{shown}: has {lines} lines; split it, or say in its header why it is over 800 lines"
            ));
        }
    }
    findings
}

/// A module that is nothing but the tests of the file beside it.
fn is_tests(file: &Path) -> bool {
    file.file_name().is_some_and(|n| n == "tests.rs") && !file.starts_with("tests")
}

/// Nothing names a folder or a registry of the machine it was written on.
pub(crate) fn machine(workspace: &Workspace) -> Findings {
    let mirrors = mirrors();
    let mut findings = Findings::new();
    for file in &workspace.files {
        let Some(text) = workspace.read(file) else { continue };
        for (number, line) in text.lines().enumerate() {
            let at = format!("{}:{}", file.display(), number + 1);
            if let Some(path) = machine_path(line) {
                findings.push(format!("{at}: names a folder of one machine: {path}"));
            }
            if let Some(host) = mirrors.iter().find(|host| line.contains(host.as_str())) {
                findings.push(format!("{at}: names this machine's registry: {host}"));
            }
        }
        if file.ends_with("Cargo.lock") {
            findings.extend(foreign_sources(&text));
        }
    }
    findings
}

/// A path below somebody's own folder. A lone `/root` or `/home/u` is an example, not a path.
fn machine_path(line: &str) -> Option<&str> {
    MACHINE.iter().find_map(|folder| {
        let start = format!("/{folder}/");
        line.match_indices(&start).find_map(|(at, _)| {
            let before = line[..at].chars().next_back();
            // `docs/work/..` or `https://host/home/..` is somewhere else.
            if before.is_some_and(|c| c.is_alphanumeric() || "._-}$/".contains(c)) {
                return None;
            }
            let path = word(&line[at..]);
            let rest = path.get(start.len()..)?;
            // The user `u` stands for any.
            let example = rest.is_empty() || rest == "u" || rest.starts_with("u/");
            (!example).then_some(path)
        })
    })
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| c.is_whitespace() || "\"'`)<>;,".contains(c));
    &text[..end.unwrap_or(text.len())]
}

/// Hosts that this machine's cargo is told to use instead of the public registry.
fn mirrors() -> Vec<String> {
    let home = std::env::var_os("CARGO_HOME")
        .map(std::path::PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let config = home.and_then(|home| std::fs::read_to_string(home.join("config.toml")).ok());
    let set = std::env::vars().filter(|(name, _)| {
        name.ends_with("_INDEX") || name.ends_with("_PROXY") || name.ends_with("_proxy")
    });
    let mut text = config.unwrap_or_default();
    set.for_each(|(_, value)| text.push_str(&format!("\n{value}")));
    hosts(&text)
}

fn hosts(text: &str) -> Vec<String> {
    let everyones = ["crates.io", "github.com", "golang.org", "localhost", "127.0.0.1"];
    let urls = text.split("://").skip(1).map(|rest| {
        let end = rest.find(|c: char| c.is_whitespace() || "/\"'".contains(c));
        let authority = &rest[..end.unwrap_or(rest.len())];
        // Without credentials and port.
        let host = authority.rsplit('@').next().unwrap_or(authority);
        host.split(':').next().unwrap_or(host).to_owned()
    });
    urls.filter(|host| host.contains('.') && !everyones.iter().any(|e| host.ends_with(e))).collect()
}

fn foreign_sources(lock: &str) -> Findings {
    let public = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let sources = lock.lines().filter(|l| l.starts_with("source = ") && *l != public);
    sources.map(|l| format!("Cargo.lock: not the public registry: {l}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Put together here, so that this file does not name what it searches for.
    fn below(folder: &str, rest: &str) -> String {
        format!("/{folder}/{rest}")
    }

    #[test]
    fn folders_of_a_machine_are_found() {
        for folder in MACHINE {
            let line = format!("see `{}` there", below(folder, "ann/x.rs"));
            assert_eq!(machine_path(&line), Some(below(folder, "ann/x.rs").as_str()));
        }
    }

    #[test]
    fn examples_and_other_paths_are_not() {
        let home = below("home", "u/.local");
        let inside = format!("docs{}", below("work", "plan.md"));
        for line in ["/root", "/var/lib/tenure", &home, &inside, "$HOME/work"] {
            assert_eq!(machine_path(line), None, "{line}");
        }
    }

    #[test]
    fn hosts_of_a_cargo_configuration() {
        let config = "[source.mirror]\nregistry = \"sparse+https://me:pw@crates.example.net:81/index/\"\n\
                      other = 'https://index.crates.io/'";
        assert_eq!(hosts(config), ["crates.example.net"]);
    }

    #[test]
    fn a_lock_file_names_the_public_registry_only() {
        let line = "source = \"registry+https://crates.example.net/index\"";
        assert_eq!(foreign_sources(line).len(), 1);
        assert_eq!(foreign_sources("name = \"syn\"").len(), 0);
    }
}
