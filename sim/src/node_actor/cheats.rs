//! What a node does while a fault makes it lie, and while its runner or its disk is broken.

use fedai_protocol::message::Draft;
use fedai_protocol::{JobId, Message, Msat, Receipt, Tokens, VerifiedEvent};

use super::NodeActor;
use crate::faults::FaultKind;
use crate::turn::{Effect, Turn};
use crate::workload::prompt::Prompt;

impl NodeActor {
    /// What is answered to a prompt, and in how many words.
    pub(super) fn bent_work(&mut self, mut prompt: Prompt, mut words: u64) -> (Prompt, u64) {
        for (kind, job) in [(FaultKind::NodeGarbage, usize::MAX), (FaultKind::NodeSwaps, prompt.job ^ 1)] {
            if self.strikes(kind) {
                prompt.job = job;
            }
        }
        if self.strikes(FaultKind::NodeTruncates) {
            words = words.div_ceil(2);
        }
        if self.strikes(FaultKind::RunnerStreamsOn) {
            words = words.saturating_mul(4).saturating_add(8);
        }
        (prompt, words)
    }

    /// True when the runner stops for good after so many words. Its node will never hear of the end.
    pub(super) fn stalls_at(&mut self, said: u64) -> bool {
        let stalls = self.faults.size(FaultKind::RunnerStalls).is_some_and(|token| said >= token);
        if stalls {
            self.has_stalled = true;
            self.faults.fired(FaultKind::RunnerStalls);
        }
        stalls
    }

    /// True once an answer has stalled: the runner is done with a job that its node believes to be running.
    #[must_use]
    pub const fn has_stalled(&self) -> bool {
        self.has_stalled
    }

    /// True when a node has to bend its receipts: from the first lie on its chain is not that of its core.
    pub(super) fn bends_receipts(&mut self) -> bool {
        let kinds = [FaultKind::NodeOverBills, FaultKind::NodeForks, FaultKind::NodeReplaysReceipt];
        if !self.bends && kinds.into_iter().any(|kind| self.faults.has(kind)) {
            self.bends = true;
            self.shown = self.disk.head();
        }
        self.bends
    }

    /// Signs a receipt that says too much.
    pub(super) fn sign_bent(
        &mut self,
        job: JobId,
        draft: Draft,
        dispatch: VerifiedEvent,
        turn: &mut Turn<'_>,
    ) {
        let honest = self.identity.sign(draft, turn.mint);
        let Ok(read) = Receipt::parse(&honest) else { return };
        let mut receipt = read.message;
        if let Some(size) = self.faults.size(FaultKind::NodeOverBills) {
            self.faults.fired(FaultKind::NodeOverBills);
            let more = |count: u64| match size {
                0 => count.saturating_mul(101).div_ceil(100),
                1 => count.saturating_mul(2),
                2 => count.saturating_mul(10),
                _ => u64::MAX,
            };
            receipt.usage.input_tokens = Tokens::saturating(more(receipt.usage.input_tokens.get()));
            receipt.usage.output_tokens = Tokens::saturating(more(receipt.usage.output_tokens.get()));
            receipt.amount = Msat::saturating(more(receipt.amount.get()));
        }
        let event = self.link(receipt, turn).unwrap_or(honest);
        turn.effects.push(Effect::Store(job, event, dispatch));
    }

    /// The receipt that the client is shown, and what is published beside it.
    pub(super) fn shown_receipt(&mut self, event: &VerifiedEvent, turn: &mut Turn<'_>) -> VerifiedEvent {
        if self.strikes(FaultKind::NodeForks)
            && let Ok(read) = Receipt::parse(event)
        {
            let fork = Receipt { wall_ms: read.message.wall_ms.saturating_add(1), ..read.message };
            if let Ok(draft) = fork.draft(&self.identity(), turn.now.seconds()) {
                let fork = self.identity.sign(draft, turn.mint);
                turn.publish(fork);
            }
        }
        let former = self.last_receipt.replace(event.clone());
        match former {
            Some(former) if self.strikes(FaultKind::NodeReplaysReceipt) => {
                turn.publish(former.clone());
                former
            }
            _ => event.clone(),
        }
    }

    /// True when the fault is in force; counts it.
    pub(super) fn strikes(&mut self, kind: FaultKind) -> bool {
        let strikes = self.faults.has(kind);
        if strikes {
            self.faults.fired(kind);
        }
        strikes
    }
}
