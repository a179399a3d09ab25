//! The program of the benchmarks; everything is in the library, which its tests use, too.

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    tenure_bench::cli::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("tenure-bench: unsupported: Linux only for now");
    std::process::ExitCode::from(2)
}
