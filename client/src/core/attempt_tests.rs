//! One node, scripted frame by frame: holes, silence, stalls and greed.

use fedai_protocol::SigningKey;
use fedai_protocol::entropy::CountingEntropy;
use fedai_protocol::message::Message;
use fedai_protocol::session_frame::{Accept, Direction};

use super::super::fixture_tests::{Market, NOW, line, micros};
use super::*;

struct Bench {
    attempt: Attempt,
    with: OpenedWith,
    ms: u64,
}

impl Bench {
    /// An attempt that was opened with an upload of so many pieces.
    fn new(pieces: usize) -> Self {
        let mut market = Market::new(1);
        let question = market.question();
        let node = market.quote(&question, &[0]).check_nodes(NOW).unwrap().remove(0);
        let mut attempt = Attempt::new(node, JourneyTiming::default(), micros(0));
        let with = OpenedWith { upload: vec!["cGllY2U=".into(); pieces], ..market.opened(1) };
        attempt.opened(micros(0), with.clone());
        Self { attempt, with, ms: 0 }
    }

    fn accepted(pieces: usize) -> Self {
        let mut bench = Self::new(pieces);
        let node = bench.attempt.node().node;
        let accept = Accept { node, sig: String::new(), queue_ms: 0, balance: Balance::default() };
        bench.frame(0, FrameBody::Accept(accept));
        bench
    }

    fn frame(&mut self, s: u64, body: FrameBody) -> Vec<AttemptEvent> {
        let mut out = Vec::new();
        let frame = SessionFrame { job: self.with.job, dir: Direction::ToClient, s, body };
        self.attempt.frame(micros(self.ms), frame, &mut out);
        out
    }

    fn chunk(&mut self, s: u64, data: &str) -> Vec<AttemptEvent> {
        self.frame(s, FrameBody::Chunk(Chunk { data: data.to_owned(), balance: Balance::default() }))
    }

    /// Lets time pass with a tick whenever one is due.
    fn wait(&mut self, ms: u64) -> Vec<AttemptEvent> {
        let (end, mut out) = (self.ms + ms, Vec::new());
        while let Some(at) = self.attempt.poll_timeout().filter(|at| *at <= micros(end)) {
            self.ms = self.ms.max(at.millis_since(micros(0)));
            self.attempt.tick(micros(self.ms), &mut out);
        }
        self.ms = end;
        out
    }
}

fn bodies(events: &[AttemptEvent]) -> Vec<&FrameBody> {
    let mut bodies = Vec::new();
    for event in events {
        if let AttemptEvent::Send { body, .. } = event {
            bodies.push(body);
        }
    }
    bodies
}

fn lost(events: &[AttemptEvent]) -> Option<RefusalCode> {
    events.iter().find_map(|event| match event {
        AttemptEvent::Lost(refusal) => Some(refusal.code),
        _ => None,
    })
}

#[test]
fn a_hole_is_asked_for_although_frames_keep_coming() {
    let mut bench = Bench::accepted(0);
    let mut asked_at = None;
    for s in 2..=30 {
        bench.chunk(s, &line("x"));
        let events = bench.wait(40);
        if bodies(&events).contains(&&FrameBody::Resume { from: 1 }) {
            asked_at.get_or_insert(bench.ms);
        }
    }
    assert_eq!(asked_at, Some(320), "one wait for a hole, seen at the end of a step of 40 ms");
    let events = bench.chunk(1, &line("x"));
    let AttemptEvent::Lines(_) = &events[0] else { panic!("output flows once the hole is filled") };
    assert!(bodies(&bench.wait(1_999)).is_empty(), "then only silence is probed");
}

#[test]
fn pings_alone_do_not_hold_a_job_for_ever() {
    let mut bench = Bench::accepted(0);
    let mut events = Vec::new();
    while bench.ms < 59_000 {
        events.extend(bench.wait(1_000));
        events.extend(bench.frame(1, FrameBody::Pong));
    }
    assert_eq!(lost(&events), None, "a long prefill is fine");
    let events = bench.wait(1_000);
    assert_eq!(lost(&events), Some(RefusalCode::Stalled));
    assert_eq!(bodies(&events), [&FrameBody::Cancel], "and the node is told");
}

#[test]
fn output_puts_the_stall_off_and_somebody_else_who_could_do_it_brings_it_near() {
    let mut bench = Bench::accepted(0);
    bench.attempt = bench.attempt.stalled_after(5_000);
    for s in 1..=5 {
        assert_eq!(lost(&bench.wait(3_000)), None);
        bench.chunk(s, &line("x"));
    }
    let mut events = bench.wait(3_000);
    bench.frame(6, FrameBody::Pong);
    events.extend(bench.wait(2_000));
    assert_eq!(lost(&events), Some(RefusalCode::Stalled));
}

#[test]
fn a_node_that_is_given_up_after_its_accept_is_told_to_stop() {
    let mut bench = Bench::accepted(0);
    let events = bench.wait(10_000);
    assert_eq!(lost(&events), Some(RefusalCode::RunnerInterrupted));
    assert_eq!(bodies(&events).last(), Some(&&FrameBody::Cancel));
    let mut silent = Bench::new(0);
    let events = silent.wait(10_000);
    assert_eq!(lost(&events), Some(RefusalCode::RunnerFailed));
    assert!(bodies(&events).is_empty(), "there is no key to seal it to before the accept");
}

#[test]
fn a_request_is_sent_again_a_few_times_and_no_more() {
    let mut bench = Bench::accepted(4);
    let sent: usize = (0..100).map(|_| bodies(&bench.frame(0, FrameBody::Resume { from: 0 })).len()).sum();
    assert_eq!(sent, 4 * UPLOAD_REPEATS_MAX as usize);
    assert!(bodies(&bench.frame(0, FrameBody::Resume { from: u64::MAX })).is_empty());
}

#[test]
fn an_output_that_ends_within_a_line_is_malformed() {
    let mut bench = Bench::accepted(0);
    bench.chunk(1, &line("whole"));
    bench.chunk(2, "{\"index\":0");
    let key = SigningKey::generate(&mut CountingEntropy(7));
    let mut market = Market::new(1);
    let question = market.question();
    let offer = market.quoted(0).offer;
    let dispatch = market.quote(&question, &[0]).dispatch.unwrap();
    let receipt = market.receipt(0, &offer, &dispatch, &bench.with, &line("whole"));
    let draft = receipt.draft(&key.public_key(), NOW).unwrap();
    let receipt = key.sign(draft, &mut CountingEntropy(8));
    let last = Final {
        usage: fedai_protocol::Usage::default(),
        finish_reason: "stop".into(),
        output_sha256: bench.attempt.output().sha256(),
        receipt,
    };
    let events = bench.frame(3, FrameBody::Final(Box::new(last)));
    assert_eq!(lost(&events), Some(RefusalCode::RunnerInterrupted));
    assert!(!events.iter().any(|event| matches!(event, AttemptEvent::Finished(_))));
}
