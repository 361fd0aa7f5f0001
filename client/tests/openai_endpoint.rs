//! `fedai serve` as a program that speaks OpenAI's API sees it: real processes behind it, HTTP in front.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod network;

use std::path::Path;

use network::{World, expected_answer};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

const KEY: &str = "sk-test-0123456789abcdef";

/// A network with one node, and an endpoint in front of it; gives the endpoint's base URL.
fn endpoint(world: &mut World, runner: &str, more: &[&str]) -> String {
    let relay = world.relay("relay");
    world.router(&[&relay]);
    world.node("node-a", &[&relay], runner);
    world.wait_for_nodes(&[&relay], 1);
    let output = world.serve(&[&relay], more);
    network::schema::validate("serve", &output);
    output["url"].as_str().unwrap().to_owned()
}

/// A client; its TLS, unused here, wants to know a provider all the same.
fn http() -> Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::new()
}

async fn post(url: &str, path: &str, body: &Value) -> Response {
    http().post(format!("{url}{path}")).json(body).send().await.unwrap()
}

fn chat(prompt: &str) -> Value {
    json!({"model": "Mock-Words", "messages": [{"role": "user", "content": prompt}]})
}

fn header(response: &Response, name: &str) -> String {
    response.headers()[name].to_str().unwrap().to_owned()
}

