//! The `provider` object of a request, in OpenRouter's shape: whom to prefer, whom to leave out, what counts, how dear
//! it may be. What cannot be promised on an open network is refused, never ignored.

use fedai_protocol::quote_request::Mode;
use fedai_protocol::{Msat, Tokens};
use serde_json::{Map, Value};

use super::api_error::ApiError;

/// Names in one list.
const NAMES_MAX: usize = 64;

/// What a request says of providers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderWish {
    /// Nodes to try first, by key or name.
    pub order: Vec<String>,
    /// Only these.
    pub only: Vec<String>,
    /// Never these.
    pub ignore: Vec<String>,
    /// Quantizations taken.
    pub quantizations: Vec<String>,
    /// What counts.
    pub mode: Option<Mode>,
    /// Price ceiling.
    pub max_price: MaxPrice,
    /// When the nodes of `order` cannot serve, others may.
    pub allow_fallbacks: bool,
    /// Only nodes that announce what the request needs.
    pub require_parameters: bool,
}

/// Prices per million tokens and per request, in millisatoshi.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaxPrice {
    /// Prompt.
    pub prompt: Option<u64>,
    /// Completion.
    pub completion: Option<u64>,
    /// Request.
    pub request: Option<u64>,
}

impl MaxPrice {
    /// The most that a job of this size may cost; none when nothing was said.
    #[must_use]
    pub fn ceiling(&self, input: Tokens, output: Tokens) -> Option<Msat> {
        if self.prompt.is_none() && self.completion.is_none() && self.request.is_none() {
            return None;
        }
        let part = |price: Option<u64>, tokens: Tokens| match price {
            Some(price) => u128::from(price).saturating_mul(u128::from(tokens.get())).div_ceil(1_000_000),
            None => u128::from(Msat::MAX.get()),
        };
        let sum = part(self.prompt, input)
            .saturating_add(part(self.completion, output))
            .saturating_add(self.request.map_or(0, u128::from));
        Some(u64::try_from(sum).ok().and_then(Msat::new).unwrap_or(Msat::MAX))
    }
}

impl ProviderWish {
    /// Reads the object; a missing one wishes for nothing.
    pub fn read(value: Option<&Value>) -> Result<Self, ApiError> {
        let fields = match value {
            None | Some(Value::Null) => return Ok(Self { allow_fallbacks: true, ..Self::default() }),
            Some(Value::Object(fields)) => fields,
            Some(_) => return Err(ApiError::field("provider", "must be an object")),
        };
        refuse_unkeepable(fields)?;
        let allow_fallbacks = switch(fields, "allow_fallbacks")?.unwrap_or(true);
        let require_parameters = switch(fields, "require_parameters")?.unwrap_or(false);
        Ok(Self {
            order: names(fields, "order")?,
            only: names(fields, "only")?,
            ignore: names(fields, "ignore")?,
            quantizations: names(fields, "quantizations")?.into_iter().take(16).collect(),
            mode: sort(fields.get("sort"))?,
            max_price: max_price(fields.get("max_price"))?,
            allow_fallbacks,
            require_parameters,
        })
    }
}

/// A node sees the prompt that it answers; nobody can promise what its owner does with it.
fn refuse_unkeepable(fields: &Map<String, Value>) -> Result<(), ApiError> {
    let denies = fields.get("data_collection").and_then(Value::as_str) == Some("deny");
    if denies || fields.get("zdr") == Some(&Value::Bool(true)) {
        let what = "asks for a promise about data that an open network cannot keep; name nodes that you \
                    trust with provider.only instead";
        return Err(ApiError::field(if denies { "provider.data_collection" } else { "provider.zdr" }, what));
    }
    Ok(())
}

fn switch(fields: &Map<String, Value>, name: &str) -> Result<Option<bool>, ApiError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(is_on)) => Ok(Some(*is_on)),
        Some(_) => Err(ApiError::field(&format!("provider.{name}"), "must be true or false")),
    }
}

