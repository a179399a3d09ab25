//! Internal to tenure: benchmarks side by side with the peers.
//!
//! ```text
//!   cli ──> rows ──> pairs ──> stats      what is measured; in which order; what it says
//!             ├────> proc, child ─> calls  commands and processes that are measured
//!             ├────> count                system calls, counted
//!             ├────> cluster              a real API server, and a plain PUT to it
//!             └────> report <── machine   lines of a table; where it was measured
//! ```
//!
//! **Every ratio stands beside the peer's ratio to itself from the same rounds**, and every table
//! in `docs/bench.md` is this program's output as printed.

#![cfg(target_os = "linux")]

pub mod calls;
pub mod child;
pub mod cli;
pub mod cluster;
pub mod count;
pub mod machine;
pub mod pairs;
pub mod proc;
pub mod report;
pub mod rows;
pub mod stats;
