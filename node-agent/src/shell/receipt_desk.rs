//! Signs what the identity signs, stores it, publishes it, in the order the core asked.
//!
//! The rule: durable before public, and public before `final`. The chain on disk is therefore always a prefix of the
//! chain in memory, and nobody ever saw a receipt that a crash could take back.

use std::sync::Arc;

use fedai_protocol::message::Draft;
use fedai_protocol::{JobId, SigningKey, VerifiedEvent};
use fedai_relay_bridge::{
    GatewayRelay, JournalError, PublishOutcome, RelayPool, SystemEntropy, WRITTEN_WITHIN,
};
use tokio::sync::mpsc;

use super::node_journal::{NodeJournal, ReceiptRecord};
use crate::core::Input;

/// Work for the desk.
pub(super) enum Paper {
    /// A receipt and its ticket.
    Receipt { job: JobId, draft: Draft, dispatch: Box<VerifiedEvent> },
    /// What everybody may know.
    Announcement(Announcement),
}

/// What a node says of itself.
pub(super) enum Announcement {
    /// An offer.
    Offer(Draft),
    /// The descriptor.
    Descriptor(Draft),
}

/// What the desk has done, for status and metrics.
pub(super) enum Filed {
    /// A receipt is durable.
    Receipt(VerifiedEvent),
    /// An offer was signed.
    Offer(VerifiedEvent),
    /// A descriptor was published, or not.
    Descriptor { event: VerifiedEvent, outcome: PublishOutcome },
}

/// The desk.
pub(super) struct ReceiptDesk {
    pub(super) identity: Arc<SigningKey>,
    pub(super) journal: NodeJournal,
    pub(super) pool: RelayPool,
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) filed: mpsc::UnboundedSender<Filed>,
    /// The node's own relay, which shows what the node publishes.
    pub(super) shown: Option<Arc<GatewayRelay>>,
}

impl ReceiptDesk {
    /// Shows an earlier life's last receipts again, oldest first, and publishes those again that its outbox may have
    /// lost.
    pub(super) async fn resume(&self, receipts: Vec<ReceiptRecord>) {
        let newest = receipts.last().map(|record| record.receipt.created_at()).unwrap_or_default();
        let not_shown = receipts.len().saturating_sub(RESHOWN_MAX);
        for (at, ReceiptRecord { receipt, .. }) in receipts.into_iter().enumerate() {
            if at >= not_shown {
                self.show(&receipt).await;
            }
            if newest.since(receipt.created_at()) <= WRITTEN_WITHIN.as_secs() {
                self.pool.publish_kept_in_background(receipt);
            }
        }
    }

    /// Works until the other end is gone.
    pub(super) async fn run(self, mut papers: mpsc::UnboundedReceiver<Paper>) {
        let mut batch = Vec::new();
        while papers.recv_many(&mut batch, TOGETHER_MAX).await > 0 {
            if let Err(error) = self.file_all(batch.drain(..)).await {
                tracing::error!(%error, "the journal cannot be written: taking no more work");
                drop(self.inputs.send(Input::StorageFailed).await);
                return;
            }
        }
    }

    /// Files what has come together: receipts that follow each other share a sync.
    async fn file_all(&self, papers: impl Iterator<Item = Paper> + Send) -> Result<(), JournalError> {
        let (mut jobs, mut records) = (Vec::new(), Vec::new());
        for paper in papers {
            let announcement = match paper {
                Paper::Receipt { job, draft, dispatch } => {
                    jobs.push(job);
                    records.push(ReceiptRecord { dispatch: *dispatch, receipt: self.sign(draft) });
                    continue;
                }
                Paper::Announcement(announcement) => announcement,
            };
            self.file_receipts(core::mem::take(&mut jobs), core::mem::take(&mut records)).await?;
            self.announce(announcement).await?;
        }
        self.file_receipts(jobs, records).await
    }

    async fn file_receipts(&self, jobs: Vec<JobId>, records: Vec<ReceiptRecord>) -> Result<(), JournalError> {
        self.journal.keep_receipts(&records).await?;
        for (job, ReceiptRecord { receipt, .. }) in jobs.into_iter().zip(records) {
            self.pool.publish_kept_in_background(receipt.clone());
            drop(self.filed.send(Filed::Receipt(receipt.clone())));
            drop(self.inputs.send(Input::ReceiptDurable { job, event: receipt.clone() }).await);
            self.show(&receipt).await;
        }
        Ok(())
    }

    async fn announce(&self, announcement: Announcement) -> Result<(), JournalError> {
        match announcement {
            Announcement::Offer(draft) => {
                let offer = self.sign(draft);
                self.journal.keep_offer(&offer).await?;
                self.pool.publish_stored_in_background(offer.clone());
                self.show(&offer).await;
                drop(self.filed.send(Filed::Offer(offer)));
            }
            Announcement::Descriptor(draft) => {
                self.journal.keep_time(draft.created_at).await?;
                let event = self.sign(draft);
                self.show(&event).await;
                let (pool, filed) = (self.pool.clone(), self.filed.clone());
                tokio::spawn(async move {
                    let outcome = pool.publish_stored(event.clone()).await;
                    drop(filed.send(Filed::Descriptor { event, outcome }));
                });
            }
        }
        Ok(())
    }

    async fn show(&self, event: &VerifiedEvent) {
        if let Some(relay) = &self.shown {
            relay.show(event).await;
        }
    }

    fn sign(&self, draft: Draft) -> VerifiedEvent {
        self.identity.sign(draft, &mut SystemEntropy)
    }
}

/// Of an earlier life's receipts: more than one core signs in the time after which the outbox has them.
pub(super) const RESUMED_MAX: usize = 8_192;
/// A quarter of what a gateway shows.
const RESHOWN_MAX: usize = 1_024;
/// Papers taken up at once.
const TOGETHER_MAX: usize = 64;
