//! Scripted journeys: the network is a list of quotes and frames, the time a number.

use std::collections::{BTreeMap, VecDeque};

use fedai_protocol::payment_offer::Balance;
use fedai_protocol::quote::{CheckedNode, QuoteOutcome};
use fedai_protocol::receipt::Outcome;
use fedai_protocol::session_frame::{Accept, Chunk, Direction, Failure, Final, FrameBody, SessionFrame};
use fedai_protocol::{JobId, QuoteRequest, VerifiedEvent};
use proptest::prelude::*;

use super::super::accept_times::AcceptTimes;
use super::super::attempt::OpenedWith;
use super::super::fixture_tests::{Market, line, micros};
use super::super::job_ending::{Answer, JobFailure, Settlement};
use super::super::job_spec::{DeliveryMode, OnBreak, RouterTarget};
use super::super::receipt_check::ReceiptDispute;
use super::*;

#[path = "job_journey_hedge_tests.rs"]
mod hedging;
#[path = "job_journey_peer_tests.rs"]
mod peers;

#[path = "job_journey_recovery_tests.rs"]
mod recovery;

/// What the next question is answered with.
enum Script {
    Quote(Vec<usize>),
    Hedged(Vec<usize>, u64),
    Refusal(Refusal),
}

/// A journey and its scripted world.
struct Play {
    market: Market,
    journey: Journey,
    ms: u64,
    scripts: VecDeque<Script>,
    opened: BTreeMap<u32, (CheckedNode, Ticket, OpenedWith)>,
    open_agains: usize,
    sent: Vec<(u32, FrameBody)>,
    shown: String,
    restarts: usize,
    settled: Vec<Settlement>,
    excluded: Vec<PublicKey>,
    endings: Vec<Result<Answer, JobFailure>>,
}

impl Play {
    fn new(nodes: usize, scripts: Vec<Script>, bend: impl FnOnce(&mut JobSpec)) -> Self {
        Self::with_ticket(nodes, scripts, bend, None)
    }

    /// One job of a process that has others.
    fn sharing(nodes: usize, scripts: Vec<Script>, budgets: &RetryBudgets) -> Self {
        let fastest = |spec: &mut JobSpec| spec.mode = fedai_protocol::quote_request::Mode::Fastest;
        Self::begin(nodes, scripts, fastest, None, |journey, _| journey.sharing(budgets.clone()))
    }

    fn with_ticket(
        nodes: usize,
        scripts: Vec<Script>,
        bend: impl FnOnce(&mut JobSpec),
        ticket: Option<Ticket>,
    ) -> Self {
        Self::begin(nodes, scripts, bend, ticket, |journey, _| journey)
    }

    fn begin(
        nodes: usize,
        scripts: Vec<Script>,
        bend: impl FnOnce(&mut JobSpec),
        ticket: Option<Ticket>,
        prepare: impl FnOnce(Journey, &Market) -> Journey,
    ) -> Self {
        let market = Market::new(nodes);
        let mut spec = market.spec();
        bend(&mut spec);
        let journey = prepare(Journey::new(spec, JourneyTiming::default(), ticket, micros(0)), &market);
        let mut play = Self {
            market,
            journey,
            ms: 0,
            scripts: scripts.into(),
            opened: BTreeMap::new(),
            open_agains: 0,
            sent: Vec::new(),
            shown: String::new(),
            restarts: 0,
            settled: Vec::new(),
            excluded: Vec::new(),
            endings: Vec::new(),
        };
        play.input(JourneyInput::Start);
        play
    }

