//! A server as a node finds it on its machine: just enough of the OpenAI API over plain HTTP. The prompt and the answer
//! then pass the whole HTTP stack of the node, as they do with a real one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Runs until the test process ends.
pub struct OpenAiServer {
    pub url: String,
    /// Bodies of the requests that it was sent.
    pub seen: Arc<Mutex<Vec<String>>>,
}

/// How a server behaves.
#[derive(Clone, Copy, Default)]
pub struct Manner {
    /// It answers as llama.cpp's server does, sees images and embeds.
    pub is_llama_cpp: bool,
    /// Before the first word.
    pub first: Duration,
    /// Between two words.
    pub gap: Duration,
    /// Once, from this request on, nobody is served for so long.
    pub stall: Option<(usize, Duration)>,
}

/// What the connections of one server share.
struct Shared {
    words: &'static [&'static str],
    manner: Manner,
    seen: Arc<Mutex<Vec<String>>>,
    /// Held by whoever begins to answer.
    gate: Mutex<()>,
}

impl OpenAiServer {
    /// Every prompt is answered with these words, one an event.
    pub fn start(words: &'static [&'static str]) -> Self {
        Self::with(words, Manner::default())
    }

    /// The same, not at once.
    pub fn with(words: &'static [&'static str], manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::new(Shared { words, manner, seen: Arc::clone(&seen), gate: Mutex::new(()) });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A peer that has gone away is the peer's affair.
                std::thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        Self { url, seen }
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
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
            let body = String::from_utf8(body).unwrap();
            let number = {
                let mut seen = shared.seen.lock().unwrap();
                seen.push(body.clone());
                seen.len() - 1
            };
            return answer(reader.get_mut(), shared, number, body.contains("\"stream\":true"));
        }
        "/health" if shared.manner.is_llama_cpp => ("200 OK", "application/json", "{}".to_owned()),
        "/props" if shared.manner.is_llama_cpp => {
            let settings = json!({"n_ctx": 1 << 20});
            let modalities = json!({"vision": true});
            let props = json!({
                "total_slots": 4, "modalities": modalities, "default_generation_settings": settings
            });
            ("200 OK", "application/json", props.to_string())
        }
        "/v1/embeddings" if shared.manner.is_llama_cpp => {
            ("200 OK", "application/json", embeddings(&serde_json::from_slice(&body).unwrap()).to_string())
        }
        _ => ("404 Not Found", "application/json", "{}".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {form}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.len()
    );
    reader.get_mut().write_all([head, answer].concat().as_bytes())
}

fn answer(stream: &mut TcpStream, shared: &Shared, number: usize, is_streamed: bool) -> std::io::Result<()> {
    {
        let _gate = shared.gate.lock().unwrap();
        if let Some((_, time)) = shared.manner.stall.filter(|(at, _)| *at == number) {
            wait(time);
        }
    }
    let form = if is_streamed { "text/event-stream" } else { "application/json" };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {form}\r\nConnection: close\r\n\r\n");
    let mut events = events(shared.words);
    let last = events.split_off(shared.words.len());
    if !is_streamed {
        let gaps = shared.manner.gap * (shared.words.len() as u32).saturating_sub(1);
        wait(shared.manner.first + gaps);
        let choice = json!({"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": shared.words.concat()}});
        let usage = &last[1]["usage"];
        let whole = json!({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage});
        return stream.write_all(format!("{head}{whole}").as_bytes());
    }
    stream.write_all(head.as_bytes())?;
    wait(shared.manner.first);
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            wait(shared.manner.gap);
        }
        stream.write_all(format!("data: {event}\n\n").as_bytes())?;
    }
    let last: String = last.iter().map(|event| format!("data: {event}\n\n")).collect();
    stream.write_all(format!("{last}data: [DONE]\n\n").as_bytes())
}

/// Two numbers a text: its length, and a half; as llama.cpp writes them in either form.
fn embeddings(body: &Value) -> Value {
    let inputs = body["input"].as_array().cloned().unwrap_or_else(|| vec![body["input"].clone()]);
    let vector = |input: &Value| {
        let numbers = [input.as_str().unwrap_or_default().len() as f32, 0.5];
        match body["encoding_format"].as_str() {
            Some("base64") => json!(base64(&numbers.map(f32::to_le_bytes).concat())),
            _ => json!(numbers),
        }
    };
    let data = inputs.iter().enumerate();
    let data: Vec<_> = data
        .map(|(index, input)| json!({"object": "embedding", "index": index, "embedding": vector(input)}))
        .collect();
    json!({"object": "list", "data": data, "usage": {"prompt_tokens": 3, "total_tokens": 3}})
}

fn base64(bytes: &[u8]) -> String {
    fedai_protocol::sealed_session::base64_encode(bytes)
}

fn wait(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// One event a word, then the end and the usage.
fn events(words: &[&str]) -> Vec<Value> {
    let choice = |delta, finish: Option<&str>| {
        json!({"id": "x", "object": "chat.completion.chunk", "model": "served",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    let count = words.len();
    let usage = json!({"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count});
    let mut events: Vec<_> = words.iter().map(|word| choice(json!({"content": word}), None)).collect();
    events.push(choice(json!({}), Some("stop")));
    events.push(json!({"id": "x", "object": "chat.completion.chunk", "choices": [], "usage": usage}));
    events
}
