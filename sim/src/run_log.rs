//! What a run did, as plain numbers: the raw material of reports, without any judgement.

use std::collections::BTreeMap;

use fedai_client::core::job_ending::{Answer, JobFailure, Settlement};
use fedai_protocol::{Message, PublicKey, Receipt, UnixMicros, UsageSummary, VerifiedEvent};

use crate::faults::Fired;
use crate::invariants::Sums;
use crate::relay_model::Carried;
use crate::scenario::{START, Scenario};
use crate::world::Party;

/// One job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobLog {
    /// When it came.
    pub at: UnixMicros,
    /// How it ended; none while it is open.
    pub end: Option<JobEnd>,
}

/// The end of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEnd {
    /// The code of the last refusal; none when it ended well.
    pub refusal: Option<String>,
    /// From its begin to the quote.
    pub quote_ms: u64,
    /// From its begin to the first output.
    pub ttft_ms: u64,
    /// From its begin to its end.
    pub total_ms: u64,
    /// Nodes tried.
    pub attempts: u64,
    /// Charged.
    pub msat: u64,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLog {
    /// Identity key (hex).
    pub key: String,
    /// Hardware class.
    pub class: &'static str,
    /// Slots.
    pub slots: u32,
    /// Slot time used, in microseconds.
    pub busy_micros: u128,
    /// What it wrote to its disk.
    pub sums: Sums,
    /// What its list price would have made of that.
    pub list_msat: u64,
}

/// The log.
#[derive(Clone, Debug)]
pub struct RunLog {
    /// The scenario that was run.
    pub scenario: Scenario,
    /// Jobs, in order of arrival.
    pub jobs: Vec<JobLog>,
    /// Nodes.
    pub nodes: Vec<NodeLog>,
    /// Jobs opened at nodes.
    pub attempts: u64,
    /// Processes killed.
    pub crashes: u64,
    /// Routers killed.
    pub router_crashes: u64,
    /// Runners hung.
    pub hangs: u64,
    /// Turns of actors.
    pub events: u64,
    /// What relays did.
    pub relay: Carried,
    /// What each kind of fault did.
    pub fired: Fired,
    /// The same of clients that are gone.
    pub fired_by_clients: Vec<Fired>,
    /// Effects of each party, counted.
    pub effects: BTreeMap<Party, u64>,
    /// Events that relays made up.
    pub injected: u64,
    /// What routers say of nodes: node, code.
    pub evidence: Vec<(PublicKey, &'static str)>,
    /// Receipts that clients accepted, and what they disputed, by code.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Things that may happen once for one cause.
    pub news: u64,
    /// The router's journal.
    pub heard: Vec<VerifiedEvent>,
    /// The last sums of the router, by node and epoch.
    pub summaries: BTreeMap<(PublicKey, u64), UsageSummary>,
    /// The end of the run.
    pub finished_at: UnixMicros,
    ended: usize,
}

impl RunLog {
    /// Nothing has happened.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        let node = |spec: &crate::scenario::NodeSpec| NodeLog {
            class: spec.class,
            slots: spec.runner.slots,
            ..NodeLog::default()
        };
        Self {
            jobs: scenario.arrivals.iter().map(|arrival| JobLog { at: arrival.at, end: None }).collect(),
            nodes: scenario.nodes.iter().map(node).collect(),
            scenario: scenario.clone(),
            attempts: 0,
            crashes: 0,
            router_crashes: 0,
            hangs: 0,
            events: 0,
            relay: Carried::default(),
            fired: Fired::default(),
            fired_by_clients: Vec::new(),
            effects: BTreeMap::new(),
            injected: 0,
            evidence: Vec::new(),
            verdicts: BTreeMap::new(),
            news: 0,
            heard: Vec::new(),
            summaries: BTreeMap::new(),
            finished_at: START,
            ended: 0,
        }
    }

    /// Jobs that ended so far.
    #[must_use]
    pub const fn ended(&self) -> usize {
        self.ended
    }

    /// A job came: in a closed loop, later than its earliest time.
    pub fn arrived(&mut self, now: UnixMicros, job: usize) {
        if let Some(log) = self.jobs.get_mut(job) {
            log.at = now;
        }
    }

    /// A job ended.
    pub fn end(&mut self, now: UnixMicros, job: usize, ending: &Result<Answer, JobFailure>) {
        let Some(log) = self.jobs.get_mut(job) else { return };
        self.ended = self.ended.saturating_add(1);
        log.end = Some(match ending {
            Ok(answer) => JobEnd {
                refusal: None,
                quote_ms: answer.quote_ms,
                ttft_ms: answer.ttft_ms,
                total_ms: answer.total_ms,
                attempts: answer.attempts.len() as u64,
                msat: answer.settlement.verdict.as_ref().map_or(0, |amount| amount.get()),
            },
            Err(failure) => JobEnd {
                refusal: Some(failure.refusal.code.as_str()),
                quote_ms: 0,
                ttft_ms: 0,
                total_ms: now.millis_since(log.at),
                attempts: failure.attempts.len() as u64,
                msat: failure.spent.get(),
            },
        });
    }

    /// A client judged a receipt.
    pub fn judged(&mut self, settlement: &Settlement) {
        let verdict = settlement.verdict.as_ref().map_or_else(|dispute| dispute.code(), |_| "accepted");
        let count = self.verdicts.entry(verdict).or_default();
        *count = count.saturating_add(1);
    }

    /// A node wrote a receipt.
    pub fn durable(&mut self, party: Party, event: &VerifiedEvent) {
        let Party::Node(index) = party else { return };
        let (Some(node), Some(spec)) = (self.nodes.get_mut(index), self.scenario.nodes.get(index)) else {
            return;
        };
        let amount = Receipt::parse(event).ok().and_then(|got| spec.list_price.amount(&got.message.usage));
        node.list_msat = node.list_msat.saturating_add(amount.map_or(0, |amount| amount.get()));
    }

    /// The last numbers of a node.
    pub fn node_ended(&mut self, index: usize, busy_micros: u128, key: PublicKey, sums: Sums) {
        if let Some(node) = self.nodes.get_mut(index) {
            (node.busy_micros, node.key, node.sums) = (busy_micros, key.to_hex(), sums);
        }
    }

    /// Refusals by code.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        let mut by_code = BTreeMap::new();
        for code in self.jobs.iter().filter_map(|job| job.end.as_ref()?.refusal.clone()) {
            *by_code.entry(code).or_insert(0) += 1;
        }
        by_code
    }
}
