//! The lines of an API listing: `path: what the source says there`, sorted.
//!
//! Owns what is worth a line and how it reads. Bodies, documentation and private parts are left
//! out; `{ .. }` says that a type has private fields, so that nobody else can build one.

use std::collections::BTreeSet;

use syn::{
    Attribute, Fields, FnArg, Generics, ImplItem, Item, ItemImpl, Pat, Signature, TraitItem,
    TraitItemType, Type, Variant, Visibility,
};

use super::resolve::{Import, Target, ident_of, imports, is_public};
use super::text::tokens;
use super::tree::{Crate, ModuleId, attributes};

/// The listing of a crate.
pub(super) fn lines(krate: &Crate) -> BTreeSet<String> {
    let mut listing = Listing { krate, lines: BTreeSet::new(), open: Vec::new() };
    listing.module(0, &krate.name);
    listing.macros();
    listing.lines
}

struct Listing<'a> {
    krate: &'a Crate,
    lines: BTreeSet<String>,
    /// The modules being listed: one may re-export another that it is in.
    open: Vec<ModuleId>,
}

impl Listing<'_> {
    fn line(&mut self, path: &str, text: &str, attributes: &[Attribute]) {
        let mut text = text.to_owned();
        for attribute in attributes.iter().filter(|a| is_shown(a)) {
            text.push_str(&format!(" #[{}]", tokens(&attribute.meta)));
        }
        self.lines.insert(format!("{path}: {text}"));
    }

    fn module(&mut self, id: ModuleId, path: &str) {
        if self.open.contains(&id) {
            return;
        }
        self.open.push(id);
        let krate = self.krate;
        for (index, item) in krate.modules[id].items.iter().enumerate() {
            if !is_public(item) || is_hidden(attributes(item)) {
                continue;
            }
            match item {
                Item::Use(used) => {
                    for import in imports(used) {
                        self.import(id, &import, path, &used.attrs);
                    }
                }
                Item::Mod(module) => {
                    let name = module.ident.to_string();
                    let inner = format!("{path}::{name}");
                    self.line(&inner, &format!("pub mod {name}"), &module.attrs);
                    let child = krate.modules[id].children.iter().find(|(n, _)| *n == name);
                    child.iter().for_each(|(_, child)| self.module(*child, &inner));
                }
                _ => {
                    let name = ident_of(item).map(ToString::to_string).unwrap_or_default();
                    self.item(id, index, &format!("{path}::{name}"), &[]);
                }
            }
        }
        self.open.pop();
    }

    fn import(&mut self, at: ModuleId, import: &Import, path: &str, attrs: &[Attribute]) {
        let shown = import.name.clone().unwrap_or_else(|| "*".to_owned());
        let here = format!("{path}::{shown}");
        match (self.krate.resolve(at, &import.path), &import.name) {
            (Target::Module(module), None) => self.module(module, path),
            (Target::Module(module), Some(name)) => {
                self.line(&here, &format!("pub mod {name}"), attrs);
                self.module(module, &here);
            }
            (Target::Items(module, items), _) => {
                items.into_iter().for_each(|i| self.item(module, i, &here, attrs));
            }
            (Target::Elsewhere(whole), None) => {
                self.line(&here, &format!("pub use {}::*", whole.join("::")), attrs);
            }
            (Target::Elsewhere(whole), Some(_)) => {
                self.line(&here, &format!("pub use {}", whole.join("::")), attrs);
            }
        }
    }

    /// `by` are the attributes of the re-export that leads here.
    fn item(&mut self, at: ModuleId, index: usize, path: &str, by: &[Attribute]) {
        let item = &self.krate.modules[at].items[index];
        let all: Vec<Attribute> = attributes(item).iter().chain(by).cloned().collect();
        self.line(path, &head(item), &all);
        self.derives(path, attributes(item));
        match item {
            Item::Struct(s) => self.fields(path, &s.fields, false),
            Item::Union(u) => self.fields(path, &Fields::Named(u.fields.clone()), false),
            Item::Enum(e) => {
                for variant in &e.variants {
                    let inner = format!("{path}::{}", variant.ident);
                    self.line(&inner, &variant_head(variant), &variant.attrs);
                    self.fields(&inner, &variant.fields, true);
                }
            }
            Item::Trait(t) => t.items.iter().for_each(|i| self.trait_item(path, i)),
            _ => {}
        }
        self.impls(at, index, path);
    }

    fn fields(&mut self, path: &str, fields: &Fields, all: bool) {
        for (number, field) in fields.iter().enumerate() {
            if !all && !is_pub(&field.vis) || is_hidden(&field.attrs) {
                continue;
            }
            let name = field.ident.as_ref().map_or(number.to_string(), ToString::to_string);
            self.line(&format!("{path}::{name}"), &tokens(&field.ty), &field.attrs);
        }
    }

    fn trait_item(&mut self, path: &str, item: &TraitItem) {
        let (name, attrs, text) = match item {
            TraitItem::Fn(f) => {
                let provided = if f.default.is_some() { " { .. }" } else { "" };
                (&f.sig.ident, &f.attrs, format!("{}{provided}", signature(&f.sig)))
            }
            TraitItem::Const(c) => {
                (&c.ident, &c.attrs, format!("const {}: {}", c.ident, tokens(&c.ty)))
            }
            TraitItem::Type(t) => (&t.ident, &t.attrs, associated_type(t)),
            _ => return,
        };
        if !is_hidden(attrs) {
            self.line(&format!("{path}::{name}"), &text, attrs);
        }
    }

    fn derives(&mut self, path: &str, attrs: &[Attribute]) {
        for attribute in attrs.iter().filter(|a| a.path().is_ident("derive")) {
            let _ = attribute.parse_nested_meta(|derived| {
                self.lines.insert(format!("{path}: impl {}", tokens(&derived.path)));
                Ok(())
            });
        }
    }

    /// What is implemented for the item, or of the item if it is a trait.
    fn impls(&mut self, at: ModuleId, index: usize, path: &str) {
        let krate = self.krate;
        for (id, module) in krate.modules.iter().enumerate() {
            for item in &module.items {
                let Item::Impl(block) = item else { continue };
                if self.is_about(id, &block.self_ty, at, index) {
                    self.implementation(block, path);
                } else if let Some((of, _)) = &block.trait_
                    && self.names(id, of, at, index)
                {
                    let text = format!("impl {} for {}", tokens(of), tokens(&block.self_ty));
                    self.line(path, &text, &block.attrs);
                }
            }
        }
    }

    fn implementation(&mut self, block: &ItemImpl, path: &str) {
        let generics = tokens(&block.generics.params);
        let generics = if generics.is_empty() { generics } else { format!("<{generics}>") };
        if let Some((of, _)) = &block.trait_ {
            let head = format!("impl{generics} {} for {}", tokens(of), tokens(&block.self_ty));
            return self.line(path, &head, &block.attrs);
        }
        for item in &block.items {
            let (name, vis, attrs, text) = match item {
                ImplItem::Fn(f) => (&f.sig.ident, &f.vis, &f.attrs, signature(&f.sig)),
                ImplItem::Const(c) => {
                    (&c.ident, &c.vis, &c.attrs, format!("const {}: {}", c.ident, tokens(&c.ty)))
                }
                _ => continue,
            };
            if is_pub(vis) && !is_hidden(attrs) {
                let attrs: Vec<Attribute> = attrs.iter().chain(&block.attrs).cloned().collect();
                self.line(&format!("{path}::{name}"), &format!("pub {text}"), &attrs);
            }
        }
    }

    fn is_about(&self, from: ModuleId, ty: &Type, at: ModuleId, index: usize) -> bool {
        match ty {
            Type::Path(path) => self.names(from, &path.path, at, index),
            Type::Reference(reference) => self.is_about(from, &reference.elem, at, index),
            _ => false,
        }
    }

    fn names(&self, from: ModuleId, path: &syn::Path, at: ModuleId, index: usize) -> bool {
        let path: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        matches!(self.krate.resolve(from, &path),
            Target::Items(id, items) if id == at && items.contains(&index))
    }

    fn macros(&mut self) {
        let krate = self.krate;
        for item in krate.modules.iter().flat_map(|m| &m.items) {
            let Item::Macro(defined) = item else { continue };
            let exported = defined.attrs.iter().any(|a| a.path().is_ident("macro_export"));
            if let (Some(name), true) = (&defined.ident, exported) {
                self.line(&format!("{}::{name}", krate.name), "macro_rules!", &defined.attrs);
            }
        }
    }
}

