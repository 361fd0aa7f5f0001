//! The binary as a process: what it prints, how it exits, how it stops.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::Path;
use std::process::{Output, Stdio};

use fedai_protocol::event_kinds::{RECEIPT, SESSION_FRAME};
use fedai_relay_bridge::{PoolOptions, RelayList, RelayPool, RelayRole};
use support::{PATIENCE, event, in_time, key, tagged_to};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relay-bridge"));
    command
        .args(args)
        .env_remove("FEDAI_RELAYS")
        .env_remove("RUST_LOG")
        .env("XDG_CONFIG_HOME", "/nonexistent");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn output(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = in_time("process", command(args).output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

struct Served {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    url: String,
}

async fn serve(data: Option<&Path>) -> Served {
    let mut args = vec!["serve", "--listen", "127.0.0.1:0"];
    if let Some(data) = data {
        args.extend(["--data", data.to_str().unwrap()]);
    }
    let mut child = command(&args).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let url = in_time("listening", async {
        loop {
            let line = log.next_line().await.unwrap().expect("serve ended");
            if let Some(url) = line.strip_prefix("listening ") {
                return url.to_owned();
            }
        }
    })
    .await;
    Served { child, log, url }
}

impl Served {
    async fn terminate(mut self) -> i32 {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        while in_time("log", self.log.next_line()).await.unwrap().is_some() {}
        in_time("exit", self.child.wait()).await.unwrap().code().unwrap()
    }
}

#[tokio::test]
async fn serve_keeps_its_data_answers_health_checks_and_stops_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let (code, _, error) = output(&["healthcheck", "--data", data]).await;
    assert_eq!(code, 4, "{error}");
    let served = serve(Some(dir.path())).await;
    let receipt = event(&key(), RECEIPT, &[], "kept");
    let pool = RelayPool::connect(RelayList::single(&served.url).unwrap(), PoolOptions::default());
    assert!(in_time("published", pool.publish_stored(receipt.clone())).await.is_durable());
    pool.shutdown().await;
    assert_eq!(output(&["healthcheck", "--data", data]).await.0, 0);
    assert_eq!(output(&["healthcheck", "--url", &served.url]).await.0, 0);
    let (code, _, error) = output(&["serve", "--listen", "127.0.0.1:0", "--data", data]).await;
    assert_eq!(code, 3);
    assert!(error.contains("in use by relay-bridge (process "), "{error}");
    let (code, _, error) = output(&["serve", "--listen", served.url.trim_start_matches("ws://")]).await;
    assert!(code == 3 && error.contains("cannot listen") && error.contains("hint: "), "{error}");
    assert_eq!(served.terminate().await, 0);
    let (code, _, _) = output(&["healthcheck", "--data", data]).await;
    assert_eq!(code, 4, "the address file is gone");
    let served = serve(Some(dir.path())).await;
    let pool = RelayPool::connect(RelayList::single(&served.url).unwrap(), PoolOptions::default());
    let found = pool
        .fetch(RelayRole::Discovery, vec![fedai_relay_bridge::filters::of_kinds(&[RECEIPT])], PATIENCE)
        .await;
    assert_eq!(found, [receipt]);
}

#[tokio::test]
async fn wrong_use_and_configuration_have_their_codes() {
    assert_eq!(output(&["serve", "--nonsense"]).await.0, 2);
    assert_eq!(output(&["probe"]).await.0, 2);
    let (code, _, error) = output(&["serve", "--listen", "0.0.0.0:0"]).await;
    assert!(code == 3 && error.contains("--allow-remote"), "{error}");
    let (code, _, error) = output(&["serve", "--listen", "nonsense"]).await;
    assert!(code == 3 && error.contains("HOST:PORT"), "{error}");
    let (code, _, error) = output(&["tail", "--relay", "http://x"]).await;
    assert!(code == 3 && error.contains("hint: "), "{error}");
    let (code, _, error) = output(&["probe", "--timeout", "1", "ws://127.0.0.1:1"]).await;
    assert!(code == 4 && error.contains("hint: "), "{error}");
    let (code, help, _) = output(&["--help"]).await;
    assert_eq!(code, 0);
    for part in ["serve", "healthcheck", "probe", "tail", "mirror", "Exit codes: 0 success"] {
        assert!(help.contains(part), "{help}");
    }
}

#[tokio::test]
async fn probe_measures_a_relay_in_table_and_json() {
    let served = serve(None).await;
    let (code, table, error) = output(&["probe", &served.url]).await;
    assert_eq!(code, 0, "{error}");
    assert!(
        table.contains("passed on") && table.contains("discovery control stream") && table.contains("8/8"),
        "{table}"
    );
    assert!(error.contains("throwaway keys"), "{error}");
    let (code, json, _) = output(&["probe", "--json", &served.url]).await;
    assert_eq!(code, 0);
    let report: serde_json::Value = serde_json::from_str(json.trim()).unwrap();
    assert_eq!((&report["usable"], &report["event_bytes_max"]), (&true.into(), &65_536.into()));
    assert_eq!(report["stored_kinds"].as_array().unwrap().len(), 8);
    assert_eq!(report["document"]["name"], "fed_AI dev relay");
    assert!(report["round_trip_ms_p50"].as_f64().unwrap() > 0.0);
}

async fn tail(url: &str, more: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = command(&[&["tail", "--relay", url], more].concat()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    in_time("tail listens", async {
        while !log.next_line().await.unwrap().expect("tail ended").starts_with("listening to") {}
    })
    .await;
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

#[tokio::test]
async fn tail_shows_what_passes_and_ends_by_itself() {
    let served = serve(None).await;
    let (mut text, mut text_lines) = tail(&served.url, &["--count", "2"]).await;
    let (mut json, mut json_lines) = tail(&served.url, &["--json", "--count", "2"]).await;
    let pool = RelayPool::connect(RelayList::single(&served.url).unwrap(), PoolOptions::default());
    pool.wait_ready(RelayRole::Stream, PATIENCE).await.unwrap();
    let frame = tagged_to(&key(), SESSION_FRAME, &key(), "c2VhbGVk");
    assert_eq!(pool.publish_ephemeral(frame, RelayRole::Stream), 1);
    let line = in_time("line", text_lines.next_line()).await.unwrap().unwrap();
    assert!(line.contains("session frame") && line.ends_with("sealed, 8 bytes"), "{line}");
    let object: serde_json::Value =
        serde_json::from_str(&in_time("object", json_lines.next_line()).await.unwrap().unwrap()).unwrap();
    assert_eq!((&object["state"], &object["kind"]), (&"sealed".into(), &SESSION_FRAME.into()));
    assert!(pool.publish_stored(event(&key(), RECEIPT, &[], "\u{1b}[31mred")).await.is_durable());
    let line = in_time("line", text_lines.next_line()).await.unwrap().unwrap();
    assert!(line.contains("receipt") && !line.contains('\u{1b}'), "{line:?}");
    in_time("object", json_lines.next_line()).await.unwrap().unwrap();
    assert_eq!(in_time("exit", text.wait()).await.unwrap().code(), Some(0));
    assert_eq!(in_time("exit", json.wait()).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn mirror_copies_once_and_follows() {
    let (from, to) = (serve(None).await, serve(None).await);
    let open = |url: &str| RelayPool::connect(RelayList::single(url).unwrap(), PoolOptions::default());
    let (source, target) = (open(&from.url), open(&to.url));
    for n in 0..150 {
        let receipt = event(&key(), RECEIPT, &[], &n.to_string());
        if n == 149 {
            assert!(in_time("published", source.publish_stored(receipt)).await.is_durable());
        } else {
            source.wait_ready(RelayRole::Discovery, PATIENCE).await.unwrap();
            source.publish_ephemeral(receipt, RelayRole::Discovery);
        }
    }
    for _ in 0..2 {
        let (code, counts, error) = output(&["mirror", "--json", &from.url, &to.url]).await;
        assert_eq!(code, 0, "{error}");
        assert_eq!(counts.trim(), r#"{"found":150,"copied":150,"refused":0,"unanswered":0}"#);
    }
    let all = || vec![fedai_relay_bridge::filters::of_kinds(&[RECEIPT])];
    assert_eq!(target.fetch(RelayRole::Discovery, all(), PATIENCE).await.len(), 150);
    let mut following = command(&["mirror", "--follow", &from.url, &to.url]).spawn().unwrap();
    let mut log = BufReader::new(following.stderr.take().unwrap()).lines();
    let said = in_time("follows", log.next_line()).await.unwrap().unwrap();
    assert!(said.contains("copied 150 of 150; following"), "{said}");
    let mut live = target.subscribe(RelayRole::Discovery, all());
    let fresh = event(&key(), RECEIPT, &[], "fresh");
    assert!(source.publish_stored(fresh.clone()).await.is_durable());
    in_time("the fresh one", async { while live.recv().await.unwrap() != fresh {} }).await;
    let pid = following.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    assert_eq!(in_time("exit", following.wait()).await.unwrap().code(), Some(0));
}
