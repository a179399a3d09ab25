//! What the documents promise about the tree: commands that exist, links that lead somewhere.
//!
//! Owns the README's two commands as a rule: CI runs the very command a reader is told to run.

use std::path::{Component, Path, PathBuf};

use crate::steps::Findings;
use crate::workspace::Workspace;

/// The README's test command, and CI's.
pub(crate) const TEST_COMMAND: &str = "cargo xtask test";

/// Reads README, CI script and all Markdown.
pub(crate) fn check(workspace: &Workspace) -> Findings {
    let mut findings = Findings::new();
    let readme = workspace.read(Path::new("README.md")).unwrap_or_default();
    findings.extend(readme_examples(&readme));
    let ci = workspace.read(Path::new(".ci/run")).unwrap_or_default();
    if !ci.lines().any(|l| l.trim_start_matches("exec ").trim() == TEST_COMMAND) {
        findings
            .push(format!(".ci/run: must run the README's `{TEST_COMMAND}`, and nothing weaker"));
    }
    for file in workspace.files.iter().filter(|f| f.extension().is_some_and(|e| e == "md")) {
        let text = workspace.read(file).unwrap_or_default();
        for link in links(&text) {
            let target = beside(file, link);
            if !workspace.root.join(&target).exists() {
                findings.push(format!("{}: links to {link}, which is not there", file.display()));
            }
        }
    }
    findings
}

fn readme_examples(readme: &str) -> Findings {
    let mut findings = Findings::new();
    let commands: Vec<&str> = blocks(readme, "sh").flat_map(str::lines).map(str::trim).collect();
    let main_job =
        |c: &&str| c.starts_with("cargo run ") && c.contains(" run ") && c.contains(" -- ");
    if !commands.contains(&TEST_COMMAND) {
        findings
            .push(format!("README.md: a `sh` block must hold the test command, `{TEST_COMMAND}`"));
    }
    if !commands.iter().any(main_job) {
        findings.push(
            "README.md: a `sh` block must run the main job, `cargo run .. -- run ..`".to_owned(),
        );
    }
    if !blocks(readme, "text").any(|shown| shown.contains("$ tenure run ")) {
        findings.push("README.md: a `text` block must show a recorded `tenure run`".to_owned());
    }
    findings
}

/// The fenced blocks of a language.
fn blocks<'a>(text: &'a str, language: &'a str) -> impl Iterator<Item = &'a str> {
    // Every other piece between fences is a block, with its language in the first line.
    text.split("```").skip(1).step_by(2).filter_map(move |block| {
        let (first, rest) = block.split_once('\n')?;
        (first.trim() == language).then_some(rest)
    })
}

/// Relative targets of inline links, outside code.
fn links(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    let targets = prose.flat_map(|p| p.split("](").skip(1)).filter_map(|rest| {
        let target = rest.split(')').next()?.split('#').next()?;
        Some(target.trim())
    });
    targets.filter(|t| !t.is_empty() && !t.contains("://") && !t.starts_with("mailto:")).collect()
}

/// A link of `file`, from the workspace's root.
fn beside(file: &Path, link: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in file.parent().unwrap_or(file).join(link).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_taken_from_shell_blocks_only() {
        let text = "a\n```sh\none\ntwo\n```\nb\n```text\nthree\n```\n";
        assert_eq!(blocks(text, "sh").collect::<Vec<_>>(), ["one\ntwo\n"]);
    }

    #[test]
    fn a_readme_without_its_commands_is_refused() {
        assert_eq!(readme_examples("# x").len(), 3);
        let whole = "```sh\ncargo run -p cli -- run a -- true\n```\n```sh\ncargo xtask test\n```\n\
                     ```text\na$ tenure run a -- true\n```";
        assert_eq!(readme_examples(whole), Vec::<String>::new());
    }

    #[test]
    fn links_lead_from_the_file_that_has_them() {
        let text = "[a](docs/a.md#part) [b](https://x.example/y) ```[c](d)``` [e](#here)";
        assert_eq!(links(text), ["docs/a.md"]);
        assert_eq!(beside(Path::new("docs/a.md"), "../README.md"), Path::new("README.md"));
    }
}
