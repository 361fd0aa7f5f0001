//! Rules about the documents: links lead somewhere, the version has its changelog entry, and every architecture
//! invariant names the test that keeps it, and that test exists.

use std::collections::BTreeSet;

use crate::rust_code::{blanked, functions};
use crate::tree::{SourceFile, Violation, root};

const ARCHITECTURE: &str = "docs/architecture.md";
const CHANGELOG: &str = "CHANGELOG.md";

/// All rules of this file.
pub(crate) fn check(files: &[SourceFile], found: &mut Vec<Violation>) {
    let root = root();
    let exists = |path: &str| root.join(path).exists();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        links(file, &exists, found);
    }
    let text = |path: &str| files.iter().find(|file| file.path == path);
    let manifest = text("Cargo.toml").expect("the workspace has a manifest");
    match text(CHANGELOG) {
        Some(changelog) => version(&manifest.text, changelog, found),
        None => found.push(Violation::new(manifest, 1, "no CHANGELOG.md", "write one")),
    }
    match text(ARCHITECTURE) {
        Some(architecture) => invariants(architecture, &test_names(files), found),
        None => found.push(Violation::new(manifest, 1, "no docs/architecture.md", "write one")),
    }
}

/// Every relative link of a Markdown file names a file or folder that exists.
fn links(file: &SourceFile, exists: &dyn Fn(&str) -> bool, found: &mut Vec<Violation>) {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut in_code = false;
    for (number, line) in (1..).zip(file.text.lines()) {
        in_code ^= line.trim_start().starts_with("```");
        if in_code {
            continue;
        }
        for link in line.split("](").skip(1) {
            let target = link.split([')', ' ', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            if !exists(&resolved(folder, target)) {
                let what = format!("the link `{target}` leads nowhere");
                found.push(Violation::new(file, number, what, "name the file relative to this one"));
            }
        }
    }
}

/// `a/b` and `../c` as `a/c`.
fn resolved(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// The version of the workspace has its entry.
fn version(manifest: &str, changelog: &SourceFile, found: &mut Vec<Violation>) {
    let line = manifest.lines().find_map(|line| line.strip_prefix("version = \"")).unwrap_or_default();
    let version = line.trim_end_matches('"');
    if version.is_empty() || !changelog.text.contains(&format!("## [{version}]")) {
        let what = format!("no entry for version `{version}`");
        found.push(Violation::new(changelog, 1, what, "add a section `## [VERSION]`"));
    }
}

/// Every numbered item of the section on invariants ends in ``Test: `name` `` (or several names), and each name is one
/// of a test in the tree.
fn invariants(file: &SourceFile, tests: &BTreeSet<String>, found: &mut Vec<Violation>) {
    let mut in_section = false;
    let mut items: Vec<(usize, String)> = Vec::new();
    for (number, line) in (1..).zip(file.text.lines()) {
        if line.starts_with('#') {
            in_section = line.to_lowercase().contains("invariant");
        } else if in_section && line.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(". ") {
            items.push((number, line.to_owned()));
        } else if let (true, Some((_, item))) = (in_section, items.last_mut()) {
            item.push(' ');
            item.push_str(line);
        }
    }
    if items.is_empty() {
        let way_out = "number the invariants under a heading with that word";
        found.push(Violation::new(file, 1, "no invariants found", way_out));
    }
    for (number, item) in items {
        let named =
            item.split_once("Test: ").or_else(|| item.split_once("Tests: ")).map_or("", |(_, names)| names);
        let names: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            found.push(Violation::new(file, number, "an invariant without a test", "end it in Test: `name`"));
        }
        for name in names {
            let function = name.rsplit("::").next().unwrap_or(name);
            if !tests.contains(function) {
                let what = format!("no test is called `{function}`");
                found.push(Violation::new(file, number, what, "name the test that keeps the invariant"));
            }
        }
    }
}

/// The name of every function that carries a test attribute.
fn test_names(files: &[SourceFile]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let code = blanked(&file.text);
        let lines: Vec<&str> = code.lines().collect();
        for (name, first, _) in functions(&code) {
            let attributes = lines[..first - 1].iter().rev().take_while(|line| line.trim().starts_with("#["));
            // proptest writes its tests inside a macro, with the same attribute.
            if attributes.into_iter().any(|line| line.contains("test]") || line.contains("test(")) {
                names.insert(name);
            }
        }
    }
    names
}

#[test]
fn link_rule_bites() {
    let count = |text: &str| {
        let mut found = Vec::new();
        links(&SourceFile::sample("docs/a.md", text), &|path| path == "README.md", &mut found);
        found.len()
    };
    assert_eq!(
        count("[a](../README.md#first) [b](https://example.org) [c](#here)\n```\n[d](e.md)\n```\n"),
        0
    );
    assert_eq!(count("[a](README.md) and [b](../README.md)\n"), 1);
}

#[test]
fn version_rule_bites() {
    let count = |text: &str| {
        let mut found = Vec::new();
        version(
            "[workspace.package]\nversion = \"1.2.3\"\n",
            &SourceFile::sample(CHANGELOG, text),
            &mut found,
        );
        found.len()
    };
    assert_eq!(count("# Changelog\n\n## [1.2.3] - unreleased\n"), 0);
    assert_eq!(count("# Changelog\n\n## [1.2.2] - 2026-01-01\n"), 1);
}

#[test]
fn invariant_rule_bites() {
    let count = |text: &str| {
        let mut found = Vec::new();
        let code = "#[test]\nfn kept() {}\nfn no_test() {}\n#[tokio::test(flavor)]\nasync fn waits() {}\n";
        let tests = test_names(&[SourceFile::sample("a/tests/b.rs", code)]);
        invariants(&SourceFile::sample(ARCHITECTURE, text), &tests, &mut found);
        found.len()
    };
    assert_eq!(
        count(
            "## Invariants\n1. One.\n   Test: `tidy::kept`\n2. Two. Tests: `kept`, `waits`\n## More\n1. x\n"
        ),
        0
    );
    assert_eq!(count("## Invariants\n1. One.\n2. Two. Test: `kept`\n"), 1);
    assert_eq!(count("## Invariants\n1. One. Test: `no_test`\n"), 1);
    assert_eq!(count("## Other\n"), 1);
}
