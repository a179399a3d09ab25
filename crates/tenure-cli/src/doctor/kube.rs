//! What of a cluster's answers is trouble, and what to do about it.

use std::time::Duration;

use serde_json::json;
use tenure::blocking::diagnose;
use tenure::diagnosis::{Ahead, Diagnosis, LockDiagnosis, Writer};
use tenure::{Error, KubeObjects, MAX_CLOCK_SKEW, Timing, TimingSpec, WALL_CLOCK_TTL};

use super::{Finding, State};
use crate::exit::Failure;
use crate::options::DoctorOptions;
use crate::rbac;

/// Everything that was looked at.
///
/// # Errors
/// A timing that the format cannot have, and names that no lock can have.
pub(super) fn findings(
    options: &DoctorOptions,
    objects: &KubeObjects,
) -> Result<Vec<Finding>, Failure> {
    let timing = timing(options, objects)?;
    let needs = rbac::needed(&options.verbs, objects.format);
    let verbs: Vec<String> = needs.iter().map(ToString::to_string).collect();
    Ok(match diagnose(&options.store, &options.names, &verbs) {
        Err(error @ Error::Invalid(_)) => return Err(Failure::new(error)),
        Err(error) => vec![unreachable(&error)],
        Ok(diagnosis) => Doctor { options, objects, timing, diagnosis: &diagnosis }.all(),
    })
}

/// That of `run` with the same options.
fn timing(options: &DoctorOptions, objects: &KubeObjects) -> Result<Timing, Failure> {
    if objects.format == "lease" {
        return Ok(options.timing.unwrap_or_default());
    }
    let timing = match options.timing {
        Some(timing) => timing,
        None => Timing::new(TimingSpec::of(WALL_CLOCK_TTL)).map_err(Failure::new)?,
    };
    timing.for_wall_clocks(MAX_CLOCK_SKEW).map_err(Failure::new)
}

fn unreachable(error: &Error) -> Finding {
    let finding = Finding::new("server", State::Bad, error.to_string());
    match error {
        Error::Unavailable(..) => finding.change(
            "let this machine reach the API server, or name another by context= or kubeconfig=",
        ),
        _ => finding,
    }
}

struct Doctor<'a> {
    options: &'a DoctorOptions,
    objects: &'a KubeObjects,
    timing: Timing,
    diagnosis: &'a Diagnosis,
}

