//! Where the programs come from: named by the user, in `PATH`, in the cache, or built.
//!
//! Owns the order of the search and which versions will do. A program that is too old is named and
//! passed over; a Go program of this repository is never looked for elsewhere, since it has to be
//! the one of this tree.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::build;

/// A Go module under `interop/`, and the programs that are built from it together.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// Its folder under `interop/`.
    pub folder: &'static str,
    /// The names of its programs.
    pub programs: &'static [&'static str],
    pub(crate) packages: &'static [&'static str],
    /// The module whose version in `go.mod` is the version of what is built; our own code has none.
    pub(crate) versioned: Option<&'static str>,
    pub(crate) minutes: &'static str,
    /// The oldest major and minor version that will do, if it is found elsewhere.
    pub(crate) oldest: (u32, u32),
}

/// etcd with its client, and the API server.
pub const SERVERS: [Module; 2] = [
    Module {
        folder: "servers/etcd",
        programs: &["etcd", "etcdctl"],
        packages: &[".", "go.etcd.io/etcd/etcdctl/v3"],
        versioned: Some("go.etcd.io/etcd/server/v3"),
        minutes: "about 1 minute",
        oldest: (3, 5),
    },
    Module {
        folder: "servers/kube-apiserver",
        programs: &["kube-apiserver"],
        packages: &["k8s.io/kubernetes/cmd/kube-apiserver"],
        versioned: Some("k8s.io/kubernetes"),
        minutes: "about 6 minutes",
        oldest: (1, 33),
    },
];

/// The Go programs that contend with ours.
pub const PEERS: Module = Module {
    folder: "peers",
    programs: &["peer-lease", "peer-annotation", "peer-configmap", "peer-janus", "peer-list"],
    packages: &["./..."],
    versioned: None,
    minutes: "about 2 minutes",
    oldest: (0, 0),
};

/// What the search depends on.
pub(crate) struct Places {
    /// The folder of the envtest convention.
    pub(crate) assets: Option<OsString>,
    pub(crate) path: Option<OsString>,
    pub(crate) cache: PathBuf,
}

impl Places {
    fn of_this_user() -> Result<Self, String> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let cache = set("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache")))
            .ok_or("neither XDG_CACHE_HOME nor HOME says where to keep what is built")?;
        Ok(Self {
            assets: set("KUBEBUILDER_ASSETS"),
            path: set("PATH"),
            cache: cache.join("tenure"),
        })
    }
}

/// Finds the program `name`, or builds it.
///
/// # Errors
/// In one line, what was looked at and what to install.
pub fn find(name: &str) -> Result<PathBuf, String> {
    find_in(name, &Places::of_this_user()?)
}

/// Finds or builds every program, so that no test has to wait for one.
///
/// # Errors
/// In one line, what was looked at and what to install.
pub fn prepare() -> Result<Vec<PathBuf>, String> {
    let places = Places::of_this_user()?;
    let mut found = Vec::new();
    for name in ["etcd", "kube-apiserver"] {
        found.push(find_in(name, &places)?);
    }
    if build::sources().join(PEERS.folder).is_dir() {
        found.push(build::build(&PEERS, &places.cache)?);
    }
    Ok(found)
}

fn find_in(name: &str, places: &Places) -> Result<PathBuf, String> {
    let server = SERVERS.iter().find(|module| module.programs.contains(&name));
    if let Some(module) = server
        && let Some(found) = elsewhere(name, module.oldest, places)
    {
        return Ok(found);
    }
    let program = build::build(server.unwrap_or(&PEERS), &places.cache)?.join(name);
    if program.is_file() {
        return Ok(program);
    }
    Err(format!("no program of interop/ is called `{name}`"))
}

/// One that the user has, if it is new enough.
fn elsewhere(name: &str, oldest: (u32, u32), places: &Places) -> Option<PathBuf> {
    let assets = places.assets.iter().map(PathBuf::from);
    let path = places.path.iter().flat_map(std::env::split_paths);
    assets.chain(path).map(|folder| folder.join(name)).filter(|program| program.is_file()).find(
        |program| match version(program) {
            Some(found) if found >= oldest => true,
            found => {
                let found = found.map_or("no version".to_owned(), |(a, b)| format!("{a}.{b}"));
                say(&format!(
                    "{}: {found}, {}.{} or later is needed; looking on",
                    program.display(),
                    oldest.0,
                    oldest.1
                ));
                false
            }
        },
    )
}

/// Major and minor version as `program --version` tells them: the first word that looks like one.
fn version(program: &Path) -> Option<(u32, u32)> {
    let mut command = Command::new(program);
    let output = command.arg("--version").stdin(Stdio::null()).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.split_whitespace().find_map(|word| {
        let mut parts = word.trim_start_matches('v').split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    })
}

/// A line of progress. Past the capture of the test harness: whoever waits wants to know for what.
pub(crate) fn say(line: &str) {
    // One that cannot be shown is no reason to stop.
    let _ = writeln!(std::io::stderr(), "tenure-servers: {line}");
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("tenure-find-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn program(folder: &Path, name: &str, says: &str) -> PathBuf {
        let file = folder.join(name);
        fs::write(&file, format!("#!/bin/sh\necho '{says}'\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        file
    }

    #[test]
    fn the_named_folder_comes_before_path_and_old_ones_are_passed_over() {
        let (named, in_path) = (folder("assets"), folder("path"));
        let places = Places {
            assets: Some(named.clone().into()),
            path: Some(in_path.clone().into()),
            cache: folder("cache"),
        };
        let second = program(&in_path, "kube-apiserver", "Kubernetes v1.36.3");
        assert_eq!(elsewhere("kube-apiserver", (1, 33), &places), Some(second.clone()));
        let first = program(&named, "kube-apiserver", "Kubernetes v1.34.0");
        assert_eq!(find_in("kube-apiserver", &places), Ok(first));
        program(&named, "kube-apiserver", "Kubernetes v1.20.15");
        assert_eq!(find_in("kube-apiserver", &places), Ok(second));
        program(&in_path, "kube-apiserver", "what?");
        assert_eq!(elsewhere("kube-apiserver", (1, 33), &places), None);
        for folder in [named, in_path, places.cache] {
            fs::remove_dir_all(folder).unwrap();
        }
    }
}
