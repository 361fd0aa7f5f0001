//! One job bought as the command line buys it, with the moments that a person notices.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use fedai_client::core::job_spec::{DeliveryMode, JobSpec, OnBreak, RouterTarget};
use fedai_client::shell::buyer::{Buyer, HeldTicket, OutputSink, RouterContact};
use fedai_protocol::Tokens;
use fedai_protocol::job_open::JobEndpoint;
use fedai_protocol::output_stream::OutputLine;
use fedai_protocol::payment_offer::PaymentMethod;
use fedai_protocol::quote_request::{Constraints, Mode, ModelWanted};
use fedai_relay_bridge::wall_clock;
use tokio_util::sync::CancellationToken;

/// What is asked, of every target alike.
pub const PROMPT: &str = "Name sixteen words that have nothing to do with each other.";
/// Output tokens of every answer.
pub const TOKENS: u32 = 16;
/// Jobs that a ticket is asked to cover.
const USES: u16 = 64;
/// A job that takes longer is an error.
const TIMEOUT_MS: u64 = 20_000;

/// Moments of one job, from its start.
#[derive(Clone, Copy)]
pub struct Moments {
    /// First visible output.
    pub first: Duration,
    /// Last visible output: the answer is complete.
    pub complete: Duration,
    /// The receipt was checked, in whole milliseconds.
    pub checked: Duration,
    /// The receipt is on disk, with the word on it.
    pub settled: Duration,
    /// Nodes or rounds beyond the first that were needed.
    pub retries: usize,
}

struct Stopwatch {
    begun: Instant,
    first: Option<Duration>,
    last: Duration,
}

impl OutputSink for Stopwatch {
    fn deliver(&mut self, lines: &[OutputLine]) -> ControlFlow<()> {
        if lines.iter().any(|line| !line.text.is_empty()) {
            self.last = self.begun.elapsed();
            self.first.get_or_insert(self.last);
        }
        ControlFlow::Continue(())
    }

    fn restarted(&mut self) {}
}

/// The request of the job, as the runner gets it.
pub fn request(model: Option<&str>) -> serde_json::Value {
    let mut body = serde_json::json!({
        "messages": [{"role": "user", "content": PROMPT}], "max_tokens": TOKENS, "stream": true
    });
    if let Some(model) = model {
        body["model"] = model.into();
    }
    body
}

/// What a job asks for.
#[derive(Clone, Debug)]
pub struct Wish {
    pub prompt: String,
    pub tokens: u32,
}

impl Default for Wish {
    fn default() -> Self {
        Self { prompt: PROMPT.to_owned(), tokens: TOKENS }
    }
}

/// Buys one answer; gives its moments and the ticket for the next, or the code of the failure.
pub async fn buy(
    buyer: &Buyer,
    contacts: &[RouterContact],
    held: Option<HeldTicket>,
) -> Result<(Moments, HeldTicket), String> {
    let begun = Instant::now();
    let mut stopwatch = Stopwatch { begun, first: None, last: Duration::ZERO };
    let cancel = CancellationToken::new();
    let mut bought = buyer
        .run(spec(contacts, &Wish::default()), contacts, held, &mut stopwatch, &cancel)
        .await
        .map_err(|failure| failure.refusal.code.as_str().to_owned())?;
    let is_kept = bought.is_kept().await;
    let settled = begun.elapsed();
    if !is_kept || bought.answer.settlement.verdict.is_err() {
        return Err("receipt".to_owned());
    }
    if bought.answer.usage.output_tokens.get() != u64::from(TOKENS) {
        return Err("length".to_owned());
    }
    let moments = Moments {
        first: stopwatch.first.ok_or("no output")?,
        complete: stopwatch.last,
        checked: Duration::from_millis(bought.answer.total_ms),
        settled,
        retries: bought.answer.attempts.len().saturating_sub(1),
    };
    Ok((moments, bought.held))
}

/// The job as the command line would write it.
pub fn spec(contacts: &[RouterContact], wish: &Wish) -> JobSpec {
    let mut body = request(None);
    body["messages"][0]["content"] = wish.prompt.clone().into();
    body["max_tokens"] = wish.tokens.into();
    JobSpec {
        endpoint: JobEndpoint::Chat,
        request: body.to_string(),
        messages: 1,
        wanted: ModelWanted::default(),
        prompt_tokens: Tokens::saturating(64),
        max_output_tokens: Tokens::saturating(u64::from(wish.tokens)),
        max_cost: None,
        mode: Mode::Balanced,
        constraints: Constraints { payment: vec![PaymentMethod::Free], ..Constraints::default() },
        uses: USES,
        previous_node: None,
        routers: contacts.iter().map(|contact| RouterTarget::Router(contact.key)).collect(),
        delivery: DeliveryMode::Live,
        follow_peers: false,
        hedge: false,
        on_break: OnBreak::Fail,
        deadline: wall_clock::now().plus_millis(TIMEOUT_MS),
    }
}
