//! Journeys that go on although something failed on our side or before the node answered.

use super::*;

#[test]
fn the_first_token_of_a_buffered_answer_is_timed_when_it_arrives() {
    let mut play = Play::new(1, one_quote(&[0]), |spec| spec.delivery = DeliveryMode::Buffered);
    play.accept(1);
    play.wait(100);
    play.chunk(1, 1, "");
    play.wait(100);
    play.chunk(1, 2, "red");
    play.wait(300);
    play.finish(1, 3, &["", "red"]);
    assert_eq!(play.answer_text(), "red");
    let answer = play.endings[0].as_ref().unwrap();
    assert_eq!((answer.ttft_ms, answer.total_ms), (200, 500));
}

#[test]
fn a_job_that_cannot_be_sealed_for_one_node_goes_to_the_next() {
    let mut play = Play::new(2, one_quote(&[0, 1]), |_| {});
    play.input(JourneyInput::NotOpened { attempt: 1 });
    assert_eq!(play.opened.len(), 2);
    play.input(JourneyInput::NotOpened { attempt: 1 });
    assert_eq!(play.opened.len(), 2, "a late word on an attempt that is over changes nothing");
    play.input(JourneyInput::NotOpened { attempt: 2 });
    play.wait(20_000);
    assert_eq!(play.failure().attempts[0].outcome, "internal");
    assert_ne!(play.failure().refusal.code, RefusalCode::Cancelled, "nobody stopped it");
}

#[test]
fn a_request_that_is_too_large_is_refused_before_anybody_is_asked() {
    let fits = Play::new(1, one_quote(&[0]), |spec| spec.request = "x".repeat(REQUEST_BYTES_MAX));
    assert_eq!(fits.opened.len(), 1);
    let play = Play::new(1, one_quote(&[0]), |spec| spec.request = "x".repeat(REQUEST_BYTES_MAX + 1));
    assert_eq!(play.failure().refusal.code, RefusalCode::TooLarge);
    assert_eq!(play.scripts.len(), 1, "no quote was asked for");
}

#[test]
fn usage_and_finish_reason_are_those_that_were_checked() {
    let mut play = Play::new(1, one_quote(&[0]), |_| {});
    play.accept(1);
    play.chunk(1, 1, "a");
    let choice = serde_json::json!({"index": 0, "delta": {}, "finish_reason": "length"});
    let end = fedai_protocol::output_stream::output_line(&choice);
    play.frame(1, 2, FrameBody::Chunk(Chunk { data: end.clone(), balance: Balance::default() }));
    let FrameBody::Final(mut last) = play.final_of_stream(1, &[line("a"), end].concat()) else { panic!() };
    let true_usage = last.usage;
    last.usage.output_tokens = fedai_protocol::Tokens::saturating(4_000_000);
    last.finish_reason = "stop".into();
    play.frame(1, 3, FrameBody::Final(last));
    let answer = play.endings[0].as_ref().unwrap();
    assert!(answer.settlement.verdict.is_ok());
    assert_eq!((answer.usage, answer.finish_reason.as_str()), (true_usage, "length"));
}

#[test]
fn a_held_ticket_whose_node_is_silent_is_dropped_without_blaming_the_node() {
    let first = Play::new(1, one_quote(&[0]), |_| {});
    let ticket = first.opened[&1].1.clone();
    let scripts = vec![Script::Quote(vec![0])];
    let mut play = Play::with_ticket(1, scripts, |_| {}, Some(ticket));
    assert_eq!((play.opened.len(), play.scripts.len()), (1, 1), "no quote was needed");
    play.wait(5_001);
    assert_eq!((play.opened.len(), play.scripts.len()), (2, 0));
    assert!(play.excluded.is_empty(), "the node may have new keys by now");
    play.accept(2);
    play.chunk(2, 1, "x");
    play.finish(2, 2, &["x"]);
    assert_eq!(play.answer_text(), "x");
}

