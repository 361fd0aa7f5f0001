//! What a person of this world wants, in the terms of the production client.

use fedai_client::core::job_spec::{DeliveryMode, JobSpec, OnBreak, RouterTarget};
use fedai_protocol::job_open::JobEndpoint;
use fedai_protocol::payment_offer::PaymentMethod;
use fedai_protocol::quote_request::{Constraints, ModelWanted};
use fedai_protocol::{Msat, PublicKey, Tokens, UnixMicros};

use crate::client_actor::RouterContact;
use crate::scenario::MODEL;
use crate::wire::Wire;
use crate::workload::{Arrival, Delivery};

/// A job and the conditions of its client.
#[derive(Clone, Debug)]
pub struct JobWish<'a> {
    /// What is asked.
    pub arrival: &'a Arrival,
    /// Routers that are asked, all of them at once.
    pub routers: Vec<RouterContact>,
    /// Ways to pay.
    pub payment: PaymentMethod,
    /// Most that it may cost.
    pub max_cost: Option<Msat>,
    /// Tokens allowed, when they are not those of the answer.
    pub output_tokens_max: Option<u64>,
    /// After this the person has left, in seconds.
    pub deadline_seconds: u64,
    /// Longest answer that is asked for, as a multiple of the one that comes.
    pub headroom: u64,
    /// The only node that will do.
    pub only_node: Option<PublicKey>,
}

impl JobWish<'_> {
    /// The job of the production client.
    #[must_use]
    pub fn spec(&self, now: UnixMicros, wire: Wire) -> JobSpec {
        let prompt = self.arrival.prompt;
        let (delivery, on_break) = match self.arrival.delivery {
            Delivery::LiveContinued => (DeliveryMode::Live, OnBreak::Continue),
            Delivery::LiveRestarted => (DeliveryMode::Live, OnBreak::Restart),
            Delivery::Buffered => (DeliveryMode::Buffered, OnBreak::Continue),
        };
        let mut payment = vec![PaymentMethod::Free];
        if self.payment != PaymentMethod::Free {
            payment.insert(0, self.payment);
        }
        JobSpec {
            endpoint: JobEndpoint::Chat,
            request: if wire == Wire::Sealed { prompt.request() } else { prompt.short_request() },
            messages: 1,
            wanted: ModelWanted { model: Some(MODEL.to_owned()), ..ModelWanted::default() },
            prompt_tokens: Tokens::saturating(prompt.bytes / 3 + 16),
            max_output_tokens: Tokens::saturating(
                self.output_tokens_max.unwrap_or(0).max(prompt.words.saturating_mul(self.headroom)),
            ),
            max_cost: self.max_cost,
            mode: self.arrival.mode,
            constraints: Constraints {
                payment,
                only_nodes: self.only_node.into_iter().collect(),
                ..Constraints::default()
            },
            uses: 1,
            previous_node: None,
            routers: self.routers.iter().map(|router| RouterTarget::Router(router.identity)).collect(),
            delivery,
            follow_peers: false,
            hedge: false,
            on_break,
            deadline: now.plus_seconds(self.deadline_seconds),
        }
    }
}
