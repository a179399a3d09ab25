//! How the command is linked: fixed position, few load-time relocations. Owns the limit.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use object::{Object as _, ObjectKind, ObjectSection as _};

/// Bytes of one entry with an addend in a 64-bit file.
const ENTRY: u64 = 24;

#[test]
fn fixed_position_and_few_relocations() {
    let bytes = std::fs::read(env!("CARGO_BIN_EXE_tenure")).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    assert_eq!(file.kind(), ObjectKind::Executable, "linked as a position-independent executable");
    let size = |name: &str| file.section_by_name(name).map_or(0, |s| s.size());
    let count = (size(".rela.dyn") + size(".rela.plt")) / ENTRY;
    // Packed relocations would hide from the count above.
    assert_eq!(size(".relr.dyn"), 0);
    assert!((1..1000).contains(&count), "{count} relocations");
}
