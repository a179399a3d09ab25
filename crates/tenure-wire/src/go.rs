//! JSON inside of a text, read as Go reads it into a struct.
//!
//! | what stands there | what Go makes of it |
//! |---|---|
//! | a field in another case | the same field |
//! | a field twice | the last one |
//! | a field it does not know | nothing |
//! | `null` | what was there before: nothing, if it stands once |
//! | another type, `3.0` or `3e9` for an integer | an error |

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Number;
use tenure_core::Wall;

use crate::time::{Fraction, parse};

/// A JSON value whose fields keep their order and their duplicates.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Self>),
    Object(Fields),
}

/// The fields of an object, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fields(pub(crate) Vec<(String, Json)>);

/// Something of another type stands there: the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mistyped(pub(crate) &'static str);

impl Json {
    /// The value that a text is.
    pub(crate) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

impl Fields {
    /// What stands in this field, each time it does; `null` stands for nothing.
    fn all(&self, field: &'static str) -> impl Iterator<Item = &Json> {
        let named = self.0.iter().filter(move |(key, _)| is_same(key, field));
        named.map(|(_, value)| value).filter(|value| **value != Json::Null)
    }

    /// The last of what stands in this field, if all of it can be read.
    fn last<'a, T>(
        &'a self,
        field: &'static str,
        read: impl Fn(&'a Json) -> Option<T>,
    ) -> Result<Option<T>, Mistyped> {
        let mut last = None;
        for value in self.all(field) {
            last = Some(read(value).ok_or(Mistyped(field))?);
        }
        Ok(last)
    }

