//! One process on a cluster: what acquire, release and renew cost beside one PUT, and what the
//! command sends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tenure::{EventKind, Lock, Released};

use super::Place;
use crate::cluster::{Cluster, Raw};
use crate::pairs::interleave;
use crate::proc::timed;
use crate::report::{Line, Unit};
use crate::stats::{Goal, Stat};

/// Renewals that are waited for: every second one of each lock.
const RENEWED: Duration = Duration::from_secs(12);
const HELD: usize = 10;
const RENEWED_TTL: Duration = Duration::from_secs(3);
/// Runs of the command; most of them see nothing of the server's own requests.
const RUNS: usize = 25;

/// Acquire and release of a free lock that is known; beside each a PUT of a Lease.
pub(super) fn known(place: &Place<'_>) -> Result<Vec<Line>> {
    let cluster = Cluster::new()?;
    let (client, sent) = cluster.runtime.block_on(cluster.client())?;
    let lock = cluster.library(&client)?.lock("known");
    let raw = Arc::new(tokio::sync::Mutex::new(cluster.runtime.block_on(cluster.raw(&client))?));
    let both = || cluster.runtime.block_on(cluster.runtime.spawn(once(lock.clone())))?;
    let puts = || cluster.runtime.block_on(cluster.runtime.spawn(twice(raw.clone())))?;
    let [acquire, release] = interleave(place.rounds(300, 1_500), Stat::Median, both, puts)?;
    let line =
        |what, trio, goal| Line::ratio(place.row, what, Unit::Micros, trio, Stat::Median, goal);
    let mut lines = vec![
        line("acquire, to a PUT", &acquire, Goal::AtMost(1.15)),
        line("release, to a PUT", &release, Goal::None),
    ];
    let counted = cluster.runtime.block_on(async {
        let _ = sent.take();
        let guard = lock.acquire().await?;
        let acquired = sent.take();
        let _ = guard.release().await?;
        anyhow::Ok([("acquire", acquired), ("release", sent.take())])
    })?;
    for (what, (requests, watches)) in counted {
        let verbs: Vec<_> = requests.iter().filter_map(|r| r.split(' ').next()).collect();
        let (n, verbs) = (verbs.len(), verbs.join(", "));
        let what = format!("{what}: {n} requests ({verbs}), {watches} watches opened");
        lines.push(Line::check(place.row, what, n == 1 && watches == 0));
    }
    Ok(lines)
}

async fn once(lock: Lock) -> Result<[f64; 2]> {
    let start = Instant::now();
    let guard = lock.acquire().await?;
    let acquired = start.elapsed();
    let released = guard.release().await?;
    let both = [acquired, start.elapsed() - acquired].map(micros);
    if released == Released::Released { Ok(both) } else { bail!("it was lost: {released:?}") }
}

async fn twice(raw: Arc<tokio::sync::Mutex<Raw>>) -> Result<[f64; 2]> {
    let mut raw = raw.lock().await;
    Ok([micros(raw.put().await?), micros(raw.put().await?)])
}

