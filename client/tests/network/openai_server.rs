//! A server as a node finds it on its machine: just enough of the OpenAI API over plain HTTP. The prompt and the answer
//! then pass the whole HTTP stack of the node, as they do with a real one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;

/// Runs until the test process ends.
pub struct OpenAiServer {
    pub url: String,
    /// Bodies of the requests that it was sent.
    pub seen: Arc<Mutex<Vec<String>>>,
}

impl OpenAiServer {
    /// Every prompt is answered with these words, one an event.
    pub fn start(words: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                // A peer that has gone away is the peer's affair.
                std::thread::spawn(move || drop(serve(stream, words, &kept)));
            }
        });
        Self { url, seen }
    }
}

fn serve(stream: TcpStream, words: &[&str], seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, form, answer) = match first.split_whitespace().nth(1).unwrap_or_default() {
        "/v1/models" => {
            let list = json!({"object": "list", "data": [{"id": "served", "object": "model", "max_model_len": 4096}]});
            ("200 OK", "application/json", list.to_string())
        }
        "/v1/chat/completions" => {
            seen.lock().unwrap().push(String::from_utf8(body).unwrap());
            ("200 OK", "text/event-stream", event_stream(words))
        }
        _ => ("404 Not Found", "application/json", "{}".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {form}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.len()
    );
    reader.get_mut().write_all([head, answer].concat().as_bytes())
}

fn event_stream(words: &[&str]) -> String {
    let choice = |delta, finish: Option<&str>| {
        json!({"id": "x", "object": "chat.completion.chunk", "model": "served",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    let count = words.len();
    let usage = json!({"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count});
    let mut events: Vec<_> = words.iter().map(|word| choice(json!({"content": word}), None)).collect();
    events.push(choice(json!({}), Some("stop")));
    events.push(json!({"id": "x", "object": "chat.completion.chunk", "choices": [], "usage": usage}));
    let events: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    format!("{events}data: [DONE]\n\n")
}
