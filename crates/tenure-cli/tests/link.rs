//! How the command is linked: fixed position, few relocations at the start, no loader where the C
//! compiler brings the C library to link, an entry of its own. Owns the limit.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::path::Path;
use std::process::Command;

use object::{Object as _, ObjectKind, ObjectSection as _, ObjectSymbol as _};

/// Bytes of one entry with an addend in a 64-bit file.
const ENTRY: u64 = 24;

#[test]
fn fixed_position_few_relocations_and_no_loader() {
    let bytes = std::fs::read(env!("CARGO_BIN_EXE_tenure")).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    assert_eq!(file.kind(), ObjectKind::Executable, "linked as a position-independent executable");
    let size = |name: &str| file.section_by_name(name).map_or(0, |s| s.size());
    let count = (size(".rela.dyn") + size(".rela.plt")) / ENTRY;
    // Packed relocations would hide from the count above.
    assert_eq!(size(".relr.dyn"), 0);
    assert!((1..1000).contains(&count), "{count} relocations");
    let asks_for_a_loader = file.section_by_name(".interp").is_some();
    assert_eq!(asks_for_a_loader, !compiler_has("libc.a"), "not linked as build.rs decides");
}

/// The runtime's reads `/proc/self/maps`.
#[test]
fn the_entry_is_not_the_runtimes() {
    let bytes = std::fs::read(env!("CARGO_BIN_EXE_tenure")).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let has = |what: &str| file.symbols().any(|s| s.name().is_ok_and(|name| name.contains(what)));
    assert!(has("main"), "the symbols were stripped");
    assert!(!has("lang_start"), "the runtime's entry is linked in");
}

/// A compiler that has no such file answers with the bare name.
fn compiler_has(file: &str) -> bool {
    let asked = Command::new("cc").arg(format!("-print-file-name={file}")).output().unwrap();
    Path::new(String::from_utf8(asked.stdout).unwrap().trim_end()).is_absolute()
}