impl Doctor<'_> {
    fn all(&self) -> Vec<Finding> {
        let mut findings = vec![self.server()];
        let missing = |what: &String| Finding::new("objects", State::Bad, what);
        findings.extend(self.diagnosis.missing.iter().map(missing));
        findings.extend(self.rights());
        findings.push(latency(&self.diagnosis.took, &self.timing));
        findings.push(clock(self.diagnosis.clock, self.objects.format != "lease"));
        findings.extend(self.identities());
        for lock in &self.diagnosis.locks {
            findings.extend(self.lock(lock));
        }
        findings
    }

    fn server(&self) -> Finding {
        let version = self.diagnosis.version.as_deref().unwrap_or("of an unknown version");
        let user = self.diagnosis.user.as_deref().unwrap_or("us");
        Finding::new("server", State::Ok, format!("Kubernetes {version} answers {user}"))
    }

    /// In one line what may be done, and each right that is missing in one of its own.
    fn rights(&self) -> Vec<Finding> {
        let Diagnosis { namespace, resource, rights, .. } = self.diagnosis;
        let place = match &**namespace {
            "" => "of the cluster".to_owned(),
            _ if self.objects.format == "janus" => "in the namespaces of its locks".to_owned(),
            namespace => format!("in namespace {namespace}"),
        };
        let missing: Vec<_> = rights.iter().filter(|right| !right.allowed).collect();
        let role = || format!("apply what `{}` prints", self.rbac());
        let missing = missing.into_iter().map(|right| {
            let on = right.object.as_ref().map(|name| format!(" {name:?} of")).unwrap_or_default();
            let what = format!("`{}` on{on} {resource} {place} is not allowed", right.verb);
            Finding::new("rights", State::Bad, what).change(role())
        });
        let mut findings: Vec<_> = missing.collect();
        if findings.is_empty() {
            let mut verbs: Vec<_> = rights.iter().map(|right| right.verb.as_str()).collect();
            verbs.dedup();
            let what = format!("{} on {resource} {place}", verbs.join(", "));
            findings.push(Finding::new("rights", State::Ok, what));
        }
        findings
    }

    fn rbac(&self) -> String {
        let mut command = format!("tenure rbac --store '{}'", self.options.store);
        for verb in &self.options.verbs {
            command += &format!(" --for {verb}");
        }
        // A user who is no account has to see to it himself.
        let account = self.diagnosis.user.as_deref().unwrap_or_default();
        let account =
            account.strip_prefix("system:serviceaccount:").and_then(|a| a.split_once(':'));
        if let Some((_, account)) = account {
            command += &format!(" --account {account}");
        }
        self.options.names.iter().for_each(|name| command += &format!(" {name:?}"));
        command
    }

    /// Identities that more than one program has.
    fn identities(&self) -> Vec<Finding> {
        let locks = &self.diagnosis.locks;
        let mut findings = Vec::new();
        let own = self.options.id.as_deref();
        for lock in locks.iter().filter(|lock| own.is_some() && lock.holder.as_deref() == own) {
            let id = own.unwrap_or_default();
            if self.objects.format == "janus" {
                let what = format!("transaction {id:?} has it; who starts that again takes it up");
                findings.push(Finding::new("identity", State::Note, what).on(&lock.name));
                continue;
            }
            let what = format!("{id:?} has it already: two programs with one identity");
            let finding = Finding::new("identity", State::Bad, what).on(&lock.name);
            findings.push(finding.change("leave id= out, or give every process another"));
        }
        for (place, lock) in locks.iter().enumerate() {
            let twin = |other: &&LockDiagnosis| {
                lock.holder.is_some()
                    && other.holder == lock.holder
                    && !other.is_same_client(lock)
                    && self.objects.format != "janus"
            };
            if let Some(other) = locks[place + 1..].iter().find(twin) {
                let id = lock.holder.as_deref().unwrap_or_default();
                let what =
                    format!("{id:?} has it, and another program of that name {}", other.name);
                let finding = Finding::new("identity", State::Note, what).on(&lock.name);
                findings.push(finding.change("leave --id out, or give every process another"));
            }
        }
        if findings.is_empty() && !locks.is_empty() {
            let what = format!("none is used twice (locks looked at: {})", locks.len());
            findings.push(Finding::new("identity", State::Ok, what));
        }
        findings
    }

    fn lock(&self, lock: &LockDiagnosis) -> Vec<Finding> {
        let LockDiagnosis { name, damage, writers, neighbours, .. } = lock;
        let mut findings = Vec::new();
        if let Some(damage) = damage {
            let finding = Finding::new("record", State::Bad, damage).on(name);
            findings.push(
                finding.change("once nobody works under it, delete the object or what it says"),
            );
        }
        if !writers.is_empty() {
            let what = format!("also written by {}: whoever does not look first", list(writers));
            let what = format!("{what} can end a hold, and only the token tells");
            findings.push(Finding::new("writers", State::Note, what).on(name));
        }
        if !neighbours.is_empty() && self.objects.format == "annotation" {
            let what = format!("other parts of the object are written by {}", list(neighbours));
            let what = format!("{what}: each change costs a write of ours a second try");
            findings.push(Finding::new("writers", State::Note, what).on(name));
        }
        findings.extend(self.durations(lock));
        findings
    }

    /// Old programs of client-go count with their own duration, whatever the record says.
    fn durations(&self, lock: &LockDiagnosis) -> Option<Finding> {
        let theirs = lock.ttl.filter(|_| self.objects.format == "lease" && is_mixed(lock))?;
        let ours = Duration::from_secs(whole_seconds(self.timing.ttl()));
        if theirs == ours || lock.holder.is_none() {
            return None;
        }
        let (theirs, ours) = (theirs.as_secs(), ours.as_secs());
        let what = format!(
            "its holder's ttl is {theirs} s and yours would be {ours} s: client-go before 2021 \
             counts with its own"
        );
        let finding = Finding::new("durations", State::Note, what).on(&lock.name);
        Some(finding.change(format!("give all of them one: --ttl {theirs}s")))
    }
}

/// A try that is not answered in time is lost, and three of them are the hold.
fn latency(took: &[Duration], timing: &Timing) -> Finding {
    let mut took = took.to_vec();
    took.sort_unstable();
    let median = took.get(took.len() / 2).copied().unwrap_or_default();
    let slowest = took.last().copied().unwrap_or_default();
    let limit = timing.attempt();
    let what = format!(
        "{} requests took {} (median) to {}; with a ttl of {} s each may take {}",
        took.len(),
        millis(median),
        millis(slowest),
        timing.ttl().as_secs_f64(),
        millis(limit),
    );
    let state = match slowest {
        slow if slow > limit => State::Bad,
        slow if slow * 3 > limit => State::Note,
        _ => State::Ok,
    };
    let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    let measured = json!({
        "median_us": micros(median), "max_us": micros(slowest), "limit_us": micros(limit),
    });
    let finding = Finding::new("latency", state, what).measured(measured);
    match (state, fitting(slowest, timing)) {
        (State::Ok, _) => finding,
        (_, Some(ttl)) => finding.change(format!("give --ttl {ttl}s or more")),
        (_, None) => finding.change("find out why the API server is so slow from here"),
    }
}

/// The least ttl in whole seconds in which a request has three times as long as the slowest.
fn fitting(slowest: Duration, timing: &Timing) -> Option<u64> {
    let fits = |ttl: &u64| {
        let timing = Timing::new(TimingSpec::of(Duration::from_secs(*ttl)));
        timing.is_ok_and(|timing| timing.attempt() >= slowest * 3)
    };
    (timing.ttl().as_secs()..=600).find(fits)
}

