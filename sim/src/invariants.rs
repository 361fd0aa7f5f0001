//! What must hold in every world, after every event, whatever goes wrong.
//!
//! The watcher sees facts, never the insides of a core beyond its public state, and keeps its own plain
//! books: a map and a sum where a core has a clever structure. The first fact that does not fit ends the
//! run.

use std::collections::{BTreeMap, BTreeSet};

use fedai_client::core::job_ending::{Answer, JobFailure, Settlement};
use fedai_node_agent::core::NodeState;
use fedai_node_agent::core::policy::JobLimits;
use fedai_protocol::{EventId, JobId, Message, PublicKey, Receipt, UnixMicros, UsageSummary, VerifiedEvent};

use crate::workload::prompt::Prompt;

/// Names and meanings of the invariants.
pub const INVARIANTS: [(&str, &str); 13] = [
    ("conservation", "requests that came = done + refused + still open"),
    ("one_receipt_per_job", "no job id has two receipts, over all nodes, crashes and repeats"),
    ("receipt_chain", "receipts of a node are numbered without a gap and name their predecessor"),
    ("charge_within_quote", "no receipt is above the node's part of the quote or the quote's ceiling"),
    ("sums_agree", "what clients accepted is on nodes' disks, and the router's sums are those of the disks"),
    ("durable_before_told", "a client never sees a receipt that is not on the node's disk"),
    ("honest_is_not_accused", "no honest receipt is disputed by its client or brought up by the router"),
    (
        "restart_is_the_same",
        "a router that read its journal has the tickets, sums and trust that it had when it died",
    ),
    ("whole_answers", "an answer that ended well is complete, in order, and nothing in it came twice"),
    ("causality", "nothing comes before its cause or after its end; the clock never runs back"),
    (
        "queues_within_limits",
        "slots, queue and open jobs of a node are within its limits, and it knows its runner's load",
    ),
    (
        "sealed_on_relays",
        "what relays carry is sealed or public by its kind, without a word of prompt or output",
    ),
    ("every_job_ends", "each job ends once and in time, and succeeds when all faults were over long before"),
];

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invariant `{invariant}` does not hold at {at_ms} ms: {detail}")]
pub struct Violation {
    /// Which.
    pub invariant: &'static str,
    /// When, from the start of the run.
    pub at_ms: u64,
    /// What was found.
    pub detail: String,
}

/// The books.
#[derive(Debug, Default)]
pub struct Watcher {
    jobs: BTreeMap<usize, JobBook>,
    attempts: BTreeMap<JobId, usize>,
    receipts: BTreeMap<JobId, EventId>,
    durable: BTreeSet<EventId>,
    chains: BTreeMap<PublicKey, (u64, EventId)>,
    nodes: BTreeMap<PublicKey, Sums>,
    summaries: BTreeMap<(PublicKey, u64), Sums>,
    arrived: u64,
    done: u64,
    failed: u64,
}

#[derive(Debug)]
struct JobBook {
    prompt: Prompt,
    must_succeed: bool,
    shown: String,
    completed: bool,
    ended: bool,
}

/// Counted on both sides of the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Receipts.
    pub receipts: u64,
    /// Charged.
    pub msat: u64,
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
}

