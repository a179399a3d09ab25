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
    ("tenure-servers", &[]),
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
    (
        "tenure-bench",
        &["tenure", "tenure-core", "tenure-kube", "tenure-local", "tenure-servers", "tenure-store"],
    ),
    ("tenure-bench-stamp", &[]),
    ("tenure-interop", &["tenure", "tenure-servers", "tenure-wire"]),
    ("xtask", &[]),
];

/// Made for tests: every crate's tests may use them, and nothing else of it.
const FOR_TESTS: &[&str] = &["tenure-servers", "tenure-testkit"];

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
        // Tests may use what was made for them.
        let in_tests = dependency.dev && FOR_TESTS.contains(&to.as_str());
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found if `name`, beside the rest of the house, has this one dependency.
    fn found(name: &str, dependency: (&str, bool, &str)) -> Findings {
        let house =
            ["tenure-core", "tenure-store", "tenure-local", "tenure-kube", "tenure-testkit"];
        let mut packages = vec![Package::for_tests(name, [dependency])];
        let others = house.iter().filter(|other| **other != name);
        packages.extend(others.map(|other| Package::for_tests(other, [])));
        for package in &mut packages {
            package.published = package.name != "tenure-testkit";
        }
        check(&Workspace::for_tests(packages))
    }

    #[test]
    fn arrows_of_the_house_are_allowed() {
        assert_eq!(found("tenure-local", ("tenure-core", false, "^0.1")), Findings::new());
        assert_eq!(found("tenure", ("tenure-local", false, "^0.1")), Findings::new());
        assert_eq!(found("tenure-local", ("tenure-testkit", true, "*")), Findings::new());
        assert_eq!(found("tenure-core", ("proptest", true, "^1")), Findings::new());
    }

    #[test]
    fn backends_do_not_know_each_other_and_the_command_knows_none() {
        let local = found("tenure-local", ("tenure-kube", false, "^0.1"));
        assert_eq!(
            local,
            ["tenure-local: must not know tenure-kube; it may use tenure-core, tenure-store"]
        );
        assert_eq!(found("tenure-local", ("tenure-kube", true, "^0.1")).len(), 1);
        assert_eq!(found("tenure-cli", ("tenure-local", false, "^0.1")).len(), 1);
    }

    #[test]
    fn the_core_is_built_from_nothing() {
        let core = found("tenure-core", ("libm", false, "^0.2"));
        assert_eq!(core, ["tenure-core: depends on libm; it has no dependencies"]);
    }

    #[test]
    fn what_is_for_tests_and_benchmarks_is_not_published() {
        assert_eq!(found("tenure-store", ("tenure-testkit", false, "*")).len(), 2);
        assert_eq!(found("tenure-store", ("tenure-testkit", true, "^0.1")).len(), 1);
        assert_eq!(found("tenure-local", ("kube", false, "^4")).len(), 1);
    }

    #[test]
    fn a_new_crate_is_somebodys_decision() {
        assert_eq!(found("tenure-redis", ("tenure-core", false, "^0.1")).len(), 1);
    }
}
