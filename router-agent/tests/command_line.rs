//! The binary as an operator uses it: run it beside a real relay on loopback, look at it, stop it with SIGTERM.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fedai_protocol::event_kinds::QUOTE;
use fedai_protocol::message::Message;
use fedai_protocol::quote::QuoteOutcome;
use fedai_protocol::quote_request::Mode;
use fedai_protocol::{QuoteReply, QuoteRequest, SigningKey};
use fedai_relay_bridge::{
    DevRelay, DevRelayOptions, PoolOptions, RelayList, RelayPool, RelayRole, SystemEntropy, filters,
    wall_clock,
};
use tokio::process::{Child, Command};
use world::{key, request, sign};

const WAIT: Duration = Duration::from_secs(30);

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_router-agent"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Exit code, stdout, stderr.
async fn output(args: &[&str]) -> (i32, String, String) {
    let output = tokio::time::timeout(WAIT, command(args).output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Repeats a command until it exits 0 and `holds`.
async fn until(args: &[&str], holds: impl Fn(&str) -> bool) -> String {
    let mut again = tokio::time::interval(Duration::from_millis(200));
    let waited = tokio::time::timeout(WAIT, async {
        loop {
            again.tick().await;
            let (code, stdout, _) = output(args).await;
            if code == 0 && holds(&stdout) {
                return stdout;
            }
        }
    });
    waited.await.unwrap_or_else(|_| panic!("in vain: {args:?}"))
}

async fn terminate(mut child: Child) -> i32 {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    tokio::time::timeout(WAIT, child.wait()).await.unwrap().unwrap().code().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_is_run_looked_at_and_stopped() {
    let relay = DevRelay::start(DevRelayOptions::on("127.0.0.1:0".parse().unwrap())).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let child = command(&["run", "--relay", relay.url(), "--data", data, "--fee-ppm", "1000"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until(&["healthcheck", "--data", data], |text| text.contains("alive")).await;

    let now = wall_clock::now_seconds();
    let node = key(3);
    let pool = RelayPool::connect(RelayList::single(relay.url()).unwrap(), PoolOptions::default());
    pool.wait_ready(RelayRole::Control, WAIT).await.unwrap();
    pool.publish_stored(sign(&world::descriptor("attic", now.plus(900)), &node, now)).await;
    pool.publish_stored(sign(&world::offer("attic", world::price(20, 40)), &node, now)).await;
    let table = until(&["nodes", "--data", data], |text| text.contains("attic")).await;
    assert!(table.starts_with("NODE") && table.contains(world::MODEL) && table.contains("live"), "{table}");

    let ticket = SigningKey::generate(&mut SystemEntropy);
    let asked = sign(&QuoteRequest { expires_at: now.plus(60), ..request(Mode::Balanced) }, &ticket, now);
    let id = asked.id().to_hex();
    let filter = filters::of_kinds_to(&[QUOTE], [ticket.public_key()]);
    let mut replies = pool.ask(RelayRole::Control, asked, filter, WAIT).await;
    let reply = QuoteReply::parse(&replies.next().await.unwrap()).unwrap().message;
    let QuoteOutcome::Quote(quote) = reply.outcome else { panic!("a quote, not {:?}", reply.outcome) };

    let story = until(&["explain", &id, "--data", data], |_| true).await;
    assert!(story.contains("chosen") && story.contains("TTFT"), "{story}");
    let by_digest = until(&["explain", &quote.decision, "--json", "--data", data], |_| true).await;
    assert!(by_digest.contains(&id));
    let (code, _, error) = output(&["explain", "ffff", "--data", data]).await;
    assert!(code == 1 && error.contains("hint:"), "{error}");
    let status = until(&["status", "--json", "--data", data], |text| text.contains("\"tickets\": 1")).await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["router"]["live_nodes"], 1);

    assert_eq!(terminate(child).await, 0);
    check_replay(dir.path()).await;
    let (code, ..) = output(&["healthcheck", "--data", "does-not-exist"]).await;
    assert_eq!(code, 1);
}

/// The honest file replays; a changed number does not.
async fn check_replay(data: &Path) {
    let file = data.join("decisions.jsonl");
    let (code, stdout, _) = output(&["replay", file.to_str().unwrap()]).await;
    assert!(code == 0 && stdout.starts_with("1 decisions came out the same"), "{stdout}");
    let changed = data.join("changed.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&changed, text.replacen("\"rtt_ms\":150.0", "\"rtt_ms\":151.0", 1)).unwrap();
    let (code, _, error) = output(&["replay", changed.to_str().unwrap()]).await;
    assert!(code == 7 && error.contains(":1:"), "{error}");
}

#[tokio::test]
async fn a_printed_configuration_is_read_back_and_a_wrong_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (code, text, _) = output(&["policy", "show"]).await;
    assert_eq!(code, 0);
    let file = dir.path().join("router.toml");
    std::fs::write(&file, &text).unwrap();
    let path = file.to_str().unwrap();
    assert_eq!(output(&["policy", "show", "--config", path]).await.1, text);
    std::fs::write(&file, "fee_pmm = 1\n").unwrap();
    let (code, _, error) = output(&["run", "--config", path, "--relay", "ws://127.0.0.1:1"]).await;
    assert!(code == 3 && error.contains("line 1") && error.contains("fee_pmm"), "{error}");
    assert_eq!(output(&["no-such-command"]).await.0, 2);
}
