//! What a run did, as plain numbers: the raw material of reports, without any judgement. A job takes 56 bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use fedai_client::core::job_ending::{Answer, JobFailure, Settlement};
use fedai_protocol::{Message, PublicKey, Receipt, RefusalCode, UnixMicros, UsageSummary, VerifiedEvent};

use crate::audit_plan::AuditLog;
use crate::conduct_log::ConductLog;
use crate::faults::Fired;
use crate::invariants::Sums;
use crate::money::Accounts;
use crate::relay_model::Carried;
use crate::scenario::{START, Scenario};
use crate::world::Party;

/// One job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobLog {
    /// When it came.
    pub at: UnixMicros,
    /// Most that it could have cost by its last quote, in msat, fee included.
    pub quoted_msat: u64,
    /// What its client paid, in msat, fee included.
    pub paid_msat: u64,
    /// From its begin to the quote.
    pub quote_ms: u32,
    /// From its begin to the first output.
    pub ttft_ms: u32,
    /// From its begin to its end.
    pub total_ms: u32,
    /// Prompt tokens that were charged.
    pub input_tokens: u32,
    /// Output tokens that were charged.
    pub output_tokens: u32,
    /// Node that served it last.
    pub node: Option<u16>,
    /// Nodes tried.
    pub attempts: u16,
    /// How it stands.
    pub state: JobStanding,
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobStanding {
    /// Under way, or not begun.
    Open,
    /// Ended well.
    Done,
    /// Ended without an answer, with this last word.
    Refused(RefusalCode),
}

impl JobLog {
    const fn new(at: UnixMicros) -> Self {
        Self {
            at,
            quoted_msat: 0,
            paid_msat: 0,
            quote_ms: 0,
            ttft_ms: 0,
            total_ms: 0,
            input_tokens: 0,
            output_tokens: 0,
            node: None,
            attempts: 0,
            state: JobStanding::Open,
        }
    }

    /// True when it ended well.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == JobStanding::Done
    }

    /// When it ended, if it did.
    #[must_use]
    pub fn ended_at(&self) -> Option<UnixMicros> {
        (self.state != JobStanding::Open).then(|| self.at.plus_millis(u64::from(self.total_ms)))
    }
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLog {
    /// Identity key (hex), the last one.
    pub key: String,
    /// Identities that it had.
    pub identities: u32,
    /// Hardware class.
    pub class: &'static str,
    /// Slots.
    pub slots: u32,
    /// Slot time used, in microseconds.
    pub busy_micros: u128,
    /// What that cost it, in msat.
    pub cost_msat: u64,
    /// What it was paid, in msat.
    pub earned_msat: u64,
    /// What its accomplices paid for jobs of their own, in msat.
    pub own_msat: u64,
    /// What it wrote to its disk.
    pub sums: Sums,
    /// What its list price would have made of that.
    pub list_msat: u64,
}

/// A node asks another price from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriceChange {
    /// Seconds of the run.
    pub seconds: u64,
    /// Node.
    pub node: usize,
    /// Price of a million output tokens.
    pub output_msat_per_mtok: u64,
}

