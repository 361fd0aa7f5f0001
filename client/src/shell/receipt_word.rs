//! The client's word on a receipt: signed, kept with the receipt, published, while the answer is being read.

use std::time::Duration;

use fedai_protocol::{Message, PublicKey, SigningKey, VerifiedEvent, ticket_proof};
use fedai_relay_bridge::{RelayPool, SystemEntropy, wall_clock};
use tokio::sync::oneshot;

use super::receipt_store::{ReceiptStore, ReceiptStoreError};
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
        let (store, settlement, word) = (self.store, self.settlement, ack.clone());
        let outcome = tokio::task::spawn_blocking(move || keep(&store, &settlement, &word)).await;
        let is_kept = match outcome {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(%error, "the receipt was not kept");
                false
            }
            Err(_) => false,
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

fn keep(store: &ReceiptStore, settlement: &Settlement, ack: &VerifiedEvent) -> Result<(), ReceiptStoreError> {
    let (dispatch, receipt) = (&settlement.dispatch, &settlement.receipt);
    match settlement.verdict {
        Ok(_) => store.append(dispatch, receipt, ack),
        Err(_) => store.append_dispute(dispatch, receipt, ack),
    }
}
