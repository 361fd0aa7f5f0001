//! The objects that `--json` prints. Their schemas are in docs/schema; a test keeps the two alike. Fields are only ever
//! added within one `v`.

use schemars::JsonSchema;
use serde::Serialize;

/// `fedai chat` and `fedai complete`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AnswerOutput {
    /// Version of this form.
    pub v: u64,
    /// The answer.
    pub output: String,
    /// Model that gave it.
    pub model: String,
    /// Node's identity key (hex).
    pub node: String,
    /// The same as npub.
    pub node_npub: String,
    /// Router's identity key (hex); the ticket key with `--router self`.
    pub router: String,
    /// The same as npub.
    pub router_npub: String,
    /// Event id of the receipt (hex).
    pub receipt: String,
    /// True when the receipt says what happened.
    pub verified: bool,
    /// Why the receipt was disputed.
    pub dispute: Option<String>,
    /// What was counted.
    pub usage: UsageOutput,
    /// What the job cost, in millisatoshi; 0 for a disputed receipt.
    pub cost_msat: u64,
    /// Why the model stopped.
    pub finish_reason: String,
    /// Times.
    pub timings_ms: TimingsOutput,
    /// Job id (hex).
    pub job: String,
    /// Id of the quote request (hex), for `fedai why`.
    pub decision: String,
    /// Nodes tried, in order; the last one gave the answer.
    pub attempts: Vec<AttemptOutput>,
}

/// Counted resources.
#[derive(Debug, Serialize, JsonSchema)]
pub struct UsageOutput {
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Prompt tokens out of the prefix cache.
    pub cached_tokens: u64,
    /// Completion tokens.
    pub output_tokens: u64,
    /// Reasoning tokens among them.
    pub reasoning_tokens: u64,
    /// Bytes of the request.
    pub input_bytes: u64,
    /// Bytes of the answer's text.
    pub output_bytes: u64,
}

/// Times in milliseconds, as this client measured them.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TimingsOutput {
    /// Until the quote; 0 when a ticket was used again.
    pub quote: u64,
    /// Until the first output.
    pub first_token: u64,
    /// Until the end.
    pub total: u64,
}

/// One node that was tried.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AttemptOutput {
    /// Node (hex).
    pub node: String,
    /// `complete`, or the code of the refusal.
    pub outcome: String,
}

/// `fedai models`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ModelsOutput {
    /// Version of this form.
    pub v: u64,
    /// Offers, by model and price.
    pub models: Vec<ModelRow>,
}

/// One offer.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ModelRow {
    /// Model.
    pub model: String,
    /// Quantization.
    pub quantization: Option<String>,
    /// Node (hex).
    pub node: String,
    /// Name of the node.
    pub node_name: String,
    /// Context window.
    pub context_length: u64,
    /// Most output tokens of one job.
    pub max_output_tokens: u64,
    /// Jobs at once.
    pub slots: u32,
    /// Price per million prompt tokens, in msat.
    pub input_msat_per_mtok: u64,
    /// Price per million completion tokens, in msat.
    pub output_msat_per_mtok: u64,
    /// Price per request, in msat.
    pub request_msat: u64,
    /// Ways to pay.
    pub payment: Vec<String>,
    /// Event id of the offer (hex).
    pub offer: String,
}

/// `fedai nodes`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NodesOutput {
    /// Version of this form.
    pub v: u64,
    /// Live nodes.
    pub nodes: Vec<NodeRow>,
}

/// One node.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NodeRow {
    /// Name.
    pub name: String,
    /// Key (hex).
    pub node: String,
    /// The same as npub.
    pub npub: String,
    /// Models.
    pub models: Vec<String>,
    /// Mean of the ranks that routers published, 0 to 100.
    pub rank: Option<u64>,
    /// Regions.
    pub regions: Vec<String>,
    /// Seconds until the lease ends.
    pub lease_seconds: u64,
    /// True when it takes self-signed dispatches.
    pub accepts_self_dispatch: bool,
    /// Software.
    pub software: String,
}

/// `fedai routers`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RoutersOutput {
    /// Version of this form.
    pub v: u64,
    /// Live routers.
    pub routers: Vec<RouterRow>,
}

