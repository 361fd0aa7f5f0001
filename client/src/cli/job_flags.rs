//! Flags of the commands that buy an answer, and the job they become.

use std::io::{IsTerminal, Read};

use clap::ValueEnum;
use fedai_protocol::job_open::JobEndpoint;
use fedai_protocol::limits::{NAME_BYTES_MAX, REQUEST_BYTES_MAX};
use fedai_protocol::payment_offer::PaymentMethod;
use fedai_protocol::quote_request::{Constraints, ModelWanted};
use fedai_protocol::{PublicKey, Tokens};
use fedai_relay_bridge::wall_clock;
use serde_json::{Map, Value};

use super::failure::CliFailure;
use super::global_flags::Settings;
use crate::core::job_spec::{DeliveryMode, JobSpec, OnBreak, RouterTarget};
use crate::core::openai::api_request::named_model;
use crate::shell::buyer::RouterContact;
use crate::shell::config::RouterWish;

/// Jobs that one ticket covers: a conversation of usual length.
const TICKET_USES: u16 = 16;
/// As in OpenAI's API.
const TEMPERATURE_MAX: f64 = 2.0;

/// Flags of commands that buy an answer.
#[derive(Clone, Debug, clap::Args)]
pub struct JobFlags {
    /// Model to ask for [default: any]
    #[arg(short, long, env = "FEDAI_MODEL", value_name = "NAME", hide_env_values = true, value_parser = model_name)]
    pub model: Option<String>,
    /// Most output tokens
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: u32,
    /// Sampling temperature, from 0 to 2
    #[arg(long, value_name = "T", value_parser = temperature, allow_negative_numbers = true)]
    pub temperature: Option<f64>,
    /// Seed of the sampling
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// What to do when a node is gone in mid-stream
    #[arg(long, value_enum, value_name = "POLICY", default_value = "continue")]
    pub on_break: BreakPolicy,
}

/// What to do when a node is gone in mid-stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BreakPolicy {
    /// Go on at another node if it gives the same answer, else end with an error
    Continue,
    /// Begin a new answer, and say so
    Restart,
    /// End with an error
    Fail,
}

/// A name that an offer could have.
fn model_name(text: &str) -> Result<String, String> {
    match text.len() {
        0..=NAME_BYTES_MAX => Ok(text.to_owned()),
        _ => Err(format!("a model has a name of at most {NAME_BYTES_MAX} bytes; see `fedai models`")),
    }
}

/// What runners take: JSON has no other number, and none of them gives sense to more.
fn temperature(text: &str) -> Result<f64, String> {
    let wrong = || "a sampling temperature is a number from 0 to 2".to_owned();
    text.parse().ok().filter(|value| (0.0..=TEMPERATURE_MAX).contains(value)).ok_or_else(wrong)
}

impl JobFlags {
    /// A job of this size in which nothing else is decided.
    #[must_use]
    pub const fn plain(model: Option<String>, max_tokens: u32) -> Self {
        Self { model, max_tokens, temperature: None, seed: None, on_break: BreakPolicy::Continue }
    }

    /// The model to ask for, in lower case as offers name it.
    #[must_use]
    pub fn model(&self, settings: &Settings) -> Option<String> {
        self.model.as_ref().or(settings.model.as_ref()).and_then(|model| named_model(model))
    }

    /// The fields that every request has.
    #[must_use]
    pub fn request_fields(&self, model: Option<&str>) -> Map<String, Value> {
        let mut fields = Map::new();
        if let Some(model) = model {
            fields.insert("model".into(), model.into());
        }
        fields.insert("max_tokens".into(), self.max_tokens.into());
        fields.insert("stream".into(), true.into());
        if let Some(temperature) = self.temperature {
            fields.insert("temperature".into(), temperature.into());
        }
        if let Some(seed) = self.seed {
            fields.insert("seed".into(), seed.into());
        }
        fields
    }

