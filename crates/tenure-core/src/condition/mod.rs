//! What is asked of a lock before it is shown or taken away: `tags contains nightly and age > 1h`.
//!
//! A condition is built, or read from a text, and then asked about [`Facts`]. It knows no record and
//! no clock: whether a hold has ended and how old it is, is for whoever makes the facts to say.
//!
//! | field | is | may be asked |
//! |---|---|---|
//! | `tags` | the lock's tags | `contains` one |
//! | `holder` | the holder's identity; nobody's is none | `contains` a text, `=` |
//! | `acquired` | whether somebody has a hold that has not ended | `=` `true` or `false` |
//! | `mode` | how it is held: `exclusive` | `=` |
//! | `age` | how long ago the hold began | `>`, `<` a duration |
//!
//! Every question has an answer: of what is not there, each is answered with no.

mod parse;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

pub use parse::ConditionError;

use crate::Text;

/// What is known of a lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// Its tags.
    pub tags: &'a [Text],
    /// Who holds it, if anyone does, even if that hold has ended by itself.
    pub holder: Option<&'a str>,
    /// Whether somebody has a hold that has not ended.
    pub acquired: bool,
    /// How it is held, if it is.
    pub mode: Option<&'a str>,
    /// How long ago the hold began, if there is one.
    pub age: Option<Duration>,
}

/// Something that a lock is or is not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Condition(Kind);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// None of them: true.
    All(Vec<Condition>),
    /// None of them: false.
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Tag(String),
    HolderIs(String),
    HolderHas(String),
    Acquired(bool),
    Mode(String),
    Older(Duration),
    Younger(Duration),
}

impl Condition {
    /// Reads a condition: `FIELD OPERATION VALUE`, joined by `and`, `or`, `not` and parentheses. `not`
    /// binds closest, then `and`. A value with a space or a sign in it, or one that is a word of
    /// these, stands in double quotes, where `\` takes the next sign as it is.
    ///
    /// # Errors
    /// [`ConditionError`] says what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        parse::parse(text)
    }

    /// `FIELD OPERATION VALUE`, as a text names them. Besides the operations of the table there is
    /// `equals` for `=`.
    ///
    /// # Errors
    /// [`ConditionError`] for a field that has no such operation, and a value that is none of it.
    pub fn of(field: &str, operation: &str, value: &str) -> Result<Self, ConditionError> {
        parse::of(field, operation, value)
    }

    /// All of these; true if there are none.
    pub fn all(conditions: impl IntoIterator<Item = Self>) -> Self {
        Self(Kind::All(conditions.into_iter().collect()))
    }

    /// Any of these; false if there are none.
    pub fn any(conditions: impl IntoIterator<Item = Self>) -> Self {
        Self(Kind::Any(conditions.into_iter().collect()))
    }

    /// The lock has this tag.
    pub fn tag(tag: impl Into<String>) -> Self {
        Self(Kind::Tag(tag.into()))
    }

    /// Its holder has this identity.
    pub fn holder(id: impl Into<String>) -> Self {
        Self(Kind::HolderIs(id.into()))
    }

    /// Its holder's identity has this in it.
    pub fn holder_contains(part: impl Into<String>) -> Self {
        Self(Kind::HolderHas(part.into()))
    }

    /// Somebody has a hold that has not ended; or nobody has.
    #[must_use]
    pub const fn acquired(is: bool) -> Self {
        Self(Kind::Acquired(is))
    }

    /// It is held in this mode.
    pub fn mode(mode: impl Into<String>) -> Self {
        Self(Kind::Mode(mode.into()))
    }

    /// Its hold began longer ago than this.
    #[must_use]
    pub const fn older_than(age: Duration) -> Self {
        Self(Kind::Older(age))
    }

    /// Its hold began less long ago than this.
    #[must_use]
    pub const fn younger_than(age: Duration) -> Self {
        Self(Kind::Younger(age))
    }

    /// This, and that.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match self.0 {
            Kind::All(mut all) => {
                all.push(other);
                Self(Kind::All(all))
            }
            one => Self(Kind::All(Vec::from([Self(one), other]))),
        }
    }

    /// This, or that.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match self.0 {
            Kind::Any(mut any) => {
                any.push(other);
                Self(Kind::Any(any))
            }
            one => Self(Kind::Any(Vec::from([Self(one), other]))),
        }
    }

    /// Whether a lock of which this is known is so.
    #[must_use]
    pub fn holds(&self, facts: &Facts<'_>) -> bool {
        match &self.0 {
            Kind::All(all) => all.iter().all(|one| one.holds(facts)),
            Kind::Any(any) => any.iter().any(|one| one.holds(facts)),
            Kind::Not(one) => !one.holds(facts),
            Kind::Tag(tag) => facts.tags.iter().any(|has| **has == **tag),
            Kind::HolderIs(id) => facts.holder == Some(id),
            Kind::HolderHas(part) => facts.holder.is_some_and(|id| id.contains(&**part)),
            Kind::Acquired(is) => facts.acquired == *is,
            Kind::Mode(mode) => facts.mode == Some(mode),
            Kind::Older(age) => facts.age.is_some_and(|is| is > *age),
            Kind::Younger(age) => facts.age.is_some_and(|is| is < *age),
        }
    }

    /// How closely its text holds together: what is joined less closely stands in parentheses.
    const fn rank(&self) -> u8 {
        match &self.0 {
            Kind::Any(_) => 0,
            Kind::All(_) => 1,
            _ => 2,
        }
    }
}

