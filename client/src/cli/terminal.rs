//! What goes to the terminal: data on stdout, everything else on stderr. A reader that closes the pipe has seen enough:
//! that is success. Control characters out of answers and announcements never reach a terminal.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// Prints one JSON object and a line break.
pub fn print_json(value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string(value)?;
    text.push('\n');
    print(&text)
}

/// Prints text as it is.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Prints text that somebody else wrote: whole for a program, without control characters for a terminal.
pub fn print_foreign(text: &str) -> io::Result<()> {
    if io::stdout().is_terminal() { print(&without_controls(text)) } else { print(text) }
}

/// Says something on stderr. Nobody to hear it is no failure.
pub fn say(text: &str) {
    let mut stderr = anstream::stderr().lock();
    drop(writeln!(stderr, "{text}"));
}

/// Text without control characters other than line breaks and tabs.
#[must_use]
pub fn without_controls(text: &str) -> Cow<'_, str> {
    let is_bad = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(is_bad) { Cow::Owned(text.replace(is_bad, "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// The first characters of an id.
#[must_use]
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// A table for people.
pub fn print_table(header: &[&str], rows: Vec<Vec<String>>) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| name.to_uppercase()));
    for row in rows {
        table.add_row(row.iter().map(|cell| without_controls(cell).replace('\n', " ")));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    print(&format!("{}\n", lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_do_not_pass() {
        assert_eq!(without_controls("a\u{1b}[2Jb\n\tc"), "a\u{fffd}[2Jb\n\tc");
        assert!(matches!(without_controls("plain ü"), Cow::Borrowed(_)));
    }
}
