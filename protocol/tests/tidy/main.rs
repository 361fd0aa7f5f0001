//! The rules of the tree that no compiler and no linter checks, as a test.
//!
//! `tree_is_tidy` reads every file of the repository and reports all violations at once, each with file, line and the
//! way out. Every rule stands beside a self-test with a sample it must pass and one it must catch, so that a rule which
//! stopped working is seen. No bound in here is raised to make room for one file: the file is what changes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod core_rules;
mod document_rules;
mod layout_rules;
mod rust_code;
mod source_rules;
mod tree;
mod type_rules;

use tree::{SourceFile, Violation, read_tree};

#[test]
fn tree_is_tidy() {
    let files = read_tree();
    assert!(files.len() > 20, "only {} files found: the walk looks at the wrong place", files.len());
    let mut found = Vec::new();
    for file in &files {
        layout_rules::check(file, &mut found);
        source_rules::check(file, &mut found);
    }
    document_rules::check(&files, &mut found);
    report(&found);
}

/// Architecture invariants 1 and 2: a core cannot reach a clock, a socket, a disk or a raw event.
#[test]
fn cores_import_only_what_they_may() {
    let files = read_tree();
    let cores: Vec<&SourceFile> = files.iter().filter(|file| core_rules::is_core(&file.path)).collect();
    assert!(!cores.is_empty(), "no core found: the rule looks at the wrong place");
    let mut found = Vec::new();
    for file in cores {
        core_rules::check(file, &mut found);
    }
    report(&found);
}

/// Architecture invariants 3 and 7: a type of the protocol exists once, and the simulator has no second copy of a core.
#[test]
fn shared_types_exist_once() {
    let mut found = Vec::new();
    type_rules::check(&read_tree(), &mut found);
    report(&found);
}

fn report(found: &[Violation]) {
    let lines: Vec<String> = found.iter().map(Violation::to_string).collect();
    assert!(lines.is_empty(), "{} violations:\n{}", lines.len(), lines.join("\n"));
}
