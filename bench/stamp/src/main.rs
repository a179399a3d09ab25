//! The command of the rows that time how soon a command runs: it notes when it did.
//!
//! A program of its own, without what the benchmarks are linked with: what a row's subject and peer
//! start should cost about what `true` does, or starting it is most of what the row tells. **Reads
//! the clock before it does anything else.**

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    use std::io::Write as _;

    let start = now_us();
    let file = std::env::args_os().nth(1).unwrap_or_default();
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file)?;
    file.write_all(format!("{start} {}\n", now_us()).as_bytes())
}

/// The monotonic clock, which all processes of a machine share, in microseconds.
#[cfg(target_os = "linux")]
fn now_us() -> f64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    t.tv_sec as f64 * 1e6 + t.tv_nsec as f64 / 1e3
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("tenure-bench-stamp: unsupported: Linux only for now");
    std::process::ExitCode::from(2)
}
