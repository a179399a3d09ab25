//! `servers prepare` finds or builds every program the tests need; `servers up` starts an etcd and a
//! kube-apiserver, prints their folder and keeps them until its input ends.
//!
//! Owns the command line only.

use std::io::{Read, Write};
use std::process::ExitCode;

use tenure_servers::{Servers, prepare};

const USAGE: &str = "usage: servers prepare | servers up";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["prepare"] => prepare().map(|found| {
            found.iter().for_each(|program| println!("{}", program.display()));
        }),
        ["up"] => up(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("servers: {why}");
            ExitCode::FAILURE
        }
    }
}

fn up() -> Result<(), String> {
    let servers = Servers::start()?;
    println!("{}", servers.folder().display());
    let kubeconfig = servers.kube().admin("default");
    println!("KUBECONFIG={}", kubeconfig.display());
    std::io::stdout().flush().map_err(|e| format!("stdout: {e}"))?;
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input).map_err(|e| format!("stdin: {e}"))?;
    Ok(())
}
