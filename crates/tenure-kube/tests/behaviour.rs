//! What the stores rely upon, asked of a real API server and of the one in memory alike.
//!
//! Owns no store: these are the bare requests. A test that passes on one server and not on the other
//! says that the simulations run over something that does not exist.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::{Value, json};
use tenure_servers::Kube;
use tenure_testkit::api::{Answer, Request, Rule, Server, User};

/// A server, as somebody.
trait Asks {
    fn send(&self, method: &str, path: &str, content: &str, body: Option<&Value>) -> (u16, Value);
    /// The lines of a watch that ends by itself.
    fn follow(&self, path: &str) -> Vec<Value>;
    /// Who may only `get` and `watch` the Lease `mine`.
    fn somebody(&self, namespace: &str) -> Box<dyn Asks>;
    /// Who is not known.
    fn nobody(&self) -> Box<dyn Asks>;
}

impl Asks for Kube {
    fn send(&self, method: &str, path: &str, _: &str, body: Option<&Value>) -> (u16, Value) {
        match method {
            "PATCH" => self.merge(path, body.unwrap()),
            _ => self.request(method, path, body),
        }
    }

    fn follow(&self, path: &str) -> Vec<Value> {
        match self.request("GET", &format!("{path}&timeoutSeconds=1"), None) {
            (200, Value::String(lines)) => read(&lines),
            (200, line) => vec![line],
            (code, answer) => panic!("{path}: {code} {answer}"),
        }
    }

    fn somebody(&self, namespace: &str) -> Box<dyn Asks> {
        let rbac = "apiVersion: rbac.authorization.k8s.io/v1";
        self.apply(
            namespace,
            &format!(
                "kind: Role\n{rbac}\nmetadata: {{name: mine}}\nrules:\n- apiGroups: \
                 [coordination.k8s.io]\n  resources: [leases]\n  resourceNames: [mine]\n  verbs: \
                 [get, watch]\n---\nkind: RoleBinding\n{rbac}\nmetadata: {{name: mine}}\nroleRef: \
                 {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: mine}}\nsubjects:\n- \
                 {{kind: ServiceAccount, name: me, namespace: {namespace}}}\n"
            ),
        );
        let file = std::fs::read(self.service_account(namespace, "me")).unwrap();
        let config: Value = serde_json::from_slice(&file).unwrap();
        let token = config["users"][0]["user"]["token"].as_str().unwrap();
        let user = self.as_user(token);
        // The server learns of new roles by a watch of its own.
        let mine = format!("{}/mine", leases(namespace));
        while user.request("GET", &mine, None).0 == 403 {
            std::thread::yield_now();
        }
        Box::new(user)
    }

    fn nobody(&self) -> Box<dyn Asks> {
        Box::new(self.as_user("nobody"))
    }
}

/// The server in memory, as the user of a token.
struct Memory(Server, String);

impl Memory {
    fn answer(&self, method: &str, path: &str, content: &str, body: Option<&Value>) -> Answer {
        self.0.answer(&Request {
            method: method.into(),
            path: path.into(),
            content: content.into(),
            token: self.1.clone(),
            body: body.map(|body| body.to_string().into_bytes()).unwrap_or_default(),
        })
    }
}

impl Asks for Memory {
    fn send(&self, method: &str, path: &str, content: &str, body: Option<&Value>) -> (u16, Value) {
        match self.answer(method, path, content, body) {
            Answer::Whole(code, body) => {
                (code, serde_json::from_str(&body).unwrap_or(Value::String(body)))
            }
            Answer::Watch(_) => (200, Value::Null),
        }
    }

    fn follow(&self, path: &str) -> Vec<Value> {
        match self.answer("GET", path, "application/json", None) {
            Answer::Watch(mut watching) => read(&self.0.lines(&mut watching).concat()),
            Answer::Whole(code, body) => panic!("{path}: {code} {body}"),
        }
    }

