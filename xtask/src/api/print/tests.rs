use super::*;
use crate::api::tree::Crate;

/// The listing of a crate with this one source.
fn listed(source: &str) -> Vec<String> {
    let folder =
        std::env::temp_dir().join(format!("xtask-api-{}-{:p}", std::process::id(), source));
    std::fs::create_dir_all(&folder).unwrap();
    let root = folder.join("lib.rs");
    std::fs::write(&root, source).unwrap();
    let krate = Crate::load("k", &root).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    lines(&krate).into_iter().collect()
}

#[test]
fn what_a_private_module_re_exports_is_listed_where_users_find_it() {
    let source = "
        mod inner {
            pub mod deep { pub struct Made { pub a: u8, b: u8 } pub struct Unseen; }
            pub(crate) fn own() {}
        }
        pub use inner::deep::Made as Shown;
        pub use other::Thing;
    ";
    assert_eq!(
        listed(source),
        ["k::Shown: pub struct Made { .. }", "k::Shown::a: u8", "k::Thing: pub use other::Thing"]
    );
}

#[test]
fn globs_and_circles_end() {
    let source = "
        pub mod a { pub use super::b::*; pub fn one() {} }
        pub mod b { pub use super::a; }
    ";
    let listed = listed(source);
    assert!(listed.contains(&"k::a::one: pub fn one()".to_owned()), "{listed:?}");
    assert!(listed.contains(&"k::b::a::one: pub fn one()".to_owned()), "{listed:?}");
}

#[test]
fn methods_fields_variants_and_implementations_are_listed() {
    let source = "
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        pub enum Cause { Deadline, By { who: String }, Code(u8) }
        impl Cause {
            /// Not in the listing.
            #[must_use]
            pub fn code(&self) -> u8 { 0 }
            fn private(&self) {}
        }
        impl From<u8> for Cause { fn from(_: u8) -> Self { Self::Deadline } }
        pub trait Store: Send { const N: u8; type Key: Ord; fn read(&self); fn more(&self) {} fn end(mut self, mut n: u8) {} }
        impl<T> Store for Vec<T> {}
    ";
    assert_eq!(
        listed(source),
        [
            "k::Cause: impl Clone",
            "k::Cause: impl Debug",
            "k::Cause: impl From<u8> for Cause",
            "k::Cause: pub enum Cause #[non_exhaustive]",
            "k::Cause::By: variant By",
            "k::Cause::By::who: String",
            "k::Cause::Code: variant Code",
            "k::Cause::Code::0: u8",
            "k::Cause::Deadline: variant Deadline",
            "k::Cause::code: pub fn code(&self) -> u8 #[must_use]",
            "k::Store: impl Store for Vec<T>",
            "k::Store: pub trait Store: Send",
            "k::Store::Key: type Key: Ord",
            "k::Store::N: const N: u8",
            "k::Store::end: fn end(self, n: u8) { .. }",
            "k::Store::more: fn more(&self) { .. }",
            "k::Store::read: fn read(&self)",
        ]
    );
}

#[test]
fn private_hidden_and_test_items_are_not_listed() {
    let source = "
        struct A;
        impl A { pub fn f(&self) {} }
        pub(crate) struct B;
        #[doc(hidden)] pub struct C;
        #[cfg(test)] pub mod tests { pub struct D; }
        #[cfg(feature = \"kube\")] pub fn e() {}
    ";
    assert_eq!(listed(source), ["k::e: pub fn e() #[cfg(feature = \"kube\")]"]);
}
