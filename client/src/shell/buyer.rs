//! Buys answers: one connection to the relays, one data folder, any number of jobs after another.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use fedai_protocol::event_kinds::ROUTER_PROFILE;
use fedai_protocol::job_open::WrapKeys;
use fedai_protocol::message::{Received, body_json};
use fedai_protocol::output_stream::OutputLine;
use fedai_protocol::quote::CheckedNode;
use fedai_protocol::{Entropy, EventId, PublicKey, RouterProfile, SigningKey};
use fedai_relay_bridge::{NotReady, PoolOptions, RelayList, RelayPool, RelayRole, SystemEntropy, wall_clock};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::RouterWish;
use super::gateways::Gateways;
use super::job_ears::JobEars;
use super::job_record::{JobRecord, JobRecords};
use super::job_run::JobRun;
use super::lost_nodes::LostNodes;
use super::network_view::NetworkView;
use super::receipt_store::ReceiptStore;
use crate::core::accept_times::AcceptTimes;
use crate::core::direct_way::DirectWish;
use crate::core::job_ending::{Answer, AttemptNote, JobFailure};
use crate::core::job_spec::{JobSpec, JourneyTiming};
use crate::core::quote_check::Ticket;
use crate::core::retry_budget::RetryBudgets;

/// How long the end of a program waits for answers of nodes that were left.
const LATE_WAIT: Duration = Duration::from_secs(1);
/// Routers kept when none is named; a job asks a few of them at a time.
const ROUTERS_KEPT_MAX: usize = 12;

/// Takes output as it is handed on.
pub trait OutputSink {
    /// A job is being opened at a node; `attempt` counts from 0.
    fn opening(&mut self, attempt: u32, node: &CheckedNode, ticket: &Ticket) {
        let _ = (attempt, node, ticket);
    }
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
    pub(crate) ready: Option<JoinHandle<Option<ReadyKeys>>>,
}

/// What the next job under a ticket needs, made while nobody waits for it.
pub(crate) struct ReadyKeys {
    pub(crate) session: SigningKey,
    pub(crate) wrap: WrapKeys,
    /// Listens to the session on relays already, unless its frames will come directly.
    pub(crate) ears: JobEars,
}

impl ReadyKeys {
    /// Makes them while the answer is read.
    pub(crate) fn make_beside(buyer: &Buyer, ticket: &Ticket, key: &SigningKey) -> JoinHandle<Option<Self>> {
        let (buyer, ticket, key) = (buyer.clone(), ticket.clone(), key.clone());
        tokio::spawn(async move { Self::make(&buyer, &ticket, &key) })
    }

    /// For a job at the ticket's first node.
    pub(crate) fn make(buyer: &Buyer, ticket: &Ticket, key: &SigningKey) -> Option<Self> {
        let mut entropy = SystemEntropy;
        let node = &ticket.nodes.first()?.descriptor.message;
        let wrap = WrapKeys::derive(key, &node.inbox.key, &mut entropy).ok()?;
        let session = SigningKey::generate(&mut entropy);
        let mut ears = JobEars::new(buyer.pool.clone());
        if !buyer.gateways.is_ready(node) {
            ears.ask_for_frames(BTreeSet::from([session.public_key()]));
        }
        Some(Self { session, wrap, ears })
    }
}

/// What was bought.
pub struct Bought {
    /// The answer.
    pub answer: Answer,
    /// The ticket, for the next job.
    pub held: HeldTicket,
    pub(crate) keeping: Keeping,
}

/// Whether the receipt and the word on it are on disk.
pub(crate) enum Keeping {
    UnderWay(oneshot::Receiver<bool>),
    Over(bool),
}

impl Bought {
    /// Waits until the receipt and the word on it are on disk; false when they could not be written.
    pub async fn is_kept(&mut self) -> bool {
        let is_kept = match &mut self.keeping {
            Keeping::UnderWay(kept) => kept.await.unwrap_or(false),
            Keeping::Over(is_kept) => *is_kept,
        };
        self.keeping = Keeping::Over(is_kept);
        is_kept
    }
}

/// What became of a job, as its record says it. An aborted job has no receipt.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RecordedOutcome {
    pub(crate) job: Option<EventId>,
    pub(crate) node: Option<PublicKey>,
    pub(crate) receipt: Option<EventId>,
}

