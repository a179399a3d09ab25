//! Two processes on a cluster: the lock given from one to the other, and taken from a dead one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::Place;
use super::kube::micros;
use crate::cluster::Cluster;
use crate::pairs::{Rounds, Trio, interleave};
use crate::proc::{Running, cargo_build, now_us};
use crate::report::{Line, Unit};
use crate::stats::{Goal, Stat};

/// What a waiter gets until it waits: it opens its watch, and reads.
const SETTLE: Duration = Duration::from_millis(60);
/// How often a format is measured, at least and at most.
const ROUNDS: (usize, usize) = (100, 2_000);
/// Locks whose holders are killed at once, how often each, and how long their holds live.
const DYING: usize = 6;
const DEATHS: usize = 4;
const TTL_SECONDS: u64 = 3;
/// What a contender adds to a ttl for clocks that run at different rates.
const DRIFT: f64 = 0.01;
/// How much wall clocks may differ, by default.
const SKEW: Duration = tenure::MAX_CLOCK_SKEW;
/// How long a Go peer and its like hand their lock to and fro.
const PEERS_FOR: Duration = Duration::from_secs(90);
const PEERS_MAX: usize = 40;

/// A format as both sides are told of it: its name, our options, and Go's.
const FORMATS: [(&str, &str, &str, &[&str]); 4] = [
    ("lease", "", "peer-lease", &["--mode=client-go"]),
    (
        "annotation",
        "format=annotation&resource=v1/configmaps&object=target&",
        "peer-annotation",
        &["--object=target"],
    ),
    ("configmap", "format=configmap&", "peer-configmap", &[]),
    ("janus", "format=janus&", "peer-janus", &[]),
];

/// The lock's name for us.
fn name(cluster: &Cluster, format: &str) -> String {
    match format {
        "janus" => format!("{}/configmap/job", cluster.namespace),
        _ => "job".to_owned(),
    }
}

/// A cluster with the object that annotations stand on.
fn furnished() -> Result<Cluster> {
    let cluster = Cluster::new()?;
    let path = format!("/api/v1/namespaces/{}/configmaps", cluster.namespace);
    let (status, answer) =
        cluster.server.request("POST", &path, Some(&json!({"metadata": {"name": "target"}})));
    ensure!(status == 201, "{answer}");
    Ok(cluster)
}

/// From the moment that one process is told to release to the other one's having the lock.
pub(super) fn hand_over(place: &Place<'_>) -> Result<Vec<Line>> {
    let (least, most) = ROUNDS;
    let mut lines = Vec::new();
    for (format, options, ..) in FORMATS {
        let passed = ours(place, format, options, place.rounds(least, most))?;
        let (what, unit, goal) = (format!("{format}, to a PUT"), Unit::Micros, Goal::AtMost(3.0));
        lines.push(Line::ratio(place.row, what, unit, &passed, Stat::Median, goal));
        let (what, peer) = (format!("{format} (peer: a PUT)"), Some(&*passed.peer));
        lines.push(Line::own(place.row, what, unit, &passed.subject, peer, Stat::P99, Goal::None));
    }
    Ok(lines)
}

/// Two processes of ours give the lock to each other; a PUT in between.
fn ours(place: &Place<'_>, format: &str, options: &str, rounds: Rounds) -> Result<Trio> {
    let cluster = furnished()?;
    let (client, _) = cluster.runtime.block_on(cluster.client())?;
    let mut raw = cluster.runtime.block_on(cluster.raw(&client))?;
    let lock = name(&cluster, format);
    let mut both = [
        turns(place, &cluster, options, "one", &lock)?,
        turns(place, &cluster, options, "two", &lock)?,
    ];
    both[0].tell("take")?;
    both[0].hear()?;
    let subject = || {
        let [holder, waiter] = &mut both;
        waiter.tell("take")?;
        std::thread::sleep(SETTLE);
        holder.tell("drop")?;
        let (given, got) = (holder.hear_number()?, waiter.hear_number()?);
        ensure!(got > given, "{format}: two held the lock");
        both.swap(0, 1);
        Ok([got - given])
    };
    let put = || Ok([micros(cluster.runtime.block_on(raw.put())?)]);
    let [passed] = interleave(rounds, Stat::Median, subject, put)?;
    Ok(passed)
}

fn turns(
    place: &Place<'_>,
    cluster: &Cluster,
    options: &str,
    id: &str,
    lock: &str,
) -> Result<Running> {
    let url = cluster.url(&format!("{options}id={id}&"));
    Running::talking(&mut place.child(&["kube-turns", &url, lock]))
}

