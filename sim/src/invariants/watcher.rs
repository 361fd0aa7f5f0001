//! The books of everything that happened, and the checks of each new fact against them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fedai_client::core::job_ending::{Answer, JobFailure, Settlement};
use fedai_protocol::receipt::Outcome;
use fedai_protocol::{EventId, JobId, Message, PublicKey, Receipt, UnixMicros, UsageSummary, VerifiedEvent};

use super::{Check, Sums, ensure};
use crate::faults::{FaultKind, Whom};
use crate::id_map::IdMap;
use crate::scenario::Scenario;
use crate::wire::Wire;
use crate::workload::Arrival;
use crate::workload::prompt::{AnswerReader, Prompt};
use crate::world::Party;

/// The books.
#[derive(Debug, Default)]
pub struct Watcher {
    is_short: bool,
    /// Old attempts are forgotten: on the typed wire, where there are millions, unless faults hold something back.
    forgets: bool,
    deadline_seconds: u64,
    /// Jobs that have not ended.
    jobs: IdMap<usize, JobBook>,
    attempts: IdMap<JobId, Attempt>,
    /// Attempts in order of time, where they are forgotten.
    attempts_at: VecDeque<(UnixMicros, JobId)>,
    ticket_runs: IdMap<(usize, u32, EventId), u32>,
    chains: IdMap<PublicKey, (u64, EventId)>,
    nodes: BTreeMap<PublicKey, Sums>,
    summaries: BTreeMap<(usize, PublicKey, u64), Sums>,
    altered: BTreeSet<EventId>,
    honesty: Honesty,
    arrived: u64,
    done: u64,
    failed: u64,
    vanished: u64,
}

/// Who lies in this run, and what cannot be asked of it.
#[derive(Debug, Default)]
struct Honesty {
    liars: BTreeSet<PublicKey>,
    router_lies: bool,
    clients: BTreeSet<usize>,
    wrong_clocks: BTreeSet<Party>,
    /// Relays may have lost a stored event for good, or clocks have dated one wrongly.
    may_lose: bool,
    /// Nothing excuses a failure after the calm: no crowd of fresh identities, and one relay at least that took all.
    recovers: bool,
}

#[derive(Debug)]
struct Attempt {
    job: usize,
    node: PublicKey,
    dispatch: EventId,
    /// The last run: node and life.
    run: Option<(usize, u32)>,
    receipt: Option<EventId>,
}

#[derive(Debug)]
struct JobBook {
    came_at: UnixMicros,
    prompt: Prompt,
    must_succeed: bool,
    shown: AnswerReader,
    is_true: bool,
    /// Honest nodes only have said what was shown.
    is_honest: bool,
    charges: u32,
}

impl Watcher {
    /// Empty books for a run; `liars` are the nodes that lie in it.
    #[must_use]
    pub fn new(scenario: &Scenario, liars: BTreeSet<PublicKey>) -> Self {
        let plan = &scenario.faults;
        let dishonest = plan.dishonest();
        let client = |whom: &Whom| if let Whom::Party(Party::Client(job)) = whom { Some(*job) } else { None };
        let skewed = plan.faults.iter().filter(|fault| fault.kind == FaultKind::ClockSkew);
        let wrong_clocks = skewed.filter_map(|fault| match fault.whom {
            Whom::Party(party) => Some(party),
            Whom::Network | Whom::Relay(_) => None,
        });
        let losing = [FaultKind::RelayLyingOk, FaultKind::RelayHides, FaultKind::ClockSkew];
        // A clock that is set right leaves leases and jobs of the wrong time behind: mostly, not always, all is well in
        // time.
        let is_strange = plan.has(FaultKind::ClockSkew);
        let hides = plan.has(FaultKind::RouterHidesNode) && plan.has(FaultKind::RouterCrash);
        let honesty = Honesty {
            liars,
            router_lies: dishonest.iter().any(|whom| matches!(whom, Whom::Party(Party::Router(_)))),
            clients: dishonest.iter().filter_map(client).collect(),
            wrong_clocks: wrong_clocks.collect(),
            may_lose: losing.into_iter().any(|kind| plan.has(kind)),
            recovers: !(hides || is_strange || plan.has(FaultKind::Sybils)),
        };
        let (is_short, deadline_seconds) = (scenario.wire == Wire::Typed, scenario.terms.deadline_seconds);
        let forgets = is_short && plan.is_none();
        Self { is_short, forgets, deadline_seconds, honesty, ..Self::default() }
    }

