//! The Lease of a janus transaction: one for each resource that it touches.
//!
//! | field | here |
//! |---|---|
//! | `spec.holderIdentity` | the transaction; empty or missing: one that is called `""` |
//! | `spec.leaseDurationSeconds` | its ttl, rounded up; missing: it has ended |
//! | `spec.acquireTime`, `spec.renewTime` | its own clock's; without `renewTime` it has ended |
//! | label `janus.io/transaction` | the transaction, where it makes a valid label |
//! | annotations `tenure.dev/mark`, `tenure.dev/token` | as in a Lease of client-go |
//! | annotation `tenure.dev/lock` | the lock's name, where the Lease's does not tell it |
//!
//! Nobody holds what has no Lease: a release deletes it. **A Lease always carries a label**: the Go
//! program ends when it takes over one that has none.

use serde_json::{Value, json};
use tenure_core::{Change, Holder, Record, Term, Version};
use twox_hash::XxHash3_128;

use crate::spec::{Entry, seconds};
use crate::{Refusal, Unreadable, meta};

/// The label that each of these Leases has, and its value.
pub const MANAGED: (&str, &str) = ("app.kubernetes.io/managed-by", "janus");
/// The label that names the transaction.
pub const TRANSACTION: &str = "janus.io/transaction";
/// Where the lock's name stands if it cannot be told from the Lease's.
const LOCK: &str = "tenure.dev/lock";
/// The longest name of an object.
const NAME_MAX: usize = 253;

/// A resource that transactions lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The namespace of its Lease: its own.
    pub namespace: String,
    /// Its kind, in lower case.
    pub kind: String,
    /// Its name, in lower case.
    pub name: String,
}

impl Target {
    /// Reads `NAMESPACE/KIND/NAME`. Case does not count, as in the Go program.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        let (namespace, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
        let plain = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric());
        let valid = meta::is_label(namespace) && plain && !name.is_empty() && !name.contains('/');
        let (kind, name) = (kind.to_lowercase(), name.to_lowercase());
        valid.then(|| Self { namespace: namespace.to_owned(), kind, name })
    }

    /// The name of its Lease: that of the Go program where an object can have it. Where not, the
    /// Go program could not create it either, and the rest is a digest: `janus-lock-` and 32 digits.
    #[must_use]
    pub fn lease(&self) -> String {
        let Self { namespace, kind, name } = self;
        let full = format!("janus-lock-{namespace}-{kind}-{name}");
        if full.len() <= NAME_MAX && meta::is_subdomain(&full) {
            return full;
        }
        format!("janus-lock-{:032x}", XxHash3_128::oneshot(full.as_bytes()))
    }

    /// The lock's name.
    #[must_use]
    pub fn lock(&self) -> String {
        let Self { namespace, kind, name } = self;
        format!("{namespace}/{kind}/{name}")
    }

    /// What a Lease is for; `None` if it says nothing of it.
    #[must_use]
    pub fn of(object: &Value) -> Option<Self> {
        let namespace = meta::text(object, "namespace")?;
        let lease = meta::text(object, "name")?;
        if let Some(lock) = meta::annotation(object, LOCK) {
            return Self::parse(lock).filter(|t| t.namespace == namespace && t.lease() == lease);
        }
        let rest = lease.strip_prefix("janus-lock-")?.strip_prefix(namespace)?.strip_prefix('-')?;
        let (kind, name) = rest.split_once('-')?;
        Self::parse(&format!("{namespace}/{kind}/{name}")).filter(|t| t.lease() == lease)
    }
}

/// What is to become of the Lease.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// It is replaced by this one.
    Put(Value),
    /// It is deleted.
    Deleted,
}