/// A program that people use now: what it is called, our format that is its, its path and flags.
struct Peer {
    what: String,
    format: &'static str,
    program: PathBuf,
    flags: Vec<String>,
}

/// The same with the programs that people use now, all at once, since they mostly wait; before them
/// ours.
pub(super) fn peers(place: &Place<'_>) -> Result<Vec<Line>> {
    let mut peers = Vec::new();
    let mut mine = Vec::new();
    for (format, options, ..) in FORMATS {
        let rounds = place.rounds(PEERS_MAX, PEERS_MAX);
        mine.push((format, ours(place, format, options, rounds)?.subject));
    }
    let leaselock = ("lease", "", "peer-lease", &["--mode=leaselock"][..]);
    for (format, _, program, flags) in FORMATS.into_iter().chain([leaselock]) {
        let what = [&[program], flags].concat().join(" ");
        let program = tenure_servers::find(program).map_err(anyhow::Error::msg)?;
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        peers.push(Peer { what, format, program, flags });
    }
    let program = build_rust_peers(place)?;
    for what in ["kube-lease-manager", "kube-leader-election"] {
        let flags = vec![format!("--mode={what}")];
        peers.push(Peer { what: what.into(), format: "lease", program: program.clone(), flags });
    }
    let limit = place.rounds(PEERS_MAX, PEERS_MAX).most;
    let found = at_once(&peers, |_, peer| passed_on(peer, limit))?;
    let line = |(peer, times): (&Peer, &Vec<f64>)| {
        let what = format!("{} (peer: {})", peer.format, peer.what);
        let mine = mine.iter().find(|(of, _)| *of == peer.format).map(|(_, times)| &**times);
        let (mine, theirs) = (mine.unwrap_or_default(), Some(&**times));
        Line::own(place.row, what, Unit::Micros, mine, theirs, Stat::Median, Goal::None)
    };
    Ok(peers.iter().zip(&found).map(line).collect())
}

/// Builds the Rust libraries that are compared with, apart from what is measured.
fn build_rust_peers(place: &Place<'_>) -> Result<PathBuf> {
    let package = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/Cargo.toml");
    let target = place.bench.me.parent().and_then(Path::parent).context("no target folder")?;
    let target = target.join("bench-peers");
    let to = target.to_str().context("a target folder whose path is no text")?;
    cargo_build(&["--release", "--locked", "--manifest-path", package, "--target-dir", to])?;
    Ok(target.join("release/tenure-bench-peers"))
}

/// From SIGTERM of one process to the next one's saying that it holds the lock.
fn passed_on(peer: &Peer, limit: usize) -> Result<Vec<f64>> {
    let cluster = furnished()?;
    let mut number = 0;
    let mut start = || {
        number += 1;
        let mut command = Command::new(&peer.program);
        command.arg(format!("--kubeconfig={}", cluster.kubeconfig.display()));
        command.arg(format!("--namespace={}", cluster.namespace)).arg("--name=job");
        command.arg(format!("--id=peer-{number}")).args(&peer.flags).stderr(Stdio::null());
        Running::talking(&mut command)
    };
    let mut holder = start()?;
    hear(&mut holder, &["held"])?;
    let (begun, mut times) = (Instant::now(), Vec::new());
    while times.len() < limit && (begun.elapsed() < PEERS_FOR || times.is_empty()) {
        let mut waiter = start()?;
        hear(&mut waiter, &["leader", "refused"])?;
        // At any moment between two of its looks.
        std::thread::sleep(Duration::from_millis(1_000 + (times.len() as u64 * 379) % 2_000));
        let given = now_us();
        kill_process(Pid::from_raw(holder.pid().cast_signed()).context("a pid")?, Signal::TERM)?;
        hear(&mut waiter, &["held"]).with_context(|| peer.what.clone())?;
        times.push(now_us() - given);
        holder.wait()?;
        holder = waiter;
    }
    Ok(times)
}

