//! `completions` and `man`: printed from the same description as the parser's.
//!
//! Owns the order of a manual page's sections. The long help text behind the options keeps its
//! lines: each of its headings becomes a section of its own.

use std::io::{self, Write};

use clap_complete::{Shell, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::cli;

/// Prints the completions of `shell`, whose name the parser has checked.
pub(crate) fn completions(shell: &str, out: &mut impl Write) -> io::Result<()> {
    let shell: Shell = shell.parse().map_err(io::Error::other)?;
    let mut text = Vec::new();
    generate(shell, &mut cli::command(), "tenure", &mut text);
    out.write_all(&text)
}

/// Prints the manual page of `verb`, or of the whole command.
pub(crate) fn man(verb: Option<&str>, out: &mut impl Write) -> io::Result<()> {
    let (command, title) = match verb.and_then(|name| Some((cli::verb(name)?, name))) {
        Some((command, name)) => (command, format!("tenure-{name}")),
        None => (cli::command(), "tenure".to_owned()),
    };
    let after = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string);
    let verbs = command.has_subcommands();
    let page = Man::new(command).title(title).source(concat!("tenure ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if verbs {
        page.render_subcommands_section(&mut text)?;
    }
    text.extend(sections(&after.unwrap_or_default()).to_roff().bytes());
    out.write_all(&text)
}

/// A line that ends in a colon and is not indented opens a section; all others stay as they are.
fn sections(text: &str) -> Roff {
    let mut roff = Roff::new();
    for block in text.split("\n\n") {
        let mut lines = block.lines().peekable();
        match lines.peek().and_then(|line| line.strip_suffix(':')) {
            Some(heading) if !heading.starts_with(' ') => {
                roff.control("SH", [heading.to_uppercase().as_str()]);
                lines.next();
            }
            _ => {
                roff.control("PP", []);
            }
        }
        roff.control("nf", []);
        let lines: Vec<&str> = lines.map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
        roff.text([roman(lines.join("\n"))]);
        roff.control("fi", []);
    }
    roff
}
