//! What a path in a module stands for, as far as the crate's own sources say.
//!
//! Owns following `use`. Refuses to look into other crates: their names stay names.

use syn::{Item, ItemUse, UseTree, Visibility};

use super::tree::{Crate, ModuleId};

/// What a path stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A module of this crate.
    Module(ModuleId),
    /// Items of this crate with that name: several, as a type and a function may share one.
    Items(ModuleId, Vec<usize>),
    /// A path of another crate, or one that is not known.
    Elsewhere(Vec<String>),
}

/// One leaf of a `use` declaration.
pub(super) struct Import {
    pub(super) path: Vec<String>,
    /// The name it gets; `None` for a glob.
    pub(super) name: Option<String>,
}

/// `use` declarations may name each other in circles.
const DEPTH_MAX: usize = 32;

impl Crate {
    /// What `path`, written in module `at`, stands for.
    pub(super) fn resolve(&self, at: ModuleId, path: &[String]) -> Target {
        self.resolve_in(at, path, 0)
    }

    fn resolve_in(&self, at: ModuleId, path: &[String], depth: usize) -> Target {
        let elsewhere = || Target::Elsewhere(path.to_vec());
        let [first, rest @ ..] = path else { return Target::Module(at) };
        if depth > DEPTH_MAX {
            return elsewhere();
        }
        let module = &self.modules[at];
        let start = match first.as_str() {
            "crate" => Some(Target::Module(0)),
            "self" => Some(Target::Module(at)),
            "super" => module.parent.map(Target::Module),
            name => self.named(at, name, depth),
        };
        match start {
            Some(Target::Module(next)) => match self.resolve_in(next, rest, depth + 1) {
                // What a module of ours lacks is not to be had under the shorter path.
                Target::Elsewhere(_) => elsewhere(),
                found => found,
            },
            Some(found @ Target::Items(..)) if rest.is_empty() => found,
            Some(Target::Elsewhere(mut whole)) => {
                whole.extend_from_slice(rest);
                Target::Elsewhere(whole)
            }
            _ => elsewhere(),
        }
    }

    /// What one name means inside a module.
    fn named(&self, at: ModuleId, name: &str, depth: usize) -> Option<Target> {
        let module = &self.modules[at];
        if let Some((_, child)) = module.children.iter().find(|(n, _)| n == name) {
            return Some(Target::Module(*child));
        }
        let is_it = |i: &usize| ident_of(&module.items[*i]).is_some_and(|n| n == name);
        let own: Vec<usize> = (0..module.items.len()).filter(is_it).collect();
        if !own.is_empty() {
            return Some(Target::Items(at, own));
        }
        let imports = module.items.iter().filter_map(|item| match item {
            Item::Use(item) => Some(imports(item)),
            _ => None,
        });
        let mut globs = Vec::new();
        for import in imports.flatten() {
            match &import.name {
                Some(n) if n == name => return Some(self.resolve_import(at, &import, depth)),
                Some(_) => {}
                None => globs.push(import),
            }
        }
        globs.iter().find_map(|glob| {
            let Target::Module(from) = self.resolve_import(at, glob, depth) else { return None };
            match self.resolve_in(from, &[name.to_owned()], depth + 1) {
                Target::Elsewhere(_) => None,
                found => Some(found),
            }
        })
    }

    fn resolve_import(&self, at: ModuleId, import: &Import, depth: usize) -> Target {
        // `use time::Duration` where this module itself is what `time` would name.
        if import.path.first() == import.name.as_ref() && import.path.len() == 1 {
            return Target::Elsewhere(import.path.clone());
        }
        self.resolve_in(at, &import.path, depth + 1)
    }
}

/// The leaves of a `use` declaration.
pub(super) fn imports(item: &ItemUse) -> Vec<Import> {
    let mut found = Vec::new();
    leaves(&item.tree, &mut Vec::new(), &mut found);
    found
}

fn leaves(tree: &UseTree, before: &mut Vec<String>, found: &mut Vec<Import>) {
    let leaf = |name: &str, before: &[String], shown: String| {
        let mut path = before.to_vec();
        // `use a::{self}` names `a`.
        if name != "self" || before.is_empty() {
            path.push(name.to_owned());
        }
        let name = if shown == "self" { path.last().cloned() } else { Some(shown) };
        Import { path, name }
    };
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            leaves(&path.tree, before, found);
            before.pop();
        }
        UseTree::Name(n) => found.push(leaf(&n.ident.to_string(), before, n.ident.to_string())),
        UseTree::Rename(r) => found.push(leaf(&r.ident.to_string(), before, r.rename.to_string())),
        UseTree::Glob(_) => found.push(Import { path: before.clone(), name: None }),
        UseTree::Group(group) => group.items.iter().for_each(|t| leaves(t, before, found)),
    }
}

/// The name an item defines.
pub(super) fn ident_of(item: &Item) -> Option<&syn::Ident> {
    match item {
        Item::Const(i) => Some(&i.ident),
        Item::Enum(i) => Some(&i.ident),
        Item::Fn(i) => Some(&i.sig.ident),
        Item::Static(i) => Some(&i.ident),
        Item::Struct(i) => Some(&i.ident),
        Item::Trait(i) => Some(&i.ident),
        Item::Type(i) => Some(&i.ident),
        Item::Union(i) => Some(&i.ident),
        _ => None,
    }
}

/// Whether everybody may name the item.
pub(super) fn is_public(item: &Item) -> bool {
    let visibility = match item {
        Item::Const(i) => &i.vis,
        Item::Enum(i) => &i.vis,
        Item::Fn(i) => &i.vis,
        Item::Mod(i) => &i.vis,
        Item::Static(i) => &i.vis,
        Item::Struct(i) => &i.vis,
        Item::Trait(i) => &i.vis,
        Item::Type(i) => &i.vis,
        Item::Union(i) => &i.vis,
        Item::Use(i) => &i.vis,
        _ => return false,
    };
    matches!(visibility, Visibility::Public(_))
}
