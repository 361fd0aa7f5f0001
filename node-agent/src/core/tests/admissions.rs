//! Each refusal code is reached by a scenario, and the same job without the fault is taken.

use fedai_protocol::job_open::JobEndpoint;
use fedai_protocol::payment_offer::PaymentMethod;
use fedai_protocol::{EventId, MsatPerMtok, RefusalCode};

use super::bench::*;
use crate::core::policy::NodePolicy;
use crate::core::{Action, Input, OperatorCommand};

/// One job at a node with that policy ends as expected: `None` means it is taken.
fn check(name: &str, policy: impl FnOnce(&mut NodePolicy), ask: &Ask, expect: Option<RefusalCode>) {
    let mut bench = Bench::with(policy);
    let (job, actions) = bench.open(ask);
    assert_eq!(refusal(&actions, job), expect, "{name}");
    assert_eq!(started(&actions), expect.is_none(), "{name}");
    let closed = actions.iter().any(|action| matches!(action, Action::CloseSession { .. }));
    assert_eq!(closed, expect.is_some(), "{name}: the key of a refused job is erased at once");
}

fn ask(change: impl FnOnce(&mut Ask)) -> Ask {
    let mut ask = Ask::default();
    change(&mut ask);
    ask
}

fn priced(policy: &mut NodePolicy) {
    policy.price.output = MsatPerMtok::saturating(1_000_000);
}

fn same(_: &mut NodePolicy) {}

#[test]
fn every_check_of_the_ticket_has_its_code() {
    use RefusalCode as C;
    check("plain", same, &Ask::default(), None);
    check("sealed by another key", same, &ask(|a| a.sealed_by_other = true), Some(C::BadDispatch));
    check("for another node", same, &ask(|a| a.other_node = true), Some(C::BadDispatch));
    check("lives too long", same, &ask(|a| a.lives = 901), Some(C::BadDispatch));
    check("lives as long as allowed", same, &ask(|a| a.lives = 900), None);
    check("job expired", same, &ask(|a| a.job_lives = 0), Some(C::Expired));
    check("foreign offer", same, &ask(|a| a.offer = Some(EventId::all_zeros())), Some(C::UnknownOffer));
    check("another model", same, &ask(|a| a.model = "other".into()), Some(C::UnknownModel));
    check("no such interface", same, &ask(|a| a.endpoint = JobEndpoint::Embedding), Some(C::RunnerRejected));
}

#[test]
fn the_router_policy_is_kept() {
    use RefusalCode as C;
    let router = Bench::new().router.public_key();
    let only_ours = |policy: &mut NodePolicy| policy.routers = [router].into();
    check("listed", only_ours, &Ask::default(), None);
    check("not listed", only_ours, &ask(|a| a.signer = Signer::OtherRouter), Some(C::RouterNotAccepted));
    check("any", same, &ask(|a| a.signer = Signer::OtherRouter), None);
    check("self-signed", same, &ask(|a| a.signer = Signer::Client), Some(C::RouterNotAccepted));
    check("self-signed, taken", |p| p.accept_self_dispatch = true, &ask(|a| a.signer = Signer::Client), None);
}

#[test]
fn the_body_must_fit_the_ticket() {
    use RefusalCode as C;
    let prompt = |bytes: usize| {
        let body =
            format!(r#"{{"messages":[{{"role":"user","content":"{}"}}],"max_tokens":9}}"#, "x".repeat(bytes));
        ask(|a| a.body = body)
    };
    check("no JSON", same, &ask(|a| a.body = "{".into()), Some(C::Malformed));
    // Eight bytes a token is the least that is plausible: 1,000 tokens, less names and role.
    check("at the prompt limit", same, &prompt(7_900), None);
    check("above it", same, &prompt(8_100), Some(C::ContextExceeded));
    let output = |tokens: u64| ask(|a| a.body = format!(r#"{{"messages":[],"max_tokens":{tokens}}}"#));
    check("at the output limit", same, &output(100), None);
    check("above it", same, &output(101), Some(C::ContextExceeded));
    check(
        "two choices",
        same,
        &ask(|a| a.body = r#"{"max_tokens":51,"n":2}"#.into()),
        Some(C::ContextExceeded),
    );
    check("no limit asked: capped", same, &ask(|a| a.body = "{}".into()), None);
    let image = r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"x"}}]}]}"#;
    check("an image", same, &ask(|a| a.body = image.into()), Some(C::RunnerRejected));
}

