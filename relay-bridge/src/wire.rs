//! The two directions of the relay protocol (NIP-01) as text, for our own client and our own relay.
//!
//! The outer array is taken apart without building a tree, so that the size of an event is known, and refused, before
//! anything inside it is read.

use fedai_protocol::VerifiedEvent;
use fedai_protocol::limits::EVENT_BYTES_MAX;
use nostr::{Event, EventId, Filter, JsonUtil};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// What a relay says.
#[derive(Debug)]
pub(crate) enum RelayText {
    Event {
        subscription: String,
        event: Box<Event>,
    },
    Ok {
        event_id: EventId,
        accepted: bool,
        message: String,
    },
    EndOfStored {
        subscription: String,
    },
    Closed {
        subscription: String,
        message: String,
    },
    Notice(String),
    Auth(String),
    /// A verb that nobody here asked for.
    Other,
}

/// What a client says.
#[derive(Debug)]
pub(crate) enum ClientText<'a> {
    /// The raw JSON of an event, not looked into yet.
    Event(&'a str),
    Req {
        subscription: String,
        filters: Vec<Filter>,
    },
    Count {
        subscription: String,
        filters: Vec<Filter>,
    },
    Close {
        subscription: String,
    },
    Auth,
    Unknown,
}

/// Why a text is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("not an array of the relay protocol")]
    Shape,
    #[error("event is not readable")]
    Event,
    #[error("event is larger than {EVENT_BYTES_MAX} bytes")]
    Oversize,
    #[error("filter is not readable")]
    Filter,
}

/// Reads a message of a relay.
pub(crate) fn parse_relay(text: &str) -> Result<RelayText, WireError> {
    let parts = parts(text)?;
    let verb: String = read(parts.first())?;
    match verb.as_str() {
        "EVENT" => {
            let json = parts.get(2).ok_or(WireError::Shape)?.get();
            if json.len() > EVENT_BYTES_MAX {
                return Err(WireError::Oversize);
            }
            let event = Event::from_json(json).map_err(|_| WireError::Event)?;
            Ok(RelayText::Event { subscription: read(parts.get(1))?, event: Box::new(event) })
        }
        "OK" => Ok(RelayText::Ok {
            event_id: read(parts.get(1))?,
            accepted: read(parts.get(2))?,
            message: read(parts.get(3)).unwrap_or_default(),
        }),
        "EOSE" => Ok(RelayText::EndOfStored { subscription: read(parts.get(1))? }),
        "CLOSED" => Ok(RelayText::Closed {
            subscription: read(parts.get(1))?,
            message: read(parts.get(2)).unwrap_or_default(),
        }),
        "NOTICE" => Ok(RelayText::Notice(read(parts.get(1))?)),
        "AUTH" => Ok(RelayText::Auth(read(parts.get(1))?)),
        _ => Ok(RelayText::Other),
    }
}

/// Reads a message of a client.
pub(crate) fn parse_client(text: &str) -> Result<ClientText<'_>, WireError> {
    let parts = parts(text)?;
    let verb: String = read(parts.first())?;
    let filters = || -> Result<Vec<Filter>, WireError> {
        parts
            .iter()
            .skip(2)
            .map(|raw| serde_json::from_str(raw.get()).map_err(|_| WireError::Filter))
            .collect()
    };
    match verb.as_str() {
        "EVENT" => Ok(ClientText::Event(parts.get(1).ok_or(WireError::Shape)?.get())),
        "REQ" => Ok(ClientText::Req { subscription: read(parts.get(1))?, filters: filters()? }),
        "COUNT" => Ok(ClientText::Count { subscription: read(parts.get(1))?, filters: filters()? }),
        "CLOSE" => Ok(ClientText::Close { subscription: read(parts.get(1))? }),
        "AUTH" => Ok(ClientText::Auth),
        _ => Ok(ClientText::Unknown),
    }
}

/// `["EVENT", event]`
pub(crate) fn publish(event: &VerifiedEvent) -> String {
    format!("[\"EVENT\",{}]", event.to_json())
}

