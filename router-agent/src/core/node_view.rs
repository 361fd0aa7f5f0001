//! What this router has seen of one node and one model: timings that clients observed, own jobs, announced load.
//!
//! Claims of the node enter as load weighted by age and as a number of slots with a bound; speeds and slots are
//! measured, and where nothing was measured speeds are the fleet's.

use fedai_protocol::{Tokens, UnixMicros, Usage};

use super::batch_fit::BatchFit;
use super::breaker::{Breaker, LearnedCap};
use super::candidate::{CandidateView, FleetPrior};
use super::concurrency::LearnedSlots;
use super::estimate::{DecayedMean, PeakEwma, RotatingHistogram};
use super::policy::Policy;
use super::prediction::faded;
use super::token_norm::TokenNorm;
use super::trust::Trust;

/// Half-life of measured speeds, in seconds.
const SPEED_HALF_LIFE_SECONDS: f64 = 300.0;
/// Half-life of the number of jobs that others have at a node, in seconds.
const OTHERS_HALF_LIFE_SECONDS: f64 = 60.0;
/// A node that announces fewer jobs of others than this share of what is usual is taken to be as busy as that.
const OTHERS_LEAST: f64 = 0.5;
/// Time constant of the network time, in milliseconds.
const RTT_TAU_MS: f64 = 10_000.0;
/// From being sent, a job is on its way to its node for so long, in milliseconds.
const ON_ITS_WAY_MS: u64 = 300;
/// What a job says of speeds whose client had named the node, beside one that was drawn: the client may be the node's
/// own, and it costs nothing to be served by oneself.
const NAMED_WEIGHT: f64 = 0.05;
/// Samples that the fleet's median weighs.
const PRIOR_WEIGHT: f64 = 1.0;
/// Spread assumed of what was not measured, as a share of the fleet's median.
const PRIOR_SPREAD: f64 = 0.5;
/// Values below which a percentile says nothing.
const HISTOGRAM_LEAST: u64 = 5;

/// One job as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Time to first token that the client saw.
    pub ttft_ms: u64,
    /// Total time that the client saw.
    pub total_ms: u64,
    /// Time to first token that the node states; the difference is the network's, within the next bound.
    pub node_ttft_ms: u64,
    /// Most of the time to first token that can be the network's: what is beyond it is the node's own.
    pub network_max_ms: u64,
    /// What was counted.
    pub usage: Usage,
    /// True when the job was expected to wait: then the time to first token says little about the prompt speed.
    pub queued: bool,
    /// Jobs that the node was believed to have beside it when it was sent.
    pub beside: u32,
    /// False where the client had named the node: then it may be the node's own client.
    pub is_drawn: bool,
}

/// Load that a node announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnnouncedLoad {
    /// When it arrived.
    pub at: UnixMicros,
    /// Jobs, running and queued.
    pub jobs: u32,
    /// True when it has no free slot.
    pub is_full: bool,
}

/// What was seen of one node and model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeView {
    rtt: PeakEwma,
    prefill: DecayedMean,
    decode: BatchFit,
    slots: LearnedSlots,
    ttft: RotatingHistogram,
    norm: TokenNorm,
    /// When each own job under way was sent.
    flights: Vec<UnixMicros>,
    load: AnnouncedLoad,
    /// Own jobs that the announced load counts and that have ended since.
    ended_since_load: u32,
    others: DecayedMean,
    races_lost: u32,
    pub(crate) breaker: Breaker,
    pub(crate) cap: LearnedCap,
}

/// Lost races in a row that count as one failure.
const RACES_LOST_MAX: u32 = 3;
/// Fresh prompt tokens from which on a job says something about prefill speed.
const PREFILL_TOKENS_MIN: u64 = 32;

