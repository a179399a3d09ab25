//! The objects, under one counter of versions, and what happened to them.
//!
//! **A write happens whole or not at all, and each one moves the counter, but one that changes
//! nothing.** A version is never given twice: it grows across deletion and creation too.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::path::{Place, Query, Resource};
use super::selector::Selector;
use super::status::{self, Status};
use super::valid;

/// Where an object is: resource, namespace, name.
pub(super) type Key = (Resource, String, String);

/// What happened to one object.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) revision: u64,
    pub(super) key: Key,
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
}

#[derive(Debug)]
pub(super) struct Objects {
    revision: u64,
    uids: u64,
    now: BTreeMap<Key, Value>,
    history: Vec<Event>,
    /// What happened up to here is forgotten.
    compacted: u64,
    /// Stands before each version, so that it is no number.
    pub(super) odd: Option<&'static str>,
}

impl Objects {
    pub(super) fn new() -> Self {
        let (now, history) = (BTreeMap::new(), Vec::new());
        Self { revision: 1, uids: 0, now, history, compacted: 1, odd: None }
    }

    pub(super) const fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn compact(&mut self) {
        self.compacted = self.revision;
        self.history.clear();
    }

    pub(super) const fn is_forgotten(&self, revision: u64) -> bool {
        revision < self.compacted
    }

    /// What happened after this version, in order.
    pub(super) fn since(&self, revision: u64) -> &[Event] {
        let from = self.history.partition_point(|event| event.revision <= revision);
        &self.history[from..]
    }

    pub(super) fn version(&self, revision: u64) -> String {
        format!("{}{revision}", self.odd.unwrap_or_default())
    }

    /// What stands at a place, in order of names.
    pub(super) fn all<'a>(&'a self, place: &'a Place) -> impl Iterator<Item = &'a Value> {
        self.now.iter().filter(|(key, _)| is_at(key, place)).map(|(_, object)| object)
    }

    fn key(place: &Place, name: &str) -> Key {
        (place.resource.clone(), place.namespace.clone(), name.to_owned())
    }

    pub(super) fn get(&self, place: &Place) -> Result<Value, Status> {
        let found = self.now.get(&Self::key(place, place.name()));
        found.cloned().ok_or_else(|| status::missing(place))
    }

    /// One page of what stands at a place, as of the version of the first page.
    pub(super) fn list(&self, place: &Place, query: &Query) -> Result<Value, Status> {
        let selector = Selector::parse(query.get("fieldSelector"), query.get("labelSelector"))?;
        let (revision, from) = match query.get("continue") {
            "" => (self.revision, None),
            token => {
                let parsed = token.split_once(':');
                let parsed = parsed.and_then(|(at, from)| Some((at.parse().ok()?, from)));
                let (at, from) = parsed
                    .ok_or_else(|| status::bad(format!("continue key is not valid: {token}")))?;
                if self.is_forgotten(at) {
                    return Err(status::expired());
                }
                (at, Some(from.to_owned()))
            }
        };
        let mut then = self.now.clone();
        for event in self.since(revision).iter().rev() {
            match &event.before {
                Some(before) => then.insert(event.key.clone(), before.clone()),
                None => then.remove(&event.key),
            };
        }
        let place_of = |key: &Key| format!("{}/{}", key.1, key.2);
        let mut items: Vec<(String, Value)> = then
            .into_iter()
            .filter(|(key, object)| is_at(key, place) && selector.meets(object))
            .map(|(key, object)| (place_of(&key), object))
            .filter(|(at, _)| from.as_ref().is_none_or(|from| at > from))
            .collect();
        let mut meta = json!({"resourceVersion": self.version(revision)});
        let limit = query.number("limit").filter(|limit| *limit > 0);
        let limit = limit.map_or(usize::MAX, |limit| limit as usize);
        if items.len() > limit {
            let last = &items[limit - 1].0;
            meta["continue"] = json!(format!("{revision}:{last}"));
            // Whoever selects is not told how many are left.
            if query.get("fieldSelector").is_empty() && query.get("labelSelector").is_empty() {
                meta["remainingItemCount"] = json!(items.len() - limit);
            }
            items.truncate(limit);
        }
        let bare = |(_, mut object): (String, Value)| {
            if let Some(object) = object.as_object_mut() {
                object.remove("kind");
                object.remove("apiVersion");
            }
            object
        };
        let items: Vec<Value> = items.into_iter().map(bare).collect();
        let kind = format!("{}List", place.resource.kind);
        let api = place.resource.api_version();
        Ok(json!({"kind": kind, "apiVersion": api, "metadata": meta, "items": items}))
    }

