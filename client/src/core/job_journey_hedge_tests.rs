//! A second attempt beside a slow first one: the race, its loser, and what it may never do.

use fedai_protocol::quote_request::Mode;

use super::*;

/// Two nodes, a hedge after 400 ms, the mode `fastest`.
fn fastest() -> Play {
    hedged(|spec| spec.mode = Mode::Fastest)
}

fn hedged(bend: impl FnOnce(&mut JobSpec)) -> Play {
    Play::new(2, vec![Script::Hedged(vec![0, 1], 400)], bend)
}

/// Both nodes run the job, and neither has said a word.
fn raced() -> Play {
    let mut play = fastest();
    play.accept(1);
    play.wait(400);
    play.accept(2);
    play
}

fn notes(play: &Play) -> Vec<String> {
    play.endings[0].as_ref().unwrap().attempts.iter().map(|note| note.outcome.clone()).collect()
}

#[test]
fn the_second_one_begins_when_it_is_time_and_wins_with_the_first_token() {
    let mut play = fastest();
    play.accept(1);
    play.wait(399);
    assert_eq!(play.opened.len(), 1);
    play.wait(1);
    assert_eq!(play.opened.len(), 2, "the first one goes on");
    play.accept(2);
    play.chunk(2, 1, "blue");
    assert_eq!(play.sent, [(1, FrameBody::Cancel)], "the loser is told at once");
    play.chunk(1, 1, "late");
    play.finish(2, 2, &["blue"]);
    assert_eq!((play.answer_text(), play.shown.as_str()), ("blue", "blue"));
    assert_eq!(notes(&play), ["slower", "complete"]);
}

#[test]
fn output_in_time_begins_no_second_attempt() {
    let mut play = fastest();
    play.accept(1);
    play.wait(300);
    play.chunk(1, 1, "red");
    play.wait(1_500);
    assert_eq!(play.opened.len(), 1);
    play.finish(1, 2, &["red"]);
    assert_eq!(play.answer_text(), "red");
}

#[test]
fn the_first_one_may_still_win() {
    let mut play = raced();
    play.chunk(1, 1, "red");
    assert_eq!(play.sent, [(2, FrameBody::Cancel)]);
    play.chunk(2, 1, "blue");
    play.finish(1, 2, &["red"]);
    assert_eq!((play.answer_text(), play.shown.as_str()), ("red", "red"));
    assert_eq!(notes(&play), ["complete", "slower"]);
}

#[test]
fn a_second_one_that_accepts_too_late_is_cancelled_then() {
    let mut play = fastest();
    play.accept(1);
    play.wait(400);
    play.chunk(1, 1, "red");
    assert!(play.sent.is_empty(), "who has not answered cannot be told");
    play.accept(2);
    assert_eq!(play.sent, [(2, FrameBody::Cancel)]);
}

#[test]
fn the_losers_receipt_for_what_it_delivered_is_checked_and_settled() {
    let mut play = raced();
    play.chunk(2, 1, "blue");
    play.chunk(1, 1, "red");
    let partial = play.partial_receipt(1, &["red"]);
    let refusal = Refusal::new(RefusalCode::Cancelled, "cancelled");
    play.frame(1, 2, FrameBody::Error(Failure { refusal, receipt: Some(partial) }));
    assert_eq!(play.settled.len(), 1);
    assert!(play.settled[0].verdict.is_ok(), "{:?}", play.settled[0].verdict);
    play.finish(2, 2, &["blue"]);
    assert_eq!((play.answer_text(), play.shown.as_str()), ("blue", "blue"));
    assert_eq!(play.settled.len(), 2);
}

#[test]
fn a_loser_that_was_done_before_it_heard_of_it_is_not_paid_for_a_second_answer() {
    let mut play = raced();
    play.chunk(2, 1, "blue");
    play.chunk(1, 1, "red");
    play.finish(1, 2, &["red"]);
    assert!(play.settled.is_empty() && play.endings.is_empty());
    play.finish(2, 2, &["blue"]);
    assert_eq!((play.answer_text(), play.settled.len()), ("blue", 1));
}

#[test]
fn a_second_one_that_refuses_changes_nothing_and_is_not_tried_again() {
    let mut play = fastest();
    play.accept(1);
    play.wait(400);
    play.frame(2, 0, refuse(RefusalCode::Busy));
    play.wait(1_000);
    assert_eq!((play.opened.len(), play.endings.len()), (2, 0));
    play.chunk(1, 1, "red");
    play.finish(1, 2, &["red"]);
    assert_eq!(notes(&play), ["complete", "busy"]);
}

