//! Counters, gauges and histograms of this process, rendered as text for a file. No listener, no network.
//!
//! Labels are bounded: never a key, an event id or anything that a stranger chose freely.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Label names of each counter, in the order in which the core writes their values.
const LABELS: [(&str, &[&str]); 9] = [
    ("fed_router_decisions_total", &["outcome", "mode"]),
    ("fed_router_announcements_total", &["kind", "outcome"]),
    ("fed_router_requests_refused_total", &["code"]),
    ("fed_router_failovers_total", &["reason"]),
    ("fed_router_receipts_total", &["outcome"]),
    ("fed_router_acks_total", &["outcome"]),
    ("fed_router_receipt_disagreements_total", &["code"]),
    ("fed_router_signatures_total", &["purpose"]),
    ("fed_router_known_nodes", &["state"]),
];
/// Series per process: more would be a mistake in a label.
const SERIES_MAX: usize = 512;
/// Borders of every histogram: from a microsecond to ten thousand, by tens with a half step.
const BORDERS: [f64; 21] = [
    1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0,
    1_000.0, 3_000.0, 10_000.0,
];

#[derive(Clone, Debug, Default)]
struct Histogram {
    counts: [u64; BORDERS.len()],
    count: u64,
    sum: f64,
}

/// All series.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    counters: BTreeMap<(&'static str, String), u64>,
    gauges: BTreeMap<(&'static str, String), f64>,
    histograms: BTreeMap<&'static str, Histogram>,
}

impl Metrics {
    /// Adds one. `label` holds the label values, separated by commas.
    pub fn count(&mut self, name: &'static str, label: &str) {
        self.add(name, label, 1);
    }

    /// Adds.
    pub fn add(&mut self, name: &'static str, label: &str, more: u64) {
        let series = (name, label.to_owned());
        if self.counters.len() < SERIES_MAX || self.counters.contains_key(&series) {
            let counter = self.counters.entry(series).or_default();
            *counter = counter.saturating_add(more);
        }
    }

    /// Sets a gauge.
    pub fn set(&mut self, name: &'static str, label: &str, value: f64) {
        let series = (name, label.to_owned());
        if self.gauges.len() < SERIES_MAX || self.gauges.contains_key(&series) {
            self.gauges.insert(series, value);
        }
    }

    /// Puts a value into a histogram.
    pub fn observe(&mut self, name: &'static str, value: f64) {
        let histogram = self.histograms.entry(name).or_default();
        histogram.count = histogram.count.saturating_add(1);
        histogram.sum += value;
        for (count, border) in histogram.counts.iter_mut().zip(BORDERS) {
            *count = count.saturating_add(u64::from(value <= border));
        }
    }

    /// A counter.
    #[must_use]
    pub fn counter(&self, name: &'static str, label: &str) -> u64 {
        self.counters.get(&(name, label.to_owned())).copied().unwrap_or_default()
    }

    /// The Prometheus text form.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from("# TYPE fed_build_info gauge\n");
        line(&mut text, format_args!("fed_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")));
        let mut last = "";
        for ((name, label), value) in &self.counters {
            if *name != last {
                line(&mut text, format_args!("# TYPE {name} counter"));
                last = *name;
            }
            line(&mut text, format_args!("{name}{} {value}", labels(name, label)));
        }
        for ((name, label), value) in &self.gauges {
            if *name != last {
                line(&mut text, format_args!("# TYPE {name} gauge"));
                last = *name;
            }
            line(&mut text, format_args!("{name}{} {value}", labels(name, label)));
        }
        for (name, histogram) in &self.histograms {
            line(&mut text, format_args!("# TYPE {name} histogram"));
            for (border, count) in BORDERS.iter().zip(histogram.counts) {
                line(&mut text, format_args!("{name}_bucket{{le=\"{border}\"}} {count}"));
            }
            line(&mut text, format_args!("{name}_bucket{{le=\"+Inf\"}} {}", histogram.count));
            line(&mut text, format_args!("{name}_sum {}\n{name}_count {}", histogram.sum, histogram.count));
        }
        text
    }

    /// Counters and gauges as one JSON object, for `status`.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut map = Map::new();
        for ((name, label), value) in &self.counters {
            map.insert(format!("{name}{}", labels(name, label)), Value::from(*value));
        }
        for ((name, label), value) in &self.gauges {
            map.insert(format!("{name}{}", labels(name, label)), Value::from(*value));
        }
        Value::Object(map)
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing into a string cannot fail.
    let _ = text.write_fmt(line);
    text.push('\n');
}

fn labels(name: &str, values: &str) -> String {
    if values.is_empty() {
        return String::new();
    }
    let names = LABELS.iter().find(|(known, _)| *known == name).map_or(&["label"][..], |(_, names)| names);
    let pairs: Vec<String> =
        names.iter().zip(values.split(',')).map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_has_types_labels_and_cumulative_buckets() {
        let mut metrics = Metrics::default();
        metrics.count("fed_router_decisions_total", "chosen,balanced");
        metrics.count("fed_router_decisions_total", "chosen,balanced");
        metrics.set("fed_router_known_nodes", "live", 3.0);
        metrics.observe("fed_router_candidates", 4.0);
        let text = metrics.text();
        assert!(text.contains("# TYPE fed_router_decisions_total counter"));
        assert!(text.contains("fed_router_decisions_total{outcome=\"chosen\",mode=\"balanced\"} 2"));
        assert!(text.contains("fed_router_known_nodes{state=\"live\"} 3"));
        assert!(text.contains("fed_router_candidates_bucket{le=\"3\"} 0"));
        assert!(text.contains("fed_router_candidates_bucket{le=\"10\"} 1"));
        assert_eq!(metrics.counter("fed_router_decisions_total", "chosen,balanced"), 2);
    }

    #[test]
    fn series_are_bounded() {
        let mut metrics = Metrics::default();
        for n in 0..SERIES_MAX + 10 {
            metrics.count("fed_router_acks_total", &n.to_string());
        }
        assert_eq!(metrics.counters.len(), SERIES_MAX);
    }
}
