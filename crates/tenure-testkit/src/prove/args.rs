//! The options of a search.
//!
//! Owns their words and units. Refuses what it does not know, by name.

use std::time::Duration;

use crate::sim::StoreKind;

/// What to search, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) seed: Option<u64>,
    pub(crate) cut: u64,
    pub(crate) from: u64,
    pub(crate) budget: Duration,
    pub(crate) runs: Option<u64>,
    pub(crate) store: Option<StoreKind>,
    /// Over an API server.
    pub(crate) kube: bool,
    pub(crate) contenders: Option<u64>,
    pub(crate) row: Option<String>,
    pub(crate) trace: bool,
}

impl Args {
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let mut parsed = Self {
            seed: None,
            cut: 0,
            from: 1,
            budget: Duration::from_secs(60),
            runs: None,
            store: None,
            kube: false,
            contenders: None,
            row: None,
            trace: false,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if arg == "--trace" {
                parsed.trace = true;
                continue;
            }
            let value = args.next().ok_or_else(|| format!("{arg}: give a value, or see --help"))?;
            match arg.as_str() {
                "--seed" => parsed.seed = Some(number(arg, value)?),
                "--cut" => parsed.cut = number(arg, value)?,
                "--from" => parsed.from = number(arg, value)?,
                "--runs" => parsed.runs = Some(number(arg, value)?),
                "--budget" => parsed.budget = duration(value)?,
                "--contenders" => parsed.contenders = Some(number(arg, value)?),
                "--row" => parsed.row = Some(value.clone()),
                "--store" if value == "kube" => parsed.kube = true,
                "--store" => parsed.store = Some(store(value)?),
                _ => return Err(format!("{arg}: no such option; see cargo xtask prove --help")),
            }
        }
        Ok(parsed)
    }
}

fn number(arg: &str, value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| format!("{arg} {value}: give a whole number"))
}

fn store(value: &str) -> Result<StoreKind, String> {
    let names = StoreKind::ALL.map(StoreKind::name).join(", ");
    let found = StoreKind::ALL.into_iter().find(|s| s.name() == value);
    found.ok_or_else(|| format!("--store {value}: give one of {names}"))
}

fn duration(value: &str) -> Result<Duration, String> {
    let wrong = || format!("--budget {value}: give a number and s, m or h");
    let split = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(split);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read() {
        let args = parse("--seed 7 --budget 5m --store lease --trace").unwrap();
        assert_eq!((args.seed, args.store, args.trace), (Some(7), Some(StoreKind::Lease), true));
        assert_eq!(args.budget, Duration::from_secs(300));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for line in ["--seed x", "--budget 5y", "--store etcd", "--fast 1", "--seed"] {
            let why = parse(line).unwrap_err();
            assert!(why.starts_with(line.split(' ').next().unwrap()), "{why}");
        }
    }
}