    fn somebody(&self, namespace: &str) -> Box<dyn Asks> {
        let name = format!("system:serviceaccount:{namespace}:me");
        let rule = Rule {
            verbs: vec!["get", "watch"],
            group: "coordination.k8s.io".into(),
            resource: "leases".into(),
            namespace: namespace.into(),
            names: vec!["mine".into()],
        };
        self.0.user(User::with(&name, vec![rule]));
        Box::new(Self(self.0.clone(), name))
    }

    fn nobody(&self) -> Box<dyn Asks> {
        Box::new(Self(self.0.clone(), "nobody".into()))
    }
}

fn read(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn leases(namespace: &str) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
}

fn maps(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps")
}

/// Asks both servers the same, in a namespace of its own on each.
fn both(asks: fn(&dyn Asks, &str)) {
    let server = Server::new();
    server.namespace("here");
    asks(&Memory(server, "admin".into()), "here");
    let server = tenure_servers::kube();
    asks(server, &server.namespace("behaviour"));
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

impl dyn Asks + '_ {
    fn ok(&self, method: &str, path: &str, body: &Value) -> Value {
        let content = if method == "PATCH" { MERGE } else { JSON };
        let (code, answer) = self.send(method, path, content, Some(body));
        assert!((200..300).contains(&code), "{method} {path}: {code} {answer}");
        answer
    }

    /// The status, and what is said, which holds `said`.
    #[track_caller]
    fn refuses(&self, method: &str, path: &str, body: &Value, code: u16, said: &str) {
        let content = if method == "PATCH" { MERGE } else { JSON };
        let body = Some(body).filter(|body| !body.is_null());
        let (answered, answer) = self.send(method, path, content, body);
        let message = answer["message"].as_str().or(answer.as_str()).unwrap_or_default();
        assert!(answered == code && message.contains(said), "{method} {path}: {answered} {answer}");
    }
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

fn version(object: &Value) -> u64 {
    text(object, "resourceVersion").parse().unwrap()
}

fn lease(name: &str, holder: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"holderIdentity": holder}})
}

/// As it was read, with another holder.
fn held_by(object: &Value, holder: &str) -> Value {
    let mut object = object.clone();
    object["spec"]["holderIdentity"] = json!(holder);
    object
}

#[test]
fn an_object_is_made_once() {
    both(|asks, namespace| {
        let all = leases(namespace);
        asks.refuses(
            "GET",
            &format!("{all}/a"),
            &Value::Null,
            404,
            "leases.coordination.k8s.io \"a\" not found",
        );
        let made = asks.ok("POST", &all, &lease("a", "x"));
        assert!(version(&made) > 0 && !text(&made, "uid").is_empty(), "{made}");
        assert_eq!((text(&made, "namespace"), &made["kind"]), (namespace, &json!("Lease")));
        asks.refuses(
            "POST",
            &all,
            &lease("a", "y"),
            409,
            "leases.coordination.k8s.io \"a\" already exists",
        );
        let read = asks.send("GET", &format!("{all}/a"), JSON, None).1;
        assert_eq!(read, made);
        let mut versioned = lease("b", "x");
        versioned["metadata"]["resourceVersion"] = json!("5");
        asks.refuses(
            "POST",
            &all,
            &versioned,
            500,
            "resourceVersion should not be set on objects to be created",
        );
    });
}

