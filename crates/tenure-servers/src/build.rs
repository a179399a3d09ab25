//! Builds a Go module of `interop/` once, and keeps what came out of it.
//!
//! Owns the cache: a folder per version and digest of the module's files, in place only when whole
//! (it is renamed), and one builder at a time per module. What is in it was built from exactly these
//! files, so nothing there is ever stale; what is no longer used may be deleted at any time.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::programs::{Module, say};

/// How often somebody who waits is told that it goes on.
const PROGRESS: Duration = Duration::from_secs(30);

/// The folder of the Go modules.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop")
}

/// The folder with the module's programs, built now unless it was before.
pub(crate) fn build(module: &Module, cache: &Path) -> Result<PathBuf, String> {
    let source = sources().join(module.folder);
    let name = name(module, &source)?;
    let place = cache.join(&name);
    if place.is_dir() {
        return Ok(place);
    }
    let failed = |what: &Path, e: std::io::Error| format!("{}: {e}", what.display());
    fs::create_dir_all(cache).map_err(|e| failed(cache, e))?;
    let file = cache.join(format!("{name}.lock"));
    let lock = File::create(&file).map_err(|e| failed(&file, e))?;
    if lock.try_lock().is_err() {
        say(&format!("somebody else builds {name}; waiting"));
        lock.lock().map_err(|e| failed(&file, e))?;
    }
    if !place.is_dir() {
        let made = cache.join(format!("{name}.new"));
        // What a builder that was killed left behind.
        let _ = fs::remove_dir_all(&made);
        fs::create_dir_all(&made).map_err(|e| failed(&made, e))?;
        go_build(module, &name, &source, &made)?;
        fs::rename(&made, &place).map_err(|e| failed(&place, e))?;
    }
    Ok(place)
}

fn go_build(module: &Module, name: &str, source: &Path, made: &Path) -> Result<(), String> {
    let log = made.with_extension("log");
    let failed = |e: std::io::Error| format!("{}: {e}", log.display());
    let output = File::create(&log).map_err(failed)?;
    let mut go = Command::new("go");
    go.current_dir(source).args(["build", "-trimpath", "-ldflags", &link_flags(module, source)?]);
    // With the separator at its end it is a folder also for a single program.
    go.arg("-o").arg(made.join("")).args(module.packages);
    go.env("CGO_ENABLED", "0").env("GOWORK", "off").env_remove("GOOS").env_remove("GOARCH");
    go.stdin(Stdio::null()).stdout(output.try_clone().map_err(failed)?).stderr(output);
    let begun = Instant::now();
    let mut child = go.spawn().map_err(|e| missing(name, &e))?;
    say(&format!("building {name}, once ({} with an empty cache)", module.minutes));
    let mut told = begun;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => thread::sleep(Duration::from_millis(100)),
            Err(e) => return Err(format!("go build of {name}: {e}")),
        }
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            say(&format!("still building {name}, {} s", begun.elapsed().as_secs()));
        }
    };
    if status.success() {
        let _ = fs::remove_file(&log);
        say(&format!("built {name} in {} s", begun.elapsed().as_secs()));
        return Ok(());
    }
    let said = fs::read_to_string(&log).unwrap_or_default();
    Err(format!("go build of {name} failed in {}: {}", source.display(), last_lines(&said, 10)))
}

fn missing(name: &str, error: &std::io::Error) -> String {
    format!(
        "{name} is neither in the folder of $KUBEBUILDER_ASSETS, nor in PATH, nor built before, and \
         `go` cannot be started to build it ({error}): install Go 1.26 or later (https://go.dev/dl), or \
         set KUBEBUILDER_ASSETS to a folder with etcd and kube-apiserver (setup-envtest use -p path)"
    )
}

fn link_flags(module: &Module, source: &Path) -> Result<String, String> {
    let mut flags = "-s -w".to_owned();
    // A server whose version nobody sets says v0.0.0-master, and clients judge it by that.
    if module.versioned == Some("k8s.io/kubernetes") {
        let version = version(module, source)?;
        let mut parts = version.split('.');
        let mut part = || parts.next().unwrap_or_default();
        let (major, minor) = (part(), part());
        for (name, value) in [
            ("gitVersion", format!("v{version}")),
            ("gitMajor", major.into()),
            ("gitMinor", minor.into()),
        ] {
            flags.push_str(&format!(" -X k8s.io/component-base/version.{name}={value}"));
        }
    }
    Ok(flags)
}

/// Version and digest: `etcd-3.7.3-0123456789abcdef`.
fn name(module: &Module, source: &Path) -> Result<String, String> {
    let short = module.folder.rsplit('/').next().unwrap_or(module.folder);
    let version = version(module, source)?;
    let mut files = Vec::new();
    collect(source, &mut files)?;
    files.sort();
    let mut digest = Digest::new();
    for file in files {
        let bytes = fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let relative = file.strip_prefix(source).unwrap_or(&file);
        for part in [relative.as_os_str().as_encoded_bytes(), &bytes] {
            digest.add(&(part.len() as u64).to_le_bytes());
            digest.add(part);
        }
    }
    let digest = digest.0;
    Ok(if version.is_empty() {
        format!("{short}-{digest:016x}")
    } else {
        format!("{short}-{version}-{digest:016x}")
    })
}

fn version(module: &Module, source: &Path) -> Result<String, String> {
    let Some(versioned) = module.versioned else { return Ok(String::new()) };
    let file = source.join("go.mod");
    let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    text.lines()
        .find_map(|line| {
            let line = line.trim().trim_start_matches("require ");
            let rest = line.strip_prefix(versioned)?.strip_prefix(" v")?;
            Some(rest.split_whitespace().next()?.to_owned())
        })
        .ok_or_else(|| format!("{}: requires no {versioned}", file.display()))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// FNV-1a of 64 bits: it tells versions of a few files apart, and nobody attacks it.
struct Digest(u64);

impl Digest {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// The end of what somebody said, on one line.
pub(crate) fn last_lines(said: &str, count: usize) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs::SERVERS;

    #[test]
    fn what_is_built_is_named_by_its_version_and_its_files() {
        let names: Vec<String> =
            SERVERS.iter().map(|m| name(m, &sources().join(m.folder)).unwrap()).collect();
        assert!(names[0].starts_with("etcd-3.7.3-"), "{names:?}");
        assert!(names[1].starts_with("kube-apiserver-1.36.3-"), "{names:?}");
        let flags = link_flags(&SERVERS[1], &sources().join(SERVERS[1].folder)).unwrap();
        assert!(flags.ends_with("version.gitMinor=36"), "{flags}");
    }

    #[test]
    fn a_changed_file_is_another_build() {
        let folder = std::env::temp_dir().join(format!("tenure-digest-{}", std::process::id()));
        fs::create_dir_all(folder.join("sub")).unwrap();
        fs::write(folder.join("sub/a.go"), "package a").unwrap();
        let module = Module { versioned: None, ..SERVERS[0] };
        let first = name(&module, &folder).unwrap();
        assert_eq!(name(&module, &folder).unwrap(), first);
        fs::write(folder.join("sub/a.go"), "package b").unwrap();
        assert_ne!(name(&module, &folder).unwrap(), first);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn without_go_it_is_said_what_to_install() {
        let said = missing("etcd-3.7.3", &std::io::ErrorKind::NotFound.into());
        assert!(said.contains("install Go") && said.contains("KUBEBUILDER_ASSETS"), "{said}");
    }
}