    /// Some router lies, or relays lose what they took: nothing is asked of them.
    pub fn suspect_others(&mut self, routers: bool, relays: bool) {
        self.honesty.router_lies |= routers;
        self.honesty.may_lose |= relays;
    }

    /// A router had forgotten the ticket of a receipt: its sums are not whole.
    pub const fn uncounted(&mut self) {
        self.honesty.may_lose = true;
    }

    /// A job came.
    pub fn arrived(&mut self, now: UnixMicros, job: usize, arrival: &Arrival) {
        self.arrived = self.arrived.saturating_add(1);
        let book = JobBook {
            came_at: now,
            prompt: arrival.prompt,
            must_succeed: arrival.must_succeed,
            shown: AnswerReader::new(arrival.prompt, self.is_short),
            is_true: true,
            is_honest: true,
            charges: 0,
        };
        self.jobs.insert(job, book);
    }

    /// A client opened a job at a node.
    pub fn opened(
        &mut self,
        now: UnixMicros,
        job: usize,
        (id, node): (JobId, PublicKey),
        dispatch: EventId,
    ) -> Check {
        let before = self.attempts.insert(id, Attempt { job, node, dispatch, run: None, receipt: None });
        if self.forgets {
            self.attempts_at.push_back((now, id));
            self.forget_attempts(now);
        }
        ensure(before.is_none(), "causality", || format!("job id {id} was opened twice"))?;
        ensure(!self.altered.contains(&dispatch), "altered_price_is_caught", || {
            format!("job {job} was opened under ticket {dispatch}")
        })?;
        if let Some(book) = self.jobs.get_mut(&job).filter(|_| self.honesty.liars.contains(&node)) {
            book.is_honest = false;
        }
        self.still_open(job)
    }

    /// A router issued a ticket at a price that is not the node's.
    pub fn price_altered(&mut self, dispatch: EventId) {
        self.altered.insert(dispatch);
    }

