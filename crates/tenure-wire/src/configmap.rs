//! The ConfigMap in which lockheed keeps a lock: `lockheed-` and the lock's name.
//!
//! | where | what |
//! |---|---|
//! | label `lockheed/lock` | set when it is created; what lists go by |
//! | `data.lock` | JSON: `name`, `lockType`, `leases` by instance with `expires`, `tags` |
//! | `data.tenure` | ours: ttl, mark, token, since; counts while its digest fits the holder's lease |
//! | annotations `reserved/by`, `reserved/expires` | somebody is between his two writes |
//!
//! Go replaces the state in two writes, with a reservation in between; here each write is one, on a
//! condition. **A take respects a live reservation, and nobody leaves one behind.** A holder renews
//! and releases under a foreign one, which stays as found.
//!
//! | state | who renews it | who ends it | if that one is frozen | if the answer is lost |
//! |---|---|---|---|---|
//! | lease | its holder | release; the next, after its end | it ends by its ttl | read back by mark |
//! | lease of Go's | its holder | release; the next, after `expires` and the skew of clocks | the same | Go's own affair |
//! | reservation | nobody | its author's second write; the next, after its end | it ends | the same |

use std::time::Duration;

use serde_json::{Value, json};
use tenure_core::{
    Change, End, Holder, Mark, Record, Session, Term, Text, Time, Token, Version, Wall,
};

use crate::go::{Fields, Json, Mistyped, write};
use crate::time::{Fraction, parse, shortest};
use crate::{Refusal, Unreadable, meta, seal};

/// What an object's name begins with.
pub const PREFIX: &str = "lockheed-";
/// The label of all these objects.
pub const LABEL: &str = "lockheed/lock";
/// Who is between two writes.
const RESERVED_BY: &str = "reserved/by";
/// Until when nobody else may write.
const RESERVED_UNTIL: &str = "reserved/expires";
/// The key of the state under `data`; beside it stands ours.
pub const STATE: &str = "lock";
const OURS: &str = "tenure";
/// The end of what has none: 9999-12-31T23:59:59Z.
const NEVER: Wall = Wall::from_micros(253_402_300_799_000_000);

/// What an object says.
///
/// # Errors
/// A state that is not lockheed's, more than one lease, and a `resourceVersion` that is no number.
pub fn read(object: &Value) -> Result<(Record, Version), Unreadable> {
    let version = meta::version(object)?;
    let state = State::read(object)?;
    let mut tags: Vec<Text> = state.tags.iter().map(|tag| tag.as_str().into()).collect();
    tags.sort_unstable();
    tags.dedup();
    let holder = match &state.lease {
        Some(lease) => Some(lease.holder(Ours::read(object, lease).as_ref(), version)),
        None => Reservation::read(object).map(|reservation| reservation.holder()),
    };
    Ok((Record { holder, tags, ..Record::default() }, version))
}

/// The lock's name: what the state says, or the object's name without its prefix.
#[must_use]
pub fn lock(object: &Value) -> Option<String> {
    let said = State::read(object).ok().map(|state| state.name).filter(|name| !name.is_empty());
    said.or_else(|| Some(meta::text(object, "name")?.strip_prefix(PREFIX)?.to_owned()))
}

/// The object to create for `change`, which takes a lock that has none.
///
/// # Errors
/// See [`changed`].
pub fn created(namespace: &str, lock: &str, change: &Change) -> Result<Value, Refusal> {
    let Change::Take { .. } = change else { return Err(Refusal::Conflict) };
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": format!("{PREFIX}{lock}"),
            "namespace": namespace,
            "labels": {LABEL: ""},
        },
    });
    put(&mut object, State { name: lock.to_owned(), ..State::default() }, change)?;
    Ok(object)
}

/// The object to put in the place of `object`, which was judged. Whatever is not the lock's stays.
///
/// # Errors
/// [`Refusal::Conflict`] if the hold to renew or release is not the one in `object`,
/// [`Refusal::Reserved`] while somebody else writes; others for what the format cannot say.
pub fn changed(object: &Value, change: &Change) -> Result<Value, Refusal> {
    let state = State::read(object)?;
    let mut object = object.clone();
    meta::lighten(&mut object);
    put(&mut object, state, change)?;
    Ok(object)
}

