//! `cargo xtask check` and `cargo xtask fix`: what is looked at, in which order, and what mends it.
//!
//! Owns the list. Quick looks come first and all of them run, so that one run names everything
//! that is wrong; none of them writes a tracked file.

use std::process::Command;

use crate::steps::{Findings, run, step};
use crate::workspace::{Workspace, cargo};
use crate::{api, arrows, components, documents, files, packages, purity};

const FIX: &str = "mend with: cargo xtask fix";
const CLIPPY: &str = "mend with: cargo xtask fix; what is left by hand";
const BY_HAND: &str = "mend by hand, then: cargo xtask check";

/// A look at the tree: its name, what mends what it finds, and itself.
type Look = (&'static str, &'static str, fn(&Workspace) -> Findings);

/// Every static check of CI.
pub(crate) fn check(workspace: &Workspace) -> Result<(), String> {
    let looks: [Look; 7] = [
        ("files: headers and lengths", BY_HAND, files::headers),
        ("files: no paths or hosts of a machine", BY_HAND, files::machine),
        ("documents: commands and links", BY_HAND, documents::check),
        ("crates: who may know whom", BY_HAND, arrows::check),
        ("core: no clock, no I/O, no waiting", BY_HAND, purity::check),
        ("public API: crates/*/api.txt", FIX, api::check),
        ("packages: what would be published", BY_HAND, packages::check),
    ];
    components::ensure()?;
    let mut failed = 0;
    for (name, mend, look) in looks {
        failed += usize::from(!step(name, mend, || look(workspace)));
    }
    for (name, mend, mut command) in tools(workspace) {
        failed += usize::from(!step(&name, mend, || run(&mut command)));
    }
    match failed {
        0 => Ok(()),
        1 => Err("1 check failed; it is named above with what mends it".to_owned()),
        n => Err(format!("{n} checks failed; each is named above with what mends it")),
    }
}

/// What cargo's own tools look at.
fn tools(workspace: &Workspace) -> Vec<(String, &'static str, Command)> {
    let strict = ["--", "-D", "warnings"];
    let mut tools = vec![
        ("rustfmt".to_owned(), FIX, with(&["fmt", "--all", "--check"])),
        ("clippy: all targets, all features".to_owned(), CLIPPY, {
            let mut clippy =
                with(&["clippy", "--workspace", "--all-targets", "--all-features", "--keep-going"]);
            clippy.args(strict);
            clippy
        }),
    ];
    let without = |p: &&crate::workspace::Package| p.published && !p.features.is_empty();
    for package in workspace.packages.iter().filter(without) {
        let mut clippy = with(&["clippy", "--no-default-features", "-p", &package.name]);
        clippy.args(strict);
        tools.push((format!("clippy: {}, no default features", package.name), CLIPPY, clippy));
    }
    let mut doc = with(&["doc", "--workspace", "--no-deps", "--all-features"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    tools.push(("rustdoc".to_owned(), BY_HAND, doc));
    tools
}

/// Writes what can be written for the checks to pass.
pub(crate) fn fix(workspace: &Workspace) -> Result<(), String> {
    let mut clippy = with(&["clippy", "--fix", "--workspace", "--all-targets", "--all-features"]);
    clippy.args(["--allow-dirty", "--allow-staged"]);
    let mut fmt = with(&["fmt", "--all"]);
    let mut ok = step("clippy --fix", BY_HAND, || run(&mut clippy));
    ok &= step("rustfmt", BY_HAND, || run(&mut fmt));
    ok &= step("crates/*/api.txt", BY_HAND, || match api::fix(workspace) {
        Ok(written) => {
            written.iter().for_each(|file| print!("wrote {} ", file.display()));
            Vec::new()
        }
        Err(why) => vec![why],
    });
    if ok { Ok(()) } else { Err("not everything could be mended; see above".to_owned()) }
}

fn with(args: &[&str]) -> Command {
    let mut command = cargo();
    command.args(args);
    command
}
