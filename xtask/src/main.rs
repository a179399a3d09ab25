//! Repository chores: `cargo xtask check`, `cargo xtask fix`.
fn main() {}
