//! Receipts and acknowledgements, added up per node, epoch and model.
//!
//! The same receipts give the same sums in whatever order and however often they arrive. Only receipts under our own
//! dispatches count; those of other routers are counted apart, at zero weight. What is published is published again
//! only when it changed. Callers hand in known nodes only: keys are free, accounts are not.

use std::collections::{BTreeMap, BTreeSet};

use fedai_protocol::domain_separation::{USAGE_ROOT, digest};
use fedai_protocol::limits::{ROUTER_NODES_MAX, ROUTER_RECEIPTS_PER_NODE_MAX, SUMMARY_RECEIPTS_MAX};
use fedai_protocol::message::Received;
use fedai_protocol::usage_summary::{ModelTotals, UsageSummary, receipts_root};
use fedai_protocol::{EventId, Msat, PublicKey, Receipt, UnixSeconds};

use super::estimate::LogHistogram;
use super::receipt_chain::{Linked, ReceiptChain};

/// How long after its end an epoch takes late receipts, in seconds.
pub const EPOCH_GRACE_SECONDS: u64 = 3_600;
/// Models named by one summary.
const SUMMARY_MODELS_MAX: usize = 32;
/// Proofs against one node that are kept in one epoch: more of them prove nothing more, and each is a durable write.
const PROOFS_KEPT_MAX: u32 = 64;

/// What happened to an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckEffect {
    /// First word of the client on this receipt.
    First,
    /// It takes back an acceptance that it gave before.
    TurnedDispute,
    /// Nothing new.
    Known,
    /// The receipt is not counted here (any more).
    Unknown,
}

/// A counted receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Counted {
    model: String,
    ttft_ms: u64,
    observed_ttft_ms: Option<u64>,
    disputed: Option<bool>,
    input_tokens: u64,
    output_tokens: u64,
    amount: Msat,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Totals {
    count: u64,
    input_tokens: u64,
    output_tokens: u64,
    amount: Msat,
    ttft: LogHistogram,
}

/// One node in one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Epoch {
    entries: BTreeMap<(UnixSeconds, EventId), Counted>,
    folded: BTreeMap<String, Totals>,
    folded_ids: BTreeSet<EventId>,
    folded_acks: (u64, u64),
    published: Option<String>,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct NodeAccount {
    epochs: BTreeMap<UnixSeconds, Epoch>,
    chain: ReceiptChain,
    foreign: u64,
    /// Breaches that are kept.
    breaches: u64,
    /// Breaches beyond those.
    breaches_more: u64,
    /// Proofs kept in the epoch that begins then.
    proofs: (UnixSeconds, u32),
}

/// All nodes.
#[derive(Clone, Debug)]
pub struct ReceiptLedger {
    nodes: BTreeMap<PublicKey, NodeAccount>,
    epoch_seconds: u64,
    nodes_max: usize,
}

impl ReceiptLedger {
    /// An empty ledger with epochs of this length.
    #[must_use]
    pub fn new(epoch_seconds: u64) -> Self {
        Self { nodes: BTreeMap::new(), epoch_seconds: epoch_seconds.max(60), nodes_max: ROUTER_NODES_MAX }
    }

    /// Follows the node's chain.
    pub fn link(&mut self, receipt: &Received<Receipt>) -> Linked {
        self.account(receipt.author).map_or(Linked::Known, |account| account.chain.link(receipt))
    }

    /// Counts a receipt of another router.
    pub fn foreign(&mut self, node: PublicKey) {
        if let Some(account) = self.account(node) {
            account.foreign = account.foreign.saturating_add(1);
        }
    }

    /// Takes one of the proofs against a node that are kept in an epoch. False when there were enough.
    pub fn keeps_proof(&mut self, now: UnixSeconds, node: PublicKey) -> bool {
        let epoch = self.epoch_of(now);
        let Some(account) = self.account(node) else { return false };
        if account.proofs.0 != epoch {
            account.proofs = (epoch, 0);
        }
        let is_kept = account.proofs.1 < PROOFS_KEPT_MAX;
        account.proofs.1 += u32::from(is_kept);
        is_kept
    }

