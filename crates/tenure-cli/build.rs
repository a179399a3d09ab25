//! Links the command so that it starts quickly: `run` is paid by every cron job.
//!
//! * As a fixed-position executable. A position-independent one has every pointer in its tables
//!   patched by the loader at each start: with all backends linked some 22,700 relocations, more
//!   than the rest of `tenure run L -- true` costs. A test counts what is left.
//! * With its own copy of libgcc's unwinder, as C++ programs have with `-static-libgcc`. The shared
//!   one costs the mapping of a second library and its questions about the processor.
//!
//! It stands here and not in RUSTFLAGS so that `cargo install` gets it too. Elsewhere, and where
//! the compiler does not bring the static library, the linker's default stays.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |key: &str| env::var(key).unwrap_or_default();
    if target("CARGO_CFG_TARGET_OS") == "linux" && target("CARGO_CFG_TARGET_ENV") == "gnu" {
        println!("cargo::rustc-link-arg-bins=-no-pie");
        if let Some(folder) = static_unwinder() {
            println!("cargo::rustc-link-arg-bins=-L{}", folder.display());
        }
    }
}

/// A folder whose `libgcc_s.so`, which the standard library asks for by that name, is a linker
/// script that stands for the static libraries; `None` where they are not known.
fn static_unwinder() -> Option<PathBuf> {
    let linker = match env::var_os("RUSTC_LINKER") {
        Some(linker) => linker,
        None if env::var_os("HOST") == env::var_os("TARGET") => "cc".into(),
        None => return None,
    };
    let find = |file: &str| {
        let output = Command::new(&linker).arg(format!("-print-file-name={file}")).output().ok()?;
        let path = String::from_utf8(output.stdout).ok()?;
        // A compiler that has no such file answers with the bare name.
        Some(path.trim_end().to_owned()).filter(|path| Path::new(path).is_absolute())
    };
    let script = format!("GROUP(\"{}\" \"{}\")\n", find("libgcc_eh.a")?, find("libgcc.a")?);
    let folder = PathBuf::from(env::var_os("OUT_DIR")?);
    fs::write(folder.join("libgcc_s.so"), script).ok()?;
    Some(folder)
}
