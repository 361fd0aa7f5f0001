//! The strategies by name, and which node has which.

use super::PriceStrategy;
use super::cost_plus::CostPlus;
use super::fixed::Fixed;
use super::learning::Learning;
use super::load_priced::LoadPriced;
use super::undercut::Undercut;

/// How a node sets its price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pricing {
    /// Never changes it.
    #[default]
    Fixed,
    /// Cost and a margin.
    CostPlus,
    /// A little below the cheapest.
    Undercut,
    /// Dearer when busy.
    LoadPriced,
    /// Tries and learns.
    Learning,
}

impl Pricing {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Fixed, Self::CostPlus, Self::Undercut, Self::LoadPriced, Self::Learning];

    /// Name on the command line and in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::CostPlus => "cost-plus",
            Self::Undercut => "undercut",
            Self::LoadPriced => "load-priced",
            Self::Learning => "learning",
        }
    }

    /// One line for `list`.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Fixed => "keeps its list price",
            Self::CostPlus => "what the work costs and 40 % on top",
            Self::Undercut => "1 % below the cheapest other offer that its costs allow",
            Self::LoadPriced => "dearer above 60 % utilisation, cheaper below",
            Self::Learning => "a bandit over seven prices, rewarded by profit",
        }
    }

    /// The strategy with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pricing| pricing.as_str() == name)
    }

    /// A fresh strategy.
    #[must_use]
    pub fn strategy(self) -> Box<dyn PriceStrategy> {
        match self {
            Self::Fixed => Box::new(Fixed),
            Self::CostPlus => Box::new(CostPlus::default()),
            Self::Undercut => Box::new(Undercut::default()),
            Self::LoadPriced => Box::new(LoadPriced::default()),
            Self::Learning => Box::new(Learning::default()),
        }
    }

    /// The strategies in turn: what node `index` has in a mixed market.
    #[must_use]
    pub fn mixed(index: usize) -> Self {
        Self::ALL.into_iter().cycle().nth(index % Self::ALL.len()).unwrap_or_default()
    }
}