#[test]
fn when_the_first_one_fails_the_second_one_takes_its_place() {
    let mut play = raced();
    play.frame(1, 1, refuse(RefusalCode::RunnerFailed));
    assert_eq!(play.opened.len(), 2, "nobody else is needed");
    play.chunk(2, 1, "blue");
    play.finish(2, 2, &["blue"]);
    assert_eq!(notes(&play), ["runner_failed", "complete"]);
}

#[test]
fn only_who_values_speed_or_asks_for_it_has_a_second_attempt() {
    for (mode, flag, attempts) in [
        (Mode::Balanced, false, 1),
        (Mode::Balanced, true, 2),
        (Mode::Cheapest, false, 1),
        (Mode::Fastest, false, 2),
    ] {
        let mut play = hedged(|spec| (spec.mode, spec.hedge) = (mode, flag));
        play.accept(1);
        play.wait(1_000);
        assert_eq!(play.opened.len(), attempts, "{mode:?} {flag}");
    }
}

#[test]
fn the_budget_of_the_process_bounds_second_attempts() {
    let budgets = RetryBudgets::default();
    let opened: usize = (0..6)
        .map(|_| {
            let mut play = Play::sharing(2, vec![Script::Hedged(vec![0, 1], 400)], &budgets);
            play.accept(1);
            play.wait(1_000);
            play.opened.len()
        })
        .sum();
    assert_eq!(opened, 6 + 2, "six jobs, and two second attempts at once");
}

#[test]
fn a_process_whose_jobs_all_fail_stops_trying_again_with_a_code() {
    let budgets = RetryBudgets::default();
    let mut codes = Vec::new();
    for _ in 0..12 {
        let mut play = Play::sharing(3, one_quote(&[0, 1, 2]), &budgets);
        for attempt in 1..=3 {
            if play.endings.is_empty() && play.opened.contains_key(&attempt) {
                play.frame(attempt, 0, refuse(RefusalCode::RunnerFailed));
            }
        }
        if let Some(Err(failure)) = play.endings.first() {
            codes.push((failure.refusal.code, failure.attempts.len()));
        }
    }
    assert!(codes.contains(&(RefusalCode::RateLimited, 1)), "a first try is always made: {codes:?}");
    assert!(codes.iter().all(|(_, attempts)| *attempts >= 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// Whatever the two nodes do in whatever order: one ending, an answer of one node, never both charged as whole.
    #[test]
    fn a_race_in_any_order_hands_on_one_answer(
        steps in prop::collection::vec((1_u32..3, 0_u8..5, 0_u64..500), 1..40),
    ) {
        let mut play = fastest();
        let mut next = [0_u64; 3];
        let mut texts = [String::new(), String::new(), String::new()];
        for (attempt, step, wait) in steps {
            let n = attempt as usize;
            if play.opened.contains_key(&attempt) && play.endings.is_empty() {
                match (step, next[n]) {
                    (0 | 1, 0) => {
                        play.accept(attempt);
                        next[n] = 1;
                    }
                    (0..=2, s @ 1..) => {
                        let text = if attempt == 1 { "a" } else { "b" };
                        texts[n].push_str(text);
                        play.chunk(attempt, s, text);
                        next[n] += 1;
                    }
                    (3, s @ 1..) if !texts[n].is_empty() => {
                        let pieces: Vec<String> = texts[n].chars().map(String::from).collect();
                        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
                        play.finish(attempt, s, &pieces);
                    }
                    _ => {}
                }
            }
            play.wait(wait);
        }
        play.wait(120_000);
        prop_assert_eq!(play.endings.len(), 1);
        let letters = ["a", "b"].iter().filter(|letter| play.shown.contains(**letter)).count();
        prop_assert!(letters <= 1, "{} comes from two nodes", play.shown);
        let whole = |s: &&Settlement| s.verdict.is_ok() && !s.receipt.content().contains("\"partial\"");
        let winner = play.endings[0].as_ref().ok().map(|answer| answer.text.clone());
        if let Some(text) = winner {
            prop_assert_eq!(&text, &play.shown);
            prop_assert_eq!(play.settled.iter().filter(whole).count(), 1);
        } else {
            prop_assert!(play.settled.iter().all(|s| s.attempt <= 2));
        }
    }
}
