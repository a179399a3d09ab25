//! A format as both sides are told of it, and a place of its own for each test.

use std::path::PathBuf;
use std::process::Command;
use std::slice::from_ref;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tenure::Wall;
use tenure_servers::{Kube, find, kube};

use crate::Contender;

/// Who the server is told wrote what [`Arena::create`] does.
pub const FURNISHER: &str = "furnisher";
/// Who the server is told wrote what [`Arena::label`] does.
pub const CONTROLLER: &str = "controller";

/// The lock that most tests contend for.
const LOCK: &str = "job";
const LIST_MAX: Duration = Duration::from_secs(60);

type Flags = Vec<(&'static str, String)>;

/// How a lock is kept in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// client-go's elector as Kubernetes' components configure it: 15 s / 10 s / 2 s.
    ClientGo,
    /// client-go's elector as leaselock configures it: 60 s / 15 s / 5 s.
    Leaselock,
    /// kubelock: an annotation on a ConfigMap.
    Annotation,
    /// lockheed.
    ConfigMap,
    /// janus: the Lease of a ConfigMap.
    Janus,
}

/// Who contends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A program of Go's.
    Go,
    /// Ours.
    Rust,
}

/// A namespace with one lock.
pub struct Arena {
    /// How the lock is kept.
    pub format: Format,
    namespace: String,
    kube: &'static Kube,
    kubeconfig: PathBuf,
    rust: PathBuf,
}

fn by(manager: &str, path: &str) -> String {
    format!("{path}?fieldManager={manager}")
}

impl Format {
    /// How long a hold lives after its last renewal.
    #[must_use]
    pub fn ttl(self) -> Duration {
        Duration::from_secs(match self {
            Self::ClientGo => 15,
            Self::Leaselock => 60,
            // What judges by wall clocks gives up 5 s of it for their difference.
            _ => 20,
        })
    }

    /// How long a waiter may go without a look at a lock that is free.
    #[must_use]
    pub fn retry(self, side: Side) -> Duration {
        // client-go waits its retry period and up to 1.2 of it more.
        Duration::from_millis(match (side, self) {
            (Side::Go, Self::ClientGo) => 4_400,
            (Side::Go, Self::Leaselock) => 11_000,
            (Side::Go, _) => 200,
            (Side::Rust, _) => 0,
        })
    }

    fn is_lease(self) -> bool {
        matches!(self, Self::ClientGo | Self::Leaselock)
    }
}

impl Side {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Go => Self::Rust,
            Self::Rust => Self::Go,
        }
    }

    /// Its identity: one name for both, as in a cluster nobody knows who is who.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Go => "go-1",
            Self::Rust => "rust-1",
        }
    }
}

impl Arena {
    /// A new namespace, with the object in it that an annotation stands on. `rust` is our program.
    #[must_use]
    pub fn new(format: Format, rust: &str) -> Self {
        let kube = kube();
        let namespace = kube.namespace("interop");
        let kubeconfig = kube.admin(&namespace);
        let arena = Self { format, namespace, kube, kubeconfig, rust: rust.into() };
        if format == Format::Annotation {
            arena.create(&json!({"metadata": {"name": "target", "annotations": {"other": "kept"}},
                "data": {"k": "v"}}));
        }
        arena
    }

    /// The path of the object that says who holds the lock.
    #[must_use]
    pub fn path(&self) -> String {
        let namespace = &self.namespace;
        let object = match self.format {
            Format::ClientGo | Format::Leaselock => "job".to_owned(),
            Format::Annotation => "target".to_owned(),
            Format::ConfigMap => "lockheed-job".to_owned(),
            Format::Janus => format!("janus-lock-{namespace}-configmap-job"),
        };
        format!("{}/{object}", self.all())
    }

    fn all(&self) -> String {
        let namespace = &self.namespace;
        match self.format {
            Format::Annotation | Format::ConfigMap => {
                format!("/api/v1/namespaces/{namespace}/configmaps")
            }
            _ => format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"),
        }
    }

