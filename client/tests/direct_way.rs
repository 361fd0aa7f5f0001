//! Straight to the node's own relay: what relays no longer see, and what happens when that way, or a relay, dies in the
//! middle of many answers. Relays, router and node are processes; the clients are in this one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod network;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fedai_client::core::direct_way::DirectWish;
use fedai_client::core::quote_check::Ticket;
use fedai_client::shell::buyer::OutputSink;
use fedai_protocol::RefusalCode;
use fedai_protocol::event_kinds::{EPHEMERAL_GIFT_WRAP, SESSION_FRAME};
use fedai_protocol::output_stream::OutputLine;
use fedai_protocol::quote::CheckedNode;
use fedai_relay_bridge::{PoolOptions, RelayList, RelayPool, RelayRole, filters};
use network::cut_line::CutLine;
use network::purchase::{Text, buyer, job};
use network::{World, expected_answer, wait_for};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps the text, and says how many pieces of it have come.
struct Reader {
    text: String,
    pieces: Arc<AtomicUsize>,
}

impl OutputSink for Reader {
    fn deliver(&mut self, lines: &[OutputLine]) -> ControlFlow<()> {
        for line in lines.iter().filter(|line| !line.text.is_empty()) {
            self.text.push_str(&line.text);
            self.pieces.fetch_add(1, Ordering::Relaxed);
        }
        ControlFlow::Continue(())
    }

    fn restarted(&mut self) {
        panic!("the answer began anew");
    }
}

/// A node behind a line that can be cut, as an operator's proxy is.
fn node_behind_a_line(world: &mut World, relays: &[&str], runner: &str) -> CutLine {
    let line = CutLine::start();
    let url = line.url();
    let data = world.path().join("node-a").display().to_string();
    let mut words = vec!["node-agent", "run", "--data", &data, "--name", "node-a", "--runner", runner];
    words.extend([
        "--accept-self-dispatch",
        "--runner-kind",
        "mock",
        "--gateway",
        "127.0.0.1:0",
        "--gateway-url",
        &url,
    ]);
    words.extend(relays.iter().flat_map(|url| ["--relay", *url]));
    world.start("node-a", &words);
    let log = world.log("node-a");
    let listen = wait_for("the gateway's address", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let plain = text.replace("\u{1b}[3m", "").replace("\u{1b}[0m", "").replace("\u{1b}[2m", "");
        let rest = plain.split_once("gateway listen=ws://")?.1;
        rest.split_whitespace().next().map(str::to_owned)
    });
    line.lead_to(&listen);
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_job_shows_relays_nothing_and_a_client_that_says_never_goes_by_them() {
    let mut world = World::new();
    let relay = world.relay("relay");
    world.router(&[&relay]);
    let line = node_behind_a_line(&mut world, &[&relay], "mock://local?tokens=9");
    world.wait_for_nodes(&[&relay], 1);
    let pool = RelayPool::connect(RelayList::single(&relay).unwrap(), PoolOptions::default());
    let kinds = [EPHEMERAL_GIFT_WRAP, SESSION_FRAME];
    let mut tap = pool.subscribe(RelayRole::Stream, vec![filters::of_kinds(&kinds)]);
    assert!(tap.ready(PATIENCE).await > 0);
    for (wish, is_seen) in [(DirectWish::Auto, false), (DirectWish::Never, true)] {
        let before = line.accepted();
        let (buyer, contacts) = buyer(&[&relay], &world.path().join(format!("{wish:?}")), wish).await;
        let mut held = None;
        for prompt in ["one", "two"] {
            let mut reader = Text::default();
            let (spec, cancel) = (job(prompt, 9, &contacts), CancellationToken::new());
            let bought = buyer.run(spec, &contacts, held.take(), &mut reader, &cancel).await.unwrap();
            assert_eq!(reader.0, expected_answer(prompt, 9));
            held = Some(bought.held);
        }
        assert_eq!(line.accepted() - before, usize::from(!is_seen), "one connection for all jobs, or none");
        let mut seen = 0;
        while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(500), tap.recv()).await {
            seen += 1;
        }
        assert_eq!(seen > 0, is_seen, "{wish:?}: {seen} events on the relay");
        buyer.close().await;
    }
    pool.shutdown().await;
}

/// Wants no answer any more when the job has just been sent.
struct Leaving(CancellationToken);

impl OutputSink for Leaving {
    fn opening(&mut self, _: u32, _: &CheckedNode, _: &Ticket) {
        self.0.cancel();
    }

