//! The life of a node process: open what is on disk, find the runner, connect, then turn the world into inputs and
//! actions into the world until told to stop.
//!
//! The rule: the subscription for job opens is live before anything is advertised, and the last descriptor is
//! out before
//! the connections close.

use std::sync::Arc;
use std::time::Duration;

use fedai_protocol::payment_offer::{PaymentMethod, PaymentTerms};
use fedai_protocol::{Entropy, PublicKey, SigningKey};
use fedai_relay_bridge::data_dir::DataDirError;
use fedai_relay_bridge::dev_relay::DevRelayError;
use fedai_relay_bridge::key_file::{self, KeyFileError};
use fedai_relay_bridge::{
    DataDir, JournalError, NotReady, PoolOptions, PublishOutbox, RelayPool, RelayRole, SystemEntropy,
    wall_clock,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::config::NodeConfig;
use super::front_gate::FrontGate;
use super::node_journal::{JOURNAL_DIR, NodeJournal, ReceiptRecord, RestoreError};
use super::node_loop::NodeLoop;
use super::receipt_desk::{RESUMED_MAX, ReceiptDesk};
use super::runner_source::{SourceError, open_runner};
use super::runner_watch::{RunnerWatch, Signs};
use crate::core::policy::NodePolicy;
use crate::core::{NodeCore, Restored};

/// A node that is advertised.
#[derive(Clone, Debug)]
pub struct NodeReady {
    /// Identity key.
    pub public_key: PublicKey,
    /// Name.
    pub name: String,
    /// Models offered.
    pub models: Vec<String>,
    /// Relays that are connected.
    pub relays: Vec<String>,
    /// One line for people: key, models, prices, relays.
    pub line: String,
}

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The journal.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] JournalError),
    /// The runner.
    #[error(transparent)]
    Runner(#[from] SourceError),
    /// The node's own relay.
    #[error(transparent)]
    Gateway(#[from] DevRelayError),
    /// No relay was reached.
    #[error(transparent)]
    NoRelay(#[from] NotReady),
    /// A receipt could not be stored while running.
    #[error(
        "receipts can no longer be stored: the node stopped before promising what it cannot keep\n\
         hint: check the disk, then start it again"
    )]
    Storage,
}

impl RunError {
    /// Exit code of the process: the same as a router's for what both know, and 5 where there is no runner.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::DataDir(_) | Self::Key(_) | Self::Restore(_) | Self::Outbox(_) | Self::Gateway(_) => 3,
            Self::Runner(error) if error.is_wrong_setting() => 3,
            Self::NoRelay(_) => 4,
            Self::Runner(_) => 5,
            Self::Storage => 1,
        }
    }
}

/// Runs a node until `shutdown`, then drains it. Must be called inside a tokio runtime; logging is the caller's.
pub async fn run(
    config: NodeConfig,
    shutdown: CancellationToken,
    ready: oneshot::Sender<NodeReady>,
) -> Result<(), RunError> {
    let data = DataDir::open(&config.data_dir)?;
    let passphrase = config.passphrase.as_deref();
    let identity = Arc::new(key_file::load_or_create(data.path(), KEY_NAME, passphrase, &mut SystemEntropy)?);
    let journal_dir = data.path().join(JOURNAL_DIR);
    let (journal, restored, receipts) =
        NodeJournal::open(&journal_dir, wall_clock::now_seconds(), RESUMED_MAX)?;
    let outbox = Arc::new(PublishOutbox::open(&data.path().join("outbox"))?);
    let source = tokio::select! {
        source = open_runner(&config.runner, &config.runner_options, config.slots, data.path()) => source?,
        () = shutdown.cancelled() => return Ok(()),
    };
    tracing::info!(runner = %source.title, "runner");
    let options = PoolOptions {
        outbox: Some(outbox),
        allow_private_addresses: config.allow_private_relays,
        connector: config.connector.clone(),
        ..PoolOptions::default()
    };
    let pool = RelayPool::connect(config.relays.clone(), options);
    let kept = Kept { journal, restored, receipts };
    let serving = serve(&config, &shutdown, ready, identity, kept, &source, &pool);
    let outcome = Box::pin(serving).await;
    if let Some(supervised) = source.supervised {
        supervised.stop().await;
    }
    pool.shutdown().await;
    outcome
}

