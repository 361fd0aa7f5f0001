//! What the dev relay says of itself over HTTP: the relay information document (NIP-11) for programs, a sentence for
//! people who open it in a browser.

use fedai_protocol::limits::{EVENT_BYTES_MAX, EVENT_TAGS_MAX};
use serde_json::json;

use crate::dev_relay::DevRelayLimits;
use crate::relay_engine::RelayEngine;

/// The whole HTTP answer to a request that is no websocket.
pub(crate) fn http_answer(head: &str, engine: &RelayEngine) -> String {
    let method = head.split_whitespace().next().unwrap_or_default();
    if !matches!(method, "GET" | "HEAD" | "OPTIONS") {
        return response(
            "405 Method Not Allowed",
            "text/plain; charset=utf-8",
            "this is a Nostr relay\n",
            true,
        );
    }
    let wants_document = head.lines().any(|line| {
        line.split_once(':').is_some_and(|(name, value)| {
            name.trim().eq_ignore_ascii_case("accept") && value.contains("application/nostr+json")
        })
    });
    let with_body = method == "GET";
    if wants_document {
        let mut document = document(&engine.limits);
        if let (Some(gate), Some(members)) = (engine.gate(), document.as_object_mut()) {
            gate.describe(members);
        }
        return response("200 OK", "application/nostr+json", &document.to_string(), with_body);
    }
    let text = "This is a Nostr relay of a fed_AI network. Connect to it with a Nostr client, for example:\n\n  \
                fedai chat --relay ws://HOST:PORT\n";
    response("200 OK", "text/plain; charset=utf-8", text, with_body)
}

fn document(limits: &DevRelayLimits) -> serde_json::Value {
    json!({
        "name": "fed_AI dev relay",
        "description": "Relay for development and small private networks",
        "software": env!("CARGO_PKG_REPOSITORY"),
        "version": env!("CARGO_PKG_VERSION"),
        "supported_nips": [1, 9, 11, 40, 45],
        "limitation": {
            "max_message_length": limits.message_bytes,
            "max_subscriptions": limits.subscriptions,
            "max_filters": limits.filters,
            "max_limit": limits.query_events,
            "default_limit": limits.query_events,
            "max_subid_length": limits.subscription_id_bytes,
            "max_event_tags": EVENT_TAGS_MAX,
            "max_content_length": EVENT_BYTES_MAX,
            "created_at_upper_limit": limits.future_seconds,
            "auth_required": false,
            "payment_required": false,
            "restricted_writes": limits.events_per_minute.is_some(),
        },
    })
}

fn response(status: &str, content_type: &str, body: &str, with_body: bool) -> String {
    let sent = if with_body { body } else { "" };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nAccess-Control-Allow-Origin: *\r\n\
         Access-Control-Allow-Headers: *\r\nAccess-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n\
         Connection: close\r\n\r\n{sent}",
        body.len()
    )
}
