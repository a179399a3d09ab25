//! Conditions from texts.
//!
//! ```text
//! any    = all  { "or" all }
//! all    = one  { "and" one }
//! one    = "not" one | "(" any ")" | ("all" | "any") "(" [ any ] ")" | test
//! test   = FIELD OPERATION VALUE
//! ```

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::{Condition, Kind};

/// How deep conditions may stand in each other.
const DEPTH_MAX: usize = 64;
/// The longest text.
const TEXT_MAX: usize = 16_384;
/// Words that are values only in quotes.
const WORDS: [&str; 5] = ["and", "or", "not", "all", "any"];

/// Why a text is no condition, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionError(String);

impl fmt::Display for ConditionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for ConditionError {}

type Parsed<T> = Result<T, ConditionError>;

fn wrong<T>(what: String) -> Parsed<T> {
    Err(ConditionError(what))
}

pub(super) fn parse(text: &str) -> Parsed<Condition> {
    if text.len() > TEXT_MAX {
        return wrong(format!("a condition has at most {TEXT_MAX} bytes, this one {}", text.len()));
    }
    let mut parser = Parser { words: split(text)?, at: 0, depth: 0 };
    let condition = parser.any()?;
    match parser.peek() {
        None => Ok(condition),
        Some(word) => wrong(format!("{word} stands behind a condition; join two by `and` or `or`")),
    }
}

pub(super) fn of(field: &str, operation: &str, value: &str) -> Parsed<Condition> {
    let kind = match (field, operation) {
        ("tags", "contains") => Kind::Tag(value.to_owned()),
        ("holder", "contains") => Kind::HolderHas(value.to_owned()),
        ("holder", "=" | "equals") => Kind::HolderIs(value.to_owned()),
        ("mode", "=" | "equals") => Kind::Mode(value.to_owned()),
        ("acquired", "=" | "equals") => match value {
            "true" => Kind::Acquired(true),
            "false" => Kind::Acquired(false),
            _ => return wrong(format!("acquired = {value:?}: it is `true` or `false`")),
        },
        ("age", ">") => Kind::Older(length(value)?),
        ("age", "<") => Kind::Younger(length(value)?),
        _ => {
            return wrong(format!(
                "Unsupported field operation {operation} or field {field}; known: tags contains, \
                 holder contains, holder =, acquired =, mode =, age >, age <"
            ));
        }
    };
    Ok(Condition(kind))
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Bare(String),
    Quoted(String),
    Sign(char),
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bare(text) | Self::Quoted(text) => write!(f, "{text:?}"),
            Self::Sign(sign) => write!(f, "`{sign}`"),
        }
    }
}

fn is_sign(c: char) -> bool {
    matches!(c, '(' | ')' | '=' | '<' | '>')
}

/// Whether a value can stand without quotes.
pub(super) fn is_bare(text: &str) -> bool {
    let plain = |c: char| !is_sign(c) && !c.is_whitespace() && !matches!(c, '"' | '\\');
    !text.is_empty() && text.chars().all(plain) && !WORDS.contains(&text)
}

fn split(text: &str) -> Parsed<Vec<Word>> {
    let mut words = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            c if c.is_whitespace() => {}
            c if is_sign(c) => words.push(Word::Sign(c)),
            '"' => {
                let mut word = String::new();
                loop {
                    match rest.next() {
                        None => return wrong("a quote is not closed".to_owned()),
                        Some('"') => break,
                        Some('\\') => word.extend(rest.next()),
                        Some(c) => word.push(c),
                    }
                }
                words.push(Word::Quoted(word));
            }
            c => {
                let mut word = String::from(c);
                let ends = |c: &char| is_sign(*c) || c.is_whitespace() || *c == '"';
                while let Some(c) = rest.next_if(|c| !ends(c)) {
                    word.push(c);
                }
                words.push(Word::Bare(word));
            }
        }
    }
    Ok(words)
}

struct Parser {
    words: Vec<Word>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Word> {
        self.words.get(self.at)
    }

    /// The next word, if it is this one.
    fn takes(&mut self, wanted: &Word) -> bool {
        let is = self.peek() == Some(wanted);
        self.at += usize::from(is);
        is
    }

    fn takes_word(&mut self, word: &str) -> bool {
        self.takes(&Word::Bare(word.to_owned()))
    }

    fn any(&mut self) -> Parsed<Condition> {
        let mut any = Vec::from([self.all()?]);
        while self.takes_word("or") {
            any.push(self.all()?);
        }
        Ok(match any.len() {
            1 => any.remove(0),
            _ => Condition(Kind::Any(any)),
        })
    }

