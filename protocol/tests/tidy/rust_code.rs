//! Rust text with comments and literals blanked out, so that a rule about code does not trip over prose.
//!
//! A scanner of a hundred lines instead of a parser: it knows comments, strings, raw strings and characters, keeps
//! every line where it was, and is told apart from a lifetime by what follows the quote.

/// The text with every comment and the inside of every literal replaced by spaces.
pub(crate) fn blanked(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            for character in &chars[at..end] {
                out.push(if *character == '\n' { '\n' } else { ' ' });
            }
            at = end;
        }
    }
    out
}

/// Every function of blanked text: name, first line (from 1) and number of lines.
pub(crate) fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("fn ") {
        let is_word = code[..start].chars().next_back().is_none_or(|before| !is_name(before));
        let name: String = code[start + 3..].chars().take_while(|c| is_name(*c)).collect();
        if !is_word || name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(code, start) {
            let first = code[..start].matches('\n').count() + 1;
            found.push((name, first, code[start..end].matches('\n').count() + 1));
        }
    }
    found
}

/// The line (from 1) from which on a file holds its tests; none where it has no test module.
pub(crate) fn tests_begin(code: &str) -> Option<usize> {
    let lines: Vec<&str> = code.lines().map(str::trim_start).collect();
    let begins = |index: &usize| {
        let declared = lines[index + 1..].iter().find(|line| !line.starts_with("#["));
        lines[*index].starts_with("#[cfg(test)]") && declared.is_some_and(|line| line.starts_with("mod "))
    };
    (0..lines.len()).find(begins).map(|index| index + 1)
}

/// Where the body that follows a signature ends; none for a declaration without a body.
fn body_end(code: &str, start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut brackets = 0_usize;
    for (offset, character) in code[start..].char_indices() {
        match character {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            ';' if depth == 0 && brackets == 0 => return None,
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(start + offset + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// The end of the comment or literal that begins at `at`; `at` itself where none begins.
fn literal_end(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => until(chars, at, |index| chars[index] == '\n'),
        '/' if next == Some('*') => block_comment_end(chars, at),
        '"' => string_end(chars, at),
        'r' if at == 0 || !is_name(chars[at - 1]) || chars[at - 1] == 'b' => raw_string_end(chars, at),
        '\'' if next == Some('\\') => until(chars, at + 3, |index| chars[index] == '\'') + 1,
        '\'' if chars.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
    .min(chars.len())
}

fn until(chars: &[char], from: usize, stop: impl Fn(usize) -> bool) -> usize {
    (from..chars.len()).find(|index| stop(*index)).unwrap_or(chars.len())
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut index = at;
    while index + 1 < chars.len() {
        match (chars[index], chars[index + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                index += 1;
                continue;
            }
        }
        index += 2;
        if depth == 0 {
            return index;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], at: usize) -> usize {
    let mut index = at + 1;
    while index < chars.len() {
        match chars[index] {
            '\\' => index += 2,
            '"' => return index + 1,
            _ => index += 1,
        }
    }
    chars.len()
}

fn raw_string_end(chars: &[char], at: usize) -> usize {
    let hashes = until(chars, at + 1, |index| chars[index] != '#') - at - 1;
    if chars.get(at + 1 + hashes) != Some(&'"') {
        return at;
    }
    let closes = |index: usize| {
        chars[index] == '"' && (1..=hashes).all(|further| chars.get(index + further) == Some(&'#'))
    };
    until(chars, at + 2 + hashes, closes) + 1 + hashes
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[test]
fn comments_and_literals_are_blanked() {
    let literals = "let a = \"x{\\\"\"; // y{\n/* { /* { */ */ b('{', '\\'', r#\"z\"{\"#);\n";
    let code = blanked(&format!("{literals}fn c<'a>(d: &'a str) {{}}"));
    assert!(!code.contains(['x', 'y', 'z']), "{code}");
    assert_eq!(code.matches('{').count(), 1, "{code}");
    assert_eq!(code.lines().count(), 3);
    assert!(code.contains("fn c<'a>(d: &'a str) {}"));
}

#[test]
fn functions_are_measured() {
    let short = "trait T { fn none(&self) -> [u8; 2]; }\nfn one() { if a { b } }\n";
    let code = format!("{short}impl X {{\n  fn two(\n    a: u8,\n  ) {{\n  }}\n}}\n");
    assert_eq!(functions(&code), [("one".to_owned(), 2, 1), ("two".to_owned(), 4, 4)]);
}

#[test]
fn tests_begin_at_their_module_and_not_at_a_lone_attribute() {
    assert_eq!(
        tests_begin("#[cfg(test)]\nuse a;\nfn b() {}\n#[cfg(test)]\n#[allow(c)]\nmod tests {}\n"),
        Some(4)
    );
    assert_eq!(tests_begin("#[cfg(test)]\nfn only_here() {}\n"), None);
}
