//! Rules about the shape of a file: lengths, names, white space, the first lines.

use crate::rust_code::{blanked, functions};
use crate::tree::{SourceFile, Violation};

/// rustfmt breaks code at 110; what it cannot break (a long literal, a comment) may be this long.
const MAX_LINE_COLUMNS: usize = 120;
/// A file is read in one go; a longer one holds two ideas.
const MAX_FILE_LINES: usize = 500;
/// A function fits on a screen.
const MAX_FUNCTION_LINES: usize = 70;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["common", "helper", "helpers", "manager", "misc", "stuff", "types", "util", "utils"];

/// All rules of this file.
pub(crate) fn check(file: &SourceFile, found: &mut Vec<Violation>) {
    names(file, found);
    if !file.is_rust() {
        return;
    }
    lines(file, found);
    module_doc(file, found);
    for (name, first, length) in functions(&blanked(&file.text)) {
        if length > MAX_FUNCTION_LINES {
            let what = format!("function `{name}` has {length} lines, the limit is {MAX_FUNCTION_LINES}");
            found.push(Violation::new(file, first, what, "give a step of it a name of its own"));
        }
    }
    let length = file.text.lines().count();
    if length > MAX_FILE_LINES {
        let what = format!("{length} lines, the limit is {MAX_FILE_LINES}");
        found.push(Violation::new(
            file,
            length,
            what,
            "split it by idea, or move its tests to a sibling file",
        ));
    }
}

fn names(file: &SourceFile, found: &mut Vec<Violation>) {
    let folders = file.path.split('/').rev().skip(1);
    for name in folders.chain([file.stem()]).filter(|name| EMPTY_NAMES.contains(name)) {
        let what = format!("`{name}` says nothing about what is inside");
        found.push(Violation::new(file, 1, what, "name it after the one noun that it holds"));
    }
}

fn lines(file: &SourceFile, found: &mut Vec<Violation>) {
    for (number, line) in (1..).zip(file.text.lines()) {
        let columns = line.chars().count();
        if columns > MAX_LINE_COLUMNS {
            let what = format!("{columns} columns, the limit is {MAX_LINE_COLUMNS}");
            found.push(Violation::new(file, number, what, "break the line"));
        }
        if line.ends_with([' ', '\t', '\r']) {
            found.push(Violation::new(file, number, "white space at the end of a line", "run cargo fmt"));
        }
        if line.contains('\t') {
            found.push(Violation::new(file, number, "a tab", "run cargo fmt; write \\t inside a literal"));
        }
    }
    if !file.text.ends_with('\n') {
        found.push(Violation::new(file, file.text.lines().count(), "no newline at the end", "run cargo fmt"));
    }
}

fn module_doc(file: &SourceFile, found: &mut Vec<Violation>) {
    if !file.text.starts_with("//!") {
        let way_out = "begin with //! lines: why the file exists and the rule it keeps";
        found.push(Violation::new(file, 1, "no module doc", way_out));
    }
}

#[cfg(test)]
fn count(path: &str, text: &str) -> usize {
    let mut found = Vec::new();
    check(&SourceFile::sample(path, text), &mut found);
    found.len()
}

#[test]
fn line_length_rule_bites() {
    let line = |columns: usize| format!("//! {}\n", "x".repeat(columns - 4));
    assert_eq!(count("a/b.rs", &line(MAX_LINE_COLUMNS)), 0);
    assert_eq!(count("a/b.rs", &line(MAX_LINE_COLUMNS + 1)), 1);
}

#[test]
fn file_length_rule_bites() {
    assert_eq!(count("a/b.rs", &"//! x\n".repeat(MAX_FILE_LINES)), 0);
    assert_eq!(count("a/b.rs", &"//! x\n".repeat(MAX_FILE_LINES + 1)), 1);
}

#[test]
fn function_length_rule_bites() {
    let function = |lines: usize| format!("//! x\nfn a() {{\n{}}}\n", "b();\n".repeat(lines - 2));
    assert_eq!(count("a/b.rs", &function(MAX_FUNCTION_LINES)), 0);
    assert_eq!(count("a/b.rs", &function(MAX_FUNCTION_LINES + 1)), 1);
}

#[test]
fn name_rule_bites() {
    assert_eq!(count("a/price.rs", "//! x\n"), 0);
    assert_eq!(count("a/utils.rs", "//! x\n"), 1);
    assert_eq!(count("a/common/price.md", "x"), 1);
}

#[test]
fn white_space_rule_bites() {
    assert_eq!(count("a/b.rs", "//! x\nlet a = 1;\n"), 0);
    assert_eq!(count("a/b.rs", "//! x\nlet a = 1; \n"), 1);
    assert_eq!(count("a/b.rs", "//! x\n\tlet a = 1;\n"), 1);
    assert_eq!(count("a/b.rs", "//! x"), 1);
}

#[test]
fn module_doc_rule_bites() {
    assert_eq!(count("a/b.rs", "//! x\nfn a() {}\n"), 0);
    assert_eq!(count("a/b.rs", "fn a() {}\n"), 1);
}
