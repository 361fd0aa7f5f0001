//! The client's word on a receipt: signed, kept with the receipt, published, while the answer is being read.

use std::time::Duration;

use fedai_protocol::{Message, PublicKey, SigningKey, VerifiedEvent, ticket_proof};
use fedai_relay_bridge::{RelayPool, SystemEntropy, wall_clock};
use tokio::sync::oneshot;

use super::receipt_store::{ReceiptEntry, ReceiptStore};
use crate::core::job_ending::Settlement;

/// Wait for relays to take the word.
const PUBLISH_WAIT: Duration = Duration::from_secs(3);

/// What it takes to give the word.
pub(crate) struct ReceiptWord {
    pub(crate) settlement: Settlement,
    /// Signs it; erased with this.
    pub(crate) session: SigningKey,
    /// Proves that the ticket was ours.
    pub(crate) ticket_key: SigningKey,
    /// Key that the proof is sealed to; none where we made the ticket ourselves.
    pub(crate) router: Option<PublicKey>,
    pub(crate) store: ReceiptStore,
    pub(crate) pool: RelayPool,
}

impl ReceiptWord {
    /// Gives it; says through `kept` when it is on disk, or that it is not.
    pub(crate) async fn give(self, kept: oneshot::Sender<bool>) {
        let Some(ack) = self.sign() else {
            kept.send(false).unwrap_or(());
            return;
        };
        let Settlement { dispatch, receipt, verdict, .. } = self.settlement;
        let entry = ReceiptEntry { dispatch, receipt, ack: ack.clone() };
        let is_kept = match verdict {
            Ok(_) => self.store.keep(entry).await,
            Err(_) => self.store.keep_dispute(entry).await,
        };
        // Nobody asks in a program that serves others.
        kept.send(is_kept).unwrap_or(());
        match tokio::time::timeout(PUBLISH_WAIT, self.pool.publish_stored(ack)).await {
            Ok(outcome) => {
                tracing::debug!(acks = outcome.acks, wanted = outcome.wanted, "acknowledgement published");
            }
            Err(_) => {
                tracing::warn!("no relay confirmed the acknowledgement; it is kept in the receipts file");
            }
        }
    }

    fn sign(&self) -> Option<VerifiedEvent> {
        let key = &self.session;
        let word = self.settlement.acknowledgement(self.proof());
        let draft = word.draft(&key.public_key(), wall_clock::now_seconds());
        let draft =
            draft.inspect_err(|error| tracing::error!(%error, "the word on a receipt cannot be written"));
        Some(key.sign(draft.ok()?, &mut SystemEntropy))
    }

    fn proof(&self) -> Option<String> {
        let (router, receipt) = (self.router?, self.settlement.receipt.id());
        let sealed =
            ticket_proof::seal(&self.ticket_key, &self.session, &router, &receipt, &mut SystemEntropy);
        sealed.inspect_err(|error| tracing::warn!(%error, "the acknowledgement goes without its proof")).ok()
    }
}