fn put(object: &mut Value, state: State, change: &Change) -> Result<(), Refusal> {
    match change {
        Change::Take { holder, tags, .. } => take(object, state, holder, tags),
        Change::Renew { of, mark, token, term, renewed, .. } => {
            let (lease, ours) = standing(object, &state, *of)?;
            let since = ours.map_or(*renewed, |ours| ours.since);
            let lease = Lease { expires: end(*term, *renewed)?, ..lease };
            let ours = Ours { mark: *mark, term: *term, token: Some(*token), since };
            state.holding(lease).write(object, Some(ours));
            Ok(())
        }
        Change::Release { of, end, next: None, tags, .. } => {
            let forced = *end == End::Stolen;
            if state.lease.is_none() {
                return unreserve(object, *of, forced);
            }
            standing(object, &state, *of)?;
            if forced && Reservation::read(object).is_some_and(|r| r.until.is_none()) {
                Reservation::remove(object);
            }
            State { lease: None, ..state.tagged(tags) }.write(object, None);
            Ok(())
        }
        Change::Join { .. } | Change::Leave { .. } | Change::Release { .. } => Err(
            Refusal::Unsupported("nobody can stand in line in this ConfigMap: wait for it".into()),
        ),
    }
}

fn take(object: &mut Value, state: State, holder: &Holder, tags: &[Text]) -> Result<(), Refusal> {
    if holder.id.is_empty() {
        return Err(Refusal::Invalid("an empty name is no instance's: give one".into()));
    }
    if let Some(reservation) = Reservation::read(object) {
        if !reservation.has_ended(holder.renewed) {
            return Err(Refusal::Reserved(reservation.to_string()));
        }
        Reservation::remove(object);
    }
    let Holder { mark, term, since, renewed, .. } = *holder;
    let lease = Lease { instance: holder.id.to_string(), expires: end(term, renewed)? };
    let state = State { kind: MUTEX.to_owned(), ..state.holding(lease) };
    let ours = Ours { mark, term, token: None, since };
    state.tagged(tags).write(object, Some(ours));
    Ok(())
}

/// The lease that carries this mark, and what is ours of it.
fn standing(object: &Value, state: &State, of: Mark) -> Result<(Lease, Option<Ours>), Refusal> {
    let lease = state.lease.clone().ok_or(Refusal::Conflict)?;
    let ours = Ours::read(object, &lease);
    let mark = ours.map_or_else(|| seal::foreign(&lease.sealed()), |ours| ours.mark);
    if mark == of { Ok((lease, ours)) } else { Err(Refusal::Conflict) }
}

/// Takes a reservation away: the one that was judged, if somebody takes it on himself.
fn unreserve(object: &mut Value, of: Mark, forced: bool) -> Result<(), Refusal> {
    let reservation = Reservation::read(object).filter(|r| r.mark() == of);
    if reservation.is_none() || !forced {
        return Err(Refusal::Conflict);
    }
    Reservation::remove(object);
    Ok(())
}

/// When a hold ends that is renewed at this moment.
fn end(term: Term, renewed: Wall) -> Result<Wall, Refusal> {
    match term {
        Term::Forever => Ok(NEVER),
        Term::Ttl(ttl) if !ttl.is_zero() => {
            let micros = u64::try_from(ttl.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX);
            let end = renewed.as_micros().saturating_add(micros);
            if end >= NEVER.as_micros() {
                let what = format!("a ttl of {ttl:?}: the years of this format end with 9999");
                return Err(Refusal::Invalid(what));
            }
            Ok(Wall::from_micros(end))
        }
        Term::Ttl(_) => Err(Refusal::Invalid("a ttl of zero: give a longer one".into())),
        Term::Session | Term::Until(_) => Err(Refusal::Unsupported(
            "a lock in a ConfigMap ends by its ttl or never: give a ttl".into(),
        )),
    }
}

