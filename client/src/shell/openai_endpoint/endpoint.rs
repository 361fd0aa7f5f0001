//! What the endpoint holds between two requests: connections, known routers, models, tickets with jobs left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fedai_protocol::Msat;
use fedai_protocol::event_kinds::{MODEL_OFFER, NODE_DESCRIPTOR};
use fedai_protocol::quote_request::Mode;
use fedai_relay_bridge::{RelayRole, wall_clock};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::api_keys::KeyRing;
use super::ticket_shelf::TicketShelf;
use crate::core::openai::api_error::ApiError;
use crate::shell::buyer::{Buyer, RouterContact};
use crate::shell::config::RouterWish;
use crate::shell::network_view::NetworkView;

/// How long known routers are used without looking again.
const ROUTERS_AGE: Duration = Duration::from_secs(60);
/// How long a list of models is shown without looking again.
const MODELS_AGE: Duration = Duration::from_secs(5);
/// Wait for relays to say who is there.
const LOOK_PATIENCE: Duration = Duration::from_secs(5);

/// What the user decided.
#[derive(Clone, Debug)]
pub struct EndpointTerms {
    /// Which router to ask.
    pub router: RouterWish,
    /// What counts when a request does not say it.
    pub mode: Mode,
    /// Most that one job may cost.
    pub max_price: Option<Msat>,
    /// Time for one job.
    pub timeout: Duration,
    /// Model when a request names none.
    pub model: Option<String>,
    /// Output limit of requests that state none.
    pub default_output: u32,
    /// Requests at once.
    pub concurrency: usize,
    /// Web pages that may call it, by origin.
    pub origins: Vec<String>,
    /// True when other machines may reach it.
    pub is_remote: bool,
}

/// The endpoint.
pub struct Endpoint {
    pub(super) buyer: Buyer,
    pub(super) terms: EndpointTerms,
    pub(super) keys: KeyRing,
    pub(super) tickets: TicketShelf,
    routers: Mutex<Option<(Instant, Vec<RouterContact>)>>,
    models: Mutex<Option<(Instant, Arc<NetworkView>)>>,
    permits: Arc<Semaphore>,
    draining: AtomicBool,
    pub(super) cancel: CancellationToken,
}

impl Endpoint {
    /// An endpoint over a connected buyer.
    #[must_use]
    pub fn new(buyer: Buyer, terms: EndpointTerms, keys: KeyRing) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(terms.concurrency)),
            buyer,
            terms,
            keys,
            tickets: TicketShelf::default(),
            routers: Mutex::new(None),
            models: Mutex::new(None),
            draining: AtomicBool::new(false),
            cancel: CancellationToken::new(),
        }
    }

    /// From now on every new request is refused.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Ends every job that still runs.
    pub fn cancel_all(&self) {
        self.cancel.cancel();
    }

    /// A place for one more request.
    pub(super) fn admit(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        if self.draining.load(Ordering::Relaxed) {
            let mut error = ApiError::new(503, "draining", "this endpoint is being stopped");
            error.retry_after_ms = Some(1_000);
            return Err(error);
        }
        Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            let most = self.terms.concurrency;
            let text = format!("{most} requests are under way already; raise --concurrency or wait");
            ApiError { retry_after_ms: Some(1_000), ..ApiError::new(429, "rate_limited", text) }
        })
    }

    /// The routers to ask.
    pub(super) async fn routers(&self) -> Result<Vec<RouterContact>, ApiError> {
        if self.terms.router == RouterWish::Own {
            return Ok(Vec::new());
        }
        let mut known = self.routers.lock().await;
        if let Some((at, routers)) = known.as_ref()
            && at.elapsed() < ROUTERS_AGE
        {
            return Ok(routers.clone());
        }
        let found = self.buyer.routers(self.terms.router, LOOK_PATIENCE).await;
        if found.is_empty() {
            let (code, text) = match self.buyer.pool().connected(RelayRole::Discovery) {
                0 => ("no_relay", "no relay is connected; `fedai doctor` says which ones do not answer"),
                _ => (
                    "no_router",
                    "no router is announced on the relays; start one, or serve with --router self",
                ),
            };
            return Err(ApiError { retry_after_ms: Some(5_000), ..ApiError::new(503, code, text) });
        }
        *known = Some((Instant::now(), found.clone()));
        Ok(found)
    }

    /// The next request looks for routers anew.
    pub(super) async fn forget_routers(&self) {
        *self.routers.lock().await = None;
    }

    /// Who offers what.
    pub(super) async fn models(&self) -> Arc<NetworkView> {
        let mut known = self.models.lock().await;
        if let Some((at, view)) = known.as_ref()
            && at.elapsed() < MODELS_AGE
        {
            return Arc::clone(view);
        }
        let kinds = [NODE_DESCRIPTOR, MODEL_OFFER];
        let view =
            NetworkView::fetch(self.buyer.pool(), &kinds, wall_clock::now_seconds(), LOOK_PATIENCE).await;
        let view = Arc::new(view);
        *known = Some((Instant::now(), Arc::clone(&view)));
        view
    }
}
