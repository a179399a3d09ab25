//! A namespace of a real API server for tests of the command, and a way to it that can be cut.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::common::{Ran, Running, tenure, until};

/// A lock nobody else has, in a namespace of its own.
pub struct Kube {
    dir: PathBuf,
    pub namespace: String,
    pub lock: String,
    way: Option<Arc<Way>>,
}

impl Kube {
    pub fn new() -> Self {
        Self::with(None, |text| text)
    }

    /// Through a way that can be cut.
    pub fn far() -> Self {
        let server = tenure_servers::kube().url().strip_prefix("https://").unwrap();
        let way = Way::to(server.parse().unwrap());
        let to = way.at.to_string();
        Self::with(Some(way), |text| text.replace(server, &to))
    }

    fn with(way: Option<Arc<Way>>, change: impl FnOnce(String) -> String) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let server = tenure_servers::kube();
        let namespace = server.namespace("cli");
        let name = format!("kube-{}-{number}", std::process::id());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let config = std::fs::read_to_string(server.admin(&namespace)).unwrap();
        std::fs::write(dir.join("kubeconfig"), change(config)).unwrap();
        Self { dir, namespace, lock: "nightly".into(), way }
    }

    /// From now on as this service account of the namespace.
    pub fn become_account(&self, name: &str) {
        let path = tenure_servers::kube().service_account(&self.namespace, name);
        std::fs::copy(path, self.path("kubeconfig")).unwrap();
    }

    /// From now on as somebody the server does not know.
    pub fn become_stranger(&self) {
        self.become_account("stranger");
        let config: Value = serde_json::from_str(&self.read("kubeconfig")).unwrap();
        let token = config["users"][0]["user"]["token"].as_str().unwrap().to_owned();
        let changed = self.read("kubeconfig").replace(&token, "nobodystoken");
        std::fs::write(self.path("kubeconfig"), changed).unwrap();
    }

    pub fn way(&self) -> &Way {
        self.way.as_ref().unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub fn url(&self) -> String {
        format!("kube:{}?kubeconfig={}", self.namespace, self.path("kubeconfig").display())
    }

    /// The same namespace in another format.
    pub fn store(&self, format: &str) -> String {
        format!("{}&format={format}", self.url())
    }

    /// The path of objects of the namespace, or of one.
    pub fn objects(&self, plural: &str, name: &str) -> String {
        let api = match plural {
            "leases" => "/apis/coordination.k8s.io/v1",
            _ => "/api/v1",
        };
        let path = format!("{api}/namespaces/{}/{plural}/{name}", self.namespace);
        path.trim_end_matches('/').to_owned()
    }

    /// As the administrator: the answer's status and object.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        tenure_servers::kube().request(method, path, body)
    }

    /// Creates an object, as another program would.
    pub fn create(&self, plural: &str, name: &str, object: Value) {
        let mut object = object;
        object["metadata"]["name"] = name.into();
        let (status, answer) = self.ask("POST", &self.objects(plural, ""), Some(&object));
        assert!(status < 300, "{status} {answer}");
    }

    pub fn get(&self, plural: &str, name: &str) -> Value {
        let (status, object) = self.ask("GET", &self.objects(plural, name), None);
        assert_eq!(status, 200, "{object}");
        object
    }

    /// `tenure` with these arguments, `LOCK` standing for the lock's name.
    pub fn tenure(&self, args: &[&str]) -> Command {
        let mut command = tenure();
        let args = args.iter().map(|arg| if *arg == "LOCK" { &self.lock } else { *arg });
        command.env("TENURE_STORE", self.url()).args(args).current_dir(&self.dir);
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&self.tenure(args).output().unwrap())
    }

    pub fn start(&self, args: &[&str]) -> Running {
        Running::of(&mut self.tenure(args))
    }

    /// Starts `tenure run OPTIONS LOCK -c LINE`, whose first output is `up`, and waits for that.
    pub fn hold(&self, options: &[&str], line: &str) -> Running {
        let line = format!("echo up; {line}");
        let args = [&["run"], options, &["LOCK", "-c", &line]].concat();
        let mut running = self.start(&args);
        assert_eq!(running.line(), "up");
        running
    }

    pub fn show(&self) -> Value {
        let ran = self.run(&["show", "LOCK", "--output", "json"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    }
}

impl Drop for Kube {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The process that keeps the hold of this `tenure run`.
pub fn keeper_of(front: i32) -> i32 {
    let mut found = 0;
    until("the keeper is there", || {
        let children = std::fs::read_to_string(format!("/proc/{front}/task/{front}/children"));
        let children = children.unwrap_or_default();
        let mut pids = children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok());
        let exe = |pid: i32| std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        found = pids.find(|pid| exe(*pid) == exe(front)).unwrap_or(0);
        found > 0
    });
    found
}

const OPEN: u8 = 0;
const SILENT: u8 = 1;
const CLOSED: u8 = 2;

/// A TCP connection's way, which can be cut.
pub struct Way {
    at: SocketAddr,
    state: AtomicU8,
}

impl Way {
    fn to(server: SocketAddr) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let way = Arc::new(Self { at, state: AtomicU8::new(OPEN) });
        let this = Arc::clone(&way);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if this.state.load(Ordering::SeqCst) == CLOSED {
                    continue;
                }
                let Ok(server) = TcpStream::connect(server) else { continue };
                let (a, b) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (first, second) = (Arc::clone(&this), Arc::clone(&this));
                std::thread::spawn(move || first.carry(client, server));
                std::thread::spawn(move || second.carry(b, a));
            }
        });
        way
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = vec![0; 1 << 16];
        from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        loop {
            match self.state.load(Ordering::SeqCst) {
                CLOSED => break,
                SILENT => {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                }
                _ => {}
            }
            match from.read(&mut bytes) {
                Ok(0) => break,
                Ok(n) => {
                    if to.write_all(&bytes[..n]).is_err() {
                        break;
                    }
                }
                Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock) => {}
                Err(_) => break,
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    /// Everything arrives again.
    pub fn open(&self) {
        self.state.store(OPEN, Ordering::SeqCst);
    }

    /// Connections stand, and nothing arrives.
    pub fn silence(&self) {
        self.state.store(SILENT, Ordering::SeqCst);
    }

    /// Connections end, and none is accepted.
    pub fn close(&self) {
        self.state.store(CLOSED, Ordering::SeqCst);
    }
}
