//! The scheduler's parameters: one algorithm, four parameter sets.
//!
//! A mode is numbers, never a branch in the scheduler. All values are ratios or in the unit that the name ends with.

use fedai_protocol::quote_request::Mode;
use serde::{Deserialize, Serialize};

/// Parameters of one mode.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModePolicy {
    /// Weight of expected cost in the utility.
    pub price_weight: f64,
    /// Value of time, as a multiple of the median cost per median latency.
    pub time_value: f64,
    /// Share of that value that goes to the first token; the rest goes to the last one.
    pub first_token_share: f64,
    /// Steepness of the draw: 2 is the inverse square of the utility.
    pub gamma: i32,
    /// Price of missing trust, as a multiple of the expected cost.
    pub risk: f64,
    /// Lowest trust that is eligible.
    pub trust_floor: f64,
    /// True when the floor is never relaxed.
    pub trust_floor_is_hard: bool,
    /// Standard deviations added to every predicted duration.
    pub caution: f64,
}

/// All parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Price before time.
    pub cheapest: ModePolicy,
    /// Time before price.
    pub fastest: ModePolicy,
    /// Both.
    pub balanced: ModePolicy,
    /// Only nodes with a record.
    pub trusted: ModePolicy,
    /// Share of decisions that try an unproven node, to keep learning.
    pub exploration_share: f64,
    /// Share of decisions that do so on top while the fleet has no history.
    pub fresh_exploration_share: f64,
    /// An unproven node is tried only where it is expected to cost at most so many times what the best does.
    pub exploration_cost_max: f64,
    /// Share of the draw that all unproven nodes have together in a fleet with a history.
    pub new_node_share: f64,
    /// Chance to deliver that is assumed of an unproven node in a fleet with a history.
    pub unproven_p_ok: f64,
    /// Candidates that are drawn; the best of them is chosen.
    pub draws: u32,
    /// How much dearer the previous node may be and still be kept.
    pub stickiness: f64,
    /// Share of the prompt that a warm prefix cache saves.
    pub prefix_hit: f64,
    /// How fast that credit shrinks with excess load.
    pub prefix_excess_weight: f64,
    /// Retries that are served, as a share of the other requests.
    pub retry_share: f64,
    /// Retries that are served every second whatever the number of requests.
    pub retries_per_second: f64,
    /// Second copies that are allowed, as a share of the requests.
    pub hedge_share: f64,
    /// True when clients are told how long a wait they should accept at each node of a quote.
    pub late_binding: bool,
    /// Time constant after which announced load has lost its weight, in milliseconds.
    pub load_tau_ms: f64,
    /// Silence after which a node is stale, in seconds.
    pub stale_seconds: u64,
    /// Jobs per slot above which a node is saturated.
    pub jobs_per_slot_max: f64,
    /// Announced slots count at most this often the fleet's median.
    pub slots_per_median_max: f64,
    /// Least value of a job, in msat: keeps time and reliability comparable where everything is free.
    pub job_value_min_msat: f64,
}

impl Policy {
    /// The parameters of a mode.
    #[must_use]
    pub const fn of(&self, mode: Mode) -> &ModePolicy {
        match mode {
            Mode::Cheapest => &self.cheapest,
            Mode::Fastest => &self.fastest,
            Mode::Balanced => &self.balanced,
            Mode::Trusted => &self.trusted,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        let balanced = ModePolicy {
            price_weight: 1.0,
            time_value: 1.0,
            first_token_share: 0.3,
            gamma: 2,
            risk: 0.1,
            trust_floor: 0.0,
            trust_floor_is_hard: false,
            caution: 0.5,
        };
        Self {
            cheapest: ModePolicy { time_value: 0.05, gamma: 4, ..balanced },
            fastest: ModePolicy {
                price_weight: 0.0,
                time_value: 10.0,
                first_token_share: 0.5,
                caution: 1.0,
                ..balanced
            },
            balanced,
            trusted: ModePolicy { risk: 4.0, trust_floor: 0.9, trust_floor_is_hard: true, ..balanced },
            exploration_share: 0.01,
            fresh_exploration_share: 0.05,
            exploration_cost_max: 2.0,
            new_node_share: 0.05,
            unproven_p_ok: 0.7,
            draws: 3,
            stickiness: 0.15,
            prefix_hit: 0.8,
            prefix_excess_weight: 1.0,
            retry_share: 0.2,
            retries_per_second: 1.0,
            hedge_share: 0.03,
            late_binding: true,
            load_tau_ms: 5_000.0,
            stale_seconds: 360,
            jobs_per_slot_max: 4.0,
            slots_per_median_max: 2.0,
            job_value_min_msat: 1_000.0,
        }
    }
}