    fn input(&mut self, input: JourneyInput) {
        let mut out = Vec::new();
        self.journey.handle(micros(self.ms), input, &mut out);
        for action in out {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: JourneyAction) {
        match action {
            JourneyAction::Ask(requests) => self.answer(&requests),
            JourneyAction::Open { attempt, node, ticket } => {
                let with = self.market.opened(attempt as u8);
                self.opened.insert(attempt, (*node, *ticket, with.clone()));
                self.input(JourneyInput::Opened { attempt, with });
            }
            JourneyAction::FindRouters(peers) => panic!("nobody named a router: {peers:?}"),
            JourneyAction::OpenAgain { .. } => self.open_agains += 1,
            JourneyAction::Send { attempt, body, .. } => self.sent.push((attempt, body)),
            JourneyAction::Deliver(lines) => self.shown.extend(lines.iter().map(|line| line.text.as_str())),
            JourneyAction::Restarted => {
                self.restarts += 1;
                self.shown.clear();
            }
            JourneyAction::Settle(settlement) => self.settled.push(*settlement),
            JourneyAction::Close { .. } => {}
            JourneyAction::End(ending) => self.endings.push(*ending),
        }
    }

    fn answer(&mut self, requests: &[QuoteRequest]) {
        self.excluded = requests[0].constraints.not_nodes.clone();
        let question = self.market.question();
        self.input(JourneyInput::Asked(question));
        let reply = match self.scripts.pop_front() {
            Some(Script::Quote(nodes)) => self.market.good_reply(&question, &nodes),
            Some(Script::Hedged(nodes, after)) => {
                let mut quote = self.market.quote(&question, &nodes);
                quote.hedge_after_ms = Some(after);
                self.market.reply(&question, QuoteOutcome::Quote(Box::new(quote)))
            }
            Some(Script::Refusal(refusal)) => self.market.reply(&question, QuoteOutcome::Refusal(refusal)),
            None => return,
        };
        self.input(JourneyInput::Reply(Box::new(reply)));
    }

    /// Lets time pass as the shell does: a tick whenever the journey asked for one.
    fn wait(&mut self, ms: u64) {
        let end = self.ms + ms;
        while let Some(at) = self.journey.poll_timeout().filter(|at| *at <= micros(end)) {
            self.ms = self.ms.max(at.millis_since(micros(0)));
            self.input(JourneyInput::Tick);
        }
        self.ms = end;
    }

    fn frame(&mut self, attempt: u32, s: u64, body: FrameBody) {
        let job = self.opened.get(&attempt).map_or(JobId(EventId::all_zeros()), |o| o.2.job);
        let frame = SessionFrame { job, dir: Direction::ToClient, s, body };
        self.input(JourneyInput::Frame { attempt, frame });
    }

    fn accept(&mut self, attempt: u32) {
        self.frame(attempt, 0, accept_body(self.opened[&attempt].0.node));
    }

    fn chunk(&mut self, attempt: u32, s: u64, text: &str) {
        self.frame(attempt, s, chunk_body(text));
    }

    /// The honest end of an attempt that sent these pieces.
    fn final_body(&mut self, attempt: u32, pieces: &[&str]) -> FrameBody {
        let stream: String = pieces.iter().map(|piece| line(piece)).collect();
        self.final_of_stream(attempt, &stream)
    }

    /// The honest receipt of an attempt that was broken off after these pieces.
    fn partial_receipt(&mut self, attempt: u32, pieces: &[&str]) -> VerifiedEvent {
        let stream: String = pieces.iter().map(|piece| line(piece)).collect();
        self.receipt_of_stream(attempt, &stream, Outcome::Partial).1
    }

    fn final_of_stream(&mut self, attempt: u32, stream: &str) -> FrameBody {
        let (usage, receipt) = self.receipt_of_stream(attempt, stream, Outcome::Complete);
        let mut counter = fedai_protocol::output_stream::OutputCounter::default();
        counter.push(stream).unwrap();
        FrameBody::Final(Box::new(Final {
            usage,
            finish_reason: "stop".into(),
            output_sha256: counter.sha256(),
            receipt,
        }))
    }

    fn receipt_of_stream(
        &mut self,
        attempt: u32,
        stream: &str,
        outcome: Outcome,
    ) -> (fedai_protocol::Usage, VerifiedEvent) {
        let (node, ticket, with) = self.opened[&attempt].clone();
        let index = self.market.nodes.iter().position(|key| key.public_key() == node.node).unwrap();
        let quoted = ticket.nodes.iter().position(|quoted| quoted.node == node.node).unwrap();
        let offer = self.market.quoted(index).offer;
        let mut receipt = self.market.receipt(index, &offer, &ticket.dispatch_event, &with, stream);
        receipt.offer = ticket.nodes[quoted].offer.id;
        receipt.outcome = outcome;
        let key = self.market.nodes[index].clone();
        (receipt.usage, self.market.sign(&key, &receipt))
    }

    fn finish(&mut self, attempt: u32, s: u64, pieces: &[&str]) {
        let body = self.final_body(attempt, pieces);
        self.frame(attempt, s, body);
    }

    fn answer_text(&self) -> &str {
        assert_eq!(self.endings.len(), 1, "exactly one ending");
        &self.endings[0].as_ref().expect("an answer").text
    }

    fn failure(&self) -> &JobFailure {
        assert_eq!(self.endings.len(), 1, "exactly one ending");
        self.endings[0].as_ref().expect_err("a failure")
    }
}

fn accept_body(node: PublicKey) -> FrameBody {
    FrameBody::Accept(Accept { node, sig: String::new(), queue_ms: 0, balance: Balance::default() })
}

fn chunk_body(text: &str) -> FrameBody {
    FrameBody::Chunk(Chunk { data: line(text), balance: Balance::default() })
}

fn refuse(code: RefusalCode) -> FrameBody {
    FrameBody::Error(Failure { refusal: Refusal::new(code, "no"), receipt: None })
}

fn one_quote(nodes: &[usize]) -> Vec<Script> {
    vec![Script::Quote(nodes.to_vec())]
}

#[test]
fn an_answer_streams_and_its_receipt_is_accepted() {
    let mut play = Play::new(2, one_quote(&[0, 1]), |_| {});
    play.accept(1);
    play.chunk(1, 1, "red, ");
    assert_eq!(play.shown, "red, ", "handed on at once");
    play.chunk(1, 2, "green");
    play.finish(1, 3, &["red, ", "green"]);
    assert_eq!(play.answer_text(), "red, green");
    assert!(play.settled[0].verdict.is_ok());
    play.finish(1, 3, &["red, ", "green"]);
    assert_eq!((play.endings.len(), play.settled.len()), (1, 1), "nothing follows the ending");
}

#[test]
fn a_node_that_is_silent_before_its_first_token_is_replaced_under_the_same_ticket() {
    let mut play = Play::new(2, one_quote(&[0, 1]), |_| {});
    play.wait(2_600);
    assert_eq!((play.open_agains, play.opened.len()), (1, 1), "first the open is repeated");
    play.wait(2_500);
    assert_eq!(play.opened.len(), 2);
    play.accept(1);
    play.accept(2);
    play.chunk(1, 1, "late");
    play.chunk(2, 1, "blue");
    play.finish(2, 2, &["blue"]);
    assert_eq!(play.answer_text(), "blue");
    let notes: Vec<_> =
        play.endings[0].as_ref().unwrap().attempts.iter().map(|n| n.outcome.clone()).collect();
    assert_eq!(notes, ["runner_failed", "complete"]);
}

#[test]
fn a_node_lost_after_accept_is_probed_and_replaced() {
    let mut play = Play::new(2, one_quote(&[0, 1]), |_| {});
    play.accept(1);
    play.wait(2_000 + 3 * 1_500 + 1);
    let probes = play.sent.iter().filter(|(attempt, body)| *attempt == 1 && *body == FrameBody::Ping).count();
    assert_eq!((probes, play.opened.len()), (3, 2));
}

#[test]
fn a_node_that_answers_probes_is_waited_for() {
    let mut play = Play::new(2, one_quote(&[0, 1]), |_| {});
    play.accept(1);
    for _ in 0..10 {
        play.wait(2_500);
        play.frame(1, 1, FrameBody::Pong);
    }
    assert_eq!(play.opened.len(), 1, "a long prefill is no reason to leave");
    play.chunk(1, 1, "slow");
    play.finish(1, 2, &["slow"]);
    assert_eq!(play.answer_text(), "slow");
}

#[test]
fn the_same_answer_of_another_node_continues_without_a_seam() {
    let mut play = Play::new(2, one_quote(&[0, 1]), |_| {});
    play.accept(1);
    play.chunk(1, 1, "red, gr");
    play.wait(6_600);
    play.accept(2);
    for (s, piece) in (1..).zip(["red", ", ", "green", ", blue"]) {
        play.chunk(2, s, piece);
    }
    play.finish(2, 5, &["red", ", ", "green", ", blue"]);
    assert_eq!(play.shown, "red, green, blue");
    assert_eq!(play.answer_text(), "red, green, blue");
    assert_eq!(play.settled.len(), 1, "the broken attempt is not acknowledged");
}

#[test]
fn a_different_answer_in_mid_stream_ends_with_a_code() {
    let mut play = Play::new(2, one_quote(&[0, 1]), |_| {});
    play.accept(1);
    play.chunk(1, 1, "red, gr");
    play.wait(6_600);
    play.accept(2);
    play.chunk(2, 1, "blue");
    assert_eq!(play.failure().refusal.code, RefusalCode::RunnerInterrupted);
    assert!(play.failure().has_shown);
    assert_eq!(play.shown, "red, gr", "nothing is repeated");
    assert_eq!(play.sent.last().unwrap(), &(2, FrameBody::Cancel), "and the second node is stopped");
    assert!(play.settled.is_empty());
}

#[test]
fn restart_says_so_and_begins_anew() {
    let mut play = Play::new(2, one_quote(&[0, 1]), |spec| spec.on_break = OnBreak::Restart);
    play.accept(1);
    play.chunk(1, 1, "red, gr");
    play.wait(6_600);
    play.accept(2);
    play.chunk(2, 1, "blue");
    play.finish(2, 2, &["blue"]);
    assert_eq!((play.restarts, play.shown.as_str(), play.answer_text()), (1, "blue", "blue"));
}

#[test]
fn fail_ends_at_the_break() {
    let mut play = Play::new(2, one_quote(&[0, 1]), |spec| spec.on_break = OnBreak::Fail);
    play.accept(1);
    play.chunk(1, 1, "red");
    play.wait(6_600);
    assert_eq!(play.failure().refusal.code, RefusalCode::RunnerInterrupted);
    assert_eq!(play.opened.len(), 1);
}

#[test]
fn a_buffered_job_is_run_again_whole_and_only_that_answer_is_handed_on() {
    let mut play = Play::new(2, one_quote(&[0, 1]), |spec| spec.delivery = DeliveryMode::Buffered);
    play.accept(1);
    play.chunk(1, 1, "red, gr");
    play.frame(1, 2, refuse(RefusalCode::RunnerInterrupted));
    play.accept(2);
    play.chunk(2, 1, "blue");
    play.finish(2, 2, &["blue"]);
    assert_eq!((play.shown.as_str(), play.answer_text()), ("blue", "blue"));
}

#[test]
fn when_the_fallbacks_are_used_up_a_new_quote_excludes_those_that_failed() {
    let scripts = vec![Script::Quote(vec![0]), Script::Quote(vec![1])];
    let mut play = Play::new(2, scripts, |_| {});
    play.frame(1, 0, refuse(RefusalCode::RunnerFailed));
    assert_eq!(play.excluded, [play.market.node_key(0)]);
    play.accept(2);
    play.chunk(2, 1, "x");
    play.finish(2, 2, &["x"]);
    assert_eq!(play.answer_text(), "x");
}

#[test]
fn retry_after_is_honoured_and_a_busy_node_is_not_excluded() {
    let busy = Refusal::new(RefusalCode::Busy, "full").retry_after(3_000);
    let mut play = Play::new(1, vec![Script::Quote(vec![0]), Script::Quote(vec![0])], |_| {});
    play.frame(1, 0, FrameBody::Error(Failure { refusal: busy, receipt: None }));
    play.wait(2_999);
    assert_eq!(play.opened.len(), 1);
    play.wait(1);
    assert_eq!(play.opened.len(), 2);
    assert!(play.excluded.is_empty());
}

#[test]
fn a_refusal_that_every_node_would_give_ends_the_job() {
    let mut play = Play::new(2, one_quote(&[0, 1]), |_| {});
    play.frame(1, 0, refuse(RefusalCode::ContextExceeded));
    assert_eq!(play.failure().refusal.code, RefusalCode::ContextExceeded);
}

#[test]
fn no_router_no_node_and_no_time_have_their_own_codes() {
    let mut play = Play::new(1, vec![], |_| {});
    play.wait(20_000);
    assert_eq!(play.failure().refusal.code, RefusalCode::Timeout);
    let refusal = Refusal::new(RefusalCode::NoNode, "none");
    let play = Play::new(1, vec![Script::Refusal(refusal)], |_| {});
    assert_eq!(play.failure().refusal.code, RefusalCode::NoNode);
    let mut play = Play::new(1, one_quote(&[0]), |_| {});
    play.accept(1);
    for _ in 0..100 {
        play.frame(1, 1, FrameBody::Pong);
        play.wait(1_000);
    }
    assert_eq!(play.failure().refusal.code, RefusalCode::Timeout);
    assert_eq!(play.sent.last().unwrap().1, FrameBody::Cancel, "the node is told");
}

#[test]
fn cancel_stops_the_node_and_ends_the_job() {
    let mut play = Play::new(1, one_quote(&[0]), |_| {});
    play.accept(1);
    play.input(JourneyInput::Cancel);
    assert_eq!(play.failure().refusal.code, RefusalCode::Cancelled);
    assert_eq!(play.sent, [(1, FrameBody::Cancel)]);
}

#[test]
fn a_relay_change_asks_for_what_was_on_its_way() {
    let mut play = Play::new(1, one_quote(&[0]), |_| {});
    play.input(JourneyInput::RelaysChanged);
    assert_eq!(play.open_agains, 1);
    play.accept(1);
    play.chunk(1, 1, "a");
    play.input(JourneyInput::RelaysChanged);
    assert_eq!(play.sent, [(1, FrameBody::Ping), (1, FrameBody::Resume { from: 2 })]);
}

#[test]
fn a_hole_is_asked_for_and_the_answer_waits_for_it() {
    let mut play = Play::new(1, one_quote(&[0]), |_| {});
    play.accept(1);
    play.chunk(1, 2, "b");
    play.wait(300);
    assert_eq!(play.sent, [(1, FrameBody::Resume { from: 1 })]);
    assert_eq!(play.shown, "");
    play.chunk(1, 1, "a");
    assert_eq!(play.shown, "ab");
}

#[test]
fn a_false_receipt_is_disputed_and_costs_nothing() {
    let mut play = Play::new(1, one_quote(&[0]), |_| {});
    play.accept(1);
    play.chunk(1, 1, "a");
    play.finish(1, 2, &["something else"]);
    assert_eq!(play.endings[0].as_ref().unwrap().settlement.verdict, Err(ReceiptDispute::WrongOutput));
    assert_eq!(play.journey.spending.spent().get(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// Whatever order, loss and doubling: the whole answer, once, or a coded failure. One ending in any case.
    #[test]
    fn any_arrival_gives_the_whole_answer_once_or_a_coded_failure(
        pieces in prop::collection::vec("[a-z ]{1,6}", 1..12),
        order in prop::collection::vec((0_usize..16, 0_u64..900), 0..60),
        lossy in any::<bool>(),
    ) {
        let mut play = Play::new(1, one_quote(&[0]), |_| {});
        let texts: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let mut bodies = vec![accept_body(play.market.node_key(0))];
        bodies.extend(texts.iter().map(|text| chunk_body(text)));
        bodies.push(play.final_body(1, &texts));
        for (which, wait) in order {
            if let Some(body) = bodies.get(which) {
                play.frame(1, which as u64, body.clone());
            }
            play.wait(wait);
        }
        if !lossy && play.endings.is_empty() {
            // The node hears the resume and sends everything again, last first.
            for (s, body) in (0..).zip(&bodies).collect::<Vec<(u64, _)>>().into_iter().rev() {
                play.frame(1, s, body.clone());
            }
        }
        play.wait(120_000);
        prop_assert_eq!(play.endings.len(), 1);
        let whole = pieces.concat();
        match &play.endings[0] {
            Ok(answer) => {
                prop_assert_eq!(&answer.text, &whole);
                prop_assert_eq!(&play.shown, &whole);
                prop_assert!(answer.settlement.verdict.is_ok());
            }
            Err(failure) => {
                prop_assert!(whole.starts_with(&play.shown), "a prefix, never anything else");
                prop_assert!(failure.refusal.code != RefusalCode::Other);
                prop_assert!(play.settled.is_empty());
            }
        }
    }
}
