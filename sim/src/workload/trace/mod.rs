//! Recorded traces: who asked for how much, and when. Two forms are read, each told by its first line:
//! `TIMESTAMP,ContextTokens,GeneratedTokens` (a table), and objects with `timestamp`, `input_length`, `output_length`
//! and
//! `hash_ids` (one a line).
//!
//! A line that cannot be read stops the reading and is named: a trace with holes is another trace.

mod objects;
mod table;

use std::path::Path;

use thiserror::Error;

use super::block_table::{BlockSpan, BlockTable};

/// One recorded request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Time since the first one, in microseconds.
    pub at_micros: u64,
    /// Tokens of its prompt, at least 1.
    pub input_tokens: u32,
    /// Tokens of its answer, at least 1.
    pub output_tokens: u32,
    /// Its blocks.
    pub blocks: BlockSpan,
}

/// A trace, in order of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Name of its file, without the folder.
    pub name: String,
    /// Requests; never none.
    pub requests: Vec<Recorded>,
    /// Blocks of all prompts.
    pub blocks: BlockTable,
}

/// Why a trace cannot be used.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The file cannot be opened or is not text.
    #[error("the trace {file} cannot be read: {error}")]
    Unreadable {
        /// File.
        file: String,
        /// Why.
        error: std::io::Error,
    },
    /// Neither of the two forms.
    #[error(
        "{file}:1: not a trace: the first line has to be `TIMESTAMP,ContextTokens,GeneratedTokens`, or an object with \
         `timestamp`, `input_length`, `output_length` and, if known, `hash_ids`"
    )]
    UnknownForm {
        /// File.
        file: String,
    },
    /// A line says nothing or nonsense.
    #[error("{file}:{line}: {what}")]
    BadLine {
        /// File.
        file: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong with it, and what would be right.
        what: String,
    },
    /// No request in it.
    #[error("the trace {file} has no request")]
    Empty {
        /// File.
        file: String,
    },
}

impl Trace {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, TraceError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| TraceError::Unreadable { file: file.clone(), error })?;
        let mut trace = Self::parse(&file, &text)?;
        trace.name = path.file_name().map_or(file, |name| name.to_string_lossy().into_owned());
        Ok(trace)
    }

    /// Reads text; `file` is for errors.
    pub fn parse(file: &str, text: &str) -> Result<Self, TraceError> {
        let first = text.trim_start_matches('\u{feff}').lines().next().unwrap_or_default();
        let mut lines = if first.trim_start().starts_with('{') {
            objects::parse(text)
        } else if let Some(columns) = table::columns(first) {
            table::parse(text, columns)
        } else {
            return Err(TraceError::UnknownForm { file: file.to_owned() });
        }
        .map_err(|BadLine { line, what }| TraceError::BadLine {
            file: file.to_owned(),
            line,
            what,
        })?;
        // Recorders write lines when they get to it; a stable sort keeps the order of equal times.
        lines.requests.sort_by_key(|request| request.at_micros);
        let Some(begin) = lines.requests.first().map(|request| request.at_micros) else {
            return Err(TraceError::Empty { file: file.to_owned() });
        };
        for request in &mut lines.requests {
            request.at_micros = request.at_micros.saturating_sub(begin);
        }
        Ok(Self { name: file.to_owned(), requests: lines.requests, blocks: BlockTable::new(lines.blocks) })
    }

    /// Time from the first request to the last one, in microseconds.
    #[must_use]
    pub fn span_micros(&self) -> u64 {
        self.requests.last().map_or(0, |request| request.at_micros)
    }
}

/// What a parser gives.
#[derive(Debug, Default)]
struct Lines {
    requests: Vec<Recorded>,
    blocks: Vec<u64>,
}

/// What a parser stumbles over.
#[derive(Debug)]
struct BadLine {
    line: usize,
    what: String,
}

/// More tokens than any context window holds are a slip of a column.
const TOKENS_MAX: u64 = 100_000_000;

/// A count of tokens; none at all is one, since a runner reads and says at least one.
fn tokens(name: &str, count: Option<u64>, found: &str) -> Result<u32, String> {
    let count = count.filter(|count| *count <= TOKENS_MAX).and_then(|count| u32::try_from(count).ok());
    count.map(|count| count.max(1)).ok_or_else(|| {
        format!("{name} has to be a whole number of tokens up to {TOKENS_MAX}, and is `{found}`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_put_in_order() {
        let table = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:50.9951690,396,109\r\n\
                     2023-11-16 18:15:46.6805900,374,44\r\n2023-11-17 00:00:00,1,0\r\n";
        let trace = Trace::parse("a.csv", table).unwrap();
        let read: Vec<_> =
            trace.requests.iter().map(|r| (r.at_micros, r.input_tokens, r.output_tokens)).collect();
        assert_eq!(read, [(0, 374, 44), (4_314_579, 396, 109), (20_653_319_410, 1, 1)]);
        let objects = r#"{"timestamp": 500, "input_length": 1030, "output_length": 7, "hash_ids": [9, 8, 7]}
            {"output_length": 2, "timestamp": 1500.5, "input_length": 3, "extra": null}"#;
        let trace = Trace::parse("b.jsonl", objects).unwrap();
        let read: Vec<_> = trace.requests.iter().map(|r| (r.at_micros, r.output_tokens)).collect();
        assert_eq!(read, [(0, 7), (1_000_500, 2)]);
        assert_eq!(trace.blocks.of(trace.requests[0].blocks), [9, 8, 7]);
        assert!(trace.blocks.of(trace.requests[1].blocks).is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_named_by_file_and_line() {
        const HEAD: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
        let cases = [
            ("", "t:1: not a trace"),
            ("a,b,c\n1,2,3\n", "t:1: not a trace"),
            (HEAD, "the trace t has no request"),
            (&format!("{HEAD}2023-11-16 18:15:46,1,2\n2023-11-16 18:15:47,1\n"), "t:3: 2 fields, and the "),
            (&format!("{HEAD}2023-13-16 18:15:46,1,2\n"), "t:2: TIMESTAMP has to be"),
            (&format!("{HEAD}2023-11-16 18:15:46,-1,2\n"), "t:2: ContextTokens has to be a whole number"),
            (&format!("{HEAD}2023-11-16 18:15:46,1,x\n"), "t:2: GeneratedTokens has to be a whole number"),
            ("{\"timestamp\": 1}\n", "t:1: input_length has to be a whole number"),
            ("{\"timestamp\": -1, \"input_length\": 1, \"output_length\": 1}\n", "t:1: timestamp has to be"),
            (
                "{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 1}\n{oops\n",
                "t:2: not a JSON object",
            ),
            (
                "{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 1, \"hash_ids\": [-1]}",
                "t:1: hash_ids has to be a list of whole numbers",
            ),
        ];
        for (text, expected) in cases {
            let error = Trace::parse("t", text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
        let error = Trace::read(Path::new("no/such/trace.csv")).unwrap_err().to_string();
        assert!(error.starts_with("the trace no/such/trace.csv cannot be read: "), "{error}");
    }
}