#[test]
fn payment_that_cannot_be_verified_is_refused() {
    use RefusalCode as C;
    check("unknown method", same, &ask(|a| a.payment = PaymentMethod::Unknown), Some(C::PaymentNotAccepted));
    check("ticket", same, &ask(|a| a.payment = PaymentMethod::Ticket), Some(C::PaymentNotAccepted));
    check("priced offer, nothing paid", priced, &Ask::default(), Some(C::PaymentRequired));
    check(
        "agreed on a ticket",
        same,
        &ask(|a| a.ticket_payment = PaymentMethod::Ticket),
        Some(C::PaymentRequired),
    );
}

#[test]
fn a_ticket_that_cannot_carry_the_cost_is_refused() {
    struct Paid;
    impl crate::core::billing::PaymentVerifier for Paid {
        fn methods(&self, _: bool) -> Vec<PaymentMethod> {
            vec![PaymentMethod::Credit]
        }
        fn verify(
            &mut self,
            _: &crate::core::billing::PaymentQuestion<'_>,
        ) -> Result<fedai_protocol::payment_offer::Balance, fedai_protocol::Refusal> {
            Ok(fedai_protocol::payment_offer::Balance::default())
        }
    }
    for (max_cost, expect) in [(40, None), (39, Some(RefusalCode::BadDispatch))] {
        let mut bench = Bench::with(priced);
        bench.node.verifier = Box::new(Paid);
        bench.take(Input::ModelsChanged(vec![model("words")]));
        let (job, actions) = bench.open(&ask(|a| a.max_cost = max_cost));
        assert_eq!(refusal(&actions, job), expect, "{max_cost}");
    }
}

