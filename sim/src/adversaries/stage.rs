//! The world in which adversaries are weighed: a small fleet of unequal nodes, jobs that come in rushes, prices
//! above cost.
//!
//! A token here stands for a page of real ones: hardware is slow and answers are short, so that a month of a loaded
//! fleet is a few ten thousand jobs. Two rushes a day fill the fleet to about a half; in between it is nearly idle,
//! as a real one.

use fedai_protocol::router_profile::RouterFee;
use fedai_protocol::{Msat, MsatPerMtok, Price};

use crate::audit_plan::AuditPlan;
use crate::chance::{Chance, Stream};
use crate::runner::RunnerProfile;
use crate::scenario::{NodeSpec, RouterSpec, START, Scenario};
use crate::workload::gaps::Gaps;
use crate::workload::open_loop::{OpenLoop, Sizes};

/// Size of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Nodes.
    pub nodes: usize,
    /// Jobs in all.
    pub jobs: usize,
    /// Whether somebody audits the nodes.
    pub audits: Option<AuditPlan>,
}

impl Stage {
    /// The stage for so many days.
    #[must_use]
    pub const fn of_days(nodes: usize, days: u64) -> Self {
        Self { nodes, jobs: JOBS_PER_DAY.saturating_mul(days) as usize, audits: None }
    }

    /// The scenario of a seed, in which all are honest.
    #[must_use]
    pub fn scenario(&self, seed: u64, two_routers: bool) -> Scenario {
        let mut fleet = Chance::new(seed, Stream::Fleet);
        let mut scenario = Scenario::empty(seed).typed();
        scenario.workload = "adversaries";
        scenario.audits = self.audits;
        scenario.terms.ping_ms = PING_MS;
        scenario.terms.summary_seconds = 3_600;
        scenario.terms.headroom = 2;
        let fee = RouterFee { flat: Msat::ZERO, ppm: FEE_PPM };
        scenario.routers = vec![RouterSpec { fee }; if two_routers { 2 } else { 1 }];
        scenario.routers_asked = scenario.routers.len();
        scenario.nodes = (0..self.nodes).map(|index| node(index, &mut fleet)).collect();
        let workload = OpenLoop {
            requests: self.jobs,
            rate: JOBS_PER_DAY as f64 / 86_400.0,
            gaps: Gaps::Spikes { every_seconds: 43_200.0, length_seconds: RUSH_SECONDS, factor: RUSH_FACTOR },
            sizes: Sizes { prompt_tokens_mean: 60.0, prompt_cv: 0.8, words_mean: 20.0, words_cv: 0.6 },
        };
        scenario.arrivals = workload.draw(START.plus_seconds(FIRST_SECONDS), seed);
        scenario
    }
}

/// A class of hardware: name, slots, prefill and decode speed of one slot, price over cost in thousandths.
type Class = (&'static str, u32, u64, u64, u64);

/// The seat is of the first class.
const CLASSES: [Class; 4] = [
    ("middle", 4, 60, 4, 1_500),
    ("slow", 2, 40, 2, 1_350),
    ("small", 2, 60, 4, 1_500),
    ("fast", 4, 120, 8, 1_650),
];

fn node(index: usize, fleet: &mut Chance) -> NodeSpec {
    let (class, slots, prefill, decode, over_cost) =
        CLASSES.get(index % CLASSES.len()).copied().unwrap_or(("middle", 4, 60, 4, 1_500));
    let spread = fleet.between(90, 110);
    let output = COST_PER_TOKEN.saturating_mul(over_cost).saturating_mul(spread) / 100_000;
    let per_mtok = |msat: u64| MsatPerMtok::saturating(msat.saturating_mul(1_000_000));
    NodeSpec {
        class,
        runner: RunnerProfile::of_rates(slots, prefill, decode, 30),
        load_ms: 0,
        queue_max: 8,
        list_price: Price {
            input: per_mtok(output / 12),
            cached_input: None,
            output: per_mtok(output),
            request: Msat::ZERO,
        },
        cost_msat_per_slot_second: COST_PER_TOKEN.saturating_mul(decode),
        tamper: None,
    }
}

/// One a minute over the long run.
pub const JOBS_PER_DAY: u64 = 1_440;
/// Two rushes of four minutes a day, in which three of four jobs come.
const RUSH_SECONDS: f64 = 240.0;
const RUSH_FACTOR: f64 = 540.0;
/// A router takes two percent.
const FEE_PPM: u32 = 20_000;
/// What an output token costs whoever computes it, in msat.
const COST_PER_TOKEN: u64 = 100;
/// Pings at change are seldom needed when nobody asks.
const PING_MS: (u64, u64) = (10_000, 120_000);
/// Nodes announce themselves first.
const FIRST_SECONDS: u64 = 10;
