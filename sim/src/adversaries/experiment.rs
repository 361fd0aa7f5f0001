//! Each adversary in the world of its honest twin, over seeds.
//!
//! Runs are independent of each other, so threads share them out; results are put in their places, and the report
//! is the same whatever the number of threads.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;

use super::audited::AuditedFinding;
use super::finding::{CheatFinding, Take};
use super::stage::Stage;
use super::{Adversary, Beneficiaries, SEAT};
use crate::audit_plan::AuditPlan;
use crate::hooks::Hooks;
use crate::invariants::Violation;
use crate::scenario::Scenario;
use crate::world::World;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// Adversaries, each once.
    pub adversaries: Vec<&'static Adversary>,
    /// Days of a run.
    pub days: u64,
    /// Seeds, from 1 on.
    pub seeds: u64,
    /// Nodes.
    pub nodes: usize,
    /// Jobs of a run, when they are not those of its days.
    pub jobs: Option<usize>,
    /// Threads.
    pub threads: usize,
}

/// One adversary and its twin in one small world.
pub fn weigh(adversary: &'static Adversary, stage: &Stage, seed: u64) -> Result<(Take, Take), Violation> {
    let two_routers = adversary.two_routers;
    let twin = Run { seed, two_routers, audit_days: None, cheat: None };
    let [cheat, _] = Run { cheat: Some(adversary), ..twin }.take(stage)?;
    let [twin, with_router] = twin.take(stage)?;
    Ok((cheat, if two_routers { with_router } else { twin }))
}

/// The report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Findings {
    /// Version of this schema.
    pub schema_version: u32,
    /// Days of a run.
    pub days: u64,
    /// Seeds, from 1 on.
    pub seeds: u64,
    /// Nodes.
    pub nodes: usize,
    /// Jobs of a run.
    pub jobs: usize,
    /// By adversary.
    pub adversaries: BTreeMap<&'static str, CheatFinding>,
}

/// One run.
#[derive(Clone, Copy)]
struct Run {
    seed: u64,
    two_routers: bool,
    /// Days from audit to audit; none without.
    audit_days: Option<u64>,
    /// None for a twin.
    cheat: Option<&'static Adversary>,
}

impl Experiment {
    /// Runs all; `progress` hears of ended runs and of their number in all.
    pub fn run(&self, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<Findings, Violation> {
        let of_days = Stage::of_days(self.nodes, self.days);
        let stage = Stage { jobs: self.jobs.unwrap_or(of_days.jobs), ..of_days };
        let runs = self.runs();
        let (next, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let results: Mutex<BTreeMap<usize, Result<[Take; 2], Violation>>> = Mutex::new(BTreeMap::new());
        std::thread::scope(|scope| {
            for _ in 0..self.threads.clamp(1, runs.len().max(1)) {
                scope.spawn(|| {
                    while let Some((at, run)) = {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        runs.get(at).map(|run| (at, run))
                    } {
                        let result = run.take(&stage);
                        if let Ok(mut results) = results.lock() {
                            results.insert(at, result);
                        }
                        progress(ended.fetch_add(1, Ordering::Relaxed).saturating_add(1), runs.len());
                    }
                });
            }
        });
        let mut takes = BTreeMap::new();
        for (at, result) in results.into_inner().unwrap_or_default() {
            if let Some(run) = runs.get(at) {
                takes.insert(run.key(), result?);
            }
        }
        Ok(self.findings(&stage, &takes))
    }

    /// Twins first: one for each seed and kind of world, shared by all adversaries of it.
    fn runs(&self) -> Vec<Run> {
        let mut runs = Vec::new();
        for two_routers in [false, true] {
            if self.adversaries.iter().any(|adversary| adversary.two_routers == two_routers) {
                runs.extend(self.of_seeds(two_routers, None, None));
            }
        }
        for adversary in &self.adversaries {
            runs.extend(self.of_seeds(adversary.two_routers, None, Some(adversary)));
        }
        let audited = || self.adversaries.iter().filter(|adversary| adversary.is_audited);
        for days in AUDIT_DAYS.into_iter().filter(|days| *days < self.days) {
            if audited().next().is_some() {
                runs.extend(self.of_seeds(false, Some(days), None));
            }
            for adversary in audited() {
                runs.extend(self.of_seeds(false, Some(days), Some(adversary)));
            }
        }
        runs
    }

    fn of_seeds(
        &self,
        two_routers: bool,
        audit_days: Option<u64>,
        cheat: Option<&'static Adversary>,
    ) -> impl Iterator<Item = Run> + use<> {
        (1..=self.seeds).map(move |seed| Run { seed, two_routers, audit_days, cheat })
    }

    fn findings(&self, stage: &Stage, takes: &BTreeMap<RunKey, [Take; 2]>) -> Findings {
        let mut adversaries = BTreeMap::new();
        for adversary in &self.adversaries {
            let two_routers = adversary.two_routers;
            let of = |cheat: Option<&'static str>, audit_days: Option<u64>, side: usize| -> Vec<Take> {
                let seeds =
                    (1..=self.seeds).filter_map(|seed| takes.get(&(cheat, two_routers, audit_days, seed)));
                seeds.filter_map(|sides| sides.get(side).cloned()).collect()
            };
            let (name, side) = (Some(adversary.name), usize::from(two_routers));
            let mut finding =
                CheatFinding::of(adversary, &of(name, None, 0), &of(None, None, side), self.days);
            let rates = AUDIT_DAYS.into_iter().filter(|days| adversary.is_audited && *days < self.days);
            finding.audited = rates
                .map(|days| {
                    let (cheats, twins) = (of(name, Some(days), 0), of(None, Some(days), 0));
                    AuditedFinding::of(days, &cheats, &twins, self.days)
                })
                .collect();
            adversaries.insert(adversary.name, finding);
        }
        Findings {
            schema_version: 2,
            days: self.days,
            seeds: self.seeds,
            nodes: self.nodes,
            jobs: stage.jobs,
            adversaries,
        }
    }
}

/// Name of the cheat, whether there are two routers, days between audits, seed.
type RunKey = (Option<&'static str>, bool, Option<u64>, u64);

/// Days from audit to audit, of those who are weighed with audits.
const AUDIT_DAYS: [u64; 2] = [1, 7];

impl Run {
    fn key(&self) -> RunKey {
        (self.cheat.map(|cheat| cheat.name), self.two_routers, self.audit_days, self.seed)
    }

    /// What the seat takes, and the seat together with the first router.
    fn take(&self, stage: &Stage) -> Result<[Take; 2], Violation> {
        let audits = self.audit_days.map(AuditPlan::every_days).or(stage.audits);
        let mut scenario: Scenario = Stage { audits, ..*stage }.scenario(self.seed, self.two_routers);
        let mut hooks = Hooks::default();
        let who = self.cheat.map(|cheat| (cheat.cast)(&mut scenario, &mut hooks));
        let log = World::with(scenario, hooks).run(&mut |_| {})?;
        Ok(match who {
            Some(who) => [Take::of(&log, &who), Take::default()],
            None => {
                let with_router = Beneficiaries { nodes: vec![SEAT], routers: vec![0] };
                [Take::of(&log, &Beneficiaries::seat()), Take::of(&log, &with_router)]
            }
        })
    }
}
