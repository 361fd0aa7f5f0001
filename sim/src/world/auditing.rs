//! The auditor at work: it asks every node the same through the routers, as a client that names its node, and says
//! what it found to those who follow it. Judging and wording are the production client's.

use std::collections::BTreeMap;

use fedai_client::core::audit::{AuditVerdict, CanaryAnswer, CanaryOutcome, NodeFinding, assertion, judge};
use fedai_client::core::job_ending::{Answer, JobFailure};
use fedai_protocol::quote_request::Mode;
use fedai_protocol::{Message, Msat, PublicKey, UnixMicros};

use super::happenings::Happening;
use super::{Party, World};
use crate::audit_plan::AuditPlan;
use crate::chance::{Chance, Stream};
use crate::invariants::{Check, Violation};
use crate::relay_model::Parcel;
use crate::scenario::START;
use crate::wire::{Identity, Payload};
use crate::workload::prompt::Prompt;
use crate::workload::{Arrival, Delivery};

/// The auditor.
pub(super) struct Auditor {
    identity: Identity,
    plan: AuditPlan,
    chance: Chance,
    audit: u64,
    canaries: Vec<Prompt>,
    /// Canaries to come, as prompt and node.
    to_send: Vec<(usize, usize)>,
    /// Those under way, by job: prompt and node.
    open: BTreeMap<usize, (usize, PublicKey)>,
    answers: Vec<CanaryAnswer>,
    first_job: usize,
    jobs: usize,
}

impl Auditor {
    pub(super) fn new(plan: AuditPlan, identity: Identity, seed: u64, first_job: usize) -> Self {
        Self {
            identity,
            plan,
            chance: Chance::new(seed, Stream::Audit),
            audit: 0,
            canaries: Vec::new(),
            to_send: Vec::new(),
            open: BTreeMap::new(),
            answers: Vec::new(),
            first_job,
            jobs: 0,
        }
    }

    fn is_idle(&self) -> bool {
        self.open.is_empty() && self.to_send.is_empty()
    }

    fn owns(&self, job: usize) -> bool {
        job >= self.first_job
    }
}

impl World {
    /// Puts the next audit on the agenda, while people still come.
    pub(super) fn plan_audit(&mut self, now: UnixMicros) {
        let Some(auditor) = &self.auditor else { return };
        let last = self.scenario.arrivals.last().map_or(START, |arrival| arrival.at);
        let at = now.plus_seconds(auditor.plan.every_seconds);
        if at < last {
            self.agenda.at(at, Happening::Audit);
        }
    }

    /// An audit begins: its canaries go out one by one.
    pub(super) fn audit(&mut self, now: UnixMicros) {
        let nodes = self.first_sybil;
        self.plan_audit(now);
        // One that is not over yet goes on.
        let Some(auditor) = self.auditor.as_mut().filter(|auditor| auditor.is_idle()) else { return };
        auditor.audit = auditor.audit.saturating_add(1);
        auditor.canaries = auditor.plan.write(auditor.audit, &mut auditor.chance);
        let canaries = auditor.canaries.len();
        auditor.to_send = (0..canaries).rev().flat_map(|n| (0..nodes).map(move |node| (n, node))).collect();
        self.to_come = self.to_come.saturating_add(auditor.to_send.len());
        self.agenda.at(now, Happening::Canary);
    }

    /// The next canary goes out.
    pub(super) fn send_canary(&mut self, now: UnixMicros) -> Result<(), Violation> {
        let Some(auditor) = &mut self.auditor else { return Ok(()) };
        let Some((canary, node)) = auditor.to_send.pop() else { return Ok(()) };
        let Some(prompt) = auditor.canaries.get(canary).copied() else { return Ok(()) };
        let job = auditor.first_job.saturating_add(auditor.jobs);
        auditor.jobs = auditor.jobs.saturating_add(1);
        if let Some(actor) = self.parties.nodes.get(node) {
            auditor.open.insert(job, (canary, actor.identity()));
        }
        self.last_arrival = self.last_arrival.max(now);
        self.agenda.at(now.plus_seconds(CANARY_GAP_SECONDS), Happening::Canary);
        let arrival = Arrival::single(now, prompt, Mode::Balanced, Delivery::Buffered);
        self.admit(now, job, &arrival, Some(node))
    }

    /// A canary came back, or did not.
    pub(super) fn canary_ended(
        &mut self,
        now: UnixMicros,
        job: usize,
        ending: &Result<Answer, JobFailure>,
    ) -> Result<(), Violation> {
        let Some(auditor) = self.auditor.as_mut().filter(|auditor| auditor.owns(job)) else { return Ok(()) };
        let Some((canary, node)) = auditor.open.remove(&job) else { return Ok(()) };
        let outcome = match ending {
            Ok(answer) => CanaryOutcome::Answered {
                text: answer.text.clone(),
                input_tokens: answer.usage.input_tokens.get(),
                output_tokens: answer.usage.output_tokens.get(),
                dispute: answer.settlement.verdict.as_ref().err().map(|dispute| dispute.code().to_owned()),
            },
            Err(failure) => CanaryOutcome::Failed(failure.refusal.code.as_str()),
        };
        self.log.audits.answered = self.log.audits.answered.saturating_add(u64::from(ending.is_ok()));
        auditor.answers.push(CanaryAnswer { node, make: String::new(), canary, outcome });
        if !auditor.is_idle() {
            return Ok(());
        }
        let findings = judge(&core::mem::take(&mut auditor.answers), None);
        self.log.audits.audits = self.log.audits.audits.saturating_add(1);
        findings.iter().try_for_each(|finding| self.publish_finding(now, job, finding))
    }

    fn publish_finding(
        &mut self,
        now: UnixMicros,
        job: usize,
        finding: &NodeFinding,
    ) -> Result<(), Violation> {
        let Some(auditor) = &self.auditor else { return Ok(()) };
        let is_outlier = [finding.metering, finding.identity].contains(&AuditVerdict::Outlier);
        if let Some(index) = self.owners.of(&finding.node).filter(|_| is_outlier) {
            self.log.audits.found_seconds.entry(index).or_insert_with(|| now.since(START) / 1_000_000);
        }
        let said = assertion(finding).draft(&auditor.identity.public_key(), now.seconds());
        let Ok(draft) = said else {
            return self.check(Err(("causality", "an auditor's finding cannot be written".to_owned())));
        };
        let event = auditor.identity.sign(draft, &mut self.mint);
        self.publish(now, Parcel { from: Party::Client(job), payload: Payload::Event(event), tries: 0 })
    }

    /// The auditor pays as everybody does, and notes it.
    pub(super) fn note_canary_paid(&mut self, job: usize, amount: Msat) {
        if self.auditor.as_ref().is_some_and(|auditor| auditor.owns(job)) {
            self.log.audits.spent_msat = self.log.audits.spent_msat.saturating_add(amount.get());
        }
    }

    /// Nothing is asked of an auditor that an honest client does not do.
    pub(super) fn check_auditor(&self) -> Check {
        let is_done = self.auditor.as_ref().is_none_or(Auditor::is_idle);
        if is_done { Ok(()) } else { Err(("every_job_ends", "a canary never ended".to_owned())) }
    }
}

/// Between two canaries, in seconds: an audit is no rush.
const CANARY_GAP_SECONDS: u64 = 20;
