//! What the lock's object says, and what those who are no contenders make of it.
//!
//! Owns a plain reading of each format, apart from the one that ships: no judge reads with what it
//! judges. **An outsider leaves the lock usable**: what it takes ends, and the object that an
//! annotation stands on is never gone for long, since nobody would make it again.
//!
//! | format | blanked | taken | deleted |
//! |---|---|---|---|
//! | lease | no holder | by a Go candidate | the Lease |
//! | annotation | the annotation is taken away | by a Go owner | all annotations are |
//! | configmap | no lease in the state | by a Go instance, by force | the ConfigMap |
//! | janus | no holder, and no time | by another transaction | the Lease |

use serde_json::{Value, json};
use tenure_core::Wall;
use tenure_wire::time;

use super::format::Format;
use super::world::World;
use crate::sim::internals::{Meddling, SECOND};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";
/// The annotation of the lock `x`.
const KEY: &str = "kubelock.giantswarm.io/x";
/// When a run begins by every wall clock: the library's clock that is moved by hand begins so.
const BEGINNING: u64 = 1_767_225_600_000_000;
/// How long an instance of lockheed may take between its two writes.
const RESERVED: u64 = 30 * SECOND;

/// What an outsider knows when it writes.
struct Moment {
    /// Nanoseconds of true time.
    now: u64,
    ttl: u64,
    revision: u64,
}

impl Moment {
    fn wall(&self, ahead: u64) -> Wall {
        Wall::from_micros(BEGINNING + (self.now + ahead) / 1_000)
    }
}

impl Format {
    /// The path of all objects of its kind.
    pub(super) const fn all(self) -> &'static str {
        match self {
            Self::Lease | Self::Janus => LEASES,
            Self::Annotation | Self::ConfigMap => CONFIGMAPS,
        }
    }

    /// What has to be there before anybody can lock.
    pub(super) fn ground(self) -> Option<Value> {
        let object = json!({"metadata": {"name": self.object()}, "data": {"of": "others"}});
        (self == Self::Annotation).then_some(object)
    }

    /// Whom the object names as holder; nobody is `""`.
    pub(super) fn holder(self, object: &Value) -> String {
        let inner = |text: &Value| {
            let text = text.as_str().unwrap_or("null");
            serde_json::from_str::<Value>(text).unwrap_or_default()
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match self {
            Self::Lease | Self::Janus => text(&object["spec"]["holderIdentity"]),
            Self::Annotation => text(&inner(&object["metadata"]["annotations"][KEY])["owner"]),
            Self::ConfigMap => {
                let state = inner(&object["data"]["lock"]);
                let leases = state["leases"].as_object();
                leases.and_then(|leases| leases.keys().next().cloned()).unwrap_or_default()
            }
        }
    }

    /// The patch by which an outsider does that.
    fn meddled(self, how: Meddling, at: &Moment) -> Value {
        match (how, self) {
            (Meddling::Label, _) => {
                json!({"metadata": {"labels": {"at": at.revision.to_string()}}})
            }
            (Meddling::Reserve, _) => json!({"metadata": {"annotations": {
                "reserved/by": "go", "reserved/expires": time::shortest(at.wall(RESERVED)),
            }}}),
            (_, Self::Lease) => json!({"spec": lease(how, at)}),
            (_, Self::Annotation) => annotation(how, at),
            (_, Self::ConfigMap) => {
                let expires = time::shortest(at.wall(at.ttl));
                let leases = match how {
                    Meddling::Take => json!({"go": {"instanceID": "go", "expires": expires}}),
                    _ => json!({}),
                };
                let state = json!({"name": "x", "lockType": "mutex", "leases": leases});
                json!({"data": {"lock": state.to_string()}})
            }
            (Meddling::Take, Self::Janus) => json!({
                "metadata": {"labels": {"janus.io/transaction": "go"}},
                "spec": lease(how, at),
            }),
            (_, Self::Janus) => json!({"spec": {"holderIdentity": "", "renewTime": null}}),
        }
    }
}

fn lease(how: Meddling, at: &Moment) -> Value {
    let moment = time::micro(at.wall(0));
    if how == Meddling::Take {
        return json!({
            "holderIdentity": "go", "leaseDurationSeconds": at.ttl / SECOND, "renewTime": moment,
            "acquireTime": moment,
        });
    }
    json!({"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": moment})
}

fn annotation(how: Meddling, at: &Moment) -> Value {
    let created = time::shortest(at.wall(0));
    let taken = json!({"owner": "go", "createdAt": created, "ttl": at.ttl}).to_string();
    match how {
        Meddling::Take => json!({"metadata": {"annotations": {KEY: taken}}}),
        Meddling::Delete => json!({"metadata": {"annotations": null}}),
        _ => json!({"metadata": {"annotations": {KEY: null}}}),
    }
}

