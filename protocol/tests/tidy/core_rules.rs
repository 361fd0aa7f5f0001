//! What a core may reach. A core is a state machine: what it needs of the world comes in as an argument.
//!
//! `protocol/src` and every `src/core` keep to a list of crates without I/O; the lists are short on purpose, and a new
//! entry needs the same property. Tests inside a core are free of the rule.

use crate::rust_code::{blanked, tests_begin};
use crate::tree::{SourceFile, Violation};

/// Crates a core may name. None of them reads a clock, a socket or a disk when called.
const CORE_CRATES: &[&str] = &[
    "alloc",
    "core",
    "crate",
    "fedai_protocol",
    "hex",
    "indexmap",
    "libm",
    "rand_chacha",
    "rand_core",
    "self",
    "serde",
    "serde_json",
    "sha2",
    "std",
    "super",
    "thiserror",
];
/// The protocol signs, hashes and seals, so it may name these as well.
const PROTOCOL_CRATES: &[&str] = &["base64", "chacha20poly1305", "nostr", "zeroize"];
/// The client may run the router's own scheduler: the pure core of another agent.
const CLIENT_CRATES: &[&str] = &["fedai_router_agent"];
/// What must not appear in the code of a core, and why.
const BANNED: &[(&str, &str)] = &[
    ("SystemTime", "time is an argument"),
    ("Instant", "time is an argument"),
    ("Timestamp::now", "time is an argument"),
    ("HashMap", "its order differs from run to run: BTreeMap or IndexMap"),
    ("HashSet", "its order differs from run to run: BTreeSet or IndexSet"),
    ("std::fs", "a core has no disk"),
    ("std::net", "a core has no socket"),
    ("std::env", "a core has no environment"),
    ("std::thread", "a core has no thread"),
    ("std::process", "a core starts nothing"),
    ("tokio::", "a core does not wait"),
    ("nostr_sdk", "only relay-bridge knows the SDK"),
    ("fedai_relay_bridge", "the bridge is for shells"),
    ("OsRng", "randomness is a seeded generator handed in"),
    ("thread_rng", "randomness is a seeded generator handed in"),
    ("println!", "a core returns what is to be said"),
];

/// Whether the rule covers this file.
pub(crate) fn is_core(path: &str) -> bool {
    let pure =
        path.starts_with("protocol/src/") || path.contains("/src/core/") || path.ends_with("/src/core.rs");
    pure && path.ends_with(".rs") && !path.ends_with("tests.rs") && !path.contains("/tests/")
}

/// The imports and the words of one core file.
pub(crate) fn check(file: &SourceFile, found: &mut Vec<Violation>) {
    let code = blanked(&file.text);
    let end = tests_begin(&code).unwrap_or(usize::MAX);
    let modules: Vec<&str> = code.lines().filter_map(declared_module).collect();
    for (number, line) in (1..end).zip(code.lines()) {
        for (word, reason) in BANNED.iter().filter(|(word, _)| line.contains(word)) {
            found.push(Violation::new(file, number, format!("`{word}` in a core"), reason));
        }
        let Some(first) = imported(line) else {
            continue;
        };
        if !may_import(&file.path, first) && !modules.contains(&first) {
            let what = format!("a core imports `{first}`");
            let way_out =
                "hand its result in as an argument; for a module of this crate write crate:: or super::";
            found.push(Violation::new(file, number, what, way_out));
        }
    }
}

fn may_import(path: &str, name: &str) -> bool {
    let special = match path.split('/').next() {
        Some("protocol") => PROTOCOL_CRATES,
        Some("client") => CLIENT_CRATES,
        _ => &[],
    };
    CORE_CRATES.contains(&name) || special.contains(&name)
}

/// The name in `mod name;`.
fn declared_module(line: &str) -> Option<&str> {
    without_visibility(line).strip_prefix("mod ")?.strip_suffix(';')
}

/// The crate or module that a `use` line names first; none for an enum's variants.
fn imported(line: &str) -> Option<&str> {
    let path = without_visibility(line).strip_prefix("use ")?.trim_start_matches("::");
    let first = path.split([':', ';', ' ', '{']).next()?;
    first.starts_with(|c: char| c.is_lowercase()).then_some(first)
}

fn without_visibility(line: &str) -> &str {
    let line = line.trim_start();
    ["pub ", "pub(crate) ", "pub(super) "].iter().find_map(|word| line.strip_prefix(word)).unwrap_or(line)
}

#[cfg(test)]
fn count(path: &str, text: &str) -> usize {
    let mut found = Vec::new();
    check(&SourceFile::sample(path, text), &mut found);
    found.len()
}

#[test]
fn core_import_rule_bites() {
    let core = "router-agent/src/core/scheduler.rs";
    assert_eq!(
        count(core, "use std::time::Duration;\nuse fedai_protocol::price::Price;\nuse Mode::Fast;\n"),
        0
    );
    assert_eq!(count(core, "pub use nostr::Event;\n"), 1);
    assert_eq!(count(core, "pub mod price;\npub use price::Price;\nuse other::Thing;\n"), 1);
    assert_eq!(count("protocol/src/quote.rs", "use nostr::Event;\n"), 0);
    assert_eq!(count(core, "use fedai_router_agent::core::scheduler::Scheduler;\n"), 1);
    assert_eq!(
        count("client/src/core/local_router.rs", "use fedai_router_agent::core::scheduler::Scheduler;\n"),
        0
    );
}

#[test]
fn core_word_rule_bites() {
    let core = "node-agent/src/core/session.rs";
    for (word, _) in BANNED {
        assert_eq!(count(core, &format!("let a = {word};\n")), 1, "{word}");
        assert_eq!(count(core, &format!("// {word}\n#[cfg(test)]\nmod tests {{ {word} }}\n")), 0, "{word}");
    }
}

#[test]
fn only_cores_are_covered() {
    assert!(is_core("protocol/src/quote.rs") && is_core("client/src/core/failover.rs"));
    assert!(!is_core("client/src/shell/wallet.rs") && !is_core("node-agent/src/core/session/tests.rs"));
}
