//! A contender for a Lease by another Rust library, with the command line and the output of the Go
//! peers: it takes the lock once, says so, and gives it back at SIGTERM.
//!
//! Owns that translation; the libraries are used as their own examples do it, with their defaults.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kube_leader_election::{LeaseLock, LeaseLockParams, LeaseLockResult};
use kube_lease_manager::LeaseManagerBuilder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

/// kube-leader-election has no loop of its own; its documentation says 5 s for a ttl of 15 s.
const TTL: Duration = Duration::from_secs(15);
const EVERY: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let flags: HashMap<&str, &str> =
        args.iter().filter_map(|arg| arg.trim_start_matches('-').split_once('=')).collect();
    let flag = |name: &str| {
        flags.get(name).map(|value| (*value).to_owned()).with_context(|| format!("--{name}=VALUE"))
    };
    let (file, namespace) = (flag("kubeconfig")?, flag("namespace")?);
    let (name, id) = (flag("name")?, flag("id")?);
    let stop = signal(SignalKind::terminate())?;
    match flag("mode")?.as_str() {
        "kube-lease-manager" => lease_manager(&file, &namespace, &name, &id, stop).await,
        "kube-leader-election" => leader_election(&file, &namespace, &name, &id, stop).await,
        mode => bail!("--mode={mode}: kube-lease-manager or kube-leader-election"),
    }
}

async fn lease_manager(
    file: &str,
    namespace: &str,
    name: &str,
    id: &str,
    mut stop: Signal,
) -> Result<()> {
    let read = kube::config::Kubeconfig::read_from(file)?;
    let config = kube::Config::from_custom_kubeconfig(read, &Default::default()).await?;
    let client = kube::Client::try_from(config)?;
    let manager = LeaseManagerBuilder::new(client, name).with_namespace(namespace);
    let manager = manager.with_identity(id).build().await?;
    let (mut leads, mut refused) = (false, false);
    loop {
        let look = sleep(Duration::from_secs(1));
        tokio::select! {
            led = manager.changed() => {
                leads = led?;
                println!("{}", if leads { "held" } else { "lost" });
            }
            () = look, if !leads && !refused => {
                // It says nothing while another one leads.
                refused = true;
                println!("refused");
            }
            _ = stop.recv() => break,
        }
    }
    if leads {
        manager.release().await?;
        println!("released");
    }
    Ok(())
}

async fn leader_election(
    file: &str,
    namespace: &str,
    name: &str,
    id: &str,
    mut stop: Signal,
) -> Result<()> {
    let read = kube4::config::Kubeconfig::read_from(file)?;
    let config = kube4::Config::from_custom_kubeconfig(read, &Default::default()).await?;
    let client = kube4::Client::try_from(config)?;
    let (holder_id, lease_name) = (id.to_owned(), name.to_owned());
    let params = LeaseLockParams { holder_id, lease_name, lease_ttl: TTL };
    let lock = LeaseLock::new(client, namespace, params);
    let mut leads = None;
    loop {
        let now = matches!(lock.try_acquire_or_renew().await, Ok(LeaseLockResult::Acquired(_)));
        if leads != Some(now) {
            leads = Some(now);
            println!("{}", if now { "held" } else { "refused" });
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            _ = stop.recv() => break,
        }
    }
    if leads == Some(true) {
        lock.step_down().await?;
        println!("released");
    }
    Ok(())
}
