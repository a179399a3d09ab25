//! The annotation in which kubelock keeps a lock on any object.
//!
//! The key is [`PREFIX`] and the lock's name; the value is JSON:
//!
//! | field | here |
//! |---|---|
//! | `owner` | the holder's identity; may be empty |
//! | `createdAt` | when it was taken or last renewed, by its own clock; missing: it has ended |
//! | `ttl` | its ttl in nanoseconds; not above zero: it has ended |
//! | `mark`, `token`, `since` | ours: Go ignores them, and leaves them out of what it writes |
//!
//! A release takes the annotation away. **Nothing but this key is ever sent**: a write is a patch of
//! it, for one state of the object.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tenure_core::{Change, Holder, Mark, Record, Session, Term, Time, Token, Version, Wall};
use twox_hash::XxHash3_128;

use crate::go::{Fields, Json, Mistyped, write};
use crate::time::shortest;
use crate::{Refusal, Unreadable, meta, seal};

/// What the key begins with.
pub const PREFIX: &str = "kubelock.giantswarm.io/";
/// The longest ttl, in nanoseconds: what Go has for a duration.
const TTL_MAX: u128 = i64::MAX as u128;

/// The key of a lock.
///
/// # Errors
/// [`Refusal::Invalid`] for a name that makes none that a server accepts.
pub fn key(lock: &str) -> Result<String, Refusal> {
    if meta::is_label_value(lock) {
        return Ok(format!("{PREFIX}{lock}"));
    }
    Err(Refusal::Invalid(
        "is no name of an annotation: give at most 63 letters, digits, `-`, `_` and `.`, \
         with a letter or digit at both ends"
            .into(),
    ))
}

/// What an object says of a lock: `None` if it has no such annotation. The version is that of the
/// object, and of this lock's place on it.
///
/// # Errors
/// A value that is not kubelock's, and a `resourceVersion` that is no number.
pub fn read(object: &Value, lock: &str) -> Result<(Option<Record>, Version), Unreadable> {
    let version = meta::version(object)?;
    let Some(text) = meta::annotation(object, &format!("{PREFIX}{lock}")) else {
        return Ok((None, placed(version, None)));
    };
    let holder = Entry::read(text)?.map(|entry| entry.holder(text, version));
    let placed = placed(version, holder.as_ref());
    Ok((Some(Record { holder, ..Record::default() }), placed))
}

/// The names of the locks on an object.
pub fn locks(object: &Value) -> impl Iterator<Item = &str> {
    let annotations = meta::member_of(object, "metadata", "annotations");
    annotations.into_iter().flat_map(Map::keys).filter_map(|key| key.strip_prefix(PREFIX))
}

/// The merge patch that carries out `change` on `object`, which was judged, and on no other state of
/// it.
///
/// # Errors
/// [`Refusal::Conflict`] if the hold to renew or release is not the one in `object`; others for what
/// the format cannot say.
pub fn patch(object: &Value, lock: &str, change: &Change) -> Result<Value, Refusal> {
    let key = key(lock)?;
    let text = meta::annotation(object, &key);
    let entry = text.map(Entry::read).transpose()?.flatten();
    let value = written(entry.as_ref(), text.unwrap_or_default(), change)?;
    Ok(only(object, &key, value.map_or(Value::Null, Value::String)))
}

/// The merge patch that takes the annotation away from `object`, and from no other state of it.
#[must_use]
pub fn cleared(object: &Value, lock: &str) -> Value {
    only(object, &format!("{PREFIX}{lock}"), Value::Null)
}

fn only(object: &Value, key: &str, value: Value) -> Value {
    let of = |field| meta::text(object, field).unwrap_or_default();
    json!({"metadata": {
        "uid": of("uid"),
        "resourceVersion": of("resourceVersion"),
        "annotations": {key: value},
    }})
}

/// The version of a lock's place: each hold there is an incarnation of its own, since the object
/// stays while the annotation comes and goes.
fn placed(version: Version, holder: Option<&Holder>) -> Version {
    let mut place = version.incarnation.to_le_bytes().to_vec();
    place.extend_from_slice(&holder.map_or(0, |h| h.since.as_micros()).to_le_bytes());
    place.extend_from_slice(holder.map_or("", |h| &h.id).as_bytes());
    Version { incarnation: XxHash3_128::oneshot(&place), ..version }
}

/// What the value says, if it says that somebody holds or held.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    owner: String,
    created: Wall,
    ttl: i64,
    own: Option<Own>,
}

/// What only we write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Own {
    mark: Mark,
    token: Option<Token>,
    since: Wall,
}