#[test]
fn a_lie_is_not_the_last_word_while_other_routers_were_not_asked() {
    let mut market = Market::new(1);
    let mut spec = market.spec();
    let strangers = (0..3).map(|_| fedai_protocol::SigningKey::generate(&mut market.entropy).public_key());
    let silent: Vec<_> = strangers.map(RouterTarget::Router).collect();
    let honest = spec.routers[0];
    spec.routers = [&silent[..], &[honest]].concat();
    spec.routers.swap(0, 3);
    // The first round has the one router that answers, with a lie; the second one its honest refusal.
    let mut journey = Journey::new(spec, JourneyTiming::default(), None, micros(0));
    let mut ask = |ms: u64, input: JourneyInput| {
        let mut out = Vec::new();
        journey.handle(micros(ms), input, &mut out);
        out
    };
    ask(0, JourneyInput::Start);
    let question = market.question();
    let mut quote = market.quote(&question, &[0]);
    quote.dispatch = None;
    let lie = market.reply(&question, QuoteOutcome::Quote(Box::new(quote)));
    ask(1, JourneyInput::Asked(question));
    ask(2, JourneyInput::Reply(Box::new(lie)));
    let out = ask(4_000, JourneyInput::Tick);
    assert!(matches!(out.as_slice(), [JourneyAction::Ask(_)]), "{out:?}");
    let question = market.question();
    let none = market.reply(&question, QuoteOutcome::Refusal(Refusal::new(RefusalCode::UnknownModel, "no")));
    ask(4_001, JourneyInput::Asked(question));
    ask(4_002, JourneyInput::Reply(Box::new(none)));
    let out = ask(8_000, JourneyInput::Tick);
    let [JourneyAction::End(ending)] = out.as_slice() else { panic!("{out:?}") };
    let failure = ending.as_ref().as_ref().unwrap_err();
    assert_eq!((failure.refusal.code, &failure.dishonest), (RefusalCode::UnknownModel, &None));
}

#[test]
fn each_round_asks_the_next_routers_and_silent_ones_do_not_shut_the_others_out() {
    let mut asked = Vec::new();
    let mut market = Market::new(1);
    let keys: Vec<PublicKey> =
        (0..5).map(|_| fedai_protocol::SigningKey::generate(&mut market.entropy).public_key()).collect();
    let mut spec = market.spec();
    spec.routers = keys.iter().map(|key| RouterTarget::Router(*key)).collect();
    let mut journey = Journey::new(spec, JourneyTiming::default(), None, micros(0));
    let mut input = JourneyInput::Start;
    for round in 0..3 {
        let mut out = Vec::new();
        journey.handle(micros(round * 4_000), input, &mut out);
        let [JourneyAction::Ask(requests)] = out.as_slice() else { panic!("{out:?}") };
        asked.push(requests.iter().map(|request| request.router.unwrap()).collect::<Vec<_>>());
        input = JourneyInput::Tick;
    }
    assert_eq!(asked[0], keys[..3]);
    assert_eq!(asked[1], [keys[3], keys[4], keys[0]]);
    assert_eq!(asked[2], keys[1..4]);
}

#[test]
fn a_node_that_turns_the_job_away_costs_no_second_try_and_is_named_with_the_receipt() {
    let first = Play::new(3, one_quote(&[0, 1, 2]), |_| {});
    let mut ticket = first.journey.ticket().unwrap().clone();
    ticket.nodes.iter_mut().for_each(|node| node.patience_ms = Some(350));
    let budgets = RetryBudgets::default();
    while budgets.retry(micros(0)).is_ok() {}
    let mut play =
        Play::begin(3, vec![], |_| {}, Some(ticket.clone()), |journey, _| journey.sharing(budgets));
    for (attempt, over) in [(1, 900), (2, 300), (3, 600)] {
        let refusal = Refusal::new(RefusalCode::Busy, "full").retry_after(over);
        play.frame(attempt, 0, FrameBody::Error(Failure { refusal, receipt: None }));
    }
    let asked =
        [1, 2, 3, 4].map(|attempt| (play.opened[&attempt].0.node, play.opened[&attempt].0.patience_ms));
    let [first, second, third] = [0, 1, 2].map(|at| ticket.nodes[at].node);
    let expected = [(first, Some(350)), (second, Some(350)), (third, Some(350)), (second, None)];
    assert_eq!(asked, expected, "where the wait is the least over, any wait is accepted in the end");
    play.accept(4);
    play.chunk(4, 1, "red");
    play.finish(4, 2, &["red"]);
    assert_eq!(play.answer_text(), "red");
    assert_eq!(play.settled[0].turned_away, [first, second, third]);
}