    /// The object, as the server has it.
    #[must_use]
    pub fn object(&self) -> Option<Value> {
        let (status, object) = self.kube.request("GET", &self.path(), None);
        (status == 200).then_some(object)
    }

    /// Creates an object of the format's resource.
    ///
    /// # Panics
    /// With the server's answer, if it refuses.
    pub fn create(&self, object: &Value) {
        let (status, answer) = self.kube.request("POST", &by(FURNISHER, &self.all()), Some(object));
        assert_eq!(status, 201, "{answer}");
    }

    /// Writes something else on the object, as a controller would.
    ///
    /// # Panics
    /// With the server's answer, if it refuses.
    pub fn label(&self, label: &str, value: &str) {
        self.change(CONTROLLER, &json!({"metadata": {"labels": {label: value}}}));
    }

    /// Writes an annotation, as whoever created the object.
    ///
    /// # Panics
    /// With the server's answer, if it refuses.
    pub fn annotate(&self, key: &str, value: &str) {
        self.change(FURNISHER, &json!({"metadata": {"annotations": {key: value}}}));
    }

    fn change(&self, manager: &str, patch: &Value) {
        let (status, answer) = self.kube.merge(&by(manager, &self.path()), patch);
        assert_eq!(status, 200, "{answer}");
    }

    /// Now, as Go writes it in a Lease.
    ///
    /// # Panics
    /// If the clock stands before 1970.
    #[must_use]
    pub fn now(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
        tenure_wire::time::micro(Wall::from_micros(now.as_micros() as u64))
    }

    /// A contender that takes the lock once, and holds it until it is told to end.
    #[must_use]
    pub fn holder(&self, side: Side) -> Contender {
        self.contender(side, LOCK, &[])
    }

    /// The same of a lock of this name, with the tags that ours writes on it.
    #[must_use]
    pub fn holder_of(&self, side: Side, name: &str, tags: &str) -> Contender {
        let tags = ("tags", tags.to_owned());
        self.contender(side, name, if side == Side::Rust { from_ref(&tags) } else { &[] })
    }

    /// All locks of the namespace as a side lists them, of which the condition is true: name, state
    /// and holder. Go's is JSON.
    #[must_use]
    pub fn listed(&self, side: Side, condition: &str) -> Vec<String> {
        let (mut command, mut flags) = match side {
            Side::Go => (self.peer("peer-list"), self.place()),
            Side::Rust => (Command::new(&self.rust), vec![("store", self.store())]),
        };
        match side {
            Side::Go => {
                let format = match self.format {
                    Format::ClientGo | Format::Leaselock => "lease",
                    Format::Annotation => "annotation",
                    Format::ConfigMap => "configmap",
                    Format::Janus => "janus",
                };
                flags.push(("format", format.to_owned()));
                flags.push(("object", "target".to_owned()));
                flags.push(("condition", condition.to_owned()));
            }
            Side::Rust => flags.push(("list", condition.to_owned())),
        }
        for (flag, value) in flags {
            command.arg(format!("--{flag}={value}"));
        }
        let lines = Contender::start(&format!("list of {side:?}"), &mut command).ends(LIST_MAX);
        // Go finds janus' Leases by their own names.
        let mut lines: Vec<_> = lines.iter().map(|line| self.short(line)).collect();
        lines.sort_unstable();
        lines
    }

    fn short(&self, line: &str) -> String {
        let namespace = &self.namespace;
        let line = line.replace(&format!("janus-lock-{namespace}-configmap-"), "");
        line.replace(&format!("{namespace}/configmap/"), "").trim_end().to_owned()
    }

