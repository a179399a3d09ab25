//! The public API of the published libraries, as text, one line per item.
//!
//! Owns `crates/*/api.txt`: made from the sources, so that no toolchain's output format is in it
//! and a change of API shows in the diff that makes it. What stands in it is what a user can name
//! from the crate's root: items, fields, variants, methods, trait implementations. It knows no
//! types: what a macro expands to is not seen, and types read as the source writes them.

mod print;
mod resolve;
mod text;
mod tree;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::steps::Findings;
use crate::workspace::{Package, Workspace};

pub(crate) use tree::{attributes, is_test_only};

const FILE: &str = "api.txt";

/// Compares the files with the sources.
pub(crate) fn check(workspace: &Workspace) -> Findings {
    let mut findings = Findings::new();
    for package in listed(workspace) {
        let (file, lines) = match expected(package) {
            Ok(expected) => expected,
            Err(why) => {
                findings.push(why);
                continue;
            }
        };
        let shown = file.strip_prefix(&workspace.root).unwrap_or(&file).display();
        let Ok(text) = std::fs::read_to_string(&file) else {
            findings.push(format!("{shown}: missing"));
            continue;
        };
        let old: BTreeSet<&str> = text.lines().collect();
        let new: BTreeSet<&str> = lines.lines().collect();
        let gone = old.difference(&new).map(|l| format!("{shown}: no longer there: {l}"));
        let come = new.difference(&old).map(|l| format!("{shown}: not listed yet: {l}"));
        findings.extend(gone.chain(come));
        if findings.is_empty() && text != lines {
            findings.push(format!("{shown}: not in order"));
        }
    }
    findings
}

/// Writes the files that differ; returns their names.
pub(crate) fn fix(workspace: &Workspace) -> Result<Vec<PathBuf>, String> {
    let mut written = Vec::new();
    for package in listed(workspace) {
        let (file, lines) = expected(package)?;
        if std::fs::read_to_string(&file).is_ok_and(|text| text == lines) {
            continue;
        }
        std::fs::write(&file, lines).map_err(|e| format!("{}: {e}", file.display()))?;
        written.push(file.strip_prefix(&workspace.root).unwrap_or(&file).to_owned());
    }
    Ok(written)
}

fn listed(workspace: &Workspace) -> impl Iterator<Item = &Package> {
    workspace.packages.iter().filter(|p| p.published && p.lib.is_some())
}

fn expected(package: &Package) -> Result<(PathBuf, String), String> {
    let root = package.lib.as_deref().unwrap_or(Path::new("src/lib.rs"));
    let krate = tree::Crate::load(&package.name.replace('-', "_"), root)?;
    let mut text = String::new();
    for line in print::lines(&krate) {
        text.push_str(&line);
        text.push('\n');
    }
    Ok((package.dir.join(FILE), text))
}