#[test]
fn a_put_replaces_the_version_that_it_names() {
    both(|asks, namespace| {
        let all = leases(namespace);
        let path = format!("{all}/a");
        let first = asks.ok("POST", &all, &lease("a", "x"));
        let second = asks.ok("PUT", &path, &held_by(&first, "y"));
        assert!(version(&second) > version(&first));
        assert_eq!(text(&second, "uid"), text(&first, "uid"));
        let modified =
            "the object has been modified; please apply your changes to the latest version";
        asks.refuses("PUT", &path, &held_by(&first, "z"), 409, modified);
        asks.refuses(
            "PUT",
            &path,
            &lease("a", "z"),
            422,
            "metadata.resourceVersion: Invalid value: 0: must be specified",
        );
        asks.refuses(
            "PUT",
            &path,
            &lease("b", "z"),
            400,
            "the name of the object (b) does not match the name on the URL (a)",
        );
        let mut other = held_by(&second, "z");
        other["metadata"]["uid"] = json!("u");
        let said = format!(
            "Precondition failed: UID in precondition: u, UID in object meta: {}",
            text(&first, "uid")
        );
        asks.refuses("PUT", &path, &other, 409, &said);
        let mut odd = held_by(&second, "z");
        odd["metadata"]["resourceVersion"] = json!("zz");
        asks.refuses("PUT", &path, &odd, 500, "strconv.ParseUint: parsing \"zz\": invalid syntax");
        // What changes nothing moves no version.
        let same = asks.ok("PUT", &path, &second);
        assert_eq!(version(&same), version(&second));
    });
}

#[test]
fn a_put_of_a_deleted_lease_creates_it_unless_it_names_the_uid() {
    both(|asks, namespace| {
        let all = leases(namespace);
        let path = format!("{all}/a");
        let first = asks.ok("POST", &all, &lease("a", "x"));
        asks.ok("DELETE", &path, &json!({}));
        let said = format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: ",
            text(&first, "uid")
        );
        asks.refuses("PUT", &path, &held_by(&first, "y"), 409, &said);
        let mut nameless = held_by(&first, "y");
        nameless["metadata"].as_object_mut().unwrap().remove("uid");
        let (code, again) = asks.send("PUT", &path, JSON, Some(&nameless));
        assert_eq!(code, 201, "{again}");
        assert!(version(&again) > version(&first) && text(&again, "uid") != text(&first, "uid"));
        // A ConfigMap is not created so.
        let map = json!({"metadata": {"name": "none"}});
        asks.refuses(
            "PUT",
            &format!("{}/none", maps(namespace)),
            &map,
            404,
            "configmaps \"none\" not found",
        );
    });
}

#[test]
fn a_config_map_is_replaced_without_a_version_too() {
    both(|asks, namespace| {
        let all = maps(namespace);
        let first = asks.ok("POST", &all, &json!({"metadata": {"name": "c"}, "data": {"k": "1"}}));
        let blind = json!({"metadata": {"name": "c"}, "data": {"k": "2"}});
        let second = asks.ok("PUT", &format!("{all}/c"), &blind);
        assert_eq!((&second["data"]["k"], version(&second) > version(&first)), (&json!("2"), true));
        let mut stale = first;
        stale["data"]["k"] = json!("3");
        asks.refuses("PUT", &format!("{all}/c"), &stale, 409, "the object has been modified");
    });
}

#[test]
fn a_patch_touches_what_it_names_and_holds_to_its_conditions() {
    both(|asks, namespace| {
        let all = maps(namespace);
        let path = format!("{all}/c");
        let is = json!({"metadata": {"name": "c", "annotations": {"a/x": "1", "b": "2"}}, "data": {"k": "v"}});
        let first = asks.ok("POST", &all, &is);
        let patch = |object: &Value, value: Value| {
            json!({"metadata": {"uid": text(object, "uid"), "resourceVersion": text(object, "resourceVersion"),
                                "annotations": {"a/x": value}}})
        };
        let second = asks.ok("PATCH", &path, &patch(&first, json!("9")));
        assert_eq!(second["metadata"]["annotations"], json!({"a/x": "9", "b": "2"}));
        assert_eq!(second["data"], json!({"k": "v"}));
        asks.refuses(
            "PATCH",
            &path,
            &patch(&first, json!("8")),
            409,
            "the object has been modified",
        );
        let third = asks.ok("PATCH", &path, &patch(&second, Value::Null));
        assert_eq!(third["metadata"]["annotations"], json!({"b": "2"}));
        let same = asks.ok("PATCH", &path, &patch(&third, Value::Null));
        assert_eq!(version(&same), version(&third));
        let mut other = patch(&third, json!("7"));
        other["metadata"]["uid"] = json!("u");
        asks.refuses(
            "PATCH",
            &path,
            &other,
            422,
            "metadata.uid: Invalid value: \"u\": field is immutable",
        );
        asks.refuses(
            "PATCH",
            &format!("{all}/none"),
            &patch(&third, json!("7")),
            404,
            "configmaps \"none\" not found",
        );
        // An object of the same name that was made since.
        asks.ok("DELETE", &path, &json!({}));
        asks.ok("POST", &all, &is);
        asks.refuses(
            "PATCH",
            &path,
            &patch(&third, json!("7")),
            409,
            "the object has been modified",
        );
    });
}