/// One thread for each; what they found.
fn at_once<T: Sync, R: Send>(
    of: &[T],
    find: impl Fn(usize, &T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    std::thread::scope(|scope| {
        let find = &find;
        let running: Vec<_> =
            of.iter().enumerate().map(|(i, one)| scope.spawn(move || find(i, one))).collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined.map(|found| found.unwrap_or_else(|_| bail!("a thread panicked"))).collect()
    })
}

/// Waits for a line that begins like one of these.
fn hear(peer: &mut Running, begins: &[&str]) -> Result<()> {
    loop {
        let line = peer.hear()?;
        if begins.iter().any(|begin| line.starts_with(begin)) {
            return Ok(());
        }
    }
}

/// From the last renewal of a holder that is killed to a waiter's having the lock.
pub(super) fn death(place: &Place<'_>) -> Result<Vec<Line>> {
    let cluster = Cluster::new()?;
    let (client, _) = cluster.runtime.block_on(cluster.client())?;
    let raw = Mutex::new(cluster.runtime.block_on(cluster.raw(&client))?);
    let waited = all(&cluster, |cluster, lock| {
        let took = waiter(place, cluster, lock)?;
        // As the waiter's own: alone, by a client that has not written for a while.
        let mut raw = raw.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((took, micros(cluster.runtime.block_on(raw.put())?)))
    })?;
    let (waited, puts): (Vec<_>, Vec<_>) = waited.into_iter().unzip();
    let cron = all(&cluster, |cluster, lock| cron(place, cluster, lock))?;
    let put = Stat::Median.of(&mut puts.clone());
    let ttl = TTL_SECONDS as f64 * 1e6;
    let unit = Unit::Micros;
    let mut lines = Vec::new();
    let limit = ttl * (1.0 + DRIFT) + 2.0 * put;
    let what = format!("a waiter, after a renewal of ttl {TTL_SECONDS} s (peer: a PUT)");
    for stat in [Stat::Median, Stat::P99] {
        let (what, goal) = (what.clone(), Goal::AtMost(limit));
        lines.push(Line::own(place.row, what, unit, &waited, Some(&puts), stat, goal));
    }
    let limit = ttl + micros(SKEW) + ttl * (1.0 + DRIFT) + 2e6;
    let what = format!("`--no-wait` every second, ttl {TTL_SECONDS} s");
    lines.push(Line::worst(place.row, what, unit, &cron, None, Goal::AtMost(limit)));
    Ok(lines)
}

/// Several locks at once, each several times.
fn all<T: Clone + Send>(
    cluster: &Cluster,
    one: impl Fn(&Cluster, &str) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let locks: Vec<_> = (0..DYING).map(|lock| format!("dying-{lock}")).collect();
    let found = at_once(&locks, |i, lock| {
        // Not all at the same moment.
        std::thread::sleep(Duration::from_millis(i as u64 * 130));
        (0..DEATHS).map(|_| one(cluster, lock)).collect::<Result<Vec<_>>>()
    })?;
    Ok(found.concat())
}

/// A process that holds the lock and says when that was renewed.
fn holder(place: &Place<'_>, cluster: &Cluster, lock: &str) -> Result<Running> {
    let url = cluster.url("id=holder&");
    let seconds = TTL_SECONDS.to_string();
    let mut holder = Running::talking(&mut place.child(&["kube-hold", &url, lock, &seconds]))?;
    holder.hear()?;
    Ok(holder)
}

fn waiter(place: &Place<'_>, cluster: &Cluster, lock: &str) -> Result<f64> {
    let mut holder = holder(place, cluster, lock)?;
    let mut waiter = turns(place, cluster, "", "waiter", lock)?;
    waiter.tell("take")?;
    std::thread::sleep(SETTLE * 5);
    // The next one that is answered is the last.
    let mut renewed = holder.hear_number()?;
    while now_us() - renewed > 50_000.0 {
        renewed = holder.hear_number()?;
    }
    holder.kill()?;
    let got = waiter.hear_number()?;
    waiter.tell("drop")?;
    waiter.hear()?;
    waiter.finish()?;
    Ok(got - renewed)
}

/// A cron job that wants the lock every second, and does not wait for it.
fn cron(place: &Place<'_>, cluster: &Cluster, lock: &str) -> Result<f64> {
    let mut holder = holder(place, cluster, lock)?;
    let renewed = holder.hear_number()?;
    holder.kill()?;
    let (url, ttl) = (cluster.url("id=cron&"), format!("{TTL_SECONDS}s"));
    let options = ["--store", &*url, "--no-wait", "--ttl", &*ttl];
    loop {
        let next = Instant::now() + Duration::from_secs(1);
        let stamps = place.path(&format!("{lock}-stamps"));
        let me = place.bench.me.display().to_string();
        let mut run = place.tenure(&options, lock, &[&me, "child", "stamp", &stamps]);
        let status = run.stderr(Stdio::null()).status()?;
        if status.success() {
            let at = super::queue::stamped(&stamps)?.first().context("it did not run")?.0;
            std::fs::remove_file(&stamps)?;
            return Ok(at - renewed);
        }
        ensure!(status.code() == Some(124), "`tenure run --no-wait`: {status}");
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}
