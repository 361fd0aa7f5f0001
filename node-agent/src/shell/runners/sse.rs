//! Server-sent events, as loosely as runners write them and with a bound on memory.
//!
//! Why not a library: the ones at hand buffer an event of any size, and a runner is foreign code.
//! The rule: at most `max_bytes` of an unfinished event are held; beyond that the stream is refused.

/// An incremental parser. Feed it bytes, take out the `data` of each finished event.
pub struct SseParser {
    max_bytes: usize,
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
}

/// An event grew beyond the limit.
#[derive(Debug, PartialEq, Eq)]
pub struct EventTooLarge;

impl SseParser {
    /// A parser that holds at most so many bytes.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, line: Vec::new(), data: Vec::new(), has_data: false, after_cr: false }
    }

    /// Takes the next bytes and appends the data of every event they complete.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<Vec<u8>>) -> Result<(), EventTooLarge> {
        for byte in bytes {
            // A line ends with \n, \r\n or \r alone.
            let pair = self.after_cr && *byte == b'\n';
            self.after_cr = *byte == b'\r';
            if pair {
                continue;
            }
            if matches!(byte, b'\n' | b'\r') {
                self.end_line(out);
            } else {
                self.line.push(*byte);
                if self.line.len() + self.data.len() > self.max_bytes {
                    return Err(EventTooLarge);
                }
            }
        }
        Ok(())
    }

    /// The stream ended: an event whose closing blank line is missing still counts.
    pub fn finish(&mut self, out: &mut Vec<Vec<u8>>) {
        if !self.line.is_empty() {
            self.end_line(out);
        }
        self.end_event(out);
    }

    fn end_line(&mut self, out: &mut Vec<Vec<u8>>) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            self.end_event(out);
            return;
        }
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line);
        if let Some(rest) = line.strip_prefix(b"data:") {
            if self.has_data {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(rest.strip_prefix(b" ").unwrap_or(rest));
            self.has_data = true;
        } else if let Some(rest) = line.strip_prefix(b"error:") {
            // Old llama.cpp builds report failures in a field of their own.
            self.data = [b"{\"error\":".as_slice(), rest, b"}"].concat();
            self.has_data = true;
        }
        // Comments, `event`, `id` and `retry` carry nothing a generation needs.
    }

    fn end_event(&mut self, out: &mut Vec<Vec<u8>>) {
        if std::mem::take(&mut self.has_data) {
            out.push(std::mem::take(&mut self.data));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pieces: &[&[u8]], max: usize) -> Result<Vec<String>, EventTooLarge> {
        let mut parser = SseParser::new(max);
        let mut out = Vec::new();
        for piece in pieces {
            parser.push(piece, &mut out)?;
        }
        parser.finish(&mut out);
        Ok(out.into_iter().map(|e| String::from_utf8_lossy(&e).into_owned()).collect())
    }

    #[test]
    fn lines_end_in_any_of_three_ways_and_anywhere_between_reads() {
        let text = b"\xef\xbb\xbfdata: a\r\n\r\n: ping\n\ndata:b\rdata: c\r\revent: x\ndata: d\n\n";
        let want = ["a", "b\nc", "d"];
        assert_eq!(parse(&[text], 64).as_deref(), Ok(want.map(String::from).as_slice()));
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(parse(&bytes, 64).as_deref(), Ok(want.map(String::from).as_slice()));
    }

    #[test]
    fn a_missing_last_blank_line_is_forgiven() {
        assert_eq!(parse(&[b"data: [DONE]"], 64), Ok(vec!["[DONE]".to_owned()]));
        assert_eq!(parse(&[b"data: x\n"], 64), Ok(vec!["x".to_owned()]));
    }

    #[test]
    fn an_error_field_becomes_an_error_object() {
        assert_eq!(
            parse(&[b"error: {\"code\":500}\n\n"], 64),
            Ok(vec!["{\"error\": {\"code\":500}}".to_owned()])
        );
    }

    #[test]
    fn the_limit_holds_across_lines_and_reads() {
        assert!(parse(&[b"data: 12345678\n\n"], 14).is_ok());
        assert_eq!(parse(&[b"data: 123456789\n\n"], 14), Err(EventTooLarge));
        let many: Vec<&[u8]> = vec![b"data: 1234\n"; 9];
        assert_eq!(parse(&many, 40), Err(EventTooLarge));
    }
}