impl NodeView {
    /// Takes a job that its client observed.
    pub fn observe(&mut self, now: UnixMicros, seen: &Observation) {
        let network = seen.ttft_ms.saturating_sub(seen.node_ttft_ms).min(seen.network_max_ms);
        let says = if seen.is_drawn { 1.0 } else { NAMED_WEIGHT };
        if seen.is_drawn {
            self.races_lost = 0;
            self.rtt.observe(now, network as f64, RTT_TAU_MS);
            self.ttft.count(now, seen.ttft_ms);
        }
        let beside = (f64::from(seen.beside) + f64::from(self.in_flight())) / 2.0;
        let fresh = seen.usage.input_tokens.saturating_sub(seen.usage.cached_tokens).get();
        // With nearly all of a prompt cached, the time to the first token is no measure of prefill: the fixed cost of a
        // job would land on the last few tokens, and a node with a warm cache would look slow.
        if fresh >= PREFILL_TOKENS_MIN && !seen.queued && !self.waited(seen, fresh) {
            let compute = seen.ttft_ms.saturating_sub(network).max(1) as f64;
            self.prefill.observe_weighted(now, compute / fresh as f64, says, SPEED_HALF_LIFE_SECONDS);
        }
        let further = seen.usage.output_tokens.get().saturating_sub(1);
        if further > 0 && seen.total_ms > seen.ttft_ms {
            let streaming = seen.total_ms.saturating_sub(seen.ttft_ms) as f64;
            let each = streaming / further as f64;
            self.decode.observe_weighted(now, (beside, each), says, SPEED_HALF_LIFE_SECONDS);
        }
    }

    /// Whether a job waited for a slot that it was believed to find. Told from the node's own prompt speed, so a job
    /// without company never counts as one that waited: then the node has become slower.
    fn waited(&mut self, seen: &Observation, fresh: u64) -> bool {
        let (Some(prefill), Some(rtt)) = (self.prefill.mean(), self.rtt.value()) else { return false };
        let waited = LearnedSlots::is_wait(seen.ttft_ms as f64, rtt + prefill * fresh as f64);
        if seen.is_drawn {
            self.slots.observe(f64::from(seen.beside), waited);
        }
        waited && seen.beside > 0
    }

    /// Jobs that the node is believed to have: own ones exactly, announced ones by their age.
    #[must_use]
    pub fn jobs(&self, now: UnixMicros, policy: &Policy) -> u32 {
        let announced = self.announced_others();
        let share = f64::from(faded(now.0 as f64 - self.load.at.0 as f64, policy.load_tau_ms));
        let others = self.others.mean().unwrap_or_default();
        let jobs = f64::from(announced) * share + others * (1.0 - share);
        self.in_flight().saturating_add(jobs.round() as u32)
    }

    /// Takes what it counted for a job that its client accepted.
    pub fn counted(&mut self, now: UnixMicros, usage: &Usage, asked: Tokens) {
        self.norm.observe(now, usage, asked);
    }

    /// What it counts: prompt tokens for one that was asked for, output tokens for a byte.
    #[must_use]
    pub fn counts(&self) -> (Option<f64>, Option<f64>) {
        self.norm.rates()
    }

    /// Takes an announced load.
    pub fn heard_load(&mut self, load: AnnouncedLoad) {
        (self.load, self.ended_since_load) = (load, 0);
        self.others.observe(load.at, f64::from(self.announced_others()), OTHERS_HALF_LIFE_SECONDS);
    }

    /// Jobs of others by the announced load.
    fn announced_others(&self) -> u32 {
        let known = self.in_flight().saturating_sub(self.sent_since_load());
        self.load.jobs.saturating_sub(self.ended_since_load).saturating_sub(known)
    }

    /// Own jobs under way that the announced load cannot count yet.
    fn sent_since_load(&self) -> u32 {
        let sent = self.flights.iter().filter(|since| !self.is_in_load(**since)).count();
        u32::try_from(sent).unwrap_or(u32::MAX)
    }

    /// True when a job that was sent at `since` had arrived when the load was announced.
    fn is_in_load(&self, since: UnixMicros) -> bool {
        since.plus_millis(ON_ITS_WAY_MS) <= self.load.at
    }

    /// A job was sent there.
    pub fn sent(&mut self, now: UnixMicros) {
        self.flights.push(now);
        self.breaker.sent(now);
    }

    /// A second attempt elsewhere was faster. One loss is no fault: a second attempt begins when a node is slow by its
    /// own measure, which is seldom and never thrice in a row by chance. True when it is, as for a node that is silent.
    pub fn lost_race(&mut self) -> bool {
        self.races_lost = self.races_lost.saturating_add(1);
        self.races_lost.is_multiple_of(RACES_LOST_MAX)
    }

    /// The job that was sent at `since` is not under way any more.
    pub fn ended(&mut self, since: UnixMicros) {
        if self.flights.is_empty() {
            return;
        }
        let at = self.flights.iter().position(|sent| *sent == since).unwrap_or(0);
        let sent = self.flights.swap_remove(at);
        // Otherwise a node that is quick looks full until it announces its load again.
        if self.is_in_load(sent) {
            self.ended_since_load = self.ended_since_load.saturating_add(1);
        }
    }

