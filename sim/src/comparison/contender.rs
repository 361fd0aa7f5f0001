//! The policies that can be compared, by the names that the command line and reports have for them.

use std::sync::Arc;

use crate::baselines::{
    Cheapest, Claims, FedaiTs, Jsq, LeastLoad, Litellm, Random, RoundRobin, Sent, UniformP2c,
};
use crate::hooks::SchedulerOf;

/// A policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    /// The production router.
    Fedai,
    /// Clairvoyant.
    Jsq,
    /// Any node.
    Random,
    /// One after the other.
    RoundRobin,
    /// Least price.
    Cheapest,
    /// Least announced load.
    LeastLoad,
    /// LiteLLM's latency rule.
    Litellm,
    /// The formula of the TypeScript fed_AI.
    FedaiTs,
    /// Two even choices.
    P2c,
}

/// What a strategy may need to know of a draw.
#[derive(Clone, Debug)]
pub struct Knowledge {
    /// What nodes claim.
    pub claims: Claims,
    /// Tokens of a mean answer, for the one that may know it.
    pub output_tokens: f64,
}

impl Contender {
    /// All, in the order of reports.
    pub const ALL: [Self; 9] = [
        Self::Fedai,
        Self::Jsq,
        Self::P2c,
        Self::LeastLoad,
        Self::Litellm,
        Self::FedaiTs,
        Self::RoundRobin,
        Self::Random,
        Self::Cheapest,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fedai => "fedai",
            Self::Jsq => "jsq",
            Self::Random => "random",
            Self::RoundRobin => "round-robin",
            Self::Cheapest => "cheapest",
            Self::LeastLoad => "least-load",
            Self::Litellm => "litellm",
            Self::FedaiTs => "fedai-ts",
            Self::P2c => "p2c",
        }
    }

    /// What it does.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Fedai => "the production router: two choices by measured capacity, judged in money",
            Self::Jsq => "clairvoyant: joins the true queue in which the request is done first (the bound)",
            Self::Random => "any node",
            Self::RoundRobin => "one node after the other",
            Self::Cheapest => "the least price for the request",
            Self::LeastLoad => "the least announced load for its slots, and what was sent since",
            Self::Litellm => "LiteLLM's lowest latency over the last ten calls, with its cooldowns",
            Self::FedaiTs => "the TypeScript fed_AI: -price - load/max - latency/1000 + 0.01*trust",
            Self::P2c => "two nodes drawn evenly, the one with less announced load",
        }
    }

    /// The policy of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|contender| contender.name() == name)
    }

    /// Its strategy for every router; none for the production one.
    #[must_use]
    pub fn scheduler(self, knowledge: Knowledge) -> Option<SchedulerOf> {
        let sent = Sent::default();
        Some(match self {
            Self::Fedai => return None,
            Self::Jsq => Arc::new(move |_, oracle| {
                Box::new(Jsq::new(Arc::clone(oracle), Arc::clone(&sent), knowledge.output_tokens))
            }),
            Self::Random => Arc::new(|_, _| Box::new(Random)),
            Self::RoundRobin => Arc::new(|_, _| Box::new(RoundRobin::default())),
            Self::Cheapest => Arc::new(|_, _| Box::new(Cheapest)),
            Self::LeastLoad => Arc::new(|_, _| Box::new(LeastLoad)),
            Self::Litellm => Arc::new(|_, _| Box::new(Litellm::default())),
            Self::FedaiTs => Arc::new(move |_, oracle| {
                Box::new(FedaiTs::new(knowledge.claims.clone(), Arc::clone(oracle)))
            }),
            Self::P2c => Arc::new(|_, _| Box::new(UniformP2c)),
        })
    }
}
