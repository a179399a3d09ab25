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

use serde_json::{Value, json};
use tenure_core::{Change, Record, Term, Version, Wall};

use crate::spec::{Entry, SECONDS_MAX, seconds};
use crate::{Refusal, Unreadable, meta, spec};

/// Where the mark stands.
pub const MARK: &str = spec::MARK;
/// Where the token stands.
pub const TOKEN: &str = spec::TOKEN;
/// What a release leaves as duration, as client-go does.
const RELEASED_SECONDS: u64 = 1;

/// What a Lease says.
///
/// A holder that leaves no mark of ours has token 0: it has none.
///
/// # Errors
/// Fields of another type than the API's, and a `resourceVersion` that is no number.
pub fn read(object: &Value) -> Result<(Record, Version), Unreadable> {
    let version = meta::version(object)?;
    let entry = Entry::read(object)?;
    if entry.holder.is_empty() {
        return Ok((Record::default(), version));
    }
    let term = entry.seconds.map_or(Term::Forever, |s| Term::Ttl(Duration::from_secs(s)));
    let holder = Some(entry.holder(object, version, term));
    Ok((Record { holder, ..Record::default() }, version))
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
    let first = Entry { transitions: Some(-1), ..Entry::default() };
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
    meta::lighten(&mut object);
    put(&mut object, &entry, change)?;
    Ok(object)
}

fn put(object: &mut Value, entry: &Entry, change: &Change) -> Result<(), Refusal> {
    let standing = entry.standing(object);
    let (entry, mark, token) = match change {
        Change::Take { tags, .. } if !tags.is_empty() => {
            return Err(Refusal::Unsupported(
                "a Lease has no place for tags: leave them out, or use format=configmap".into(),
            ));
        }
        Change::Take { holder, .. } => {
            let again = entry.holder == *holder.id;
            // Else the holder or the transitions show that it moved.
            let last = entry.renewed.filter(|_| again);
            let taken = Entry {
                holder: identity(&holder.id)?,
                seconds: Some(seconds(holder.term)?),
                acquired: Some(holder.since),
                renewed: Some(after(last, holder.renewed)),
                transitions: Some(counted(entry, again)),
            };
            (taken, Some(holder.mark), None)
        }
        Change::Renew { of, mark, token, term, renewed, .. } => {
            if entry.holder.is_empty() || standing != *of {
                return Err(Refusal::Conflict);
            }
            let seconds = Some(seconds(*term)?);
            let renewed = Some(after(entry.renewed, *renewed));
            (Entry { seconds, renewed, ..counting(entry) }, Some(*mark), Some(*token))
        }
        Change::Release { of, next: None, at, .. } => {
            if entry.holder.is_empty() || standing != *of {
                return Err(Refusal::Conflict);
            }
            let at = Some(*at);
            let (holder, seconds) = (String::new(), Some(RELEASED_SECONDS));
            let free = Entry { holder, seconds, acquired: at, renewed: at, ..counting(entry) };
            (free, None, None)
        }
        Change::Join { .. } | Change::Leave { .. } | Change::Release { .. } => {
            return Err(Refusal::Unsupported(
                "nobody can stand in line in a Lease: wait for the record".into(),
            ));
        }
    };
    entry.put(object, mark, token);
    Ok(())
}

/// The transitions after a take, by the holder of before or another.
fn counted(entry: &Entry, again: bool) -> i64 {
    let before = entry.transitions.unwrap_or(0);
    before.saturating_add(i64::from(!again)).min(SECONDS_MAX as i64)
}

/// The same entry, with its transitions written down.
fn counting(entry: &Entry) -> Entry {
    Entry { transitions: Some(entry.transitions.unwrap_or(0)), ..entry.clone() }
}

/// `now`, but a whole second after `last` at least, or nobody might see that anything moved. A time
/// that is far ahead is one of a clock that was wrong, and nothing is counted on from there: to go
/// back is to move, too, and the last time that a Lease can say has none after it.
fn after(last: Option<Wall>, now: Wall) -> Wall {
    const SECOND: u64 = 1_000_000;
    const FAR: u64 = 60 * SECOND;
    let is_near = |last: &Wall| last.as_micros() <= now.as_micros().saturating_add(FAR);
    let least = last.filter(is_near).map_or(0, |last| last.as_micros().saturating_add(SECOND));
    Wall::from_micros(now.as_micros().max(least))
}

fn identity(id: &str) -> Result<String, Refusal> {
    if id.is_empty() {
        return Err(Refusal::Invalid("an empty identity means a free Lease: give one".into()));
    }
    Ok(id.to_owned())
}
