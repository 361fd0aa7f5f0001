//! What is compared on: a trace, a fleet, a load, how old information is, how many nodes lie.

use std::collections::{BTreeMap, BTreeSet};

use fedai_protocol::quote_request::Mode;

use super::capacity;
use super::contender::Knowledge;
use super::liar::{Liar, SPEED_FACTOR};
use crate::baselines::Claims;
use crate::chance::{Chance, Stream};
use crate::conduct::NodeConduct;
use crate::scenario::{MarketTerms, RouterSpec, START, Scenario, draw_node};
use crate::statistics::warm_up;
use crate::workload::replay::Replay;
use crate::workload::trace::Trace;

/// An experiment.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// Where requests come from.
    pub trace: Trace,
    /// Nodes.
    pub nodes: usize,
    /// Routers; a client asks one, drawn for each job.
    pub routers: usize,
    /// Offered work over the capacity of the fleet.
    pub load: f64,
    /// Age of announced load when routers hear of it, in seconds.
    pub info_age_seconds: f64,
    /// Share of nodes that lie.
    pub liars: f64,
    /// Requests of each run.
    pub requests: usize,
    /// What clients value.
    pub mode: Mode,
    /// After so many seconds a client has left.
    pub deadline_seconds: u64,
}

/// One seed: a fleet and a workload that all policies share.
#[derive(Clone, Debug)]
pub struct Draw {
    /// The world.
    pub scenario: Scenario,
    /// Nodes that lie.
    pub liars: BTreeSet<usize>,
    /// What each node can do, in requests a second.
    pub capacities: Vec<f64>,
    /// What is asked of all of them, in requests a second.
    pub rate: f64,
    knowledge: Knowledge,
}

impl Experiment {
    /// Requests at the beginning that are not counted.
    #[must_use]
    pub const fn warm_up(&self) -> usize {
        warm_up::cut(self.requests, warm_up::SHARE_PERMILLE)
    }

    /// The draw of a seed.
    #[must_use]
    pub fn draw(&self, seed: u64) -> Draw {
        let mut fleet = Chance::new(seed, Stream::Fleet);
        let nodes: Vec<_> = (0..self.nodes).map(|_| draw_node(&mut fleet)).collect();
        let liars = self.draw_liars(seed);
        let replay = Replay::of_seed(&self.trace, self.requests, seed);
        let capacities: Vec<f64> =
            nodes.iter().map(|node| capacity::requests_per_second(&node.runner, replay.requests())).collect();
        let rate = self.load * capacities.iter().sum::<f64>();
        let count = replay.requests().len().max(1) as f64;
        let tokens = |of: fn(&crate::workload::trace::Recorded) -> u32| {
            replay.requests().iter().map(|request| f64::from(of(request))).sum::<f64>() / count
        };
        let (input, output) = (tokens(|r| r.input_tokens), tokens(|r| r.output_tokens));
        let claims = nodes.iter().enumerate().map(|(at, node)| {
            let alone = capacity::seconds(&node.runner, input, output, 1.0);
            1e3 * if liars.contains(&at) { alone / SPEED_FACTOR } else { alone }
        });
        let knowledge = Knowledge { claims: Claims::new(claims.collect()), output_tokens: output };
        let info_age_ms = (self.info_age_seconds * 1e3).max(0.0) as u64;
        let begin = START.plus_millis(SETTLE_MS.saturating_add(info_age_ms));
        let scenario = Scenario {
            workload: "trace",
            routers: vec![RouterSpec::default(); self.routers.max(1)],
            arrivals: replay.arrivals(begin, rate, self.mode),
            blocks: replay.blocks().clone(),
            info_age_ms: info_age_ms.saturating_sub(PING_MS.1 / 2),
            terms: MarketTerms {
                ping_ms: PING_MS,
                deadline_seconds: self.deadline_seconds,
                output_tokens_max: replay.requests().iter().map(|r| u64::from(r.output_tokens)).max(),
                ..MarketTerms::default()
            },
            nodes,
            ..Scenario::empty(seed)
        };
        Draw { scenario: scenario.typed(), liars, capacities, rate, knowledge }
    }

    /// The first of an order that the seed draws: with a greater share, the same ones lie, and more.
    fn draw_liars(&self, seed: u64) -> BTreeSet<usize> {
        let mut chance = Chance::new(seed, Stream::Liars);
        let mut order: Vec<usize> = (0..self.nodes).collect();
        for at in (1..order.len()).rev() {
            let other = usize::try_from(chance.between(0, at as u64)).unwrap_or(0);
            order.swap(at, other);
        }
        let count = (self.liars.clamp(0.0, 1.0) * self.nodes as f64).round() as usize;
        order.into_iter().take(count).collect()
    }
}

impl Draw {
    /// Numbers of the nodes, from the least capable to the most.
    #[must_use]
    pub fn by_capacity(&self) -> Vec<usize> {
        let capacity = |at: &usize| self.capacities.get(*at).copied().unwrap_or(0.0);
        let mut order: Vec<usize> = (0..self.capacities.len()).collect();
        order.sort_by(|a, b| capacity(a).total_cmp(&capacity(b)));
        order
    }

    /// Capacity of the best node over that of the least.
    #[must_use]
    pub fn spread(&self) -> f64 {
        let least = self.capacities.iter().copied().fold(f64::MAX, f64::min);
        self.capacities.iter().copied().fold(0.0, f64::max) / least.max(1e-12)
    }

    /// What strategies may know.
    #[must_use]
    pub fn knowledge(&self) -> Knowledge {
        self.knowledge.clone()
    }

    /// The conduct of the liars.
    #[must_use]
    pub fn conducts(&self) -> BTreeMap<usize, Box<dyn NodeConduct>> {
        self.liars.iter().map(|at| (*at, Box::new(Liar) as Box<dyn NodeConduct>)).collect()
    }
}

/// Nodes say how they are about every second, whatever else they have to say: so the age of what routers know is the
/// one that the experiment sets.
const PING_MS: (u64, u64) = (500, 1_000);
/// Announcements are through before the first request.
const SETTLE_MS: u64 = 6_000;
