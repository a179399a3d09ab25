//! How long an uncontended acquire and release take: `cargo run --release --example uncontended`.
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("give an absolute folder")?;
    let lock = tenure::blocking::connect(&format!("local:{folder}"))?.lock("speed");
    for _ in 0..5 {
        let mut acquire = Vec::new();
        let mut release = Vec::new();
        for _ in 0..20_000 {
            let a = Instant::now();
            let guard = lock.acquire()?;
            let b = Instant::now();
            let _ = guard.release()?;
            acquire.push((b - a).as_nanos());
            release.push(b.elapsed().as_nanos());
        }
        acquire.sort_unstable();
        release.sort_unstable();
        let (a, r) = (acquire[acquire.len() / 2], release[release.len() / 2]);
        println!("median: acquire {a} ns, release {r} ns");
    }
    Ok(())
}