type Check = Result<(), (&'static str, String)>;

fn ensure(holds: bool, invariant: &'static str, detail: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err((invariant, detail())) }
}

impl Watcher {
    /// A job came.
    pub fn arrived(&mut self, job: usize, prompt: Prompt, must_succeed: bool) {
        self.arrived = self.arrived.saturating_add(1);
        let (shown, completed, ended) = (String::new(), false, false);
        self.jobs.insert(job, JobBook { prompt, must_succeed, shown, completed, ended });
    }

    /// A client opened a job at a node.
    pub fn opened(&mut self, job: usize, id: JobId) -> Check {
        let before = self.attempts.insert(id, job);
        ensure(before.is_none(), "causality", || format!("job id {id} was opened twice"))?;
        self.still_open(job)
    }

    /// A runner began with a job.
    pub fn runner_started(&self, id: JobId) -> Check {
        ensure(self.attempts.contains_key(&id), "causality", || {
            format!("a runner began {id}, which nobody opened")
        })
    }

    /// A receipt is on disk.
    pub fn durable(&mut self, node: PublicKey, event: &VerifiedEvent) -> Check {
        let receipt = Receipt::parse(event)
            .map_err(|error| ("receipt_chain", format!("a receipt does not parse: {error}")))?;
        let receipt_id = receipt.id;
        let receipt = receipt.message;
        let before = self.receipts.insert(receipt.job, receipt_id);
        ensure(before.is_none(), "one_receipt_per_job", || format!("job {} has two receipts", receipt.job))?;
        let known = self.attempts.contains_key(&receipt.job);
        ensure(known, "causality", || format!("a receipt for job {}, which nobody opened", receipt.job))?;
        let (seq, prev) = self.chains.get(&node).copied().unwrap_or((0, EventId::all_zeros()));
        ensure((receipt.seq, receipt.prev) == (seq, prev), "receipt_chain", || {
            format!("receipt {} follows {} of {}", receipt.seq, seq, node.to_hex())
        })?;
        self.chains.insert(node, (seq.saturating_add(1), receipt_id));
        self.durable.insert(receipt_id);
        self.nodes.entry(node).or_default().add(&receipt);
        Ok(())
    }

    /// Output was handed to the person.
    pub fn delivered(&mut self, job: usize, text: &str) -> Check {
        self.still_open(job)?;
        let Some(book) = self.jobs.get_mut(&job) else { return Ok(()) };
        book.shown.push_str(text);
        let is_begin = book.prompt.answer().starts_with(&book.shown);
        ensure(is_begin, "whole_answers", || {
            format!("the output of job {job} is not the begin of its answer")
        })
    }

    /// The person was told that the answer begins anew.
    pub fn restarted(&mut self, job: usize) -> Check {
        self.still_open(job)?;
        self.jobs.get_mut(&job).into_iter().for_each(|book| book.shown.clear());
        Ok(())
    }

    /// A client judged a receipt.
    pub fn settled(&mut self, job: usize, settlement: &Settlement) -> Check {
        let id = settlement.receipt.id();
        ensure(self.durable.contains(&id), "durable_before_told", || format!("receipt {id} is on no disk"))?;
        let amount = match &settlement.verdict {
            Ok(amount) => *amount,
            Err(dispute) => return Err(("honest_is_not_accused", format!("job {job}: {dispute}"))),
        };
        ensure(amount <= settlement.node.max_cost, "charge_within_quote", || {
            format!("job {job} charges {amount}, quoted {}", settlement.node.max_cost)
        })?;
        self.still_open(job)
    }

    /// A job ended for its person.
    pub fn ended(&mut self, job: usize, ending: &Result<Answer, JobFailure>) -> Check {
        self.still_open(job)?;
        let Some(book) = self.jobs.get_mut(&job) else { return Ok(()) };
        book.ended = true;
        match ending {
            Ok(answer) => {
                self.done = self.done.saturating_add(1);
                let whole = book.prompt.answer();
                ensure(answer.text == whole && book.shown == whole, "whole_answers", || {
                    format!("job {job}: {} of {} bytes were handed on", book.shown.len(), whole.len())
                })?;
                let within =
                    answer.settlement.verdict.as_ref().is_ok_and(|sum| *sum <= answer.ticket.ceiling);
                ensure(within, "charge_within_quote", || format!("job {job} is above its quote's ceiling"))?;
                ensure(!book.completed, "one_receipt_per_job", || format!("job {job} was completed twice"))?;
                book.completed = true;
            }
            Err(failure) => {
                self.failed = self.failed.saturating_add(1);
                ensure(!book.must_succeed, "every_job_ends", || {
                    format!(
                        "job {job} came long after all faults and failed: {} ({:?})",
                        failure.refusal, failure.attempts
                    )
                })?;
                let text = || format!("job {job}: a router is called dishonest: {:?}", failure.dishonest);
                ensure(failure.dishonest.is_none(), "honest_is_not_accused", text)?;
            }
        }
        Ok(())
    }

    /// The router's sums for a node in an epoch.
    pub fn summed(&mut self, summary: &UsageSummary) {
        let sums = self.summaries.entry((summary.node, summary.epoch.0)).or_default();
        *sums = Sums::default();
        for model in &summary.models {
            sums.receipts = sums.receipts.saturating_add(model.count);
            sums.msat = sums.msat.saturating_add(model.amount.get());
            sums.input_tokens = sums.input_tokens.saturating_add(model.input_tokens);
            sums.output_tokens = sums.output_tokens.saturating_add(model.output_tokens);
        }
    }

    /// Requests that came are done, refused or open.
    pub fn conservation(&self, open: usize) -> Check {
        let sum = self.done.saturating_add(self.failed).saturating_add(open as u64);
        ensure(sum == self.arrived, "conservation", || {
            format!("{} came, {} done, {} refused, {open} open", self.arrived, self.done, self.failed)
        })
    }

    /// The last look: the router's books are the nodes' books.
    pub fn at_the_end(&self) -> Check {
        let open = self.jobs.iter().find(|(_, book)| !book.ended).map(|(job, _)| *job);
        ensure(open.is_none(), "every_job_ends", || format!("job {} never ended", open.unwrap_or(0)))?;
        let mut router: BTreeMap<PublicKey, Sums> = BTreeMap::new();
        for ((node, _), sums) in &self.summaries {
            router.entry(*node).or_default().merge(sums);
        }
        ensure(router == self.nodes, "sums_agree", || format!("nodes: {:?}, router: {router:?}", self.nodes))
    }

    /// What a node wrote to its disk, in sums.
    #[must_use]
    pub fn sums_of(&self, node: &PublicKey) -> Sums {
        self.nodes.get(node).copied().unwrap_or_default()
    }

    fn still_open(&self, job: usize) -> Check {
        let is_open = self.jobs.get(&job).is_some_and(|book| !book.ended);
        ensure(is_open, "causality", || format!("something happened to job {job} after its end"))
    }
}

/// A node's queues, after it was touched. `on_runner` is what the runner has.
pub fn queues(state: &NodeState, limits: &JobLimits, on_runner: usize) -> Check {
    let text = || format!("{state:?}, {on_runner} on the runner");
    let slots = usize::try_from(state.slots).unwrap_or(usize::MAX);
    ensure(state.running <= slots, "queues_within_limits", text)?;
    ensure(state.queued <= limits.queue_max, "queues_within_limits", text)?;
    ensure(
        state.open <= limits.jobs_max && state.running + state.queued <= state.open,
        "queues_within_limits",
        text,
    )?;
    ensure(state.running == on_runner, "queues_within_limits", text)
}

impl Sums {
    fn add(&mut self, receipt: &Receipt) {
        self.merge(&Self {
            receipts: 1,
            msat: receipt.amount.get(),
            input_tokens: receipt.usage.input_tokens.get(),
            output_tokens: receipt.usage.output_tokens.get(),
        });
    }

    fn merge(&mut self, other: &Self) {
        self.receipts = self.receipts.saturating_add(other.receipts);
        self.msat = self.msat.saturating_add(other.msat);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
    }
}

/// Puts the time to a failed check.
pub fn at(now: UnixMicros, start: UnixMicros, check: Check) -> Result<(), Violation> {
    check.map_err(|(invariant, detail)| Violation { invariant, at_ms: now.millis_since(start), detail })
}