#[test]
fn a_ticket_is_gone_back_with_once() {
    let first = Play::new(1, one_quote(&[0]), |_| {});
    let mut ticket = first.journey.ticket().unwrap().clone();
    ticket.nodes.iter_mut().for_each(|node| node.patience_ms = Some(350));
    let mut play = Play::with_ticket(1, vec![], |_| {}, Some(ticket));
    play.frame(1, 0, refuse(RefusalCode::Busy));
    play.frame(2, 0, refuse(RefusalCode::Busy));
    assert_eq!(play.opened.len(), 2, "a new quote is next, after the wait");
}

#[test]
fn a_node_whose_own_relay_has_gone_is_soon_left_unless_it_is_heard_of() {
    for is_accepted in [false, true] {
        let mut play = Play::new(2, one_quote(&[0, 1]), |_| {});
        if is_accepted {
            play.accept(1);
        }
        play.input(JourneyInput::DirectWayLost { attempt: 1 });
        play.wait(2_000);
        assert_eq!(play.opened.len(), 2, "accepted: {is_accepted}");
    }
    let mut play = Play::new(2, one_quote(&[0, 1]), |_| {});
    play.accept(1);
    play.input(JourneyInput::DirectWayLost { attempt: 1 });
    play.frame(1, 1, FrameBody::Pong);
    play.wait(3_900);
    assert_eq!(play.opened.len(), 1, "it answered by another relay");
}

/// A process that has just lost this node.
fn having_lost(node: usize, scripts: Vec<Script>) -> Play {
    Play::begin(2, scripts, |_| {}, None, |journey, market| journey.passing_over(vec![market.node_key(node)]))
}

#[test]
fn nodes_that_are_passed_over_serve_where_nobody_else_can() {
    let nobody = Script::Refusal(Refusal::new(RefusalCode::NoNode, "nobody else"));
    let mut play = having_lost(0, vec![nobody, Script::Quote(vec![0])]);
    assert_eq!(play.excluded, [], "asked again at once, for anybody");
    play.accept(1);
    play.chunk(1, 1, "blue");
    play.finish(1, 2, &["blue"]);
    assert_eq!(play.answer_text(), "blue");
    assert_eq!(play.endings[0].as_ref().unwrap().attempts.len(), 1);
}

#[test]
fn nodes_that_are_passed_over_serve_after_a_break_of_the_others() {
    let mut play = having_lost(0, vec![Script::Quote(vec![1]), Script::Quote(vec![0])]);
    assert_eq!(play.excluded, [play.market.node_key(0)]);
    play.accept(1);
    play.wait(2_000 + 3 * 1_500 + 1);
    assert_eq!(play.excluded, [play.market.node_key(1)], "only who broke in this job");
    play.accept(2);
    play.chunk(2, 1, "blue");
    play.finish(2, 2, &["blue"]);
    assert_eq!(play.answer_text(), "blue");
}

/// One job of a process whose others learned how long answers take.
fn learning(scripts: Vec<Script>, times: &AcceptTimes) -> Play {
    Play::begin(2, scripts, |_| {}, None, |journey, _| journey.learning(times.clone()))
}

#[test]
fn a_silent_node_is_left_sooner_where_others_answered_quickly() {
    let times = AcceptTimes::default();
    let mut play = learning(one_quote(&[0, 1]), &times);
    play.wait(20);
    play.accept(1);
    let mut play = learning(one_quote(&[0, 1]), &times);
    play.wait(499);
    assert_eq!((play.open_agains, play.opened.len()), (0, 1));
    play.wait(1);
    assert_eq!((play.open_agains, play.opened.len()), (1, 1), "first the open is repeated");
    play.wait(999);
    assert_eq!(play.opened.len(), 1, "which has twice the time");
    play.wait(1);
    assert_eq!(play.opened.len(), 2);
}

#[test]
fn where_answers_take_long_nobody_is_hurried_and_an_answer_to_either_of_two_opens_tells_nothing() {
    let times = AcceptTimes::default();
    let mut play = learning(one_quote(&[0, 1]), &times);
    play.wait(1_900);
    play.accept(1);
    let mut play = learning(one_quote(&[0, 1]), &times);
    play.wait(2_499);
    assert_eq!(play.open_agains, 0, "as long as ever");
    play.wait(11);
    play.accept(1);
    let known = times.wait_ms(&JourneyTiming::default());
    assert_eq!((play.open_agains, known), (1, 2_500), "10 ms after the second open is no quick answer");
}