    /// A contender that raises the number in a file so often, in turn with others.
    #[must_use]
    pub fn counting(&self, side: Side, counter: &str, rounds: u32) -> Contender {
        // The other one tries meanwhile; client-go, which then waits for seconds, at times just after.
        let hold = match side {
            Side::Go => ("hold", "100ms".to_owned()),
            Side::Rust if self.format.is_lease() => ("hold-ms", "5".to_owned()),
            Side::Rust => ("hold-ms", "100".to_owned()),
        };
        self.contender(
            side,
            LOCK,
            &[("counter", counter.to_owned()), ("rounds", rounds.to_string()), hold],
        )
    }

    fn contender(&self, side: Side, name: &str, flags: &[(&str, String)]) -> Contender {
        let (mut command, own) = match side {
            Side::Go => self.go(name),
            Side::Rust => self.rust(name),
        };
        for (flag, value) in own.iter().chain(flags) {
            command.arg(format!("--{flag}={value}"));
        }
        Contender::start(&format!("{side:?}"), &mut command)
    }

    fn peer(&self, program: &str) -> Command {
        Command::new(find(program).unwrap_or_else(|why| panic!("{why}")))
    }

    /// Where the locks are, as every program of Go's is told.
    fn place(&self) -> Flags {
        vec![
            ("kubeconfig", self.kubeconfig.display().to_string()),
            ("namespace", self.namespace.clone()),
        ]
    }

    fn go(&self, name: &str) -> (Command, Flags) {
        let program = match self.format {
            Format::ClientGo | Format::Leaselock => "peer-lease",
            Format::Annotation => "peer-annotation",
            Format::ConfigMap => "peer-configmap",
            Format::Janus => "peer-janus",
        };
        let mut flags = self.place();
        flags.push(("name", name.to_owned()));
        flags.push(("id", Side::Go.id().to_owned()));
        flags.push(("ttl", format!("{}s", self.format.ttl().as_secs())));
        match self.format {
            Format::Leaselock => flags.push(("mode", "leaselock".to_owned())),
            Format::Annotation => flags.push(("object", "target".to_owned())),
            _ => {}
        }
        (self.peer(program), flags)
    }

    /// Our URL of the locks.
    fn store(&self) -> String {
        let (namespace, file, id) = (&self.namespace, self.kubeconfig.display(), Side::Rust.id());
        let options = match self.format {
            Format::ClientGo | Format::Leaselock => "",
            Format::Annotation => "format=annotation&resource=v1/configmaps&object=target&",
            Format::ConfigMap => "format=configmap&",
            Format::Janus => "format=janus&",
        };
        format!("kube:{namespace}?{options}kubeconfig={file}&id={id}")
    }

    fn rust(&self, name: &str) -> (Command, Flags) {
        let name = match self.format {
            Format::Janus => format!("{}/configmap/{name}", self.namespace),
            _ => name.to_owned(),
        };
        let timing = match self.format {
            Format::ClientGo => "client-go".to_owned(),
            Format::Leaselock => "leaselock".to_owned(),
            format => format.ttl().as_secs().to_string(),
        };
        let flags = vec![("store", self.store()), ("name", name), ("timing", timing)];
        (Command::new(&self.rust), flags)
    }

    /// Who holds the lock, as the object says it; empty if nobody does.
    ///
    /// # Panics
    /// On an object that says it in no way we know.
    #[must_use]
    pub fn holder_id(&self) -> String {
        let Some(object) = self.object() else { return String::new() };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let json = |value: &Value| -> Value {
            serde_json::from_str(&text(value)).unwrap_or_else(|e| panic!("{value}: {e}"))
        };
        if self.format.is_lease() || self.format == Format::Janus {
            return text(&object["spec"]["holderIdentity"]);
        }
        if self.format == Format::ConfigMap {
            let state = json(&object["data"]["lock"]);
            let leases = state["leases"].as_object();
            return leases.and_then(|all| all.keys().next().cloned()).unwrap_or_default();
        }
        match &object["metadata"]["annotations"]["kubelock.giantswarm.io/job"] {
            Value::Null => String::new(),
            value => text(&json(value)["owner"]),
        }
    }
}
