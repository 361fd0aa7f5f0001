//! So many requests at once: the next one is sent when one has been answered. Each target has the machine to itself for
//! a block of requests, then it is the next one's turn.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{LoadPlan, Tally, Target, place};

/// Requests of one block for each that is under way at once: the thin end of a block is then a small part of it.
const BLOCK_REQUESTS_EACH: u64 = 16;

pub(super) async fn run(
    plan: &Arc<LoadPlan>,
    targets: &[Arc<Target>],
    at_once: u16,
    stop: &CancellationToken,
    on_answer: &impl Fn(),
) -> Vec<Tally> {
    let mut tallies: Vec<Tally> = targets.iter().map(|_| Tally::default()).collect();
    let block = if at_once == 1 { 1 } else { u64::from(at_once) * BLOCK_REQUESTS_EACH };
    let (mut sent, mut turn, all) = (0, 0, u64::from(plan.requests));
    while sent < all && !stop.is_cancelled() {
        let numbers = sent..sent.saturating_add(block).min(all);
        for step in 0..targets.len() {
            let place = place(turn, step, targets.len());
            if let (Some(target), Some(tally)) = (targets.get(place), tallies.get_mut(place)) {
                let block = run_block(plan, target, at_once, numbers.clone(), tally, on_answer);
                // What a block that is given up has measured is in its tally.
                stop.run_until_cancelled(block).await;
            }
        }
        sent = numbers.end;
        turn += 1;
    }
    tallies
}

async fn run_block(
    plan: &Arc<LoadPlan>,
    target: &Arc<Target>,
    at_once: u16,
    numbers: Range<u64>,
    tally: &mut Tally,
    on_answer: &impl Fn(),
) {
    let begun = Instant::now();
    let (sender, mut results) = mpsc::unbounded_channel();
    let mut workers = JoinSet::new();
    let next = Arc::new(AtomicU64::new(numbers.start));
    for _ in 0..at_once {
        let (plan, target, next) = (Arc::clone(plan), Arc::clone(target), Arc::clone(&next));
        let sender = sender.clone();
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    break;
                }
                let result = target.exchange(&plan, number, Instant::now()).await;
                drop(sender.send((result, Instant::now())));
            }
        });
    }
    drop(sender);
    let mut ended = begun;
    while let Some((result, at)) = results.recv().await {
        // Step by step, so that it is right whenever this is given up.
        tally.add_time(at.saturating_duration_since(ended));
        ended = ended.max(at);
        tally.record(result);
        on_answer();
    }
}
