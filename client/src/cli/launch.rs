//! `fedai launch APP`: the settings with which a program people use talks to the local endpoint. Printed, or written
//! where the program looks for them when there is no file yet.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use etcetera::BaseStrategy;
use fedai_protocol::event_kinds::{MODEL_OFFER, NODE_DESCRIPTOR};
use fedai_relay_bridge::wall_clock;
use serde_json::{Map, json};

use super::exit_code::ExitStatus;
use super::failure::CliFailure;
use super::global_flags::Settings;
use super::json_output::LaunchOutput;
use super::terminal;
use crate::shell::network_view::NetworkView;
use crate::shell::private_file;

/// Models named in one file.
const MODELS_MAX: usize = 50;
/// What programs send that want a key where none is asked for.
const ANY_KEY: &str = "fedai";
/// Name under which llm keeps the key.
const LLM_KEY: &str = "fedai";

/// Flags of `fedai launch`.
#[derive(Clone, Debug, clap::Args)]
pub struct LaunchArgs {
    /// Program
    #[arg(value_enum)]
    pub app: App,
    /// Where `fedai serve` listens
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8484/v1")]
    pub url: String,
    /// Key of the endpoint, where it asks for one
    #[arg(long, value_name = "KEY", default_value = ANY_KEY, hide_default_value = true)]
    pub key: String,
    /// Model; repeat for several [default: what the network offers now]
    #[arg(short, long, value_name = "NAME")]
    pub model: Vec<String>,
    /// Write the file; one that is there is left as it is
    #[arg(long)]
    pub write: bool,
}

/// A program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum App {
    /// Open WebUI: environment variables
    OpenWebui,
    /// opencode: opencode.json in this folder
    Opencode,
    /// aider: .aider.conf.yml in this folder
    Aider,
    /// llm, the command line by Simon Willison
    Llm,
    /// aichat
    Aichat,
}

/// Runs the command.
pub async fn run(settings: &Settings, arguments: LaunchArgs) -> Result<ExitStatus, CliFailure> {
    let models = match arguments.model.is_empty() {
        true => offered(settings).await?,
        false => arguments.model.iter().map(|model| model.to_lowercase()).collect(),
    };
    let text = arguments.app.settings(&arguments.url, &arguments.key, &models);
    let path = arguments.app.path()?;
    let then = arguments.app.then(&arguments.key);
    let written = match (&path, arguments.write) {
        (Some(path), true) => Some(write(path, &text)?),
        (None, true) => {
            let text = "this program takes environment variables, not a file\nhint: leave out --write";
            return Err(CliFailure::usage(text));
        }
        (_, false) => None,
    };
    if settings.json {
        let path = path.map(|path| path.display().to_string());
        let output = LaunchOutput { v: 1, path, settings: text, models, written: written.is_some(), then };
        terminal::print_json(&output)?;
        return Ok(ExitStatus::Success);
    }
    match (written, path) {
        (Some(path), _) => terminal::say(&format!("written: {}", path.display())),
        (None, Some(path)) => {
            terminal::say(&format!("for {} (--write puts it there):\n", path.display()));
            terminal::print(&text)?;
        }
        (None, None) => terminal::print(&text)?,
    }
    if let Some(command) = then {
        terminal::say(&format!("\nthen, so that it finds the key:  {command}"));
    }
    Ok(ExitStatus::Success)
}

/// Models that live nodes offer.
async fn offered(settings: &Settings) -> Result<Vec<String>, CliFailure> {
    let buyer = settings.connect().await?;
    let kinds = [NODE_DESCRIPTOR, MODEL_OFFER];
    let view = NetworkView::fetch(buyer.pool(), &kinds, wall_clock::now_seconds(), settings.timeout).await;
    buyer.close().await;
    let mut models: Vec<String> =
        view.offers.iter().map(|offer| offer.received.message.model.clone()).collect();
    models.dedup();
    models.truncate(MODELS_MAX);
    if models.is_empty() {
        let text = "no live node offers a model\nhint: name one with --model, or start a network: fedai up";
        return Err(CliFailure::new(ExitStatus::NoMatch, "no_node", text));
    }
    Ok(models)
}

/// Writes a file that is not there yet: what a person has set is never lost.
fn write(path: &Path, text: &str) -> Result<PathBuf, CliFailure> {
    if path.exists() {
        let what = format!(
            "{} is there already and was left as it is\nhint: leave out --write and add the settings to it",
            path.display()
        );
        return Err(CliFailure::new(ExitStatus::Config, "exists", what));
    }
    private_file::write_whole(path, text.as_bytes())
        .map_err(|error| CliFailure::new(ExitStatus::Config, "io", format!("{}: {error}", path.display())))?;
    Ok(path.to_owned())
}

