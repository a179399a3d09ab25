//! The servers are what tests need of them: TLS, RBAC, tokens; and they never outlive their test.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tenure_servers::{Kube, Servers, kube};

const ROLE: &str = "\
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: lease
rules:
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [job]
  verbs: [get]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: lease
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: lease}
subjects:
- {kind: ServiceAccount, name: reader}
";

#[test]
fn an_account_may_do_what_its_role_says_and_nothing_else() {
    let kube = kube();
    let namespace = kube.namespace("rbac");
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    let lease = json!({"metadata": {"name": "job"}, "spec": {"holderIdentity": "a"}});
    assert_eq!(kube.request("POST", &leases, Some(&lease)).0, 201);
    let reader = kube.service_account(&namespace, "reader");
    let job = format!("{leases}/job");
    assert_eq!(get(kube, &reader, &job), 403);
    kube.apply(
        &namespace,
        &ROLE.replace("name: reader", &format!("name: reader, namespace: {namespace}")),
    );
    // The authorizer learns of a new binding from a watch.
    let begun = Instant::now();
    while get(kube, &reader, &job) != 200 {
        assert!(begun.elapsed() < Duration::from_secs(30), "the role is never granted");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(get(kube, &reader, &leases), 403);
    assert_eq!(get(kube, &kube.admin(&namespace), &leases), 200);
}

/// The status of a GET with the token of a kubeconfig file.
fn get(kube: &Kube, kubeconfig: &Path, path: &str) -> u16 {
    let config: Value =
        serde_json::from_str(&std::fs::read_to_string(kubeconfig).unwrap()).unwrap();
    let token = config["users"][0]["user"]["token"].as_str().unwrap();
    kube.as_user(token).request("GET", path, None).0
}

#[test]
fn the_api_server_comes_back_on_its_port() {
    let servers = Servers::start().unwrap();
    let namespace = servers.kube().namespace("kept");
    let before = servers.pids();
    servers.restart_api().unwrap();
    let after = servers.pids();
    assert!(before[0] == after[0] && before[1] != after[1], "{before:?} {after:?}");
    assert_eq!(
        servers.kube().request("GET", &format!("/api/v1/namespaces/{namespace}"), None).0,
        200
    );
}

#[test]
fn killing_the_one_that_started_them_ends_the_servers() {
    let (mut up, folder) = servers_up();
    let pids: Vec<String> = ["etcd", "kube-apiserver"]
        .iter()
        .map(|name| {
            std::fs::read_to_string(folder.join(format!("{name}.pid"))).unwrap().trim().to_owned()
        })
        .collect();
    for pid in &pids {
        assert!(Path::new("/proc").join(pid).exists());
    }
    up.kill().unwrap();
    up.wait().unwrap();
    let begun = Instant::now();
    while folder.exists() || pids.iter().any(|pid| Path::new("/proc").join(pid).exists()) {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "left behind: {pids:?}, {}",
            folder.display()
        );
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn servers_of_another_process_are_used_by_their_folder() {
    let (mut up, folder) = servers_up();
    let namespace = Kube::open(&folder).unwrap().namespace("shared");
    assert!(namespace.starts_with("shared-"));
    // End of input, and whoever reads its output meets its end.
    drop(up.stdin.take());
    let mut rest = String::new();
    up.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
    assert!(up.wait().unwrap().success() && !folder.exists());
    assert!(Kube::open(&folder).is_err());
}

fn servers_up() -> (Child, std::path::PathBuf) {
    let mut up = Command::new(env!("CARGO_BIN_EXE_servers"));
    let mut up = up.arg("up").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(up.stdout.as_mut().unwrap()).lines();
    let folder = lines.next().unwrap().unwrap().into();
    assert!(lines.next().unwrap().unwrap().starts_with("KUBECONFIG="));
    (up, folder)
}