#[test]
fn a_deletion_holds_to_its_preconditions() {
    both(|asks, namespace| {
        let all = leases(namespace);
        let path = format!("{all}/a");
        let made = asks.ok("POST", &all, &lease("a", "x"));
        let when = |uid: &str, version: &str| {
            json!({"kind": "DeleteOptions", "apiVersion": "v1",
                   "preconditions": {"uid": uid, "resourceVersion": version}})
        };
        let (uid, version) = (text(&made, "uid"), text(&made, "resourceVersion"));
        asks.refuses(
            "DELETE",
            &path,
            &when("u", version),
            409,
            "the UID in the precondition (u) does not match",
        );
        asks.refuses(
            "DELETE",
            &path,
            &when(uid, "1"),
            409,
            "the ResourceVersion in the precondition (1) does not match",
        );
        let gone = asks.ok("DELETE", &path, &when(uid, version));
        assert_eq!((&gone["status"], &gone["details"]["uid"]), (&json!("Success"), &json!(uid)));
        asks.refuses(
            "DELETE",
            &path,
            &when(uid, version),
            404,
            "leases.coordination.k8s.io \"a\" not found",
        );
    });
}

#[test]
fn a_list_comes_in_pages_as_of_the_first() {
    both(|asks, namespace| {
        let all = leases(namespace);
        for name in ["a", "b", "c"] {
            let mut made = lease(name, "x");
            made["metadata"]["labels"] = json!({"l": if name == "b" { "2" } else { "1" }});
            asks.ok("POST", &all, &made);
        }
        let names = |list: &Value| -> Vec<String> {
            let items = list["items"].as_array().unwrap();
            items.iter().map(|item| text(item, "name").to_owned()).collect()
        };
        let get = |query: &str| asks.send("GET", &format!("{all}?{query}"), JSON, None).1;
        let first = get("limit=2");
        assert_eq!(
            (names(&first), &first["kind"]),
            (vec!["a".into(), "b".into()], &json!("LeaseList"))
        );
        assert_eq!(first["metadata"]["remainingItemCount"], json!(1));
        assert_eq!(first["items"][0].get("kind"), None);
        asks.ok("DELETE", &format!("{all}/c"), &json!({}));
        let rest = get(&format!("limit=2&continue={}", text(&first, "continue")));
        assert_eq!((names(&rest), version(&rest)), (vec!["c".to_owned()], version(&first)));
        assert_eq!(names(&get("")), ["a", "b"]);
        assert_eq!(names(&get("labelSelector=l%3D1")), ["a"]);
        assert_eq!(names(&get("labelSelector=l")), ["a", "b"]);
        assert_eq!(names(&get("fieldSelector=metadata.name%3Db")), ["b"]);
        asks.refuses(
            "GET",
            &format!("{all}?fieldSelector=spec.x%3D1"),
            &Value::Null,
            400,
            "\"spec.x\" is not a known field selector",
        );
        asks.refuses(
            "GET",
            &format!("{all}?limit=2&continue=zz"),
            &Value::Null,
            400,
            "continue key is not valid",
        );
    });
}

