//! Rules about what is written in a file: unfinished marks, sleeping tests, silent ignores, paths of one machine.

use crate::rust_code::{blanked, tests_begin};
use crate::tree::{SourceFile, Violation};

/// Marks of unfinished work, in pieces, so that this file does not carry them.
const MARKS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
/// Macros that stand where code should.
const PLACEHOLDERS: &[&str] = &[concat!("todo", "!("), concat!("unimplemented", "!(")];
/// Folders that exist on one developer's machine only, in pieces for the same reason.
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];

/// All rules of this file.
pub(crate) fn check(file: &SourceFile, found: &mut Vec<Violation>) {
    marks(file, found);
    machine_paths(file, found);
    if file.is_rust() {
        let code = blanked(&file.text);
        sleeping_tests(file, &code, found);
        for (number, line) in (1..).zip(code.lines()) {
            if PLACEHOLDERS.iter().any(|macro_call| line.contains(macro_call)) {
                found.push(Violation::new(
                    file,
                    number,
                    "a placeholder",
                    "write it, or return an error that says so",
                ));
            }
            if line.replace(' ', "").contains("#[ignore]") {
                let way_out = "#[ignore = \"why, and the command that runs it\"]";
                found.push(Violation::new(file, number, "a test ignored without a reason", way_out));
            }
        }
    }
}

fn marks(file: &SourceFile, found: &mut Vec<Violation>) {
    for (number, line) in (1..).zip(file.text.lines()) {
        let is_word = |word: &&&str| {
            line.match_indices(**word).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                let after = line[at + word.len()..].chars().next();
                ![before, after].into_iter().flatten().any(|c| c.is_alphanumeric() || c == '_' || c == '-')
            })
        };
        if let Some(mark) = MARKS.iter().find(is_word) {
            let what = format!("an unfinished mark, {mark}");
            found.push(Violation::new(file, number, what, "do it now, or take it to docs/project-live.md"));
        }
    }
}

fn machine_paths(file: &SourceFile, found: &mut Vec<Violation>) {
    for (number, line) in (1..).zip(file.text.lines()) {
        let is_path = |folder: &&&str| {
            line.match_indices(**folder).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || "._-}~$".contains(c))
            })
        };
        if let Some(folder) = MACHINE_PATHS.iter().find(is_path) {
            let what = format!("a path of one machine, {folder}");
            found.push(Violation::new(file, number, what, "write it relative to the repository or to ~"));
        }
    }
}

fn sleeping_tests(file: &SourceFile, code: &str, found: &mut Vec<Violation>) {
    let in_folder = file.path.contains("/tests/") || file.path.ends_with("tests.rs");
    let Some(first) = in_folder.then_some(1).or_else(|| tests_begin(code)) else {
        return;
    };
    for (number, line) in (1..).zip(code.lines()).skip(first - 1) {
        if line.contains("sleep(") {
            let way_out = "pause the time, or wait for the event with a timeout";
            found.push(Violation::new(file, number, "a test that sleeps", way_out));
        }
    }
}

#[cfg(test)]
fn count(path: &str, text: &str) -> usize {
    let mut found = Vec::new();
    check(&SourceFile::sample(path, text), &mut found);
    found.len()
}

#[test]
fn mark_rule_bites() {
    for mark in MARKS {
        assert_eq!(count("a/b.md", &format!("x\n{mark}: later\n")), 1);
        assert_eq!(count("a/b.sh", &format!("mktemp a.{mark}{mark}\n")), 0);
    }
    assert_eq!(count("a/b.rs", &format!("fn a() {{ {}) }}\n", PLACEHOLDERS[0])), 1);
    assert_eq!(count("a/b.rs", &format!("// {})\n", PLACEHOLDERS[0])), 0);
}

#[test]
fn machine_path_rule_bites() {
    for folder in MACHINE_PATHS {
        assert_eq!(count("a/b.md", &format!("see {folder}x\n")), 1);
        assert_eq!(count("a/b.md", &format!("see https://example.org{folder}x\n")), 0);
    }
}

#[test]
fn sleep_rule_bites() {
    let sleep = "fn a() { tokio::time::sleep(second).await; }\n";
    assert_eq!(count("a/src/b.rs", sleep), 0);
    assert_eq!(count("a/tests/b.rs", sleep), 1);
    assert_eq!(count("a/src/b.rs", &format!("#[cfg(test)]\nmod tests {{ {sleep} }}\n")), 1);
    assert_eq!(count("a/tests/b.rs", "// never sleep(1)\n"), 0);
}

#[test]
fn ignore_rule_bites() {
    assert_eq!(count("a/tests/b.rs", "#[ignore = \"needs a GPU: cargo test -- --ignored\"]\n"), 0);
    assert_eq!(count("a/tests/b.rs", "#[ignore]\n"), 1);
}