/// One router.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RouterRow {
    /// Name.
    pub name: String,
    /// Key (hex).
    pub router: String,
    /// The same as npub.
    pub npub: String,
    /// Nodes that it knows.
    pub nodes: u32,
    /// Models that it can route to.
    pub models: Vec<String>,
    /// Flat fee, in msat.
    pub fee_msat: u64,
    /// Proportional fee, in parts per million.
    pub fee_ppm: u32,
    /// Seconds until the lease ends.
    pub lease_seconds: u64,
    /// Software.
    pub software: String,
}

/// `fedai quote`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct QuoteOutput {
    /// Version of this form.
    pub v: u64,
    /// Router (hex).
    pub router: String,
    /// Model.
    pub model: String,
    /// Most that one job can cost, in msat.
    pub ceiling_msat: u64,
    /// The router's fee, in msat.
    pub fee_msat: u64,
    /// Nodes, the chosen one first.
    pub nodes: Vec<QuotedRow>,
    /// Id of the decision (hex), for `fedai why`.
    pub decision: String,
    /// Jobs that the ticket covers.
    pub uses: u16,
    /// End of the ticket, in Unix seconds.
    pub expires_at: u64,
}

/// One node of a quote.
#[derive(Debug, Serialize, JsonSchema)]
pub struct QuotedRow {
    /// Node (hex).
    pub node: String,
    /// Name of the node.
    pub name: String,
    /// Most that one job can cost there, in msat.
    pub max_cost_msat: u64,
    /// Time to first token that the router expects.
    pub expected_first_token_ms: u64,
    /// Event id of the offer (hex).
    pub offer: String,
}

/// `fedai why`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WhyOutput {
    /// Version of this form.
    pub v: u64,
    /// The quote request (hex).
    pub decision: String,
    /// Router (hex).
    pub router: String,
    /// Digest that the quote committed to (hex).
    pub digest: String,
    /// True when the record matches that digest.
    pub digest_matches: bool,
    /// Strategy and version.
    pub strategy: Option<String>,
    /// Seed of the draw.
    pub seed: Option<u64>,
    /// Candidates in all.
    pub considered: Option<u32>,
    /// Filters that were relaxed.
    pub relaxed: Vec<String>,
    /// How much dearer the chosen node is than the best, in msat.
    pub regret_msat: Option<f64>,
    /// What chance did.
    pub draw: Option<DrawOutput>,
    /// Who would have been chosen by other rules.
    pub alternatives: Vec<AlternativeOutput>,
    /// Candidates.
    pub candidates: Vec<CandidateRow>,
    /// Job (hex).
    pub job: Option<String>,
    /// Receipt (hex).
    pub receipt: Option<String>,
    /// Nodes tried.
    pub attempts: Vec<AttemptOutput>,
}

/// What chance did in a decision.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DrawOutput {
    /// An unproven node is tried when this is below `exploration`.
    pub number: f64,
    /// Share of decisions that try one.
    pub exploration: f64,
    /// Who was drawn by weight, in order.
    pub drawn: Vec<DrawnOutput>,
    /// Who was tried.
    pub explored: Option<DrawnOutput>,
    /// True when the node of the previous turn was kept.
    pub kept_previous: bool,
}

/// A candidate that a number between 0 and 1 drew.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DrawnOutput {
    /// The number.
    pub number: f64,
    /// Node (hex).
    pub node: String,
}

/// Who would have been chosen by another rule.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AlternativeOutput {
    /// `best` (the least utility of all), `drawn` (no exploration, no previous node) or `runner_up`.
    pub rule: String,
    /// Node (hex).
    pub node: String,
    /// Expected cost.
    pub cost_msat: f64,
    /// Expected time to first token.
    pub first_token_ms: f64,
    /// Expected total time.
    pub total_ms: f64,
    /// All of it in one amount.
    pub utility_msat: f64,
}