    pub(crate) fn text(&self, field: &'static str) -> Result<Option<&str>, Mistyped> {
        self.last(field, |value| match value {
            Json::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    pub(crate) fn integer(&self, field: &'static str) -> Result<Option<i64>, Mistyped> {
        self.last(field, |value| match value {
            Json::Number(number) => number.as_i64(),
            _ => None,
        })
    }

    pub(crate) fn time(&self, field: &'static str) -> Result<Option<Wall>, Mistyped> {
        self.last(field, |value| match value {
            Json::Text(text) => parse(text, Fraction::Any),
            _ => None,
        })
    }

    /// A list of texts, where `null` is an empty one.
    pub(crate) fn texts(&self, field: &'static str) -> Result<Vec<String>, Mistyped> {
        let texts = self.last(field, |value| match value {
            Json::List(list) => list.iter().map(text_or_empty).collect(),
            _ => None,
        });
        Ok(texts?.unwrap_or_default())
    }

    /// A map from keys, whose case counts, to objects.
    pub(crate) fn map(&self, field: &'static str) -> Result<Vec<(&str, Self)>, Mistyped> {
        let mut map: Vec<(&str, Self)> = Vec::new();
        // `null` empties a map, and another one is added to it.
        for (_, value) in self.0.iter().filter(|(key, _)| is_same(key, field)) {
            let entries = match value {
                Json::Null => {
                    map.clear();
                    continue;
                }
                Json::Object(entries) => &entries.0,
                _ => return Err(Mistyped(field)),
            };
            for (key, entry) in entries {
                let entry = match entry {
                    Json::Null => Self::default(),
                    Json::Object(entry) => entry.clone(),
                    _ => return Err(Mistyped(field)),
                };
                map.retain(|(other, _)| other != key);
                map.push((key, entry));
            }
        }
        Ok(map)
    }

    /// The fields that are none of these.
    pub(crate) fn others(&self, known: &[&'static str]) -> Self {
        let known = |key: &str| known.iter().any(|field| is_same(key, field));
        Self(self.0.iter().filter(|(key, _)| !known(key)).cloned().collect())
    }
}

fn text_or_empty(value: &Json) -> Option<String> {
    match value {
        Json::Text(text) => Some(text.clone()),
        Json::Null => Some(String::new()),
        _ => None,
    }
}

/// Whether Go takes this key for this field: without regard to case, where two letters of other
/// alphabets count as an `s` and a `k`.
fn is_same(key: &str, field: &str) -> bool {
    let folded = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(folded).eq(field.chars().map(folded))
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Number(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Number(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
            }

            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Text(value.to_owned()))
            }

            fn visit_string<E>(self, value: String) -> Result<Json, E> {
                Ok(Json::Text(value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Json, A::Error> {
                let mut list = Vec::new();
                while let Some(value) = from.next_element()? {
                    list.push(value);
                }
                Ok(Json::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Json, A::Error> {
                let mut fields = Vec::new();
                while let Some(entry) = from.next_entry()? {
                    fields.push(entry);
                }
                Ok(Json::Object(Fields(fields)))
            }
        }
        from.deserialize_any(Any)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => to.serialize_unit(),
            Self::Bool(value) => to.serialize_bool(*value),
            Self::Number(value) => value.serialize(to),
            Self::Text(value) => to.serialize_str(value),
            Self::List(list) => to.collect_seq(list),
            Self::Object(fields) => fields.serialize(to),
        }
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// The text of an object with these fields, in their order.
pub(crate) fn write(fields: Vec<(&str, Json)>) -> String {
    let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    serde_json::to_string(&Fields(fields)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(text: &str) -> Fields {
        match Json::parse(text).unwrap() {
            Json::Object(fields) => fields,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_field_is_found_in_any_case_and_the_last_one_counts() {
        let f = fields(r#"{"Owner":"a","x":[],"OWNER":"b"}"#);
        assert_eq!(f.text("owner"), Ok(Some("b")));
        assert_eq!(fields(r#"{"leaſes":{"a":null}}"#).map("leases").unwrap().len(), 1);
        assert_eq!(fields(r#"{"locKType":"m"}"#).text("lockType"), Ok(Some("m")));
        assert_eq!(fields(r#"{"owne":"a"}"#).text("owner"), Ok(None));
    }

    #[test]
    fn null_is_nothing_and_another_type_an_error() {
        assert_eq!(fields(r#"{"owner":"a","owner":null}"#).text("owner"), Ok(Some("a")));
        assert_eq!(fields(r#"{"owner":null}"#).text("owner"), Ok(None));
        assert_eq!(fields(r#"{"owner":7}"#).text("owner"), Err(Mistyped("owner")));
        let twice = fields(r#"{"owner":7,"owner":"a"}"#);
        assert_eq!(twice.text("owner"), Err(Mistyped("owner")));
        for (text, wanted) in [
            ("3", Ok(Some(3))),
            ("-3", Ok(Some(-3))),
            ("null", Ok(None)),
            ("3.0", Err(Mistyped("ttl"))),
            ("3e9", Err(Mistyped("ttl"))),
            ("9223372036854775808", Err(Mistyped("ttl"))),
            ("\"3\"", Err(Mistyped("ttl"))),
            ("true", Err(Mistyped("ttl"))),
        ] {
            assert_eq!(fields(&format!(r#"{{"ttl":{text}}}"#)).integer("ttl"), wanted, "{text}");
        }
    }

    #[test]
    fn a_map_adds_up_until_null_empties_it() {
        let f = fields(r#"{"leases":{"a":{"x":1}},"Leases":{"b":null,"A":{}}}"#);
        let keys: Vec<_> = f.map("leases").unwrap().iter().map(|(k, _)| (*k).to_owned()).collect();
        assert_eq!(keys, ["a", "b", "A"]);
        assert!(fields(r#"{"leases":{"a":{}},"leases":null}"#).map("leases").unwrap().is_empty());
        assert_eq!(fields(r#"{"leases":[]}"#).map("leases"), Err(Mistyped("leases")));
        assert_eq!(fields(r#"{"leases":{"a":1}}"#).map("leases"), Err(Mistyped("leases")));
    }

    proptest! {
        #[test]
        fn what_was_read_is_written(text in "[\\[\\]{}:,\"0-9a-zé. -]{0,30}") {
            if let Ok(json) = Json::parse(&text) {
                let again = serde_json::to_string(&json).unwrap();
                prop_assert_eq!(Json::parse(&again).unwrap(), json);
            }
        }
    }
}
