//! Buys answers: one connection to the relays, one data folder, any number of jobs after another.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use fedai_protocol::event_kinds::ROUTER_PROFILE;
use fedai_protocol::message::body_json;
use fedai_protocol::output_stream::OutputLine;
use fedai_protocol::{EventId, PublicKey, SigningKey, VerifiedEvent};
use fedai_relay_bridge::{NotReady, PoolOptions, RelayList, RelayPool, RelayRole, wall_clock};
use tokio_util::sync::CancellationToken;

use super::config::RouterWish;
use super::job_record::{JobRecord, JobRecords};
use super::job_run::JobRun;
use super::network_view::NetworkView;
use super::receipt_store::ReceiptStore;
use crate::core::job_ending::{Answer, JobFailure};
use crate::core::job_spec::{JobSpec, JourneyTiming};
use crate::core::quote_check::Ticket;

/// Routers asked at once when none is named.
const ROUTERS_ASKED_MAX: usize = 3;

/// Takes output as it is handed on.
pub trait OutputSink {
    /// Output, in order. `Break` when nobody reads any more.
    fn deliver(&mut self, lines: &[OutputLine]) -> ControlFlow<()>;
    /// What was handed on before no longer counts.
    fn restarted(&mut self);
}

/// A router that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterContact {
    /// Identity key.
    pub key: PublicKey,
    /// Key that requests are sealed to.
    pub session: PublicKey,
}

/// A ticket with jobs left, and the key that may use it.
pub struct HeldTicket {
    /// The ticket.
    pub ticket: Ticket,
    pub(crate) key: SigningKey,
    /// Jobs done with it.
    pub used: u16,
}

/// What was bought.
pub struct Bought {
    /// The answer.
    pub answer: Answer,
    /// The published word on its receipt.
    pub ack: VerifiedEvent,
    /// The ticket, for the next job.
    pub held: HeldTicket,
    /// True when the receipt and the word on it were written to disk.
    pub is_kept: bool,
}

/// Buys answers.
#[derive(Clone)]
pub struct Buyer {
    pub(crate) pool: RelayPool,
    pub(crate) store: ReceiptStore,
    pub(crate) records: JobRecords,
    pub(crate) timing: JourneyTiming,
}

impl Buyer {
    /// Connects; waits until at least one relay of each role that a job needs is there.
    pub async fn connect(list: RelayList, data: &Path, patience: Duration) -> Result<Self, NotReady> {
        let pool = RelayPool::connect(list, PoolOptions::default());
        for role in RelayRole::ALL {
            if let Err(error) = pool.wait_ready(role, patience).await {
                pool.shutdown().await;
                return Err(error);
            }
        }
        Ok(Self::over(pool, data))
    }

    /// A buyer over relays that are connected already.
    #[must_use]
    pub fn over(pool: RelayPool, data: &Path) -> Self {
        let timing = JourneyTiming::default();
        Self { pool, store: ReceiptStore::new(data), records: JobRecords::new(data), timing }
    }

    /// The relays.
    #[must_use]
    pub const fn pool(&self) -> &RelayPool {
        &self.pool
    }

    /// Routers that fit the wish, found by their profiles.
    pub async fn routers(&self, wish: RouterWish, patience: Duration) -> Vec<RouterContact> {
        if wish == RouterWish::Own {
            return Vec::new();
        }
        let view =
            NetworkView::fetch(&self.pool, &[ROUTER_PROFILE], wall_clock::now_seconds(), patience).await;
        let contacts = view.routers.iter().map(|router| RouterContact {
            key: router.received.author,
            session: router.received.message.session,
        });
        match wish {
            RouterWish::Named(key) => contacts.filter(|contact| contact.key == key).collect(),
            _ => contacts.take(ROUTERS_ASKED_MAX).collect(),
        }
    }

    /// Runs one job to its end. With a ticket that still covers it, no router is asked.
    pub async fn run(
        &self,
        spec: JobSpec,
        contacts: &[RouterContact],
        held: Option<HeldTicket>,
        sink: &mut (dyn OutputSink + Send),
        cancel: &CancellationToken,
    ) -> Result<Bought, JobFailure> {
        let held = held.filter(|held| held.ticket.covers(&spec, held.used, wall_clock::now_seconds()));
        let run = JobRun::begin(self, spec, contacts, held).await;
        Box::pin(run.drive(sink, cancel)).await
    }

    /// Asks for a quote and keeps the decision; the ticket is left unused.
    pub async fn quote(
        &self,
        spec: JobSpec,
        contacts: &[RouterContact],
        cancel: &CancellationToken,
    ) -> Result<Ticket, JobFailure> {
        let run = JobRun::begin(self, spec, contacts, None).await;
        let ticket = Box::pin(run.quote(cancel)).await?;
        self.keep_record(&ticket, None);
        Ok(ticket)
    }

    /// Keeps the decision for `fedai why`; a disk that fails costs the explanation, not the answer.
    pub(crate) fn keep_record(&self, ticket: &Ticket, done: Option<(&Answer, EventId)>) {
        let record = JobRecord {
            v: 1,
            request: ticket.request,
            router: ticket.router,
            decision: ticket.decision.clone(),
            record: ticket.record.as_deref().cloned(),
            job: done.map(|(answer, _)| answer.settlement.job.0),
            node: done.map(|(answer, _)| answer.settlement.node.node),
            receipt: done.map(|(_, receipt)| receipt),
            attempts: done
                .map(|(answer, _)| {
                    answer.attempts.iter().map(|note| (note.node, note.outcome.clone())).collect()
                })
                .unwrap_or_default(),
        };
        if let Err(error) = self.records.keep(&record) {
            tracing::warn!(%error, "the decision record was not kept");
        }
    }

    /// Ends the connections.
    pub async fn close(&self) {
        self.pool.shutdown().await;
    }
}

/// A message sealed for one reader: the body of `message` in place of the plain content.
pub(crate) fn sealed_draft<M: fedai_protocol::message::Message>(
    message: &M,
    author: &SigningKey,
    reader: &PublicKey,
    now: fedai_protocol::UnixSeconds,
) -> Option<fedai_protocol::message::Draft> {
    let mut entropy = fedai_relay_bridge::SystemEntropy;
    let mut draft = message.draft(&author.public_key(), now).ok()?;
    let conversation = fedai_protocol::sealed_session::Conversation::derive(author, reader).ok()?;
    draft.content = conversation.seal(&body_json(message).ok()?, &mut entropy).ok()?;
    Some(draft)
}