pub(super) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Holds some locks for a while: each renewal is one request; a PUT takes place in between.
pub(super) fn renew(place: &Place<'_>) -> Result<Vec<Line>> {
    let cluster = Cluster::new()?;
    cluster.runtime.block_on(async {
        let (client, sent) = cluster.client().await?;
        let mut raw = cluster.raw(&client).await?;
        let library = cluster.library(&client)?;
        let took = Arc::new(Mutex::new(Vec::new()));
        let mut events = library.events();
        let heard = tokio::spawn({
            let took = took.clone();
            async move {
                while let Some(event) = events.next().await {
                    if let (EventKind::Renewed { took: one, .. }, Ok(mut all)) =
                        (event.kind, took.lock())
                    {
                        all.push(micros(one));
                    }
                }
            }
        });
        let mut guards = Vec::new();
        for number in 0..HELD {
            let lock = library.lock(&format!("held-{number}")).ttl(RENEWED_TTL);
            guards.push(lock.acquire().await?);
            tokio::time::sleep(RENEWED_TTL / 3 / HELD as u32).await;
        }
        let counted = |sent: &[String]| sent.iter().filter(|r| r.contains("/held-")).count();
        let _ = sent.take();
        let before = took.lock().map_or(0, |all| all.len());
        let (start, mut puts) = (Instant::now(), Vec::new());
        while start.elapsed() < RENEWED {
            puts.push(micros(raw.put().await?));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let ((requests, watches), requested) =
            (sent.take(), took.lock().map_or(0, |all| all.len()));
        let (requests, renewals) = (counted(&requests), requested - before);
        heard.abort();
        for guard in guards {
            let _ = guard.release().await?;
        }
        let times = took.lock().map(|all| all.clone()).unwrap_or_default();
        let (peer, unit) = (Some(&*puts), Unit::Micros);
        let mut lines = Vec::new();
        for stat in [Stat::Median, Stat::P99] {
            let what = format!("{HELD} locks (peer: a PUT)");
            lines.push(Line::own(place.row, what, unit, &times, peer, stat, Goal::None));
        }
        let what = format!("{renewals} renewals: {requests} requests, {watches} watches opened");
        // One may be under way at either end.
        lines.push(Line::check(place.row, what, requests.abs_diff(renewals) <= 1 && watches == 0));
        Ok(lines)
    })
}

/// `tenure run NAME -- true` on a lock that is new, and on one that is there: requests by the
/// server's own count.
pub(super) fn command(place: &Place<'_>) -> Result<Vec<Line>> {
    let cluster = Cluster::new()?;
    let url = cluster.url("");
    let (client, _) = cluster.runtime.block_on(cluster.client())?;
    let mut raw = cluster.runtime.block_on(cluster.raw(&client))?;
    let mut lines = Vec::new();
    for (what, new, goal) in [("a new Lease", true, 3), ("one that is there", false, 4)] {
        let (mut seen, mut took, mut puts) = (BTreeMap::new(), Vec::new(), Vec::new());
        for number in 0..RUNS {
            let name = if new { format!("new-{number}") } else { "new-0".to_owned() };
            let mut run = place.tenure(&["--store", &url], &name, &["true"]);
            let before = settled(&cluster)?;
            took.push(timed(&mut run)?[0]);
            let after = settled(&cluster)?;
            *seen.entry(difference(&before, &after)).or_insert(0) += 1;
            puts.push(micros(cluster.runtime.block_on(raw.put())?));
        }
        let most = seen.iter().max_by_key(|(_, times)| **times);
        let ((requests, often), runs) = (most.context("nothing ran")?, RUNS);
        let count: u64 = requests.iter().map(|(_, n)| n).sum();
        let list: Vec<_> = requests.iter().map(|(what, n)| format!("{n} x {what}")).collect();
        let text = format!(
            "`tenure run` of {what}: {count} requests ({}) in {often} of {runs} runs",
            list.join(", ")
        );
        lines.push(Line::check(place.row, text, count == goal));
        let wall = format!("wall, {what} (peer: a PUT)");
        let (unit, stat, peer) = (Unit::Micros, Stat::Median, Some(&*puts));
        lines.push(Line::own(place.row, wall, unit, &took, peer, stat, Goal::None));
    }
    Ok(lines)
}

/// The server's count, once it stands still: the end of a watch comes a little later.
fn settled(cluster: &Cluster) -> Result<BTreeMap<String, u64>> {
    let mut last = cluster.answered()?;
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let now = cluster.answered()?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
}

fn difference(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Vec<(String, u64)> {
    let was = |what: &String| before.get(what).copied().unwrap_or_default();
    let more = after.iter().map(|(what, n)| (what.clone(), n - was(what)));
    more.filter(|(_, n)| *n > 0).collect()
}
