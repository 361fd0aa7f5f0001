//! Counters of a node, under the names that dashboards know, as OpenMetrics text in a file.
//!
//! Labels are few and bounded: models come from the runner's own list, outcomes from the refusal codes. No
//! key, no event
//! id and nothing of a prompt is ever a label.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fedai_protocol::receipt::Outcome;
use fedai_protocol::{Receipt, RefusalCode};

use crate::core::NodeState;

/// Counters since the start of the process.
#[derive(Clone, Debug, Default)]
pub struct NodeMetrics {
    requests: BTreeMap<(String, String), u64>,
    tokens: BTreeMap<(String, &'static str), u64>,
    receipts: BTreeMap<&'static str, u64>,
    earned_msat: u64,
    durations: Histogram,
    first_token: Histogram,
    per_token: Histogram,
    /// Job opens that were dropped because too many came at once.
    pub opens_dropped: u64,
}

/// Seconds up to which each bucket counts.
const BUCKETS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];

#[derive(Clone, Copy, Debug, Default)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn observe(&mut self, seconds: f64) {
        self.count = self.count.saturating_add(1);
        self.sum += seconds;
        for (bucket, limit) in self.buckets.iter_mut().zip(BUCKETS) {
            *bucket = bucket.saturating_add(u64::from(seconds <= limit));
        }
    }
}

impl NodeMetrics {
    /// A job has its receipt.
    pub fn receipt(&mut self, receipt: &Receipt) {
        let complete = receipt.outcome == Outcome::Complete;
        *self.receipts.entry(if complete { "complete" } else { "partial" }).or_default() += 1;
        if complete {
            *self.requests.entry((receipt.model.clone(), "ok".into())).or_default() += 1;
        }
        for (kind, tokens) in [("input", receipt.usage.input_tokens), ("output", receipt.usage.output_tokens)]
        {
            *self.tokens.entry((receipt.model.clone(), kind)).or_default() += tokens.get();
        }
        self.earned_msat = self.earned_msat.saturating_add(receipt.amount.get());
        let seconds = |millis: u64| std::time::Duration::from_millis(millis).as_secs_f64();
        self.durations.observe(seconds(receipt.wall_ms));
        self.first_token.observe(seconds(receipt.ttft_ms));
        let tokens = receipt.usage.output_tokens.get();
        if tokens > 0 {
            let span = seconds(receipt.wall_ms.saturating_sub(receipt.ttft_ms));
            self.per_token.observe(span / f64::from(u32::try_from(tokens).unwrap_or(u32::MAX)));
        }
    }

    /// A job was refused or failed.
    pub fn refused(&mut self, code: RefusalCode) {
        *self.requests.entry((String::new(), code.as_str())).or_default() += 1;
    }

    /// Receipts so far.
    #[must_use]
    pub fn receipts_total(&self) -> u64 {
        self.receipts.values().sum()
    }

    /// All of it as OpenMetrics text.
    #[must_use]
    pub fn render(&self, state: &NodeState, runner: &str, runner_up: bool, heartbeat_age: u64) -> String {
        let mut text = String::new();
        let version = env!("CARGO_PKG_VERSION");
        let mut line = |name: &str, labels: String, value: u64| {
            // Writing to a String cannot fail.
            let _written = writeln!(text, "{name}{labels} {value}");
        };
        line("fed_build_info", label(&[("version", version)]), 1);
        for ((model, outcome), count) in &self.requests {
            line("fed_node_requests_total", label(&[("model", model), ("outcome", outcome)]), *count);
        }
        for ((model, kind), count) in &self.tokens {
            line("fed_node_tokens_total", label(&[("model", model), ("type", kind)]), *count);
        }
        for (outcome, count) in &self.receipts {
            line("fed_node_receipts_total", label(&[("outcome", outcome)]), *count);
        }
        line("fed_node_earned_msat_total", String::new(), self.earned_msat);
        line("fed_node_in_flight", String::new(), state.running as u64);
        line("fed_node_queue_depth", String::new(), state.queued as u64);
        line("fed_node_runner_up", label(&[("runner", runner)]), u64::from(runner_up));
        line("fed_node_heartbeat_age_seconds", String::new(), heartbeat_age);
        line("fed_node_opens_dropped_total", String::new(), self.opens_dropped);
        let announced = state.announced.map_or("starting", |status| status.as_str());
        for name in ["starting", "active", "draining", "paused"] {
            line("fed_node_state", label(&[("state", name)]), u64::from(name == announced));
        }
        histogram(&mut text, "gen_ai_server_request_duration_seconds", &self.durations);
        histogram(&mut text, "gen_ai_server_time_to_first_token_seconds", &self.first_token);
        histogram(&mut text, "gen_ai_server_time_per_output_token_seconds", &self.per_token);
        text.push_str("# EOF\n");
        text
    }
}

fn histogram(text: &mut String, name: &str, histogram: &Histogram) {
    for (limit, count) in BUCKETS.iter().zip(histogram.buckets) {
        let _written = writeln!(text, "{name}_bucket{{le=\"{limit}\"}} {count}");
    }
    let _written = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {}", histogram.count);
    let _written = writeln!(text, "{name}_sum {}\n{name}_count {}", histogram.sum, histogram.count);
}

fn label(pairs: &[(&str, &str)]) -> String {
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={value:?}"));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lands_in_its_buckets_and_all_above() {
        let mut histogram = Histogram::default();
        [0.02, 0.02, 200.0].into_iter().for_each(|seconds| histogram.observe(seconds));
        assert_eq!(
            (histogram.buckets[0], histogram.buckets[1], histogram.buckets[11], histogram.count),
            (0, 2, 2, 3)
        );
        let mut text = String::new();
        super::histogram(&mut text, "a", &histogram);
        assert!(text.contains("a_bucket{le=\"+Inf\"} 3\n"));
    }
}
