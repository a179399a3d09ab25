//! What the workspace consists of: its packages as cargo sees them, its files as git sees them.
//!
//! Owns the two questions `cargo metadata` and `git ls-files`; refuses to judge the answers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The workspace as it lies in the tree.
pub(crate) struct Workspace {
    /// Folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Its packages, those without workspace dependencies first.
    pub(crate) packages: Vec<Package>,
    /// Files git tracks or would track, relative to `root`; only those that exist.
    pub(crate) files: Vec<PathBuf>,
    /// Every package name reached from a name, by normal and build dependencies.
    reach: HashMap<String, Vec<String>>,
}

/// A package of the workspace.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) published: bool,
    /// The root source of its library, if it has one.
    pub(crate) lib: Option<PathBuf>,
    pub(crate) features: Vec<String>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// A dependency as a manifest states it.
#[derive(Clone)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) dev: bool,
    /// The version asked for; `*` where a path alone is given.
    pub(crate) version: String,
}

impl Workspace {
    /// Asks cargo and git.
    pub(crate) fn load() -> Result<Self, String> {
        let text = output(cargo().args(["metadata", "--format-version", "1", "--locked"]))?;
        let metadata: Value =
            serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))?;
        let root = PathBuf::from(text_of(&metadata["workspace_root"])?);
        let members: Vec<&str> =
            items(&metadata["workspace_members"]).filter_map(Value::as_str).collect();
        let packages = items(&metadata["packages"])
            .filter(|p| p["id"].as_str().is_some_and(|id| members.contains(&id)))
            .map(package)
            .collect::<Result<Vec<_>, _>>()?;
        let files = tracked(&root)?;
        let reach = reachable(&metadata);
        Ok(Self { root, packages: in_order(packages), files, reach })
    }

    /// The package of this name.
    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|p| p.name == name)
    }

    /// Names of everything that `name` is built from, itself included.
    pub(crate) fn built_from<'a>(&'a self, name: &'a str) -> Vec<&'a str> {
        let mut found = vec![name];
        let mut next = 0;
        while next < found.len() {
            for dependency in self.reach.get(found[next]).into_iter().flatten() {
                if !found.contains(&dependency.as_str()) {
                    found.push(dependency);
                }
            }
            next += 1;
        }
        found
    }

    /// The text of a file of the tree; `None` if it is missing or no text.
    pub(crate) fn read(&self, file: &Path) -> Option<String> {
        std::fs::read_to_string(self.root.join(file)).ok()
    }
}

/// The cargo that runs this, without what it told us about ourselves: build scripts that watch
/// those variables (ring's does) would run again each time.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|p| told.starts_with(p)) {
            command.env_remove(&name);
        }
    }
    command
}

/// What a command prints, or why it failed.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let shown = shown(command);
    let out = command.output().map_err(|e| format!("{shown}: cannot be started: {e}"))?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        return Err(format!("`{shown}` failed: {}", said.trim()));
    }
    String::from_utf8(out.stdout).map_err(|_| format!("`{shown}` did not print text"))
}

/// A command as somebody would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let set = command.get_envs().filter_map(|(k, v)| {
        let v = v?.to_string_lossy();
        Some(if v.contains(' ') {
            format!("{}='{v}'", k.to_string_lossy())
        } else {
            format!("{}={v}", k.to_string_lossy())
        })
    });
    let words = command.get_args().map(|a| a.to_string_lossy().into_owned());
    let mut all: Vec<String> = set.collect();
    all.push(program.to_string_lossy().into_owned());
    all.extend(words);
    all.join(" ")
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text_of(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "cargo metadata: an expected field is missing".to_owned())
}

