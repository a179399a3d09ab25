//! `tenure rbac`: the least rights that a service account needs for its locks in Kubernetes.
//!
//! Owns which verbs of the API each verb of the command sends, by format; asks nobody. Tests run the
//! command with what is printed here and nothing else.

use std::collections::BTreeSet;
use std::io::{self, Write};

use tenure::KubeObjects;
use twox_hash::XxHash3_64;

use crate::options::RbacOptions;

/// Prints a Role and its RoleBinding, or both for the whole cluster.
pub(crate) fn rbac(options: &RbacOptions, out: &mut impl Write) -> io::Result<()> {
    out.write_all(manifest(options).as_bytes())
}

fn manifest(options: &RbacOptions) -> String {
    let own = options.objects.namespace.as_deref().unwrap_or("default");
    let mut namespaces: BTreeSet<&str> = match options.objects.format {
        // Each of its locks says where it is.
        "janus" => options.names.iter().filter_map(|name| name.split('/').next()).collect(),
        _ => BTreeSet::new(),
    };
    if namespaces.is_empty() {
        namespaces.insert(own);
    }
    let all: Vec<_> = namespaces.iter().map(|of| rights(options, of, own)).collect();
    all.join("---\n")
}

/// The rights in one namespace for an account of its own.
fn rights(options: &RbacOptions, namespace: &str, own: &str) -> String {
    let RbacOptions { objects, account, .. } = options;
    let name = &name(options);
    // Objects without a namespace are the cluster's.
    let whole = objects.format == "annotation" && objects.namespace.is_none();
    let kind = if whole { "ClusterRole" } else { "Role" };
    let placed = if whole { String::new() } else { format!("\n  namespace: {namespace}") };
    let head = format!("apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}");
    let mut text =
        format!("# For {}.\n{head}\nmetadata:\n  name: {name}{placed}\nrules:\n", about(options));
    text += &rules(options);
    text += &format!("---\n{head}Binding\nmetadata:\n  name: {name}{placed}\n");
    text += &format!(
        "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {kind}\n  name: {name}\n"
    );
    text + &format!("subjects:\n- kind: ServiceAccount\n  name: {account}\n  namespace: {own}\n")
}

/// A name for these rights and no others: what is applied next takes none away.
fn name(options: &RbacOptions) -> String {
    let rights = format!("{:?}", (&options.objects, &options.names, &options.verbs));
    format!("tenure-{}-{:08x}", options.account, XxHash3_64::oneshot(rights.as_bytes()) as u32)
}

fn about(options: &RbacOptions) -> String {
    let verbs: Vec<_> = options.verbs.iter().map(|verb| format!("`tenure {verb}`")).collect();
    let locks = match options.names.as_slice() {
        [] => "all locks".to_owned(),
        [one] => format!("lock {one}"),
        more => format!("locks {}", more.join(", ")),
    };
    format!("{} on {locks}, format={}", verbs.join(", "), options.objects.format)
}

fn rules(options: &RbacOptions) -> String {
    let KubeObjects { format, group, resource, object, .. } = &options.objects;
    let verbs = needed(&options.verbs, format);
    let names: Vec<String> = match (*format, object) {
        (_, Some(object)) => vec![object.clone()],
        ("configmap", _) => options.names.iter().map(|name| format!("lockheed-{name}")).collect(),
        // Its objects' names are made of hashes.
        ("janus", _) => Vec::new(),
        _ => options.names.clone(),
    };
    let rule = |names: &[String], verbs: &[&str]| {
        let names = match names {
            [] => String::new(),
            names => format!("  resourceNames: [{}]\n", quoted(names)),
        };
        let verbs = verbs.join(", ");
        format!("- apiGroups: [{group:?}]\n  resources: [{resource}]\n{names}  verbs: [{verbs}]\n")
    };
    // Neither a creation nor a list can be bound to a name.
    let is_bound = |verb: &&str| !names.is_empty() && !matches!(*verb, "create" | "list");
    let (bound, free): (Vec<&str>, Vec<&str>) = verbs.into_iter().partition(is_bound);
    let mut text = String::new();
    if !free.is_empty() {
        text += &rule(&[], &free);
    }
    if !bound.is_empty() {
        text += &rule(&names, &bound);
    }
    text
}

/// What the verbs of the command ask of the API server.
pub(crate) fn needed(verbs: &[String], format: &str) -> BTreeSet<&'static str> {
    verbs.iter().flat_map(|verb| needs(verb, format)).collect()
}

/// What a verb of the command asks of the API server.
fn needs(verb: &str, format: &str) -> Vec<&'static str> {
    let write: &[&'static str] = match format {
        "annotation" => &["patch"],
        "janus" => &["update", "delete"],
        _ => &["update"],
    };
    let create: &[&'static str] = if format == "annotation" { &[] } else { &["create"] };
    let all: &[&[&'static str]] = match verb {
        "ls" if format == "annotation" => &[&["get"]],
        "ls" => &[&["list"]],
        "show" => &[&["get"]],
        "wait" => &[&["get", "watch"]],
        "renew" | "release" => &[&["get"], write],
        "steal" => &[&["get", "watch"], write],
        _ => &[&["get", "watch"], write, create],
    };
    all.concat()
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}
