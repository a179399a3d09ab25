//! Tokens as one line of text, spaced the way people write them.
//!
//! Owns spaces only. It is made for signatures, types and attributes, not for expressions.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;

/// `syntax` as one line.
pub(super) fn tokens(syntax: &impl ToTokens) -> String {
    let mut line = Line { text: String::new(), last: Last::Open };
    line.stream(syntax.to_token_stream());
    line.drop_comma();
    line.text
}

/// What stands at the end of the line, as far as the next space depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Nothing, or what the next token clings to.
    Open,
    /// A word, a literal or a closed group.
    Word,
    /// A sign that is followed by a space.
    Sign,
}

struct Line {
    text: String,
    last: Last,
}

impl Line {
    fn stream(&mut self, stream: TokenStream) {
        let mut sign = String::new();
        for token in stream {
            match token {
                TokenTree::Punct(p) => {
                    sign.push(p.as_char());
                    // `->`, `::` and `..` come in parts; `'a` is a sign and a word.
                    if p.spacing() == Spacing::Alone || p.as_char() == '\'' || !continues(&sign) {
                        self.sign(&std::mem::take(&mut sign));
                    }
                }
                TokenTree::Group(group) => {
                    self.sign(&std::mem::take(&mut sign));
                    self.group(group.delimiter(), group.stream());
                }
                TokenTree::Ident(word) => {
                    self.sign(&std::mem::take(&mut sign));
                    self.word(&word.to_string());
                }
                TokenTree::Literal(literal) => {
                    self.sign(&std::mem::take(&mut sign));
                    self.word(&literal.to_string());
                }
            }
        }
        self.sign(&sign);
    }

    fn word(&mut self, word: &str) {
        if self.last != Last::Open {
            self.text.push(' ');
        }
        self.text.push_str(word);
        self.last = Last::Word;
    }

    fn sign(&mut self, sign: &str) {
        let (before, last) = match sign {
            "" => return,
            "," | ";" | ":" => (false, Last::Sign),
            // `Vec<T>`, `Result<A> where`, `impl<T> Lock`.
            "<" => (self.last == Last::Sign, Last::Open),
            ">" => {
                self.drop_comma();
                (false, Last::Word)
            }
            "::" => (self.last == Last::Sign, Last::Open),
            "." | ".." | "!" => (self.last == Last::Sign, Last::Open),
            "&" | "'" | "*" | "#" | "?" => (self.last != Last::Open, Last::Open),
            _ => (true, Last::Sign),
        };
        if before {
            self.text.push(' ');
        }
        self.text.push_str(sign);
        self.last = last;
    }

    /// A comma after the last of a list comes and goes with the line breaks.
    fn drop_comma(&mut self) {
        if self.text.ends_with(',') {
            self.text.pop();
        }
    }

    fn group(&mut self, delimiter: Delimiter, stream: TokenStream) {
        let (open, close) = match delimiter {
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::Bracket => ("[", "]"),
            Delimiter::Brace => ("{ ", " }"),
            Delimiter::None => ("", ""),
        };
        // A call or a list of parameters clings to its name.
        let clings = delimiter == Delimiter::Parenthesis && self.last == Last::Word;
        if self.last != Last::Open && !clings {
            self.text.push(' ');
        }
        self.text.push_str(open);
        self.last = Last::Open;
        self.stream(stream);
        self.drop_comma();
        self.text.push_str(close);
        self.last = Last::Word;
    }
}

/// Whether a further sign may belong to this one.
fn continues(sign: &str) -> bool {
    matches!(sign, "-" | ":" | "." | ".." | "=" | "|" | "+")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(source: &str) -> String {
        let signature: syn::Signature = syn::parse_str(source).unwrap();
        tokens(&signature)
    }

    #[test]
    fn signatures_read_as_written() {
        for source in [
            "const fn new(config: Config) -> Self",
            "fn poll(&mut self, now: Time, view: &View<'_>) -> Option<(Action, u8)>",
            "async fn run<'a, F>(&'a self, f: F) -> Result<T, Error> where F: FnOnce(&'a Hold) -> T + Send",
            "fn f<const N: usize>(a: [u8; N], b: &[u8], c: *const u8, d: impl Into<String>)",
            "fn g(x: Box<dyn Store + Send + 'static>, y: core::time::Duration, z: fn(u8) -> bool)",
            "fn h<T: ?Sized>(t: &mut T) -> !",
            "fn i() -> impl Iterator<Item = &'static str> + '_",
            "fn j(a: Vec<Vec<u8>>, b: <T as Store>::Key)",
        ] {
            assert_eq!(again(source), source);
        }
    }

    #[test]
    fn line_breaks_and_last_commas_do_not_count() {
        assert_eq!(
            again("fn f<\n T,\n>(\n  a: T,\n) -> u8\nwhere\n  T: A,\n"),
            "fn f<T>(a: T) -> u8 where T: A"
        );
    }

    #[test]
    fn attributes_read_as_written() {
        let attribute: syn::Attribute = syn::parse_quote!(#[cfg(all(feature = "kube", not(test)))]);
        assert_eq!(tokens(&attribute.meta), "cfg(all(feature = \"kube\", not(test)))");
    }
}
