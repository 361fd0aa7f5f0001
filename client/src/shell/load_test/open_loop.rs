//! So many requests a second, each due at a time that was fixed before the first one was sent. Whether earlier ones
//! have been answered changes nothing, so a server that stalls is charged for every request that came due meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::arrivals::{Arrivals, pace};
use super::{LoadPlan, Tally, Target, place};

/// Length of one target's block, about.
const BLOCK_SECONDS: f64 = 2.0;

/// A request to come.
struct Due {
    at: Duration,
    place: usize,
    block: usize,
    number: u64,
}

/// One target's block: when it began, when its last answer came.
struct Span {
    place: usize,
    begun: Duration,
    ended: Duration,
}

pub(super) async fn run(
    plan: &Arc<LoadPlan>,
    targets: &[Arc<Target>],
    per_second: f64,
    stop: &CancellationToken,
    on_answer: &impl Fn(),
) -> Vec<Tally> {
    let (timetable, mut spans) = timetable(plan, targets.len(), per_second);
    let begun = Instant::now();
    let mut due = pace(begun, timetable.iter().map(|due| due.at).collect());
    let (sender, mut results) = mpsc::unbounded_channel();
    let (plan, targets_here) = (Arc::clone(plan), targets.to_vec());
    // Dropped when this is given up: nothing more is sent then.
    let mut feeder = JoinSet::new();
    feeder.spawn(async move {
        let mut requests = JoinSet::new();
        for entry in timetable {
            let (Some(at), Some(target)) = (due.recv().await, targets_here.get(entry.place)) else { break };
            let (plan, target, sender) = (Arc::clone(&plan), Arc::clone(target), sender.clone());
            requests.spawn(async move {
                let result = target.exchange(&plan, entry.number, at).await;
                drop(sender.send((entry.block, entry.place, result, Instant::now())));
            });
            while requests.try_join_next().is_some() {}
        }
        while requests.join_next().await.is_some() {}
    });
    let mut tallies: Vec<Tally> = targets.iter().map(|_| Tally::default()).collect();
    while let Some(Some((block, place, result, at))) = stop.run_until_cancelled(results.recv()).await {
        if let (Some(span), Some(tally)) = (spans.get_mut(block), tallies.get_mut(place)) {
            span.ended = span.ended.max(at - begun);
            tally.record(result);
        }
        on_answer();
    }
    add_times(&mut tallies, &spans);
    tallies
}

/// Blocks of all targets in turns, one after another. A stalled target's answers may come in the block of the next one;
/// that changes nobody's due times.
fn timetable(plan: &LoadPlan, targets: usize, per_second: f64) -> (Vec<Due>, Vec<Span>) {
    let mut arrivals = Arrivals::new(plan.seed);
    let (mut timetable, mut spans) = (Vec::new(), Vec::new());
    let all = u64::from(plan.requests);
    // One target alone has no turns to wait for.
    let block = if targets == 1 { all } else { (per_second * BLOCK_SECONDS).ceil().max(1.0) as u64 };
    let (mut first, mut turn, mut from) = (0, 0, Duration::ZERO);
    while first < all {
        let numbers = first..first.saturating_add(block).min(all);
        let times = arrivals.block(per_second, numbers.end - first);
        for step in 0..targets {
            let place = place(turn, step, targets);
            let entry = |(number, time): (u64, &Duration)| Due {
                at: from + *time,
                place,
                block: spans.len(),
                number,
            };
            timetable.extend(numbers.clone().zip(&times).map(entry));
            spans.push(Span { place, begun: from, ended: from });
            from += times.last().copied().unwrap_or_default();
        }
        first = numbers.end;
        turn += 1;
    }
    (timetable, spans)
}

/// Time under load: what blocks of the same target have in common counts once.
fn add_times(tallies: &mut [Tally], spans: &[Span]) {
    let mut covered: BTreeMap<usize, Duration> = BTreeMap::new();
    for span in spans {
        let until = covered.entry(span.place).or_default();
        let time = span.ended.saturating_sub(span.begun.max(*until));
        *until = span.ended.max(*until);
        if let Some(tally) = tallies.get_mut(span.place) {
            tally.add_time(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::load_test::Pace;

    fn plan(requests: u32) -> LoadPlan {
        LoadPlan {
            model: "m".into(),
            requests,
            warm_up: 0,
            pace: Pace::Open(10.0),
            is_streamed: false,
            prompt_tokens: 1,
            max_tokens: 1,
            seed: 3,
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn targets_get_the_same_requests_at_the_same_gaps_in_turns() {
        let (timetable, spans) = timetable(&plan(50), 2, 10.0);
        assert_eq!((timetable.len(), spans.len()), (100, 6), "blocks of twenty requests");
        assert!(timetable.is_sorted_by_key(|due| due.at));
        let firsts: Vec<usize> = spans.iter().map(|span| span.place).collect();
        assert_eq!(firsts, [0, 1, 1, 0, 0, 1]);
        let gaps = |place: usize| {
            let of = |due: &Due| due.at - spans[due.block].begun;
            let mut all: Vec<_> = timetable.iter().filter(|due| due.place == place).collect();
            all.sort_by_key(|due| due.number);
            all.into_iter().map(of).collect::<Vec<_>>()
        };
        assert!(gaps(0).iter().zip(gaps(1)).all(|(one, other)| one.abs_diff(other).as_micros() < 1));
    }

    #[test]
    fn time_that_blocks_have_in_common_counts_once() {
        let seconds = Duration::from_secs;
        let span = |begun, ended| Span { place: 0, begun: seconds(begun), ended: seconds(ended) };
        let mut tallies = [Tally::default()];
        add_times(&mut tallies, &[span(0, 10), span(4, 10), span(8, 11), span(20, 22)]);
        assert_eq!(tallies[0].time, seconds(13));
    }
}