/// What a Lease says: always a holder, if only one that has ended.
///
/// # Errors
/// Fields of another type than the API's, and a `resourceVersion` that is no number.
pub fn read(object: &Value) -> Result<(Record, Version), Unreadable> {
    let version = meta::version(object)?;
    let entry = Entry::read(object)?;
    let (seconds, renewed) = entry.seconds.zip(entry.renewed).unwrap_or_default();
    let term = Term::Ttl(std::time::Duration::from_secs(seconds));
    // Without both it has ended, and looks like it.
    let holder = Holder { renewed, ..entry.holder(object, version, term) };
    Ok((Record { holder: Some(holder), ..Record::default() }, version))
}

/// The Lease to create for `change`, which takes a lock that has none.
///
/// # Errors
/// See [`changed`].
pub fn created(target: &Target, change: &Change) -> Result<Value, Refusal> {
    let Change::Take { .. } = change else { return Err(Refusal::Conflict) };
    let mut object = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": target.lease(), "namespace": target.namespace},
    });
    if Target::of(&object).as_ref() != Some(target) {
        meta::set_annotation(&mut object, LOCK, Some(target.lock()));
    }
    match put(object, &Entry::default(), change)? {
        Written::Put(object) => Ok(object),
        Written::Deleted => Err(Refusal::Conflict),
    }
}

/// What to do with `object`, which was judged. Whatever is not the lock's stays.
///
/// # Errors
/// [`Refusal::Conflict`] if the hold to renew or release is not the one in `object`; others for what
/// the format cannot say.
pub fn changed(object: &Value, change: &Change) -> Result<Written, Refusal> {
    let entry = Entry::read(object)?;
    let mut object = object.clone();
    meta::lighten(&mut object);
    put(object, &entry, change)
}

fn put(mut object: Value, entry: &Entry, change: &Change) -> Result<Written, Refusal> {
    let standing = entry.standing(&object);
    let (entry, mark, token) = match change {
        Change::Take { tags, .. } if !tags.is_empty() => {
            return Err(Refusal::Unsupported(
                "a transaction's Lease has no place for tags: leave them out".into(),
            ));
        }
        Change::Take { holder, .. } => {
            if holder.id.is_empty() {
                let what = "an empty name is no transaction's: give one";
                return Err(Refusal::Invalid(what.into()));
            }
            // A transaction that goes on keeps what it had.
            let again = *holder.id == *entry.holder && entry.acquired.is_some();
            if !again {
                label(&mut object, &holder.id);
            }
            let taken = Entry {
                holder: holder.id.to_string(),
                seconds: Some(seconds(holder.term)?),
                acquired: entry.acquired.filter(|_| again).or(Some(holder.since)),
                renewed: Some(holder.renewed),
                transitions: entry.transitions,
            };
            (taken, holder.mark, None)
        }
        Change::Renew { of, mark, token, term, renewed, .. } => {
            if standing != *of {
                return Err(Refusal::Conflict);
            }
            let seconds = Some(seconds(*term)?);
            (Entry { seconds, renewed: Some(*renewed), ..entry.clone() }, *mark, Some(*token))
        }
        Change::Release { of, next: None, .. } => {
            return if standing == *of { Ok(Written::Deleted) } else { Err(Refusal::Conflict) };
        }
        Change::Join { .. } | Change::Leave { .. } | Change::Release { .. } => {
            return Err(Refusal::Unsupported(
                "nobody can stand in line in a Lease: wait for the record".into(),
            ));
        }
    };
    if meta::member_of(&object, "metadata", "labels").is_none_or(serde_json::Map::is_empty) {
        meta::set_label(&mut object, MANAGED.0, Some(MANAGED.1));
    }
    entry.put(&mut object, Some(mark), token);
    Ok(Written::Put(object))
}

/// The labels of a Lease that a transaction takes.
fn label(object: &mut Value, transaction: &str) {
    meta::set_label(object, MANAGED.0, Some(MANAGED.1));
    let valid = meta::is_label_value(transaction);
    meta::set_label(object, TRANSACTION, valid.then_some(transaction));
}
