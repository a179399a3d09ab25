//! What would be uploaded for each published crate.
//!
//! Owns the rules for a package's contents and the fields of its manifest that a registry wants.
//! Uploads nothing and needs no registry.

use crate::steps::Findings;
use crate::workspace::{Package, Workspace, cargo, output};

/// What every package must hold besides its sources.
const NEEDED: &[&str] = &["Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT"];

/// Ends of names that are somebody's leftovers.
const LEFTOVERS: &[&str] = &[".orig", ".rej", ".swp", ".log", ".tmp", "~"];

/// Sources are text: a file beyond this is a mistake.
const BYTES_MAX: u64 = 512 * 1024;

/// Lists each package as cargo would make it.
pub(crate) fn check(workspace: &Workspace) -> Findings {
    let mut findings = Findings::new();
    for package in workspace.packages.iter().filter(|p| p.published) {
        let list =
            output(cargo().args(["package", "--list", "--allow-dirty", "-p", &package.name]));
        match list {
            Ok(list) => contents(package, &list.lines().collect::<Vec<_>>(), &mut findings),
            Err(why) => findings.push(why),
        }
    }
    findings
}

fn contents(package: &Package, files: &[&str], findings: &mut Findings) {
    let name = &package.name;
    for needed in NEEDED.iter().filter(|n| !files.contains(n)) {
        findings.push(format!("{name}: its package lacks {needed}; link it into {name}'s folder"));
    }
    if !files.iter().any(|f| ["src/lib.rs", "src/main.rs"].contains(f)) {
        findings.push(format!("{name}: its package has no src/lib.rs or src/main.rs"));
    }
    // Cargo itself adds this copy of the manifest as written.
    for file in files.iter().filter(|f| **f != "Cargo.toml.orig") {
        if LEFTOVERS.iter().any(|end| file.ends_with(end)) {
            findings.push(format!("{name}: its package holds a leftover, {file}; delete it"));
        }
        let size = std::fs::metadata(package.dir.join(file)).map_or(0, |m| m.len());
        if size > BYTES_MAX {
            findings.push(format!("{name}: its package holds {file}, {size} bytes; exclude it"));
        }
    }
}
