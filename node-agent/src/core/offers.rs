//! What this node sells: one offer per model, current ones and those it still honours.
//!
//! A quote may rest on an offer that was replaced a moment ago, so a replaced offer is remembered and honoured for as
//! long as quotes and tickets live. The rule: what was signed is kept to, to the letter, until then.

use std::collections::BTreeMap;

use fedai_protocol::job_open::JobEndpoint;
use fedai_protocol::limits::{FUTURE_SECONDS_MAX, NODE_OFFERS_MAX, OFFER_HONOUR_SECONDS};
use fedai_protocol::message::{Draft, ParseError};
use fedai_protocol::payment_offer::PaymentMethod;
use fedai_protocol::{EventId, Message, ModelOffer, Price, Tokens, UnixSeconds};

use super::policy::NodePolicy;

/// A model that the runner has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalModel {
    /// The runner's own id of it.
    pub runner_id: String,
    /// Name as clients ask for it, lowercase.
    pub model: String,
    /// Unique per node: the `d` of its offer.
    pub slug: String,
    /// Quantization or number format.
    pub quantization: Option<String>,
    /// Digest of the weights.
    pub digest: Option<String>,
    /// Context window.
    pub context_tokens: u64,
    /// Most output tokens of one job.
    pub max_output_tokens: u64,
    /// Jobs that run at once.
    pub slots: u32,
    /// Interfaces it has.
    pub endpoints: Vec<JobEndpoint>,
    /// True when it takes images.
    pub takes_images: bool,
    /// What else it can do, in the words of the offer.
    pub features: Vec<String>,
}

/// An offer that was published, and what it stands for here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedOffer {
    /// Event id.
    pub id: EventId,
    /// The offer.
    pub offer: ModelOffer,
    /// Time of its event.
    pub created_at: UnixSeconds,
    /// When it was replaced or withdrawn.
    pub retired_at: Option<UnixSeconds>,
}

/// All offers that this node answers for.
#[derive(Clone, Debug, Default)]
pub(crate) struct OfferBook {
    offers: BTreeMap<EventId, PublishedOffer>,
    current: BTreeMap<String, EventId>,
    local: BTreeMap<String, LocalModel>,
}

impl OfferBook {
    /// Takes up offers from before a restart. They are retired by the first list of models.
    pub(crate) fn restore(offers: Vec<PublishedOffer>) -> Self {
        let mut book = Self::default();
        for offer in offers {
            if offer.retired_at.is_none() {
                book.current.insert(offer.offer.slug.clone(), offer.id);
            }
            book.offers.insert(offer.id, offer);
        }
        book
    }

    /// Replaces the list of models. What is gone is retired now.
    pub(crate) fn set_models(&mut self, models: Vec<LocalModel>, now: UnixSeconds) {
        self.local =
            models.into_iter().take(NODE_OFFERS_MAX).map(|model| (model.slug.clone(), model)).collect();
        let gone: Vec<String> =
            self.current.keys().filter(|slug| !self.local.contains_key(*slug)).cloned().collect();
        for slug in gone {
            self.retire(&slug, now);
        }
        self.forget(now);
    }

    /// The offers to publish: new or changed ones, and those last published before `older_than`.
    pub(crate) fn due(
        &self,
        policy: &NodePolicy,
        methods: impl Fn(bool) -> Vec<PaymentMethod>,
        older_than: UnixSeconds,
    ) -> Vec<ModelOffer> {
        let wanted = self.local.values().map(|model| offer_of(model, policy, &methods));
        wanted
            .filter(|offer| {
                let published = self.current.get(&offer.slug).and_then(|id| self.offers.get(id));
                published.is_none_or(|old| old.offer != *offer || old.created_at <= older_than)
            })
            .collect()
    }