    /// The job; an error when nobody would take a request of its size.
    pub fn spec(
        &self,
        settings: &Settings,
        endpoint: JobEndpoint,
        fields: Map<String, Value>,
        contacts: &[RouterContact],
        previous_node: Option<PublicKey>,
    ) -> Result<JobSpec, CliFailure> {
        let messages = fields.get("messages").and_then(Value::as_array).map_or(1, Vec::len) as u64;
        let model = fields.get("model").and_then(Value::as_str).map(str::to_owned);
        let request = Value::Object(fields).to_string();
        if request.len() > REQUEST_BYTES_MAX {
            return Err(too_large("the request"));
        }
        Ok(JobSpec {
            endpoint,
            prompt_tokens: estimate_tokens(&request, messages),
            request,
            messages,
            wanted: ModelWanted { model, ..ModelWanted::default() },
            max_output_tokens: Tokens::saturating(u64::from(self.max_tokens)),
            max_cost: settings.max_price,
            mode: settings.mode,
            constraints: Constraints { payment: vec![PaymentMethod::Free], ..Constraints::default() },
            uses: TICKET_USES,
            previous_node,
            routers: targets(settings.router, contacts),
            delivery: if settings.json { DeliveryMode::Buffered } else { DeliveryMode::Live },
            // Who chose the routers gets those and no others.
            follow_peers: settings.router == RouterWish::Any,
            hedge: false,
            on_break: match self.on_break {
                BreakPolicy::Continue => OnBreak::Continue,
                BreakPolicy::Restart => OnBreak::Restart,
                BreakPolicy::Fail => OnBreak::Fail,
            },
            deadline: wall_clock::now()
                .plus_millis(u64::try_from(settings.timeout.as_millis()).unwrap_or(u64::MAX)),
        })
    }
}

/// Whom to ask.
#[must_use]
pub fn targets(wish: RouterWish, contacts: &[RouterContact]) -> Vec<RouterTarget> {
    match wish {
        RouterWish::Own => vec![RouterTarget::Own],
        _ => contacts.iter().map(|contact| RouterTarget::Router(contact.key)).collect(),
    }
}

/// A cautious estimate of the prompt's size: about three bytes a token, two where the script is not Latin.
#[must_use]
pub fn estimate_tokens(request: &str, messages: u64) -> Tokens {
    let plain = request.bytes().filter(u8::is_ascii).count() as u64;
    let other = (request.len() as u64).saturating_sub(plain);
    let text = plain.div_ceil(3).saturating_add(other.div_ceil(2));
    Tokens::saturating(text.saturating_add(messages.saturating_mul(8)).saturating_add(16))
}

/// The text on the command line, or what is piped in; none when a person sits at a terminal.
pub fn read_prompt(argument: Option<String>) -> Result<Option<String>, CliFailure> {
    match argument {
        Some(text) if text != "-" => Ok(Some(text)),
        None if std::io::stdin().is_terminal() => Ok(None),
        _ => {
            let mut bytes = Vec::new();
            let mut input = std::io::stdin().take(REQUEST_BYTES_MAX as u64 + 1);
            input
                .read_to_end(&mut bytes)
                .map_err(|error| CliFailure::usage(format!("standard input: {error}")))?;
            if bytes.len() > REQUEST_BYTES_MAX {
                return Err(too_large("standard input"));
            }
            let text = String::from_utf8(bytes).map_err(|error| {
                CliFailure::usage(format!("standard input: {error}\nhint: it must be UTF-8 text"))
            })?;
            Ok(Some(text))
        }
    }
}

fn too_large(what: &str) -> CliFailure {
    CliFailure::usage(format!(
        "{what} is larger than {REQUEST_BYTES_MAX} bytes\nhint: no node takes more in one request; send less"
    ))
}

/// Refuses a prompt of nothing, and one that is larger than any request.
pub fn not_empty(prompt: String) -> Result<String, CliFailure> {
    if prompt.trim().is_empty() {
        return Err(CliFailure::usage("the prompt is empty\nhint: fedai chat \"Name three colours.\""));
    }
    if prompt.len() > REQUEST_BYTES_MAX {
        return Err(too_large("the prompt"));
    }
    Ok(prompt)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn estimates_grow_with_text_and_script() {
        assert!(estimate_tokens(&"a".repeat(300), 1).get() >= 100);
        assert!(estimate_tokens(&"漢".repeat(100), 1).get() >= 150);
    }

    #[test]
    fn a_temperature_is_a_number_that_runners_take() {
        for (text, value) in [("0", 0.0), ("0.7", 0.7), ("2", 2.0), ("1e-3", 0.001)] {
            assert_eq!(temperature(text), Ok(value));
        }
        for wrong in ["NaN", "inf", "-inf", "infinity", "-0.1", "2.1", "1e999", "warm", ""] {
            assert!(temperature(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_prompt_of_nothing_or_of_too_much_is_a_usage_error() {
        assert!(not_empty(" \n".into()).is_err());
        assert!(not_empty("x".repeat(REQUEST_BYTES_MAX)).is_ok());
        let refused = not_empty("x".repeat(REQUEST_BYTES_MAX + 1)).unwrap_err();
        assert_eq!(refused.status.code(), 2);
    }
}
