//! A whole node over relays: as a task over a relay in memory, and as a process over a relay on a socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod scripted_client;

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use fedai_node_agent::shell::config::GatewayChoice;
use fedai_node_agent::shell::node_journal::{ReceiptRecord, each_receipt};
use fedai_node_agent::shell::runners::mock::{MockConfig, MockFailure, MockRunner, expected_text};
use fedai_node_agent::{NodeConfig, RunnerChoice, run};
use fedai_protocol::event_kinds::{NODE_DESCRIPTOR, RECEIPT, SESSION_FRAME};
use fedai_protocol::node_descriptor::NodeStatus;
use fedai_protocol::payment_offer::PaymentMethod;
use fedai_protocol::receipt::{Outcome, commitment};
use fedai_protocol::receipts_file::verify_file;
use fedai_protocol::session_frame::{Final, FrameBody};
use fedai_protocol::{Message, NodeDescriptor, Receipt, RefusalCode};
use fedai_relay_bridge::{
    DevRelay, DevRelayOptions, MemoryRelay, PoolOptions, RelayList, RelayPool, RelayRole, filters,
};
use scripted_client::{FoundNode, Job, PATIENCE, find_node, open};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

const SECRET: &str = "xyzzy-canary-prompt-7261";
const URL: &str = "ws://relay.example";

fn body() -> String {
    format!(r#"{{"messages":[{{"role":"user","content":"Say {SECRET}"}}],"max_tokens":50}}"#)
}

fn expected(tokens: u32) -> String {
    expected_text(&serde_json::from_str(&body()).unwrap(), tokens)
}

/// A node in this process on a relay in memory, and a pool for a client.
struct InProcess {
    pool: RelayPool,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), fedai_node_agent::RunError>>,
    data: tempfile::TempDir,
}

async fn start(mock: MockConfig) -> InProcess {
    start_in(tempfile::tempdir().unwrap(), mock).await
}

/// On a relay that has nothing yet.
async fn start_in(data: tempfile::TempDir, mock: MockConfig) -> InProcess {
    let relay = MemoryRelay::new();
    let list = RelayList::single(URL).unwrap();
    let runner = RunnerChoice::Opened(Arc::new(MockRunner::new(mock)));
    let mut config = NodeConfig::new(data.path().join("node"), list.clone(), runner);
    config.connector = PoolOptions::memory(&[(URL, &relay)]).connector;
    config.accept_self_dispatch = true;
    config.drain_timeout = Duration::from_secs(5);
    config.gateway = Some(GatewayChoice { listen: "127.0.0.1:0".parse().unwrap(), url: None });
    let stop = CancellationToken::new();
    let (ready, is_ready) = oneshot::channel();
    let task = tokio::spawn(run(config, stop.clone(), ready));
    let ready = tokio::time::timeout(PATIENCE, is_ready).await.unwrap().unwrap();
    assert_eq!(ready.models, ["mock-words"]);
    assert!(
        ready.line.starts_with("npub1") && ready.line.ends_with("advertised on 1/1 relays"),
        "{}",
        ready.line
    );
    let pool = RelayPool::connect(list, PoolOptions::memory(&[(URL, &relay)]));
    InProcess { pool, stop, task, data }
}

impl InProcess {
    /// Buys an answer to its end.
    async fn buy(&self) -> (FoundNode, Job, Final) {
        let node = find_node(&self.pool).await;
        let mut job = open(&self.pool, &node, &body(), PaymentMethod::Free).await;
        let FrameBody::Final(end) = job.read_to_end_of_job().await else { panic!() };
        (node, job, *end)
    }

