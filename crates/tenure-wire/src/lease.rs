//! `coordination.k8s.io/v1` Lease, as client-go's leader election (and so leaselock) keeps it.
//!
//! | field | here |
//! |---|---|
//! | `spec.holderIdentity` | the holder's identity; empty or missing: free |
//! | `spec.leaseDurationSeconds` | its ttl, rounded up; missing: the hold has no end |
//! | `spec.acquireTime`, `spec.renewTime` | its own clock's; hints |
//! | `spec.leaseTransitions` | one more with every take of a record that does not name the taker |
//! | annotation `tenure.dev/mark` | mark of the last write, counts while it fits the spec |
//! | annotation `tenure.dev/token` | the fencing token, from the first renewal on |
//!
//! **Every renewal moves `renewTime` by a whole second at least**: client-go compares whole seconds
//! and takes anything less for silence.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tenure_core::{Change, Holder, Mark, Record, Session, Term, Time, Token, Version, Wall};

use crate::time::{Fraction, micro, parse};
use crate::{Refusal, Unreadable, meta, seal};

/// Where the mark stands.
pub const MARK: &str = "tenure.dev/mark";
/// Where the token stands.
pub const TOKEN: &str = "tenure.dev/token";
/// The longest duration the format has.
const SECONDS_MAX: u64 = i32::MAX as u64;
/// What a release leaves as duration, as client-go does.
const RELEASED_SECONDS: u64 = 1;

/// The part of the spec that says who holds, and how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    holder: String,
    seconds: Option<u64>,
    acquired: Option<Wall>,
    renewed: Option<Wall>,
    transitions: i64,
}

impl Entry {
    fn read(object: &Value) -> Result<Self, Unreadable> {
        let spec = match object.get("spec") {
            None | Some(Value::Null) => return Ok(Self::default()),
            Some(Value::Object(spec)) => spec,
            Some(_) => return Err(Unreadable("its spec is no object".into())),
        };
        Ok(Self {
            holder: text(spec, "holderIdentity")?.unwrap_or_default().to_owned(),
            seconds: match number(spec, "leaseDurationSeconds")? {
                None | Some(0) => None,
                Some(n) => Some(u64::try_from(n).map_err(|_| wrong("leaseDurationSeconds"))?),
            },
            acquired: moment(spec, "acquireTime")?,
            renewed: moment(spec, "renewTime")?,
            transitions: number(spec, "leaseTransitions")?.unwrap_or(0),
        })
    }

    fn write(&self, object: &mut Value) {
        let Some(spec) = meta::member(object, "spec") else { return };
        let time = |at: Option<Wall>| at.map_or(Value::Null, |at| micro(at).into());
        spec.insert("holderIdentity".into(), self.holder.clone().into());
        spec.insert("leaseDurationSeconds".into(), self.seconds.into());
        spec.insert("acquireTime".into(), time(self.acquired));
        spec.insert("renewTime".into(), time(self.renewed));
        spec.insert("leaseTransitions".into(), self.transitions.into());
    }

    /// What a mark is sealed to.
    fn sealed(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.holder.len() + 40);
        let micros = |at: Option<Wall>| at.map_or(u64::MAX, Wall::as_micros);
        for part in [
            self.seconds.unwrap_or(0),
            micros(self.acquired),
            micros(self.renewed),
            self.transitions.cast_unsigned(),
        ] {
            bytes.extend_from_slice(&part.to_le_bytes());
        }
        bytes.extend_from_slice(self.holder.as_bytes());
        bytes
    }

    fn mark(&self, object: &Value) -> Option<Mark> {
        seal::read(meta::annotation(object, MARK)?, &self.sealed())
    }

    fn record(&self, object: &Value, version: Version) -> Record {
        if self.holder.is_empty() {
            return Record::default();
        }
        let own = self.mark(object);
        let token = own.map_or(0, |_| {
            let written = meta::annotation(object, TOKEN).and_then(|token| token.parse().ok());
            written.unwrap_or(version.revision)
        });
        let holder = Holder {
            id: self.holder.as_str().into(),
            mark: own.unwrap_or_else(|| seal::foreign(&self.sealed())),
            session: Session::NONE,
            token: Token::new(token),
            term: self.seconds.map_or(Term::Forever, |s| Term::Ttl(Duration::from_secs(s))),
            ticket: 0,
            since: self.acquired.unwrap_or_default(),
            renewed: self.renewed.unwrap_or_default(),
            stamp: Time::ZERO,
        };
        Record { holder: Some(holder), ..Record::default() }
    }
}

/// What a Lease says.
///
/// A holder that leaves no mark of ours has token 0: it has none.
///
/// # Errors
/// Fields of another type than the API's, and a `resourceVersion` that is no number.
pub fn read(object: &Value) -> Result<(Record, Version), Unreadable> {
    let version = meta::version(object)?;
    Ok((Entry::read(object)?.record(object, version), version))
}