impl core::ops::Not for Condition {
    type Output = Self;

    fn not(self) -> Self {
        Self(Kind::Not(Box::new(self)))
    }
}

impl core::str::FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, ConditionError> {
        Self::parse(text)
    }
}

/// As a text that is read as the same condition.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::All(all) => joined(f, all, "and", 1),
            Kind::Any(any) => joined(f, any, "or", 0),
            Kind::Not(one) => {
                f.write_str("not ")?;
                inner(f, one, 1)
            }
            Kind::Tag(tag) => write!(f, "tags contains {}", Quoted(tag)),
            Kind::HolderIs(id) => write!(f, "holder = {}", Quoted(id)),
            Kind::HolderHas(part) => write!(f, "holder contains {}", Quoted(part)),
            Kind::Acquired(is) => write!(f, "acquired = {is}"),
            Kind::Mode(mode) => write!(f, "mode = {}", Quoted(mode)),
            Kind::Older(age) => write!(f, "age > {}", parse::Length(*age)),
            Kind::Younger(age) => write!(f, "age < {}", parse::Length(*age)),
        }
    }
}

/// Several conditions; one or none of them stand as `all(..)` and `any(..)`.
fn joined(f: &mut fmt::Formatter<'_>, of: &[Condition], word: &str, rank: u8) -> fmt::Result {
    if of.len() < 2 {
        f.write_str(if rank == 1 { "all(" } else { "any(" })?;
        of.iter().try_for_each(|one| write!(f, "{one}"))?;
        return f.write_str(")");
    }
    for (i, one) in of.iter().enumerate() {
        if i > 0 {
            write!(f, " {word} ")?;
        }
        inner(f, one, rank)?;
    }
    Ok(())
}

/// A part of what is joined at `rank`.
fn inner(f: &mut fmt::Formatter<'_>, one: &Condition, rank: u8) -> fmt::Result {
    let short = matches!(&one.0, Kind::All(of) | Kind::Any(of) if of.len() < 2);
    if one.rank() > rank || short {
        return write!(f, "{one}");
    }
    write!(f, "({one})")
}

struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if parse::is_bare(self.0) {
            return f.write_str(self.0);
        }
        f.write_str("\"")?;
        for c in self.0.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}
