//! Links the command so that it starts quickly: `run` is paid by every cron job. The bench is linked by the
//! same script.
//!
//! * As a fixed-position executable. A position-independent one has every pointer in its tables
//!   patched at each start: with all backends linked some 22,700 relocations, more than the rest of
//!   `tenure run L -- true` costs. A test counts what is left.
//! * With the C library inside, where the C compiler brings one to link. Finding, mapping and
//!   binding the shared one costs a fifth of `tenure run L -- true`. What such a program must not do
//!   is ask the name service switch, which loads plugins: `ARCHITECTURE.md` says how hosts are
//!   found instead.
//! * With what is marked cold apart from the rest, so that fewer pages are touched. GNU ld does so by
//!   itself, lld when it is told; another linker says that it does not know the option, and goes on.
//!
//! It stands here and not in RUSTFLAGS so that `cargo install` gets it too. Elsewhere, and where
//! the compiler does not bring the libraries, the linker's default stays.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What the standard library asks the linker for, and the archives that answer. glibc has most of
/// the others in `libc.a` nowadays and keeps their files for their names.
const LIBRARIES: [(&str, &[&str]); 7] = [
    ("gcc_s", &["libgcc_eh.a", "libgcc.a", "libc.a"]),
    ("c", &["libc.a", "libgcc_eh.a", "libgcc.a"]),
    ("m", &["libm.a"]),
    ("rt", &["librt.a"]),
    ("pthread", &["libpthread.a"]),
    ("util", &["libutil.a"]),
    ("dl", &["libdl.a"]),
];

fn main() {
    // A file that every package has which is linked by this. A change of the script itself runs it again.
    println!("cargo::rerun-if-changed=Cargo.toml");
    let target = |key: &str| env::var(key).unwrap_or_default();
    if target("CARGO_CFG_TARGET_OS") != "linux" || target("CARGO_CFG_TARGET_ENV") != "gnu" {
        return;
    }
    println!("cargo::rustc-link-arg-bins=-no-pie");
    println!("cargo::rustc-link-arg-bins=-Wl,-z,keep-text-section-prefix");
    let asked = target("CARGO_CFG_TARGET_FEATURE").split(',').any(|f| f == "crt-static");
    if let Some(folder) = (!asked).then(static_libraries).flatten() {
        println!("cargo::rustc-link-arg-bins=-static");
        println!("cargo::rustc-link-arg-bins=-L{}", folder.display());
    }
}

/// A folder in which the shared libraries that the standard library asks for by name are linker
/// scripts that stand for the static ones; `None` where one of these is not known.
fn static_libraries() -> Option<PathBuf> {
    let linker = match env::var_os("RUSTC_LINKER") {
        Some(linker) => linker,
        None if env::var_os("HOST") == env::var_os("TARGET") => "cc".into(),
        None => return None,
    };
    let find = |file: &&str| {
        let output = Command::new(&linker).arg(format!("-print-file-name={file}")).output().ok()?;
        let path = String::from_utf8(output.stdout).ok()?;
        // A compiler that has no such file answers with the bare name.
        let path = Some(path.trim_end()).filter(|path| Path::new(path).is_absolute())?;
        Some(format!("\"{path}\""))
    };
    let folder = PathBuf::from(env::var_os("OUT_DIR")?);
    for (name, archives) in LIBRARIES {
        let archives: Option<Vec<_>> = archives.iter().map(find).collect();
        let script = format!("GROUP({})\n", archives?.join(" "));
        fs::write(folder.join(format!("lib{name}.so")), script).ok()?;
    }
    Some(folder)
}