    async fn stop(self) -> tempfile::TempDir {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
        self.data
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_answered_with_a_receipt_that_verifies_and_can_be_resumed() {
    let world = start(MockConfig { tokens: 12, ..MockConfig::default() }).await;
    let (node, mut job, end) = world.buy().await;
    let (text, sha256) = job.text();
    assert_eq!(text, expected(12));
    assert_eq!(end.output_sha256, sha256);
    let receipt = Receipt::parse(&end.receipt).unwrap();
    assert_eq!(receipt.author, node.descriptor.author);
    assert_eq!(receipt.message.client, job.session.public_key());
    assert_eq!((receipt.message.job, receipt.message.outcome), (job.id, Outcome::Complete));
    assert_eq!(receipt.message.usage.check_bounds(body().len() as u64, 1, text.len() as u64), Ok(()));
    assert_ne!(receipt.message.commitment, commitment("", "", &sha256));
    // Everything again, as after a lost connection.
    let whole = job.frames.clone();
    job.frames.clear();
    job.say(&world.pool, FrameBody::Resume { from: 1 });
    while job.frames.len() + 1 < whole.len() {
        job.next().await;
    }
    assert!(job.frames.iter().all(|(s, body)| whole[s] == *body));
    let data = world.stop().await;
    let mut receipts = Vec::new();
    let keep = |record: ReceiptRecord| {
        receipts.push(record.receipt.id());
        Ok(())
    };
    each_receipt(&data.path().join("node"), keep).unwrap();
    assert_eq!(receipts, [receipt.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_receipts_are_published_again_after_a_start_and_shown_at_the_gateway() {
    let world = start(MockConfig { tokens: 3, ..MockConfig::default() }).await;
    let (_, _, end) = world.buy().await;
    let data = world.stop().await;
    // As after a loss of power: the journal was synced, the outbox was not.
    std::fs::remove_dir_all(data.path().join("node/outbox")).unwrap();
    let world = start_in(data, MockConfig::default()).await;
    let node = find_node(&world.pool).await;
    let gateway = RelayList::single(&node.descriptor.message.gateways[0]).unwrap();
    let gateway = RelayPool::connect(gateway, PoolOptions::default());
    for pool in [&world.pool, &gateway] {
        let mut receipts = pool.subscribe(RelayRole::Discovery, vec![filters::of_kinds(&[RECEIPT])]);
        let receipt = tokio::time::timeout(PATIENCE, receipts.recv()).await.unwrap().unwrap();
        assert_eq!(receipt, end.receipt);
    }
    gateway.shutdown().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_relay_has_shown_is_not_acted_on_again_at_the_gateway() {
    let world = start(MockConfig { tokens: 3, ..MockConfig::default() }).await;
    let (node, mut job, _) = world.buy().await;
    let gateway = RelayList::single(&node.descriptor.message.gateways[0]).unwrap();
    let gateway = RelayPool::connect(gateway, PoolOptions::default());
    gateway.wait_ready(RelayRole::Stream, PATIENCE).await.unwrap();
    let to_us = filters::of_kinds_to(&[SESSION_FRAME], [job.session.public_key()]);
    job.subscription = gateway.subscribe(RelayRole::Stream, vec![to_us]);
    assert!(job.subscription.ready(PATIENCE).await > 0);
    assert!(gateway.publish_ephemeral(job.wrap.clone(), RelayRole::Stream) > 0);
    let mut numbered = 0;
    // Time enough for a wrap that is acted on: several times there and back.
    for round in 0..8 {
        if round == 7 {
            job.say(&gateway, FrameBody::Resume { from: 0 });
        }
        job.say(&gateway, FrameBody::Ping);
        loop {
            match job.next().await.body {
                FrameBody::Pong => break,
                body => numbered += usize::from(body.is_numbered()),
            }
        }
    }
    assert_eq!(numbered, job.frames.len(), "what was asked for, and nothing for the wrap");
    gateway.shutdown().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_paid_is_refused_and_a_cancel_stops_the_work() {
    let slow = MockConfig { tokens: 2_000, token_time: Duration::from_millis(10), ..MockConfig::default() };
    let world = start(slow).await;
    let node = find_node(&world.pool).await;
    let mut unpaid = open(&world.pool, &node, &body(), PaymentMethod::Credit).await;
    let FrameBody::Error(failure) = unpaid.read_to_end_of_job().await else { panic!() };
    assert_eq!(failure.refusal.code, RefusalCode::PaymentNotAccepted);
    let long = body().replace("\"max_tokens\":50", "\"max_tokens\":500");
    let mut job = open(&world.pool, &node, &long, PaymentMethod::Free).await;
    while !matches!(job.next().await.body, FrameBody::Chunk(_)) {}
    job.say(&world.pool, FrameBody::Cancel);
    let FrameBody::Error(failure) = job.read_to_end_of_job().await else { panic!() };
    assert_eq!(failure.refusal.code, RefusalCode::Cancelled);
    let receipt = Receipt::parse(&failure.receipt.unwrap()).unwrap().message;
    assert_eq!((receipt.outcome, receipt.amount.get()), (Outcome::Partial, 0));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_breaks_gives_its_words_and_a_partial_receipt() {
    let world = start(MockConfig { failure: MockFailure::ErrorAtToken(5), ..MockConfig::default() }).await;
    let node = find_node(&world.pool).await;
    let mut job = open(&world.pool, &node, &body(), PaymentMethod::Free).await;
    let FrameBody::Error(failure) = job.read_to_end_of_job().await else { panic!() };
    assert_eq!(failure.refusal.code, RefusalCode::RunnerInterrupted);
    assert!(failure.receipt.is_some() && !job.text().0.is_empty());
    world.stop().await;
}

/// As an operator runs it: at the most verbose level, nothing of prompt or answer is in logs or files; SIGTERM drains.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_serves_leaves_nothing_behind_and_drains_on_sigterm() {
    let relay = DevRelay::start(DevRelayOptions::on("127.0.0.1:0".parse().unwrap())).await.unwrap();
    let data = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_node-agent");
    let mut child = Command::new(program)
        .args(["run", "--relay", relay.url(), "--runner", "mock", "--accept-self-dispatch", "--data"])
        .arg(data.path())
        .env("RUST_LOG", "trace")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut errors = child.stderr.take().unwrap();
    let logs = tokio::spawn(async move {
        let mut text = Vec::new();
        errors.read_to_end(&mut text).await.unwrap();
        String::from_utf8_lossy(&text).into_owned()
    });
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert!(line.contains("mock-words (free)") && line.contains("1/1 relays"), "{line}");

    let list = RelayList::single(relay.url()).unwrap();
    let pool =
        RelayPool::connect(list, PoolOptions { allow_private_addresses: true, ..PoolOptions::default() });
    let node = find_node(&pool).await;
    let mut job = open(&pool, &node, &body(), PaymentMethod::Free).await;
    assert!(matches!(job.read_to_end_of_job().await, FrameBody::Final(_)));
    let answer = job.text().0;
    assert_eq!(answer, expected(16));

    operator_commands_answer_while_it_runs(program, relay.url(), data.path()).await;

    let pause = Command::new(program).args(["pause", "--data"]).arg(data.path()).status();
    assert!(pause.await.unwrap().success());
    let paused = async { while find_node(&pool).await.descriptor.message.status != NodeStatus::Paused {} };
    tokio::time::timeout(PATIENCE, paused).await.expect("the node did not pause");

    // The last descriptor expires soon after it was made: it is read as it comes, not looked for later.
    let filter = filters::of_author(NODE_DESCRIPTOR, node.descriptor.author);
    let mut descriptors = pool.subscribe(RelayRole::Discovery, vec![filter]);
    assert!(descriptors.ready(PATIENCE).await > 0);
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
    let last = async {
        loop {
            let event = descriptors.recv().await.expect("the pool is gone");
            let descriptor = NodeDescriptor::parse(&event).unwrap().message;
            if descriptor.expires_at < node.descriptor.message.expires_at {
                return descriptor;
            }
        }
    };
    let last = tokio::time::timeout(PATIENCE, last).await.expect("no descriptor ends the lease");
    assert_eq!(last.status, NodeStatus::Draining);

    assert_nothing_left(data.path(), logs.await.unwrap(), &answer);
}

/// What an operator types beside a running node.
async fn operator_commands_answer_while_it_runs(program: &str, relay: &str, data: &Path) {
    let second = Command::new(program)
        .args(["run", "--relay", relay, "--runner", "mock", "--data"])
        .arg(data)
        .output();
    let second = second.await.unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use by"), "one process for one directory");

    for command in [
        ["healthcheck"].as_slice(),
        &["status", "--json"],
        &["ad", "show"],
        &["receipts", "list"],
        &["key", "show"],
    ] {
        let output = Command::new(program).args(command).arg("--data").arg(data).output().await.unwrap();
        assert!(output.status.success() && !output.stdout.is_empty(), "{command:?}: {output:?}");
    }

    let file = data.join("export.jsonl");
    let export = Command::new(program).args(["receipts", "export", "--data"]).arg(data).arg(&file).output();
    assert!(export.await.unwrap().status.success());
    let summary = verify_file(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!((summary.receipts, summary.closed), (1, true));
}

/// Neither prompt, answer nor secret key is in the log or in a file.
fn assert_nothing_left(data: &Path, logs: String, answer: &str) {
    assert!(logs.contains("receipt"), "the log is there to be searched");
    let mut texts = vec![("the log".to_owned(), logs)];
    read_all(data, &mut texts);
    assert!(texts.len() > 5, "only {} files", texts.len());
    for (name, text) in texts {
        assert!(!text.contains(SECRET), "the prompt is in {name}");
        assert!(!text.contains(answer), "the answer is in {name}");
        assert!(name.ends_with("node.key") || !text.contains("nsec1"), "a secret key is in {name}");
    }
}

fn read_all(dir: &Path, texts: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, texts);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            texts.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
}