    /// Counts a receipt that breaks its ticket. True when it has to be kept as a proof.
    pub fn breach(&mut self, now: UnixSeconds, node: PublicKey) -> bool {
        let is_kept = self.keeps_proof(now, node);
        if let Some(account) = self.account(node) {
            let counter = if is_kept { &mut account.breaches } else { &mut account.breaches_more };
            *counter = counter.saturating_add(1);
        }
        is_kept
    }

    /// Counts a receipt that is within its ticket. False when it is known, its epoch is closed, or there is no room.
    pub fn count(&mut self, now: UnixSeconds, receipt: &Received<Receipt>) -> bool {
        let start = self.epoch_of(receipt.created_at);
        let is_closed = now.since(start) >= self.epoch_seconds.saturating_add(EPOCH_GRACE_SECONDS);
        let key = (receipt.created_at, receipt.id);
        let Some(account) = self.account(receipt.author) else { return false };
        let epoch = account.epochs.entry(start).or_default();
        let known = epoch.entries.contains_key(&key) || epoch.folded_ids.contains(&receipt.id);
        if is_closed || known || epoch.len() >= SUMMARY_RECEIPTS_MAX {
            if epoch.len() == 0 {
                account.epochs.remove(&start);
            }
            return false;
        }
        let message = &receipt.message;
        epoch.entries.insert(
            key,
            Counted {
                model: message.model.clone(),
                ttft_ms: message.ttft_ms,
                observed_ttft_ms: None,
                disputed: None,
                input_tokens: message.usage.input_tokens.get(),
                output_tokens: message.usage.output_tokens.get(),
                amount: message.amount,
            },
        );
        if epoch.entries.len() > ROUTER_RECEIPTS_PER_NODE_MAX {
            epoch.fold_one();
        }
        true
    }

    /// Takes the client's word on a receipt.
    pub fn acknowledge(
        &mut self,
        receipt: &Received<Receipt>,
        disputed: bool,
        observed_ttft_ms: Option<u64>,
    ) -> AckEffect {
        let start = self.epoch_of(receipt.created_at);
        let entry = self
            .nodes
            .get_mut(&receipt.author)
            .and_then(|account| account.epochs.get_mut(&start))
            .and_then(|epoch| epoch.entries.get_mut(&(receipt.created_at, receipt.id)));
        let Some(entry) = entry else { return AckEffect::Unknown };
        match entry.disputed {
            None => {
                entry.disputed = Some(disputed);
                entry.observed_ttft_ms = observed_ttft_ms;
                AckEffect::First
            }
            Some(false) if disputed => {
                entry.disputed = Some(true);
                AckEffect::TurnedDispute
            }
            Some(_) => AckEffect::Known,
        }
    }

    /// The summaries that changed since they were last asked for; closed epochs are dropped after their last one.
    pub fn summaries(&mut self, now: UnixSeconds) -> Vec<UsageSummary> {
        let mut changed = Vec::new();
        let epoch_seconds = self.epoch_seconds;
        for (node, account) in &mut self.nodes {
            for (start, epoch) in &mut account.epochs {
                let summary = epoch.summary(*node, *start, epoch_seconds);
                let print = serde_json::to_string(&summary).unwrap_or_default();
                if epoch.published.as_ref() != Some(&print) {
                    epoch.published = Some(print);
                    changed.push(summary);
                }
            }
            account
                .epochs
                .retain(|start, _| now.since(*start) < epoch_seconds.saturating_add(EPOCH_GRACE_SECONDS));
        }
        changed
    }

    /// Gaps, forks, breaches and foreign receipts of a node.
    #[must_use]
    pub fn flags(&self, node: &PublicKey) -> (u64, usize, u64, u64) {
        self.nodes.get(node).map_or((0, 0, 0, 0), |account| {
            let breaches = account.breaches.saturating_add(account.breaches_more);
            (account.chain.gaps(), account.chain.forks(), breaches, account.foreign)
        })
    }

    /// Receipts counted in epochs that are not closed.
    #[must_use]
    pub fn receipts(&self) -> usize {
        self.nodes.values().flat_map(|account| account.epochs.values()).map(Epoch::len).sum()
    }

