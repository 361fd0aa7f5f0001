//! Events of the network as they pass, decoded for people and for programs.
//!
//! What is sealed is shown as sealed, with its size: there is nothing else to see. Text of others is escaped, so that
//! nothing a stranger writes reaches the terminal as control characters.

use fedai_protocol::event_kinds::{
    self, DISPATCH, EPHEMERAL_GIFT_WRAP, LOAD_PING, MODEL_OFFER, NODE_DESCRIPTOR, NODE_STANDING, QUOTE,
    QUOTE_REQUEST, RECEIPT, RECEIPT_ACK, ROUTER_PROFILE, SESSION_FRAME, TRUST_ASSERTION, USAGE_SUMMARY,
};
use fedai_protocol::message::{Message, ParseError};
use fedai_protocol::{
    Dispatch, LoadPing, ModelOffer, NodeDescriptor, QuoteReply, QuoteRequest, Receipt, ReceiptAck,
    RouterProfile, TrustAssertion, UsageSummary, VerifiedEvent,
};
use serde_json::{Value, json};

/// Characters of a decoded message shown on one line.
const LINE_CHARS_MAX: usize = 160;

/// What an event is.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded {
    /// A message of the protocol, as JSON.
    Message(Value),
    /// Sealed: this many bytes, for these keys.
    Sealed {
        /// Bytes of the sealed content.
        bytes: usize,
    },
    /// Not what its kind should carry; the reason's stable code.
    Invalid(&'static str),
}

/// Decodes one event.
#[must_use]
pub fn decode(event: &VerifiedEvent) -> Decoded {
    let sealed = Decoded::Sealed { bytes: event.content().len() };
    let parsed = match event.kind() {
        SESSION_FRAME | EPHEMERAL_GIFT_WRAP | NODE_STANDING => return sealed,
        QUOTE_REQUEST | QUOTE | DISPATCH if !event.content().starts_with('{') => return sealed,
        NODE_DESCRIPTOR => parse::<NodeDescriptor>(event),
        MODEL_OFFER => parse::<ModelOffer>(event),
        ROUTER_PROFILE => parse::<RouterProfile>(event),
        USAGE_SUMMARY => parse::<UsageSummary>(event),
        TRUST_ASSERTION => parse::<TrustAssertion>(event),
        LOAD_PING => parse::<LoadPing>(event),
        QUOTE_REQUEST => parse::<QuoteRequest>(event),
        QUOTE => parse::<QuoteReply>(event),
        DISPATCH => parse::<Dispatch>(event),
        RECEIPT => parse::<Receipt>(event),
        RECEIPT_ACK => parse::<ReceiptAck>(event),
        _ => return Decoded::Invalid("unknown_kind"),
    };
    match parsed {
        Ok(message) => Decoded::Message(message),
        Err(error) => Decoded::Invalid(error.code()),
    }
}

/// One line for people: time, kind, author, content.
#[must_use]
pub fn line(event: &VerifiedEvent) -> String {
    let author: String = event.author().to_hex().chars().take(8).collect();
    let to: Vec<String> =
        event.tags("p").map(|key| key.chars().take(8).flat_map(char::escape_default).collect()).collect();
    let to = if to.is_empty() { String::new() } else { format!(" to {}", to.join(",")) };
    let what = match decode(event) {
        Decoded::Message(message) => shorten(&message.to_string()),
        Decoded::Sealed { bytes } => format!("sealed, {bytes} bytes"),
        Decoded::Invalid(code) => format!("invalid ({code}): {}", shorten(event.content())),
    };
    format!("{} {:<18} {author}{to}  {what}", clock(event.created_at().0), event_kinds::name(event.kind()))
}

/// One object for programs.
#[must_use]
pub fn json_line(event: &VerifiedEvent) -> Value {
    let (state, message) = match decode(event) {
        Decoded::Message(message) => ("decoded", message),
        Decoded::Sealed { .. } => ("sealed", Value::Null),
        Decoded::Invalid(code) => ("invalid", Value::from(code)),
    };
    json!({
        "id": event.id().to_hex(),
        "kind": event.kind(),
        "name": event_kinds::name(event.kind()),
        "created_at": event.created_at().0,
        "author": event.author().to_hex(),
        "to": event.tags("p").collect::<Vec<_>>(),
        "bytes": event.to_json().len(),
        "state": state,
        "message": message,
    })
}

fn parse<M: Message>(event: &VerifiedEvent) -> Result<Value, ParseError> {
    let message = M::parse(event)?.message;
    serde_json::to_value(message).map_err(|error| ParseError::Malformed(error.to_string()))
}

/// Cut and escaped for a terminal.
fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(LINE_CHARS_MAX).map(visible).collect();
    if text.chars().nth(LINE_CHARS_MAX).is_some() {
        short.push('…');
    }
    short
}

/// Control characters, and those that change the direction of text, as a replacement character.
fn visible(character: char) -> char {
    let invisible = matches!(character, '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let direction = invisible || matches!(character, '\u{202a}'..='\u{202e}');
    if character.is_control() || direction { '\u{fffd}' } else { character }
}

/// Time of day in UTC.
fn clock(seconds: u64) -> String {
    let day = seconds % 86_400;
    format!("{:02}:{:02}:{:02}Z", day / 3_600, day / 60 % 60, day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedai_protocol::entropy::CountingEntropy;
    use fedai_protocol::message::Draft;
    use fedai_protocol::{SigningKey, UnixSeconds};

    fn event(kind: u16, content: &str) -> VerifiedEvent {
        let mut entropy = CountingEntropy(1);
        let key = SigningKey::generate(&mut entropy);
        let draft = Draft::new(kind, vec![], content.into(), UnixSeconds(86_400 * 3 + 3_661));
        key.sign(draft, &mut entropy)
    }

    #[test]
    fn sealed_content_is_named_and_not_shown() {
        let line = line(&event(SESSION_FRAME, "AgNotForYou"));
        assert!(line.starts_with("01:01:01Z session frame") && line.ends_with("sealed, 11 bytes"), "{line}");
        assert!(super::line(&event(NODE_STANDING, "AgNotForYou")).ends_with("sealed, 11 bytes"));
        assert!(!json_line(&event(EPHEMERAL_GIFT_WRAP, "AgNotForYou")).to_string().contains("NotForYou"));
    }

    #[test]
    fn text_of_strangers_is_escaped_and_cut() {
        let hostile = format!("\u{1b}[31mred\u{7}\u{202e}{}", "x".repeat(500));
        let line = line(&event(RECEIPT, &hostile));
        assert!(!line.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{line:?}");
        assert!(line.contains("invalid (") && line.ends_with('…') && line.chars().count() < 260, "{line}");
    }
}
