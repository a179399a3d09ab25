//! Who may do what.

use super::path::{Place, Query};
use super::selector;
use super::status::{self, Status};

/// Somebody who is known by a token.
#[derive(Clone, Debug)]
pub struct User {
    /// The bearer token.
    pub token: String,
    /// The name in refusals.
    pub name: String,
    /// What the user may do; `None`: everything.
    pub rules: Option<Vec<Rule>>,
}

impl User {
    /// Who may do everything; the token is the name.
    #[must_use]
    pub fn admin(name: &str) -> Self {
        Self { token: name.into(), name: name.into(), rules: None }
    }

    /// Who may do only this; the token is the name.
    #[must_use]
    pub fn with(name: &str, rules: Vec<Rule>) -> Self {
        Self { token: name.into(), name: name.into(), rules: Some(rules) }
    }
}

/// What a Role allows in one namespace.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The verbs.
    pub verbs: Vec<&'static str>,
    /// The group of the resource.
    pub group: String,
    /// The resource.
    pub resource: String,
    /// The namespace; empty: all, and what stands in none.
    pub namespace: String,
    /// The names it is limited to; none: not limited.
    pub names: Vec<String>,
}

impl Rule {
    fn allows(&self, verb: &str, place: &Place, name: &str) -> bool {
        self.verbs.contains(&verb)
            && self.group == place.resource.group
            && self.resource == place.resource.plural
            && (self.namespace.is_empty() || self.namespace == place.namespace)
            && (self.names.is_empty() || self.names.iter().any(|n| n == name))
    }
}

/// Refuses what the user may not do.
pub(super) fn check(user: &User, verb: &str, place: &Place, query: &Query) -> Result<(), Status> {
    let Some(rules) = &user.rules else { return Ok(()) };
    // A list or watch of one name counts as one of that name.
    let selected = selector::only_name(query.get("fieldSelector"));
    let name = place.name.as_deref().or(selected.as_deref()).unwrap_or_default();
    if rules.iter().any(|rule| rule.allows(verb, place, name)) {
        return Ok(());
    }
    let resource = place.resource.shown();
    let (object, plural, group) = match name {
        "" => (resource, &place.resource.plural, &place.resource.group),
        name => (format!("{resource} {name:?}"), &place.resource.plural, &place.resource.group),
    };
    let place = match &*place.namespace {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    Err(status::forbidden(format!(
        "{object} is forbidden: User {:?} cannot {verb} resource {plural:?} in API group {group:?} \
         {place}",
        user.name
    )))
}