    /// A hash over everything that was counted under our own tickets: equal states have equal hashes. What was seen of
    /// other routers' receipts comes back from relays and is left out.
    #[must_use]
    pub fn state_hash(&self) -> [u8; 32] {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        for (node, account) in &self.nodes {
            if account.epochs.is_empty() && account.breaches == 0 {
                continue;
            }
            parts.push(node.to_bytes().to_vec());
            parts.push(account.breaches.to_be_bytes().to_vec());
            for (start, epoch) in &account.epochs {
                let summary = epoch.summary(*node, *start, self.epoch_seconds);
                parts.push(serde_json::to_vec(&summary).unwrap_or_default());
            }
        }
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        digest(USAGE_ROOT, &parts)
    }

    fn epoch_of(&self, at: UnixSeconds) -> UnixSeconds {
        UnixSeconds(at.0 - at.0.checked_rem(self.epoch_seconds).unwrap_or(0))
    }

    fn account(&mut self, node: PublicKey) -> Option<&mut NodeAccount> {
        if self.nodes.len() >= self.nodes_max && !self.nodes.contains_key(&node) {
            // First one that holds nothing, then one that holds breaches only: those can be had for free.
            let idle = |account: &NodeAccount| account.epochs.is_empty() && account.breaches == 0;
            let uncounted = |account: &NodeAccount| account.epochs.is_empty();
            let first = |leaves: &dyn Fn(&NodeAccount) -> bool| {
                self.nodes.iter().find(|(_, account)| leaves(account)).map(|(node, _)| *node)
            };
            let evicted = first(&idle).or_else(|| first(&uncounted))?;
            self.nodes.remove(&evicted);
        }
        Some(self.nodes.entry(node).or_default())
    }
}

impl Epoch {
    fn len(&self) -> usize {
        self.entries.len() + self.folded_ids.len()
    }

    /// Adds the oldest entry to the sums for good, so that memory stays bounded.
    fn fold_one(&mut self) {
        if let Some(((_, id), entry)) = self.entries.pop_first() {
            self.folded_ids.insert(id);
            match entry.disputed {
                Some(false) => self.folded_acks.0 += 1,
                Some(true) => self.folded_acks.1 += 1,
                None => {}
            }
            add(&mut self.folded, &entry);
        }
    }

    fn summary(&self, node: PublicKey, epoch: UnixSeconds, epoch_seconds: u64) -> UsageSummary {
        let mut totals = self.folded.clone();
        let (mut acknowledged, mut disputed) = self.folded_acks;
        for entry in self.entries.values() {
            add(&mut totals, entry);
            acknowledged += u64::from(entry.disputed == Some(false));
            disputed += u64::from(entry.disputed == Some(true));
        }
        let ids: Vec<EventId> =
            self.entries.keys().map(|(_, id)| id).chain(&self.folded_ids).copied().collect();
        let models = totals.into_iter().take(SUMMARY_MODELS_MAX).map(|(model, totals)| ModelTotals {
            model,
            count: totals.count,
            input_tokens: totals.input_tokens,
            output_tokens: totals.output_tokens,
            amount: totals.amount,
            ttft_p50_ms: totals.ttft.quantile(0.5),
            ttft_p95_ms: totals.ttft.quantile(0.95),
        });
        UsageSummary {
            node,
            epoch,
            epoch_seconds,
            models: models.collect(),
            acknowledged,
            disputed,
            root: receipts_root(&ids),
        }
    }
}

fn add(totals: &mut BTreeMap<String, Totals>, entry: &Counted) {
    let sums = match totals.get_mut(&entry.model) {
        Some(sums) => sums,
        None => totals.entry(entry.model.clone()).or_default(),
    };
    sums.count += 1;
    sums.input_tokens = sums.input_tokens.saturating_add(entry.input_tokens);
    sums.output_tokens = sums.output_tokens.saturating_add(entry.output_tokens);
    sums.amount = sums.amount.saturating_add(entry.amount);
    sums.ttft.count(entry.observed_ttft_ms.unwrap_or(entry.ttft_ms));
}

#[cfg(test)]
#[path = "receipt_ledger_tests.rs"]
mod tests;
