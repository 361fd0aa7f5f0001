//! A busy router that keeps the inputs of every decision: all of them come out the same when they are made again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use std::collections::VecDeque;
use std::io::Write;
use std::process::Command;

use fedai_protocol::message::Received;
use fedai_protocol::quote_request::Mode;
use fedai_protocol::receipt_ack::AckVerdict;
use fedai_protocol::{Dispatch, EventId, LoadPing, Msat, PublicKey, Receipt, Tokens};
use fedai_router_agent::core::decision_entry::{DecisionEntry, KeepInputs};
use fedai_router_agent::core::{AckHeard, AckProof, Action, Input, RouterCore};
use world::{World, event_id, key, price, receipt, request, terms};

/// A router with `nodes` nodes under load: jobs come back, some fail, loads are announced.
struct Busy {
    world: World,
    flying: VecDeque<Received<Dispatch>>,
    tails: Vec<(u64, EventId)>,
    sample: Receipt,
    step: u64,
}

impl Busy {
    fn new(nodes: u64) -> Self {
        let prices: Vec<_> = (0..nodes).map(|n| price(400_000 + n * 90_000, 900_000 + n * 210_000)).collect();
        let mut world = World::new(&[]);
        world.core = RouterCore::new(world.now, terms(&world.router)).keeping(KeepInputs::All);
        world.nodes = (1..).zip(&prices).map(|(n, price)| world::Node::new(n, *price)).collect();
        world.announce();
        let (ticket, dispatch) = world.dispatch(request(Mode::Balanced));
        let first = dispatch.nodes[0].node;
        let node = world.nodes.iter().find(|node| node.id() == first).unwrap();
        let sample =
            receipt(node, &ticket, key(600).public_key(), 0, EventId::all_zeros(), world.now.seconds());
        let tails = vec![(0, EventId::all_zeros()); prices.len()];
        Self { world, flying: VecDeque::new(), tails, sample, step: 0 }
    }

    fn node(&self, id: &PublicKey) -> usize {
        self.world.nodes.iter().position(|node| node.id() == *id).unwrap()
    }

    /// One request, with whatever happens beside it. The decision, when there is one.
    fn turn(&mut self) -> Option<DecisionEntry> {
        self.step += 1;
        let n = self.step;
        self.world.now = self.world.now.plus_millis(20 + n % 7);
        let modes = [Mode::Balanced, Mode::Cheapest, Mode::Fastest, Mode::Balanced];
        let mut wanted = request(modes[(n % 4) as usize]);
        wanted.prompt_tokens = Tokens::saturating(16 + n * 37 % 1_500);
        wanted.max_output_tokens = Tokens::saturating(8 + n * 13 % 700);
        wanted.max_cost = n.is_multiple_of(5).then_some(Msat::saturating(1_500));
        wanted.previous_node =
            n.is_multiple_of(3).then(|| self.world.nodes[n as usize % self.tails.len()].id());
        wanted.expires_at = self.world.now.seconds().plus(30);
        if n.is_multiple_of(50) {
            wanted.constraints.not_nodes = vec![self.world.nodes[n as usize % self.tails.len()].id()];
        }
        let mut decided = None;
        for action in self.world.ask(wanted) {
            match action {
                Action::Decided(entry) => decided = Some(*entry),
                Action::Quote { draft, .. } => {
                    let dispatch = draft.dispatch.clone().unwrap();
                    let (author, at) = (self.world.router.public_key(), self.world.now.seconds());
                    let ticket = Received::simulated(dispatch, author, event_id(1_000_000 + n), at);
                    self.world.step(Input::Dispatched(ticket.clone()));
                    self.flying.push_back(ticket);
                }
                _ => {}
            }
        }
        if self.flying.len() > 24 {
            self.land();
        }
        if n.is_multiple_of(40) {
            self.announce_load(n);
            self.world.step(Input::Tick);
        }
        decided
    }

    fn land(&mut self) {
        let ticket = self.flying.pop_front().unwrap();
        let (n, first) = (self.step, &ticket.message.nodes[0]);
        // Every thirtieth job never comes back.
        if n.is_multiple_of(30) {
            return;
        }
        let at = self.node(&first.node);
        let (seq, prev) = self.tails[at];
        let now = self.world.now.seconds();
        let amount = Msat::saturating(1).min(first.max_cost);
        let message =
            Receipt { dispatch: ticket.id, offer: first.offer, seq, prev, amount, ..self.sample.clone() };
        let id = event_id(2_000_000 + n);
        self.tails[at] = (seq + 1, id);
        let (ttft, total) = (200 + n * 17 % 400, 900 + n * 29 % 2_000);
        self.world.step(Input::Acknowledged(AckHeard {
            id: event_id(3_000_000 + n),
            author: message.client,
            receipt: Received::simulated(message, first.node, id, now),
            verdict: AckVerdict::Accepted,
            proof: AckProof::By(ticket.message.client),
            paid: Msat::ZERO,
            observed_ttft_ms: Some(ttft),
            observed_total_ms: Some(ttft + total),
            turned_away: Vec::new(),
        }));
    }

    fn announce_load(&mut self, n: u64) {
        for (at, node) in
            (0_u64..).zip(&self.world.nodes).map(|(at, node)| (at, node.id())).collect::<Vec<_>>()
        {
            let running = u32::try_from((n + at * 3) % 5).unwrap();
            let name = format!("node-{}", at + 1);
            let load = LoadPing { node: name, running, queued: 0, slots: 4, load_permille: 0, wait_ms: 0 };
            let second = self.world.now.seconds();
            let ping = Received::simulated(load, node, event_id(4_000_000 + n * 100 + at), second);
            self.world.step(Input::LoadPing(ping));
        }
    }
}

/// Records that many decisions and has the binary make them again.
#[expect(clippy::disallowed_methods, reason = "says how long it took")]
fn record_and_replay(decisions: usize, nodes: u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("decisions.jsonl");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    let mut busy = Busy::new(nodes);
    let began = std::time::Instant::now();
    let (mut kept, mut modes) = (0, std::collections::BTreeMap::<String, usize>::new());
    while kept < decisions {
        assert!(busy.step < 2 * decisions as u64 + 100, "only {kept} decisions in {} requests", busy.step);
        let Some(entry) = busy.turn() else { continue };
        *modes.entry(format!("{:?}", entry.record.mode)).or_default() += 1;
        serde_json::to_writer(&mut file, &entry).unwrap();
        file.write_all(b"\n").unwrap();
        kept += 1;
    }
    file.flush().unwrap();
    assert_eq!(modes.len(), 3, "{modes:?}");
    let (recorded, again) = (began.elapsed(), std::time::Instant::now());
    let out = Command::new(env!("CARGO_BIN_EXE_router-agent")).arg("replay").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    let expected = format!("{decisions} decisions came out the same; 0 did not keep their inputs");
    assert!(said.contains(&expected), "{said}");
    let mebibytes = std::fs::metadata(&path).unwrap().len() >> 20;
    println!("{said}{mebibytes} MiB, recorded in {recorded:.1?}, replayed in {:.1?}", again.elapsed());
}

#[test]
fn every_decision_of_a_busy_router_comes_out_the_same() {
    record_and_replay(1_000, 12);
}

#[test]
#[ignore = "writes a few hundred MB: cargo test --release -p fedai-router-agent --test replay -- --ignored --nocapture"]
fn ten_thousand_decisions_come_out_the_same() {
    record_and_replay(10_000, 12);
}