/// The Lease to create for `change`, which takes a lock that has none.
///
/// # Errors
/// See [`changed`].
pub fn created(namespace: &str, name: &str, change: &Change) -> Result<Value, Refusal> {
    let mut object = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": namespace},
    });
    let Change::Take { .. } = change else { return Err(Refusal::Conflict) };
    let first = Entry { transitions: -1, ..Entry::default() };
    put(&mut object, &first, change)?;
    Ok(object)
}

/// The Lease to put in the place of `object`, which was judged. Whatever is not the lock's stays.
///
/// # Errors
/// [`Refusal::Conflict`] if the hold to renew or release is not the one in `object`; others for what
/// the format cannot say.
pub fn changed(object: &Value, change: &Change) -> Result<Value, Refusal> {
    let entry = Entry::read(object)?;
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    put(&mut object, &entry, change)?;
    Ok(object)
}

fn put(object: &mut Value, entry: &Entry, change: &Change) -> Result<(), Refusal> {
    let standing = entry.mark(object).unwrap_or_else(|| seal::foreign(&entry.sealed()));
    let (entry, mark, token) = match change {
        Change::Take { tags, .. } if !tags.is_empty() => {
            return Err(Refusal::Unsupported(
                "a Lease has no place for tags: leave them out, or use format=configmap".into(),
            ));
        }
        Change::Take { holder, .. } => {
            let again = entry.holder == *holder.id;
            let taken = Entry {
                holder: identity(&holder.id)?,
                seconds: Some(seconds(holder.term)?),
                acquired: Some(holder.since),
                renewed: Some(after(entry.renewed, holder.renewed)),
                transitions: entry
                    .transitions
                    .saturating_add(i64::from(!again))
                    .min(SECONDS_MAX as i64),
            };
            (taken, Some(holder.mark), None)
        }
        Change::Renew { of, mark, token, term, renewed, .. } => {
            if entry.holder.is_empty() || standing != *of {
                return Err(Refusal::Conflict);
            }
            let seconds = Some(seconds(*term)?);
            let renewed = Some(after(entry.renewed, *renewed));
            (Entry { seconds, renewed, ..entry.clone() }, Some(*mark), Some(*token))
        }
        Change::Release { of, next: None, at, .. } => {
            if entry.holder.is_empty() || standing != *of {
                return Err(Refusal::Conflict);
            }
            let at = Some(after(entry.renewed, *at));
            let (holder, seconds) = (String::new(), Some(RELEASED_SECONDS));
            let transitions = entry.transitions;
            (Entry { holder, seconds, acquired: at, renewed: at, transitions }, None, None)
        }
        Change::Join { .. } | Change::Leave { .. } | Change::Release { .. } => {
            return Err(Refusal::Unsupported(
                "nobody can stand in line in a Lease: wait for the record".into(),
            ));
        }
    };
    entry.write(object);
    meta::set_annotation(object, MARK, mark.map(|mark| seal::write(mark, &entry.sealed())));
    meta::set_annotation(object, TOKEN, token.filter(|t| t.get() > 0).map(|t| t.to_string()));
    Ok(())
}

/// `now`, but a whole second after `last` at least, or nobody might see that anything moved.
fn after(last: Option<Wall>, now: Wall) -> Wall {
    const SECOND: u64 = 1_000_000;
    let least = last.map_or(0, |last| last.as_micros().saturating_add(SECOND));
    Wall::from_micros(now.as_micros().max(least))
}

fn identity(id: &str) -> Result<String, Refusal> {
    if id.is_empty() {
        return Err(Refusal::Invalid("an empty identity means a free Lease: give one".into()));
    }
    Ok(id.to_owned())
}

/// The ttl in whole seconds, rounded up: never less than was asked for.
fn seconds(term: Term) -> Result<u64, Refusal> {
    let Term::Ttl(ttl) = term else {
        return Err(Refusal::Unsupported("a Lease always ends by time: give a ttl".into()));
    };
    let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    if !(1..=SECONDS_MAX).contains(&seconds) {
        let what = format!("a ttl of {ttl:?}: a Lease stores 1 s to {SECONDS_MAX} s");
        return Err(Refusal::Invalid(what));
    }
    Ok(seconds)
}

fn wrong(field: &str) -> Unreadable {
    Unreadable(format!("its spec.{field} is not what a Lease has there"))
}

fn text<'a>(spec: &'a Map<String, Value>, field: &str) -> Result<Option<&'a str>, Unreadable> {
    match spec.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong(field)),
    }
}

fn number(spec: &Map<String, Value>, field: &str) -> Result<Option<i64>, Unreadable> {
    match spec.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let n = value.as_i64().filter(|n| i32::try_from(*n).is_ok());
            n.map(Some).ok_or_else(|| wrong(field))
        }
    }
}

fn moment(spec: &Map<String, Value>, field: &str) -> Result<Option<Wall>, Unreadable> {
    let moment = |text| parse(text, Fraction::Six).ok_or_else(|| wrong(field));
    text(spec, field)?.map(moment).transpose()
}
