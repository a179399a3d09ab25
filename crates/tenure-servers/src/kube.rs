//! An etcd and a kube-apiserver with TLS and RBAC on, and what a test asks of their administrator.
//!
//! Owns the start, on ports that were free a moment before (somebody else may be quicker: then it is
//! tried again), and namespaces, roles, ServiceAccounts and kubeconfig files. No controller runs: a
//! deleted namespace is not emptied, and a ServiceAccount exists when a test has created it.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, http};

use crate::build::last_lines;
use crate::supervisor::Supervisor;
use crate::{certs, programs};

const ETCD: &str = "etcd";
const API: &str = "kube-apiserver";
/// The start takes 2 s on an idle machine; tests share one with others.
const READY_MAX: Duration = Duration::from_secs(120);
const REQUEST_MAX: Duration = Duration::from_secs(60);
/// Where ports are looked for.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// How often another one may take the port that was free.
const STARTS: u32 = 5;

/// An etcd and a kube-apiserver of this process's own. They end when it is dropped, and when the
/// process ends in whatever way.
pub struct Servers {
    supervisor: Supervisor,
    kube: Kube,
    api: Vec<String>,
}

/// An API server that runs, as its administrator.
#[derive(Clone)]
pub struct Kube {
    folder: Arc<Path>,
    url: String,
    token: String,
    agent: Agent,
}

impl Servers {
    /// Starts both, on the data of nobody, and waits until the API server is ready.
    ///
    /// # Errors
    /// What to install, or what a server said last.
    pub fn start() -> Result<Self, String> {
        let mut said = String::new();
        for _ in 0..STARTS {
            let supervisor = Supervisor::new()?;
            match start(&supervisor) {
                Ok((kube, api)) => return Ok(Self { supervisor, kube, api }),
                Err(why) if why.contains("address already in use") => said = why,
                Err(why) => return Err(why),
            }
        }
        Err(format!("no port stayed free in {STARTS} starts: {said}"))
    }

    /// The API server, for tests of other processes too: see [`SHARED`](crate::SHARED).
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.supervisor.folder()
    }

    /// The API server.
    #[must_use]
    pub fn kube(&self) -> &Kube {
        &self.kube
    }

    /// Sends a signal, such as `STOP`, to `etcd` or `kube-apiserver`.
    ///
    /// # Errors
    /// If the shell that runs them is gone.
    pub fn signal(&self, server: &str, signal: &str) -> Result<(), String> {
        self.supervisor.signal(server, signal)
    }

    /// Kills the API server and starts it again, on the same port.
    ///
    /// # Errors
    /// What it said last.
    pub fn restart_api(&self) -> Result<(), String> {
        self.stop_api()?;
        self.supervisor.start(API, &programs::find(API)?, &self.api)?;
        ready(&self.supervisor, &self.kube)
    }

    /// Kills the API server.
    ///
    /// # Errors
    /// If it does not end.
    pub fn stop_api(&self) -> Result<(), String> {
        self.supervisor.signal(API, "KILL")?;
        wait(|| if self.supervisor.runs(API) { None } else { Some(Ok(())) })
    }

    /// The process ids of etcd and kube-apiserver.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        [ETCD, API].iter().filter_map(|name| self.supervisor.pid(name)).collect()
    }
}

