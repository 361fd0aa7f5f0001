//! One request for one streamed answer, over one connection of its own, with the time of every piece of text.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use fedai_protocol::UnixMicros;
use fedai_relay_bridge::wall_clock;
use serde_json::Value;

/// A server on `http://host:port`, with what may precede the paths of the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    authority: String,
    base: String,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamedAnswer {
    /// When each piece of text came.
    pub pieces: Vec<UnixMicros>,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Those that were in memory.
    pub cached_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The address is of another kind.
    #[error("`{0}` is not a plain http address\nhint: write it as http://127.0.0.1:8080")]
    Address(String),
    /// The connection failed.
    #[error("{server} cannot be asked: {error}")]
    Io {
        /// Server.
        server: String,
        /// Why.
        error: std::io::Error,
    },
    /// It refused.
    #[error("the server says {0}")]
    Status(String),
    /// It did not say how many tokens it counted.
    #[error("the answer carries no usage\nhint: the server has to know stream_options.include_usage")]
    NoUsage,
}

impl Server {
    /// Reads an address.
    pub fn parse(url: &str) -> Result<Self, StreamError> {
        let rest = url.strip_prefix("http://").ok_or_else(|| StreamError::Address(url.to_owned()))?;
        let (authority, base) = rest.split_once('/').unwrap_or((rest, ""));
        let authority =
            if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        let base = base.trim_end_matches('/').trim_end_matches("v1").trim_end_matches('/');
        let base = if base.is_empty() { String::new() } else { format!("/{base}") };
        Ok(Self { authority, base })
    }

    /// Asks for a streamed answer.
    pub fn chat(&self, body: &Value) -> Result<StreamedAnswer, StreamError> {
        let mut answer = StreamedAnswer::default();
        let mut has_usage = false;
        self.exchange("POST", "/v1/chat/completions", &body.to_string(), &mut |line| {
            let Some(event) = line.strip_prefix("data:").and_then(|text| serde_json::from_str(text).ok())
            else {
                return;
            };
            has_usage |= answer.note(wall_clock::now(), &event);
        })?;
        if has_usage { Ok(answer) } else { Err(StreamError::NoUsage) }
    }

    /// Asks for a JSON document.
    pub fn get(&self, path: &str) -> Result<Value, StreamError> {
        let mut text = String::new();
        self.exchange("GET", path, "", &mut |line| text.push_str(line))?;
        serde_json::from_str(&text).map_err(|error| self.failed(error.into()))
    }

    fn exchange(
        &self,
        method: &str,
        path: &str,
        body: &str,
        each_line: &mut dyn FnMut(&str),
    ) -> Result<(), StreamError> {
        let failed = |error| self.failed(error);
        let mut stream = TcpStream::connect(&self.authority).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(SILENCE_MAX)).map_err(failed)?;
        let (authority, base, length) = (&self.authority, &self.base, body.len());
        let request = format!(
            "{method} {base}{path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).map_err(failed)?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).map_err(failed)?;
        if line.split(' ').nth(1) != Some("200") {
            let mut rest = String::new();
            let _ = reader.take(ERROR_BYTES_MAX).read_to_string(&mut rest);
            let text = rest.split("\r\n\r\n").nth(1).unwrap_or_default();
            return Err(StreamError::Status(format!("{} {text}", line.trim())));
        }
        let mut is_chunked = false;
        loop {
            line.clear();
            if reader.read_line(&mut line).map_err(failed)? == 0 || line.trim().is_empty() {
                break;
            }
            let lower = line.to_ascii_lowercase();
            is_chunked |= lower.starts_with("transfer-encoding:") && lower.contains("chunked");
        }
        read_lines(&mut reader, is_chunked, each_line).map_err(failed)
    }

    fn failed(&self, error: std::io::Error) -> StreamError {
        StreamError::Io { server: self.authority.clone(), error }
    }
}

impl StreamedAnswer {
    /// Takes one event; true when it tells the usage.
    fn note(&mut self, now: UnixMicros, event: &Value) -> bool {
        let text = event.pointer("/choices/0/delta/content").and_then(Value::as_str);
        if text.is_some_and(|text| !text.is_empty()) {
            self.pieces.push(now);
        }
        let count = |path: &str| event.pointer(path).and_then(Value::as_u64);
        let (Some(prompt), Some(output)) = (count("/usage/prompt_tokens"), count("/usage/completion_tokens"))
        else {
            return false;
        };
        (self.prompt_tokens, self.output_tokens) = (prompt, output);
        self.cached_tokens = count("/usage/prompt_tokens_details/cached_tokens").unwrap_or(0);
        true
    }
}

/// The lines of a body, as they come.
fn read_lines(
    reader: &mut impl BufRead,
    is_chunked: bool,
    each_line: &mut dyn FnMut(&str),
) -> std::io::Result<()> {
    let mut pending: Vec<u8> = Vec::new();
    let mut take = |bytes: &[u8]| {
        pending.extend_from_slice(bytes);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            each_line(String::from_utf8_lossy(&line).trim());
        }
    };
    loop {
        if is_chunked {
            let mut size = String::new();
            reader.read_line(&mut size)?;
            let size = size.trim().split(';').next().unwrap_or_default().to_owned();
            let size = usize::from_str_radix(&size, 16).unwrap_or(0);
            let mut chunk = vec![0; size.saturating_add(2).min(CHUNK_BYTES_MAX)];
            reader.read_exact(&mut chunk)?;
            if size == 0 {
                break;
            }
            chunk.truncate(size);
            take(&chunk);
        } else {
            let bytes = reader.fill_buf()?;
            let count = bytes.len();
            if count == 0 {
                break;
            }
            take(bytes);
            reader.consume(count);
        }
    }
    take(b"\n");
    Ok(())
}

/// A server that says nothing for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Enough to say what is wrong.
const ERROR_BYTES_MAX: u64 = 4_096;
/// A chunk is a few tokens.
const CHUNK_BYTES_MAX: usize = 1 << 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_their_path() {
        for url in
            ["http://127.0.0.1:80", "http://127.0.0.1/", "http://127.0.0.1/v1", "http://127.0.0.1:80/v1/"]
        {
            let server = Server::parse(url).unwrap();
            assert_eq!((server.authority.as_str(), server.base.as_str()), ("127.0.0.1:80", ""), "{url}");
        }
        assert_eq!(Server::parse("http://a:1/x/v1").unwrap().base, "/x");
        assert!(Server::parse("https://a").unwrap_err().to_string().contains("hint"));
    }

    #[test]
    fn a_body_in_chunks_gives_its_lines_and_they_their_pieces() {
        let body = "a\r\ndata: {\"x\"\r\n12\r\n:1}\n\ndata: [DONE]\n\r\n0\r\n\r\n";
        let mut lines = Vec::new();
        let mut reader = BufReader::new(body.as_bytes());
        read_lines(&mut reader, true, &mut |line| lines.push(line.to_owned())).unwrap();
        lines.retain(|line| !line.is_empty());
        assert_eq!(lines, ["data: {\"x\":1}", "data: [DONE]"]);
        let mut answer = StreamedAnswer::default();
        let piece = serde_json::json!({"choices": [{"delta": {"content": "Hello"}}]});
        let role = serde_json::json!({"choices": [{"delta": {"role": "assistant", "content": null}}]});
        let usage = serde_json::json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}});
        assert!(!answer.note(UnixMicros(1), &role) && !answer.note(UnixMicros(2), &piece));
        assert!(answer.note(UnixMicros(3), &usage));
        assert_eq!((answer.pieces.as_slice(), answer.prompt_tokens), ([UnixMicros(2)].as_slice(), 9));
    }
}
