//! What the words of `tenure-core` must not contain.
//!
//! The compiler keeps most of it: the crate is `no_std` and has no dependencies. This keeps the
//! rest: that it stays so, and that nobody brings waiting or a clock in through `core::future`.
//! Comments and documentation are not looked at; modules for tests only may use anything.

use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};

use crate::api::is_test_only;
use crate::steps::Findings;
use crate::workspace::Workspace;

/// A word of code, and what it would bring in.
const BANNED: &[(&str, &str)] = &[
    ("std", "the operating system"),
    ("async", "waiting"),
    ("await", "waiting"),
    ("Future", "waiting"),
    ("Waker", "waiting"),
    ("Instant", "a clock"),
    ("SystemTime", "a clock"),
    ("UNIX_EPOCH", "a clock"),
    ("RandomState", "randomness"),
    ("rand", "randomness"),
    ("getrandom", "randomness"),
    ("unsafe", "unsafe code"),
    ("serde", "serialization"),
];

/// Reads every source of the core.
pub(crate) fn check(workspace: &Workspace) -> Findings {
    let mut findings = Findings::new();
    let folder = Path::new("crates/tenure-core/src");
    let sources = workspace.files.iter().filter(|f| f.starts_with(folder));
    let mut count = 0;
    for file in sources.filter(|f| f.extension().is_some_and(|e| e == "rs")) {
        count += 1;
        let text = workspace.read(file).unwrap_or_default();
        match syn::parse_file(&text) {
            Ok(parsed) => look(file, &parsed, &mut findings),
            Err(e) => findings.push(format!("{}: {e}", file.display())),
        }
    }
    if count == 0 {
        findings.push(format!("{}: no sources found", folder.display()));
    }
    findings
}

fn look(file: &Path, parsed: &syn::File, findings: &mut Findings) {
    let is_root = file.ends_with("src/lib.rs");
    let no_std = parsed.attrs.iter().any(|a| a.path().is_ident("no_std"));
    if is_root && !no_std {
        findings.push(format!("{}: must say #![no_std]", file.display()));
    }
    // `mod x;` of a test-only module leaves its file to be found by name.
    if file.file_name().is_some_and(|n| n == "tests.rs") {
        return;
    }
    for item in parsed.items.iter().filter(|i| !is_test_only(crate::api::attributes(i))) {
        words(file, quote_tokens(item), findings);
    }
}

fn quote_tokens(item: &syn::Item) -> TokenStream {
    use quote::ToTokens;
    item.to_token_stream()
}

fn words(file: &Path, tokens: TokenStream, findings: &mut Findings) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => words(file, group.stream(), findings),
            TokenTree::Ident(word) => {
                if let Some((banned, brings)) = BANNED.iter().find(|(b, _)| word == b) {
                    let line = word.span().start().line;
                    let at = format!("{}:{line}", file.display());
                    findings.push(format!(
                        "{at}: `{banned}` brings {brings} into the core; pass it in"
                    ));
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> Vec<String> {
        let mut findings = Vec::new();
        let parsed = syn::parse_file(source).unwrap();
        look(Path::new("src/lib.rs"), &parsed, &mut findings);
        findings
    }

    #[test]
    fn a_clock_in_the_core_is_found_with_its_line() {
        let found = found("#![no_std]\nfn f() {\n    let t = std::time::Instant::now();\n}\n");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[1].starts_with("src/lib.rs:3: `Instant` brings a clock"), "{found:?}");
    }

    #[test]
    fn comments_and_tests_may_name_what_code_may_not() {
        let quiet = "#![no_std]\n//! No std::time here.\n/// Not async.\nstruct A;\n\
                     #[cfg(test)]\nmod tests { use std::time::Instant; }\n";
        assert_eq!(found(quiet), Vec::<String>::new());
    }

    #[test]
    fn the_root_must_be_no_std() {
        assert_eq!(found("struct A;").len(), 1);
    }
}