/// The objects of an event stream, up to `[DONE]`; none when it ended without.
fn events(text: &str) -> Option<Vec<Value>> {
    let mut data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let objects: Vec<Value> = data
        .by_ref()
        .take_while(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    text.contains("data: [DONE]\n\n").then_some(objects)
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_and_streamed_answers_are_the_runners_own() {
    let mut world = World::new();
    let url = endpoint(&mut world, "mock://local?tokens=12", &[]);
    let response = post(&url, "/chat/completions", &chat("Name three colours.")).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        (header(&response, "x-fedai-node").len(), header(&response, "x-fedai-price")),
        (64, "0".to_owned())
    );
    assert_eq!(header(&response, "x-fedai-attempts"), "1");
    let whole: Value = response.json().await.unwrap();
    let expected = expected_answer("Name three colours.", 12);
    let message = json!({"role": "assistant", "content": expected, "refusal": null});
    assert_eq!(whole["choices"][0]["message"], message);
    assert_eq!(
        (whole["object"].as_str(), whole["usage"]["completion_tokens"].as_u64()),
        (Some("chat.completion"), Some(12))
    );
    assert_eq!((&whole["fedai"]["verified"], &whole["usage"]["cost_msat"]), (&json!(true), &json!(0)));

    let mut body = chat("Name three colours.");
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let response = post(&url, "/chat/completions", &body).await;
    assert!(header(&response, "content-type").starts_with("text/event-stream"));
    let chunks = events(&response.text().await.unwrap()).expect("a stream that ends with [DONE]");
    let text: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, expected);
    let (last, ids) = (chunks.last().unwrap(), chunks.iter().map(|chunk| chunk["id"].clone()));
    assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &json!(12)));
    assert!(ids.collect::<Vec<_>>().windows(2).all(|pair| pair[0] == pair[1]));

    let text = post(&url, "/completions", &json!({"prompt": "Once", "max_tokens": 5})).await;
    let text: Value = text.json().await.unwrap();
    assert_eq!(
        (text["object"].as_str(), text["usage"]["completion_tokens"].as_u64()),
        (Some("text_completion"), Some(5))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_that_lead_to_a_node_that_was_killed_cost_no_job_its_time() {
    // A connection to the node's own relay tells at once; without one the jobs on their way there do.
    killed_under_tickets(&["--gateway", "127.0.0.1:0"], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_broke_is_not_tried_again_at_once_whoever_holds_tickets_to_it() {
    killed_under_tickets(&[], 4).await;
}

/// Two nodes, one of which is killed while an endpoint holds tickets to it: after so many more jobs nobody tries it.
async fn killed_under_tickets(gateway: &[&str], jobs_to_learn: usize) {
    let mut world = World::new();
    let relay = world.relay("relay");
    world.router(&[&relay]);
    let start = |world: &mut World, name: &str| {
        let data = world.path().join(name).display().to_string();
        let runner = ["--runner-kind", "mock", "--runner", "mock://local?tokens=9&slots=8"];
        let mut words = vec!["node-agent", "run", "--data", &data, "--name", name, "--relay", &relay];
        words.extend(runner.iter().chain(gateway));
        world.start(name, &words);
    };
    start(&mut world, "node-a");
    start(&mut world, "node-b");
    world.wait_for_nodes(&[&relay], 2);
    let url = world.serve(&[&relay], &[])["url"].as_str().unwrap().to_owned();
    let ask = async |prompt: &str| {
        let answer = post(&url, "/chat/completions", &chat(prompt)).await;
        assert_eq!(answer.status(), StatusCode::OK, "{prompt}");
        (header(&answer, "x-fedai-node"), header(&answer, "x-fedai-attempts"))
    };
    let at_once = async |jobs: usize| futures_util::future::join_all((0..jobs).map(|_| ask("job"))).await;
    // Four at once have four tickets, most of them for one of the two nodes. More failures at once would open the
    // router's breaker for half a minute, and need more second tries than a process has.
    let before = at_once(4).await;
    let of = |node: &str| before.iter().filter(|(served, _)| served == node).count();
    let busiest = before.iter().map(|(node, _)| node).max_by_key(|node| of(node)).unwrap();
    let gone = world.node_named(&[&relay], busiest);
    world.kill(&gone);
    assert!(at_once(jobs_to_learn).await.iter().all(|(node, _)| node != busiest));
    for (node, attempts) in at_once(4).await {
        assert_ne!(node, *busiest);
        assert_eq!(attempts, "1", "nobody else tries the node that has gone");
    }
    // Back within the minute for which it is passed over, it serves where nobody else can.
    start(&mut world, &gone);
    world.wait_for_nodes(&[&relay], 2);
    let other = if gone == "node-a" { "node-b" } else { "node-a" };
    world.kill(other);
    assert!(at_once(4).await.iter().all(|(node, _)| node == busiest));
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_listed_and_mistakes_have_openais_shape() {
    let mut world = World::new();
    let url = endpoint(&mut world, "mock://local?tokens=3", &["--timeout", "20s"]);
    let get = |path: &str| http().get(format!("{url}{path}")).send();
    let list: Value = get("/models").await.unwrap().json().await.unwrap();
    let model = list["data"][0]["id"].as_str().unwrap().to_owned();
    assert!(
        list["data"][0]["context_length"].as_u64().unwrap() > 0
            && list["data"][0]["pricing"]["unit"] == "msat"
    );
    assert_eq!(get(&format!("/models/{model}")).await.unwrap().status(), StatusCode::OK);

    let provider = |wish: Value| {
        let mut body = chat("hi");
        body["provider"] = wish;
        body
    };
    let unknown = json!({"model": "no-such-model", "messages": [{"role": "user", "content": "hi"}]});
    for (path, body, status, code) in [
        ("/chat/completions", unknown, 404, "unknown_model"),
        ("/chat/completions", json!([]), 400, "invalid_json"),
        ("/chat/completions", json!({"messages": 3}), 400, "invalid_field"),
        ("/chat/completions", provider(json!({"only": ["nobody"]})), 400, "invalid_field"),
        ("/chat/completions", provider(json!({"ignore": ["node-a"]})), 404, "no_node"),
        ("/nothing", json!({}), 404, "unknown_path"),
        ("/models", json!({}), 405, "wrong_method"),
    ] {
        let response = post(&url, path, &body).await;
        assert_eq!(response.status().as_u16(), status, "{path} {body}");
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["error"]["code"], code, "{path} {body}");
        assert!(error["error"]["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
    let named = post(&url, "/chat/completions", &provider(json!({"order": ["node-a"]}))).await;
    assert_eq!(named.status(), StatusCode::OK, "a node by its name");
    let form = http().post(format!("{url}/chat/completions")).body(chat("hi").to_string());
    assert_eq!(form.send().await.unwrap().status().as_u16(), 415, "a page could send a form without asking");
    assert_eq!(get("/models/no-such-model").await.unwrap().status().as_u16(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_pages_and_hosts_are_kept_out_and_keys_are_asked_for() {
    let mut world = World::new();
    let keys = world.path().join("keys.toml");
    write_private(&keys, &format!("[[key]]\nname = \"editor\"\nkey = \"{KEY}\"\n"));
    let origin = "https://app.example";
    let more = ["--api-keys", keys.to_str().unwrap(), "--cors-origin", origin];
    let url = endpoint(&mut world, "mock://local?tokens=3", &more);
    let ask = |key: &str, from: Option<&str>, host: Option<&str>| {
        let mut request = http().post(format!("{url}/chat/completions")).json(&chat("hi")).bearer_auth(key);
        if let Some(origin) = from {
            request = request.header("origin", origin);
        }
        if let Some(host) = host {
            request = request.header("host", host);
        }
        request.send()
    };
    assert_eq!(ask("sk-wrong", None, None).await.unwrap().status().as_u16(), 401);
    assert_eq!(ask(KEY, None, None).await.unwrap().status().as_u16(), 200);
    assert_eq!(ask(KEY, Some("https://evil.example"), None).await.unwrap().status().as_u16(), 403);
    let page = ask(KEY, Some(origin), None).await.unwrap();
    assert_eq!(
        (page.status().as_u16(), header(&page, "access-control-allow-origin")),
        (200, origin.to_owned())
    );
    assert_eq!(ask(KEY, None, Some("rebound.example")).await.unwrap().status().as_u16(), 403);
    let preflight = http()
        .request(reqwest::Method::OPTIONS, format!("{url}/chat/completions"))
        .header("origin", origin)
        .header("access-control-request-method", "POST");
    assert_eq!(preflight.send().await.unwrap().status().as_u16(), 204);
    let log = std::fs::read_to_string(world.log("serve")).unwrap();
    assert!(!log.contains(KEY), "a key in the log");
}

/// Programs repeat 503 and 504 by themselves, and a 404 never.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn silent_routers_and_lost_relays_are_worth_another_try() {
    let mut world = World::new();
    let url = endpoint(&mut world, "mock://local?tokens=3", &["--timeout", "3s"]);
    let ask = async || {
        let response = post(&url, "/chat/completions", &chat("hi")).await;
        let status = response.status().as_u16();
        let error: Value = response.json().await.unwrap();
        (status, error["error"]["code"].as_str().unwrap().to_owned(), error["error"]["message"].to_string())
    };
    world.signal("router", "-STOP");
    let (status, code, message) = ask().await;
    assert_eq!((status, code.as_str()), (504, "timeout"), "{message}");
    assert!(message.contains("1 router was asked and did not answer in 3 s"), "{message}");
    world.kill("relay");
    let (status, code, message) = ask().await;
    assert_eq!((status, code.as_str()), (503, "no_relay"), "{message}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_the_running_answer_end() {
    let mut world = World::new();
    let url = endpoint(&mut world, "mock://local?tokens=30&token_ms=60", &[]);
    let mut body = chat("hi");
    body["stream"] = json!(true);
    let response = post(&url, "/chat/completions", &body).await;
    assert_eq!(response.status(), StatusCode::OK, "the first token has come");
    world.terminate("serve");
    let chunks = events(&response.text().await.unwrap()).expect("the whole answer, to [DONE]");
    let text: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, expected_answer("hi", 30));
    assert_eq!(world.exit_code("serve"), Some(0));
}

fn write_private(path: &Path, text: &str) {
    fedai_client::shell::private_file::write_whole(path, text.as_bytes()).unwrap();
}
