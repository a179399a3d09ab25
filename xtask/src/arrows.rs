//! Which crate may know which: the table of the house, held against the manifests.
//!
//! Owns the table. Refuses to infer it: a crate that is missing here is a finding, so that a new
//! arrow is always somebody's decision. What it keeps: the core is built from nothing, backends do
//! not know each other, only `tenure` knows backends, and what exists for tests and benchmarks is
//! in nothing that is published.

use crate::steps::Findings;
use crate::workspace::{Package, Workspace};

/// A crate and the crates of this workspace it may be built from.
const MAY_USE: &[(&str, &[&str])] = &[
    ("tenure-core", &[]),
    ("tenure-wire", &["tenure-core"]),
    ("tenure-store", &["tenure-core"]),
    ("tenure-testkit", &["tenure-core", "tenure-store", "tenure-wire"]),
    ("tenure-local", &["tenure-core", "tenure-store"]),
    ("tenure-kube", &["tenure-core", "tenure-store", "tenure-wire"]),
    ("tenure-etcd", &["tenure-core", "tenure-store", "tenure-wire"]),
    (
        "tenure",
        &[
            "tenure-core",
            "tenure-etcd",
            "tenure-kube",
            "tenure-local",
            "tenure-store",
            "tenure-testkit",
            "tenure-wire",
        ],
    ),
    ("tenure-cli", &["tenure"]),
    ("tenure-bench", &["tenure", "tenure-core", "tenure-local", "tenure-store"]),
    ("xtask", &[]),
];

/// Crates from elsewhere that only some of ours may be built from, with who may.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("kube", &["tenure-kube", "tenure", "tenure-cli"]),
    ("k8s-openapi", &["tenure-kube", "tenure", "tenure-cli"]),
    ("tonic", &["tenure-etcd", "tenure", "tenure-cli"]),
    ("etcd-client", &["tenure-etcd", "tenure", "tenure-cli"]),
    ("rustls", &["tenure-etcd", "tenure-kube", "tenure", "tenure-cli"]),
    ("tokio", &["tenure-etcd", "tenure-kube", "tenure", "tenure-cli"]),
    ("criterion", &[]),
    ("hdrhistogram", &[]),
    ("proptest", &[]),
    ("stateright", &[]),
    ("openssl-sys", &[]),
    ("native-tls", &[]),
    ("aws-lc-sys", &[]),
    ("libsqlite3-sys", &[]),
];

/// Holds the manifests against the table.
pub(crate) fn check(workspace: &Workspace) -> Findings {
    let mut findings = Findings::new();
    for package in &workspace.packages {
        own_arrows(workspace, package, &mut findings);
        if package.published {
            foreign(workspace, package, &mut findings);
        }
    }
    if let Some(core) = workspace.package("tenure-core") {
        for dependency in core.dependencies.iter().filter(|d| !d.dev) {
            findings.push(format!(
                "tenure-core: depends on {}; it has no dependencies",
                dependency.name
            ));
        }
    }
    findings
}

fn own_arrows(workspace: &Workspace, package: &Package, findings: &mut Findings) {
    let name = &package.name;
    let Some((_, allowed)) = MAY_USE.iter().find(|(of, _)| of == name) else {
        findings
            .push(format!("{name}: not in the table of xtask/src/arrows.rs; add what it may use"));
        return;
    };
    for dependency in &package.dependencies {
        let Some(used) = workspace.package(&dependency.name) else { continue };
        let to = &used.name;
        // Tests may use the kit, and a library's own command or examples may use the library.
        let in_tests = dependency.dev && to == "tenure-testkit";
        if !allowed.contains(&to.as_str()) && !in_tests && to != name {
            findings.push(format!("{name}: must not know {to}; it may use {}", list(allowed)));
        }
        if package.published && !used.published {
            if !dependency.dev {
                findings.push(format!("{name}: is published and needs {to}, which is not"));
            } else if dependency.version != "*" {
                findings.push(format!(
                    "{name}: could not be published: its tests name a version of {to}, which has none; \
                     give the path alone"
                ));
            }
        }
    }
}

fn foreign(workspace: &Workspace, package: &Package, findings: &mut Findings) {
    let built_from = workspace.built_from(&package.name);
    for (foreign, only_in) in ONLY_IN {
        if built_from.contains(foreign) && !only_in.contains(&package.name.as_str()) {
            let may = list(only_in);
            findings
                .push(format!("{}: is built from {foreign}; that may be in {may}", package.name));
        }
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none of ours".to_owned() } else { names.join(", ") }
}