/// What earlier lives left.
struct Kept {
    journal: NodeJournal,
    restored: Restored,
    receipts: Vec<ReceiptRecord>,
}

async fn serve(
    config: &NodeConfig,
    shutdown: &CancellationToken,
    ready: oneshot::Sender<NodeReady>,
    identity: Arc<SigningKey>,
    kept: Kept,
    source: &super::runner_source::RunnerSource,
    pool: &RelayPool,
) -> Result<(), RunError> {
    let Kept { journal, restored, receipts } = kept;
    if !connected(pool, shutdown).await? {
        return Ok(());
    }
    let (gateway, url) = FrontGate::open(config, identity.public_key()).await?;
    let shown = gateway.relay();
    let (inputs, incoming) = mpsc::channel(INPUTS);
    let (papers, desk_papers) = mpsc::unbounded_channel();
    let (filed, filed_papers) = mpsc::unbounded_channel();
    let desk = ReceiptDesk {
        identity: Arc::clone(&identity),
        journal,
        pool: pool.clone(),
        inputs: inputs.clone(),
        filed,
        shown,
    };
    desk.resume(receipts).await;
    let desk = tokio::spawn(desk.run(desk_papers));
    let signs = Arc::new(Signs::default());
    let mut policy = policy(config, identity.public_key());
    policy.gateways.extend(url);
    let core = NodeCore::new(policy, restored);
    let mut node = NodeLoop::new(config, core, identity, pool.clone(), source, inputs.clone(), papers, ready);
    node.gate = gateway;
    node.signs = Arc::clone(&signs);
    node.listen().await;
    let watch = RunnerWatch {
        runner: Arc::clone(&source.runner),
        slots: config.slots,
        beat: config.heartbeat,
        signs,
        inputs,
    };
    let stop_watch = CancellationToken::new();
    let watch = tokio::spawn(watch.run(stop_watch.clone()));
    let outcome = node.run(shutdown, incoming, filed_papers).await;
    stop_watch.cancel();
    // Both end by themselves now; a panic in one was logged by the runtime.
    drop(tokio::time::timeout(LAST_WORDS, watch).await);
    drop(tokio::time::timeout(LAST_WORDS, desk).await);
    outcome
}

/// Waits until a relay of each role is there; false when the node is to stop. As a router does, a node that reaches
/// none at its start ends and says so: whoever started it knows better than a process that waits in silence. Later
/// on, a lost relay is waited for.
async fn connected(pool: &RelayPool, shutdown: &CancellationToken) -> Result<bool, NotReady> {
    for role in [RelayRole::Discovery, RelayRole::Stream] {
        tokio::select! {
            outcome = pool.wait_ready(role, READY_TIMEOUT) => drop(outcome?),
            () = shutdown.cancelled() => return Ok(false),
        }
    }
    Ok(true)
}

fn policy(config: &NodeConfig, node: PublicKey) -> NodePolicy {
    let is_free = config.price.is_free() && config.prices.values().all(fedai_protocol::Price::is_free);
    if !is_free {
        tracing::warn!(
            "priced models are advertised, but this version verifies no payment yet: jobs for them are refused. \
             hint: leave the prices at 0 to serve"
        );
    }
    let mut payment = PaymentTerms::free();
    if !is_free {
        payment.methods.push(PaymentMethod::Ticket);
    }
    NodePolicy {
        relays: config.relays.urls(RelayRole::Stream).into_iter().take(8).map(str::to_owned).collect(),
        regions: config.regions.clone(),
        operator: config.operator,
        software: concat!("fed_ai node-agent ", env!("CARGO_PKG_VERSION")).into(),
        payment,
        price: config.price,
        prices: config.prices.clone(),
        routers: config.routers.clone(),
        accept_self_dispatch: config.accept_self_dispatch,
        limits: config.limits,
        deadlines: config.deadlines,
        seed: SystemEntropy.below(u64::MAX),
        ..NodePolicy::new(node, config.name.clone())
    }
}

/// Name of the key file.
pub const KEY_NAME: &str = "node";
/// Inputs waiting for the core; a runner waits when it is full.
const INPUTS: usize = 4_096;
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How long a relay may take to be reached at the start.
const READY_TIMEOUT: Duration = Duration::from_secs(15);