impl Kube {
    /// Servers that another process started, by [their folder](Servers::folder).
    ///
    /// # Errors
    /// If there is no such folder, or it is not one of servers.
    pub fn open(folder: &Path) -> Result<Self, String> {
        let read = |name: &str| {
            let file = folder.join(name);
            fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))
        };
        let authority = Certificate::from_pem(read("ca.pem")?.as_bytes());
        let authority = authority.map_err(|e| format!("ca.pem: {e}"))?;
        let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[authority])).build();
        // Proxies are for elsewhere.
        let config =
            Agent::config_builder().tls_config(tls).http_status_as_error(false).proxy(None);
        let agent = config.timeout_global(Some(REQUEST_MAX)).build().new_agent();
        Ok(Self { folder: folder.into(), url: read("url")?, token: read("token")?, agent })
    }

    /// The same server as somebody else, by the token of a ServiceAccount.
    #[must_use]
    pub fn as_user(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// Where it listens: `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A kubeconfig file of the administrator, who may do everything.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn admin(&self, namespace: &str) -> PathBuf {
        self.kubeconfig(&format!("{namespace}-admin"), namespace, &self.token)
    }

    /// Creates a namespace whose name begins like this, and that nobody else uses.
    ///
    /// # Panics
    /// With the server's answer, if it refuses.
    #[must_use]
    pub fn namespace(&self, prefix: &str) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}-{}-{number}", std::process::id());
        self.post("/api/v1/namespaces", &json!({"metadata": {"name": name}}));
        name
    }

    /// Creates roles and their bindings, as `tenure rbac` prints them: YAML, `---` between them.
    ///
    /// # Panics
    /// With the server's answer, if it refuses, and on a document of another kind.
    pub fn apply(&self, namespace: &str, manifests: &str) {
        for document in manifests.split("\n---").filter(|part| !part.trim().is_empty()) {
            let document = document.strip_prefix("---").unwrap_or(document);
            let kind =
                document.lines().find_map(|line| line.strip_prefix("kind:")).unwrap_or_default();
            let (rbac, kind) = ("/apis/rbac.authorization.k8s.io/v1", kind.trim());
            let path = match kind {
                "Role" => format!("{rbac}/namespaces/{namespace}/roles"),
                "RoleBinding" => format!("{rbac}/namespaces/{namespace}/rolebindings"),
                "ClusterRole" => format!("{rbac}/clusterroles"),
                "ClusterRoleBinding" => format!("{rbac}/clusterrolebindings"),
                _ => panic!("cannot apply a document of kind `{kind}`:\n{document}"),
            };
            let (status, answer) =
                self.send("POST", &path, "application/yaml", document.as_bytes().to_vec());
            assert!(status < 300, "{kind}: {status} {answer}");
        }
    }

    /// Creates a ServiceAccount without any right, and a kubeconfig file with a token of it.
    ///
    /// # Panics
    /// With the server's answer, if it refuses.
    #[must_use]
    pub fn service_account(&self, namespace: &str, name: &str) -> PathBuf {
        let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        self.post(&accounts, &json!({"metadata": {"name": name}}));
        let asked = json!({"spec": {"expirationSeconds": 7200}});
        let answer = self.post(&format!("{accounts}/{name}/token"), &asked);
        let token = answer["status"]["token"].as_str();
        let token = token.unwrap_or_else(|| panic!("TokenRequest without a token: {answer}"));
        self.kubeconfig(&format!("{namespace}-{name}"), namespace, token)
    }

    /// Sends one request as the administrator; the status and the body's JSON.
    ///
    /// # Panics
    /// If there is no answer.
    #[must_use]
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        self.send(method, path, "application/json", body)
    }

    /// Changes parts of an object by a merge patch, as the administrator.
    ///
    /// # Panics
    /// If there is no answer.
    #[must_use]
    pub fn merge(&self, path: &str, patch: &Value) -> (u16, Value) {
        let body = patch.to_string().into_bytes();
        self.send("PATCH", path, "application/merge-patch+json", body)
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.request("POST", path, Some(body));
        assert!(status < 300, "POST {path}: {status} {answer}");
        answer
    }

    fn send(&self, method: &str, path: &str, content: &str, body: Vec<u8>) -> (u16, Value) {
        self.try_send(method, path, content, body)
            .unwrap_or_else(|e| panic!("{method} {}{path}: {e}", self.url))
    }

    fn try_send(
        &self,
        method: &str,
        path: &str,
        content: &str,
        body: Vec<u8>,
    ) -> Result<(u16, Value), ureq::Error> {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("Authorization", format!("Bearer {}", self.token))
            .header("Content-Type", content)
            .header("Accept", "application/json");
        let mut answer = self.agent.run(request.body(body)?)?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string()?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    fn kubeconfig(&self, name: &str, namespace: &str, token: &str) -> PathBuf {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": self.url, "certificate-authority": self.folder.join("ca.pem")}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {
                "cluster": "test", "user": "test", "namespace": namespace}}],
        });
        let file = self.folder.join(format!("{name}.kubeconfig"));
        // JSON is YAML too.
        fs::write(&file, config.to_string()).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        file
    }
}