/// The only kind of lock that lockheed has.
const MUTEX: &str = "mutex";

/// `data.lock`.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    name: String,
    kind: String,
    lease: Option<Lease>,
    tags: Vec<String>,
    /// Fields that nobody knows, as found.
    rest: Fields,
}

/// Who holds, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lease {
    instance: String,
    expires: Wall,
}

impl State {
    fn read(object: &Value) -> Result<Self, Unreadable> {
        let not = |what: &dyn std::fmt::Display| {
            Unreadable(format!("its data.{STATE} is not lockheed's: {what}"))
        };
        let text = object.get("data").and_then(|data| data.get(STATE)).and_then(Value::as_str);
        let text = text.ok_or_else(|| not(&"it is missing"))?;
        let fields = match Json::parse(text).map_err(|e| not(&e))? {
            Json::Null => Fields::default(),
            Json::Object(fields) => fields,
            _ => return Err(not(&"it is no object")),
        };
        let state = Self::of(&fields);
        let (state, leases) =
            state.map_err(|Mistyped(field)| not(&format!("{field} is not what belongs there")))?;
        if !matches!(&*state.kind, "" | MUTEX) {
            return Err(not(&format!("lockType {:?} is not known", state.kind)));
        }
        if leases > 1 {
            return Err(not(&format!("Invalid number of leases for mutex lock: {leases}")));
        }
        Ok(state)
    }

    /// The state with the last of its leases, and how many it has.
    fn of(fields: &Fields) -> Result<(Self, usize), Mistyped> {
        let text = |field| Ok(fields.text(field)?.unwrap_or_default().to_owned());
        let map = fields.map("leases")?;
        let mut lease = None;
        for (instance, entry) in &map {
            entry.text("instanceID")?;
            let expires = entry.time("expires")?.unwrap_or_default();
            lease = Some(Lease { instance: (*instance).to_owned(), expires });
        }
        let state = Self {
            name: text("name")?,
            kind: text("lockType")?,
            lease,
            tags: fields.texts("tags")?,
            rest: fields.others(&["name", "lockType", "leases", "tags"]),
        };
        Ok((state, map.len()))
    }

    /// With these tags; with its own if there are none.
    fn tagged(mut self, tags: &[Text]) -> Self {
        if !tags.is_empty() {
            self.tags = tags.iter().map(ToString::to_string).collect();
        }
        self
    }

    fn holding(self, lease: Lease) -> Self {
        Self { lease: Some(lease), ..self }
    }

    /// Puts this in place of the state of `object`, with what is ours of it.
    fn write(self, object: &mut Value, ours: Option<Ours>) {
        let ours = ours.zip(self.lease.as_ref()).map(|(ours, lease)| ours.text(lease));
        let state = self.text();
        let Some(data) = meta::member(object, "data") else { return };
        data.insert(STATE.into(), state.into());
        match ours {
            Some(ours) => drop(data.insert(OURS.into(), ours.into())),
            None => drop(data.remove(OURS)),
        }
    }

    fn text(self) -> String {
        let leases = self.lease.into_iter().map(|Lease { instance, expires }| {
            let id = ("instanceID".to_owned(), Json::Text(instance.clone()));
            let expires = ("expires".to_owned(), Json::Text(shortest(expires)));
            (instance, Json::Object(Fields(vec![id, expires])))
        });
        let mut fields = vec![
            ("name", Json::Text(self.name)),
            ("lockType", Json::Text(self.kind)),
            ("leases", Json::Object(Fields(leases.collect()))),
        ];
        if !self.tags.is_empty() {
            fields.push(("tags", Json::List(self.tags.into_iter().map(Json::Text).collect())));
        }
        fields.extend(self.rest.0.iter().map(|(key, value)| (&**key, value.clone())));
        write(fields)
    }
}

impl Lease {
    /// What a mark is sealed to.
    fn sealed(&self) -> Vec<u8> {
        let mut bytes = self.expires.as_micros().to_le_bytes().to_vec();
        bytes.extend_from_slice(self.instance.as_bytes());
        bytes
    }

