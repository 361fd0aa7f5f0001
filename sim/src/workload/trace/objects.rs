//! The form with an object on each line: `timestamp` in milliseconds, `input_length`, `output_length`, `hash_ids`.

use serde_json::Value;

use super::{BadLine, BlockSpan, Lines, Recorded, tokens};

/// Reads all lines.
pub(super) fn parse(text: &str) -> Result<Lines, BadLine> {
    let mut lines = Lines::default();
    for (line, text) in (1..).zip(text.lines()) {
        if !text.trim().is_empty() {
            let request = record(text, &mut lines.blocks).map_err(|what| BadLine { line, what })?;
            lines.requests.push(request);
        }
    }
    Ok(lines)
}

fn record(text: &str, blocks: &mut Vec<u64>) -> Result<Recorded, String> {
    let object: Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| format!("not a JSON object: {error}"))?;
    let field = |name: &str| object.get(name).unwrap_or(&Value::Null);
    let count = |name: &str| tokens(name, field(name).as_u64(), &field(name).to_string());
    let millis = field("timestamp").as_f64().filter(|millis| (0.0..1e15).contains(millis));
    let first = blocks.len();
    match field("hash_ids") {
        Value::Null => {}
        list => {
            let ids =
                list.as_array().and_then(|ids| ids.iter().map(Value::as_u64).collect::<Option<Vec<_>>>());
            blocks.extend(ids.ok_or("hash_ids has to be a list of whole numbers")?);
        }
    }
    Ok(Recorded {
        at_micros: millis.map(|millis| (millis * 1e3).round() as u64).ok_or_else(|| {
            format!("timestamp has to be a number of milliseconds from 0, and is {}", field("timestamp"))
        })?,
        input_tokens: count("input_length")?,
        output_tokens: count("output_length")?,
        blocks: BlockSpan::new(first, blocks.len() - first),
    })
}