    /// The runner of a node, in one of its lives, began with a job.
    pub fn runner_started(&mut self, (node, life): (usize, u32), id: JobId) -> Check {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return Err(("causality", format!("a runner began {id}, which nobody opened")));
        };
        ensure(attempt.run.replace((node, life)) != Some((node, life)), "one_run_per_job", || {
            format!("node {node} runs job {id} a second time")
        })?;
        let runs = self.ticket_runs.entry((node, life, attempt.dispatch)).or_default();
        *runs = runs.saturating_add(1);
        ensure(*runs <= 1, "one_run_per_job", || {
            format!("node {node} runs {runs} jobs under ticket {}, which has one use", attempt.dispatch)
        })
    }

    /// A receipt is on disk.
    pub fn durable(&mut self, node: PublicKey, event: &VerifiedEvent) -> Check {
        let receipt = Receipt::parse_shared(event)
            .map_err(|error| ("receipt_chain", format!("a receipt does not parse: {error}")))?;
        let receipt_id = receipt.id;
        let receipt = receipt.message;
        if self.honesty.liars.contains(&node) {
            return Ok(());
        }
        let Some(attempt) = self.attempts.get_mut(&receipt.job) else {
            return Err(("causality", format!("a receipt for job {}, which nobody opened", receipt.job)));
        };
        let before = attempt.receipt.replace(receipt_id);
        ensure(before.is_none(), "one_receipt_per_job", || format!("job {} has two receipts", receipt.job))?;
        let (seq, prev) = self.chains.get(&node).copied().unwrap_or((0, EventId::all_zeros()));
        ensure((receipt.seq, receipt.prev) == (seq, prev), "receipt_chain", || {
            format!("receipt {} follows {} of {}", receipt.seq, seq, node.to_hex())
        })?;
        self.chains.insert(node, (seq.saturating_add(1), receipt_id));
        let sums = self.nodes.entry(node).or_default();
        *sums = sums.plus(&Sums::of_receipt(&receipt));
        Ok(())
    }

    /// Output was handed to the person.
    pub fn delivered(&mut self, job: usize, text: &str) -> Check {
        self.still_open(job)?;
        let Some(book) = self.jobs.get_mut(&job) else { return Ok(()) };
        book.is_true = book.is_true && book.shown.goes_on(text);
        ensure(book.is_true || !book.is_honest, "whole_answers", || {
            format!("the output of job {job} is not the begin of its answer")
        })
    }

    /// The person was told that the answer begins anew.
    pub fn restarted(&mut self, job: usize) -> Check {
        self.still_open(job)?;
        if let Some(book) = self.jobs.get_mut(&job) {
            book.shown.restart();
            book.is_true = true;
        }
        Ok(())
    }

    /// A client judged a receipt.
    pub fn settled(&mut self, job: usize, settlement: &Settlement) -> Check {
        let id = settlement.receipt.id();
        let is_liar = self.honesty.liars.contains(&settlement.node.node);
        let is_durable = self.attempts.get(&settlement.job).is_some_and(|own| own.receipt == Some(id));
        ensure(is_liar || is_durable, "durable_before_told", || format!("receipt {id} is on no disk"))?;
        let amount = match &settlement.verdict {
            Ok(amount) => *amount,
            Err(_) if is_liar => return self.still_open(job),
            Err(dispute) => return Err(("honest_is_not_accused", format!("job {job}: {dispute}"))),
        };
        ensure(amount <= settlement.node.max_cost, "charge_within_quote", || {
            format!("job {job} charges {amount}, quoted {}", settlement.node.max_cost)
        })?;
        self.accepted(job, settlement)?;
        self.still_open(job)
    }

    /// A receipt was accepted: it is that of this job, and one of a whole answer is enough.
    fn accepted(&mut self, job: usize, settlement: &Settlement) -> Check {
        let Ok(receipt) = Receipt::parse_shared(&settlement.receipt) else {
            return Err(("overcharge_is_refused", format!("job {job} accepts what is no receipt")));
        };
        let receipt = receipt.message;
        let attempt = self.attempts.get(&receipt.job);
        let is_own = attempt.is_some_and(|own| own.job == job && own.node == settlement.node.node);
        ensure(is_own, "one_charge_per_job", || format!("job {job} accepts the receipt of {}", receipt.job))?;
        let Some(book) = self.jobs.get_mut(&job) else { return Ok(()) };
        // A token has a byte at least, and a request a frame of a few tokens around each message.
        let output_max = book.prompt.words.saturating_mul(OUTPUT_BYTES_MAX);
        let request = if self.is_short { book.prompt.tokens() } else { book.prompt.request().len() as u64 };
        let input_max = request.saturating_add(INPUT_FRAME_TOKENS_MAX);
        let usage = &receipt.usage;
        ensure(
            usage.output_tokens.get() <= output_max && usage.input_tokens.get() <= input_max,
            "overcharge_is_refused",
            || format!("job {job} accepts {usage:?}"),
        )?;
        book.charges = book.charges.saturating_add(u32::from(receipt.outcome == Outcome::Complete));
        ensure(book.charges <= 1, "one_charge_per_job", || format!("job {job} is charged twice"))
    }

    /// A client left without a word.
    pub fn vanished(&mut self, job: usize) {
        self.vanished = self.vanished.saturating_add(1);
        self.jobs.remove(&job);
    }

    /// A job ended for its person.
    pub fn ended(&mut self, now: UnixMicros, job: usize, ending: &Result<Answer, JobFailure>) -> Check {
        self.still_open(job)?;
        let Some(book) = self.jobs.remove(&job) else { return Ok(()) };
        let took = now.since(book.came_at) / 1_000_000;
        let clock_held = !self.honesty.wrong_clocks.contains(&Party::Client(job));
        ensure(took <= self.deadline_seconds.saturating_add(1) || !clock_held, "every_job_ends", || {
            format!("job {job} ended after {took} s")
        })?;
        match ending {
            Ok(answer) => {
                self.done = self.done.saturating_add(1);
                let is_whole = book.is_true && book.shown.is_whole();
                ensure(is_whole || !book.is_honest, "whole_answers", || {
                    format!("job {job}: {} bytes are not the whole answer", answer.text.len())
                })?;
                let verdict = &answer.settlement.verdict;
                let within = verdict.as_ref().map_or(!book.is_honest, |sum| *sum <= answer.ticket.ceiling);
                ensure(within, "charge_within_quote", || format!("job {job} is above its quote's ceiling"))
            }
            Err(failure) => {
                self.failed = self.failed.saturating_add(1);
                ensure(!book.must_succeed || !self.honesty.recovers, "every_job_ends", || {
                    let (refusal, attempts) = (&failure.refusal, &failure.attempts);
                    format!("job {job} came long after all faults and failed: {refusal} ({attempts:?})")
                })?;
                let is_right = failure.dishonest.is_none() || self.honesty.router_lies;
                ensure(is_right, "honest_is_not_accused", || {
                    format!("job {job}: a router is called dishonest: {:?}", failure.dishonest)
                })
            }
        }
    }

    /// Does not ask of this node what holds for honest ones.
    pub fn suspect(&mut self, node: PublicKey) {
        self.honesty.liars.insert(node);
    }

    /// A router came back from its journal. One whose clock was wrong has forgotten tickets by the wrong time.
    pub fn router_restarted(&self, is_same: bool) -> Check {
        let clock_held = !self.honesty.wrong_clocks.iter().any(|party| matches!(party, Party::Router(_)));
        ensure(is_same || !clock_held, "restart_is_the_same", || {
            "the router's state differs after a restart".to_owned()
        })
    }

    /// A router says that a node cheated.
    pub fn accused(&self, node: &PublicKey, code: &str) -> Check {
        let is_fair = self.honesty.router_lies || self.honesty.liars.contains(node);
        ensure(is_fair, "honest_is_not_accused", || format!("the router has evidence: {code}"))
    }

    /// The router's sums for a node in an epoch.
    pub fn summed(&mut self, router: usize, summary: &UsageSummary) {
        self.summaries.insert((router, summary.node, summary.epoch.0), Sums::of_summary(summary));
    }

    /// Requests that came are done, refused or open.
    pub fn conservation(&self, open: usize) -> Check {
        let gone = self.done.saturating_add(self.failed).saturating_add(self.vanished);
        ensure(gone.saturating_add(open as u64) == self.arrived, "conservation", || {
            let (done, failed, vanished) = (self.done, self.failed, self.vanished);
            format!("{} came, {done} done, {failed} refused, {vanished} left, {open} open", self.arrived)
        })
    }

    /// The last look: the router's books are the nodes' books.
    pub fn at_the_end(&self) -> Check {
        let open = self.jobs.keys().min();
        ensure(open.is_none(), "every_job_ends", || format!("job {} never ended", open.unwrap_or(&0)))?;
        let mut router: BTreeMap<PublicKey, Sums> = BTreeMap::new();
        let of_honest = |(_, node, _): &(usize, PublicKey, u64)| !self.honesty.liars.contains(node);
        for ((_, node, _), sums) in self.summaries.iter().filter(|(key, _)| of_honest(key)) {
            let sum = router.entry(*node).or_default();
            *sum = sum.plus(sums);
        }
        let text = || format!("nodes: {:?}, router: {router:?}", self.nodes);
        if !self.honesty.may_lose {
            return ensure(router == self.nodes, "sums_agree", text);
        }
        let is_within = |(node, sums): (&PublicKey, &Sums)| sums.is_within(&self.sums_of(&[*node]));
        ensure(router.iter().all(is_within), "sums_agree", text)
    }

    /// What an honest node wrote to its disk under these keys, in sums.
    #[must_use]
    pub fn sums_of(&self, keys: &[PublicKey]) -> Sums {
        let sums = keys.iter().filter_map(|key| self.nodes.get(key));
        sums.fold(Sums::default(), |sum, of_key| sum.plus(of_key))
    }

    /// Longer ago than any job or receipt is under way.
    fn forget_attempts(&mut self, now: UnixMicros) {
        while self
            .attempts_at
            .front()
            .is_some_and(|(at, _)| now.millis_since(*at) > (self.deadline_seconds + ATTEMPT_SECONDS) * 1_000)
        {
            let Some((_, id)) = self.attempts_at.pop_front() else { break };
            if let Some(Attempt { run: Some((node, life)), dispatch, .. }) = self.attempts.remove(&id) {
                self.ticket_runs.remove(&(node, life, dispatch));
            }
        }
    }

    /// Nothing happens to a job that has ended. Of a liar's job nothing is asked.
    fn still_open(&self, job: usize) -> Check {
        let is_open = self.jobs.contains_key(&job);
        ensure(is_open || self.honesty.clients.contains(&job), "causality", || {
            format!("something happened to job {job} after its end")
        })
    }
}

/// Bytes of the longest word of an answer.
const OUTPUT_BYTES_MAX: u64 = 40;
/// What comes late after the end of a job, where nothing holds it back.
const ATTEMPT_SECONDS: u64 = 120;
/// What a chat template adds to a request.
const INPUT_FRAME_TOKENS_MAX: u64 = 256;
