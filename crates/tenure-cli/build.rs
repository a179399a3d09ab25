//! Links the command as a fixed-position executable.
//!
//! A position-independent one has every pointer in its tables patched by the loader at each start:
//! with all backends linked some 22,700 relocations, more than the rest of `tenure run L -- true`
//! costs. It stands here and not in RUSTFLAGS so that `cargo install` gets it too; a test counts
//! what is left. Elsewhere the linker's default stays.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |key: &str| env::var(key).unwrap_or_default();
    if target("CARGO_CFG_TARGET_OS") == "linux" && target("CARGO_CFG_TARGET_ENV") == "gnu" {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