    /// Own jobs under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        u32::try_from(self.flights.len()).unwrap_or(u32::MAX)
    }

    /// True when it lately announced that it is full.
    #[must_use]
    pub fn is_full(&self, now: UnixMicros, policy: &Policy) -> bool {
        self.load.is_full && (now.millis_since(self.load.at) as f64) < policy.load_tau_ms * 2.0
    }

    /// Median and 95th percentile of the time to first token, when enough was seen lately.
    #[must_use]
    pub fn ttft_percentiles(&self) -> Option<(u64, u64)> {
        Some((self.ttft.quantile(0.5, HISTOGRAM_LEAST)?, self.ttft.quantile(0.95, HISTOGRAM_LEAST)?))
    }

    /// Measured means, when there are any: network time, time per prompt token, time per output token.
    #[must_use]
    pub fn measured(&self) -> (Option<f64>, Option<f64>, Option<f64>) {
        (self.rtt.value(), self.prefill.mean(), self.decode.own().map(|line| line.alone_ms))
    }

    /// Jobs that others usually have there.
    #[must_use]
    pub fn others(&self) -> Option<f64> {
        self.others.mean()
    }

    /// What each job beside adds to the time per output token, as a share, when it was measured.
    #[must_use]
    pub fn batch_share(&self) -> Option<f64> {
        self.decode.own_share()
    }

    /// Writes all that changes into the candidate.
    pub(crate) fn apply(
        &self,
        now: UnixMicros,
        row: &mut CandidateView,
        prior: &FleetPrior,
        policy: &Policy,
        trust: &Trust,
    ) {
        // Without a median there is nothing yet to hold a claim to: that lasts for the first seconds of a model.
        let is_known = prior.slots > 0.0;
        let untested_max =
            if is_known { (policy.slots_per_median_max * prior.slots).max(1.0) } else { f64::INFINITY };
        row.slots = self.slots.believed(f64::from(row.facts.slots.max(1)), untested_max);
        row.learned_cap = self.cap.get();
        row.rtt_ms = self.rtt.value().unwrap_or(prior.rtt_ms);
        row.prefill_ms = self.prefill.blended(prior.prefill_ms, PRIOR_WEIGHT);
        row.prefill_sd_ms = self.prefill.spread(prior.prefill_ms * PRIOR_SPREAD);
        let line = self.decode.line(prior.decode_ms, prior.decode_job_share);
        (row.decode_ms, row.decode_job_ms) = (line.alone_ms, line.each_ms);
        row.decode_sd_ms = self.decode.spread(prior.decode_ms * PRIOR_SPREAD);
        let usual = prior.others_per_slot * row.slots * OTHERS_LEAST;
        row.others = self.others.mean().map_or(0.0, |others| others.max(usual));
        row.ttft_p95_ms = self.ttft_percentiles().map_or(0, |(_, p95)| p95);
        row.trust = trust.score(now);
        row.p_ok = trust.p_ok(now);
        row.has_misbehaved = trust.has_misbehaved(now);
        self.norm.apply(row, prior);
        apply_doubt(row, trust.doubt_factor());
        self.apply_flight(now, row);
    }

    /// Writes what changes with every job into the candidate.
    pub(crate) fn apply_flight(&self, now: UnixMicros, row: &mut CandidateView) {
        row.in_flight = self.in_flight();
        row.load_at = self.load.at;
        row.load_jobs = self.load.jobs.saturating_sub(self.ended_since_load);
        row.sent_since_load = self.sent_since_load();
        row.breaker_until = self.breaker.until();
        row.is_probing = self.breaker.is_probing(now);
    }
}