fn package(p: &Value) -> Result<Package, String> {
    let manifest = Path::new(text_of(&p["manifest_path"])?);
    let is_lib = |t: &&Value| items(&t["kind"]).any(|k| k == "lib");
    let lib = items(&p["targets"]).find(is_lib).and_then(|t| t["src_path"].as_str());
    let features = p["features"].as_object();
    Ok(Package {
        name: text_of(&p["name"])?.to_owned(),
        dir: manifest.parent().unwrap_or(manifest).to_owned(),
        // `publish = false` is an empty list of registries.
        published: p["publish"].as_array().is_none_or(|registries| !registries.is_empty()),
        lib: lib.map(PathBuf::from),
        features: features.into_iter().flat_map(|f| f.keys().cloned()).collect(),
        dependencies: items(&p["dependencies"]).map(dependency).collect::<Result<_, _>>()?,
    })
}

fn dependency(d: &Value) -> Result<Dependency, String> {
    Ok(Dependency {
        name: text_of(&d["name"])?.to_owned(),
        dev: d["kind"] == "dev",
        version: text_of(&d["req"])?.to_owned(),
    })
}

/// Those without workspace dependencies first, then by name: a failure shows where it arises.
fn in_order(mut packages: Vec<Package>) -> Vec<Package> {
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    let mut ordered: Vec<Package> = Vec::new();
    while !packages.is_empty() {
        let ready = |p: &Package| {
            p.dependencies.iter().all(|d| d.dev || packages.iter().all(|q| q.name != d.name))
        };
        // Cargo refuses cycles, so one is always ready.
        let at = packages.iter().position(ready).unwrap_or(0);
        ordered.push(packages.remove(at));
    }
    ordered
}

fn tracked(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let list = output(&mut git)?;
    let names = list.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    Ok(names.filter(|name| root.join(name).is_file()).collect())
}

/// Normal and build dependencies as resolved, by name: enough to ask "is it in there?".
fn reachable(metadata: &Value) -> HashMap<String, Vec<String>> {
    let names: HashMap<&str, &str> = items(&metadata["packages"])
        .filter_map(|p| Some((p["id"].as_str()?, p["name"].as_str()?)))
        .collect();
    let name = |id: &Value| id.as_str().and_then(|id| names.get(id)).map(|n| (*n).to_owned());
    let mut reach: HashMap<String, Vec<String>> = HashMap::new();
    for node in items(&metadata["resolve"]["nodes"]) {
        let Some(from) = name(&node["id"]) else { continue };
        let built = items(&node["deps"])
            .filter(|d| items(&d["dep_kinds"]).any(|k| k["kind"] != "dev"))
            .filter_map(|d| name(&d["pkg"]));
        reach.entry(from).or_default().extend(built);
    }
    reach
}

#[cfg(test)]
impl Package {
    /// A published package with these dependencies: name, whether for tests only, version.
    pub(crate) fn for_tests<'a>(
        name: &str,
        needs: impl IntoIterator<Item = (&'a str, bool, &'a str)>,
    ) -> Self {
        let dependency = |(name, dev, version): (&str, bool, &str)| Dependency {
            name: name.to_owned(),
            dev,
            version: version.to_owned(),
        };
        Self {
            name: name.to_owned(),
            dir: PathBuf::new(),
            published: true,
            lib: None,
            features: Vec::new(),
            dependencies: needs.into_iter().map(dependency).collect(),
        }
    }
}

#[cfg(test)]
impl Workspace {
    /// A workspace of these packages and no files.
    pub(crate) fn for_tests(packages: Vec<Package>) -> Self {
        let built = |p: &Package| {
            let names = p.dependencies.iter().filter(|d| !d.dev).map(|d| d.name.clone());
            (p.name.clone(), names.collect())
        };
        let reach = packages.iter().map(built).collect();
        Self { root: PathBuf::new(), packages, files: Vec::new(), reach }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, needs: &[&str]) -> Package {
        Package::for_tests(name, needs.iter().map(|n| (*n, false, "*")))
    }

    #[test]
    fn packages_come_after_what_they_need() {
        let order =
            in_order(vec![named("a", &["c", "serde"]), named("b", &["a"]), named("c", &[])]);
        let names: Vec<_> = order.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["c", "a", "b"]);
    }

    #[test]
    fn a_command_is_shown_as_it_is_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["doc", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(shown(&command), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
    }
}
