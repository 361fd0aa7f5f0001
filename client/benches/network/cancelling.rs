//! How long a runner goes on after its client has cancelled: from the client's word to the end of the runner's stream.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use fedai_client::core::direct_way::DirectWish;
use fedai_client::shell::buyer::OutputSink;
use fedai_protocol::output_stream::OutputLine;
use hdrhistogram::Histogram;
use tokio_util::sync::CancellationToken;

use crate::processes::Network;
use crate::purchase::{self, Wish};
use crate::{Size, upstream};

/// Longest that the end of a stream is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Cancels at the first word.
struct Impatient {
    cancel: CancellationToken,
    at: Option<Instant>,
}

impl OutputSink for Impatient {
    fn deliver(&mut self, lines: &[OutputLine]) -> ControlFlow<()> {
        if self.at.is_none() && lines.iter().any(|line| !line.text.is_empty()) {
            self.at = Some(Instant::now());
            self.cancel.cancel();
        }
        ControlFlow::Continue(())
    }

    fn restarted(&mut self) {}
}

/// Measures and prints.
pub async fn run(size: Size) {
    let url = upstream::start().await;
    let network = Network::with_gateway(&url, 8).await;
    let (buyer, contacts) = network.buyer("cancelling").await;
    let wish = Wish { prompt: "pace 5".to_owned(), tokens: 2_000 };
    println!(
        "\n### Cancelling (a token each 5 ms, cancelled at the first; milliseconds until the runner's stream ends)\n"
    );
    println!("| way | jobs | p50 | p99 | longest | not ended |\n|---|---|---|---|---|---|");
    for (name, way) in [("relay", DirectWish::Never), ("gateway", DirectWish::Auto)] {
        let buyer = buyer.clone().going(way);
        let (mut took, mut lost) = (Histogram::<u64>::new(3).unwrap(), 0);
        for _ in 0..size.rounds / 4 {
            upstream::DROPPED.lock().unwrap().clear();
            let mut sink = Impatient { cancel: CancellationToken::new(), at: None };
            let cancel = sink.cancel.clone();
            let outcome =
                buyer.run(purchase::spec(&contacts, &wish), &contacts, None, &mut sink, &cancel).await;
            assert!(outcome.is_err(), "a cancelled job has no answer");
            match ended(sink.at.unwrap()).await {
                Some(time) => took.record(u64::try_from(time.as_micros()).unwrap()).unwrap(),
                None => lost += 1,
            }
        }
        let at = |quantile| took.value_at_quantile(quantile) as f64 / 1e3;
        let longest = took.max() as f64 / 1e3;
        println!("| {name} | {} | {:.1} | {:.1} | {longest:.1} | {lost} |", took.len(), at(0.5), at(0.99));
    }
    buyer.close().await;
}

/// How long after that moment the runner's stream was dropped.
async fn ended(cancelled: Instant) -> Option<Duration> {
    let mut look = tokio::time::interval(Duration::from_millis(1));
    while cancelled.elapsed() < PATIENCE {
        look.tick().await;
        if let Some(at) = upstream::DROPPED.lock().unwrap().first() {
            return Some(at.saturating_duration_since(cancelled));
        }
    }
    None
}