    /// Writes an offer as a draft and makes it the current one of its model.
    pub(crate) fn publish(
        &mut self,
        offer: ModelOffer,
        policy: &NodePolicy,
        created_at: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<Draft, ParseError> {
        let draft = offer.draft(&policy.node, created_at)?;
        let id = draft.id(&policy.node);
        self.retire(&offer.slug, now);
        self.current.insert(offer.slug.clone(), id);
        self.offers.insert(id, PublishedOffer { id, offer, created_at, retired_at: None });
        Ok(draft)
    }

    /// An offer that is current or still honoured.
    pub(crate) fn honoured(&self, id: &EventId, now: UnixSeconds) -> Option<&PublishedOffer> {
        self.offers.get(id).filter(|offer| offer.is_honoured(now))
    }

    /// The offers that stand.
    pub(crate) fn current(&self) -> impl Iterator<Item = EventId> {
        self.current.values().copied()
    }

    /// The model behind an offer, when the runner still has it.
    pub(crate) fn model(&self, slug: &str) -> Option<&LocalModel> {
        self.local.get(slug)
    }

    /// Names of the models offered now.
    pub(crate) fn models(&self) -> impl Iterator<Item = &LocalModel> {
        self.local.values()
    }

    /// Jobs that the runner takes at once: its models share it.
    pub(crate) fn slots(&self) -> u32 {
        self.local.values().map(|model| model.slots).max().unwrap_or(0)
    }

    /// Retires what a wrong clock dated: nobody takes an offer from the future, so it counts as never published.
    pub(crate) fn retire_future(&mut self, now: UnixSeconds) {
        let is_future = |id: &EventId| {
            self.offers.get(id).is_some_and(|offer| offer.created_at > now.plus(FUTURE_SECONDS_MAX))
        };
        let future: Vec<String> =
            self.current.iter().filter(|(_, id)| is_future(id)).map(|(slug, _)| slug.clone()).collect();
        for slug in future {
            self.retire(&slug, now);
        }
    }

    fn retire(&mut self, slug: &str, now: UnixSeconds) {
        if let Some(old) = self.current.remove(slug).and_then(|id| self.offers.get_mut(&id)) {
            old.retired_at = Some(now);
        }
    }

    fn forget(&mut self, now: UnixSeconds) {
        self.offers.retain(|_, offer| offer.is_honoured(now));
        // A runner whose list flaps must not fill the memory: the longest retired go first.
        while self.offers.len() > HONOURED_MAX {
            let oldest = self.offers.values().filter(|o| o.retired_at.is_some()).min_by_key(|o| o.retired_at);
            let Some(id) = oldest.map(|offer| offer.id) else { return };
            self.offers.remove(&id);
        }
    }
}

impl PublishedOffer {
    fn is_honoured(&self, now: UnixSeconds) -> bool {
        self.retired_at.is_none_or(|at| now.since(at) <= OFFER_HONOUR_SECONDS)
    }
}

const HONOURED_MAX: usize = NODE_OFFERS_MAX * 16;

fn offer_of(
    model: &LocalModel,
    policy: &NodePolicy,
    methods: &impl Fn(bool) -> Vec<PaymentMethod>,
) -> ModelOffer {
    let price: Price = policy.price_of(&model.model);
    let mut modalities = Vec::new();
    if model.endpoints.iter().any(|endpoint| *endpoint != JobEndpoint::Embedding) {
        modalities.push("text".to_owned());
    }
    if model.takes_images {
        modalities.push("image".to_owned());
    }
    if model.endpoints.contains(&JobEndpoint::Embedding) {
        modalities.push("embedding".to_owned());
    }
    ModelOffer {
        slug: model.slug.clone(),
        node: policy.name.clone(),
        model: model.model.clone(),
        quantization: model.quantization.clone(),
        digest: model.digest.clone(),
        tokenizer: None,
        price,
        context_tokens: Tokens::saturating(model.context_tokens),
        max_output_tokens: Tokens::saturating(model.max_output_tokens),
        slots: model.slots,
        tokens_per_second: None,
        modalities,
        features: model.features.clone(),
        payment: methods(price.is_free()),
    }
}
