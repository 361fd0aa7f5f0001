//! The form with a head line: `TIMESTAMP,ContextTokens,GeneratedTokens`, in whatever order, with further columns or
//! without.

use super::{BadLine, BlockSpan, Lines, Recorded, tokens};

/// Where the columns are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    time: usize,
    input: usize,
    output: usize,
    count: usize,
}

/// Reads the head line.
pub(super) fn columns(head: &str) -> Option<Columns> {
    let names: Vec<&str> = head.split(',').map(|name| name.trim().trim_matches('"')).collect();
    let find = |wanted: &str| names.iter().position(|name| name.eq_ignore_ascii_case(wanted));
    let (time, input, output) = (find("TIMESTAMP")?, find("ContextTokens")?, find("GeneratedTokens")?);
    Some(Columns { time, input, output, count: names.len() })
}

/// Reads all lines below it.
pub(super) fn parse(text: &str, columns: Columns) -> Result<Lines, BadLine> {
    let mut lines = Lines::default();
    for (line, text) in (1..).zip(text.lines()).skip(1) {
        if !text.trim().is_empty() {
            lines.requests.push(record(text, columns).map_err(|what| BadLine { line, what })?);
        }
    }
    Ok(lines)
}

fn record(text: &str, columns: Columns) -> Result<Recorded, String> {
    let fields: Vec<&str> = text.split(',').map(|field| field.trim().trim_matches('"')).collect();
    if fields.len() != columns.count {
        return Err(format!("{} fields, and the head line has {}", fields.len(), columns.count));
    }
    let field = |at: usize| fields.get(at).copied().unwrap_or_default();
    let count = |name: &str, at: usize| tokens(name, field(at).parse().ok(), field(at));
    let time = field(columns.time);
    Ok(Recorded {
        at_micros: micros(time).ok_or_else(|| {
            format!("TIMESTAMP has to be like `2023-11-16 18:15:46.6805900`, and is `{time}`")
        })?,
        input_tokens: count("ContextTokens", columns.input)?,
        output_tokens: count("GeneratedTokens", columns.output)?,
        blocks: BlockSpan::NONE,
    })
}

/// Microseconds since the year 0 of the proleptic Gregorian calendar. Only differences matter.
fn micros(text: &str) -> Option<u64> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let mut date = date.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.trim_end_matches('Z').splitn(3, ':');
    let (hour, minute) = (time.next()?.parse::<u64>().ok()?, time.next()?.parse::<u64>().ok()?);
    let (second, fraction) = time.next().map(|text| text.split_once('.').unwrap_or((text, "0")))?;
    let second = second.parse::<u64>().ok()?;
    let is_sound = (1..10_000).contains(&year) && hour < 24 && minute < 60 && second <= 60;
    if date.next().is_some() || !is_sound || !(1..=days_of(year, month)?).contains(&day) {
        return None;
    }
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: u64 = fraction.chars().chain("000000".chars()).take(6).collect::<String>().parse().ok()?;
    let before = year - 1;
    let mut days = before * 365 + before / 4 - before / 100 + before / 400 + day - 1;
    for earlier in 1..month {
        days += days_of(year, earlier)?;
    }
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + fraction)
}

fn days_of(year: u64, month: u64) -> Option<u64> {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => Some(if is_leap { 29 } else { 28 }),
        4 | 6 | 9 | 11 => Some(30),
        1..=12 => Some(31),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_of_times_hold_over_months_and_leap_years() {
        let seconds = |from: &str, to: &str| (micros(to).unwrap() - micros(from).unwrap()) / 1_000_000;
        assert_eq!(seconds("2024-02-28 00:00:00", "2024-03-01 00:00:00"), 2 * 86_400);
        assert_eq!(seconds("2023-02-28T23:59:59.5Z", "2023-03-01T00:00:00.5Z"), 1);
        assert_eq!(seconds("1970-01-01 00:00:00", "2023-11-16 18:15:46"), 1_700_158_546);
        for bad in ["2023-02-29 00:00:00", "2023-11-16", "2023-11-16 18:15", "2023-11-16 24:00:00", "x"] {
            assert_eq!(micros(bad), None, "{bad}");
        }
    }
}
