//! From what a runner says of its models to what this node offers.
//!
//! A runner's id may be a path; clients ask for names. The rule: nothing is claimed that the runner did not
//! say, except
//! where a number is needed: an unknown context is taken to be small, unknown slots to be one.

use std::collections::BTreeSet;

use fedai_protocol::job_open::JobEndpoint;
use fedai_protocol::limits::{NAME_BYTES_MAX, NODE_OFFERS_MAX};

use super::runners::RunnerModel;
use crate::core::offers::LocalModel;

/// The models to offer, each under a name of its own.
pub(super) fn offered(models: &[RunnerModel], slots: Option<u32>) -> Vec<LocalModel> {
    let mut slugs = BTreeSet::new();
    let offered = models.iter().filter_map(|model| local_model(model, slots));
    offered.filter(|model| slugs.insert(model.slug.clone())).take(NODE_OFFERS_MAX).collect()
}

fn local_model(model: &RunnerModel, slots: Option<u32>) -> Option<LocalModel> {
    let name = model_name(&model.id)?;
    let context = u64::from(model.context_tokens.unwrap_or(CONTEXT_UNKNOWN).max(1));
    let embeds = model.supports_embeddings == Some(true);
    let chats = model.supports_chat.unwrap_or(!embeds);
    let mut endpoints = Vec::new();
    if chats {
        endpoints.extend([JobEndpoint::Chat, JobEndpoint::Completion]);
    }
    if embeds {
        endpoints.push(JobEndpoint::Embedding);
    }
    if endpoints.is_empty() {
        endpoints.push(JobEndpoint::Completion);
    }
    let features = [("tools", model.supports_tools), ("reasoning", model.supports_reasoning)];
    Some(LocalModel {
        runner_id: model.id.clone(),
        slug: name.clone(),
        model: name,
        quantization: model.quantization.clone().and_then(|text| cleaned(&text)),
        digest: model.digest.clone().and_then(|text| cleaned(&text)),
        context_tokens: context,
        max_output_tokens: model.max_output.map_or(context, |most| u64::from(most.max(1)).min(context)),
        slots: slots.or(model.slots).unwrap_or(1).max(1),
        endpoints,
        takes_images: model.supports_vision == Some(true),
        features: features
            .iter()
            .filter(|(_, has)| *has == Some(true))
            .map(|(name, _)| (*name).to_owned())
            .collect(),
    })
}

/// The name that clients ask for: the last part of a path, without the file's ending, in lowercase.
fn model_name(id: &str) -> Option<String> {
    let last = if id.ends_with(".gguf") { id.rsplit(['/', '\\']).next().unwrap_or(id) } else { id };
    let name = last.strip_suffix(".gguf").unwrap_or(last).to_lowercase();
    // Some characters have no lowercase form of their own; an offer must not carry them.
    cleaned(&name).filter(|name| !name.chars().any(char::is_uppercase))
}

fn cleaned(text: &str) -> Option<String> {
    let text = text.trim();
    let fits = !text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

/// What nearly every model has.
const CONTEXT_UNKNOWN: u32 = 2_048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_people_ask_for() {
        for (id, name) in [
            ("/models/SmolLM2-135M.Q4_1.gguf", Some("smollm2-135m.q4_1")),
            ("Qwen/Qwen3-8B", Some("qwen/qwen3-8b")),
            ("llama3:latest", Some("llama3:latest")),
            ("", None),
            ("a\nb", None),
        ] {
            assert_eq!(model_name(id).as_deref(), name, "{id:?}");
        }
    }

    #[test]
    fn unknown_numbers_are_small_and_two_of_a_name_are_one() {
        let model = |id: &str| RunnerModel { id: id.into(), ..RunnerModel::default() };
        let offered = offered(&[model("A"), model("a"), model("b")], None);
        assert_eq!(offered.len(), 2);
        assert_eq!((offered[0].slots, offered[0].context_tokens), (1, u64::from(CONTEXT_UNKNOWN)));
        assert!(offered[0].endpoints.contains(&JobEndpoint::Chat));
    }
}
