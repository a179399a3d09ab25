//! The modules of a crate and the items in them, as the files say.
//!
//! Owns finding a module's file. Knows nothing of visibility.

use std::path::{Path, PathBuf};

use syn::{Attribute, Item};

/// Index of a module in [`Crate::modules`]; the root is 0.
pub(super) type ModuleId = usize;

/// A crate, parsed.
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) modules: Vec<Module>,
}

/// One module.
pub(super) struct Module {
    pub(super) parent: Option<ModuleId>,
    pub(super) items: Vec<Item>,
    /// Name and index of each child, in the order of the source.
    pub(super) children: Vec<(String, ModuleId)>,
}

impl Crate {
    /// Parses the crate whose root source is `root`.
    pub(super) fn load(name: &str, root: &Path) -> Result<Self, String> {
        let mut krate = Self { name: name.to_owned(), modules: Vec::new() };
        let folder = root.parent().unwrap_or(root).to_owned();
        krate.add(None, parse(root)?, &folder)?;
        Ok(krate)
    }

    /// Adds a module whose children's files are in `folder`.
    fn add(
        &mut self,
        parent: Option<ModuleId>,
        mut items: Vec<Item>,
        folder: &Path,
    ) -> Result<ModuleId, String> {
        items.retain(|item| !is_test_only(attributes(item)));
        let id = self.modules.len();
        let mut inside = Vec::new();
        for item in &mut items {
            let Item::Mod(module) = item else { continue };
            let content = module.content.take().map(|(_, items)| items);
            inside.push((module.ident.to_string(), content));
        }
        self.modules.push(Module { parent, items, children: Vec::new() });
        for (name, content) in inside {
            let (items, below) = match content {
                Some(items) => (items, folder.join(&name)),
                None => from_file(folder, &name)?,
            };
            let child = self.add(Some(id), items, &below)?;
            self.modules[id].children.push((name, child));
        }
        Ok(id)
    }
}

/// Whether `#[cfg(test)]` stands before it.
pub(crate) fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|a| {
        a.path().is_ident("cfg")
            && a.parse_args::<syn::Path>().is_ok_and(|only| only.is_ident("test"))
    })
}

/// What stands before an item in `#[..]`.
pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(i) => &i.attrs,
        Item::Enum(i) => &i.attrs,
        Item::ExternCrate(i) => &i.attrs,
        Item::Fn(i) => &i.attrs,
        Item::Impl(i) => &i.attrs,
        Item::Macro(i) => &i.attrs,
        Item::Mod(i) => &i.attrs,
        Item::Static(i) => &i.attrs,
        Item::Struct(i) => &i.attrs,
        Item::Trait(i) => &i.attrs,
        Item::Type(i) => &i.attrs,
        Item::Union(i) => &i.attrs,
        Item::Use(i) => &i.attrs,
        _ => &[],
    }
}

fn from_file(folder: &Path, name: &str) -> Result<(Vec<Item>, PathBuf), String> {
    let below = folder.join(name);
    let beside = folder.join(format!("{name}.rs"));
    let file = if beside.is_file() { beside } else { below.join("mod.rs") };
    Ok((parse(&file)?, below))
}

fn parse(file: &Path) -> Result<Vec<Item>, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let parsed = syn::parse_file(&text).map_err(|e| {
        let at = e.span().start();
        format!("{}:{}: {e}", file.display(), at.line)
    })?;
    Ok(parsed.items)
}
