//! One test for each invariant that a kind of fault is about, under that kind and no other: it is named as the
//! invariant is in the table of faults. A kind that never did anything fails its test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use fedai_protocol::PublicKey;
use fedai_protocol::UnixMicros;
use fedai_sim::faults::table::FAULTS;
use fedai_sim::faults::{Fault, FaultKind, FaultPlan, Whom};
use fedai_sim::invariants::INVARIANTS;
use fedai_sim::run_log::RunLog;
use fedai_sim::scenario::{Scenario, WorkloadKind};
use fedai_sim::swarm::SwarmSums;
use fedai_sim::world::{Party, World};

/// Worlds of each kind.
const SEEDS: u64 = 12;
/// Worlds of a kind that did nothing so far.
const SEEDS_MAX: u64 = 200;

fn run(scenario: Scenario) -> RunLog {
    World::new(scenario).run(&mut |_| {}).unwrap_or_else(|violation| panic!("{violation}"))
}

/// Runs worlds of every kind that is about this invariant.
fn keeps(invariant: &str) -> SwarmSums {
    let mut sums = SwarmSums::default();
    for row in FAULTS.iter().filter(|row| row.keeps == invariant) {
        let mut seed = 0;
        // Some faults wait for a moment that not every world has.
        while seed < SEEDS
            || (sums.kinds.get(&row.kind).is_none_or(|kind| kind.fired == 0) && seed < SEEDS_MAX)
        {
            let world = World::new(Scenario::swarm_of(seed, &[row.kind]));
            let name = row.name;
            let log = world.run(&mut |_| {}).unwrap_or_else(|broken| panic!("{name}, seed {seed}: {broken}"));
            sums.add(&log);
            seed += 1;
        }
        assert!(sums.kinds[&row.kind].fired > 0, "{} never did anything in {seed} worlds", row.name);
    }
    assert!(sums.worlds > 0, "no kind of fault is about {invariant}");
    sums
}

#[test]
fn every_kind_names_an_invariant_and_every_one_named_has_its_test() {
    let source = include_str!("fault_rows.rs");
    for row in &FAULTS {
        assert!(INVARIANTS.iter().any(|(name, _)| *name == row.keeps), "{}: {}", row.name, row.keeps);
        assert!(source.contains(&format!("fn {}()", row.keeps)), "no test is called {}", row.keeps);
    }
}

#[test]
fn every_job_ends() {
    let sums = keeps("every_job_ends");
    assert!(sums.done > sums.worlds, "{sums}");
}

#[test]
fn second_arrival_changes_nothing() {
    keeps("second_arrival_changes_nothing");
}

#[test]
fn sums_agree() {
    keeps("sums_agree");
}

#[test]
fn nothing_injected_is_accepted() {
    let sums = keeps("nothing_injected_is_accepted");
    assert!(sums.injected > 50, "{sums}");
}

#[test]
fn one_charge_per_job() {
    keeps("one_charge_per_job");
}

#[test]
fn charge_within_quote() {
    keeps("charge_within_quote");
}

#[test]
fn altered_price_is_caught() {
    keeps("altered_price_is_caught");
}

/// What is above the bounds is disputed; what is within them costs its quote at most.
#[test]
fn overcharge_is_refused() {
    let sums = keeps("overcharge_is_refused");
    assert!(sums.verdicts.keys().any(|code| *code != "accepted"), "{sums}");
}

#[test]
fn fork_is_evidence() {
    let sums = keeps("fork_is_evidence");
    assert!(sums.evidence.contains_key("chain_fork"), "{sums}");
}

#[test]
fn one_run_per_job() {
    keeps("one_run_per_job");
}

#[test]
fn queues_within_limits() {
    keeps("queues_within_limits");
}

#[test]
fn unpaid_work_is_bounded() {
    keeps("unpaid_work_is_bounded");
}

#[test]
fn one_receipt_per_job() {
    keeps("one_receipt_per_job");
}

#[test]
fn restart_is_the_same() {
    keeps("restart_is_the_same");
}

#[test]
fn durable_before_told() {
    keeps("durable_before_told");
}

/// One honest node with a record, then thirty fresh identities that answer nobody: most jobs are still done.
#[test]
fn newcomers_share_is_bounded() {
    keeps("newcomers_share_is_bounded");
    let mut scenario = Scenario::market(WorkloadKind::Poisson, 1, 120, 0.2, 4);
    let (first, last) = (scenario.arrivals[0].at, scenario.arrivals.iter().map(|job| job.at).max().unwrap());
    let at = UnixMicros(u64::midpoint(first.0, last.0));
    let crowd = Fault { id: 0, kind: FaultKind::Sybils, whom: Whom::Network, at, until: last, size: 30 };
    scenario.faults = FaultPlan { faults: vec![crowd], calm_at: last };
    let log = run(scenario);
    let after: Vec<bool> = log.jobs.iter().filter(|job| job.at > at).map(|job| job.is_done()).collect();
    let done = after.iter().filter(|done| **done).count();
    assert!(done * 10 >= after.len() * 8, "{done} of {} jobs among thirty strangers", after.len());
}

/// One job, one that follows: killed before each effect of a party in turn, once for each.
#[test]
fn a_crash_before_any_effect_of_node_or_router_breaks_nothing() {
    let runs: usize = (7..11).map(killed_before_each_effect).sum();
    assert!(runs > 40, "{runs} effects");
}

fn killed_before_each_effect(seed: u64) -> usize {
    let small = |jobs: &[usize], points: BTreeSet<_>| {
        let mut scenario = Scenario::swarm_of(seed, &[]);
        scenario.only_jobs = Some(jobs.iter().copied().collect());
        scenario.crash_points = points;
        scenario
    };
    let last = Scenario::swarm_of(seed, &[]).arrivals.len() - 1;
    // As long after the last effect as it comes after the faults elsewhere: a kill needs its time to heal.
    let followed = |point| {
        let mut scenario = small(&[0, last], BTreeSet::from([point]));
        scenario.arrivals.iter_mut().filter(|arrival| arrival.must_succeed).for_each(|arrival| {
            arrival.at = arrival.at.plus_seconds(400);
        });
        scenario
    };
    // Counted without the job that follows: each kill falls before it, and it has to end well.
    let watched = small(&[0], BTreeSet::from([(Party::Client(usize::MAX), 1)]));
    let effects = run(watched).effects.into_iter().filter(|(party, _)| !matches!(party, Party::Client(_)));
    // The announcements of the long calm are all alike.
    let points: Vec<_> =
        effects.flat_map(|(party, count)| (1..=count.min(60)).map(move |at| (party, at))).collect();
    for point in &points {
        run(followed(*point));
    }
    points.len()
}

#[test]
fn the_keys_of_evidence_are_those_of_liars() {
    let mut accused: BTreeSet<PublicKey> = BTreeSet::new();
    for seed in 0..SEEDS {
        let log = run(Scenario::swarm_of(seed, &[FaultKind::NodeForks, FaultKind::NodeOverBills]));
        accused.extend(log.evidence.iter().map(|(node, _)| *node));
    }
    assert!(!accused.is_empty());
}