/// `decides`: whether programs of the format end holds by it.
fn clock(ahead: Option<Ahead>, decides: bool) -> Finding {
    let Some(ahead) = ahead else {
        return Finding::new("clock", State::Note, "the server does not tell its time");
    };
    let skew = i64::try_from(MAX_CLOCK_SKEW.as_millis()).unwrap_or(i64::MAX);
    let (surely, maybe) = (ahead.least > skew || ahead.most < -skew, beyond(ahead, skew));
    let state = match (decides, surely, maybe) {
        (true, true, _) => State::Bad,
        (true, false, true) | (false, true, _) => State::Note,
        _ => State::Ok,
    };
    let meaning = match decides {
        true => format!("at most {skew} ms are allowed for, as this format's Go programs need"),
        false => "nobody decides by it".to_owned(),
    };
    let what = format!("ours is {} the server's; {meaning}", told(ahead));
    let measured =
        json!({"ahead_min_ms": ahead.least, "ahead_max_ms": ahead.most, "limit_ms": skew});
    let finding = Finding::new("clock", state, what).measured(measured);
    match (state, decides) {
        (State::Ok, _) => finding,
        (_, true) => finding.change("set this machine's clock, or the server's, by NTP"),
        (_, false) => {
            finding.change("set this machine's clock by NTP: `since` and `--no-wait` go by it")
        }
    }
}

/// Whether other programs than ours write it.
fn is_mixed(lock: &LockDiagnosis) -> bool {
    lock.client.is_none() || !lock.writers.is_empty()
}

fn whole_seconds(d: Duration) -> u64 {
    d.as_secs() + u64::from(d.subsec_nanos() > 0)
}

fn beyond(ahead: Ahead, skew: i64) -> bool {
    ahead.most > skew || ahead.least < -skew
}

/// Where it lies, such as `0.21 s to 0.44 s behind`.
fn told(Ahead { least, most }: Ahead) -> String {
    let seconds = |ms: i64| format!("{:.2} s", ms.unsigned_abs() as f64 / 1_000.0);
    match (least, most) {
        (0.., _) => format!("{} to {} ahead of", seconds(least), seconds(most)),
        (_, ..=0) => format!("{} to {} behind", seconds(most), seconds(least)),
        _ => format!("at most {} behind and {} ahead of", seconds(least), seconds(most)),
    }
}

fn list(writers: &[Writer]) -> String {
    let one = |writer: &Writer| match &writer.at {
        Some(at) => format!("`{}` ({at})", writer.manager),
        None => format!("`{}`", writer.manager),
    };
    writers.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn millis(d: Duration) -> String {
    format!("{:.1} ms", d.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn requests_are_measured_against_the_time_that_the_ttl_leaves_for_one() {
        let timing = Timing::default();
        let limit = u64::try_from(timing.attempt().as_millis()).unwrap();
        let of = |slowest: u64| latency(&[ms(2), ms(slowest), ms(3)], &timing);
        assert_eq!((of(limit / 4).state, of(limit / 4).change), (State::Ok, None));
        let slow = of(limit / 2);
        assert_eq!(slow.state, State::Note);
        // What is advised leaves enough.
        let ttl: u64 = slow
            .change
            .unwrap()
            .chars()
            .filter(char::is_ascii_digit)
            .collect::<String>()
            .parse()
            .unwrap();
        let advised = Timing::new(TimingSpec::of(Duration::from_secs(ttl))).unwrap();
        assert_eq!(latency(&[ms(limit / 2)], &advised).state, State::Ok);
        let late = of(limit + 1);
        assert_eq!(late.state, State::Bad);
        assert!(late.what.contains("(median) to 2034"), "{late:?}");
        // No ttl leaves more than 5 s for one.
        assert!(of(4_000).change.unwrap().contains("so slow"));
    }

    #[test]
    fn a_clock_is_judged_by_whether_anybody_goes_by_it() {
        let of = |least, most, decides| clock(Some(Ahead { least, most }), decides);
        for (least, most, where_not, where_so) in [
            (-300, 200, State::Ok, State::Ok),
            (4_500, 5_300, State::Ok, State::Note),
            (5_001, 5_300, State::Note, State::Bad),
            (-9_000, -5_001, State::Note, State::Bad),
        ] {
            assert_eq!(of(least, most, false).state, where_not, "{least}");
            assert_eq!(of(least, most, true).state, where_so, "{least}");
        }
        assert!(of(5_001, 5_300, true).what.contains("5.00 s to 5.30 s ahead of"));
        assert!(of(-9_000, -5_001, true).what.contains("5.00 s to 9.00 s behind"));
        assert!(of(-9_000, -5_001, true).change.unwrap().contains("NTP"));
        assert_eq!(clock(None, true).state, State::Note);
    }
}