/// What each line tells, and of whom, without the marks of progress, which come when they like.
fn told(lines: &[Value]) -> Vec<(String, String, u64)> {
    let told = |line: &Value| {
        let object = &line["object"];
        (
            line["type"].as_str().unwrap().to_owned(),
            text(object, "name").to_owned(),
            version(object),
        )
    };
    lines.iter().filter(|line| line["type"] != "BOOKMARK").map(told).collect()
}

#[test]
fn a_watch_begins_with_what_stands_and_says_when_that_is_told() {
    both(|asks, namespace| {
        let all = leases(namespace);
        let begin =
            "allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
        let of = |name: &str| {
            asks.follow(&format!("{all}?watch=true&{begin}&fieldSelector=metadata.name%3D{name}"))
        };
        let made = asks.ok("POST", &all, &lease("a", "x"));
        for (name, count) in [("a", 1), ("b", 0)] {
            let lines = of(name);
            assert_eq!(told(&lines), vec![("ADDED".into(), "a".into(), version(&made)); count]);
            let mark = lines.iter().find(|line| {
                line["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"
            });
            let mark = mark.unwrap();
            assert_eq!(mark["type"], "BOOKMARK");
            assert!(version(&mark["object"]) >= version(&made), "{mark}");
        }
        let path = format!("{all}?watch=true&sendInitialEvents=true");
        asks.refuses(
            "GET",
            &path,
            &Value::Null,
            422,
            "sendInitialEvents requires setting resourceVersionMatch",
        );
    });
}

#[test]
fn a_watch_goes_on_after_the_version_it_names() {
    both(|asks, namespace| {
        let all = leases(namespace);
        let path = format!("{all}/a");
        let made = asks.ok("POST", &all, &lease("a", "x"));
        asks.ok("POST", &all, &lease("b", "x"));
        let put = asks.ok("PUT", &path, &held_by(&made, "y"));
        asks.ok("DELETE", &path, &json!({}));
        let again = asks.ok("POST", &all, &lease("a", "z"));
        let at = format!(
            "{all}?watch=true&fieldSelector=metadata.name%3Da&resourceVersion={}",
            version(&made)
        );
        let told = told(&asks.follow(&at));
        let [modified, deleted, added] = &told[..] else { panic!("{told:?}") };
        assert_eq!(*modified, ("MODIFIED".into(), "a".into(), version(&put)));
        assert_eq!((&*deleted.0, &*deleted.1), ("DELETED", "a"));
        // The deletion has a version of its own.
        assert!(version(&put) < deleted.2 && deleted.2 < version(&again), "{told:?}");
        assert_eq!(*added, ("ADDED".into(), "a".into(), version(&again)));
        asks.refuses(
            "GET",
            &format!("{all}?watch=true&resourceVersion=zz"),
            &Value::Null,
            500,
            "strconv.ParseUint",
        );
    });
}

#[test]
fn a_watch_tells_what_leaves_its_selection_as_deleted() {
    both(|asks, namespace| {
        let all = leases(namespace);
        let mut object = lease("a", "x");
        object["metadata"]["labels"] = json!({"l": "1"});
        let made = asks.ok("POST", &all, &object);
        let left =
            asks.ok("PATCH", &format!("{all}/a"), &json!({"metadata": {"labels": {"l": "2"}}}));
        asks.ok("PATCH", &format!("{all}/a"), &json!({"metadata": {"labels": {"m": "2"}}}));
        let back =
            asks.ok("PATCH", &format!("{all}/a"), &json!({"metadata": {"labels": {"l": "1"}}}));
        let at = format!("{all}?watch=true&labelSelector=l%3D1&resourceVersion={}", version(&made));
        let lines = asks.follow(&at);
        let a = |kind: &str, object: &Value| (kind.to_owned(), "a".to_owned(), version(object));
        assert_eq!(told(&lines), [a("DELETED", &left), a("ADDED", &back)]);
        assert_eq!(lines[0]["object"]["metadata"]["labels"]["l"], "1");
    });
}

#[test]
fn what_does_not_exist_is_told_apart() {
    both(|asks, namespace| {
        let none = leases("nowhere-at-all");
        asks.refuses(
            "POST",
            &none,
            &lease("a", "x"),
            404,
            "namespaces \"nowhere-at-all\" not found",
        );
        asks.refuses(
            "GET",
            &format!("{none}/a"),
            &Value::Null,
            404,
            "leases.coordination.k8s.io \"a\" not found",
        );
        let (code, list) = asks.send("GET", &none, JSON, None);
        assert_eq!((code, &list["items"]), (200, &json!([])));
        let things = format!("/apis/example.org/v1/namespaces/{namespace}/things");
        asks.refuses("GET", &format!("{things}/a"), &Value::Null, 404, "404 page not found");
        let things = leases(namespace).replace("leases", "things");
        asks.refuses(
            "GET",
            &things,
            &Value::Null,
            404,
            "the server could not find the requested resource",
        );
    });
}

#[test]
fn what_is_wrong_is_refused() {
    both(|asks, namespace| {
        let all = leases(namespace);
        asks.refuses(
            "POST",
            &all,
            &lease("A", "x"),
            422,
            "Lease.coordination.k8s.io \"A\" is invalid: metadata.name: Invalid value: \"A\"",
        );
        let zero = json!({"metadata": {"name": "a"}, "spec": {"leaseDurationSeconds": 0}});
        asks.refuses(
            "POST",
            &all,
            &zero,
            422,
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
        );
        let label = json!({"metadata": {"name": "a", "labels": {"l": "a b"}}});
        asks.refuses("POST", &all, &label, 422, "metadata.labels: Invalid value: \"a b\"");
        let empty = json!({"metadata": {"name": "empty", "labels": {"l": ""}}});
        asks.ok("POST", &all, &empty);
        let annotation = json!({"metadata": {"name": "a", "annotations": {"a b": "x"}}});
        asks.refuses(
            "POST",
            &all,
            &annotation,
            422,
            "metadata.annotations: Invalid value: \"a b\"",
        );
        let elsewhere = json!({"metadata": {"name": "a", "namespace": "other"}});
        asks.refuses(
            "POST",
            &all,
            &elsewhere,
            400,
            "the namespace of the provided object does not match",
        );
    });
}

#[test]
fn who_may_not_is_told_what_is_missing() {
    both(|asks, namespace| {
        let me = asks.somebody(namespace);
        let all = leases(namespace);
        let (mine, other) = (format!("{all}/mine"), format!("{all}/other"));
        let (code, _) = me.send("GET", &mine, JSON, None);
        assert_eq!(code, 404);
        let user = format!("system:serviceaccount:{namespace}:me");
        let said = |what: &str, verb: &str| {
            format!(
                "{what} is forbidden: User \"{user}\" cannot {verb} resource \"leases\" in API group \
                 \"coordination.k8s.io\" in the namespace \"{namespace}\""
            )
        };
        let leases = "leases.coordination.k8s.io";
        me.refuses("GET", &other, &Value::Null, 403, &said(&format!("{leases} \"other\""), "get"));
        me.refuses("PATCH", &mine, &json!({}), 403, &said(&format!("{leases} \"mine\""), "patch"));
        me.refuses("GET", &all, &Value::Null, 403, &said(leases, "list"));
        me.refuses("POST", &all, &lease("mine", "x"), 403, &said(leases, "create"));
        // A watch of one name needs no more than that name.
        assert!(
            me.follow(&format!("{all}?watch=true&fieldSelector=metadata.name%3Dmine")).is_empty()
        );
        me.refuses("GET", &format!("{all}?watch=true"), &Value::Null, 403, &said(leases, "watch"));
        asks.nobody().refuses("GET", &mine, &Value::Null, 401, "Unauthorized");
    });
}