/// An answer of a node that followed auditors found to be another than the offered one is worth that much less: it is
/// taken to cost and to last that much more.
fn apply_doubt(row: &mut CandidateView, factor: f64) {
    row.counted_input *= factor;
    row.counted_output *= factor;
    row.prefill_ms *= factor;
    row.decode_ms *= factor;
    row.decode_job_ms *= factor;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observation(ttft_ms: u64, total_ms: u64, input: u64, output: u64, queued: bool) -> Observation {
        let usage = Usage {
            input_tokens: Tokens::saturating(input),
            output_tokens: Tokens::saturating(output),
            output_bytes: output,
            ..Usage::default()
        };
        Observation {
            ttft_ms,
            total_ms,
            node_ttft_ms: ttft_ms.saturating_sub(100),
            network_max_ms: 400,
            usage,
            queued,
            beside: 0,
            is_drawn: true,
        }
    }

    #[test]
    fn speeds_come_from_what_the_client_saw() {
        let mut view = NodeView::default();
        view.observe(UnixMicros(1), &observation(300, 2_300, 100, 101, false));
        let (rtt, prefill, decode) = view.measured();
        assert_eq!((rtt, prefill, decode), (Some(100.0), Some(2.0), Some(20.0)));
    }

    #[test]
    fn a_job_that_waited_says_nothing_about_the_prompt_speed() {
        let mut view = NodeView::default();
        view.observe(UnixMicros(1), &observation(30_000, 32_000, 100, 101, true));
        assert_eq!(view.measured().1, None);
        assert_eq!(view.ttft_percentiles(), None, "one value is no percentile");
    }

    #[test]
    fn a_prompt_that_was_nearly_all_cached_does_not_make_a_node_look_slow() {
        let mut view = NodeView::default();
        view.observe(UnixMicros(1), &observation(300, 2_300, 100, 101, false));
        let mut warm = observation(250, 2_250, 100, 101, false);
        warm.usage.cached_tokens = Tokens::saturating(99);
        view.observe(UnixMicros(2), &warm);
        assert_eq!(view.measured().1, Some(2.0));
    }

    #[test]
    fn a_lost_race_is_no_failure_and_a_node_that_only_loses_is_found_out() {
        let mut view = NodeView::default();
        assert!(!view.lost_race() && !view.lost_race());
        view.observe(UnixMicros(1), &observation(300, 2_300, 100, 101, false));
        assert!(!view.lost_race() && !view.lost_race() && view.lost_race());
        assert!(!view.lost_race() && !view.lost_race() && view.lost_race());
    }

    #[test]
    fn a_claim_of_an_instant_first_token_moves_no_more_than_the_bound_into_the_network() {
        let mut view = NodeView::default();
        let mut liar = observation(4_000, 6_000, 100, 101, false);
        liar.node_ttft_ms = 1;
        view.observe(UnixMicros(1), &liar);
        let (rtt, prefill, _) = view.measured();
        assert_eq!((rtt, prefill), (Some(400.0), Some(36.0)), "together they are what the client saw");
    }

    #[test]
    fn jobs_of_own_customers_make_no_node_quick() {
        let (mut view, prior) = (NodeView::default(), 20.0);
        let mut named = observation(101, 111, 100, 11, false);
        named.is_drawn = false;
        for second in 1..=10 {
            view.observe(UnixMicros(second * 1_000_000), &named);
        }
        let decode = view.decode.line(prior, 0.05);
        assert!(
            decode.alone_ms > prior / 2.0,
            "ten of them say half as much as one that was drawn: {decode:?}"
        );
        assert_eq!((view.measured().0, view.slots), (None, LearnedSlots::default()));
    }

    #[test]
    fn own_jobs_are_counted_exactly_and_never_below_zero() {
        let mut view = NodeView::default();
        view.sent(UnixMicros(1));
        view.sent(UnixMicros(1));
        view.ended(UnixMicros(1));
        assert_eq!(view.in_flight(), 1);
        view.ended(UnixMicros(1));
        view.ended(UnixMicros(1));
        assert_eq!(view.in_flight(), 0);
    }

    #[test]
    fn quick_jobs_between_two_pings_do_not_make_a_node_look_full() {
        let mut view = NodeView::default();
        for _ in 0..100 {
            view.sent(UnixMicros(1));
            view.ended(UnixMicros(1));
        }
        assert_eq!((view.in_flight(), view.sent_since_load()), (0, 0));
    }

    #[test]
    fn a_load_counts_against_those_own_jobs_only_that_it_can_know_of() {
        let at = |millis: u64| UnixMicros(1_000_000_000 + millis * 1_000);
        let policy = Policy::default();
        let mut view = NodeView::default();
        view.sent(at(0));
        view.sent(at(2_000));
        view.heard_load(AnnouncedLoad { at: at(1_500), jobs: 3, is_full: false });
        assert_eq!(view.jobs(at(1_500), &policy), 4, "two of others, the one it knows of, the one it cannot");
        view.ended(at(0));
        assert_eq!(view.jobs(at(1_500), &policy), 3, "its own job is gone from the announced ones, too");
        view.heard_load(AnnouncedLoad { at: at(1_600), jobs: 0, is_full: false });
        assert_eq!(view.jobs(at(1_600), &policy), 1, "nothing that is said takes away from own jobs");
    }
}