impl World {
    /// Lets an outsider change the lock's object; whether there is one.
    pub(super) fn meddles_with_object(&mut self, how: Meddling) -> bool {
        let (format, server) = self.api();
        let path = format!("{}/{}", format.all(), format.object());
        let (200, mut object) = server.admin("GET", &path, Vec::new()) else { return false };
        let at = Moment { now: self.now, ttl: self.ttl(), revision: server.revision() };
        let done = match how {
            Meddling::Delete if format.ground().is_none() => {
                server.admin("DELETE", &path, Vec::new())
            }
            Meddling::Recreate => {
                let gone = server.admin("DELETE", &path, Vec::new());
                if let Some(meta) = object["metadata"].as_object_mut() {
                    meta.remove("resourceVersion");
                    meta.remove("uid");
                }
                let made = server.admin("POST", format.all(), object.to_string().into_bytes());
                if made.0 < 300 { gone } else { made }
            }
            _ => server.admin("PATCH", &path, format.meddled(how, &at).to_string().into_bytes()),
        };
        let what = (done.0 >= 300).then(|| format!("{how:?} was refused: {}", done.1));
        self.judged("world", what);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tenure_core::{Change, Holder, Mark, Record, Session, Term, Time, Token};
    use tenure_wire::{annotation, configmap, janus, lease};

    use super::*;
    use crate::sim::Telling;

    fn taking() -> Change {
        let since = Wall::from_micros(BEGINNING);
        let holder = Holder {
            id: "p0.0.1".into(),
            mark: Mark::from_u128(7),
            session: Session::NONE,
            token: Token::default(),
            term: Term::Ttl(Duration::from_secs(20)),
            ticket: 0,
            since,
            renewed: since,
            stamp: Time::ZERO,
        };
        Change::Take { holder, ended: None, strike: Vec::new(), tags: Vec::new() }
    }

    /// A world whose lock is held, as the formats that ship write it.
    fn held(format: Format) -> World {
        let seed = (1..=4).find(|seed| Format::of(*seed) == format).unwrap();
        let mut world = World::with_cluster(seed, Telling::Nothing);
        let (_, server) = world.api();
        let (path, change) = (format!("{}/{}", format.all(), format.object()), taking());
        let (method, path, body) = match format {
            Format::Lease => ("POST", format.all(), lease::created("default", "x", &change)),
            Format::ConfigMap => {
                ("POST", format.all(), configmap::created("default", "x", &change))
            }
            Format::Janus => {
                let target = janus::Target::parse(format.lock()).unwrap();
                ("POST", format.all(), janus::created(&target, &change))
            }
            Format::Annotation => {
                let (_, object) = server.admin("GET", &path, Vec::new());
                ("PATCH", &*path, annotation::patch(&object, "x", &change))
            }
        };
        let body = body.unwrap().to_string().into_bytes();
        assert!(server.admin(method, path, body).0 < 300);
        world
    }

    /// What stands there: as it is read here, and by the formats that ship.
    fn standing(world: &mut World) -> Option<(String, Record)> {
        let (format, server) = world.api();
        let path = format!("{}/{}", format.all(), format.object());
        let (200, object) = server.admin("GET", &path, Vec::new()) else { return None };
        let record = match format {
            Format::Lease => lease::read(&object).unwrap().0,
            Format::ConfigMap => configmap::read(&object).unwrap().0,
            Format::Janus => janus::read(&object).unwrap().0,
            Format::Annotation => annotation::read(&object, "x").unwrap().0.unwrap_or_default(),
        };
        Some((format.holder(&object), record))
    }

    #[test]
    fn the_holder_is_read_as_it_was_written() {
        for format in Format::ALL {
            let (holder, record) = standing(&mut held(format)).unwrap();
            assert_eq!(holder, "p0.0.1", "{format:?}");
            assert_eq!(record.holder.unwrap().mark, Mark::from_u128(7), "{format:?}");
        }
    }

    #[test]
    fn outsiders_do_what_they_are_said_to() {
        for format in Format::ALL {
            let after = |how| {
                let mut world = held(format);
                assert!(world.meddles_with_object(how), "{format:?} {how:?}");
                assert_eq!(
                    world.broken.as_ref().map(|b| b.what.clone()),
                    None,
                    "{format:?} {how:?}"
                );
                standing(&mut world)
            };
            let mark = |of: &Option<(String, Record)>| {
                of.as_ref().and_then(|(_, record)| Some(record.holder.as_ref()?.mark))
            };
            for how in [Meddling::Label, Meddling::Recreate] {
                assert_eq!(mark(&after(how)), Some(Mark::from_u128(7)), "{format:?} {how:?}");
            }
            let taken = after(Meddling::Take);
            assert_eq!(taken.as_ref().unwrap().0, "go", "{format:?}");
            assert_ne!(mark(&taken), Some(Mark::from_u128(7)), "{format:?}");
            for how in [Meddling::Blank, Meddling::Delete] {
                let left = after(how);
                assert_eq!(
                    left.as_ref().map_or("", |(holder, _)| holder),
                    "",
                    "{format:?} {how:?}"
                );
                assert_ne!(mark(&left), Some(Mark::from_u128(7)), "{format:?} {how:?}");
            }
        }
        let mut world = held(Format::ConfigMap);
        assert!(world.meddles_with_object(Meddling::Reserve));
        let (holder, _) = standing(&mut world).unwrap();
        assert_eq!(holder, "p0.0.1", "who holds goes on under a reservation");
    }
}
