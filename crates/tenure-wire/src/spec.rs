//! The spec of a Lease: who holds it and how long, in the formats that are Leases.

use serde_json::{Map, Value};
use tenure_core::{Holder, Mark, Session, Term, Time, Token, Version, Wall};

use crate::time::{Fraction, micro, parse};
use crate::{Refusal, Unreadable, meta, seal};

/// Where the mark stands.
pub(crate) const MARK: &str = "tenure.dev/mark";
/// Where the token stands.
pub(crate) const TOKEN: &str = "tenure.dev/token";
/// The longest duration a Lease has.
pub(crate) const SECONDS_MAX: u64 = i32::MAX as u64;

/// The part of the spec that says who holds, and how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) holder: String,
    pub(crate) seconds: Option<u64>,
    pub(crate) acquired: Option<Wall>,
    pub(crate) renewed: Option<Wall>,
    /// How often the holder changed, where the format counts it.
    pub(crate) transitions: Option<i64>,
}

impl Entry {
    pub(crate) fn read(object: &Value) -> Result<Self, Unreadable> {
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
            transitions: number(spec, "leaseTransitions")?,
        })
    }

    fn write(&self, object: &mut Value) {
        let Some(spec) = meta::member(object, "spec") else { return };
        let time = |at: Option<Wall>| at.map_or(Value::Null, |at| micro(at).into());
        spec.insert("holderIdentity".into(), self.holder.clone().into());
        spec.insert("leaseDurationSeconds".into(), self.seconds.into());
        spec.insert("acquireTime".into(), time(self.acquired));
        spec.insert("renewTime".into(), time(self.renewed));
        if let Some(transitions) = self.transitions {
            spec.insert("leaseTransitions".into(), transitions.into());
        }
    }

    /// What a mark is sealed to.
    fn sealed(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.holder.len() + 40);
        let micros = |at: Option<Wall>| at.map_or(u64::MAX, Wall::as_micros);
        for part in [
            self.seconds.unwrap_or(0),
            micros(self.acquired),
            micros(self.renewed),
            self.transitions.unwrap_or(0).cast_unsigned(),
        ] {
            bytes.extend_from_slice(&part.to_le_bytes());
        }
        bytes.extend_from_slice(self.holder.as_bytes());
        bytes
    }

    fn mark(&self, object: &Value) -> Option<Mark> {
        seal::read(meta::annotation(object, MARK)?, &self.sealed())
    }

    /// The mark by which the hold is named: ours, or one that stands for what others wrote.
    pub(crate) fn standing(&self, object: &Value) -> Mark {
        self.mark(object).unwrap_or_else(|| seal::foreign(&self.sealed()))
    }

    /// The holder that this names, even where the name is empty.
    pub(crate) fn holder(&self, object: &Value, version: Version, term: Term) -> Holder {
        let token = self.mark(object).map_or(0, |_| {
            let written = meta::annotation(object, TOKEN).and_then(|token| token.parse().ok());
            written.unwrap_or(version.revision)
        });
        Holder {
            id: self.holder.as_str().into(),
            mark: self.standing(object),
            session: Session::NONE,
            token: Token::new(token),
            term,
            ticket: 0,
            since: self.acquired.unwrap_or_default(),
            renewed: self.renewed.unwrap_or_default(),
            stamp: Time::ZERO,
        }
    }

    /// Puts this in place of what `object` says, with the mark and the token of who wrote it.
    pub(crate) fn put(&self, object: &mut Value, mark: Option<Mark>, token: Option<Token>) {
        self.write(object);
        let mark = mark.map(|mark| seal::write(mark, &self.sealed()));
        meta::set_annotation(object, MARK, mark);
        let token = token.filter(|t| t.get() > 0).map(|t| t.to_string());
        meta::set_annotation(object, TOKEN, token);
    }
}

/// The ttl in whole seconds, rounded up: never less than was asked for.
pub(crate) fn seconds(term: Term) -> Result<u64, Refusal> {
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
