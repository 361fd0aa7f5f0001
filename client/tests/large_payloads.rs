//! Requests and answers far larger than an event, through the endpoint, relays and node to an HTTP runner and back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod network;

use fedai_protocol::limits::{OUTPUT_BYTES_MAX, REQUEST_BYTES_MAX};
use network::World;
use network::openai_server::{Manner, OpenAiServer};
use reqwest::{Client, Response};
use serde_json::{Value, json};

/// A network with a node that sells from this server; gives the endpoint's URL.
fn endpoint(world: &mut World, server: &OpenAiServer) -> String {
    let relay = world.relay("relay");
    world.router(&[&relay]);
    world.node_of_kind("node", &[&relay], "llama_cpp", &server.url);
    world.wait_for_nodes(&[&relay], 1);
    world.serve(&[&relay], &[])["url"].as_str().unwrap().to_owned()
}

/// Words of four thousand bytes, no two alike, so many bytes together at least.
fn words(bytes: usize) -> &'static [&'static str] {
    let word = |number: usize| {
        let text = format!("{number:08} é\"\\\n ");
        text.repeat(4_000 / text.len())
    };
    let words: Vec<&'static str> = (0..bytes.div_ceil(3_900)).map(|number| &*word(number).leak()).collect();
    words.leak()
}

/// A client; its TLS, unused here, wants to know a provider all the same.
fn http() -> Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::new()
}

async fn post(url: &str, path: &str, body: &Value) -> Response {
    http().post(format!("{url}{path}")).json(body).send().await.unwrap()
}

fn picture(bytes: usize) -> Value {
    let data: String = ('a'..='z').cycle().take(bytes).collect();
    let image = json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}});
    let text = json!({"type": "text", "text": "What is this?"});
    json!({"model": "served", "messages": [{"role": "user", "content": [text, image]}], "max_tokens": 2_000})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_a_megabyte_and_a_half_and_a_large_answer_arrive_whole() {
    let mut world = World::new();
    let words = words(1_000_000);
    let server = OpenAiServer::with(words, Manner { is_llama_cpp: true, ..Manner::default() });
    let url = endpoint(&mut world, &server);
    let mut body = picture(1_500_000);
    let answer = post(&url, "/chat/completions", &body).await;
    let status = answer.status().as_u16();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(status, 200, "{answer}");
    assert!(answer["choices"][0]["message"]["content"] == words.concat(), "the answer is not the runner's");
    assert_eq!(answer["fedai"]["verified"], true);
    let arrived: Value = serde_json::from_str(server.seen.lock().unwrap().last().unwrap()).unwrap();
    assert!(arrived["messages"] == body["messages"], "the image is not the client's");
    body["stream"] = json!(true);
    let events = post(&url, "/chat/completions", &body).await.text().await.unwrap();
    let chunks = events.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok());
    let text = |chunk: Value| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
    assert!(chunks.filter_map(text).collect::<String>() == words.concat(), "streamed, it differs");
    assert!(events.ends_with("data: [DONE]\n\n"));
    // As long as no event can be: a prompt of text.
    let prompt = "A long story. ".repeat(60_000);
    let question =
        json!({"model": "served", "messages": [{"role": "user", "content": prompt}], "max_tokens": 2_000});
    let answer = post(&url, "/chat/completions", &question).await;
    assert_eq!(answer.status().as_u16(), 200, "{}", answer.text().await.unwrap());
    assert!(server.seen.lock().unwrap().last().unwrap().contains(&prompt));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_with_a_code_and_the_next_request_is_served() {
    let mut world = World::new();
    let server =
        OpenAiServer::with(words(OUTPUT_BYTES_MAX), Manner { is_llama_cpp: true, ..Manner::default() });
    let url = endpoint(&mut world, &server);
    let code = |answer: Response| async move {
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    let huge = code(post(&url, "/chat/completions", &picture(REQUEST_BYTES_MAX)).await).await;
    assert_eq!(huge, (413, "too_large".to_owned()), "a request");
    let long = "A long story. ".repeat(700_000);
    let question =
        json!({"model": "served", "messages": [{"role": "user", "content": long}], "max_tokens": 9});
    let long = code(post(&url, "/chat/completions", &question).await).await;
    assert_eq!(long, (400, "context_exceeded".to_owned()), "a prompt beyond the context of a million tokens");
    let answer = code(post(&url, "/chat/completions", &picture(10)).await).await;
    assert_eq!(answer, (413, "too_large".to_owned()), "an answer");
    let embedding = json!({"model": "served", "input": "four"});
    assert_eq!(post(&url, "/embeddings", &embedding).await.status().as_u16(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_arrive_as_the_runner_made_them_in_both_forms() {
    let mut world = World::new();
    let server = OpenAiServer::with(&["word"], Manner { is_llama_cpp: true, ..Manner::default() });
    let url = endpoint(&mut world, &server);
    let models: Value = http().get(format!("{url}/models")).send().await.unwrap().json().await.unwrap();
    let modalities = models["data"][0]["modalities"].as_array().unwrap();
    assert!(modalities.contains(&json!("embedding")) && modalities.contains(&json!("image")), "{models}");
    let body = json!({"model": "served", "input": ["four", "fives"]});
    let answer: Value = post(&url, "/embeddings", &body).await.json().await.unwrap();
    assert_eq!(answer["data"][0]["embedding"], json!([4.0, 0.5]), "{answer}");
    assert_eq!(answer["data"][1], json!({"object": "embedding", "index": 1, "embedding": [5.0, 0.5]}));
    assert_eq!((&answer["object"], &answer["usage"]["prompt_tokens"]), (&json!("list"), &json!(3)));
    assert_eq!(answer["fedai"]["verified"], true, "{answer}");
    // The official client asks for this form and decodes it.
    let body = json!({"model": "served", "input": "four", "encoding_format": "base64"});
    let answer: Value = post(&url, "/embeddings", &body).await.json().await.unwrap();
    assert_eq!(answer["data"][0]["embedding"], "AACAQAAAAD8=", "{answer}");
}
