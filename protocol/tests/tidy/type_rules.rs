//! One definition for each shared type: the protocol's names are not defined again by another crate, and the
//! simulator defines none of the agents' core types. A second definition is where two parties begin to differ.

use std::collections::BTreeMap;

use crate::core_rules::is_core;
use crate::rust_code::{blanked, tests_begin};
use crate::tree::{SourceFile, Violation};

/// Compares the types of the protocol with every crate, and those of the cores with the simulator.
pub(crate) fn check(files: &[SourceFile], found: &mut Vec<Violation>) {
    let mut protocol = BTreeMap::new();
    let mut cores = BTreeMap::new();
    for file in files.iter().filter(|file| is_core(&file.path)) {
        let names = if file.path.starts_with("protocol/") { &mut protocol } else { &mut cores };
        for (name, _) in public_types(&file.text) {
            names.entry(name).or_insert_with(|| file.path.clone());
        }
    }
    for file in files.iter().filter(|file| file.is_rust() && file.path.contains("/src/")) {
        if file.path.starts_with("protocol/") {
            continue;
        }
        for (name, number) in public_types(&file.text) {
            let in_sim = file.path.starts_with("sim/");
            let first = protocol.get(&name).or_else(|| cores.get(&name).filter(|_| in_sim));
            if let Some(path) = first {
                let what = format!("a second `{name}`, the first is in {path}");
                found.push(Violation::new(
                    file,
                    number,
                    what,
                    "use that one, or name this one for what it is",
                ));
            }
        }
    }
}

/// Name and line of every public struct and enum before the tests of a file. Errors belong to their operation, and
/// two operations may fail alike.
fn public_types(text: &str) -> Vec<(String, usize)> {
    let code = blanked(text);
    let end = tests_begin(&code).unwrap_or(usize::MAX);
    let mut names = Vec::new();
    for (number, line) in (1..end).zip(code.lines()) {
        let mut words = line.split_whitespace();
        let declares = words.next() == Some("pub") && matches!(words.next(), Some("struct" | "enum"));
        let name = words.next().unwrap_or_default().split(['(', '<', '{', ';']).next().unwrap_or_default();
        if declares && !name.ends_with("Error") {
            names.push((name.to_owned(), number));
        }
    }
    names
}

#[test]
fn second_definition_rule_bites() {
    let count = |path: &str, text: &str| {
        let files = [
            SourceFile::sample("protocol/src/quote.rs", "pub struct Quote {\n}\npub enum QuoteError {}\n"),
            SourceFile::sample("router-agent/src/core/scheduler.rs", "pub struct Scheduler;\n"),
            SourceFile::sample(path, text),
        ];
        let mut found = Vec::new();
        check(&files, &mut found);
        found.len()
    };
    assert_eq!(
        count("client/src/core/failover.rs", "pub struct Failover(Quote);\npub enum QuoteError {}\n"),
        0
    );
    assert_eq!(count("client/src/core/failover.rs", "pub struct Quote<T>(T);\n"), 1);
    assert_eq!(count("node-agent/src/core/queue.rs", "pub struct Scheduler;\n"), 0);
    assert_eq!(count("sim/src/world.rs", "pub struct Scheduler;\n"), 1);
}