/// Buys answers.
#[derive(Clone)]
pub struct Buyer {
    pub(crate) pool: RelayPool,
    pub(crate) store: ReceiptStore,
    pub(crate) records: JobRecords,
    pub(crate) timing: JourneyTiming,
    /// Connections to nodes' own relays.
    pub(crate) gateways: Gateways,
    /// Nodes that have just gone.
    pub(crate) lost: LostNodes,
    /// Second tries of all jobs of this process.
    pub(crate) budgets: RetryBudgets,
    pub(crate) accept_times: AcceptTimes,
    /// Jobs that have ended, and whose nodes may still answer.
    pub(crate) late_jobs: TaskTracker,
    /// Words on receipts that relays have not confirmed yet.
    pub(crate) words: TaskTracker,
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
        let (store, records) = (ReceiptStore::new(data), JobRecords::new(data));
        let lost = LostNodes::default();
        let gateways = Gateways::new(DirectWish::default(), &pool, lost.clone());
        Self {
            pool,
            store,
            records,
            timing,
            gateways,
            lost,
            budgets: RetryBudgets::default(),
            accept_times: AcceptTimes::default(),
            late_jobs: TaskTracker::new(),
            words: TaskTracker::new(),
        }
    }

    /// With another wish about going straight to nodes.
    #[must_use]
    pub fn going(mut self, wish: DirectWish) -> Self {
        self.gateways = self.gateways.wishing(wish);
        self
    }

    /// The relays.
    #[must_use]
    pub const fn pool(&self) -> &RelayPool {
        &self.pool
    }

    /// Routers that fit the wish, found by their profiles, in the order in which they are asked.
    pub async fn routers(&self, wish: RouterWish, patience: Duration) -> Vec<RouterContact> {
        if wish == RouterWish::Own {
            return Vec::new();
        }
        let view =
            NetworkView::fetch(&self.pool, &[ROUTER_PROFILE], wall_clock::now_seconds(), patience).await;
        let profiles = view.routers.into_iter().map(|router| router.received);
        match wish {
            RouterWish::Named(key) => {
                in_turn(profiles.filter(|profile| profile.author == key), &mut SystemEntropy)
            }
            _ => in_turn(profiles, &mut SystemEntropy),
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
        let lost = self.lost.all();
        let held = held.filter(|held| {
            let is_usable = held.ticket.covers(&spec, held.used, wall_clock::now_seconds());
            // A new quote costs a round trip, a node that has gone costs seconds.
            is_usable && !held.ticket.leads_to(&lost)
        });
        let run = JobRun::begin(self, spec, contacts, held).await;
        let outcome = Box::pin(run.drive(sink, cancel)).await;
        self.lost.learn(match &outcome {
            Ok(bought) => &bought.answer.attempts,
            Err(failure) => &failure.attempts,
        });
        outcome
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
        self.keep_record(&ticket, &[], RecordedOutcome::default());
        Ok(ticket)
    }

    /// Keeps the decision for `fedai why`; a disk that fails costs the explanation, not the answer.
    pub(crate) fn keep_record(&self, ticket: &Ticket, attempts: &[AttemptNote], outcome: RecordedOutcome) {
        let record = JobRecord {
            v: 1,
            request: ticket.request,
            router: ticket.router,
            decision: ticket.decision.clone(),
            record: ticket.record.as_deref().cloned(),
            job: outcome.job,
            node: outcome.node,
            receipt: outcome.receipt,
            attempts: attempts.iter().map(|note| (note.node, note.outcome.clone())).collect(),
        };
        if let Err(error) = self.records.keep(&record) {
            tracing::warn!(%error, "the decision record was not kept");
        }
    }

    /// Waits until relays have the last words on receipts, and for a moment until nodes that were left have heard of
    /// it; then ends the connections.
    pub async fn close(&self) {
        self.words.close();
        self.words.wait().await;
        self.late_jobs.close();
        // Whoever has not answered by then has mostly gone.
        drop(tokio::time::timeout(LATE_WAIT, self.late_jobs.wait()).await);
        self.gateways.close().await;
        self.pool.shutdown().await;
    }
}

