//! Which faults and jobs of a run are kept: what a replay command says, and what shrinking makes smaller.

use std::collections::BTreeSet;

use super::{FaultKind, FaultPlan};

/// A part of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only these faults; all when none is named.
    pub faults: Option<BTreeSet<Chosen>>,
    /// Only these jobs; all when none is named.
    pub jobs: Option<BTreeSet<usize>>,
}

/// A kind of fault, or a single one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chosen {
    /// All of this kind.
    Kind(FaultKind),
    /// One: its number in the plan of its seed.
    One(FaultKind, u32),
}

/// A name that is no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no fault; `fedai-sim list` names them, and NAME.NUMBER is a single one")]
pub struct UnknownFault(String);

impl Selection {
    /// The faults of a plan that are kept.
    #[must_use]
    pub fn of_plan(&self, mut plan: FaultPlan) -> FaultPlan {
        if let Some(chosen) = &self.faults {
            let is_kept =
                |kind, id| chosen.contains(&Chosen::Kind(kind)) || chosen.contains(&Chosen::One(kind, id));
            plan.faults.retain(|fault| is_kept(fault.kind, fault.id));
        }
        plan
    }

    /// The options that say this on the command line, with a space before each.
    #[must_use]
    pub fn options(&self) -> String {
        let mut text = String::new();
        if let Some(faults) = &self.faults {
            let names: Vec<String> = faults.iter().map(ToString::to_string).collect();
            text.push_str(&format!(
                " --only {}",
                if names.is_empty() { "none".to_owned() } else { names.join(",") }
            ));
        }
        if let Some(jobs) = &self.jobs {
            let numbers: Vec<String> = jobs.iter().map(ToString::to_string).collect();
            let numbers = if numbers.is_empty() { "none".to_owned() } else { numbers.join(",") };
            text.push_str(&format!(" --only-jobs {numbers}"));
        }
        text
    }
}

impl core::fmt::Display for Chosen {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Kind(kind) => f.write_str(kind.name()),
            Self::One(kind, id) => write!(f, "{}.{id}", kind.name()),
        }
    }
}

impl core::str::FromStr for Chosen {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let unknown = || UnknownFault(text.to_owned());
        match text.split_once('.') {
            Some((name, id)) => {
                let kind = FaultKind::named(name).ok_or_else(unknown)?;
                Ok(Self::One(kind, id.parse().map_err(|_| unknown())?))
            }
            None => FaultKind::named(text).map(Self::Kind).ok_or_else(unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        for text in ["relay-drop", "node-crash.12"] {
            assert_eq!(text.parse::<Chosen>().unwrap().to_string(), text);
        }
        assert!("relay-drop.x".parse::<Chosen>().is_err() && "nothing".parse::<Chosen>().is_err());
        let faults = BTreeSet::from(["relay-drop.3".parse().unwrap(), "sybils".parse().unwrap()]);
        let selection = Selection { faults: Some(faults), jobs: Some(BTreeSet::from([0, 2])) };
        assert_eq!(selection.options(), " --only sybils,relay-drop.3 --only-jobs 0,2");
    }
}
