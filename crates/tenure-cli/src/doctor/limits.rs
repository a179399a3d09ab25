//! What the promise is worth with the timing people use.
//!
//! Owns the table. The numbers are the library's; `cargo xtask prove limit` has, for each, the run
//! that keeps the promise at the limit and breaks it just past it.

use std::io::{self, Write};

use serde::Serialize;
use tenure::Timing;

/// The largest difference of clock rates for one timing, in millionths.
#[derive(Debug, Serialize)]
pub(super) struct Limit {
    timing: &'static str,
    ttl_ms: u64,
    kubernetes_ppm: u32,
    etcd_ppm: u32,
}

/// All of them, for machines.
pub(super) fn all() -> Vec<Limit> {
    let limit = |(name, timing): (_, Timing)| Limit {
        timing: name,
        ttl_ms: crate::json::millis(timing.ttl()),
        kubernetes_ppm: timing.rate_limit_ppm(),
        etcd_ppm: timing.server_rate_limit_ppm(),
    };
    presets().map(limit).into()
}

/// Prints them for people.
pub(super) fn print(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "Clocks: only their rates matter, not what they show. Two holders could believe at"
    )?;
    writeln!(out, "once if the rates of two machines' clocks differ by more than:\n")?;
    writeln!(out, "  {:<11} {:>5}  {:>12}  {:>12}", "TIMING", "TTL", "KUBERNETES", "ETCD")?;
    for (name, timing) in presets() {
        let ttl = format!("{}s", timing.ttl().as_secs());
        let seen = percent(timing.rate_limit_ppm());
        let server = percent(timing.server_rate_limit_ppm());
        writeln!(out, "  {name:<11} {ttl:>5}  {seen:>12}  {server:>12}")?;
    }
    writeln!(out, "\nUsual clocks differ by less than 0.02 %; 2 % is promised (1 % each way).")?;
    writeln!(
        out,
        "On local: there is no such limit: a hold there ends with its processes, not by time."
    )
}

fn presets() -> [(&'static str, Timing); 4] {
    [
        ("default", Timing::default()),
        ("client-go", Timing::client_go()),
        ("leaselock", Timing::leaselock()),
        ("kubelock", Timing::kubelock()),
    ]
}

/// Rounded down: a limit must not be shown as more than it is.
fn percent(ppm: u32) -> String {
    format!("{}.{:02} %", ppm / 10_000, ppm % 10_000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_rounded_down() {
        assert_eq!([74_468, 20_299, 99].map(percent), ["7.44 %", "2.02 %", "0.00 %"]);
    }

    #[test]
    fn the_presets_are_what_they_say() {
        let ttls = presets().map(|(_, timing)| timing.ttl().as_secs());
        assert_eq!(ttls, [15, 15, 60, 300]);
    }

    #[test]
    fn every_preset_is_shown() {
        let mut text = Vec::new();
        print(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let rows = text.lines().filter(|l| l.matches('%').count() == 2 && l.starts_with("  "));
        assert_eq!(rows.count(), 4, "{text}");
        assert!(text.contains("default       15s        7.44 %        7.52 %"), "{text}");
    }
}
