//! Notices that our clock is wrong, before everything short-lived is refused.
//!
//! Two signs: fresh events of several authors whose `created_at` differs from our time by the same amount, and relays
//! that refuse our events for their time. Warns at most once in ten minutes.

use std::collections::{BTreeMap, VecDeque};

use fedai_protocol::{PublicKey, UnixSeconds};

/// Samples kept.
const SAMPLES: usize = 64;
/// Samples and authors needed before anything is said: one strange clock must not accuse ours.
const SAMPLES_MIN: usize = 8;
const AUTHORS_MIN: usize = 3;
/// A difference that endangers ephemeral events, which strict relays refuse when they are 60 s old.
const SKEW_SECONDS_MAX: i64 = 20;
const WARN_EVERY_SECONDS: u64 = 600;

/// Learns how our clock differs from everybody else's.
#[derive(Debug, Default)]
pub struct ClockSkew {
    samples: VecDeque<(PublicKey, i64)>,
    refusals: u64,
    warned_at: Option<UnixSeconds>,
}

/// What was learnt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ClockSkewReport {
    /// Our clock minus the others', in seconds (median); 0 while there are too few samples.
    pub seconds: i64,
    /// Samples behind it.
    pub samples: usize,
    /// The same difference, however few authors there are: of each the smallest, since what was on its way for long, or
    /// kept by a relay, only seems older.
    pub between_authors: i64,
    /// Authors heard.
    pub authors: usize,
    /// Events that relays refused for their time.
    pub refusals: u64,
}

impl ClockSkew {
    /// Learns from a fresh event: one that relays do not store, and whose time is not blurred on purpose.
    pub fn observe(&mut self, author: PublicKey, created_at: UnixSeconds, now: UnixSeconds) {
        let difference = i64::try_from(now.0).unwrap_or(i64::MAX).saturating_sub_unsigned(created_at.0);
        if self.samples.len() >= SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((author, difference));
        self.warn(now);
    }

    /// Learns from a relay's refusal; true when it was about time.
    pub fn observe_refusal(&mut self, message: &str, now: UnixSeconds) -> bool {
        let text = message.to_ascii_lowercase();
        let about_time = ["created_at", "future", "too old", "timestamp", "ephemeral event expired"];
        if !about_time.iter().any(|sign| text.contains(sign)) {
            return false;
        }
        self.refusals = self.refusals.saturating_add(1);
        if self.may_warn(now) {
            tracing::warn!(reason = ?message, "a relay refuses our events for their time: check this machine's clock");
        }
        true
    }

    /// What was learnt so far.
    #[must_use]
    pub fn report(&self) -> ClockSkewReport {
        let mut by_author = BTreeMap::<PublicKey, Vec<i64>>::new();
        for (author, difference) in &self.samples {
            by_author.entry(*author).or_default().push(*difference);
        }
        let authors = by_author.len();
        let enough = self.samples.len() >= SAMPLES_MIN && authors >= AUTHORS_MIN;
        let all = median(self.samples.iter().map(|(_, difference)| *difference).collect());
        ClockSkewReport {
            seconds: if enough { all } else { 0 },
            samples: self.samples.len(),
            between_authors: median(
                by_author.into_values().filter_map(|all| all.into_iter().min()).collect(),
            ),
            authors,
            refusals: self.refusals,
        }
    }

    fn warn(&mut self, now: UnixSeconds) {
        let report = self.report();
        if report.seconds.abs() > SKEW_SECONDS_MAX && self.may_warn(now) {
            let seconds = report.seconds;
            tracing::warn!(
                seconds,
                "this machine's clock differs from the network's: set it (NTP), or jobs will fail"
            );
        }
    }

    fn may_warn(&mut self, now: UnixSeconds) -> bool {
        let due = self.warned_at.is_none_or(|at| now.since(at) >= WARN_EVERY_SECONDS);
        if due {
            self.warned_at = Some(now);
        }
        due
    }
}

fn median(mut differences: Vec<i64>) -> i64 {
    differences.sort_unstable();
    differences.get(differences.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedai_protocol::SigningKey;
    use fedai_protocol::entropy::CountingEntropy;

    #[test]
    fn several_authors_outvote_one_strange_clock() {
        let mut entropy = CountingEntropy(1);
        let authors: Vec<PublicKey> =
            (0..4).map(|_| SigningKey::generate(&mut entropy).public_key()).collect();
        let now = UnixSeconds(10_000);
        let mut skew = ClockSkew::default();
        (0..20).for_each(|_| skew.observe(authors[0], UnixSeconds(5_000), now));
        let one = skew.report();
        assert_eq!((one.seconds, one.authors), (0, 1), "one author proves nothing");
        assert_eq!(one.between_authors, 5_000, "to a person it can be told");
        (0..60).for_each(|n| skew.observe(authors[n % 3 + 1], UnixSeconds(10_040), now));
        let all = skew.report();
        assert_eq!((all.seconds, all.between_authors, all.authors), (-40, -40, 4));
        // What a relay had kept for a while.
        (0..60).for_each(|n| skew.observe(authors[n % 3 + 1], UnixSeconds(9_940), now));
        assert_eq!(skew.report().between_authors, -40);
    }

    #[test]
    fn refusals_about_time_are_told_from_others() {
        let mut skew = ClockSkew::default();
        let now = UnixSeconds(1);
        assert!(skew.observe_refusal("invalid: created_at too late", now));
        assert!(skew.observe_refusal("invalid: ephemeral event expired", now));
        assert!(!skew.observe_refusal("rate-limited: slow down", now));
        assert_eq!(skew.report().refusals, 2);
    }
}
