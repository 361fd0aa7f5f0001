//! Sybil swarm: one machine under four names, whose friends buy from it and praise it.
//!
//! - What it does: splits its four slots over four identities. Four times an hour an accomplice asks the router for
//!   a job at each of them, in which next to nothing is computed, pays it, and accepts the receipt.
//! - What it hopes to gain: four places in the draw instead of one, records that grow without customers, and speeds
//!   that no customer saw.
//! - What meets it: weights are measured capacity, and four names have no more of it than one; own jobs cost the
//!   router's fee, and a client that named the node adds nothing to its trust and next to nothing to its speeds.

use super::{Adversary, Beneficiaries, SEAT};
use crate::conduct::NodeConduct;
use crate::hooks::Hooks;
use crate::scenario::{OwnJob, START, Scenario};
use crate::workload::prompt::Prompt;

/// The entry of the table.
pub const ADVERSARY: Adversary = Adversary {
    name: "sybil-swarm",
    does: "splits one machine over four names; accomplices buy tiny jobs from each and accept them",
    hopes: "four places in the draw, records without customers, speeds that no customer saw",
    met_by: "router: measured weights; own jobs cost its fee, and those a client insisted on weigh nothing",
    two_routers: false,
    is_audited: false,
    cast,
};

/// Honest towards its customers.
#[derive(Clone, Copy, Debug)]
struct Member;

impl NodeConduct for Member {}

fn cast(scenario: &mut Scenario, hooks: &mut Hooks) -> Beneficiaries {
    let Some(seat) = scenario.nodes.get_mut(SEAT) else { return Beneficiaries::seat() };
    seat.runner.slots = seat.runner.slots.div_ceil(NAMES);
    let member = seat.clone();
    let mut nodes = vec![SEAT];
    for _ in 1..NAMES {
        nodes.push(scenario.nodes.len());
        scenario.nodes.push(member.clone());
    }
    for node in &nodes {
        hooks.nodes.insert(*node, Box::new(Member));
    }
    let last = scenario.arrivals.last().map_or(START, |arrival| arrival.at);
    let mut at = START.plus_seconds(FIRST_SECONDS);
    while at < last {
        for node in &nodes {
            let prompt = Prompt { job: 0, words: WORDS, bytes: BYTES };
            scenario.own_jobs.push(OwnJob { at, node: *node, prompt });
            at = at.plus_seconds(GAP_SECONDS);
        }
    }
    Beneficiaries { nodes, routers: Vec::new() }
}

/// Names of one machine.
const NAMES: u32 = 4;
/// Between two jobs of accomplices, at any of the names: four an hour at each.
const GAP_SECONDS: u64 = 225;
const FIRST_SECONDS: u64 = 60;
/// Next to no work.
const WORDS: u64 = 3;
const BYTES: u64 = 160;