    fn holder(&self, ours: Option<&Ours>, version: Version) -> Holder {
        let foreign = if self.expires == NEVER { Term::Forever } else { Term::Until(self.expires) };
        let term = ours.map_or(foreign, |ours| ours.term);
        let renewed = match term {
            Term::Ttl(ttl) => {
                let micros = u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX);
                Wall::from_micros(self.expires.as_micros().saturating_sub(micros))
            }
            _ => ours.map_or_else(Wall::default, |ours| ours.since),
        };
        let token = ours.map(|ours| ours.token.unwrap_or(Token::new(version.revision)));
        Holder {
            id: self.instance.as_str().into(),
            mark: ours.map_or_else(|| seal::foreign(&self.sealed()), |ours| ours.mark),
            session: Session::NONE,
            token: token.unwrap_or_default(),
            term,
            ticket: 0,
            since: ours.map_or_else(Wall::default, |ours| ours.since),
            renewed,
            stamp: Time::ZERO,
        }
    }
}

/// `data.tenure`: what lockheed has no place for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ours {
    mark: Mark,
    term: Term,
    token: Option<Token>,
    since: Wall,
}

impl Ours {
    /// Reads it if it was written for this lease; what cannot be read is not there.
    fn read(object: &Value, lease: &Lease) -> Option<Self> {
        let text = object.get("data")?.get(OURS)?.as_str()?;
        let Ok(Json::Object(fields)) = Json::parse(text) else { return None };
        let mark = seal::read(fields.text("mark").ok()??, &lease.sealed())?;
        let nanos = fields.integer("ttl").ok()??;
        let term = match u64::try_from(nanos).ok()? {
            0 => Term::Forever,
            nanos => Term::Ttl(Duration::from_nanos(nanos)),
        };
        let token = fields.integer("token").ok()?.and_then(|n| u64::try_from(n).ok());
        let since = fields.time("since").ok()??;
        Some(Self { mark, term, token: token.map(Token::new), since })
    }

    fn text(self, lease: &Lease) -> String {
        let nanos = match self.term {
            Term::Ttl(ttl) => i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX),
            _ => 0,
        };
        let mut fields = vec![
            ("mark", Json::Text(seal::write(self.mark, &lease.sealed()))),
            ("ttl", Json::Number(nanos.into())),
            ("since", Json::Text(shortest(self.since))),
        ];
        let token = self.token.filter(|token| token.get() > 0);
        fields.extend(token.map(|token| ("token", Json::Number(token.get().into()))));
        write(fields)
    }
}

/// Somebody who is between his two writes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reservation {
    by: String,
    /// `None`: what stands there is no time.
    until: Option<Wall>,
}

impl Reservation {
    fn read(object: &Value) -> Option<Self> {
        let by = meta::annotation(object, RESERVED_BY)?.to_owned();
        let until = meta::annotation(object, RESERVED_UNTIL);
        Some(Self { by, until: until.and_then(|text| parse(text, Fraction::Any)) })
    }

    fn remove(object: &mut Value) {
        meta::set_annotation(object, RESERVED_BY, None);
        meta::set_annotation(object, RESERVED_UNTIL, None);
    }

    fn has_ended(&self, now: Wall) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    fn mark(&self) -> Mark {
        let until = self.until.map_or(u64::MAX, Wall::as_micros);
        seal::foreign(format!("reserved {until} {}", self.by).as_bytes())
    }

    /// It stands in the way like a hold.
    fn holder(&self) -> Holder {
        Holder {
            id: self.by.as_str().into(),
            mark: self.mark(),
            session: Session::NONE,
            token: Token::default(),
            term: self.until.map_or(Term::Forever, Term::Until),
            ticket: 0,
            since: Wall::default(),
            renewed: Wall::default(),
            stamp: Time::ZERO,
        }
    }
}

impl std::fmt::Display for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.until {
            Some(until) => write!(f, "reserved by {:?} until {}", self.by, shortest(until)),
            None => write!(f, "reserved by {:?} without an end that can be read", self.by),
        }
    }
}