/// The log.
#[derive(Clone, Debug)]
pub struct RunLog {
    /// The scenario that was run.
    pub scenario: Arc<Scenario>,
    /// Jobs, in order of arrival. Those of accomplices are not among them.
    pub jobs: Vec<JobLog>,
    /// Nodes.
    pub nodes: Vec<NodeLog>,
    /// Money.
    pub accounts: Accounts,
    /// Prices that were changed, in order of time.
    pub prices: Vec<PriceChange>,
    /// What each node was caught at.
    pub conduct: ConductLog,
    /// What audits found and cost.
    pub audits: AuditLog,
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
    /// Effects of each party, counted where the scenario kills somebody by them.
    pub effects: BTreeMap<Party, u64>,
    /// Events that relays made up.
    pub injected: u64,
    /// What routers say of nodes: node, code.
    pub evidence: Vec<(PublicKey, &'static str)>,
    /// Receipts that clients accepted, and what they disputed, by code.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Things that may happen once for one cause.
    pub news: u64,
    /// Journals of routers.
    pub heard: Vec<VerifiedEvent>,
    /// The last sums of routers, by router, node and epoch; kept where journals are.
    pub summaries: BTreeMap<(usize, PublicKey, u64), UsageSummary>,
    /// The end of the run.
    pub finished_at: UnixMicros,
    ended: usize,
}

impl RunLog {
    /// Nothing has happened.
    #[must_use]
    pub fn new(scenario: &Arc<Scenario>) -> Self {
        let node = |spec: &crate::scenario::NodeSpec| NodeLog {
            class: spec.class,
            slots: spec.runner.slots,
            ..NodeLog::default()
        };
        Self {
            jobs: scenario.arrivals.iter().map(|arrival| JobLog::new(arrival.at)).collect(),
            nodes: scenario.nodes.iter().map(node).collect(),
            prices: Vec::new(),
            conduct: ConductLog::default(),
            audits: AuditLog::default(),
            accounts: Accounts::new(scenario.nodes.len(), scenario.routers.len()),
            scenario: Arc::clone(scenario),
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

    /// A job came, not always when the scenario said: some wait for others.
    pub fn arrived(&mut self, now: UnixMicros, job: usize) {
        if let Some(log) = self.jobs.get_mut(job) {
            log.at = now;
        }
    }

    /// A client judged a receipt.
    pub fn settled(&mut self, job: usize, settlement: &Settlement) {
        let verdict = settlement.verdict.as_ref().map_or_else(|dispute| dispute.code(), |_| "accepted");
        let count = self.verdicts.entry(verdict).or_default();
        *count = count.saturating_add(1);
        let Some(log) = self.jobs.get_mut(job) else { return };
        let Ok(receipt) = Receipt::parse_shared(&settlement.receipt) else { return };
        if settlement.verdict.is_ok() {
            let usage = receipt.message.usage;
            log.input_tokens = log.input_tokens.saturating_add(narrow(usage.input_tokens.get()));
            log.output_tokens = log.output_tokens.saturating_add(narrow(usage.output_tokens.get()));
        }
    }

    /// A client paid.
    pub fn paid(&mut self, job: usize, msat: u64) {
        if let Some(log) = self.jobs.get_mut(job) {
            log.paid_msat = log.paid_msat.saturating_add(msat);
        }
    }

    /// A job ended.
    pub fn end(
        &mut self,
        now: UnixMicros,
        job: usize,
        node: Option<usize>,
        ending: &Result<Answer, JobFailure>,
    ) {
        let Some(log) = self.jobs.get_mut(job) else { return };
        self.ended = self.ended.saturating_add(1);
        log.node = node.and_then(|node| u16::try_from(node).ok());
        match ending {
            Ok(answer) => {
                log.state = JobStanding::Done;
                log.quote_ms = narrow(answer.quote_ms);
                log.ttft_ms = narrow(answer.ttft_ms);
                log.total_ms = narrow(answer.total_ms);
                log.attempts = u16::try_from(answer.attempts.len()).unwrap_or(u16::MAX);
                log.quoted_msat = answer.ticket.ceiling.get();
            }
            Err(failure) => {
                log.state = JobStanding::Refused(failure.refusal.code);
                log.total_ms = narrow(now.millis_since(log.at));
                log.attempts = u16::try_from(failure.attempts.len()).unwrap_or(u16::MAX);
            }
        }
    }

    /// A node wrote a receipt.
    pub fn durable(&mut self, index: usize, event: &VerifiedEvent) {
        let (Some(node), Some(spec)) = (self.nodes.get_mut(index), self.scenario.nodes.get(index)) else {
            return;
        };
        let amount =
            Receipt::parse_shared(event).ok().and_then(|got| spec.list_price.amount(&got.message.usage));
        node.list_msat = node.list_msat.saturating_add(amount.map_or(0, |amount| amount.get()));
    }

    /// The last numbers of a node. Its keys are all that it had, the present one last.
    pub fn node_ended(&mut self, index: usize, busy_micros: u128, keys: &[PublicKey], sums: Sums) {
        let (Some(node), Some(spec)) = (self.nodes.get_mut(index), self.scenario.nodes.get(index)) else {
            return;
        };
        (node.busy_micros, node.sums) = (busy_micros, sums);
        node.key = keys.last().map(PublicKey::to_hex).unwrap_or_default();
        node.identities = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        let cost = busy_micros.saturating_mul(u128::from(spec.cost_msat_per_slot_second)) / 1_000_000;
        node.cost_msat = u64::try_from(cost).unwrap_or(u64::MAX);
        node.earned_msat = self.accounts.nodes.get(index).copied().unwrap_or(0);
        node.own_msat = self.accounts.own.get(index).copied().unwrap_or(0);
    }

    /// Refusals by code.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        let mut by_code = BTreeMap::new();
        for job in &self.jobs {
            if let JobStanding::Refused(code) = job.state {
                *by_code.entry(code.as_str()).or_insert(0) += 1;
            }
        }
        by_code
    }
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_jobs_take_a_few_dozen_megabytes() {
        assert!(size_of::<JobLog>() <= 64, "{}", size_of::<JobLog>());
    }
}
