//! Jobs as a client's library buys them, for tests in the client's own process.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use fedai_client::core::direct_way::DirectWish;
use fedai_client::core::job_spec::{DeliveryMode, JobSpec, OnBreak, RouterTarget};
use fedai_client::shell::buyer::{Buyer, OutputSink, RouterContact};
use fedai_client::shell::config::RouterWish;
use fedai_protocol::Tokens;
use fedai_protocol::job_open::JobEndpoint;
use fedai_protocol::output_stream::OutputLine;
use fedai_protocol::payment_offer::PaymentMethod;
use fedai_protocol::quote_request::{Constraints, Mode, ModelWanted};
use fedai_relay_bridge::{RelayList, wall_clock};

/// A free chat of one message at these routers; without any, the client schedules itself.
pub fn job(prompt: &str, tokens: u64, contacts: &[RouterContact]) -> JobSpec {
    let request =
        serde_json::json!({"messages": [{"role": "user", "content": prompt}], "max_tokens": tokens});
    JobSpec {
        endpoint: JobEndpoint::Chat,
        request: request.to_string(),
        messages: 1,
        wanted: ModelWanted::default(),
        prompt_tokens: Tokens::saturating(64),
        max_output_tokens: Tokens::saturating(tokens),
        max_cost: None,
        mode: Mode::Balanced,
        constraints: Constraints { payment: vec![PaymentMethod::Free], ..Constraints::default() },
        uses: 8,
        previous_node: None,
        routers: match contacts {
            [] => vec![RouterTarget::Own],
            contacts => contacts.iter().map(|contact| RouterTarget::Router(contact.key)).collect(),
        },
        delivery: DeliveryMode::Live,
        follow_peers: false,
        hedge: false,
        on_break: OnBreak::Fail,
        deadline: wall_clock::now().plus_millis(120_000),
    }
}

/// A client of its own, and the routers that it found.
pub async fn buyer(relays: &[&str], folder: &Path, wish: DirectWish) -> (Buyer, Vec<RouterContact>) {
    let urls: Vec<String> = relays.iter().map(|url| (*url).to_owned()).collect();
    let (list, _) = RelayList::lookup(&urls, None).unwrap();
    let buyer = Buyer::connect(list, folder, Duration::from_secs(30)).await.unwrap().going(wish);
    let contacts = buyer.routers(RouterWish::Any, Duration::from_secs(5)).await;
    assert!(!contacts.is_empty(), "a router");
    (buyer, contacts)
}

/// Keeps the text of an answer.
#[derive(Default)]
pub struct Text(pub String);

impl OutputSink for Text {
    fn deliver(&mut self, lines: &[OutputLine]) -> ControlFlow<()> {
        self.0.extend(lines.iter().map(|line| line.text.as_str()));
        ControlFlow::Continue(())
    }

    fn restarted(&mut self) {
        panic!("the answer began anew");
    }
}