/// An item without its body, its private parts and its attributes.
fn head(item: &Item) -> String {
    match item {
        Item::Const(c) => format!("pub const {}: {}", c.ident, tokens(&c.ty)),
        Item::Static(s) => format!("pub static {}: {}", s.ident, tokens(&s.ty)),
        Item::Fn(f) => format!("pub {}", signature(&f.sig)),
        Item::Type(t) => {
            format!("pub type {}{} = {}", t.ident, generics(&t.generics), tokens(&t.ty))
        }
        Item::Enum(e) => format!("pub enum {}{}", e.ident, generics(&e.generics)),
        Item::Union(u) => format!("pub union {}{}", u.ident, generics(&u.generics)),
        Item::Struct(s) => {
            let hidden = s.fields.iter().any(|f| !is_pub(&f.vis));
            let rest = if hidden { " { .. }" } else { "" };
            format!("pub struct {}{}{rest}", s.ident, generics(&s.generics))
        }
        Item::Trait(t) => {
            let bounds = tokens(&t.supertraits);
            let colon = if bounds.is_empty() { "" } else { ": " };
            let of = if t.unsafety.is_some() { "pub unsafe trait" } else { "pub trait" };
            format!("{of} {}{}{colon}{bounds}", t.ident, generics(&t.generics))
        }
        _ => String::new(),
    }
}