    fn all(&mut self) -> Parsed<Condition> {
        let mut all = Vec::from([self.one()?]);
        while self.takes_word("and") {
            all.push(self.one()?);
        }
        Ok(match all.len() {
            1 => all.remove(0),
            _ => Condition(Kind::All(all)),
        })
    }

    fn one(&mut self) -> Parsed<Condition> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return wrong(format!("conditions stand in each other at most {DEPTH_MAX} deep"));
        }
        let one = self.one_within();
        self.depth -= 1;
        one
    }

    fn one_within(&mut self) -> Parsed<Condition> {
        if self.takes_word("not") {
            return Ok(Condition(Kind::Not(Box::new(self.one()?))));
        }
        if self.takes(&Word::Sign('(')) {
            let inner = self.any()?;
            self.closed()?;
            return Ok(inner);
        }
        for (word, make) in [("all", Kind::All as fn(_) -> _), ("any", Kind::Any)] {
            if self.takes_word(word) {
                return self.group(word, make);
            }
        }
        self.test()
    }

    /// `all(..)` and `any(..)`: of one condition, or of none.
    fn group(&mut self, word: &str, make: fn(Vec<Condition>) -> Kind) -> Parsed<Condition> {
        if !self.takes(&Word::Sign('(')) {
            return wrong(format!("behind `{word}` stands a condition in parentheses, or `()`"));
        }
        let mut of = Vec::new();
        if self.peek() != Some(&Word::Sign(')')) {
            of.push(self.any()?);
        }
        self.closed()?;
        Ok(Condition(make(of)))
    }

    fn closed(&mut self) -> Parsed<()> {
        if self.takes(&Word::Sign(')')) {
            return Ok(());
        }
        match self.peek() {
            None => wrong("a parenthesis is not closed".to_owned()),
            Some(word) => wrong(format!("{word} stands where a parenthesis is to be closed")),
        }
    }

    fn test(&mut self) -> Parsed<Condition> {
        let [field, operation, value] = match self.words.get(self.at..self.at + 3) {
            Some([Word::Bare(field), operation, value]) => {
                let operation = match operation {
                    Word::Bare(word) => word.clone(),
                    Word::Sign(sign) => String::from(*sign),
                    Word::Quoted(_) => return self.no_test(),
                };
                let value = match value {
                    Word::Quoted(value) => value,
                    Word::Bare(value) if is_bare(value) => value,
                    _ => return self.no_test(),
                };
                [field.clone(), operation, value.clone()]
            }
            _ => return self.no_test(),
        };
        self.at += 3;
        of(&field, &operation, &value)
    }

    fn no_test(&self) -> Parsed<Condition> {
        let found = match self.words.get(self.at..).unwrap_or_default() {
            [] => "nothing stands where a condition is due".to_owned(),
            [Word::Bare(field)] if is_bare(field) => {
                format!("behind {field:?} stands no operation and no value")
            }
            [Word::Bare(field), operation] if is_bare(field) => {
                format!("behind {field:?} {operation} stands no value")
            }
            [word, ..] => format!("{word} stands where a condition is due"),
        };
        wrong(format!("{found}, such as `tags contains nightly` or `age > 1h`"))
    }
}

/// A duration as the command reads it: a number with `ms`, `s`, `m`, `h` or `d`; bare: seconds.
fn length(text: &str) -> Parsed<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let nanos: u128 = match &text[digits.len()..] {
        "ms" => 1_000_000,
        "" | "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return no_length(text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let number = |digits: &str| match digits {
        "" => Some(0),
        _ if digits.len() > 18 || !digits.bytes().all(|b| b.is_ascii_digit()) => None,
        _ => digits.parse::<u128>().ok(),
    };
    let (Some(n), Some(p), false) = (number(whole), number(part), whole.is_empty()) else {
        return no_length(text);
    };
    let exponent = u32::try_from(part.len()).unwrap_or(u32::MAX);
    let total = n * nanos + p * nanos / 10_u128.pow(exponent);
    match u64::try_from(total / 1_000_000_000) {
        Ok(seconds) => Ok(Duration::new(seconds, (total % 1_000_000_000) as u32)),
        Err(_) => no_length(text),
    }
}

fn no_length<T>(text: &str) -> Parsed<T> {
    wrong(format!("{text:?} is no duration: give a number with ms, s, m, h or d"))
}

/// A duration that is read as itself.
pub(super) struct Length(pub(super) Duration);

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.subsec_nanos() {
            0 => write!(f, "{}s", self.0.as_secs()),
            nanos => {
                let part = format!("{nanos:09}");
                write!(f, "{}.{}s", self.0.as_secs(), part.trim_end_matches('0'))
            }
        }
    }
}