fn start(supervisor: &Supervisor) -> Result<(Kube, Vec<String>), String> {
    let (etcd, api) = (programs::find(ETCD)?, programs::find(API)?);
    let folder = supervisor.folder();
    let ports = free_ports::<2>().map_err(|e| format!("no free port: {e}"))?;
    let made = certs::make().map_err(|e| format!("certificates: {e}"))?;
    let token = token()?;
    let files = [
        ("ca.pem", made.authority),
        ("server.pem", made.leaf),
        ("server.key", made.key),
        ("signing.key", made.signing_key),
        ("signing.pub", made.verifying_key),
        ("tokens.csv", format!("{token},admin,admin,\"system:masters\"\n")),
        ("url", format!("https://127.0.0.1:{}", ports[1])),
        ("etcd-url", format!("https://127.0.0.1:{}", ports[0])),
        ("token", token),
    ];
    for (name, text) in files {
        let file = folder.join(name);
        fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    supervisor.start(ETCD, &etcd, &etcd_flags(ports[0]))?;
    let kube = Kube::open(folder)?;
    let api_flags = api_flags(ports[0], ports[1]);
    supervisor.start(API, &api, &api_flags)?;
    ready(supervisor, &kube)?;
    Ok((kube, api_flags))
}

/// Paths are relative to the folder, in which the shell stands.
fn etcd_flags(port: u16) -> Vec<String> {
    let mut flags = words(
        "--data-dir=data --log-level=warn --cert-file=server.pem --key-file=server.key \
         --trusted-ca-file=ca.pem --client-cert-auth --listen-peer-urls=http://127.0.0.1:0",
    );
    for flag in ["listen-client-urls", "advertise-client-urls"] {
        flags.push(format!("--{flag}=https://127.0.0.1:{port}"));
    }
    flags
}

fn api_flags(etcd: u16, port: u16) -> Vec<String> {
    let mut flags = words(
        "--etcd-cafile=ca.pem --etcd-certfile=server.pem --etcd-keyfile=server.key --cert-dir=certs \
         --tls-cert-file=server.pem --tls-private-key-file=server.key --bind-address=127.0.0.1 \
         --authorization-mode=RBAC --token-auth-file=tokens.csv \
         --service-account-key-file=signing.pub --service-account-signing-key-file=signing.key \
         --service-account-issuer=https://kubernetes.default.svc \
         --service-cluster-ip-range=10.0.0.0/24",
    );
    flags.push(format!("--etcd-servers=https://127.0.0.1:{etcd}"));
    flags.push(format!("--secure-port={port}"));
    flags
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn ready(supervisor: &Supervisor, kube: &Kube) -> Result<(), String> {
    wait(|| {
        for name in [ETCD, API] {
            if !supervisor.runs(name) {
                let said = last_lines(&supervisor.said(name), 5);
                return Some(Err(format!("{name} ended: {said}")));
            }
        }
        match kube.try_send("GET", "/readyz", "application/json", Vec::new()) {
            Ok((200, _)) => Some(Ok(())),
            _ => None,
        }
    })
}

fn wait(mut done: impl FnMut() -> Option<Result<(), String>>) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        if let Some(outcome) = done() {
            return outcome;
        }
        if begun.elapsed() > READY_MAX {
            return Err(format!("the servers are not ready after {} s", READY_MAX.as_secs()));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Ports that nobody listens on, all at once, so that they differ. Not of those that the system gives
/// to whoever connects: a server that starts again could find its own taken by a client.
fn free_ports<const N: usize>() -> std::io::Result<[u16; N]> {
    let mut random = [0; 2];
    fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let count = PORTS.end - PORTS.start;
    let first = u16::from_le_bytes(random) % count;
    let mut candidates = (0..count).map(|n| PORTS.start + (first + n) % count);
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let free = |port: &u16| {
            TcpListener::bind(("127.0.0.1", *port)).map(|listener| listeners.push(listener)).is_ok()
        };
        *port = candidates.find(free).ok_or(std::io::ErrorKind::AddrInUse)?;
    }
    Ok(ports)
}

/// Nobody else on the machine can guess it.
fn token() -> Result<String, String> {
    let mut bytes = [0; 16];
    let random = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    random.map_err(|e| format!("/dev/urandom: {e}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
