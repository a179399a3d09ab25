//! Which objects of a list or a watch are meant.

use serde_json::Value;

use super::status::{self, Status};

/// A field selector and a label selector.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    fields: Vec<(String, bool, String)>,
    labels: Vec<(String, Label)>,
}

#[derive(Clone, Debug)]
enum Label {
    Is(String),
    IsNot(String),
    There,
    NotThere,
}

impl Selector {
    pub(super) fn parse(fields: &str, labels: &str) -> Result<Self, Status> {
        let mut selector = Self::default();
        for part in fields.split(',').filter(|part| !part.is_empty()) {
            let (field, is, value) =
                equation(part).ok_or_else(|| status::bad(format!("invalid selector: {part:?}")))?;
            if !matches!(field, "metadata.name" | "metadata.namespace") {
                return Err(status::bad(format!(
                    "{field:?} is not a known field selector: only \"metadata.name\", \
                     \"metadata.namespace\""
                )));
            }
            selector.fields.push((field.to_owned(), is, value.to_owned()));
        }
        for part in labels.split(',').filter(|part| !part.is_empty()) {
            let (key, label) = match (equation(part), part.strip_prefix('!')) {
                (Some((key, true, value)), _) => (key, Label::Is(value.to_owned())),
                (Some((key, false, value)), _) => (key, Label::IsNot(value.to_owned())),
                (None, Some(key)) => (key, Label::NotThere),
                (None, None) => (part, Label::There),
            };
            selector.labels.push((key.to_owned(), label));
        }
        Ok(selector)
    }

    pub(super) fn meets(&self, object: &Value) -> bool {
        let meta = &object["metadata"];
        let field = |(field, is, value): &(String, bool, String)| {
            let key = field.trim_start_matches("metadata.");
            (meta[key].as_str().unwrap_or_default() == value) == *is
        };
        let label = |(key, wanted): &(String, Label)| {
            let found = meta["labels"].get(key).and_then(Value::as_str);
            match wanted {
                Label::Is(value) => found == Some(value),
                Label::IsNot(value) => found != Some(value),
                Label::There => found.is_some(),
                Label::NotThere => found.is_none(),
            }
        };
        self.fields.iter().all(field) && self.labels.iter().all(label)
    }
}

/// `a=b`, `a==b` or `a!=b`.
fn equation(part: &str) -> Option<(&str, bool, &str)> {
    let (left, right) = part.split_once('=')?;
    match left.strip_suffix('!') {
        Some(left) => Some((left, false, right)),
        None => Some((left, true, right.trim_start_matches('='))),
    }
}

/// The one name that a field selector is about.
pub(super) fn only_name(fields: &str) -> Option<String> {
    let selector = Selector::parse(fields, "").ok()?;
    let name = selector.fields.iter().find(|(field, is, _)| *is && field == "metadata.name");
    name.map(|(.., name)| name.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_of_selector_selects() {
        let object = json!({"metadata": {"name": "a", "labels": {"x": "1", "empty": ""}}});
        for (fields, labels, meets) in [
            ("", "", true),
            ("metadata.name=a", "", true),
            ("metadata.name=b", "", false),
            ("metadata.name!=b", "", true),
            ("", "x", true),
            ("", "empty", true),
            ("", "!x", false),
            ("", "!y", true),
            ("", "x=1", true),
            ("", "x==2", false),
            ("", "x!=2,empty", true),
            ("metadata.name=a", "y", false),
        ] {
            let selector = Selector::parse(fields, labels).unwrap();
            assert_eq!(selector.meets(&object), meets, "{fields} {labels}");
        }
        assert!(Selector::parse("spec.x=1", "").is_err());
        assert_eq!(only_name("metadata.name=a").as_deref(), Some("a"));
        assert_eq!(only_name("metadata.name!=a"), None);
    }
}