impl Entry {
    /// Reads a value; `None` for one that Go takes for a lock that ended long ago.
    fn read(text: &str) -> Result<Option<Self>, Unreadable> {
        let not = |what: &dyn std::fmt::Display| {
            Unreadable(format!("its annotation is not kubelock's: {what}"))
        };
        let fields = match Json::parse(text).map_err(|e| not(&e))? {
            Json::Null => return Ok(None),
            Json::Object(fields) => fields,
            _ => return Err(not(&"it is no object")),
        };
        let entry = Self::of(&fields);
        entry.map_err(|Mistyped(field)| not(&format!("{field} is not what belongs there")))
    }

    fn of(fields: &Fields) -> Result<Option<Self>, Mistyped> {
        let owner = fields.text("owner")?.unwrap_or_default().to_owned();
        let ttl = fields.integer("ttl")?.unwrap_or(0);
        let Some(created) = fields.time("createdAt")? else { return Ok(None) };
        let mut entry = Self { owner, created, ttl, own: None };
        // Of ours, what cannot be read is not there: Go does not look at it either.
        let mark = fields.text("mark").ok().flatten();
        if let Some(mark) = mark.and_then(|mark| seal::read(mark, &entry.sealed())) {
            let token = fields.integer("token").ok().flatten().and_then(|n| u64::try_from(n).ok());
            let since = fields.time("since").ok().flatten().unwrap_or(created);
            entry.own = Some(Own { mark, token: token.map(Token::new), since });
        }
        Ok(Some(entry))
    }

    /// What a mark is sealed to.
    fn sealed(&self) -> Vec<u8> {
        let mut bytes = self.created.as_micros().to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.ttl.to_le_bytes());
        bytes.extend_from_slice(self.owner.as_bytes());
        bytes
    }

    fn standing(&self, text: &str) -> Mark {
        self.own.map_or_else(|| seal::foreign(text.as_bytes()), |own| own.mark)
    }

    fn holder(&self, text: &str, version: Version) -> Holder {
        let token = self.own.map(|own| own.token.unwrap_or(Token::new(version.revision)));
        Holder {
            id: self.owner.as_str().into(),
            mark: self.standing(text),
            session: Session::NONE,
            token: token.unwrap_or_default(),
            term: Term::Ttl(Duration::from_nanos(self.ttl.max(0).cast_unsigned())),
            ticket: 0,
            since: self.own.map_or(self.created, |own| own.since),
            renewed: self.created,
            stamp: Time::ZERO,
        }
    }

    fn text(&self) -> String {
        let mut fields = vec![
            ("owner", Json::Text(self.owner.clone())),
            ("createdAt", Json::Text(shortest(self.created))),
            ("ttl", Json::Number(self.ttl.into())),
        ];
        if let Some(Own { mark, token, since }) = self.own {
            fields.push(("mark", Json::Text(seal::write(mark, &self.sealed()))));
            fields.extend(token.map(|token| ("token", Json::Number(token.get().into()))));
            if since != self.created {
                fields.push(("since", Json::Text(shortest(since))));
            }
        }
        write(fields)
    }
}

/// The value after `change`; `None`: there is none.
fn written(entry: Option<&Entry>, text: &str, change: &Change) -> Result<Option<String>, Refusal> {
    let standing = |of: &Mark| entry.filter(|e| e.standing(text) == *of).ok_or(Refusal::Conflict);
    match change {
        Change::Take { tags, .. } if !tags.is_empty() => Err(Refusal::Unsupported(
            "an annotation has no place for tags: leave them out, or use format=configmap".into(),
        )),
        Change::Take { holder, .. } => {
            let Holder { mark, since, renewed, .. } = *holder;
            let own = Some(Own { mark, token: None, since });
            let (owner, ttl) = (holder.id.to_string(), nanos(holder.term)?);
            Ok(Some(Entry { owner, created: renewed, ttl, own }.text()))
        }
        Change::Renew { of, mark, token, term, renewed, .. } => {
            let entry = standing(of)?;
            let since = entry.own.map_or(entry.created, |own| own.since);
            let token = Some(*token).filter(|token| token.get() > 0);
            let own = Some(Own { mark: *mark, token, since });
            let (owner, ttl) = (entry.owner.clone(), nanos(*term)?);
            Ok(Some(Entry { owner, created: *renewed, ttl, own }.text()))
        }
        Change::Release { of, next: None, .. } => standing(of).map(|_| None),
        Change::Join { .. } | Change::Leave { .. } | Change::Release { .. } => Err(
            Refusal::Unsupported("nobody can stand in line in an annotation: wait for it".into()),
        ),
    }
}

fn nanos(term: Term) -> Result<i64, Refusal> {
    let Term::Ttl(ttl) = term else {
        return Err(Refusal::Unsupported("this lock always ends by time: give a ttl".into()));
    };
    let nanos = ttl.as_nanos();
    if nanos == 0 || nanos > TTL_MAX {
        let what = format!("a ttl of {ttl:?}: the annotation stores 1 ns to 292 years");
        return Err(Refusal::Invalid(what));
    }
    Ok(i64::try_from(nanos).unwrap_or(i64::MAX))
}