    pub(super) fn create(&mut self, place: &Place, body: Value) -> Result<Value, Status> {
        let name = text(&body, "name").to_owned();
        if place.resource.namespaced && !self.knows(&place.namespace) {
            return Err(status::no_namespace(&place.namespace));
        }
        valid::check(place, &name, &body)?;
        if !text(&body, "resourceVersion").is_empty() {
            return Err(status::odd("resourceVersion should not be set on objects to be created"));
        }
        let key = Self::key(place, &name);
        if self.now.contains_key(&key) {
            return Err(status::exists(place, &name));
        }
        Ok(self.made(place, key, body))
    }

    /// Replaces an object; whether it was created.
    pub(super) fn update(&mut self, place: &Place, body: Value) -> Result<(bool, Value), Status> {
        let name = text(&body, "name");
        if name != place.name() {
            return Err(status::bad(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                place.name()
            )));
        }
        let key = Self::key(place, place.name());
        let Some(is) = self.now.get(&key).cloned() else {
            if !place.resource.puts_create {
                return Err(status::missing(place));
            }
            same_uid(place, &body, "")?;
            if !self.knows(&place.namespace) {
                return Err(status::no_namespace(&place.namespace));
            }
            valid::check(place, place.name(), &body)?;
            return Ok((true, self.made(place, key, body)));
        };
        same_uid(place, &body, text(&is, "uid"))?;
        if place.resource.versioned && text(&body, "resourceVersion").is_empty() {
            let what =
                "metadata.resourceVersion: Invalid value: 0: must be specified for an update";
            return Err(status::unversioned(place, what));
        }
        self.replace(place, key, &is, body).map(|object| (false, object))
    }

    /// Merges a patch into an object.
    pub(super) fn patch(&mut self, place: &Place, patch: &Value) -> Result<Value, Status> {
        let is = self.get(place)?;
        let mut object = is.clone();
        if let Some(meta) = object["metadata"].as_object_mut() {
            meta.remove("resourceVersion");
        }
        merge(&mut object, patch);
        self.replace(place, Self::key(place, place.name()), &is, object)
    }

    fn replace(
        &mut self,
        place: &Place,
        key: Key,
        is: &Value,
        mut object: Value,
    ) -> Result<Value, Status> {
        let (known, named) = (text(is, "resourceVersion"), text(&object, "resourceVersion"));
        if !named.is_empty() && named != known {
            if named.parse::<u64>().is_err() && self.odd.is_none() {
                let why = format!("strconv.ParseUint: parsing {named:?}: invalid syntax");
                return Err(status::odd(&why));
            }
            let why = "the object has been modified; please apply your changes to the latest \
                       version and try again";
            return Err(status::conflict(place, why));
        }
        let uid = text(&object, "uid");
        if !uid.is_empty() && uid != text(is, "uid") {
            let what = format!("metadata.uid: Invalid value: {uid:?}: field is immutable");
            return Err(status::invalid(place, place.name(), &what));
        }
        valid::check(place, place.name(), &object)?;
        for field in ["uid", "creationTimestamp", "resourceVersion", "namespace"] {
            let value = is["metadata"].get(field).cloned();
            set(&mut object, field, value);
        }
        self.typed(place, &mut object);
        if object == *is {
            return Ok(object);
        }
        Ok(self.stored(key, Some(is.clone()), object))
    }

    pub(super) fn delete(&mut self, place: &Place, options: &Value) -> Result<Value, Status> {
        let is = self.get(place)?;
        let wanted = |field: &str| options["preconditions"][field].as_str();
        let (uid, version) = (text(&is, "uid"), text(&is, "resourceVersion"));
        if let Some(wanted) = wanted("uid").filter(|wanted| *wanted != uid) {
            return Err(status::precondition(
                place,
                &format!(
                    "the UID in the precondition ({wanted}) does not match the UID in record \
                     ({uid}). The object might have been deleted and then recreated"
                ),
            ));
        }
        if let Some(wanted) = wanted("resourceVersion").filter(|wanted| *wanted != version) {
            return Err(status::precondition(
                place,
                &format!(
                    "the ResourceVersion in the precondition ({wanted}) does not match the \
                     ResourceVersion in record ({version}). The object might have been modified"
                ),
            ));
        }
        let details = json!({"name": place.name(), "kind": place.resource.plural, "uid": uid});
        let key = Self::key(place, place.name());
        self.now.remove(&key);
        self.revision += 1;
        // What was deleted is told with the version of its deletion.
        let mut last = is.clone();
        set(&mut last, "resourceVersion", Some(json!(self.version(self.revision))));
        self.happened(key, Some(last), None);
        Ok(json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": details,
        }))
    }

    fn knows(&self, namespace: &str) -> bool {
        self.now
            .keys()
            .any(|(resource, _, name)| resource.plural == "namespaces" && name == namespace)
    }

    fn made(&mut self, place: &Place, key: Key, mut object: Value) -> Value {
        self.uids += 1;
        let uid = format!("00000000-0000-4000-8000-{:012x}", self.uids);
        set(&mut object, "uid", Some(json!(uid)));
        set(&mut object, "creationTimestamp", Some(json!("2026-01-01T00:00:00Z")));
        let namespace = (!place.namespace.is_empty()).then(|| json!(place.namespace));
        set(&mut object, "namespace", namespace);
        self.typed(place, &mut object);
        self.stored(key, None, object)
    }

    #[expect(clippy::unused_self, reason = "beside its siblings")]
    fn typed(&self, place: &Place, object: &mut Value) {
        object["kind"] = json!(place.resource.kind);
        object["apiVersion"] = json!(place.resource.api_version());
    }

    fn stored(&mut self, key: Key, before: Option<Value>, mut object: Value) -> Value {
        self.revision += 1;
        set(&mut object, "resourceVersion", Some(json!(self.version(self.revision))));
        self.now.insert(key.clone(), object.clone());
        self.happened(key, before, Some(object.clone()));
        object
    }

    fn happened(&mut self, key: Key, before: Option<Value>, after: Option<Value>) {
        self.history.push(Event { revision: self.revision, key, before, after });
    }
}

pub(super) fn is_at(key: &Key, place: &Place) -> bool {
    key.0 == place.resource
        && (place.namespace.is_empty() || key.1 == place.namespace)
        && place.name.as_ref().is_none_or(|name| *name == key.2)
}

fn same_uid(place: &Place, body: &Value, is: &str) -> Result<(), Status> {
    let named = text(body, "uid");
    if named.is_empty() || named == is {
        return Ok(());
    }
    let why = format!(
        "StorageError: invalid object, Code: 4, ResourceVersion: 0, AdditionalErrorMsg: \
         Precondition failed: UID in precondition: {named}, UID in object meta: {is}"
    );
    Err(status::conflict(place, &why))
}

pub(super) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

fn set(object: &mut Value, field: &str, value: Option<Value>) {
    let Some(object) = object.as_object_mut() else { return };
    let meta = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    let Some(meta) = meta.as_object_mut() else { return };
    match value {
        Some(value) => meta.insert(field.to_owned(), value),
        None => meta.remove(field),
    };
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(target) = target.as_object_mut() else { return };
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.remove(key);
            }
            value => merge(target.entry(key.clone()).or_insert(Value::Null), value),
        }
    }
}