fn names(fields: &Map<String, Value>, name: &str) -> Result<Vec<String>, ApiError> {
    let fail = || {
        ApiError::field(&format!("provider.{name}"), format!("must be a list of at most {NAMES_MAX} names"))
    };
    match fields.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) if items.len() <= NAMES_MAX => {
            items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(fail)).collect()
        }
        Some(_) => Err(fail()),
    }
}

fn sort(value: Option<&Value>) -> Result<Option<Mode>, ApiError> {
    let named = match value {
        Some(Value::Object(fields)) => fields.get("by"),
        other => other,
    };
    match named {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => match text.as_str() {
            "price" | "cheapest" => Ok(Some(Mode::Cheapest)),
            "throughput" | "latency" | "fastest" => Ok(Some(Mode::Fastest)),
            "balanced" => Ok(Some(Mode::Balanced)),
            "trusted" => Ok(Some(Mode::Trusted)),
            _ => Err(ApiError::field(
                "provider.sort",
                "must be price, throughput, latency, balanced or trusted",
            )),
        },
        Some(_) => Err(ApiError::field("provider.sort", "must be a word")),
    }
}

fn max_price(value: Option<&Value>) -> Result<MaxPrice, ApiError> {
    let fields = match value {
        None | Some(Value::Null) => return Ok(MaxPrice::default()),
        Some(Value::Object(fields)) => fields,
        Some(_) => {
            let what =
                "must be an object with prompt, completion (msat per million tokens) and request (msat)";
            return Err(ApiError::field("provider.max_price", what));
        }
    };
    let amount = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok())).map(Some).ok_or_else(
                || ApiError::field(&format!("provider.max_price.{name}"), "must be a whole number of msat"),
            )
        }
    };
    Ok(MaxPrice { prompt: amount("prompt")?, completion: amount("completion")?, request: amount("request")? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn openrouters_object_is_understood() {
        let wish = ProviderWish::read(Some(&json!({
            "order": ["garage"], "ignore": ["attic"], "sort": "throughput", "allow_fallbacks": false,
            "max_price": {"prompt": 1000, "completion": "2000"}
        })))
        .unwrap();
        assert_eq!(
            (wish.order.as_slice(), wish.ignore.as_slice()),
            (&["garage".to_owned()][..], &["attic".to_owned()][..])
        );
        assert_eq!((wish.mode, wish.allow_fallbacks), (Some(Mode::Fastest), false));
        let ceiling = wish.max_price.ceiling(Tokens::saturating(1_000_000), Tokens::saturating(500_000));
        assert_eq!(ceiling.map(Msat::get), Some(2_000));
        assert!(ProviderWish::read(None).unwrap().allow_fallbacks);
    }

    #[test]
    fn what_cannot_be_kept_or_understood_is_refused_with_its_field() {
        for (object, field) in [
            (json!({"data_collection": "deny"}), "provider.data_collection"),
            (json!({"zdr": true}), "provider.zdr"),
            (json!({"order": "garage"}), "provider.order"),
            (json!({"only": [1]}), "provider.only"),
            (json!({"sort": "colour"}), "provider.sort"),
            (json!({"max_price": 3}), "provider.max_price"),
            (json!({"max_price": {"prompt": -1}}), "provider.max_price.prompt"),
            (json!({"allow_fallbacks": 1}), "provider.allow_fallbacks"),
            (json!([]), "provider"),
        ] {
            let error = ProviderWish::read(Some(&object)).unwrap_err();
            assert_eq!((error.status, error.param.as_deref()), (400, Some(field)), "{object}");
        }
    }

    #[test]
    fn a_ceiling_that_leaves_a_part_open_bounds_nothing_but_the_rest() {
        assert_eq!(MaxPrice::default().ceiling(Tokens::saturating(5), Tokens::saturating(5)), None);
        let only_output = MaxPrice { completion: Some(10), ..MaxPrice::default() };
        assert_eq!(only_output.ceiling(Tokens::saturating(5), Tokens::saturating(5)), Some(Msat::MAX));
    }
}