/// `["REQ", id, filters…]`
pub(crate) fn request(subscription: &str, filters: &[Filter]) -> String {
    let mut text = format!("[\"REQ\",{}", quoted(subscription));
    for filter in filters {
        text.push(',');
        text.push_str(&filter.as_json());
    }
    text.push(']');
    text
}

/// `["CLOSE", id]`
pub(crate) fn close(subscription: &str) -> String {
    format!("[\"CLOSE\",{}]", quoted(subscription))
}

/// `["AUTH", event]`
pub(crate) fn auth(event: &VerifiedEvent) -> String {
    format!("[\"AUTH\",{}]", event.to_json())
}

/// `["EVENT", id, event]`, from the event's JSON.
pub(crate) fn deliver(subscription: &str, event_json: &str) -> String {
    format!("[\"EVENT\",{},{event_json}]", quoted(subscription))
}

/// `["OK", id, accepted, message]`
pub(crate) fn ok(event_id: &str, accepted: bool, message: &str) -> String {
    format!("[\"OK\",{},{accepted},{}]", quoted(event_id), quoted(message))
}

/// `["EOSE", id]`
pub(crate) fn end_of_stored(subscription: &str) -> String {
    format!("[\"EOSE\",{}]", quoted(subscription))
}

/// `["CLOSED", id, message]`
pub(crate) fn closed(subscription: &str, message: &str) -> String {
    format!("[\"CLOSED\",{},{}]", quoted(subscription), quoted(message))
}

/// `["COUNT", id, {"count": n}]`
pub(crate) fn count(subscription: &str, n: usize) -> String {
    format!("[\"COUNT\",{},{{\"count\":{n}}}]", quoted(subscription))
}

/// `["NOTICE", message]`
pub(crate) fn notice(message: &str) -> String {
    format!("[\"NOTICE\",{}]", quoted(message))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn parts(text: &str) -> Result<Vec<&RawValue>, WireError> {
    serde_json::from_str(text).map_err(|_| WireError::Shape)
}

fn read<T: DeserializeOwned>(raw: Option<&&RawValue>) -> Result<T, WireError> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).ok_or(WireError::Shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relay_messages_are_read() {
        assert!(
            matches!(parse_relay(r#"["EOSE","a"]"#), Ok(RelayText::EndOfStored { subscription }) if subscription == "a")
        );
        assert!(
            matches!(parse_relay(r#"["CLOSED","a"]"#), Ok(RelayText::Closed { message, .. }) if message.is_empty())
        );
        let id = "0".repeat(64);
        let text = ok(&id, false, "no: \"x\"");
        assert!(
            matches!(parse_relay(&text), Ok(RelayText::Ok { accepted: false, message, .. }) if message == "no: \"x\"")
        );
        assert!(matches!(parse_relay(r#"["SOMETHING"]"#), Ok(RelayText::Other)));
        for bad in ["", "{}", "[]", "[1]", r#"["EVENT"]"#, r#"["EVENT","a",{}]"#, r#"["OK","x",true]"#] {
            assert!(parse_relay(bad).is_err(), "{bad}");
        }
        let huge = format!(r#"["EVENT","a","{}"]"#, " ".repeat(EVENT_BYTES_MAX));
        assert_eq!(parse_relay(&huge).unwrap_err(), WireError::Oversize);
    }

    #[test]
    fn client_messages_are_read_as_they_are_written() {
        let filters =
            [crate::filters::of_kinds(&[1, 2]), crate::filters::with_tag(Filter::new(), 'b', ["out<=5"])];
        let text = request("s\"1", &filters);
        assert!(matches!(parse_client(&text), Ok(ClientText::Req { subscription, filters: f })
            if subscription == "s\"1" && f == filters));
        assert!(matches!(parse_client(&close("x")), Ok(ClientText::Close { .. })));
        assert!(matches!(parse_client(r#"["WHAT",1]"#), Ok(ClientText::Unknown)));
        assert!(matches!(parse_client(r#"["REQ","a",{"kinds":"x"}]"#), Err(WireError::Filter)));
    }
}