#[test]
fn a_ticket_is_good_for_its_uses_and_refusals_cost_none() {
    let mut bench = Bench::with(|p| p.limits.per_client_max = 2);
    let two = ask(|a| a.uses = 2);
    let dispatch = bench.dispatch(&two, 0);
    let too_large = bench.job(&ask(|a| a.body = r#"{"max_tokens":101}"#.into()), &dispatch, 0);
    bench.take(too_large);
    for expect in [None, None, Some(RefusalCode::RateLimited)] {
        let input = bench.job(&two, &dispatch, 0);
        let job = job_of(&input);
        let actions = bench.take(input);
        assert_eq!(refusal(&actions, job), expect);
    }
    for job in bench.node.jobs.open_jobs() {
        bench.say(job, "x");
        bench.finish(job, 1);
    }
    let input = bench.job(&two, &dispatch, 0);
    let job = job_of(&input);
    let actions = bench.take(input);
    assert_eq!(refusal(&actions, job), Some(RefusalCode::TicketUsedUp));
}

#[test]
fn a_broken_dispatch_and_a_foreign_version_are_told_apart() {
    for (version, expect) in [(2, RefusalCode::UnknownVersion), (1, RefusalCode::BadDispatch)] {
        let mut bench = Bench::new();
        let dispatch = bench.dispatch(&Ask::default(), 0);
        let Input::JobOpened { opened, .. } = bench.job(&Ask::default(), &dispatch, 0) else { panic!() };
        let job = opened.job;
        let error = match version {
            1 => fedai_protocol::ParseError::Limit("uses"),
            other => fedai_protocol::ParseError::UnknownVersion(other),
        };
        let actions = bench.take(Input::JobOpened { opened, ticket: Err(error) });
        assert_eq!(refusal(&actions, job), Some(expect));
    }
}

#[test]
fn a_closed_node_says_which_way_it_is_closed() {
    use RefusalCode as C;
    let cases: [(Input, C); 5] = [
        (Input::Operator(OperatorCommand::Pause), C::Draining),
        (Input::Operator(OperatorCommand::Drain), C::Draining),
        (Input::RunnerDown, C::RunnerFailed),
        (Input::ModelsChanged(vec![]), C::UnknownModel),
        (Input::ModelsChanged(vec![model("another")]), C::UnknownModel),
    ];
    for (input, expect) in cases {
        let mut bench = Bench::new();
        let offer = bench.offer_id();
        bench.take(input);
        let (job, actions) = bench.open(&ask(|a| a.offer = Some(offer)));
        assert_eq!(refusal(&actions, job), Some(expect));
    }
    let mut bench = Bench::new();
    bench.take(Input::Operator(OperatorCommand::Pause));
    bench.take(Input::Operator(OperatorCommand::Resume));
    let (_, actions) = bench.open(&Ask::default());
    assert!(started(&actions));
}

#[test]
fn a_wait_is_refused_by_its_length_with_a_time_to_come_back() {
    // One job of 40 tokens takes 1.5 s here; the limit is passed by the third in line.
    let mut bench = Bench::with(|p| {
        p.limits.wait_ms_max = 4_000;
        p.limits.per_client_max = 100;
    });
    let codes: Vec<Option<RefusalCode>> = (0..4)
        .map(|_| {
            let (job, actions) = bench.open(&Ask::default());
            refusal(&actions, job)
        })
        .collect();
    assert_eq!(codes, [None, None, None, Some(RefusalCode::Busy)]);
    let busy = bench.done.iter().rev().find_map(|action| match action {
        Action::Send { frame, .. } => match &frame.body {
            fedai_protocol::session_frame::FrameBody::Error(failure) => failure.refusal.retry_after_ms,
            _ => None,
        },
        _ => None,
    });
    assert!(busy.is_some_and(|ms| ms > 0));
}

#[test]
fn a_wait_that_the_client_does_not_accept_is_refused_at_once_and_costs_no_use() {
    let mut bench = Bench::with(|p| p.limits.per_client_max = 100);
    let (first, actions) = bench.open(&ask(|a| a.patience_ms = Some(0)));
    assert_eq!(refusal(&actions, first), None, "a free slot is no wait");
    // The job that runs has 1.5 s to go.
    let dispatch = bench.dispatch(&Ask::default(), 0);
    let cases = [(Some(1_400), Some(RefusalCode::Busy)), (Some(1_600), None)];
    for (patience_ms, expect) in cases {
        let input = bench.job(&ask(|a| a.patience_ms = patience_ms), &dispatch, 0);
        let job = job_of(&input);
        let actions = bench.take(input);
        assert_eq!(refusal(&actions, job), expect, "{patience_ms:?}");
    }
}

#[test]
fn limits_hold_at_the_limit_and_one_past_it() {
    let codes = |policy: fn(&mut NodePolicy), jobs: usize, clients: usize| {
        let mut bench = Bench::with(|p| {
            p.limits.wait_ms_max = u64::MAX;
            p.limits.per_client_max = 100;
            policy(p);
        });
        let codes = (0..jobs).map(|n| {
            let dispatch = bench.dispatch(&Ask::default(), n % clients);
            let input = bench.job(&Ask::default(), &dispatch, n % clients);
            let job = job_of(&input);
            let actions = bench.take(input);
            refusal(&actions, job)
        });
        codes.collect::<Vec<_>>()
    };
    assert_eq!(codes(|p| p.limits.jobs_max = 2, 3, 3), [None, None, Some(RefusalCode::Busy)]);
    // One runs, two wait.
    assert_eq!(codes(|p| p.limits.queue_max = 2, 4, 3), [None, None, None, Some(RefusalCode::Busy)]);
    let per_client = codes(|p| p.limits.per_client_max = 1, 4, 3);
    assert_eq!(per_client, [None, None, None, Some(RefusalCode::RateLimited)]);
    let opens = codes(|p| p.limits.opens_per_minute = 2, 3, 1);
    assert_eq!(opens, [None, None, Some(RefusalCode::RateLimited)]);
}

#[test]
fn large_requests_share_a_fixed_memory() {
    let bulk = ask(|a| {
        a.bulk = true;
        a.body = format!(r#"{{"messages":[],"pad":"{}"}}"#, "x".repeat(20_000));
    });
    for (room, expect) in [(50_000, None), (30_000, Some(RefusalCode::Busy))] {
        let mut bench = Bench::with(|p| p.limits.bulk_bytes_max = room);
        bench.open(&bulk);
        let (job, actions) = bench.open(&bulk);
        assert_eq!(refusal(&actions, job), expect, "{room}");
    }
}