/// One contact for each router, by its newest profile. The one that claims to know the most nodes comes first and the
/// others by chance: keys and claims are free, so they must not decide who is ever asked.
fn in_turn(
    profiles: impl Iterator<Item = Received<RouterProfile>>,
    entropy: &mut impl Entropy,
) -> Vec<RouterContact> {
    let mut newest = BTreeMap::<PublicKey, Received<RouterProfile>>::new();
    for profile in profiles {
        if newest.get(&profile.author).is_none_or(|known| known.created_at < profile.created_at) {
            newest.insert(profile.author, profile);
        }
    }
    let mut rest: Vec<_> = newest.into_values().collect();
    let largest = rest.iter().enumerate().max_by_key(|(_, profile)| profile.message.nodes).map(|(at, _)| at);
    let mut contacts = Vec::new();
    let mut next = largest;
    while let Some(at) = next.filter(|at| *at < rest.len() && contacts.len() < ROUTERS_KEPT_MAX) {
        let profile = rest.swap_remove(at);
        contacts.push(RouterContact { key: profile.author, session: profile.message.session });
        next = usize::try_from(entropy.below(rest.len() as u64)).ok();
    }
    contacts
}

/// A message sealed for one reader: the body of `message` in place of the plain content.
pub(crate) fn sealed_draft<M: fedai_protocol::message::Message>(
    message: &M,
    author: &SigningKey,
    reader: &PublicKey,
    now: fedai_protocol::UnixSeconds,
) -> Option<fedai_protocol::message::Draft> {
    let mut entropy = SystemEntropy;
    let mut draft = message.draft(&author.public_key(), now).ok()?;
    let conversation = fedai_protocol::sealed_session::Conversation::derive(author, reader).ok()?;
    draft.content = conversation.seal(&body_json(message).ok()?, &mut entropy).ok()?;
    Some(draft)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use fedai_protocol::entropy::CountingEntropy;
    use fedai_protocol::message::Message;
    use fedai_protocol::router_profile::RouterFee;
    use fedai_protocol::{Msat, UnixSeconds};

    const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

    fn profile(key: &SigningKey, nodes: u32, age: u64) -> Received<RouterProfile> {
        let mut entropy = CountingEntropy(age);
        let profile = RouterProfile {
            name: format!("router-{age}"),
            fee: RouterFee { flat: Msat::ZERO, ppm: 0 },
            session: SigningKey::generate(&mut entropy).public_key(),
            relays: vec!["ws://127.0.0.1:7447".into()],
            expires_at: NOW.plus(900),
            nodes,
            models: Vec::new(),
            peers: Vec::new(),
            software: String::new(),
        };
        let draft = profile.draft(&key.public_key(), UnixSeconds(NOW.0 - age)).unwrap();
        RouterProfile::parse(&key.sign(draft, &mut entropy)).unwrap()
    }

    #[test]
    fn claims_do_not_decide_who_is_asked() {
        let mut entropy = CountingEntropy(3);
        let mut keys = || SigningKey::generate(&mut entropy);
        let (liars, honest): (Vec<_>, Vec<_>) =
            ((0..4).map(|_| keys()).collect(), (0..4).map(|_| keys()).collect());
        let profiles: Vec<_> = liars
            .iter()
            .map(|key| profile(key, 1_000_000, 1))
            .chain(honest.iter().map(|key| profile(key, 5, 1)))
            .collect();
        let is_honest = |contact: &RouterContact| honest.iter().any(|key| key.public_key() == contact.key);
        let lucky = (0..20)
            .filter(|seed| {
                let contacts = in_turn(profiles.iter().cloned(), &mut CountingEntropy(seed * 100));
                assert_eq!(contacts.len(), 8, "everybody has a turn");
                assert!(!is_honest(&contacts[0]), "one place by claimed size");
                contacts.iter().take(3).any(is_honest)
            })
            .count();
        assert!(lucky >= 10, "an honest router is in the first round in {lucky} of 20");
    }

    #[test]
    fn a_router_has_one_place_with_its_newest_key_however_many_profiles_it_has() {
        let key = SigningKey::generate(&mut CountingEntropy(9));
        let profiles: Vec<_> = (0..20).map(|age| profile(&key, 5, age)).collect();
        let contacts = in_turn(profiles.iter().rev().cloned(), &mut CountingEntropy(1));
        assert_eq!(contacts, [RouterContact { key: key.public_key(), session: profiles[0].message.session }]);
    }

    #[test]
    fn only_so_many_routers_are_kept() {
        let mut entropy = CountingEntropy(5);
        let many: Vec<_> = (0..15).map(|_| profile(&SigningKey::generate(&mut entropy), 1, 1)).collect();
        assert_eq!(in_turn(many.into_iter(), &mut entropy).len(), ROUTERS_KEPT_MAX);
    }
}