    fn deliver(&mut self, _: &[OutputLine]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn restarted(&mut self) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_left_before_the_node_has_answered_gives_its_slot_back() {
    let mut world = World::new();
    let relay = world.relay("relay");
    world.router(&[&relay]);
    // The first job would have the only slot for a minute.
    let _line = node_behind_a_line(&mut world, &[&relay], "mock://local?tokens=3000&token_ms=20&slots=1");
    world.wait_for_nodes(&[&relay], 1);
    let ways = [DirectWish::Never, DirectWish::Auto];
    // The program goes on, or ends at once.
    for (wish, is_over) in ways.into_iter().flat_map(|wish| [(wish, false), (wish, true)]) {
        let folder = world.path().join(format!("{wish:?}"));
        let (mut buyer, _) = buyer(&[&relay], &folder, wish).await;
        let cancel = CancellationToken::new();
        let mut leaving = Leaving(cancel.clone());
        let failure = buyer.run(job("one", 3_000, &[]), &[], None, &mut leaving, &cancel).await;
        assert_eq!(failure.map(drop).unwrap_err().refusal.code, RefusalCode::Cancelled);
        if is_over {
            buyer.close().await;
            buyer = network::purchase::buyer(&[&relay], &folder, wish).await.0;
        }
        let (mut reader, cancel) = (Text::default(), CancellationToken::new());
        let next = buyer.run(job("two", 5, &[]), &[], None, &mut reader, &cancel);
        let next = tokio::time::timeout(PATIENCE, next).await.expect("the slot is free");
        assert!(next.is_ok() && reader.0 == expected_answer("two", 5), "{wish:?}: {}", reader.0);
        buyer.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_and_then_the_gateway_die_under_twenty_clients_and_every_answer_is_whole() {
    const CLIENTS: usize = 20;
    const TOKENS: u64 = 60;
    let mut world = World::new();
    let (first, second) = (world.relay("relay-a"), world.relay("relay-b"));
    let relays = [first.as_str(), second.as_str()];
    world.router(&relays);
    let runner = "mock://local?tokens=60&token_ms=150&slots=32";
    let line = node_behind_a_line(&mut world, &relays, runner);
    world.wait_for_nodes(&relays, 1);
    let mut jobs = Vec::new();
    let mut progress = Vec::new();
    for number in 0..CLIENTS {
        let folder = world.path().join(format!("client-{number}"));
        let (buyer, _) = buyer(&relays, &folder, DirectWish::Auto).await;
        let pieces = Arc::new(AtomicUsize::new(0));
        progress.push(Arc::clone(&pieces));
        jobs.push(tokio::spawn(async move {
            let mut reader = Reader { text: String::new(), pieces };
            // Without a router: one that has no history sends a new node a few jobs at a time.
            let spec = job(&format!("prompt {number}"), TOKENS, &[]);
            let cancel = CancellationToken::new();
            let bought = buyer.run(spec, &[], None, &mut reader, &cancel).await;
            buyer.close().await;
            (reader.text, bought.map(|bought| bought.answer))
        }));
    }
    let all_have = |pieces: usize| progress.iter().all(|one| one.load(Ordering::Relaxed) >= pieces);
    let reach = async |pieces: usize| {
        let look = async {
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            while !all_have(pieces) {
                tick.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("progress in time");
    };
    reach(3).await;
    assert_eq!(line.open(), CLIENTS, "all of them came directly");
    world.kill("relay-a");
    reach(8).await;
    assert!(progress.iter().all(|one| one.load(Ordering::Relaxed) < TOKENS as usize / 2), "in mid-stream");
    line.cut();
    for (number, job) in jobs.into_iter().enumerate() {
        let (text, answer) = tokio::time::timeout(PATIENCE, job).await.expect("an end in time").unwrap();
        let answer = answer.unwrap_or_else(|failure| panic!("{number}: {:?}", failure.refusal));
        assert_eq!(text, expected_answer(&format!("prompt {number}"), TOKENS as u32), "client {number}");
        assert_eq!(answer.attempts.len(), 1, "one session from beginning to end");
        assert!(answer.settlement.verdict.is_ok(), "client {number}");
        assert_eq!(answer.usage.output_tokens.get(), TOKENS);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_answers_nothing_delays_the_first_job_by_a_moment_and_costs_no_answer() {
    let mut world = World::new();
    let relay = world.relay("relay");
    world.router(&[&relay]);
    let line = node_behind_a_line(&mut world, &[&relay], "mock://local?tokens=9");
    world.wait_for_nodes(&[&relay], 1);
    // Connections are taken and nothing is ever said, as by a broken proxy.
    line.stall();
    let (buyer, contacts) = buyer(&[&relay], &world.path().join("client"), DirectWish::Auto).await;
    let mut times = Vec::new();
    for prompt in ["one", "two"] {
        let mut reader = Text::default();
        let (spec, cancel) = (job(prompt, 9, &contacts), CancellationToken::new());
        let begun = tokio::time::Instant::now();
        buyer.run(spec, &contacts, None, &mut reader, &cancel).await.unwrap();
        times.push(begun.elapsed());
        assert_eq!(reader.0, expected_answer(prompt, 9));
    }
    let wait = Duration::from_millis(fedai_protocol::limits::GATEWAY_CONNECT_WAIT_MS);
    assert!(times[0] >= wait && times[0] < wait + Duration::from_secs(2), "{times:?}");
    assert!(times[1] < times[0], "and only the first: {times:?}");
    buyer.close().await;
}
