//! What a node says to the world, and where a dishonest one says something else than its core.

use fedai_node_agent::core::receipt_chain::ChainHead;
use fedai_protocol::message::Draft;
use fedai_protocol::{JobId, LoadPing, Message, Receipt, VerifiedEvent};

use super::NodeActor;
use crate::turn::{Effect, Turn};

impl NodeActor {
    pub(super) fn announce(&mut self, draft: Draft, turn: &mut Turn<'_>) -> VerifiedEvent {
        self.disk.created_at_floor = self.disk.created_at_floor.max(draft.created_at);
        let event = self.identity.sign(draft, turn.mint);
        turn.publish(event.clone());
        event
    }

    pub(super) fn announce_ping(&mut self, draft: Draft, turn: &mut Turn<'_>) {
        let mut draft = draft;
        if let Some(conduct) = &mut self.conduct
            && let Ok(read) = LoadPing::parse(&self.identity.sign(draft.clone(), turn.mint))
        {
            let mut ping = read.message;
            conduct.ping(&mut ping);
            draft = ping.draft(&self.identity.public_key(), read.created_at).unwrap_or(draft);
        }
        self.announce(draft, turn);
    }

    pub(super) fn sign_receipt(
        &mut self,
        job: JobId,
        draft: Draft,
        dispatch: VerifiedEvent,
        turn: &mut Turn<'_>,
    ) {
        if self.bends_receipts() {
            return self.sign_bent(job, draft, dispatch, turn);
        }
        let mut event = self.identity.sign(draft, turn.mint);
        if let Some(conduct) = &mut self.conduct
            && let Ok(read) = Receipt::parse(&event)
        {
            let mut receipt = read.message;
            conduct.receipt(turn.now, &mut receipt);
            event = self.link(receipt, turn).unwrap_or(event);
        }
        turn.effects.push(Effect::Store(job, event, dispatch));
    }

    /// What a dishonest node adds to a receipt.
    pub(super) fn add_receipts(
        &mut self,
        event: &VerifiedEvent,
        dispatch: &VerifiedEvent,
        turn: &mut Turn<'_>,
    ) {
        let Ok(read) = Receipt::parse(event) else { return };
        let Some(conduct) = &mut self.conduct else { return };
        for receipt in conduct.further_receipts(turn.now, &read.message) {
            if let Some(event) = self.link(receipt, turn) {
                self.write(&event, dispatch, turn);
            }
        }
    }

    /// Signs a receipt as the next one of the chain that the world sees: the core's own chain goes on beside it.
    pub(super) fn link(&mut self, mut receipt: Receipt, turn: &mut Turn<'_>) -> Option<VerifiedEvent> {
        (receipt.seq, receipt.prev) = (self.shown.seq, self.shown.prev);
        let draft = receipt.draft(&self.identity(), turn.now.seconds()).ok()?;
        let event = self.identity.sign(draft, turn.mint);
        self.shown = ChainHead { seq: self.shown.seq.saturating_add(1), prev: event.id() };
        Some(event)
    }
}
