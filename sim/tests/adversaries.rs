//! Every adversary in a small busy world: it does what its file says, and what meets it is there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use fedai_sim::adversaries::experiment::{Experiment, weigh};
use fedai_sim::adversaries::finding::Take;
use fedai_sim::adversaries::stage::Stage;
use fedai_sim::adversaries::{ADVERSARIES, named, page};
use fedai_sim::audit_plan::AuditPlan;

/// A rush of two hundred jobs on six nodes, once with the cheat and once with its honest twin.
fn world(name: &str) -> (Take, Take) {
    on(&Stage { nodes: 6, jobs: 200, audits: None }, name)
}

fn on(stage: &Stage, name: &str) -> (Take, Take) {
    weigh(named(name).unwrap(), stage, 1).unwrap_or_else(|violation| panic!("{violation}"))
}

#[test]
fn audits_find_what_no_client_sees_and_take_its_work_away() {
    let unseen = Stage { nodes: 6, jobs: 900, audits: None };
    let seen = Stage { audits: Some(AuditPlan { every_seconds: 20_000, canaries: 6 }), ..unseen };
    for name in ["cheaper-model", "token-overcount"] {
        let (cheat, twin) = on(&seen, name);
        assert!(cheat.found_seconds.is_some_and(|seconds| seconds < 21_600), "{name}: {cheat:?}");
        assert_eq!((twin.found_seconds, twin.false_alarms, cheat.false_alarms), (None, 0.0, 0.0), "{name}");
        assert!(cheat.audits_msat > 0.0 && cheat.canaries >= 36.0, "{name}: {cheat:?}");
        if name == "cheaper-model" {
            let (free, _) = on(&unseen, name);
            assert!(cheat.share < free.share * 0.9, "{} and {}", cheat.share, free.share);
        }
    }
}

#[test]
fn a_load_liar_is_sent_no_more_than_its_measured_share() {
    let (liar, twin) = world("load-liar");
    assert!(liar.share < twin.share * 1.5, "{} and {}", liar.share, twin.share);
}

#[test]
fn a_speed_liar_looks_no_quicker_than_clients_saw() {
    let (liar, twin) = world("speed-liar");
    assert!(liar.share < twin.share * 1.3, "{} and {}", liar.share, twin.share);
}

#[test]
fn a_price_bait_is_not_paid() {
    let (bait, twin) = world("price-bait");
    assert!(bait.disputed > 0.0 && twin.disputed == 0.0);
    assert!(bait.profit < 0.0 && twin.profit > 0.0, "{} and {}", bait.profit, twin.profit);
}

#[test]
fn an_over_counter_is_paid_more_than_was_used() {
    let (cheat, twin) = world("token-overcount");
    assert!(cheat.overpaid > 0.0 && twin.overpaid == 0.0, "{} and {}", cheat.overpaid, twin.overpaid);
    assert_eq!(cheat.disputed, 0.0, "nothing that a client could check alone");
}

#[test]
fn a_cheaper_model_is_cheaper_and_no_single_client_sees_it() {
    let (cheat, twin) = world("cheaper-model");
    assert!(cheat.profit > twin.profit, "{} and {}", cheat.profit, twin.profit);
    assert_eq!((cheat.disputed, cheat.overpaid), (0.0, 0.0));
}

#[test]
fn a_stalling_node_is_left_and_not_paid() {
    let (cheat, twin) = world("stall");
    assert!(cheat.profit < twin.profit && cheat.share < twin.share / 2.0, "{cheat:?}");
}

#[test]
fn a_black_hole_earns_nothing_and_its_jobs_go_elsewhere() {
    let (cheat, twin) = world("black-hole");
    assert_eq!((cheat.profit, cheat.share), (0.0, 0.0));
    assert!(twin.profit > 0.0 && cheat.failed < cheat.jobs / 20.0, "{cheat:?}");
}

#[test]
fn a_swarm_of_names_has_no_more_than_its_hardware() {
    let (swarm, twin) = world("sybil-swarm");
    assert!(swarm.share < twin.share * 1.5, "{} and {}", swarm.share, twin.share);
}

#[test]
fn a_whitewasher_counts_double_for_as_long_as_it_may() {
    let (cheat, twin) = world("whitewash");
    assert!(cheat.overpaid > 0.0 && twin.overpaid == 0.0);
}

#[test]
fn slander_is_heard_and_does_not_move_the_work() {
    let (friend, twin) = world("slander");
    assert!(friend.share < twin.share * 1.3, "{} and {}", friend.share, twin.share);
}

#[test]
fn a_replayed_receipt_is_proof_and_pays_nothing() {
    let (cheat, twin) = world("receipt-replay");
    assert!(cheat.proofs > 0.0 && twin.proofs == 0.0, "{} and {}", cheat.proofs, twin.proofs);
    assert!(cheat.profit <= twin.profit, "{} and {}", cheat.profit, twin.profit);
}

#[test]
fn a_steering_router_cannot_charge() {
    let (cheat, _) = world("double-assign");
    assert_eq!((cheat.disputed, cheat.overpaid), (0.0, 0.0));
    assert!(cheat.profit > 0.0);
}

#[test]
fn a_lying_relay_sends_its_operators_node_no_work_and_most_jobs_survive_it() {
    let (relay, twin) = world("lying-relay");
    assert!(relay.share < twin.share * 1.5, "{} and {}", relay.share, twin.share);
    assert!(relay.failed < relay.jobs / 5.0, "{} of {} failed", relay.failed, relay.jobs);
    assert_eq!(twin.failed, 0.0);
}

#[test]
fn findings_do_not_depend_on_the_number_of_threads() {
    let report = |threads| {
        let adversaries = vec![named("price-bait").unwrap(), named("black-hole").unwrap()];
        let experiment = Experiment { adversaries, days: 1, seeds: 2, nodes: 4, jobs: Some(40), threads };
        let findings = experiment.run(&|_, _| {}).unwrap();
        (serde_json::to_string(&findings).unwrap(), page::page(&findings), page::plot(&findings))
    };
    assert_eq!(report(1), report(3));
}

#[test]
fn every_adversary_says_what_it_does_and_what_meets_it() {
    for adversary in &ADVERSARIES {
        assert_eq!(named(adversary.name).map(|found| found.name), Some(adversary.name));
        assert!(!adversary.does.is_empty() && !adversary.hopes.is_empty() && !adversary.met_by.is_empty());
    }
}