impl App {
    /// Where the program looks.
    fn path(self) -> Result<Option<PathBuf>, CliFailure> {
        let user = |rest: &str| {
            let strategy = etcetera::choose_base_strategy();
            let strategy =
                strategy.map_err(|_| CliFailure::from(crate::shell::config::ConfigError::NoHome))?;
            Ok::<_, CliFailure>(Some(strategy.config_dir().join(rest)))
        };
        match self {
            Self::OpenWebui => Ok(None),
            Self::Opencode => Ok(Some(PathBuf::from("opencode.json"))),
            Self::Aider => Ok(Some(PathBuf::from(".aider.conf.yml"))),
            Self::Llm => user("io.datasette.llm/extra-openai-models.yaml"),
            Self::Aichat => user("aichat/config.yaml"),
        }
    }

    /// What is left to be done by hand: llm keeps keys apart from models, in a file that it writes itself.
    fn then(self, key: &str) -> Option<String> {
        (self == Self::Llm && key != ANY_KEY)
            .then(|| format!("llm keys set {LLM_KEY} --value {}", shell(key)))
    }

    /// What it should find there. Every word from outside is quoted as JSON, which YAML reads too.
    fn settings(self, url: &str, key: &str, models: &[String]) -> String {
        let quoted = |text: &str| json!(text).to_string();
        let (url_quoted, key_quoted) = (quoted(url), quoted(key));
        let first = models.first().map(String::as_str).unwrap_or_default();
        match self {
            Self::OpenWebui => {
                format!(
                    "export OPENAI_API_BASE_URL={}\nexport OPENAI_API_KEY={}\nopen-webui serve\n",
                    shell(url),
                    shell(key)
                )
            }
            Self::Opencode => {
                let named: Map<_, _> =
                    models.iter().map(|name| (name.clone(), json!({"name": name}))).collect();
                let settings = json!({
                    "$schema": "https://opencode.ai/config.json",
                    "provider": {"fedai": {
                        "npm": "@ai-sdk/openai-compatible",
                        "name": "fed_AI",
                        "options": {"baseURL": url, "apiKey": key},
                        "models": named,
                    }},
                    "model": format!("fedai/{first}"),
                });
                format!("{}\n", serde_json::to_string_pretty(&settings).unwrap_or_default())
            }
            Self::Aider => {
                let model = quoted(&format!("openai/{first}"));
                format!("openai-api-base: {url_quoted}\nopenai-api-key: {key_quoted}\nmodel: {model}\n")
            }
            Self::Llm => {
                let key = if key == ANY_KEY { String::new() } else { format!("  api_key_name: {LLM_KEY}\n") };
                let entry = |model: &String| {
                    let (id, name) = (quoted(&format!("fedai/{model}")), quoted(model));
                    format!("- model_id: {id}\n  model_name: {name}\n  api_base: {url_quoted}\n{key}")
                };
                models.iter().map(entry).collect()
            }
            Self::Aichat => {
                let rows: String =
                    models.iter().map(|model| format!("  - name: {}\n", quoted(model))).collect();
                format!(
                    "model: {}\nclients:\n- type: openai-compatible\n  name: fedai\n  api_base: {url_quoted}\n  \
                     api_key: {key_quoted}\n  models:\n{rows}",
                    quoted(&format!("fedai:{first}"))
                )
            }
        }
    }
}

/// A word that a shell takes as it stands.
fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const URL: &str = "http://127.0.0.1:8484/v1";

    fn settings(app: App) -> String {
        app.settings(URL, "it's", &["small".to_owned(), "large \"q4\"".to_owned()])
    }

    #[test]
    fn every_program_gets_url_key_and_models_in_its_own_form() {
        let opencode: serde_json::Value = serde_json::from_str(&settings(App::Opencode)).unwrap();
        assert_eq!(opencode["provider"]["fedai"]["options"]["baseURL"], URL);
        assert!(opencode["provider"]["fedai"]["models"].get("large \"q4\"").is_some());
        assert!(settings(App::OpenWebui).contains(r"OPENAI_API_KEY='it'\''s'"));
        assert!(settings(App::Aider).contains("model: \"openai/small\"\n"));
        assert!(settings(App::Llm).contains("model_name: \"large \\\"q4\\\"\"\n"));
        assert!(settings(App::Llm).contains("  api_key_name: fedai\n"));
        assert_eq!(App::Llm.then("it's").unwrap(), r"llm keys set fedai --value 'it'\''s'");
        let without = App::Llm.settings(URL, ANY_KEY, &["small".to_owned()]);
        assert!(!without.contains("api_key_name") && App::Llm.then(ANY_KEY).is_none());
        assert!(settings(App::Aichat).contains("  - name: \"small\"\n"));
    }

    #[test]
    fn a_file_that_is_there_is_never_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        write(&path, "new").unwrap();
        assert_eq!(write(&path, "other").unwrap_err().code, "exists");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    }
}