/// One candidate.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CandidateRow {
    /// Node (hex).
    pub node: String,
    /// `chosen`, `fallback`, `drawn`, `not_drawn` or `filtered`.
    pub verdict: String,
    /// Why it was filtered.
    pub code: Option<String>,
    /// Expected cost.
    pub cost_msat: Option<f64>,
    /// Expected time to first token.
    pub first_token_ms: Option<f64>,
    /// Expected total time.
    pub total_ms: Option<f64>,
    /// Chance that it delivers, at least.
    pub p_ok: Option<f64>,
    /// Trust, at least.
    pub trust: Option<f64>,
    /// Everything in one amount.
    pub utility_msat: Option<f64>,
    /// Share of the draw.
    pub share: Option<f64>,
}

/// `fedai receipts list`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReceiptsOutput {
    /// Version of this form.
    pub v: u64,
    /// Receipts, oldest first.
    pub receipts: Vec<ReceiptRow>,
}

/// One receipt.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReceiptRow {
    /// Event id (hex).
    pub receipt: String,
    /// When it was signed, in Unix seconds.
    pub created_at: u64,
    /// Node (hex).
    pub node: String,
    /// Model.
    pub model: String,
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Completion tokens.
    pub output_tokens: u64,
    /// Amount, in msat.
    pub amount_msat: u64,
    /// `accepted` or `disputed`; missing without an acknowledgement.
    pub verdict: Option<String>,
    /// Job (hex).
    pub job: String,
}

/// `fedai receipts verify`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct VerifyOutput {
    /// Version of this form.
    pub v: u64,
    /// File.
    pub file: String,
    /// True when every line holds.
    pub ok: bool,
    /// Receipts.
    pub receipts: u64,
    /// Acknowledged ones.
    pub acknowledged: u64,
    /// Sum of amounts, in msat.
    pub amount_msat: u64,
    /// True when the file ends with an end line, which shows a cut tail.
    pub closed: bool,
    /// First line that does not hold.
    pub line: Option<usize>,
    /// Why.
    pub reason: Option<String>,
}

/// `fedai receipts export FILE`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ExportOutput {
    /// Version of this form.
    pub v: u64,
    /// File that was written.
    pub file: String,
    /// Receipts in it.
    pub receipts: u64,
}

/// `fedai key`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KeyOutput {
    /// Version of this form.
    pub v: u64,
    /// Public key (hex).
    pub public_key: String,
    /// The same as npub.
    pub npub: String,
    /// File with the encrypted secret key.
    pub file: String,
    /// The secret key, with `--reveal` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nsec: Option<String>,
}

/// `fedai doctor`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DoctorOutput {
    /// Version of this form.
    pub v: u64,
    /// True when no required check failed.
    pub ok: bool,
    /// Checks, in order.
    pub checks: Vec<CheckRow>,
}

/// One check.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CheckRow {
    /// What was checked.
    pub check: String,
    /// `pass`, `warn`, `fail` or `skip`.
    pub status: String,
    /// What was found.
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// `fedai up`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct UpOutput {
    /// Version of this form.
    pub v: u64,
    /// Relay URL.
    pub relay: String,
    /// Router's key (hex).
    pub router: String,
    /// The same as npub.
    pub router_npub: String,
    /// Node's key (hex).
    pub node: String,
    /// The same as npub.
    pub node_npub: String,
    /// Models offered.
    pub models: Vec<String>,
    /// Runner's URL.
    pub runner: String,
    /// True when this command started the runner.
    pub runner_started_here: bool,
    /// Folder with all state.
    pub data: String,
    /// Base URL of the OpenAI-compatible endpoint, with `--listen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

/// `fedai serve`, when it listens.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ServeOutput {
    /// Version of this form.
    pub v: u64,
    /// Base URL for OpenAI's clients.
    pub url: String,
    /// True when requests need a key.
    pub needs_key: bool,
}

/// `fedai launch`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LaunchOutput {
    /// Version of this form.
    pub v: u64,
    /// Where the program looks for its settings; none when it takes environment variables.
    pub path: Option<String>,
    /// The settings.
    pub settings: String,
    /// Models named in them.
    pub models: Vec<String>,
    /// True when the file was written.
    pub written: bool,
    /// Command that is still to be run; none for most programs.
    pub then: Option<String>,
}