/// A signature without what only its body sees: `mut` before a parameter.
fn signature(signature: &Signature) -> String {
    let mut shown = signature.clone();
    for input in &mut shown.inputs {
        match input {
            FnArg::Receiver(me) => me.mutability = None,
            FnArg::Typed(typed) => {
                if let Pat::Ident(name) = &mut *typed.pat {
                    name.mutability = None;
                }
            }
        }
    }
    tokens(&shown)
}

/// Parameters and their bounds.
fn generics(generics: &Generics) -> String {
    let bounds = generics.where_clause.as_ref().map(|w| format!(" {}", tokens(w)));
    format!("{}{}", tokens(generics), bounds.unwrap_or_default())
}

fn associated_type(t: &TraitItemType) -> String {
    let bounds = tokens(&t.bounds);
    let colon = if bounds.is_empty() { "" } else { ": " };
    format!("type {}{}{colon}{bounds}", t.ident, generics(&t.generics))
}

fn variant_head(variant: &Variant) -> String {
    let value = variant.discriminant.as_ref().map(|(_, value)| format!(" = {}", tokens(value)));
    format!("variant {}{}", variant.ident, value.unwrap_or_default())
}

fn is_pub(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Attributes that change what a user may do.
fn is_shown(attribute: &Attribute) -> bool {
    ["cfg", "deprecated", "must_use", "non_exhaustive", "repr"]
        .iter()
        .any(|name| attribute.path().is_ident(name))
}

fn is_hidden(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|a| {
        a.path().is_ident("doc") && a.parse_args::<syn::Path>().is_ok_and(|p| p.is_ident("hidden"))
    })
}

#[cfg(test)]
mod tests;
