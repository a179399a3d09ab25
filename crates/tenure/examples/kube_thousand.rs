//! Holds a thousand locks in Kubernetes for ten minutes, or for as many seconds as it is given, on
//! servers of its own, and says what that took:
//! `cargo run --release -p tenure --example kube_thousand [SECONDS]`.

#[path = "../tests/common/tap.rs"]
mod tap;
#[path = "../tests/common/thousand.rs"]
mod thousand;

use std::time::Duration;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(600), |text| text.parse::<u64>())?;
    let held = thousand::hold(Duration::from_secs(seconds), tenure::Timing::default()).await;
    let per_minute = held.sent as f64 / (thousand::LOCKS + 1) as f64 * 60.0 / seconds as f64;
    println!(
        "{} locks, {seconds} s: {} lost; {} requests for {} renewals ({per_minute:.2} for each lock \
         and minute), {} of them of watches, {} open; {} KiB; {} not given back",
        thousand::LOCKS,
        held.lost,
        held.sent,
        held.renewals,
        held.watches,
        held.open,
        held.grown >> 10,
        held.unreleased
    );
    Ok(())
}
